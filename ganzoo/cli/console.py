"""Output with rich: a console that escapes untrusted text, scores as a table, and a run's progress.

Separate from ``terminal.py``, because rich takes a moment to import.
"""

from __future__ import annotations

import os
import re
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import rich.console
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from ganzoo.api.tracker import Tracker
from ganzoo.errors import visible
from ganzoo.evaluation.metrics import copies
from ganzoo.evaluation.protocol import describe, excess
from ganzoo.evaluation.requests import better
from ganzoo.files import as_argument
from ganzoo.formatting import figure

if TYPE_CHECKING:
    from typing_extensions import Self

    from ganzoo.config.schema import Recipe
    from ganzoo.runs.folder import RunFolder
    from ganzoo.runs.loop import Callbacks

Record = dict[str, Any]


class Console(rich.console.Console):
    """rich's console for tables and bars, without markup. It escapes everything that could control a terminal.

    Args:
        stderr: Whether it prints on standard error.
        soft_wrap: Whether the terminal wraps long lines, rather than rich.
    """

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)

    def say(self, sentence: str, style: str | None = None) -> None:
        """Print a sentence: broken between words on a terminal, in one line elsewhere."""
        text = wrapped(visible(sentence), self.width) if self.is_terminal else sentence
        self.print(text, style=style, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Go on without messages: a training run must not end because nobody reads its progress any more."""
        if not self.stderr:
            super().on_broken_pipe()
        self.quiet = True
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.file.fileno())
        os.close(null)

    def render_str(self, text: str, **options: Any) -> Text:
        """Like rich's, with the text escaped: rich measures it here, before it wraps or cuts it."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Like rich's, with the text escaped: everything that is printed passes through here, tables and bars too."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def wrapped(text: str, width: int) -> str:
    """Text with line breaks between words only. Longer words, such as paths, and commands in backticks stay whole."""
    lines = (re.sub("`[^`]*`", lambda command: command[0].replace(" ", "\0"), line) for line in text.splitlines())
    filled = (textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) for line in lines)
    return "\n".join(filled).replace("\0", " ")


ARROWS = {"lower": "↓", "higher": "↑", "neither": "="}
BETTER = {"lower": "Lower is better", "higher": "Higher is better", "neither": "Closest to real vs real is best"}
SCORE_HEADINGS = ("value", "95%", "real vs\nreal", "above\nreal")


def score_table(
    records: Sequence[Record],
    *,
    weights: bool,
    compared: Sequence[float | None] | None = None,
    title: str | None = None,
) -> Table:
    """A table of scores, each with its better direction, its interval, and the score of real images.

    Args:
        records: Scores as in scores.jsonl.
        weights: Whether to show their kind of weights.
        compared: For each score, the value to compare it with, or None; None if nothing is compared.
        title: Printed above the table.
    """
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("metric", no_wrap=True)
    if weights:
        table.add_column("weights")
    for heading in (*SCORE_HEADINGS, *([] if compared is None else ["against"])):
        table.add_column(heading, justify="right", no_wrap=True)
    for index, record in enumerate(records):
        cells = [arrowed(record), *([record["weights"] or "-"] if weights else []), *score_cells(record)]
        table.add_row(*cells, *([] if compared is None else [_number(compared[index])]))
    return table


def show_scores(records: Sequence[Record], compared: Sequence[float | None] | None, against: str) -> None:
    """Print scores, beside those of another run or file ``against`` if there are any, and the protocols below."""
    console = Console()
    has_weights = any(record["weights"] for record in records)
    print_uncut(console, score_table(records, weights=has_weights, compared=compared))
    if compared is not None:
        console.say(f"against: {against}")
    for record in records:
        protocol, value, floor = record["protocol"], record["value"], record["floor"]
        if protocol["metric"] == "memorisation" and copies(value, floor, protocol["n_fake"], protocol["n_floor"]):
            console.say(
                f"Training images are copied: {value:.1%} of the samples are suspiciously close to one, against "
                f"{floor:.1%} of real images that were never trained on."
            )
    named: dict[str, dict[str, None]] = {}  # the metrics that share a line, by that line
    for record in records:
        named.setdefault(describe(record["protocol"]), {})[record["metric"]] = None
    for how, metrics in named.items():
        who = ", ".join(metrics) if len(named) > 1 or len(metrics) < 4 else "All"
        console.say(f"{who}: {how}")


