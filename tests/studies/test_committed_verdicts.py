"""Verdicts computed again by scipy, from nothing but the lines of records: of committed studies and of made-up ones."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from recording import recorded
from scipy import stats
from scipy.stats import contingency

from ganzoo.registry.loading import load_zoo
from ganzoo_studies.findings import find
from ganzoo_studies.records import Ledger
from ganzoo_studies.study import load_study

RECORDS = Path(__file__).parents[2] / "results" / "studies"
KINDS = {
    "fid": (-1, "ratio"),
    "kl": (-1, "ratio"),
    "modes": (1, "count"),
    "accuracy": (1, "share of samples"),
    "clustering-accuracy": (1, "share of samples"),
    "recall": (1, "share of real images"),
    "test-error": (-1, "share of real images"),
    "supervised-test-error": (-1, "share of real images"),
}
"""Whether more is better, and what kind of number it is."""
STUDIES = [entry.name for entry in load_zoo().studies]


def kind(metric):
    return KINDS[metric.partition("@")[0]]


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


class Raw:
    """What the lines of a results folder say."""

    def __init__(self, folder):
        self.runs = {(run["digest"], run["seed"]): run for run in lines(folder / "runs.jsonl")}  # a later line counts
        self.rows = {}
        for row in sorted(lines(folder / "scores.jsonl"), key=lambda row: row["weights"] == "ema"):  # last, if there
            run = self.runs.get((row["digest"], row["seed"]), {})
            if (row["started"], row["images"]) == (run.get("started"), run.get("images")):
                protocol = row["protocol"]
                key = row["digest"], row["seed"], row["metric"], protocol["split"], protocol.get("n_fake")
                self.rows[key] = row

    def of(self, cell, measures):
        """The final scores of a cell's runs, each as lines, up to the first gap; None for a run that diverged."""
        recipe, found = cell.jobs[0].recipe, []
        for job in cell.jobs:
            run = self.runs.get((job.digest, job.seed))
            key = job.digest, job.seed
            split, samples = recipe.dataset.scored_split, recipe.evaluate.samples
            rows = [
                self.rows.get((*key, one, split, samples)) or self.rows.get((*key, one, split, None))
                for one in measures
            ]
            if run is None or (run["status"] == "done" and None in rows):
                break
            if run["status"] == "failed" and not run["diverged"]:
                break
            found.append(rows if run["status"] == "done" else None)
        return found

    def logs(self, cell, measures):
        """Log scores (measures, seeds), larger is better; NaN where a run diverged."""
        lost = [math.nan] * len(measures)
        table = [lost if rows is None else [logarithm(row) for row in rows] for rows in self.of(cell, measures)]
        return np.array(table).reshape(len(table), len(measures)).T


def logarithm(row):
    """Of a score in a line: of the odds if it is a share."""
    sign, what = kind(row["metric"])
    value, protocol = row["value"], row["protocol"]
    if what.startswith("share"):
        n = protocol.get("n_real" if "real" in what else "n_fake")
        value = min(max(value, 1 / n), 1 - 1 / n) if n else value
        return sign * math.log(value / (1 - value))
    return sign * math.log(max(value, 1) if what == "count" else value)


def kept(raw, cell, baseline, measures, study):
    """Log scores (measures, seeds) of a row, with NaN where a run collapsed."""
    logs, first = raw.logs(cell, measures), raw.logs(baseline, measures)[:, :5]
    if study.collapse is None or kind(measures[0])[1] != "ratio":
        return np.where(np.isnan(logs.mean(0)), np.nan, logs)
    logs = logs if first.shape[1] == 5 else logs[:, : first.shape[1]]
    bar = np.nanmedian(first.mean(0)) - math.log(study.collapse)
    return np.where(logs.mean(0) >= bar, logs, np.nan)


def interval(ours, theirs, level, *, paired, counts):
    """The interval of how many times better a row is, from log scores of both by seed."""
    if paired:
        low, high = stats.ttest_rel(ours, theirs).confidence_interval(level)
    elif not counts:
        low, high = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(level)
    else:  # Welch's too, with at least the variance of rounding to whole numbers
        parts = [max(np.var(row, ddof=1), np.mean(np.exp(-2 * row)) / 12) / len(row) for row in (ours, theirs)]
        freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(ours) - 1) + parts[1] ** 2 / (len(theirs) - 1))
        low, high = stats.t.interval(level, freedom, ours.mean() - theirs.mean(), math.sqrt(sum(parts)))
    return math.exp(low), math.exp(high)


