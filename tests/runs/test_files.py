"""Atomic writes, JSON lines that survive a crash, and child processes that ignore the working folder."""

import errno
import json
import os
import subprocess
import sys

import pytest

from ganzoo.checks.isolation import import_problems
from ganzoo.files import append_lines, child_python, read_lines, write_atomically


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


@pytest.mark.parametrize("torn", [b'{"a": 2', b'{"a": 2}', b"x" * 200_000])
def test_a_torn_last_line_is_removed_before_the_next_record(tmp_path, torn):
    path = tmp_path / "events.jsonl"
    append_lines(path, [{"a": 1}])
    with path.open("ab") as file:
        file.write(torn)
    append_lines(path, [{"a": 3}, {"a": 4}], durable=True)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"a": 1}, {"a": 3}, {"a": 4}]


def test_a_file_with_only_a_torn_line_starts_over(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"a"')
    append_lines(path, [{"a": 1}])
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
