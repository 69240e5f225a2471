"""Tables in results/ say what the measurements beside them say."""

import json
from pathlib import Path

import pytest

import costs
import ganzoo_plugins
import retrain
from fid_table import markdown as fid_table
from ganzoo.config.loading import needs_pictures
from ganzoo.files import read_lines
from gpu import UNTRAINED
from peers_table import markdown as peers_table

RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize("name", ["peers", "peers-amx"])
def test_peers(name):
    measured = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    assert (RESULTS / f"{name}.md").read_text(encoding="utf-8") == peers_table(measured)


def test_costs():
    """Also of a run that has been recorded since: `python benchmarks/costs.py` writes the page again."""
    assert costs.PAGE.read_text("utf-8") == costs.page(json.loads(costs.OUTCOME.read_text("utf-8")))


def test_records_that_were_trained_again_came_out_as_another_seed_would():
    again = json.loads(retrain.OUTCOME.read_text("utf-8"))["records"]
    assert len(again) >= 3
    assert all(one["same digest"] and abs(one["deviations from the row's mean"]) < 3 for one in again)


@pytest.mark.parametrize(("name", "marks"), [("time-to-fid", [20, 10, 5, 2, 1]), ("tutorial-ten-minutes", [0.5])])
def test_time_to_fid(name, marks):
    lines = read_lines(RESULTS / f"{name}.jsonl")
    assert (RESULTS / f"{name}.md").read_text(encoding="utf-8") == fid_table(lines, marks)


def test_recipes_without_a_committed_run_say_so_in_their_summary(zoo):
    records = read_lines(RESULTS / "runs.jsonl")
    trained = {record["recipe"] for record in records}
    ours = {
        path.stem for path in Path(ganzoo_plugins.__file__).parent.glob("*/*.yaml") if path.parent.name != "studies"
    }
    untrained = {name for name in ours if zoo.recipes.get(name).summary.startswith(UNTRAINED)}
    assert untrained == {name for name in ours - trained if not needs_pictures(name, zoo)}
    assert [record["recipe"] for record in records if UNTRAINED in record["summary"]] == []
