"""Tables in results/ say what the measurements beside them say."""

import json
from pathlib import Path

import pytest

from fid_table import markdown as fid_table
from ganzoo.files import read_lines
from peers_table import markdown as peers_table

RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize("name", ["peers", "peers-amx"])
def test_peers(name):
    measured = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    assert (RESULTS / f"{name}.md").read_text(encoding="utf-8") == peers_table(measured)


@pytest.mark.parametrize(("name", "marks"), [("time-to-fid", [20, 10, 5, 2, 1]), ("tutorial-ten-minutes", [0.5])])
def test_time_to_fid(name, marks):
    lines = read_lines(RESULTS / f"{name}.jsonl")
    assert (RESULTS / f"{name}.md").read_text(encoding="utf-8") == fid_table(lines, marks)
