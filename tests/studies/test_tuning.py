"""Tuning, gates and regimes: what a study does on validation images before its claims are tested."""

import math
from collections import Counter

import pytest
from recording import noisy, recorded

from ganzoo.errors import GanzooError
from ganzoo_studies import cost
from ganzoo_studies.findings import find
from ganzoo_studies.records import Ledger
from ganzoo_studies.study import load_study
from ganzoo_studies.study_report import write_pages
from ganzoo_studies.tuning import _extended
from ganzoo_studies.verdicts import Outcome
from ganzoo_studies.worker import Bench

STUDY = """\
question: Does a gradient penalty help, once rates are tuned?
baseline: vanilla-mnist
overrides: [train.images=64000]
search:
  optimizers.default.lr: [1e-4, 3e-4, 1e-3]
validation: 1000
gates:
  reference: [train.images=128000]
  deviation: 0.15
variants:
  r1: {overrides: ["regularizers=[{name: r1, weight: 1.0}]"], search: {regularizers.0.weight: [0.1, 1.0]}}
measures: [fid@mnist-cnn]
claims:
  - {says: R1 helps., method: R1, better: r1, on: fid@mnist-cnn}
"""
BEST = {"baseline": 3e-3, "r1": 3e-4}
"""The learning rate at which each row scores best; the baseline's lies beyond the range."""


def facts(job):
    """Row, learning rate and weight of the penalty."""
    rate = job.recipe.optimizers["default"].options["lr"]
    penalties = job.recipe.regularizers
    return ("r1", rate, penalties[0].options["weight"]) if penalties else ("baseline", rate, None)


def score(job):
    """A score that is best at the row's best rate; R1 halves it, and twice the images lower it by a third."""
    row, rate, weight = facts(job)
    value = 40 * math.exp(abs(math.log(rate / BEST[row])))
    value *= {None: 1.0, 1.0: 0.5, 0.1: 0.6}[weight] * (2 / 3 if job.recipe.train.images > 64_000 else 1)
    # With its first seed, the weaker penalty is lucky at the best rate.
    lucky = (row, rate, weight, job.seed) == ("r1", BEST["r1"], 0.1, 0)
    return noisy(value * (0.75 if lucky else 1), job)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "results")


@pytest.fixture
def write(tmp_path, zoo):
    """The study with parts of its text replaced."""

    def _write(*changes):
        text = STUDY
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        path = tmp_path / "tuned.yaml"
        path.write_text(text)
        return load_study(path, zoo)

    return _write


@pytest.fixture
def prepared(zoo, ledger):
    """What is found once all runs on validation images have scores from a function, and the runs of each round."""

    def _prepared(study, values=score, **more):
        rounds = []
        while jobs := (found := find(study, ledger, zoo)).preparations:
            rounds.append(jobs)
            for job in jobs:
                value = values(job)
                error = "It diverged." if value is None else None
                recorded(ledger, job, [value or 9.0], split="validation", error=error, **more)
        return found, rounds

    return _prepared


def test_rows_are_tuned_alike_at_full_length_on_validation_images(write, prepared, zoo):
    study = write()
    found, rounds = prepared(study)
    assert [Counter(facts(job)[0] for job in jobs) for jobs in rounds] == [
        {"baseline": 3, "r1": 6},
        {"baseline": 1, "r1": 4},  # the range extended; two seeds more of the two best
        {"baseline": 1},  # extended again, until the best rate lies inside
        {"baseline": 4},
        {"baseline": 2 + 5, "r1": 2},  # five seeds for the gates, of the winners and of the reference
    ]
    assert {facts(job)[1] for job in rounds[1] if facts(job)[0] == "baseline"} == {3e-3}
    assert {facts(job)[1] for job in rounds[2]} == {1e-2}
    every = [job for jobs in rounds for job in jobs]
    assert {(job.recipe.dataset.scored_split, job.recipe.dataset.validation) for job in every} == {("validation", 1000)}
    assert {job.recipe.train.images for job in every} == {64_000, 128_000}
    assert max(job.seed for job in every) == 4
    winners = {row: one.winner.changes for (row, _), one in found.tuned.items()}
    assert winners == {
        "baseline": ("optimizers.default.lr=0.003",),
        # The weaker penalty was best with one seed, but not with three.
        "r1": ("optimizers.default.lr=0.0003", "regularizers.0.weight=1.0"),
    }
    assert {(gate.where, gate.is_passed) for gate in found.all_gates} == {
        ("baseline", True),
        ("r1", True),
        ("r1 or baseline", True),
        ("reference against baseline", True),
    }
    tests = found.next_jobs()
    assert len(tests) == 2 * 5
    assert {job.recipe.dataset.scored_split for job in tests} == {"test"}
    assert {facts(job) for job in tests} == {("baseline", 3e-3, None), ("r1", 3e-4, 1.0)}
    assert min(job.seed for job in tests) == 100


