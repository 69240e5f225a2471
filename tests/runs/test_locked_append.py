"""Two processes append to one file: nothing is lost, and no line is torn."""

import json
import subprocess
import sys

import pytest

from ganzoo.errors import GanzooError
from ganzoo.files import locked_append

WRITER = """
import sys
from pathlib import Path
from ganzoo.errors import GanzooError
from ganzoo.files import locked_append

for number in range(400):
    locked_append(Path(sys.argv[1]), [{"writer": sys.argv[2], "number": number, "text": "x" * (number % 300)}])
"""


@pytest.mark.slow
def test_two_processes_appending_four_hundred_records_each_lose_none(tmp_path):
    path = tmp_path / "runs.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in ("a", "b")]
    assert [writer.wait(timeout=300) for writer in writers] == [0, 0]
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(records) == 800
    for name in ("a", "b"):
        mine = [record for record in records if record["writer"] == name]
        assert [record["number"] for record in mine] == list(range(400))
        assert all(len(record["text"]) == record["number"] % 300 for record in mine)


@pytest.mark.parametrize("name", ["runs.jsonl", ".runs.jsonl.lock"])
def test_links_are_not_followed_for_the_file_or_its_lock(tmp_path, name):
    (tmp_path / "mine").write_text("somebody's own\n")
    (tmp_path / name).symlink_to(tmp_path / "mine")
    with pytest.raises(GanzooError, match="is a link"):
        locked_append(tmp_path / "runs.jsonl", [{"a": 1}])
    assert (tmp_path / "mine").read_text() == "somebody's own\n"