def print_uncut(console: Console, table: Table) -> None:
    """Print a table without cutting its cells, even if it is wider than the terminal."""
    needed = Measurement.get(console, console.options.update(width=WIDEST), table).maximum
    options = console.options.update(width=max(console.width, needed))
    for line in console.render_lines(table, options, pad=False):
        console.print(Text.assemble(*((one.text, one.style or "") for one in line)), soft_wrap=True)


WIDEST = 1000


def arrowed(record: Record) -> str:
    """A score's metric, with the better direction: ``fid@mnist-cnn ↓``."""
    return f"{record['metric']} {ARROWS[better(record['metric'].partition('@')[0])]}"


def score_cells(record: Record) -> list[str]:
    """A score, its interval, real vs real, and the excess over it; no spaces, so that narrow terminals cut nothing."""
    ends = "\N{EN DASH}".join(_number(end, 3) for end in record["interval"]) if record.get("interval") else "-"
    above = excess(record["value"], record.get("floor"), record.get("sd")).replace(" ", "")
    return [_number(record["value"]), ends, _number(record.get("floor")), above]


def _number(value: float | None, digits: int = 4) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if 10 ** (digits - 1) <= abs(value) < 10**7 else f"{value:.{digits}g}"


class Bars:
    """rich's progress bars on a terminal, and sentences above them.

    Args:
        columns: Columns of each bar.
        over: Seconds of past progress from which the remaining time is estimated.

    Attributes:
        console: The console, on standard error.
        bars: The bars, shown only on a terminal.
    """

    def __init__(self, *columns: ProgressColumn, over: float = 30.0) -> None:
        self.console = Console(stderr=True)
        hidden = not self.console.is_terminal
        self.bars = Progress(*columns, console=self.console, disable=hidden, speed_estimate_period=over)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.bars.disable:  # if disabled, rich before 14 still prints a line end
            self.bars.stop()

    def say(self, sentence: str, style: str | None = None) -> None:
        """Print a sentence above the bars."""
        self.console.say(sentence, style)


SECONDS_BETWEEN_LINES = 60.0
"""Seconds between two progress lines if there is no terminal."""


BAR_WIDTH, BESIDE_THE_BAR = 12, 14
"""Columns of a run's bar, and of its percentage and time left with the spaces around them."""


class TimeLeft(TimeRemainingColumn):
    """The time left, kept while it is unknown: after a long evaluation, all past progress is too old to estimate from.

    It never wraps, so a narrow terminal does not cut it.
    """

    def __init__(self) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self._known: Text | None = None

    def render(self, task: Task) -> Text:
        """``0:03:21``, or ``-:--:--`` before the first estimate."""
        if self._known is None or task.time_remaining is not None:
            self._known = super().render(task)
        return self._known


