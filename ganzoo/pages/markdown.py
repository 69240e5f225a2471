"""The leaderboard in Markdown, for those who read it in the repository."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ganzoo.errors import GanzooError
from ganzoo.pages.board import Board, Contender, Place, Spread, Table
from ganzoo.pages.words import NOTHING, code, count, duration, figure, markdown, short

BEGIN, END = "<!-- leaderboard:begin -->", "<!-- leaderboard:end -->"
SHORT = 10
"""Recipes of each dataset in the main README."""
SEEDS = "Where a recipe ran with several seeds, a figure is their mean, and the lowest and highest follow in brackets."

FULL = {
    "rank": "right",
    "recipe": "left",
    "ema": "right",
    "raw": "right",
    "× floor": "right",
    "images": "right",
    "training": "right",
    "images/s": "right",
    "parameters": "right",
    "GFLOPs/image": "right",
    "on": "left",
}


def whole_page(made: Sequence[Board]) -> str:
    """``results/README.md``."""
    parts = [
        "# Leaderboard",
        "Made by `ganzoo leaderboard` from [runs.jsonl](runs.jsonl); the same with plots, sortable, is in "
        "[index.html](index.html). Scores are only ranked against scores of the same protocol, which stands above "
        f"each table. {SEEDS} `× floor` is the reported score (in bold) over what real images score.",
    ]
    for board in made:
        parts.append(f"## {markdown(board.dataset)}")
        parts += [part for table in board.tables for part in _section(table)]
        parts += _failures(board)
    parts += ["## How each figure is reproduced", *_commands(made)]
    return "\n\n".join(parts) + "\n"


def summary(made: Sequence[Board], results: str, has_picture: bool) -> str:
    """What stands between the markers of the main README.

    Args:
        made: The leaderboards.
        results: The path from the README to the results.
        has_picture: Whether ``samples.png`` is there.
    """
    parts = [f"![Samples of the best recipes]({results}/samples.png)"] if has_picture else []
    for board in made:
        if board.tables:
            parts += _short_section(board.tables[0], board.dataset)
    parts.append(f"All recipes, with speed, size and the command for each: [{results}]({results}/README.md).")
    return "\n\n".join(parts)


def between_markers(text: str, content: str, name: str) -> str:
    """A README with what stands between the markers replaced.

    Raises:
        GanzooError: The markers are not there, once each and in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or text.count(BEGIN) > 1 or text.count(END) > 1:
        raise GanzooError(
            f"{name} does not hold the lines {BEGIN} and {END}, once each and in this order.",
            "Put them where the table should stand.",
        )
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def _section(table: Table) -> Iterable[str]:
    measure = table.measure
    yield f"### {markdown(measure.metric)}"
    floor = f" Real images score {figure(table.floor)}." if table.floor is not None else ""
    yield f"Protocol: {markdown(measure.told)}; {measure.direction}.{floor}"
    yield _table(FULL, [_full_row(place) for place in table.places])


def _full_row(place: Place) -> list[str]:
    one = place.contender
    return [
        str(place.rank) if place.rank else ("failed" if not one.done else NOTHING),
        _name(one),
        _score(place, "ema"),
        _score(place, "raw"),
        figure(place.times),
        _mean(one.images, count),
        _mean(one.seconds, duration),
        _mean(one.speed, count),
        short(one.parameters),
        figure(None if one.newest.flops_per_image is None else one.newest.flops_per_image / 1e9),
        markdown(where(one)),
    ]


def _short_section(table: Table, dataset: str) -> Iterable[str]:
    measure = table.measure
    yield f"**{markdown(dataset)}**, {markdown(measure.metric)} ({measure.direction}; {markdown(measure.told)}):"
    rows = [
        [str(place.rank), _name(place.contender), _reported(place), figure(place.times), _time(place.contender)]
        for place in table.scored[:SHORT]
    ]
    aligned = ("right", "left", "right", "right", "right")
    headings = ("rank", "recipe", measure.metric, "× floor", "training")
    yield _table(dict(zip(headings, aligned, strict=True)), rows)


def _failures(board: Board) -> Iterable[str]:
    troubled = [one for one in board.contenders if one.trouble]
    if troubled:
        yield "### What failed"
        yield "\n".join(f"- {_name(one)}: {markdown(one.trouble)}" for one in troubled)


def _commands(made: Sequence[Board]) -> Iterable[str]:
    yield "Each line is one run; `ganzoo bench` records them, and `ganzoo leaderboard` makes these pages anew."
    commands = dict.fromkeys(run.command for board in made for one in board.contenders for run in one.runs)
    yield "\n".join(f"- {code(command)}" for command in commands)


def where(contender: Contender) -> str:
    """Number format, engine, threads and hardware, in one line."""
    newest = contender.newest
    threads = f"{newest.threads} thread{'' if newest.threads == 1 else 's'}"
    on_gpu = bool(newest.environment.get("gpu"))
    parts = (newest.precision, newest.engine, None if on_gpu else threads, newest.hardware)
    return ", ".join(part for part in parts if part)


def _name(contender: Contender) -> str:
    return markdown(contender.newest.recipe)


def _time(contender: Contender) -> str:
    return _mean(contender.seconds, duration)


def _reported(place: Place) -> str:
    return _spread(place.value)


def _score(place: Place, kind: str) -> str:
    told = _spread(place.values.get(kind))
    return f"**{told}**" if kind == place.reported else told


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return NOTHING
    told = figure(spread.mean)
    return told if spread.seeds == 1 else f"{told} ({figure(spread.low)} to {figure(spread.high)})"


def _mean(spread: Spread | None, told: object) -> str:
    assert callable(told)
    return str(told(None if spread is None else spread.mean))


def _table(headings: dict[str, str], rows: Iterable[Sequence[str]]) -> str:
    rules = ["---:" if side == "right" else "---" for side in headings.values()]
    lines = [[markdown(heading) for heading in headings], rules, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
