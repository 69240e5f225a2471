"""The progress of a matrix of training runs. Everything goes to standard error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn

from ganzoo.cli.console import Bars
from ganzoo.formatting import figure
from ganzoo_studies.matrix import Job
from ganzoo_studies.records import ScoredRun
from ganzoo_studies.worker import Watcher


class BenchProgress(Bars, Watcher):
    """On a terminal, a bar for the whole matrix and one for each running job. A line for each job that ends."""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            over=3600.0,
        )
        self._whole = self.bars.add_task("all")
        self._tasks: dict[Job, TaskID] = {}
        self._shown: dict[Job, int] = {}

    def planned(self, todo: Sequence[Job], known: Sequence[ScoredRun], to_score: Sequence[Job]) -> None:
        """Print how many jobs are left to do and how many are done, and show the bars."""
        failed = sum(run.record.status == "failed" for run in known)
        parts = [f"{len(todo)} to train", f"{len(known) - failed} already done"]
        if to_score:
            parts.append(f"{len(to_score)} of them lack a score")
        if failed:
            parts.append(f"{failed} failed earlier (--retry resumes them)")
        self.say(", ".join(parts))
        self._shown = {}
        self.bars.reset(self._whole, total=sum(job.recipe.train.images for job in todo))
        self.bars.start()

    def began(self, job: Job) -> None:
        """Show the job's bar."""
        self._tasks[job] = self.bars.add_task(job.label, total=job.recipe.train.images)

    def advanced(self, job: Job, images: int) -> None:
        """Move the job's bar, and that of the whole matrix."""
        self.bars.update(self._tasks[job], completed=images)
        self._move_whole(job, images)

    def ended(self, job: Job, run: ScoredRun | None, *, elsewhere: bool = False) -> None:
        """Print one line, and remove the job's bar."""
        if (bar := self._tasks.pop(job, None)) is not None:
            self.bars.remove_task(bar)
        if elsewhere or bar is not None:
            self._move_whole(job, job.recipe.train.images)
        by = ", by another worker" if elsewhere else ""
        self.say(f"{job.label}{by}: {_outcome(run)}", "red" if run and run.record.status == "failed" else None)

    def summarise(self, planned: Sequence[Job], runs: Sequence[ScoredRun], results: Path) -> None:
        """Print the closing line."""
        failed = sum(run.record.status == "failed" for run in runs)
        self.say(f"{len(runs) - failed} of {len(planned)} done, {failed} failed. Saved to {results}")

    def _move_whole(self, job: Job, images: int) -> None:
        self._shown[job] = images
        self.bars.update(self._whole, completed=sum(self._shown.values()))


def _outcome(run: ScoredRun | None) -> str:
    if run is None:
        return "stopped, and saved"
    if run.record.status == "failed":
        return f"failed: {run.record.error}"
    scores = ", ".join(f"{score['metric']} {figure(score['value'])} ({score['weights']})" for score in run.scores)
    return f"{scores or 'done'} after {run.record.images:,} images in {run.record.seconds:.0f} s"