class RunProgress(Bars, Tracker):
    """A progress bar with time left, the first headline metric, speed and losses; and at the end, one row of scores."""

    def __init__(self) -> None:
        bar = BarColumn(BAR_WIDTH, table_column=Column(no_wrap=True))
        # Only the facts may wrap, and `_show` shows what fits.
        facts = TextColumn("{task.fields[facts]}", style="cyan", markup=False, table_column=Column())
        super().__init__(bar, TaskProgressColumn(), TimeLeft(), facts)
        self._total = 0
        self._lined: tuple[float, float, int] | None = None  # time of the last line; time and images at the first step
        self._task: TaskID | None = None
        self._score = self._speed = self._losses = ""
        self._scored_at = -1

    def callbacks(self) -> Callbacks:
        """Callbacks that keep this bar up to date."""
        from ganzoo.runs.loop import Callbacks

        return Callbacks(
            trackers=(self,),
            on_begin=self.begin,
            on_step=self._on_step,
            on_evaluation=self._on_evaluation,
            log=partial(self.say, style="yellow"),
        )

    def begin(self, recipe: Recipe, folder: Path) -> None:
        """Show the bar."""
        self.say(f"{recipe.name}: {recipe.summary}")
        self.console.print(f"Run folder: {folder}", soft_wrap=True)
        self._total, self._lined = recipe.train.images, None
        self._task = self.bars.add_task(recipe.name, total=recipe.train.images, facts="")
        self.bars.start()

    def log(self, record: Mapping[str, Any]) -> None:
        """Show the newest losses, speed or score."""
        if self._task is None or record["event"] not in ("train", "score"):
            return
        if record["event"] == "train":
            named = {key.removesuffix(".loss"): value for key, value in record.items() if key.endswith(".loss")}
            self._losses = " ".join(f"{name} {value:.3f}" for name, value in named.items())
            self._speed = f"{record['images_per_second']:,.0f} images/s"
        else:
            text = f"{record['metric']} {figure(record['value'])}"
            if record["images"] != self._scored_at:  # the first headline metric of the weights to report
                self._score, self._scored_at = text, record["images"]
            if not self.console.is_terminal:
                self.say(f"{record['images']:,} images: {text} ({record['weights']})")
        self._show(self._score, self._speed, self._losses)

    def _show(self, *facts: str) -> None:
        """Show as many facts as fit beside the bar, the most important first."""
        assert self._task is not None
        room, shown = self.console.width - BAR_WIDTH - BESIDE_THE_BAR, ""
        for fact in filter(None, facts):
            longer = f"{shown}  {fact}".strip()
            shown = longer if not shown or cell_len(longer) <= room else shown
        self.bars.update(self._task, facts=shown)

    def summarise(self, finished: RunFolder) -> None:
        """Print one score beside real vs real, throughput, the diagnosis, and what to do next."""
        title, scores = f"{finished.info['recipe']}: {finished.info['reason']}", finished.final_scores()
        place = as_argument(finished.path)
        if scores:
            score = scores[0]
            print_uncut(self.console, score_table([score], weights=False, title=title))
            if score["images"] < finished.info["images"]:
                self.say(
                    f"This score is for the weights after {score['images']:,} images, not for the last weights, "
                    f"after {finished.info['images']:,} images.",
                    style="yellow",
                )
            direction = BETTER[better(score["metric"].partition("@")[0])]
            more = f" `ganzoo report {place}` shows all {len(scores)} scores." if len(scores) > 1 else ""
            self.say(f"{direction}; {describe(score['protocol'])}.{more}")
        else:
            self.say(f"{title}. No scores: see above.")
        info = finished.info
        how = f"{info['engine']}, {info['precision']}, {info['environment']['device']}"
        self.say(
            f"{info['images']:,} images in {info['seconds']:.1f} s of training, "
            f"{info['images_per_second']:,.0f} images/s ({how})"
        )
        from ganzoo.runs.diagnosis import examine

        diagnosis = examine(finished)
        for line in diagnosis.lines(unjudged=False):  # `ganzoo doctor` and the report also show what is unjudged
            self.say(line, "yellow" if diagnosis.findings else None)
        if best := finished.best():
            kept = f"{best['metric']} {figure(best['value'])} after {best['images']:,} images"
            self.say(f"Best checkpoint: {kept}; --checkpoint best uses it")
        if grids := sorted((finished.path / "samples").glob("*.png")):
            self.console.print(f"Samples: {grids[-1]}", soft_wrap=True)
        self.say(f"Next: `ganzoo report {place}`, or `ganzoo sample {place} --out samples.png`")

    def _on_evaluation(self, samples: int) -> None:
        """Say what is happening while the bar stands still."""
        if self._task is None:
            return
        self._show(f"scoring {samples:,} samples")
        self.bars.refresh()
        if not self.console.is_terminal:
            self.say(f"Scoring {samples:,} samples")

    def _on_step(self, images: int) -> None:
        """Move the bar; if no terminal shows it, as in a log file or a batch queue, print a line once a minute."""
        if self._task is None:
            return
        self.bars.update(self._task, completed=images)
        now = time.monotonic()
        if self._lined is None:
            self._lined = (now, now, images)
        last_line_at, started_at, first_images = self._lined
        if self.console.is_terminal or now - last_line_at < SECONDS_BETWEEN_LINES:
            return
        self._lined = (now, started_at, first_images)
        # Evaluation included, since the user waits for that too.
        rate = (images - first_images) / (now - started_at)
        left = max(0.0, self._total - images) / max(rate, 1e-9) / 60
        self.say(f"{images:,} of {self._total:,} images, about {left:,.0f} min left")
