"""Scores beside others: the newest that was measured in the same way, or a refusal."""

import json
from pathlib import Path

import pytest

from ganzoo.errors import GanzooError
from ganzoo.evaluation.comparison import counterparts, read_scores

ELSEWHERE = Path("elsewhere")


def record(metric="fid@tiny", value=1.0, weights=None, n=100, seed=0):
    protocol = {"metric": metric.partition("@")[0], "n_fake": n, "sample_seed": seed, "weights": weights}
    return {"metric": metric, "value": value, "floor": 0.1, "weights": weights, "protocol": protocol}


def test_the_newest_score_of_the_same_metric_and_protocol():
    others = [record(value=2.0), record(value=3.0), record("kid@tiny", 4.0), record(value=5.0, n=200)]
    assert counterparts([record(), record("is@tiny")], others, ELSEWHERE) == [3.0, None]


def test_the_same_kind_of_weights_comes_first():
    others = [record(value=2.0, weights="ema"), record(value=3.0, weights="raw")]
    assert counterparts([record(weights="ema"), record(weights="raw"), record()], others, ELSEWHERE) == [2.0, 3.0, 2.0]


def test_other_protocols_are_refused_with_what_differs():
    with pytest.raises(GanzooError, match=r"measured differently and cannot be compared \(n_fake: 100 and 200\)"):
        counterparts([record()], [record(n=300), record(n=200)], ELSEWHERE)


def test_nothing_in_common_is_refused():
    with pytest.raises(GanzooError, match="elsewhere has none of these scores"):
        counterparts([record()], [record("kid@tiny")], ELSEWHERE)


def test_a_file_of_scores(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(record(value=value)) for value in (1.0, 2.0)) + "\n\n")
    assert [one["value"] for one in read_scores(path)] == [1.0, 2.0]


@pytest.mark.parametrize("text", ["{", "[1]", '{"metric": "fid@tiny"}', '{"metric": 1, "value": 1, "protocol": {}}'])
def test_a_file_of_something_else_is_refused(tmp_path, text):
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(GanzooError, match=r"a\.jsonl"):
        read_scores(path)
    with pytest.raises(GanzooError, match="cannot be read"):
        read_scores(tmp_path / "nothing")
