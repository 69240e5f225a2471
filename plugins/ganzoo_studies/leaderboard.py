"""The front page of the results: study verdicts, samples of every recipe, and the leaderboard.

It consists of index.html, README.md and samples.png, made from the ``runs.jsonl`` and ``scores.jsonl`` of the bench and
of the studies.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image

from ganzoo.api.dataset import GAP
from ganzoo.api.reading import open_picture
from ganzoo.errors import GanzooError
from ganzoo.files import begins_like, refuse_to_overwrite, write_atomically
from ganzoo.formatting import NOTHING, count, duration, figure, short
from ganzoo_reports.plots import own_settings, shortened
from ganzoo_reports.templates import Picture, between_markers, code, markdown, markdown_table, page
from ganzoo_studies.ranking import (
    COSTS,
    DISAGREE,
    Place,
    Ranking,
    Spread,
    Table,
    quality_against,
    rankings,
    views_against_one_another,
)
from ganzoo_studies.records import RUNS, Ledger, collect_added_scores, read_runs

TITLE = "# Results\n\nMade by `ganzoo leaderboard`"
SOFTWARE = "ganzoo leaderboard"
MARKS = {"README.md": TITLE, "index.html": "<title>ganzoo: results</title>", "samples.png": SOFTWARE}
"""What our files have near their beginning, which distinguishes them from others."""
MARKERS = BEGIN, END = "<!-- leaderboard:begin -->", "<!-- leaderboard:end -->"
MINUTES = (5, 20, math.inf)
"""Training times within which the main README names the best recipe."""
UNANSWERED = (
    "No registered study is complete yet. `ganzoo study list` shows the questions; `ganzoo study run NAME` answers "
    "one. For studies from your own YAML files, see studies/README.md, or register them by a plugin."
)
NO_TABLE = "No recipe has been trained with `ganzoo bench` here yet."
COUNTED = {
    "helps": ("helps", "help"),
    "hurts": ("hurts", "hurt"),
    "no difference": ("makes no difference", "make no difference"),
    "depends on the measure": ("depends on the measure", "depend on the measure"),
    "open": ("is open", "are open"),
}
"""How each verdict is worded for one claim and for several; the clearest verdicts come first."""
EFFECT = (
    "The effect is the ratio of geometric means over seeds (of the odds, for a share such as an accuracy), and of both "
    "measures together where a claim is about two. Runs that collapsed are counted, not averaged."
)
MEANING = (
    "A method helps or hurts if the interval after its effect excludes 1, and makes no difference worth having if the "
    "interval lies within 20% of 1; otherwise, the claim is open. Intervals are so wide that 19 of 20 studies make no "
    "wrong statement. A verdict is about the study's setting, not about the paper: networks, images and training runs "
    "may be far smaller than the paper's. Verdicts on seeds that may have been seen when a study was planned are "
    "exploratory."
)
EXCESS = (
    "In parentheses: how far a score is above real vs real (what real images score instead of samples), ± the standard "
    "deviation of real vs real over draws of real images, where that was measured. Read a column downwards: numbers in "
    "different columns cannot be compared."
)
SEEDS = (
    "Where a recipe ran with several seeds, each figure is the mean over the seeds that did not fail, with the lowest "
    "and highest in square brackets."
)
CAUTION = (
    "Recipes train for different lengths, and many settings were chosen using these very scores, so small differences "
    "in score and rank mean little. So do small differences in time, because other programs may have been running "
    "during training."
)


@dataclass(frozen=True)
class Finding:
    """A claim of a study with its verdict, as the index of studies and the front page show it."""

    verdict: str  # the value of an ``Outcome``
    says: str
    paper: str | None
    on: str  # the measure that decides the verdict, or both
    effect: str  # in words, with its interval, or why the claim is open
    compared: str  # the rows that are compared
    seeds: str = NOTHING  # the number of seeds behind the verdict, in words

    @property
    def is_decided(self) -> bool:
        """Whether more seeds would change nothing."""
        return self.verdict != "open"


@dataclass(frozen=True)
class Answer:
    """A study with results."""

    name: str
    question: str
    page: str | None  # relative to the results; None if it has not been made
    findings: tuple[Finding, ...]  # one for each of its claims, in order
    is_exploratory: bool = False  # whether its seeds may have been seen when it was planned

    @property
    def verdict_counts(self) -> str:
        """The number of claims with each verdict: ``2 help, 1 is open (exploratory)``."""
        counts = _counted(self.findings)
        return f"{counts}{' (exploratory)' if self.is_exploratory else ''}" if counts else "no claims: see its table"


def _counted(findings: Iterable[Finding]) -> str:
    counts = Counter(finding.verdict for finding in findings)
    return ", ".join(f"{n} {COUNTED[verdict][n > 1]}" for verdict in COUNTED if (n := counts[verdict]))


def write_leaderboard(
    results: Path, readme: Path | None = None, work: Path | None = None, answers: Sequence[Answer] = ()
) -> tuple[list[Path], int]:
    """Make the pages of a results folder; returns the files, and the number of contenders on all leaderboards.

    In ``readme``, the text between the markers is replaced with the summary. Scores that ``ganzoo eval`` added to the
    run folders of ``ganzoo bench`` in ``work`` are collected first.

    Raises:
        GanzooError: There are no records and no answers, ``readme`` has no markers, or a file to be overwritten was
            not made by the leaderboard.
    """
    made = read_rankings(results, work) if not answers or (results / RUNS).is_file() else []
    for path, mark in ((results / name, mark) for name, mark in MARKS.items()):
        if not (
            readme and path.exists() and readme.exists() and path.samefile(readme)
        ):  # only a part of it is replaced
            remedy = "Move it, or keep the results in a separate folder."
            refuse_to_overwrite(path, ours=begins_like(path, mark), command="leaderboard", remedy=remedy)
    contents = {results / "index.html": html(made, results, answers), results / "README.md": whole_page(made, answers)}
    picture = best_samples(made, results)
    if readme is not None:
        contents[readme] = rewritten(readme, made, results, has_picture=picture is not None, answers=answers)
    files = {path: text.encode() for path, text in contents.items()}
    if picture is not None:
        files[results / "samples.png"] = picture
    for path, content in files.items():
        write_atomically(path, content)
    return [*files], sum(len(ranking.contenders) for ranking in made)


def read_rankings(results: Path, work: Path | None = None) -> list[Ranking]:
    """The leaderboards of a results folder, with the scores that were added to the run folders in ``work``."""
    path = results / RUNS
    if not path.is_file():
        there_too = f", and no study in {results / 'studies'} is complete"
        remedy = "Train recipes with `ganzoo bench`, or run a study with `ganzoo study run`."
        raise GanzooError(f"{path} does not exist{there_too}.", remedy)
    runs = read_runs(results)
    if not runs:
        raise GanzooError(f"{path} has no runs.", "Train a recipe with `ganzoo bench` first.")
    if work is not None and collect_added_scores(ledger := Ledger(results), work):
        runs = ledger.runs
    return rankings(runs)


def html(made: Sequence[Ranking], results: Path, answers: Sequence[Answer] = ()) -> str:
    """``index.html``, which needs no other file and no network."""
    sheets = [_sheet(number, ranking, results) for number, ranking in enumerate(made)]
    texts = {"effect": f"{MEANING} {EFFECT}", "caution": CAUTION, "excess": EXCESS, "disagree": DISAGREE}
    context = {"sheets": sheets, "answers": answers, **texts}
    return page("leaderboard.html", ("leaderboard.js",) if made else (), context, package=__package__)


def _sheet(number: int, ranking: Ranking, results: Path) -> dict[str, Any]:
    """A ranking on the page: a row for each contender, and the plots."""
    keys = [table.metric.key for table in ranking.tables]
    return {
        "ranking": ranking,
        "rows": [
            {
                "contender": one,
                "picture": samples_of(one.newest.samples, results),
                "places": [table.place_of(one) for table in ranking.tables],
                "views": [
                    (view.place_of(one), ranking.marks.get((id(one), index), ""))
                    for index, view in enumerate(ranking.views)
                ],
            }
            for one in ranking.contenders
        ],
        "plots": [
            [quality_against(table, cost, f"plot-{number}-{index}-{cost.name}") for cost in COSTS]
            for index, table in enumerate(ranking.tables)
        ],
        "views": [
            views_against_one_another(ranking.views[0], view, f"views-{number}-{index}")
            for index, view in enumerate(ranking.views[1:])
        ],
        # For each view of the headline, the index of the table that has the same column.
        "shown_as": [keys.index(view.metric.key) for view in ranking.views],
    }


def whole_page(made: Sequence[Ranking], answers: Sequence[Answer] = ()) -> str:
    """``results/README.md``."""
    parts = [
        f"{TITLE} from [runs.jsonl](runs.jsonl) and [scores.jsonl](scores.jsonl); "
        "[index.html](index.html) shows the same with pictures, plots and sortable tables.",
        "## What papers claim",
        f"{MEANING} {EFFECT}" if answers else UNANSWERED,
    ]
    for answer in answers:
        link = f"[{markdown(answer.question)}]({answer.page})" if answer.page else markdown(answer.question)
        rows = [(one, markdown(one.compared)) for one in answer.findings]
        parts += [f"### {link}", f"{answer.verdict_counts.capitalize()}.", findings_table(rows, "compared")]
    parts += [
        "## Leaderboard",
        "Scores are ranked only against scores measured under the "
        f"same protocol, given above each table. {SEEDS} {CAUTION} The reported score is in bold. 95%: the confidence "
        "interval of a single run's score over other samples from it; other seeds may well score outside it. "
        f"{EXCESS}",
    ]
    if not made:
        parts.append(NO_TABLE)
    for ranking in made:
        parts.append(f"## {markdown(ranking.title)}")
        if len(ranking.views) > 1:
            parts += [*_headline(ranking), *([DISAGREE] if ranking.marks else [])]
        parts += [part for table in ranking.tables for part in _section(table)]
        if failed := [one for one in ranking.contenders if one.trouble]:
            parts.append("### Failures")
            parts.append("\n".join(f"- {markdown(one.name)}: {markdown(one.trouble)}" for one in failed))
    if made:
        commands = dict.fromkeys(run.record.command for each in made for one in each.contenders for run in one.runs)
        parts += [
            "## How to reproduce each figure",
            "Each line is one run. `ganzoo bench` records it; `ganzoo leaderboard` makes these pages from the records.",
            "\n".join(f"- {code(command)}" for command in commands),
        ]
    return "\n\n".join(filter(None, parts)) + "\n"


def findings_table(findings: Sequence[tuple[Finding, str]], column: str) -> str:
    """Verdicts in Markdown, each with its cell in one more column; empty if there are none."""
    headings = dict.fromkeys(("verdict", "claim", "by", "effect", column, "paper"), "left")
    rows = [
        [f"**{one.verdict}**", *map(markdown, (one.says, one.on, one.effect)), more, markdown(one.paper or NOTHING)]
        for one, more in findings
    ]
    return markdown_table(headings, rows) if rows else ""


def _section(table: Table) -> Iterable[str]:
    """A table with everything that is known of each place, below its heading and protocol."""
    metric = table.metric
    yield f"### {markdown(metric.name)}"
    floor = f" Real vs real: {figure(table.floor)}." if table.floor is not None else ""
    yield f"Protocol: {markdown(metric.protocol)}; {metric.direction}.{floor}"
    rows = []
    for place in table.places:
        one = place.contender
        # Recipes that finished without this metric are left out; failed ones are listed as failed.
        if place.rank or not one.done:
            rows.append(
                {
                    "rank": str(place.rank) if place.rank else "failed",
                    "recipe": markdown(one.name),
                    "ema": _score(place, "ema"),
                    "raw": _score(place, "raw"),
                    "95%": NOTHING if place.interval is None else " to ".join(map(figure, place.interval)),
                    "above real vs real": place.excess_in_words or NOTHING,
                    "images": _mean(one.images, count),
                    "training": _mean(one.seconds, duration),
                    "images/s": _mean(one.speed, count),
                    "parameters": short(one.parameters),
                    "GFLOPs/image": figure(one.newest.flops_per_image and one.newest.flops_per_image / 1e9),
                    "on": markdown(one.newest.where),
                }
            )
    aligned = {heading: "left" if heading in ("recipe", "on") else "right" for heading in rows[0]}
    yield markdown_table(aligned, [[*row.values()] for row in rows])


def _headline(ranking: Ranking) -> Iterable[str]:
    """The headline's metrics side by side, ranked by the first; the ranking must have several."""
    first = ranking.views[0]
    names = ", ".join(f"{markdown(view.metric.name)} ({view.metric.direction})" for view in ranking.views)
    machines = list(dict.fromkeys(place.contender.newest.where for place in first.scored))
    several = len(machines) > 1
    listed = [f"({number}) {markdown(one)}" if several else markdown(one) for number, one in enumerate(machines, 1)]
    yield (
        f"Ranked by the first of {names}; {markdown(first.metric.protocol)}. "
        f"Trained in {'; '.join(listed)}."
        f"{' Times marked with different numbers cannot be compared.' if several else ''}"
    )
    rows = []
    for place in first.scored:
        one = place.contender
        cells = []
        for number, view in enumerate(ranking.views):
            there = view.place_of(one)
            above = f"({there.excess_in_words})" if there.excess_in_words else None
            cells.append(" ".join(filter(None, (_spread(there.value), above, ranking.marks.get((id(one), number))))))
        machine = f" ({machines.index(one.newest.where) + 1})" if several else ""
        rows.append([str(place.rank), markdown(one.name), *cells, _mean(one.seconds, duration) + machine])
    aligned = {"rank": "right", "recipe": "left", **{view.metric.name: "right" for view in ranking.views}}
    yield markdown_table({**aligned, "training": "right"}, rows)