def of_scores(ours, theirs, level, *, paired, counts):
    """Outcome, interval and views of two rows (measures, settings, seeds) at a look."""
    lost = [int(np.isnan(row[0]).sum()) for row in (ours, theirs)]
    if max(lost) > ours[0].size / 2:
        return "open", None, []
    if paired:
        either = np.isnan(ours + theirs)
        ours, theirs = (np.where(either, np.nan, row) for row in (ours, theirs))
    seen = []
    for one, other in zip([ours.mean(0), *ours], [theirs.mean(0), *theirs], strict=True):
        by_seed = [np.nanmean(row[:, ~np.isnan(row).all(0)], 0) for row in (one, other)]
        seen.append(interval(*by_seed, level, paired=paired, counts=counts))
    (low, high), *views = seen
    better, worse = any(view[0] > 1 for view in views), any(view[1] < 1 for view in views)
    outcome, contradicted = "open", False
    if low > 1 and lost[0] <= lost[1]:
        outcome, contradicted = "helps", worse
    elif high < 1 and lost[1] <= lost[0]:
        outcome, contradicted = "hurts", better
    elif low > 1 / 1.2 and high < 1.2:
        outcome, contradicted = "no difference", better and worse
    return "depends on the measure" if contradicted else outcome, (low, high), views if len(views) > 1 else []


def of_failures(ours, theirs, level):
    """Outcome and interval of two rows' collapsed runs (settings, seeds): Fisher's one-sided tests, and their ends."""
    (a, b), n = (int(row.sum()) for row in (ours, theirs)), ours.size
    table = [[b, n - b], [a, n - a]]
    greater, less = (stats.fisher_exact(table, alternative=side).pvalue for side in ("greater", "less"))
    ends = contingency.odds_ratio(table).confidence_interval(level)
    return "helps" if greater < (1 - level) / 2 else "hurts" if less < (1 - level) / 2 else "open", tuple(ends), []


def judged(found, claim, raw):
    """A claim's outcome, look, collapsed runs, interval and views."""
    study = found.study
    settings = (claim.at,) if claim.at else study.setting_names
    rows = []
    for row, measures in (
        (claim.better, claim.on),
        (claim.than, [claim.than_on or one for one in claim.on]),
    ):
        cells = [(found.cell(row, setting), found.cell("baseline", setting)) for setting in settings]
        rows.append([kept(raw, *both, measures, study) for both in cells])
    seeds = min(one.shape[1] for row in rows for one in row)
    level = 1 - 2 * 0.025 / (len(study.claims) * 4)
    paired = len(settings) > 1 or claim.better == claim.than or claim.paired
    for n in [look for look in (5, 10, 20, 40) if look <= seeds] or [seeds]:
        ours, theirs = (np.stack([one[:, :n] for one in row], 1) for row in rows)
        failed = int(np.isnan(ours[0]).sum()), int(np.isnan(theirs[0]).sum())
        if n < 5:
            return "open", n, failed, None, []
        if claim.about == "failures":
            outcome, ends, views = of_failures(np.isnan(ours[0]), np.isnan(theirs[0]), level)
        else:
            counts = kind(claim.on[0])[1] == "count"
            outcome, ends, views = of_scores(ours, theirs, level, paired=paired, counts=counts)
        if outcome != "open":
            break
    return outcome, n, failed, ends, views


def won(trials, raw, measures):
    """The changes of the trial that wins a row's tuning: of the two best by one seed, the better by three."""
    logs = {trial.changes: raw.logs(trial, measures).mean(0) for trial in trials}

    def score(changes, seeds):
        return np.nan_to_num(logs[changes][:seeds], nan=-math.inf).mean()  # one that diverged never wins

    return max(sorted(logs, key=lambda one: score(one, 1))[-2:], key=lambda one: score(one, 3))


def failed_gates(found, claim, raw, zoo):
    """The gates that a claim of a tuned study fails."""
    study, failed = found.study, set()
    for setting in (claim.at,) if claim.at else study.setting_names:
        cells = {row: found.tuned[row, setting].winner for row in ("baseline", claim.better, claim.than)}
        baseline = cells["baseline"]
        if claim.about != "failures":  # which may have no scores
            reference = study.on_validation("baseline", setting, (*baseline.changes, *study.gates.reference), zoo)
            scores = {row: kept(raw, cell, baseline, claim.on, study).mean(0) for row, cell in cells.items()}
            room = np.nanmean(kept(raw, reference, baseline, claim.on, study).mean(0)) - np.nanmean(scores["baseline"])
            if room < math.log(1.2):
                failed.add("room")
            real = np.mean([logarithm({**row, "value": row["floor"]}) for row in raw.of(baseline, claim.on)[0]])
            from_real = [real - np.nanmean(raw.logs(cells[row], claim.on)) for row in (claim.better, claim.than)]
            if max(from_real) < math.log(1.2):
                failed.add("at its limit")
            for row in (claim.better, claim.than):
                is_quality = study.gates.deviation is not None and kind(claim.on[0])[1] == "ratio"
                if is_quality and np.nanstd(scores[row], ddof=1) >= study.gates.deviation:
                    failed.add("quiet")
        for row, cell in cells.items():
            tried = [dict(change.split("=") for change in one.changes) for one in found.tuned[row, setting].trials]
            for key, value in (change.split("=") for change in cell.changes):
                values = {float(one[key]) for one in tried}
                if len(values) > 2 and float(value) in (min(values), max(values)):
                    failed.add("inside")
        for name, least in study.gates.above.items():
            if np.mean([rows[0]["value"] for rows in raw.of(baseline, [name]) if rows]) <= least:
                failed.add("above")
    return failed


