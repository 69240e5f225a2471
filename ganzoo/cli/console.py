"""Output with rich: a console that escapes untrusted text, scores as a table, and a run's progress.

Separate from ``terminal.py``, because rich takes a moment to import.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import rich.console
from rich.box import SIMPLE_HEAD
from rich.console import ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ganzoo.api.tracker import Tracker
from ganzoo.errors import visible
from ganzoo.evaluation.metrics import copies
from ganzoo.evaluation.protocol import Protocol, describe, describe_images, excess
from ganzoo.evaluation.requests import better
from ganzoo.files import as_argument
from ganzoo.reports.templates import figure

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


ARROWS = {"lower": "↓", "higher": "↑", "neither": "="}
SCORE_HEADINGS = ("value", "95%", "real vs\nreal", "above\nreal")


def show_scores(records: Sequence[Record], compared: Sequence[float | None] | None, against: str) -> None:
    """Print a table of scores, each with its better direction and the score of real images, and the protocols below.

    Args:
        records: Scores as in scores.jsonl.
        compared: For each score, the value to compare it with, or None; None if nothing is compared.
        against: Where these values come from.
    """
    has_weights = any(record["weights"] for record in records)
    table = Table(box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("metric", no_wrap=True)
    if has_weights:
        table.add_column("weights")
    for heading in (*SCORE_HEADINGS, *([] if compared is None else ["against"])):
        table.add_column(heading, justify="right")
    for index, record in enumerate(records):
        cells = [arrowed(record), *([record["weights"] or "-"] if has_weights else []), *score_cells(record)]
        table.add_row(*cells, *([] if compared is None else [_number(compared[index])]))
    console = Console()
    print_uncut(console, table)
    if compared is not None:
        console.print(f"against: {against}", soft_wrap=True)
    for record in records:
        protocol, value, floor = record["protocol"], record["value"], record["floor"]
        if protocol["metric"] == "memorisation" and copies(value, floor, protocol["n_fake"], protocol["n_floor"]):
            console.print(
                f"Training images are copied: {value:.1%} of the samples are suspiciously close to one, against "
                f"{floor:.1%} of real images that were never trained on.",
                soft_wrap=True,
            )
    named = _by_protocol(records, describe)
    for how, metrics in named.items():
        who = ", ".join(metrics) if len(named) > 1 or len(metrics) < 4 else "All"
        console.print(f"{who}: {how}", soft_wrap=True)


def _by_protocol(records: Sequence[Record], describe: Callable[[Protocol], str]) -> dict[str, list[str]]:
    """The metrics that share a line, by that line."""
    named: dict[str, dict[str, None]] = {}
    for record in records:
        named.setdefault(describe(record["protocol"]), {})[record["metric"]] = None
    return {how: list(metrics) for how, metrics in named.items()}


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
        self.console.print(sentence, style=style, soft_wrap=True)


SECONDS_BETWEEN_LINES = 60.0
"""Seconds between two progress lines if there is no terminal."""


class RunProgress(Bars, Tracker):
    """A progress bar with speed, time left, losses and the last score, and a table at the end."""

    def __init__(self) -> None:
        super().__init__(
            BarColumn(bar_width=16),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}", markup=False),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}", markup=False),
            TextColumn("{task.fields[score]}", style="cyan", markup=False),
        )
        self._total = 0
        self._lined: tuple[float, float, int] | None = None  # time of the last line; time and images at the first step
        self._task: TaskID | None = None

    def callbacks(self) -> Callbacks:
        """Callbacks that keep this bar up to date."""
        from ganzoo.runs.loop import Callbacks

        return Callbacks(trackers=(self,), on_step=self._on_step, log=partial(self.say, style="yellow"))

    def begin(self, recipe: Recipe, folder: Path) -> None:
        """Show the bar."""
        self.console.print(f"{recipe.name}: {recipe.summary}")
        self.console.print(f"Run folder: {folder}", soft_wrap=True)
        self._total, self._lined = recipe.train.images, None
        self._task = self.bars.add_task(recipe.name, total=recipe.train.images, speed="", losses="", score="")
        self.bars.start()

    def log(self, record: Mapping[str, Any]) -> None:
        """Show the newest losses, speed or score."""
        if self._task is None:
            return
        if record["event"] == "train":
            losses = " ".join(f"{k.removesuffix('.loss')} {v:.3f}" for k, v in record.items() if k.endswith(".loss"))
            self.bars.update(self._task, speed=f"{record['images_per_second']:,.0f} images/s", losses=losses)
        elif record["event"] == "score":
            text = f"{record['metric']} {figure(record['value'])} ({record['weights']})"
            self.bars.update(self._task, score=text)
            if not self.console.is_terminal:
                self.console.print(f"{record['images']:,} images: {text}")

    def summarise(self, finished: RunFolder) -> None:
        """Print the final scores with real vs real and the protocol, throughput, the diagnosis, and the run folder."""
        title, scores = f"{finished.info['recipe']}: {finished.info['reason']}", finished.final_scores()
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
        table.add_column("metric", no_wrap=True)
        for heading in ("weights", *SCORE_HEADINGS):
            table.add_column(heading)
        for score in scores:
            table.add_row(arrowed(score), score["weights"], *score_cells(score))
        if scores:
            print_uncut(self.console, table)
            if (scored := scores[0]["images"]) < finished.info["images"]:
                shown = f"{finished.info['images']:,}"
                self.console.print(
                    f"These scores are for the weights after {scored:,} images, not for the last weights, "
                    f"after {shown} images.",
                    style="yellow",
                    soft_wrap=True,
                )
            named = _by_protocol(scores, describe_images)
            for how, metrics in named.items():
                who = f"{', '.join(metrics)}: " if len(named) > 1 else ""
                self.console.print(f"{who}{how}", soft_wrap=True)
        else:
            self.console.print(f"{title}. No scores: see above.")
        info = finished.info
        how = f"{info['engine']}, {info['precision']}, {info['environment']['device']}"
        self.console.print(
            f"{info['images']:,} images in {info['seconds']:.1f} s of training, "
            f"{info['images_per_second']:,.0f} images/s ({how})",
        )
        from ganzoo.runs.diagnosis import examine

        diagnosis = examine(finished)
        style = "yellow" if diagnosis.findings else None
        for line in diagnosis.lines(unjudged=False):  # `ganzoo doctor` and the report also show what is unjudged
            self.console.print(line, style=style, soft_wrap=True)
        self.console.print(f"Saved to {finished.path}", soft_wrap=True)
        if best := finished.best():
            kept = f"{best['metric']} {figure(best['value'])} after {best['images']:,} images"
            self.console.print(f"Best checkpoint: {kept}; --checkpoint best uses it", soft_wrap=True)
        if grids := sorted((finished.path / "samples").glob("*.png")):
            self.console.print(f"Samples: {grids[-1]}", soft_wrap=True)
        place = as_argument(finished.path)
        self.console.print(
            f"Next: `ganzoo report {place}`, or `ganzoo sample {place} --out samples.png`", soft_wrap=True
        )

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
        self.console.print(f"{images:,} of {self._total:,} images, about {left:,.0f} min left", soft_wrap=True)