def test_no_range_is_extended_below_the_smallest_whole_number():
    assert _extended([1, 4, 16], 16) == (1, 4, 16, 64)
    assert _extended([2, 4, 8], 2) == (1, 2, 4, 8)
    assert _extended([1, 4, 16], 1) == (1, 4, 16)
    assert _extended([0.1, 0.3, 1.0], 0.1) == (0.03, 0.1, 0.3, 1.0)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (
            lambda job: score(job) * (1.5 if job.recipe.train.images > 64_000 else 1),
            "reference against baseline needs 1.2 times better by fid@mnist-cnn, and has ",
        ),
        (
            lambda job: score(job) * (1 + 0.3 * (-1) ** job.seed if facts(job)[0] == "r1" else 1),
            "r1 needs a deviation below 0.15 of the logs of fid@mnist-cnn, and has 0.3",
        ),
        (
            lambda job: score(job) * (10 if facts(job)[0] == "r1" else 1),
            "r1 needs a deviation below 0.15 of the logs of fid@mnist-cnn, and has 5 of 5 collapsed.",
        ),
        (
            lambda job: score(job) / 370,  # real images score 0.1
            "r1 or baseline needs scores that vary, 1.2 times worse than real images by fid@mnist-cnn, and has 1.0",
        ),
        (
            lambda job: score(job) / facts(job)[1] ** 3,
            "baseline needs best values inside their ranges, and has lr=0.0",
        ),
    ],
)
def test_a_claim_whose_regime_fails_a_gate_is_not_tested(write, prepared, changed, why):
    found, _ = prepared(write(), changed)
    (verdict,) = [one.verdict for one in found.findings]
    assert verdict.outcome is Outcome.OPEN
    assert verdict.why.startswith("Not tested, since a gate failed: ")
    assert why in verdict.why
    assert found.next_jobs() == []


def test_a_gate_may_ask_for_a_measure_and_not_for_quiet_scores(write, prepared, zoo):
    noise = ("  deviation: 0.15\n", "  above: {fid@mnist-cnn: 50}\n")
    found, _ = prepared(write(noise), lambda job: score(job) * (1 + 0.3 * (-1) ** job.seed))
    (failed,) = [gate for gate in found.all_gates if not gate.is_passed]
    assert (failed.where, failed.needs) == ("baseline", "fid@mnist-cnn above 50")
    assert 35 < float(failed.found) < 50


def test_only_scores_of_image_quality_must_be_quiet(write, prepared):
    study = write(("[fid@mnist-cnn]", "[recall@mnist-cnn]"), ("on: fid@mnist-cnn", "on: recall@mnist-cnn"))
    found, _ = prepared(study, lambda job: 1 / score(job) / (1 + 0.3 * (-1) ** job.seed), metric="recall@mnist-cnn")
    assert found.all_gates
    assert [gate for gate in found.all_gates if not gate.is_passed] == []


def test_a_setting_that_diverged_never_wins_and_a_row_whose_trials_all_did_is_named(write, prepared, zoo, ledger):
    def diverging(job):
        return None if facts(job)[0] == "r1" or facts(job)[1] > 1e-3 else score(job)

    found, _ = prepared(study := write(), diverging)
    baseline, r1 = found.tuned.values()
    assert baseline.winner.changes == ("optimizers.default.lr=0.001",)
    assert r1.winner is None
    assert found.without_winner == [("r1", "")]
    assert found.findings[0].verdict.why == "All trials of r1 failed."
    (page,) = write_pages([study], ledger, zoo)
    assert "All trials of r1 failed" in page.read_text()


def test_a_trial_that_crashed_waits_to_be_resumed(write, zoo, ledger):
    study = write()
    first, *others = find(study, ledger, zoo).preparations
    for job in others:
        recorded(ledger, job, [score(job)], split="validation")
    recorded(ledger, first, [9.0], split="validation", error="Out of memory.")
    found = find(study, ledger, zoo)
    assert first.key in [job.key for job in found.preparations]
    assert found.tuned["baseline", ""].winner is None
    assert found.findings[0].verdict.why == "Its rows are not tuned, or its gates not measured yet."