def outcomes_of(study, ledger, zoo):
    """How many claims have which outcome, once each verdict is found to follow from the lines."""
    found, raw, outcomes = find(study, ledger, zoo), Raw(ledger.folder), Counter()
    for one in found.tuned.values():
        if one.winner:
            assert one.winner.changes == won(one.trials, raw, study.claims[0].on)
    for claim, verdict in zip(study.claims, [one.verdict for one in found.findings], strict=True):
        outcomes[verdict.outcome.value] += 1
        tested = not claim.withdrawn and not found.preparations
        if tested and study.gates:
            gates = failed_gates(found, claim, raw, zoo)
            assert verdict.why.startswith("Not tested, since a gate failed") == bool(gates)
            tested = not gates
            outcomes.update(f"gate: {gate}" for gate in gates)
        if not tested:
            assert (verdict.outcome.value, verdict.interval) == ("open", None)
            continue
        outcome, seeds, failed, ends, views = judged(found, claim, raw)
        assert (verdict.outcome.value, verdict.seeds, verdict.failed) == (outcome, seeds, failed), claim.says
        assert (verdict.interval and verdict.interval.ends) == (ends and pytest.approx(ends)), claim.says
        assert [view.ends for view in verdict.views] == [pytest.approx(view) for view in views]
        outcomes["with an interval"] += ends is not None
        outcomes["collapsed"] += sum(failed)
    return outcomes


@pytest.mark.full  # builds the recipes of every study
@pytest.mark.parametrize("name", [name for name in STUDIES if (RECORDS / f"{name}.html").exists()])
def test_verdicts_of_committed_studies_follow_from_the_lines(name, zoo, committed):
    study = load_study(name, zoo)
    assert sum(outcomes_of(study, committed, zoo).values()) >= len(study.claims)


@pytest.fixture(scope="module")
def committed():
    return Ledger(RECORDS)


MADE_UP = """\
question: What helps?
baseline: vanilla-mnist
overrides: [train.images=64000]
settings: {few: [dataset.count=600], all: []}
variants:
  r1: ["regularizers=[{name: r1, weight: 1.0}]"]
  hinge: {recipe: hinge-mnist}
measures: [fid@mnist-ae, fid@mnist-cnn, recall@mnist-cnn]
claims:
  - {says: By both FIDs., better: r1, on: [fid@mnist-ae, fid@mnist-cnn], at: few}
  - {says: By one., better: hinge, on: fid@mnist-cnn, at: all}
  - {says: In every setting., better: hinge, than: r1, on: [fid@mnist-ae, fid@mnist-cnn]}
  - {says: In pairs., better: hinge, than: r1, on: [fid@mnist-ae, fid@mnist-cnn], at: all, paired: true}
  - {says: One row by two measures., better: r1, than: r1, on: fid@mnist-ae, than_on: fid@mnist-cnn, at: few}
  - {says: It fails less often., better: r1, on: [fid@mnist-ae, fid@mnist-cnn], at: few, about: failures}
  - {says: It fails less often anywhere., better: hinge, on: fid@mnist-ae, about: failures}
  - {says: More variety., better: r1, on: recall@mnist-cnn, at: few}
  - {says: Nothing., better: r1, on: fid@mnist-ae, withdrawn: It is not tested.}
"""


def score(ledger, job, values, **more):
    """Record a run with its final scores by metric; None for a run that diverged."""
    (first, value), *others = (values or dict.fromkeys(["fid@mnist-ae"], 9.0)).items()
    error = None if values else "It diverged."
    run = recorded(ledger, job, [value], metric=first, error=error, n_real=10_000, **more)
    ledger.add_scores(run, [{**run.curve[-1], "metric": metric, "value": value} for metric, value in others])


