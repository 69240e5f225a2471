"""What a person sees while a matrix is worked through. Everything goes to standard error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ganzoo.bench.matrix import Job
from ganzoo.bench.record import RunRecord
from ganzoo.bench.runner import Watcher
from ganzoo.plugins import Zoo

SPEED_OVER = 3600.0
"""Seconds that the estimate of the time left looks back."""


class BenchProgress(Watcher):
    """A bar for the whole and one for each running job on a terminal, and a line for each job that ended."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            speed_estimate_period=SPEED_OVER,
        )
        self._whole: TaskID | None = None
        self._tasks: dict[Job, TaskID] = {}
        self._shown: dict[Job, int] = {}

    def __enter__(self) -> BenchProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def warn_of(self, zoo: Zoo) -> None:
        """One line for each plugin that could not be loaded; the rest goes on."""
        for problem in zoo.problems:
            self._say(problem.sentence, "yellow")

    def planned(self, todo: Sequence[Job], known: Sequence[RunRecord]) -> None:
        """Say what is ahead, and what is not any more."""
        failed = sum(record.status == "failed" for record in known)
        parts = [f"{len(todo)} to train", f"{len(known) - failed} done before"]
        self._say(", ".join([*parts, *([f"{failed} failed before (--retry goes on with them)"] if failed else [])]))
        self._whole = self._bars.add_task("all", total=sum(job.recipe.train.images for job in todo))
        self._bars.start()

    def began(self, job: Job) -> None:
        """Show its bar."""
        self._tasks[job] = self._bars.add_task(job.label, total=job.recipe.train.images)

    def advanced(self, job: Job, images: int) -> None:
        """Move its bar, and that of the whole."""
        self._bars.update(self._tasks[job], completed=images)
        self._move_whole(job, images)

    def ended(self, job: Job, record: RunRecord | None) -> None:
        """One line, and its bar goes."""
        self._bars.remove_task(self._tasks.pop(job))
        self._move_whole(job, job.recipe.train.images)
        style = "red" if record and record.status == "failed" else None
        self._say(f"{job.label}: {_outcome(record)}", style)

    def summarise(self, planned: Sequence[Job], records: Sequence[RunRecord], results: Path) -> None:
        """The closing line."""
        failed = sum(record.status == "failed" for record in records)
        self._say(f"{len(records) - failed} of {len(planned)} done, {failed} failed; the records are in {results}")

    def _move_whole(self, job: Job, images: int) -> None:
        if self._whole is not None:
            self._bars.advance(self._whole, images - self._shown.get(job, 0))
            self._shown[job] = images

    def _say(self, sentence: str, style: str | None = None) -> None:
        self.console.print(sentence, style=style, markup=False, highlight=False, soft_wrap=True)


def _outcome(record: RunRecord | None) -> str:
    if record is None:
        return "stopped, and saved"
    if record.status == "failed":
        return f"failed: {record.error}"
    scores = ", ".join(f"{score.metric} {score.value:.2f} ({score.weights})" for score in record.scores)
    return f"{scores or 'done'} after {record.images:,} images in {record.seconds:.0f} s"