def test_a_regime_that_was_tried_stands_on_the_page_with_its_gates(write, prepared, zoo, ledger):
    prepared(write(("train.images=64000", "train.images=32000")), lambda job: 0.5 * noisy(1.0, job))
    study = write(("measures:", "tried:\n  - overrides: [train.images=32000]\nmeasures:"))
    found, _ = prepared(study)
    (before,) = found.regimes
    assert all(gate.is_passed for gate in found.all_gates)
    assert [gate.where for gate in before.all_gates if not gate.is_passed] == ["reference against baseline"]
    (page,) = write_pages([study], ledger, zoo)
    _, _, section = page.read_text().partition('<h2 id="tuning">')
    ours, theirs = section.partition("overrides: [train.images=32000]")[::2]
    assert [part.count('<strong class="bad">no</strong>') for part in (ours, theirs)] == [0, 1]
    won = [row for row in theirs.split("<tr>") if "<td>won</td>" in row]
    assert ["optimizers.default.lr=0.003" in row for row in won] == [True, False]
    assert "optimizers.default.lr=0.0003 regularizers.0.weight=1.0" in won[1]


def test_the_cost_has_its_stages(write, zoo):
    found = cost.cost_of(write(), zoo, timed=False)
    assert {name: stage.runs for name, stage in found.stages.items()} == {
        "tuning, unless ranges are extended": 3 + 6 + 2 * 4,
        "gates": 2 * 2 + 5,
        "first look": 10,
        "all looks, at most": 80,
    }
    assert list(found.in_words())[1] == "gates: 9 runs, 896 k images"


def test_a_small_study_tunes_with_two_trials_and_has_no_gates(write, prepared):
    found, rounds = prepared(write().scaled_down())
    assert [len(jobs) for jobs in rounds] == [4]
    assert {job.recipe.train.images for job in rounds[0]} == {1280}
    assert len(found.next_jobs()) == 4


def test_a_search_is_refused_for_a_row_that_its_measures_do_not_apply_to(write, zoo):
    study = write(("fid@mnist-cnn]", "accuracy@mnist-cnn]"), ("on: fid@mnist-cnn", "on: accuracy@mnist-cnn"))
    with pytest.raises(GanzooError, match="row 'baseline': the measure 'accuracy@mnist-cnn', which tunes"):
        study.trials(zoo)


def test_a_gate_asks_for_a_measure_that_applies_to_the_baseline(write, zoo):
    gated = ("  deviation: 0.15\n", "  above: {overfitting: 0.75}\n")
    study = write(gated, ("fid@mnist-cnn]", "fid@mnist-cnn, overfitting]"))
    assert all("overfitting" in trial.jobs[0].recipe.evaluate.metrics for trial in study.trials(zoo))
    study = write(
        (gated[0], gated[1].replace("overfitting", "accuracy@mnist-cnn")), ("[fid", "[accuracy@mnist-cnn, fid")
    )
    with pytest.raises(GanzooError, match="row 'baseline': the measure 'accuracy@mnist-cnn', which tunes rows or"):
        study.trials(zoo)


def test_run_tunes_passes_gates_and_looks_by_itself(call, write, tmp_path, monkeypatch):
    write()
    splits, started = [], "2026-02-01T00:00:00+00:00"

    def run(self, jobs):
        splits.append(Counter(job.recipe.dataset.scored_split for job in jobs))
        for job in jobs:
            recorded(self.ledger, job, [score(job)], split=job.recipe.dataset.scored_split, started=started)
        return [self.ledger.find(*job.key) for job in jobs]

    monkeypatch.setattr(Bench, "run", run)
    places = ["--results", tmp_path / "results", "--work", tmp_path / "work"]
    code, out, err = call("study", "run", tmp_path / "tuned.yaml", *places)
    assert code == 0
    rounds = [{"validation": n} for n in (9, 5, 1, 4, 9)] + [{"test": 10}]
    assert splits == rounds
    assert "tuned: 0 of 1 claims decided, 1 open; next 9 runs on validation images, to tune rows or measure" in err
    assert "tuned: 1 of 1 claims decided, 0 open; nothing left to train" in err
    assert "  helps: R1 helps." in out
    # What is recorded is not trained again, unless all of it is.
    splits.clear()
    assert call("study", "run", tmp_path / "tuned.yaml", *places)[0] == 0
    assert splits == [{"test": 10}]
    splits.clear()
    started = "2026-03-01T00:00:00+00:00"
    assert call("study", "run", tmp_path / "tuned.yaml", "--force", *places)[0] == 0
    assert splits == rounds
    assert {run.record.started for run in Ledger(tmp_path / "results").runs} == {started}
