import errno
import json
import os

import pytest

from ganzoo.files import append_lines, read_lines, write_atomically


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch):
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


def test_a_file_that_is_one_torn_line_starts_anew(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"a"')
    append_lines(path, [{"a": 1}])
    assert read_lines(path) == [{"a": 1}]


def test_reading_skips_what_is_no_record(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_bytes(b'{"a": 1}\nnonsense\n[1]\n{"a": 2}\n{"a":')
    assert read_lines(path) == [{"a": 1}, {"a": 2}]
    assert read_lines(tmp_path / "missing.jsonl") == []