def _score(place: Place, kind: str) -> str:
    score = _spread(place.values.get(kind))
    return f"**{score}**" if kind == place.reported else score


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return NOTHING
    mean = figure(spread.mean)
    return mean if spread.seeds == 1 else f"{mean} \\[{figure(spread.low)} to {figure(spread.high)}\\]"


def _mean(spread: Spread | None, in_words: Callable[[float | None], str]) -> str:
    return in_words(None if spread is None else spread.mean)


def rewritten(
    readme: Path, made: Sequence[Ranking], results: Path, *, has_picture: bool, answers: Sequence[Answer] = ()
) -> str:
    """A README with the summary of these leaderboards between its markers.

    The summary includes the picture, unless the README shows it elsewhere.
    """
    try:
        text = readme.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise GanzooError(f"{readme} cannot be read.", "Pass the README that has the markers.") from error
    there = Path(os.path.relpath(results.resolve(), readme.resolve().parent)).as_posix()
    elsewhere = text.partition(BEGIN)[0] + text.partition(END)[2]
    has_picture = has_picture and f"({there}/samples.png)" not in elsewhere
    return between_markers(text, MARKERS, summary(made, there, has_picture, answers), str(readme))


def summary(made: Sequence[Ranking], results: str, has_picture: bool, answers: Sequence[Answer] = ()) -> str:
    """The text between the markers in the main README: a few of the best recipes, and how many claims hold.

    ``results`` is the path from the README to the results.
    """
    parts = [f"![Samples of the recipes below]({results}/samples.png)"] if has_picture else []
    if best := best_in_time(made):
        metric = next(ranking.tables[0].metric for ranking in made if ranking.tables)
        machines = "; ".join(dict.fromkeys(place.contender.newest.where for place in best))
        times = ", ".join(f"{minutes} minutes" for minutes in MINUTES[:-1])
        rows = [
            [
                code(place.contender.newest.command.partition(" --")[0]),
                f"{_mean(place.value, figure)} ({figure(place.floor)})",
                _mean(place.contender.seconds, duration),
            ]
            for place in best
        ]
        headings = {"command": "left", f"{metric.name} (real vs real)": "right", "training": "right"}
        parts += [
            f"The best by {markdown(metric.name)} ({metric.direction}) that train in {times} or any time, first "
            f"without labels, then with. Trained in {markdown(machines)}.",
            markdown_table(headings, rows),
        ]
    if tested := _counted(finding for answer in answers for finding in answer.findings):
        parts.append(f"[Studies and all recipes]({results}/README.md): of papers' claims put to the test, {tested}.")
    else:
        parts.append(f"[All recipes]({results}/README.md), each with the command that reproduces it.")
    return "\n\n".join(parts)


