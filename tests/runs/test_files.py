"""Atomic writes, JSON lines that survive a crash, and child processes that ignore the working folder."""

import errno
import json
import os
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ganzoo.files import (
    DAY,
    as_argument,
    child_python,
    locked_append,
    read_lines,
    sweep,
    temporary_name,
    write_atomically,
)
from ganzoo_checks.isolation import import_problems


def test_a_failed_write_leaves_the_old_file_and_no_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    write_atomically(path, b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_an_error_names_the_file_that_was_to_be_written(tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        write_atomically(tmp_path / "missing" / "run.json", b"new")
    assert raised.value.filename == str(tmp_path / "missing" / "run.json")


@pytest.mark.parametrize(
    ("path", "argument"), [("-dash", "./-dash"), ("-a b", "'./-a b'"), ("runs/-a", "runs/-a"), ("/a b", "'/a b'")]
)
def test_a_path_in_a_suggested_command_is_not_taken_for_an_option(path, argument):
    assert as_argument(Path(path)) == argument


def test_writers_with_the_same_process_id_do_not_interfere(tmp_path):
    """Threads, as here, or containers that share a folder, in which every writer may be process 1."""
    path, each = tmp_path / "run.json", [bytes([65 + n]) * 50_000 for n in range(8)]
    with ThreadPoolExecutor(len(each)) as pool:
        list(pool.map(lambda content: [write_atomically(path, content) for _ in range(20)], each))
    assert path.read_bytes() in each
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_temporary_files_are_kept_for_a_day_and_files_with_other_names_forever(tmp_path):
    new, old = (temporary_name(tmp_path / "x.json") for _ in range(2))
    theirs = tmp_path / ".dcgan.2024-01-01.tmp"
    for path in (new, old, theirs):
        path.write_text("half")
    for path in (old, theirs):
        os.utime(path, (time.time() - 2 * DAY,) * 2)
    sweep(tmp_path)
    assert set(tmp_path.iterdir()) == {new, theirs}
    sweep(tmp_path, sole_writer=True)
    assert set(tmp_path.iterdir()) == {theirs}


def test_a_folder_that_cannot_be_synced_is_not_an_error(tmp_path, monkeypatch):
    path, original = tmp_path / "run.json", os.fsync

    def files_alone(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", files_alone)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        # A torn last line is removed.
        (b'{"a": 1}\n{"a": 2', b'{"a": 1}\n'),
        (b'{"a": 1}\n{"a": "' + b"x" * 200_000, b'{"a": 1}\n'),
        (b'{"a": 1}\n' + bytes(100), b'{"a": 1}\n'),
        (b'{"a"', b""),
        # A last record without a newline is kept, as an editor may have left it, and so are foreign lines.
        (b'{"a": 1}\n{"a": 2}', b'{"a": 1}\n{"a": 2}\n'),
        (b"Dear diary", b"Dear diary\n"),
        (b'{\n  "metric": "fid"\n}', b'{\n  "metric": "fid"\n}\n'),
        (b"x" * 200_000, b"x" * 200_000 + b"\n"),
    ],
    ids=["torn", "long", "zeros", "alone", "record", "diary", "json", "long-diary"],
)
@pytest.mark.parametrize("durable", [False, True])
def test_records_are_appended_to_whole_lines(tmp_path, before, kept, durable):
    path = tmp_path / "events.jsonl"
    path.write_bytes(before)
    locked_append(path, [{"a": 3}, {"a": 4}], durable=durable)
    assert path.read_bytes() == kept + b'{"a": 3}\n{"a": 4}\n'


@pytest.mark.parametrize("last", [b'{"a":', b'{"a": 3}'])
def test_reading_skips_lines_that_are_not_records(tmp_path, last):
    path = tmp_path / "scores.jsonl"
    path.write_bytes(b'{"a": 1}\nnonsense\n[1]\n{"a": 2}\n' + last)
    assert read_lines(path) == [{"a": 1}, {"a": 2}, *([{"a": 3}] if last.endswith(b"}") else [])]
    assert read_lines(tmp_path / "missing.jsonl") == []


LIBRARIES = ("filelock", "yaml", "json", "torch", "ganzoo")


def hostile_folder(folder, marker):
    """A folder with modules named after libraries; importing any of them creates a file."""
    for name in LIBRARIES:
        (folder / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').close()\nraise ImportError('hostile')\n")
    return folder


@pytest.mark.parametrize("version", [(3, 10), (3, 11)], ids=["3.10", "3.11"])
def test_a_child_process_never_imports_from_the_working_folder(tmp_path, monkeypatch, version):
    if version == (3, 11) and sys.version_info < version:
        pytest.skip("this Python has no option -P")
    marker = tmp_path / "imported"
    (tmp_path / "cwd").mkdir()
    folder = hostile_folder(tmp_path / "cwd", marker)
    site = tmp_path / "site"
    site.mkdir()
    (site / "victim.py").write_text("import filelock, json, sys, yaml\nprint(json.dumps([__name__, *sys.argv[1:]]))\n")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version_info", version)
        command = child_python("victim", "a", "-b")
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["__main__", "a", "-b"]
    assert not marker.exists()


@pytest.mark.full  # the test above shows how every child process is started
def test_the_import_check_of_plugins_ignores_the_working_folder(tmp_path, monkeypatch, zoo):
    marker = tmp_path / "imported"
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(hostile_folder(tmp_path / "cwd", marker))
    plugin = next(plugin for plugin in zoo.plugins if plugin.name == "hinge")
    assert import_problems([plugin]) == {"hinge": []}
    assert not marker.exists()
