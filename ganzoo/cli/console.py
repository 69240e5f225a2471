"""Output with rich, which takes a moment to import: an escaping console, tables of scores, and a run's progress."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich.console
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn
from rich.segment import Segment
from rich.table import Column, Table

from ganzoo.api.tracker import Tracker
from ganzoo.cli.terminal import discard
from ganzoo.config.schema import Recipe
from ganzoo.errors import visible
from ganzoo.evaluation.metrics import copies
from ganzoo.evaluation.protocol import describe, excess
from ganzoo.evaluation.requests import better
from ganzoo.files import as_argument
from ganzoo.formatting import figure
from ganzoo.runs.diagnosis import diagnose
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.loop import Callbacks

if TYPE_CHECKING:
    from typing_extensions import Self

Record = dict[str, Any]


class Console(rich.console.Console):
    """rich's console for tables and bars, without markup. It escapes everything that could control a terminal."""

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
        discard(self.file.fileno())

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
WIDEST = 1000


def print_scores(
    console: Console, records: Sequence[Record], *, weights: bool, compared: Sequence[float | None] | None = None
) -> None:
    """Print a table of scores, uncut; ``compared`` holds what each score is compared with."""
    table = Table(box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for heading in ("metric", *(["weights"] if weights else [])):
        table.add_column(heading, no_wrap=True)
    for heading in ("value", "95%", "real vs\nreal", "above\nreal", *([] if compared is None else ["against"])):
        table.add_column(heading, justify="right", no_wrap=True)
    for index, record in enumerate(records):
        value, floor = record["value"], record.get("floor")
        # No spaces, so that a narrow terminal breaks no number.
        interval = "\N{EN DASH}".join(_number(end, 3) for end in record["interval"]) if record.get("interval") else "-"
        above = excess(value, floor, record.get("sd")).replace(" ", "")
        cells = [arrowed(record), *([record["weights"] or "-"] if weights else [])]
        cells += [_number(value), interval, _number(floor), above]
        table.add_row(*cells, *([] if compared is None else [_number(compared[index])]))
    table.width = Measurement.get(console, console.options.update(width=WIDEST), table).maximum
    console.print(table, soft_wrap=True)


def show_scores(records: Sequence[Record], compared: Sequence[float | None] | None, against: str) -> None:
    """Print scores, beside those of another run or file ``against`` if there are any, and the protocols below."""
    console = Console()
    print_scores(console, records, weights=any(record["weights"] for record in records), compared=compared)
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


def arrowed(record: Record) -> str:
    """A score's metric, with the better direction: ``fid@mnist-cnn ↓``."""
    return f"{record['metric']} {ARROWS[better(record['metric'].partition('@')[0])]}"


def _number(value: float | None, digits: int = 4) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if 10 ** (digits - 1) <= abs(value) < 10**7 else f"{value:.{digits}g}"


class Bars:
    """rich's progress bars on standard error; the time left is from the last ``over`` seconds of progress."""

    def __init__(self, *columns: ProgressColumn, over: float = 30.0) -> None:
        self.console = Console(stderr=True)
        self.bars = Progress(
            *columns, console=self.console, disable=not self.console.is_terminal, speed_estimate_period=over
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.bars.disable:  # if disabled, rich before 14 still prints a line end
            self.bars.stop()

    def say(self, sentence: str, style: str | None = None) -> None:
        """Print a sentence above the bars."""
        self.console.say(sentence, style)


SECONDS_BETWEEN_LINES = 60.0  # if there is no terminal
BAR_WIDTH, BESIDE_THE_BAR = 12, 14  # columns of the bar, and of the percentage and time left with their spaces


class RunProgress(Bars, Tracker):
    """A progress bar with time left, the first headline metric, speed and losses; and at the end, one row of scores."""

    def __init__(self) -> None:
        bar = BarColumn(BAR_WIDTH, table_column=Column(no_wrap=True))
        left = TextColumn("{task.fields[left]}", style="progress.remaining")
        # Only the facts may wrap, and `_show` shows what fits.
        facts = TextColumn("{task.fields[facts]}", style="cyan", markup=False, table_column=Column())
        super().__init__(bar, TaskProgressColumn(), left, facts)
        self._total = 0
        self._task = self.bars.add_task("", total=None, facts="", left="-:--:--")
        self._lined: tuple[float, float, int] | None = None  # time of the last line; time and images at the first step
        self._score = self._speed = self._losses = ""
        self._scored_at = -1

    def callbacks(self) -> Callbacks:
        """Callbacks that keep this bar up to date."""
        return Callbacks(
            trackers=(self,),
            on_begin=self.begin,
            on_step=self._on_step,
            on_scoring=self._on_scoring,
            log=partial(self.say, style="yellow"),
        )

    def begin(self, recipe: Recipe, folder: Path) -> None:
        """Say what is trained and where; the bar waits until the data is loaded, which may show a bar of its own."""
        self.say(f"{recipe.name}: {recipe.summary}")
        self.console.print(f"Run folder: {folder}", soft_wrap=True)
        self._total = recipe.train.images
        self.bars.update(self._task, total=self._total)

    def log(self, record: Mapping[str, Any]) -> None:
        """Show the newest losses, speed or score."""
        if record["event"] == "train":
            named = {key.removesuffix(".loss"): value for key, value in record.items() if key.endswith(".loss")}
            self._losses = " ".join(f"{name} {value:.3f}" for name, value in named.items())
            self._speed = f"{record['images_per_second']:,.0f} images/s"
        elif record["event"] == "score":
            text = f"{record['metric']} {figure(record['value'])}"
            if record["images"] != self._scored_at:  # the first headline metric of the weights to report
                self._score, self._scored_at = text, record["images"]
            if not self.console.is_terminal:
                self.say(f"{record['images']:,} images: {text} ({record['weights']})")
        self._show(self._score, self._speed, self._losses)

    def _show(self, *facts: str) -> None:
        room, shown = self.console.width - BAR_WIDTH - BESIDE_THE_BAR, ""
        for fact in filter(None, facts):
            longer = f"{shown}  {fact}".strip()
            shown = longer if not shown or cell_len(longer) <= room else shown
        self.bars.update(self._task, facts=shown)
        self.bars.start()

    def _on_scoring(self, samples: int) -> None:
        self._show(f"scoring {samples:,} samples")
        self.bars.refresh()
        if not self.console.is_terminal:
            self.say(f"Scoring {samples:,} samples")

    def _on_step(
        self, images: int, losses: Mapping[str, float]
    ) -> None:  # without a terminal, prints a line once a minute
        self.bars.start()
        now = time.monotonic()
        self._lined = last_line_at, started_at, first_images = self._lined or (now, now, images)
        if images == first_images:
            return
        # Evaluation included, since the user waits for that too.
        seconds = max(0, self._total - images) * (now - started_at) / (images - first_images)
        left = f"{seconds // 3600:.0f}:{seconds // 60 % 60:02.0f}:{seconds // 1 % 60:02.0f}"
        self.bars.update(self._task, completed=images, left=left)
        if not self.console.is_terminal and now - last_line_at >= SECONDS_BETWEEN_LINES:
            self._lined = (now, started_at, first_images)
            self.say(f"{images:,} of {self._total:,} images, about {seconds / 60:,.0f} min left")

    def summarise(self, finished: RunFolder) -> None:
        """Print one score beside real vs real, throughput, the diagnosis, and what to do next."""
        info, scores, place = finished.info, finished.final_scores(), as_argument(finished.path)
        self.say(f"{info['recipe']}: {info['reason']}{'' if scores else '. No scores: see above.'}")
        for score in scores[:1]:
            print_scores(self.console, [score], weights=False)
            if score["images"] < info["images"]:
                self.say(
                    f"This score is for the weights after {score['images']:,} images, not for the last weights, "
                    f"after {info['images']:,} images.",
                    style="yellow",
                )
            direction = BETTER[better(score["metric"].partition("@")[0])]
            more = f" `ganzoo report {place}` shows all {len(scores)} scores." if len(scores) > 1 else ""
            self.say(f"{direction}; {describe(score['protocol'])}.{more}")
        self.say(
            f"{info['images']:,} images in {info['seconds']:.1f} s of training, {info['images_per_second']:,.0f} "
            f"images/s ({info['engine']}, {info['precision']}, {info['environment']['device']})"
        )
        diagnosis = diagnose(finished.events())
        for line in diagnosis.lines(unjudged=False):  # `ganzoo doctor` and the report also show what is unjudged
            self.say(line, "yellow" if diagnosis.findings else None)
        if best := finished.best():
            kept = f"{best['metric']} {figure(best['value'])} after {best['images']:,} images"
            self.say(f"Best checkpoint: {kept}; --checkpoint best uses it")
        if grids := sorted((finished.path / "samples").glob("*.png")):
            self.console.print(f"Samples: {grids[-1]}", soft_wrap=True)
        self.say(f"Next: `ganzoo report {place}`, or `ganzoo sample {place} --out samples.png`")