def best_in_time(made: Sequence[Ranking]) -> list[Place]:
    """The first dataset's best recipes that train within each of ``MINUTES``, without labels and with; each once."""
    tables = [ranking.tables[0] for ranking in made if ranking.tables]
    best: dict[str, Place] = {}
    for table, minutes in product(tables, MINUTES):
        in_time = (one for one in table.scored if (took := one.contender.seconds) and took.mean <= 60 * minutes)
        if table.metric == tables[0].metric and (first := next(in_time, None)):
            best.setdefault(first.contender.newest.recipe, first)
    return list(best.values())


ROWS = 8
"""Rows of images in a run's grids."""
ACROSS, DOWN = 4, 2
SIDE = 96
"""Largest side of a thumbnail of a plot of points, in pixels."""
MARGIN, TITLE_HEIGHT = 8, 42
"""Space on either side of a grid in that picture, and above it, in pixels."""


@own_settings()
def best_samples(made: Sequence[Ranking], folder: Path) -> bytes | None:
    """One PNG with samples of the recipes in the main README; None if there are no pictures.

    Grids stand in aligned rows and columns, pixel for pixel; smaller ones are enlarged by an integer factor to fit.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pictured = [(place, grid_of(place.contender.newest.samples, folder)) for place in best_in_time(made)]
    best = [(place, image) for place, image in pictured if image is not None]
    if not best:
        return None
    tallest = max(image.height for _, image in best)
    times = [max(1, tallest // image.height) for _, image in best]
    images = [image.resize((image.width * k, image.height * k), 0) for k, (_, image) in zip(times, best, strict=True)]
    columns = min(3, len(best))
    rows = -(-len(best) // columns)
    across = max(image.width for image in images) + 2 * MARGIN
    down = max(image.height for image in images) + TITLE_HEIGHT
    width, height = columns * across, rows * down + MARGIN
    sheet = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
    FigureCanvasAgg(sheet)
    for number, ((place, _), image) in enumerate(zip(best, images, strict=True)):
        middle, top = number % columns * across + across // 2, height - number // columns * down
        left, low = middle - image.width // 2, top - TITLE_HEIGHT - image.height
        sheet.figimage(np.asarray(image.convert("RGB")), left, low, origin="upper")
        words = f"{shortened(place.contender.newest.recipe, 30)}\n{_mean(place.value, figure)}"
        position = (middle / width, (top - TITLE_HEIGHT + 4) / height)
        sheet.text(*position, words, fontsize=9, ha="center", va="bottom", parse_math=False)
    buffer = BytesIO()
    sheet.savefig(buffer, format="png", metadata={"Software": SOFTWARE})
    return buffer.getvalue()


def grid_of(record_samples: str | None, folder: Path) -> Image.Image | None:
    """A record's picture; None if it is missing, unreadable or outside the results folder."""
    if record_samples is None:
        return None
    try:
        path = (folder / record_samples).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            return None
        with open_picture(path, ("PNG",)) as image:
            return image.copy()
    except (GanzooError, OSError, ValueError):
        return None


def samples_of(record_samples: str | None, folder: Path) -> Picture | None:
    """A record's picture, as small as pages show it; None as for ``grid_of``."""
    image = grid_of(record_samples, folder)
    return None if image is None else Picture.of(thumbnail(image))


def thumbnail(image: Image.Image) -> Image.Image:
    """A grid cropped to four by two images, pixel for pixel; a plot of points is scaled down instead."""
    pitch, rest = divmod(image.height - GAP, ROWS)
    if rest or pitch > SIDE:
        small = image.convert("L" if image.mode in ("1", "L", "I;16") else "RGB")
        small.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
        return small
    return image.crop((0, 0, min(ACROSS * pitch + GAP, image.width), DOWN * pitch + GAP))
