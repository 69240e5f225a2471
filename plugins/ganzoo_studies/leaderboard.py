"""The front page of the results: what the studies say, samples of every recipe, and the leaderboard.

It consists of index.html, README.md and claims.svg, made from the ``runs.jsonl`` and ``scores.jsonl`` of the bench and
of the studies.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from ganzoo.api.dataset import GAP
from ganzoo.api.reading import open_picture
from ganzoo.errors import GanzooError
from ganzoo.files import MADE, begins_like, parse_json, refuse_to_overwrite, write_atomically
from ganzoo.formatting import listed
from ganzoo_reports.templates import Picture, between_markers, markdown, page, text
from ganzoo_studies.charts import COSTS, forest, forest_file, quality_against
from ganzoo_studies.findings import Found
from ganzoo_studies.ranking import DISAGREE, Place, Ranking, rankings
from ganzoo_studies.records import RUNS, Ledger, collect_added_scores, read_runs
from ganzoo_studies.verdicts import Outcome

MARKS = {
    "README.md": "# Results\n\nMade by `ganzoo leaderboard`",
    "index.html": "<title>ganzoo: results</title>",
    "claims.svg": MADE,
}
"""What our files have near their beginning, which distinguishes them from others."""
MARKERS = BEGIN, END = "<!-- leaderboard:begin -->", "<!-- leaderboard:end -->"
RIVALS = "translation.json"
"""In a results folder, the scores of translations without training, by dataset, rival and metric."""
MINUTES = (5, math.inf)
"""Training times within which the main README names the best recipe."""
TEXTS = {
    "effect": "The effect is the ratio of geometric means over seeds (of the odds, for a share such as an accuracy), "
    "and of both measures together where a claim is about two. Runs that collapsed are counted, not averaged.",
    "meaning": "A method helps or hurts if the interval after its effect excludes 1, and makes no difference worth "
    "having if the interval lies within 20% of 1; otherwise, the claim is open. Intervals are so wide that 19 of 20 "
    "studies make no wrong statement. A verdict is about the study's setting, not about the paper: networks, images "
    "and training runs may be far smaller than the paper's. Verdicts on seeds that may have been seen when a study was "
    "planned are exploratory.",
    "excess": "In parentheses: how far a score is above real vs real (what real images score instead of samples), ± "
    "the standard deviation of real vs real over draws of real images, where that was measured. Read a column "
    "downwards: numbers in different columns cannot be compared.",
    "caution": "Recipes train for different lengths, and many settings were chosen using these very scores, so small "
    "differences in score and rank mean little. So do small differences in time, because other programs may have been "
    "running during training.",
    "disagree": DISAGREE,
    "marks": "Each claim has its effect, and as a bar the interval that decides: green helps, red hurts, blue makes no "
    "difference worth having, orange depends on the measure, grey is open; hollow is exploratory. Below it, a triangle "
    "and a cross mark the effects by the first and the second measure alone; the band is 20% either way.",
}
"""What every page says."""
COUNTED = {
    Outcome.HELPS: ("holds", "hold"),
    Outcome.HURTS: ("is reversed", "are reversed"),
    Outcome.NO_DIFFERENCE: ("makes little difference", "make little difference"),
    Outcome.DEPENDS: ("depends on the measure", "depend on the measure"),
    Outcome.OPEN: ("is open", "are open"),
}
"""How a sentence ends that begins with the number of claims with an outcome: with one, and with several."""


def write_leaderboard(
    results: Path, readme: Path | None = None, work: Path | None = None, studies: Sequence[Found] = ()
) -> tuple[list[Path], int]:
    """Make the pages of a results folder; returns the files, and the number of contenders on all leaderboards.

    In ``readme``, the text between the markers is replaced with the summary. Scores that ``ganzoo eval`` added to the
    run folders of ``ganzoo bench`` in ``work`` are collected first.

    Raises:
        GanzooError: There are no records and no studies, ``readme`` has no markers, or a file to be overwritten was
            not made by the leaderboard.
    """
    made = read_rankings(results, work)
    if not made and not studies:
        raise GanzooError(
            f"{results} has no runs of `ganzoo bench`, and {results / 'studies'} none of a study.",
            "Train recipes with `ganzoo bench`, or run a study with `ganzoo study run`.",
        )
    remedy = "Move it, or keep the results in a separate folder."
    for path, mark in ((results / name, mark) for name, mark in MARKS.items()):
        is_readme = readme and path.exists() and readme.exists() and path.samefile(readme)
        ours = is_readme or begins_like(path, mark)  # of the README, only a part is replaced
        refuse_to_overwrite(path, ours=ours, command="leaderboard", remedy=remedy)
    contents = {
        results / "index.html": html(made, results, studies).encode(),
        results / "README.md": whole_page(made, studies).encode(),
    }
    if readme is not None:
        contents[readme] = rewritten(readme, made, results, studies).encode()
    if decided := said(studies)["decided"]:
        # It must fit on a screen beside the summary, which says how repetitions differ, and nothing exploratory.
        contents[results / "claims.svg"] = forest_file(
            [one for one in decided if not one.study.is_exploratory and not one.study.repeats] or decided, "svg"
        )
    for path, content in contents.items():
        write_atomically(path, content)
    return [*contents], sum(len(ranking.contenders) for ranking in made)


def read_rankings(results: Path, work: Path | None = None) -> list[Ranking]:
    """The leaderboards of a results folder, with the scores that were added to the run folders in ``work``."""
    if work is not None and (results / RUNS).is_file():
        collect_added_scores(Ledger(results), work)
    return rankings(read_runs(results))


def said(studies: Sequence[Found]) -> dict[str, Any]:
    """What templates say of studies: which claims are decided, which are open, and how many of each outcome there are.

    Of the decided ones, those that help come first, and of these the largest effects. Of a claim that is tested anew
    with fresh seeds, nothing exploratory is said, and until it has some, nothing else.
    """
    order = list(Outcome)
    findings = [one for found in studies for one in found.findings]
    anew = {one.label for one in findings if one.verdict.seeds and not one.study.is_exploratory}
    before = {one.label for one in findings if one.study.is_exploratory} - anew
    findings = [one for one in findings if one.label not in (anew if one.study.is_exploratory else before)]
    studies = [replace(found, findings=tuple(one for one in findings if one.study is found.study)) for found in studies]
    decided = [one for one in findings if one.is_decided]
    counted = Counter(one.verdict.outcome for one in findings)
    return {
        "studies": studies,
        "tested": [found for found in studies if found.findings],
        "decided": sorted(
            decided,
            key=lambda one: (order.index(one.verdict.outcome), -abs(math.log(one.verdict.effect or math.inf))),
        ),
        "open": [one for one in findings if not one.is_decided],
        "counts": listed([f"{n} {COUNTED[outcome][n > 1]}" for outcome in COUNTED if (n := counted[outcome])]),
        "exploratory": all(found.study.is_exploratory for found in studies if found.findings),
    }


def html(made: Sequence[Ranking], results: Path, studies: Sequence[Found] = ()) -> str:
    """``index.html``, which needs no other file and no network."""
    measured = results / RIVALS
    context = {
        "rankings": made,
        "rivals": parse_json(measured.read_bytes())["rivals"] if measured.is_file() else {},
        **said(studies),
        "forest": forest,
        "samples_of": partial(samples_of, results),
        "quality_against": quality_against,
        "costs": COSTS,
        **TEXTS,
    }
    return page("leaderboard.html", ("leaderboard.js",) if made else (), context, package=__package__)


def whole_page(made: Sequence[Ranking], studies: Sequence[Found] = ()) -> str:
    """``results/README.md``."""
    commands = dict.fromkeys(run.record.command for each in made for one in each.contenders for run in one.runs)
    context = {"rankings": made, "studies": studies, "commands": list(commands), **TEXTS}
    return text("results.md.template", context, markdown, package=__package__)


def rewritten(readme: Path, made: Sequence[Ranking], results: Path, studies: Sequence[Found] = ()) -> str:
    """A README with the summary of studies and leaderboards between its markers."""
    try:
        before = readme.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise GanzooError(f"{readme} cannot be read.", "Pass the README that has the markers.") from error
    there = Path(os.path.relpath(results.resolve(), readme.resolve().parent)).as_posix()
    return between_markers(before, MARKERS, summary(made, there, studies), str(readme))


def summary(made: Sequence[Ranking], results: str, studies: Sequence[Found] = ()) -> str:
    """The text between the markers in the main README: what to use, and a few of the best recipes.

    ``results`` is the path from the README to the results.
    """
    tables = [ranking.tables[0] for ranking in made if ranking.tables]
    context = {
        **said(studies),
        "results": Markup.escape(results),
        "metric": tables[0].metric if tables else None,
        "best": best_in_time(made),
    }
    return text("summary.md.template", context, markdown, package=__package__).strip()


def best_in_time(made: Sequence[Ranking]) -> list[Place]:
    """The first dataset's best recipes that train within each of ``MINUTES``, without labels and with; each once."""
    tables = [ranking.tables[0] for ranking in made if ranking.tables]
    best: dict[str, Place] = {}
    for table, minutes in product(tables, MINUTES):
        in_time = (one for one in table.scored if (took := one.contender.mean("seconds")) and took <= 60 * minutes)
        if table.metric == tables[0].metric and (first := next(in_time, None)):
            best.setdefault(first.contender.newest.recipe, first)
    return list(best.values())


ROWS = 8
"""Rows of images in a run's grids."""
ACROSS, DOWN = 4, 2
SIDE = 96
"""Largest side of a thumbnail of a plot of points, in pixels."""


def samples_of(folder: Path, samples: str | None, across: int = ACROSS) -> Picture | None:
    """A record's picture, as small as pages show it, ``across`` images wide.

    None if it is missing, unreadable or outside the results folder.
    """
    with suppress(GanzooError, OSError, ValueError):
        path = (folder / (samples or "")).resolve()
        if path.is_relative_to(folder.resolve()):
            with open_picture(path, ("PNG",)) as image:
                return Picture.of(thumbnail(image, across))
    return None


def thumbnail(image: Image.Image, across: int = ACROSS) -> Image.Image:
    """A grid cropped to two rows of images, pixel for pixel; a plot of points is scaled down instead."""
    pitch, rest = divmod(image.height - GAP, ROWS)
    if rest or pitch > SIDE:
        image.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
        return image
    return image.crop((0, 0, min(across * pitch + GAP, image.width), DOWN * pitch + GAP))
