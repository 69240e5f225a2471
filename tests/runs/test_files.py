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


def test_temporary_files_are_kept_for_a_day(tmp_path):
    new, old = (temporary_name(tmp_path / "x.json") for _ in range(2))
    for path in (new, old):
        path.write_text("half")
    os.utime(old, (time.time() - 2 * DAY,) * 2)
    sweep(tmp_path)
    assert [path.exists() for path in (new, old)] == [True, False]
    sweep(tmp_path, sole_writer=True)
    assert not new.exists()


def test_files_with_other_names_are_not_swept(tmp_path):
    theirs = tmp_path / ".dcgan.2024-01-01.tmp"
    theirs.mkdir()
    os.utime(theirs, (time.time() - 2 * DAY,) * 2)
    sweep(tmp_path, sole_writer=True)
    assert theirs.exists()


def test_a_folder_that_cannot_be_synced_is_not_an_error(tmp_path, monkeypatch):
    path, original = tmp_path / "run.json", os.fsync

    def files_alone(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", files_alone)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("torn", [b'{"a": 2', b'{"a": "' + b"x" * 200_000, bytes(100)])
def test_a_torn_last_line_is_removed_before_the_next_record(tmp_path, torn):
    path = tmp_path / "events.jsonl"
    locked_append(path, [{"a": 1}])
    with path.open("ab") as file:
        file.write(torn)
    locked_append(path, [{"a": 3}, {"a": 4}], durable=True)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"a": 1}, {"a": 3}, {"a": 4}]


def test_a_last_record_without_a_newline_is_read_and_kept(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}')  # as an editor may have left it
    assert read_lines(path) == [{"a": 1}, {"a": 2}]
    locked_append(path, [{"a": 3}])
    assert path.read_bytes() == b'{"a": 1}\n{"a": 2}\n{"a": 3}\n'


@pytest.mark.parametrize("theirs", [b"Dear diary", b'{\n  "metric": "fid"\n}', b"x" * 200_000])
def test_foreign_lines_are_not_removed(tmp_path, theirs):
    path = tmp_path / "diary.txt"
    path.write_bytes(theirs)
    locked_append(path, [{"a": 1}])
    assert path.read_bytes() == theirs + b'\n{"a": 1}\n'


def test_a_file_with_only_a_torn_line_starts_over(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"a"')
    locked_append(path, [{"a": 1}])
    assert read_lines(path) == [{"a": 1}]


def test_reading_skips_lines_that_are_not_records(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_bytes(b'{"a": 1}\nnonsense\n[1]\n{"a": 2}\n{"a":')
    assert read_lines(path) == [{"a": 1}, {"a": 2}]
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


def test_the_import_check_of_plugins_ignores_the_working_folder(tmp_path, monkeypatch, zoo):
    marker = tmp_path / "imported"
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(hostile_folder(tmp_path / "cwd", marker))
    plugin = next(plugin for plugin in zoo.plugins if plugin.name == "hinge")
    assert import_problems([plugin]) == {"hinge": []}
    assert not marker.exists()
