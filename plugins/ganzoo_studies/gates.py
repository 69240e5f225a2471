"""Gates: what must hold in a study's regime before its claims are tested, by five seeds on validation images.

- *room*: a reference, made to be better, is at least 20% better than the baseline, so the measure shows such effects;
- *not at its limit*: the scores vary between seeds, and one of the claim's rows is at least 20% from real images;
- *inside*: the best value of each range that was searched lies inside it;
- *quiet*, if the study says so: the logs of a row's scores deviate less than a number between seeds; not asked of a
  share, such as an accuracy, which is about something other than the quality of images;
- *above*, if the study says so: the baseline exceeds a number by some measure.

A failed gate changes the regime, never the rule: its claims stay open until the file describes another one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from ganzoo.formatting import figure
from ganzoo.registry.loading import Zoo
from ganzoo_studies.cells import CellFound, kept_logs
from ganzoo_studies.study import BASELINE, VALIDATION_SEEDS, Claim, Study
from ganzoo_studies.tuning import Tuned
from ganzoo_studies.verdicts import WORTH_HAVING, Logs


@dataclass(frozen=True)
class Gate:
    """A condition on a study's regime, with what was found."""

    where: str  # the row and the setting
    needs: str  # in words
    found: str  # in words
    is_passed: bool


def gates_of(
    claim: Claim, study: Study, setting: str, tuned: Mapping[str, Tuned], reference: CellFound, zoo: Zoo
) -> Iterator[Gate]:
    """The gates of a claim in a setting. Its rows, the baseline and the reference have all seeds on validation images.

    A claim about failures needs no room, and no scores that vary.
    """
    rule, at = study.gates, f", {setting}" if setting else ""
    assert rule is not None, "only a study with gates has gates"
    limit = rule.deviation or math.inf
    cells = {row: one.winner for row, one in tuned.items() if one.winner is not None}
    for row, one in tuned.items():
        if ranges := [key for key, values in study.ranges(row).items() if len(values) > 2]:
            inside = " ".join(one for one in cells[row].changes if one.partition("=")[0] in ranges)
            yield Gate(
                f"{row}{at}",
                "best values inside their ranges",
                re.sub(r"[^ =]*\.(?=[^ =.]+=)", "", inside),
                not one.at_end,
            )
    for name, least in rule.above.items():
        mean = cells[BASELINE].values(study.measure(name)).mean
        yield Gate(f"{BASELINE}{at}", f"{name} above {least:g}", figure(mean), mean is not None and mean > least)
    if claim.about == "failures":
        return
    measures, by = [study.measure(name) for name in claim.on], " and ".join(claim.on)

    def scores(cell: CellFound) -> Logs:
        """Means over the measures, of runs that did not collapse."""
        logs: Logs = kept_logs(cell, cells[BASELINE], measures, study.collapse, zoo)[:, :VALIDATION_SEEDS].mean(0)
        return logs.compress(~np.isnan(logs))

    known = {row: scores(cell) for row, cell in cells.items()}
    room = math.exp(_mean(scores(reference)) - _mean(known[BASELINE]))
    needs = f"{WORTH_HAVING} times better by {by}"
    yield Gate(f"reference against {BASELINE}{at}", needs, figure(room), room >= WORTH_HAVING)
    rows = dict.fromkeys((claim.better, claim.than))
    gaps = [cells[row].from_real(measures, zoo) for row in rows]
    worse = None if None in gaps else math.exp(max(filter(None, gaps), default=0.0))
    varies = any(len(set(np.round(known[row], 9))) > 1 for row in rows)
    yield Gate(
        f"{' or '.join(rows)}{at}",
        f"scores that vary, {WORTH_HAVING} times worse than real images by {by}",
        f"{'' if varies else 'equal scores, '}{figure(worse)}",
        varies and (worse is None or worse >= WORTH_HAVING),
    )
    for row in rows if rule.deviation and all(one.scale(zoo) != "share" for one in measures) else ():
        deviation = stdev(known[row]) if len(known[row]) > 2 else math.nan
        lost = VALIDATION_SEEDS - len(known[row])
        words = ", and ".join(
            [figure(deviation)] * (deviation >= 0) + [f"{lost} of {VALIDATION_SEEDS} collapsed"] * (lost > 0)
        )
        yield Gate(f"{row}{at}", f"a deviation below {limit:g} of the logs of {by}", words, deviation < limit)


def _mean(logs: Logs) -> float:
    return fmean(logs) if len(logs) else math.nan
