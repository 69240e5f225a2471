"""What a person sees while a run or a matrix trains. Everything goes to standard error."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ganzoo.api.tracker import Tracker
from ganzoo.cli.console import SCORE_HEADINGS, Console, arrowed, score_cells
from ganzoo.config.schema import Recipe
from ganzoo.evaluation.protocol import in_brief
from ganzoo.registry.loading import Zoo
from ganzoo.runs.diagnosis import examine
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.loop import Callbacks
from ganzoo.studies.matrix import Job
from ganzoo.studies.records import ScoredRun
from ganzoo.studies.worker import Watcher

if TYPE_CHECKING:
    from typing_extensions import Self


class _Bars:
    """rich's bars on a terminal, and sentences above them.

    Args:
        columns: Of each bar.
        over: Seconds that the estimate of the time left looks back.
    """

    def __init__(self, *columns: ProgressColumn, over: float = 30.0) -> None:
        self.console = Console(stderr=True)
        hidden = not self.console.is_terminal
        self._bars = Progress(*columns, console=self.console, disable=hidden, speed_estimate_period=over)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def warn_of(self, zoo: Zoo) -> None:
        """One line for each plugin that could not be loaded; the rest goes on."""
        for problem in zoo.problems:
            self._say(problem.sentence, "yellow")

    def _say(self, sentence: str, style: str | None = None) -> None:
        self.console.print(sentence, style=style, soft_wrap=True)


SECONDS_BETWEEN_LINES = 60.0
"""Without a terminal."""


class RunProgress(_Bars, Tracker):
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
        self._lined: tuple[float, float, int] | None = None  # the last line, and where the first step ended
        self._task: TaskID | None = None

    def callbacks(self) -> Callbacks:
        """This bar, told of a run's progress."""
        return Callbacks(trackers=(self,), on_step=self._on_step, log=partial(self._say, style="yellow"))

    def begin(self, recipe: Recipe, folder: Path) -> None:
        """Show the bar."""
        self.console.print(f"{recipe.name}: {recipe.summary}")
        self.console.print(f"Run folder: {folder}", soft_wrap=True)
        self._total, self._lined = recipe.train.images, None
        self._task = self._bars.add_task(recipe.name, total=recipe.train.images, speed="", losses="", score="")
        self._bars.start()

    def log(self, record: Mapping[str, Any]) -> None:
        """Show the newest losses, speed or score."""
        if self._task is None:
            return
        if record["event"] == "train":
            losses = " ".join(f"{k.removesuffix('.loss')} {v:.3f}" for k, v in record.items() if k.endswith(".loss"))
            self._bars.update(self._task, speed=f"{record['images_per_second']:,.0f} images/s", losses=losses)
        elif record["event"] == "score":
            text = f"{record['metric']} {record['value']:.2f} ({record['weights']})"
            self._bars.update(self._task, score=text)
            if not self.console.is_terminal:
                self.console.print(f"{record['images']:,} images: {text}")

    def summarise(self, finished: RunFolder) -> None:
        """The closing table: final scores with real vs real and protocol, throughput, and where the run is."""
        title, scores = f"{finished.info['recipe']}: {finished.info['reason']}", finished.final_scores()
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
        table.add_column("metric", no_wrap=True)
        for heading in ("weights", *SCORE_HEADINGS):
            table.add_column(heading)
        for score in scores:
            table.add_row(arrowed(score), score["weights"], *score_cells(score))
        if scores:
            self.console.print(table)
            for how in dict.fromkeys(in_brief(score["protocol"]) for score in scores):
                self.console.print(how, soft_wrap=True)
        else:
            self.console.print(f"{title}. No scores: see above.")
        info = finished.info
        how = f"{info['engine']}, {info['precision']}, {info['environment']['device']}"
        self.console.print(
            f"{info['images']:,} images in {info['seconds']:.1f} s of training, "
            f"{info['images_per_second']:,.0f} images/s ({how})",
        )
        diagnosis = examine(finished)
        for line in diagnosis.lines():
            style = "yellow" if diagnosis.findings else None
            self.console.print(line, style=style, soft_wrap=True)
        self.console.print(f"Saved to {finished.path}", soft_wrap=True)
        if grids := sorted((finished.path / "samples").glob("*.png")):
            self.console.print(f"Samples: {grids[-1]}", soft_wrap=True)
        place = shlex.quote(str(finished.path))
        self.console.print(
            f"Next: `ganzoo report {place}`, or `ganzoo sample {place} --out samples.png`", soft_wrap=True
        )

    def _on_step(self, images: int) -> None:
        if self._task is not None:
            self._bars.update(self._task, completed=images)
            self._line_a_minute(images)

    def _line_a_minute(self, images: int) -> None:
        """How far the training is, where no terminal shows a bar: a log file, a batch queue."""
        now = time.monotonic()
        if self._lined is None:
            self._lined = (now, now, images)
        last, began, before = self._lined
        if self.console.is_terminal or now - last < SECONDS_BETWEEN_LINES:
            return
        self._lined = (now, began, before)
        rate = (images - before) / (now - began)  # evaluation included: this is about waiting
        left = max(0.0, self._total - images) / max(rate, 1e-9) / 60
        self.console.print(f"{images:,} of {self._total:,} images, about {left:,.0f} min left", soft_wrap=True)


