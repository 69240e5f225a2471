"""The committed studies' verdicts, computed again by scipy from the lines of the committed records."""

import json
import math
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from scipy import stats

from ganzoo_studies.findings import find
from ganzoo_studies.records import Ledger
from ganzoo_studies.study import load_study
from ganzoo_studies.verdicts import Outcome

RECORDS = Path(__file__).parents[2] / "results" / "studies"


def lines(name):
    return [json.loads(line) for line in (RECORDS / name).read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def final():
    """The newest final score on test images, by digest, seed and metric, of the newest run."""
    if not (RECORDS / "runs.jsonl").is_file():
        pytest.skip("This copy has no records.")
    newest = {(run["digest"], run["seed"]): (run["started"], run["images"]) for run in lines("runs.jsonl")}
    return {
        (row["digest"], row["seed"], row["metric"]): row["value"]
        for row in lines("scores.jsonl")
        if (row["started"], row["images"]) == newest.get((row["digest"], row["seed"]))
        and (row["protocol"]["split"], row["weights"]) == ("test", "ema")
    }


@pytest.mark.full  # reads twenty thousand scores
@pytest.mark.parametrize("name", ["few-images-exploratory", "labels-exploratory", "losses-exploratory", "regularizers-exploratory"])
def test_intervals_are_scipy_s_from_the_raw_lines(name, final, zoo):
    study = load_study(name, zoo)
    found = find(study, Ledger(RECORDS), zoo)
    compared = [(one.claim, one.verdict) for one in found.findings if one.verdict.interval]
    assert compared
    for claim, verdict in compared:

        def scores(row, n, on=claim.on, at=claim.at):
            """Logarithms (measures, n)."""
            (digest,) = {job.digest for job in found.cell(row, at or "").jobs}
            values = np.array([[final[digest, seed, metric] for seed in range(n)] for metric in on])
            if on[0].startswith("fid"):
                return -np.log(values)
            return np.log(values / (1 - values))

        rows = [scores(row, verdict.seeds) for row in (claim.better, claim.than)]
        if claim.on[0].startswith("fid"):
            bar = median(scores("baseline", 5).mean(0)) - math.log(5)
            rows = [row[:, row.mean(0) >= bar] for row in rows]
        level = 1 - 2 * 0.025 / (len(study.claims) * 4)
        views = [tuple(row.mean(0) for row in rows), *zip(*rows, strict=True)]
        ends = [stats.ttest_ind(*view, equal_var=False).confidence_interval(level) for view in views]
        shown = [verdict.interval, *(verdict.views or (verdict.interval,))]
        assert [(one.low, one.high) for one in shown] == [pytest.approx(tuple(np.exp(pair))) for pair in ends]
        assert verdict.failed == tuple(verdict.seeds - row.shape[1] for row in rows)
        low, high = np.exp(ends[0])
        assert {
            Outcome.HELPS: low > 1,
            Outcome.HURTS: high < 1,
            Outcome.OPEN: low <= 1 <= high,
            Outcome.NO_DIFFERENCE: False,
            Outcome.DEPENDS: False,
        }[verdict.outcome]
