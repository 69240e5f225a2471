"""The quality gate: its intervals, and that the same training passes it and a spoilt one fails."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from scipy.stats import t

import quality_gate
from ganzoo.errors import GanzooError
from quality_gate import centre, intervals_of

FILE = Path(__file__).parents[2] / "results" / "quality-gate.json"


def test_intervals_are_those_of_the_mean_of_as_many_other_trainings():
    logs = {"calm": [1.0, 1.1, 1.2], "wild": [2.0, 3.0, 4.0]}
    found = intervals_of({name: {"fid@x": [math.exp(y) for y in ys]} for name, ys in logs.items()})
    # The geometric mean of 0.01 and 1; with two degrees of freedom a logarithm is too small by Euler's constant.
    typical = math.sqrt(0.01 * 1) * math.exp(0.5772156649015329)
    quantile = t.ppf(0.9995, 4)
    for name, variance in (("calm", typical), ("wild", 1.0)):
        low, high = found[name]["fid@x"]
        assert (low + high) / 2 == pytest.approx(sum(logs[name]) / 3)
        assert (high - low) / 2 == pytest.approx(quantile * math.sqrt(2 / 3 * variance))


def test_intervals_have_a_least_width_and_other_scores_no_logarithm():
    found = intervals_of({"one": {"fid@x": [2.0, 2.0], "coverage@x": [0.5, 0.5]}})["one"]
    assert found["fid@x"] == pytest.approx((math.log(2) - 0.05, math.log(2) + 0.05))
    assert found["coverage@x"] == pytest.approx((0.48, 0.52))
    assert centre("fid@x", [1.0, math.e**2]) == pytest.approx(1)
    assert centre("coverage@x", [0.2, 0.4]) == pytest.approx(0.3)


def outcome(*words):
    with pytest.raises(SystemExit) as caught:
        quality_gate.main([*map(str, words)])
    return caught.value.code


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_the_same_recipe_passes_and_a_fault_in_it_is_found(tmp_path, capsys):
    file = tmp_path / "gate.json"
    short = ("--cpu-seconds", 4, "--samples", 500, "--seeds", 0, 1, 2, 3)
    assert outcome("record", "wgan-gp-mnist", *short, "--file", file) == 0
    recorded = json.loads(file.read_text())["recipes"]
    assert [len(score["values"]) for one in recorded.values() for score in one["scores"].values()] == [4] * 4
    assert outcome("check", "--file", file) == 0
    assert "OUTSIDE" not in capsys.readouterr().out
    fault = "optimizers.generator={name: adam, lr: 0.1, betas: [0.5, 0.999]}"
    assert outcome("check", "--file", file, "--set", fault) == 1
    told = capsys.readouterr().out
    assert "OUTSIDE: fid@mnist-ae of wgan-gp-mnist" in told
    assert "record the intervals again: python benchmarks/quality_gate.py record wgan-gp-mnist " in told


def test_what_the_file_does_not_have_is_a_sentence(tmp_path):
    file = tmp_path / "gate.json"
    file.write_text(json.dumps({"schema": 1, "recipes": {}}))
    assert "has no intervals for vanilla-mnist" in outcome("check", "vanilla-mnist", "--file", file)
    assert "needs the names of recipes" in outcome("record", "--file", file)
    for seeds in ([0], [0, 0]):  # said before anything trains
        assert "two seeds or more" in outcome("record", "vanilla-mnist", "--seeds", *seeds, "--file", file)
    assert "There are no intervals" in outcome("check", "--file", tmp_path / "none.json")


class Halfway(quality_gate.Bench):
    """Trains nothing, and loses so many runs, or so many of their scores; some it could not score again."""

    lost, lost_scores, failed = 0, 0, 0

    def run(self, jobs):
        self.unscored += jobs[: self.failed]
        runs = []
        for job in jobs[self.lost :]:
            metrics = job.recipe.evaluate.metrics[self.lost_scores if job.seed == 0 else 0 :]
            scores = tuple({"metric": metric, "weights": "ema", "value": 1.0} for metric in metrics)
            record = SimpleNamespace(recipe=job.recipe.name, seed=job.seed, status="done")
            runs.append(SimpleNamespace(record=record, scores=scores))
        return runs


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"lost": 1}, "2 of 3 runs ended, 0 of them without a score."),
        ({"failed": 1}, "3 of 3 runs ended, 1 of them without a score."),
        ({"lost_scores": 1}, "vanilla-mnist has 2 of 3 scores of "),
        ({}, None),
    ],
)
def test_a_training_or_a_score_that_is_missing_is_refused(zoo, monkeypatch, facts, sentence):
    monkeypatch.setattr(quality_gate, "Bench", type("Bench", (Halfway,), facts))
    given = {"vanilla-mnist": 640}, [0, 1, 2], 100, 1, (), zoo
    if sentence is None:
        assert {len(values) for values in quality_gate.trained(*given)["vanilla-mnist"].values()} == {3}
    else:
        with pytest.raises(GanzooError, match=sentence):
            quality_gate.trained(*given)


@pytest.mark.skipif(not FILE.exists(), reason="no intervals are committed")
def test_the_committed_intervals_are_made_from_their_values_by_recipes_that_exist(zoo):
    known = json.loads(FILE.read_text())
    assert all(name in zoo.recipes for name in known["recipes"])
    scores = {
        name: {metric: s["values"] for metric, s in one["scores"].items()} for name, one in known["recipes"].items()
    }
    for name, intervals in intervals_of(scores).items():
        for metric, interval in intervals.items():
            assert known["recipes"][name]["scores"][metric]["interval"] == pytest.approx(interval)