class BenchProgress(_Bars, Watcher):
    """A bar for the whole and one for each running job on a terminal, and a line for each job that ended."""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            over=3600.0,
        )
        self._whole: TaskID | None = None
        self._tasks: dict[Job, TaskID] = {}
        self._shown: dict[Job, int] = {}

    def planned(self, todo: Sequence[Job], known: Sequence[ScoredRun], to_score: Sequence[Job]) -> None:
        """Say what there is to do, and what is done."""
        failed = sum(run.record.status == "failed" for run in known)
        parts = [f"{len(todo)} to train", f"{len(known) - failed} already done"]
        if to_score:
            parts.append(f"{len(to_score)} of them lack a score")
        if failed:
            parts.append(f"{failed} failed earlier (--retry resumes them)")
        self._say(", ".join(parts))
        self._whole = self._bars.add_task("all", total=sum(job.recipe.train.images for job in todo))
        self._bars.start()

    def began(self, job: Job) -> None:
        """Show its bar."""
        self._tasks[job] = self._bars.add_task(job.label, total=job.recipe.train.images)

    def advanced(self, job: Job, images: int) -> None:
        """Move its bar, and that of the whole."""
        self._bars.update(self._tasks[job], completed=images)
        self._move_whole(job, images)

    def ended(self, job: Job, run: ScoredRun | None) -> None:
        """One line, and its bar goes."""
        self._bars.remove_task(self._tasks.pop(job))
        self._move_whole(job, job.recipe.train.images)
        self._say(f"{job.label}: {_outcome(run)}", "red" if run and run.record.status == "failed" else None)

    def elsewhere(self, job: Job, run: ScoredRun) -> None:
        """One line."""
        self._move_whole(job, job.recipe.train.images)
        self._say(f"{job.label}, by another worker: {_outcome(run)}")

    def scored(self, job: Job, run: ScoredRun) -> None:
        """One line with all its scores."""
        self._say(f"{job.label}: {_outcome(run)}")

    def unscored(self, job: Job, reason: str) -> None:
        """One line."""
        self._say(f"{job.label}: {reason}", "red")

    def summarise(self, planned: Sequence[Job], runs: Sequence[ScoredRun], results: Path) -> None:
        """The closing line."""
        failed = sum(run.record.status == "failed" for run in runs)
        self._say(f"{len(runs) - failed} of {len(planned)} done, {failed} failed. Saved to {results}")

    def _move_whole(self, job: Job, images: int) -> None:
        if self._whole is not None:
            self._bars.advance(self._whole, images - self._shown.get(job, 0))
            self._shown[job] = images


def _outcome(run: ScoredRun | None) -> str:
    if run is None:
        return "stopped, and saved"
    if run.record.status == "failed":
        return f"failed: {run.record.error}"
    scores = ", ".join(f"{score['metric']} {score['value']:.2f} ({score['weights']})" for score in run.scores)
    return f"{scores or 'done'} after {run.record.images:,} images in {run.record.seconds:.0f} s"
