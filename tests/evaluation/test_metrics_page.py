"""docs/metrics.md lists every metric, and its table is the committed outcome, in which sets rank as they should."""

import json
import re

import pytest

import metric_table
from ganzoo.evaluation.requests import better
from ganzoo.registry.loading import load_zoo
from ganzoo_reports.templates import between_markers

PAGE = metric_table.PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sets():
    return json.loads(metric_table.OUTCOME.read_text(encoding="utf-8"))["sets"]


def test_the_page_has_every_metric_and_which_way_is_better_and_when_it_misleads():
    rows = re.findall(r"^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \| (.) \| .+ \| .+ \| .+ \|$", PAGE, flags=re.MULTILINE)
    arrows = {entry.name: metric_table.ARROWS[better(entry.name)] for entry in load_zoo().metrics}
    assert {name: arrow for names, arrow in rows for name in re.findall(r"[a-z-]+", names)} == arrows


def test_the_table_matches_the_committed_outcome(sets):
    table = metric_table.table({"sets": sets})
    assert between_markers(PAGE, metric_table.MARKERS, table, "docs/metrics.md") == PAGE


def test_every_set_was_measured_under_one_protocol(sets):
    for scores in zip(*(scores.values() for scores in sets.values()), strict=True):
        first = scores[0]["protocol"]
        assert all(score["protocol"] == first for score in scores)
        assert first["n_fake"] == 10_000


@pytest.mark.parametrize("metric", ["fid", "fid-infinity", "kid"])
def test_distances_rank_the_sets_as_a_person_would(sets, metric):
    values = [scores[metric]["value"] for scores in sets.values()]
    assert values == sorted(values)
    assert values[1] > 2 * values[0]


def test_which_metrics_notice_which_faults(sets):
    train, few, blurred, one, noise = sets.values()
    for name, score in train.items():
        if name not in ("memorisation", "accuracy", "kl", "kid", "fid-infinity", "fid"):
            assert score["value"] == pytest.approx(score["floor"], rel=0.05), name
    assert train["fid"]["value"] < 1.5 * train["fid"]["floor"]
    assert train["memorisation"]["value"] == few["memorisation"]["value"] == 1 > 3 * train["memorisation"]["floor"]
    assert few["recall"]["value"] < 0.1
    assert few["coverage"]["value"] < 0.4
    assert blurred["precision"]["value"] < 0.5
    assert one["precision"]["value"] == 1 > one["class-coverage"]["value"]
    assert noise["precision"]["value"] == noise["coverage"]["value"] == 0
