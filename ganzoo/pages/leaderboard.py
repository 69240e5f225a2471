"""The leaderboard's files, made from ``runs.jsonl``: index.html, README.md and samples.png beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ganzoo.bench.record import read_records
from ganzoo.errors import GanzooError
from ganzoo.pages import markdown
from ganzoo.pages.board import Board, Contender, Place, boards
from ganzoo.pages.frontier import COSTS, quality_against
from ganzoo.pages.rendering import Absent, Picture, page
from ganzoo.pages.thumbnails import best_samples, grid_of, thumbnail
from ganzoo.runs.files import write_atomically

RECORDS = "runs.jsonl"


@dataclass(frozen=True)
class Written:
    """What was made.

    Attributes:
        files: The paths.
        recipes: How many contenders there are on all leaderboards.
    """

    files: tuple[Path, ...]
    recipes: int


@dataclass(frozen=True)
class Row:
    """A contender on the page.

    Attributes:
        contender: Who.
        picture: Some of its samples, or None.
        where: What it ran on.
        places: How it did in each of the board's tables.
    """

    contender: Contender
    picture: Picture | None
    where: str
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Sheet:
    """A board on the page.

    Attributes:
        board: What it shows.
        rows: In the order of the first table.
        plots: For each table, quality against each cost.
    """

    board: Board
    rows: tuple[Row, ...]
    plots: tuple[tuple[Markup | Absent, ...], ...]


def read_boards(results: Path) -> list[Board]:
    """The leaderboards of a results folder.

    Raises:
        GanzooError: There are no records, or some cannot be read.
    """
    path = results / RECORDS
    if not path.is_file():
        raise GanzooError(f"There is no {path}.", "`ganzoo bench` writes it.")
    records = read_records(path)
    if not records:
        raise GanzooError(f"{path} holds no record of a run.", "Let `ganzoo bench` train a recipe first.")
    return boards(records)


def write_leaderboard(results: Path, readme: Path | None = None) -> Written:
    """Make the pages of a results folder.

    Args:
        results: Where ``runs.jsonl`` is.
        readme: A file to put the short table into, between its markers; None to leave all others alone.

    Raises:
        GanzooError: There are no records, or ``readme`` has no markers.
    """
    made = read_boards(results)
    picture = best_samples(made, results)
    contents = {results / "index.html": html(made, results), results / "README.md": markdown.whole_page(made)}
    if readme is not None:
        contents[readme] = rewritten(readme, made, results, has_picture=picture is not None)
    for path, text in contents.items():
        write_atomically(path, text.encode())
    files = [*contents]
    if picture is not None:
        write_atomically(results / "samples.png", picture)
        files.append(results / "samples.png")
    return Written(tuple(files), sum(len(board.contenders) for board in made))


def rewritten(readme: Path, made: Sequence[Board], results: Path, *, has_picture: bool) -> str:
    """A README with the short table of these leaderboards between its markers.

    Raises:
        GanzooError: It cannot be read, or has no markers.
    """
    try:
        text = readme.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise GanzooError(f"{readme} cannot be read.", "Give the README that has the markers.") from error
    there = Path(os.path.relpath(results.resolve(), readme.resolve().parent)).as_posix()
    return markdown.between_markers(text, markdown.summary(made, there, has_picture), str(readme))


def html(made: Sequence[Board], results: Path) -> str:
    """``index.html``: needs no other file, and no network."""
    return page("leaderboard.html", "leaderboard.js", {"sheets": [_sheet(n, b, results) for n, b in enumerate(made)]})


def _sheet(number: int, board: Board, results: Path) -> Sheet:
    by_contender = [{id(place.contender): place for place in table.places} for table in board.tables]
    rows = [
        Row(one, _thumbnail(one, results), markdown.where(one), tuple(places[id(one)] for places in by_contender))
        for one in board.contenders
    ]
    plots = [
        tuple(quality_against(table, cost, f"plot-{number}-{index}-{cost.name}") for cost in COSTS)
        for index, table in enumerate(board.tables)
    ]
    return Sheet(board, tuple(rows), tuple(plots))


def _thumbnail(contender: Contender, results: Path) -> Picture | None:
    image = grid_of(contender.newest.samples, results)
    return None if image is None else Picture.of(thumbnail(image))
