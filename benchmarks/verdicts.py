"""How often the rule of studies is wrong, and how many seeds it needs: simulated campaigns of known effects.

    python benchmarks/verdicts.py --out results/verdicts.json

A campaign is a study of six claims, each about a row of its own, against one shared baseline, by the mean of two
measures. It gets looks until every claim is decided or has 40 seeds. With a true effect of 1, *helps* and *hurts* are
wrong; with one of 1.2, *no difference* and *hurts*; with one of 1/1.2, *no difference* and *helps*. Since both measures
have the same true effect, *depends on the measure* is always wrong. The rule is the one that studies use,
``ganzoo_studies.verdicts.look``.

Noise is normal, skewed (exponential, towards bad scores) or recorded: residuals of committed runs. In runs that
collapse, scores are ten times worse. All rows of a campaign have the same noise, except where deviations differ by a
factor of three or as in the records: Welch's interval is too narrow if the noisier row is also skewed, so those figures
are reported, and the others must stay below ``ALLOWED``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, stats

from ganzoo.files import write_atomically
from ganzoo_studies.records import read_runs
from ganzoo_studies.verdicts import BEYOND, LOOKS, WORTH_HAVING, Outcome, bound, look, without_collapsed

CLAIMS = 6
ALLOWED = 0.055
VIEWS = ("fid@mnist-ae", "fid@mnist-cnn")
ALIKE = 0.5
"""The correlation of two measures' noise, where it is not recorded."""
DEVIATIONS = (0.03, 0.05, 0.12, 0.2)
"""Deviations between seeds of the mean of both measures' logarithms: of an MLP, and of narrow convolutional GANs."""
EFFECTS = {
    "1": (1.0,) * CLAIMS,
    "1.2": (WORTH_HAVING,) * CLAIMS,
    "1/1.2": (1 / WORTH_HAVING,) * CLAIMS,
    "mixed": (1.0, WORTH_HAVING, 1 / WORTH_HAVING) * (CLAIMS // 3),
}
RIGHT = {
    1.0: (Outcome.NO_DIFFERENCE.value, Outcome.OPEN.value),
    WORTH_HAVING: (Outcome.HELPS.value, Outcome.OPEN.value),
    1 / WORTH_HAVING: (Outcome.HURTS.value, Outcome.OPEN.value),
}
"""What may be said of a true effect."""

Values = NDArray[np.float64]
Noise = Callable[[np.random.Generator, int, int], Values]
"""Noise of both measures (measures, campaigns, rows, seeds), given campaigns and rows; the first row is the baseline's.
The mean of both has a standard deviation of 1."""


@dataclass(frozen=True)
class Recorded:
    """Noise between the seeds of committed runs."""

    shapes: Values  # (measures, n): residuals of the logarithms, scaled so that those of the mean have a deviation of 1
    raw: Values  # the same, not scaled
    deviations: Values  # of the mean, one for each recipe


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaigns", type=int, default=10_000)
    parser.add_argument("--records", type=Path, default=Path("results", "studies"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found = simulated(args.campaigns, recorded(args.records))
    text = json.dumps(found, indent=1) + "\n"
    print(text, end="")
    if args.out:
        write_atomically(args.out, text.encode())
    worst = max(one["at_most"] for one in found["wrong"] if one["held"])
    if worst >= ALLOWED:
        sys.exit(f"Up to {worst:.2%} of campaigns may say something wrong, more than {ALLOWED:.1%}.")


def recorded(folder: Path) -> Recorded:
    """The noise of recipes with at least eight runs that both measures have scored."""
    groups: dict[tuple[str, str], list[list[float]]] = {}
    for run in read_runs(folder):
        scores = {score["metric"]: math.log(score["value"]) for score in run.scores if score["metric"] in VIEWS}
        if len(scores) == len(VIEWS):
            groups.setdefault((run.record.digest, run.record.dataset), []).append([scores[view] for view in VIEWS])
    shapes, raw, deviations = [], [], []
    for values in (np.array(rows).T for rows in groups.values() if len(rows) >= 8):
        n = values.shape[1]
        residuals = (values - values.mean(1, keepdims=True)) * math.sqrt(n / (n - 1))
        deviation = values.mean(0).std(ddof=1)
        raw.append(residuals)
        shapes.append(residuals / deviation)
        deviations.append(deviation)
    return Recorded(np.concatenate(shapes, 1), np.concatenate(raw, 1), np.array(deviations))


def normal(random: np.random.Generator, campaigns: int, rows: int) -> Values:
    """Normal noise."""
    return _two_measures(random.standard_normal((3, campaigns, rows, LOOKS[-1])))


def skewed(random: np.random.Generator, campaigns: int, rows: int) -> Values:
    """Exponential noise, with its tail towards bad scores."""
    return _two_measures(1 - random.standard_exponential((3, campaigns, rows, LOOKS[-1])))


def _two_measures(drawn: Values) -> Values:
    """Two correlated measures from what is common to both and what is not."""
    both = math.sqrt(ALIKE) * drawn[:1] + math.sqrt(1 - ALIKE) * drawn[1:]
    return both / math.sqrt((1 + ALIKE) / 2)


def of_records(residuals: Values) -> Noise:
    """Noise that is drawn from residuals, with replacement."""

    def noise(random: np.random.Generator, campaigns: int, rows: int) -> Values:
        return residuals[:, random.integers(residuals.shape[1], size=(campaigns, rows, LOOKS[-1]))]

    return noise


def simulated(campaigns: int, known: Recorded) -> dict[str, Any]:
    """Everything that the command writes."""
    random = np.random.default_rng(0)
    wrong, power = [], []
    for name, noise, scale, collapsing, is_held in _noises(known, random, campaigns):
        for effect, effects in EFFECTS.items():
            outcomes, _ = campaign(random, effects, noise, scale, collapsing)
            allowed = np.stack([np.isin(outcomes[:, i], RIGHT[true]) for i, true in enumerate(effects)], 1)
            bad = int((~allowed).any(1).sum())
            interval = stats.binomtest(bad, campaigns).proportion_ci(0.95)
            wrong.append(
                {
                    "noise": name,
                    "true_effect": effect,
                    "share": bad / campaigns,
                    "at_most": float(interval.high),
                    "held": is_held,
                }
            )
    for deviation in DEVIATIONS:
        for collapsing in (0.0, 0.1):
            for true, right in ((1.5, Outcome.HELPS), (1.0, Outcome.NO_DIFFERENCE)):
                scale = np.full((campaigns, 1 + CLAIMS), deviation)
                outcomes, seeds = campaign(random, (true,) * CLAIMS, normal, scale, collapsing)
                decided = outcomes == right.value
                power.append(
                    {
                        "deviation": deviation,
                        "collapsing": collapsing,
                        "true_effect": true,
                        "decided": float(decided.mean()),
                        "mean_seeds": float(seeds.mean()),
                    }
                )
    return {
        "campaigns": campaigns,
        "claims": CLAIMS,
        "recorded_runs": known.raw.shape[1],
        "recorded_deviations": [float(np.quantile(known.deviations, q)) for q in (0.1, 0.5, 0.9)],
        "wrong": wrong,
        "power": power,
        "one_claim_at_one_look": simplest(random, campaigns),
    }


def _noises(
    known: Recorded, random: np.random.Generator, campaigns: int
) -> Iterator[tuple[str, Noise, Values, float, bool]]:
    """Name, noise, deviations (campaigns, rows), share of runs that collapse, and whether errors are held."""
    shape = campaigns, 1 + CLAIMS
    shapes = of_records(known.shapes)
    for deviation in DEVIATIONS[1:]:
        yield f"normal, {deviation}", normal, np.full(shape, deviation), 0.0, True
        yield f"skewed, {deviation}", skewed, np.full(shape, deviation), 0.0, True
        yield f"normal, {deviation}, one in ten collapses", normal, np.full(shape, deviation), 0.1, True
    same = np.broadcast_to(random.choice(known.deviations, (campaigns, 1)), shape)
    yield "recorded", shapes, same, 0.0, True
    yield "recorded, one in ten collapses", shapes, same, 0.1, True
    yield "recorded, all recipes mixed", of_records(known.raw), np.ones(shape), 0.0, True
    yield "recorded, each row with a recipe's own deviation", shapes, random.choice(known.deviations, shape), 0.0, False
    threefold = np.full(shape, 0.15)
    threefold[:, 0] = 0.05
    for name, noise in (("normal", normal), ("skewed", skewed)):
        yield f"{name}, rows with 0.15 and a baseline with 0.05", noise, threefold, 0.0, False
        yield f"{name}, rows with 0.05 and a baseline with 0.15", noise, 0.2 - threefold, 0.0, False


def campaign(
    random: np.random.Generator, effects: tuple[float, ...], noise: Noise, scale: Values, collapsing: float
) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Outcomes of all claims (campaigns, claims) at the look where each is decided, and the number of seeds there."""
    campaigns, rows = scale.shape
    scores = noise(random, campaigns, rows) * scale[..., None]
    scores[:, :, 1:] += np.log(effects)[:, None]
    scores -= math.log(10) * (random.random(scores.shape[1:]) < collapsing)
    baseline = scores[:, :, :1]
    ours, theirs = (without_collapsed(one, baseline, BEYOND)[:, None] for one in (scores[:, :, 1:], baseline))
    outcomes = np.full((campaigns, rows - 1), Outcome.OPEN.value, dtype="<U32")
    seeds = np.full(outcomes.shape, LOOKS[-1])
    for n in LOOKS:
        left = (outcomes == Outcome.OPEN.value).any(1)
        found, *_ = look(ours[:, :, left, :, :n], theirs[:, :, left, :, :n], bound(rows - 1))
        is_first = (outcomes[left] == Outcome.OPEN.value) & (found != Outcome.OPEN.value)
        outcomes[left] = np.where(is_first, found, outcomes[left])
        seeds[left] = np.where(is_first, n, seeds[left])
    return outcomes, seeds


def simplest(random: np.random.Generator, campaigns: int) -> Mapping[str, float]:
    """The chance that one claim of six is wrong at the first look, by hand and simulated: one measure, normal noise.

    With equal variances and n seeds each, the squared error is proportional to v1 + v2, which is independent of the
    share r = v1 / (v1 + v2). So the statistic has Student's distribution with 2 (n - 1) degrees of freedom whatever r
    is, and is compared with the quantile for (n - 1) / (r^2 + (1 - r)^2); r has a Beta distribution.
    """
    n, level = LOOKS[0], bound(CLAIMS)

    def wrong(r: float) -> float:
        quantile = stats.t.isf(level, (n - 1) / (r**2 + (1 - r) ** 2))
        return float(2 * stats.t.sf(quantile, 2 * (n - 1)) * stats.beta.pdf(r, (n - 1) / 2, (n - 1) / 2))

    ours, theirs = random.standard_normal((2, 1, 1, 50 * campaigns, n))
    found, *_ = look(ours, theirs, level)
    bad = int(np.isin(found, [Outcome.HELPS.value, Outcome.HURTS.value]).sum())
    interval = stats.binomtest(bad, found.size).proportion_ci(0.95)
    by_hand = integrate.quad(wrong, 0, 1)[0]
    return {"nominal": 2 * level, "by_hand": by_hand, "simulated_from": interval.low, "simulated_to": interval.high}


if __name__ == "__main__":
    main()