def test_verdicts_of_made_up_studies_follow_from_the_lines(zoo, tmp_path):
    """Rows differ by chance in quality, in noise, in how often they diverge or score badly, and in numbers of seeds."""
    (tmp_path / "made-up.yaml").write_text(MADE_UP)
    study, outcomes = load_study(tmp_path / "made-up.yaml", zoo), Counter()
    cells = study.cells(zoo)
    for world in range(12):
        random, ledger = np.random.default_rng(world), Ledger(tmp_path / str(world))
        for cell in cells:
            better = random.normal(0, 0.3, 2) if cell.row != "baseline" else np.zeros(2)
            noise, lost, bad = random.choice([0.03, 0.1, 0.3]), random.choice([0, 0.1, 0.4]), random.choice([0, 0.2])
            seeds = int(random.choice([4, 5, 12, 20])) if world % 4 == 3 else (5, 10, 20)[world % 4]
            for job in cell.jobs[:seeds]:
                ae, cnn = np.exp(random.normal(better, noise) + (2.5 if random.random() < bad else 0))
                recall = 1 / (1 + np.exp(-random.normal(better[0], noise)))
                values = {"fid@mnist-ae": ae * 0.3, "fid@mnist-cnn": cnn * 4, "recall@mnist-cnn": recall}
                score(ledger, job, None if random.random() < lost else values)
        outcomes += outcomes_of(study, ledger, zoo)
    expected = {"helps", "hurts", "no difference", "depends on the measure", "open", "with an interval", "collapsed"}
    assert set(outcomes) == expected, outcomes


TUNED = """\
question: What helps once rates are tuned?
baseline: vanilla-mnist
overrides: [train.images=64000]
search:
  optimizers.default.lr: [1e-4, 3e-4, 1e-3]
gates:
  reference: [train.images=128000]
  deviation: 0.3
  above: {recall@mnist-cnn: 0.035}
variants:
  r1: ["regularizers=[{name: r1, weight: 1.0}]"]
  hinge: [loss=hinge]
measures: [fid@mnist-ae, fid@mnist-cnn, recall@mnist-cnn]
claims:
  - {says: R1 helps., better: r1, on: [fid@mnist-ae, fid@mnist-cnn]}
  - {says: Hinge helps., better: hinge, on: [fid@mnist-ae, fid@mnist-cnn]}
  - {says: Hinge has more variety., better: hinge, than: r1, on: recall@mnist-cnn}
"""


def test_winners_gates_and_verdicts_of_tuned_studies_follow_from_the_lines(zoo, tmp_path):
    (tmp_path / "tuned.yaml").write_text(TUNED)
    study, outcomes = load_study(tmp_path / "tuned.yaml", zoo), Counter()
    for world in range(8):
        random, ledger = np.random.default_rng(world), Ledger(tmp_path / str(world))
        best = dict(
            zip(study.rows, random.choice([1e-4, 3e-4, 1e-3, 3e-3, 0.03], 3, p=[0.2, 0.3, 0.2, 0.2, 0.1]), strict=True)
        )
        better = dict(zip(study.rows, [0, *random.normal(0, 0.3, 2)], strict=True))
        noise, room, near = random.choice([0.03, 0.1, 0.3]), random.choice([0.1, 0.6, 0.6]), random.choice([1, 1, 0.1])
        # The reference of the last world but one is no better, and the last is loud.
        noise, room = {6: (0.03, 0.0), 7: (0.7, 0.6)}.get(world, (noise, room))
        while jobs := find(study, ledger, zoo).next_jobs(last=10):
            jobs = [job for job in jobs if ledger.find(*job.key) is None]
            if not jobs:
                break
            for job in jobs:
                row = "r1" if job.recipe.regularizers else "hinge" if job.recipe.loss.name == "hinge" else "baseline"
                mean = better[row] - 0.3 * abs(math.log(job.recipe.optimizers["default"].options["lr"] / best[row]))
                mean += room if job.recipe.train.images > 64_000 else 0
                ae, cnn = np.exp(-random.normal(mean, noise, 2))
                recall = 1 / (1 + math.exp((3, 3, 3.7)[world % 3] - random.normal(mean, noise)))
                values = {"fid@mnist-ae": 0.3 * ae * near, "fid@mnist-cnn": 3 * cnn * near, "recall@mnist-cnn": recall}
                score(ledger, job, None if random.random() < 0.03 else values, split=job.recipe.dataset.scored_split)
        outcomes += outcomes_of(study, ledger, zoo)
    gates = {f"gate: {gate}" for gate in ("room", "at its limit", "inside", "above", "quiet")}
    assert set(outcomes) >= {"helps", "hurts", "open", "with an interval", "collapsed", *gates}, outcomes
