"""What a person sees while a run trains, and when it has ended. Everything goes to standard error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from ganzoo.plugins import Zoo
from ganzoo.recipe import Recipe
from ganzoo.runs.diagnosis import examine
from ganzoo.runs.folder import RunFolder
from ganzoo.tracker import Tracker
from ganzoo.workflow import Observers


class RunProgress(Tracker):
    """A progress bar with speed, time left, losses and the last score, and a table at the end."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._bar = Progress(
            BarColumn(bar_width=16),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
            TextColumn("[cyan]{task.fields[score]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> RunProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def observers(self) -> Observers:
        """This bar, as somebody who watches a run."""
        return Observers(trackers=(self,), tick=self._tick, say=self._say)

    def warn_of(self, zoo: Zoo) -> None:
        """One line for each plugin that could not be loaded; the rest goes on."""
        for problem in zoo.problems:
            self._say(problem.sentence)

    def begin(self, recipe: Recipe, folder: Path) -> None:
        """Show the bar."""
        self.console.print(f"{recipe.name}: {recipe.summary}", markup=False, highlight=False)
        self.console.print(f"into {folder}", markup=False, highlight=False, soft_wrap=True)
        self._task = self._bar.add_task(recipe.name, total=recipe.train.images, speed="", losses="", score="")
        self._bar.start()

    def log(self, record: Mapping[str, Any]) -> None:
        """Show the newest losses, speed or score."""
        if self._task is None:
            return
        if record["event"] == "train":
            losses = " ".join(f"{k.removesuffix('.loss')} {v:.3f}" for k, v in record.items() if k.endswith(".loss"))
            self._bar.update(self._task, speed=f"{record['images_per_second']:,.0f} images/s", losses=losses)
        elif record["event"] == "score":
            text = f"{record['metric']} {record['value']:.2f} ({record['weights']})"
            self._bar.update(self._task, score=text)
            if not self.console.is_terminal:
                self.console.print(f"{record['images']:,} images: {text}", markup=False, highlight=False)

    def summarise(self, finished: RunFolder) -> None:
        """The closing table: scores with their floor and protocol, throughput, and where everything lies."""
        scores = finished.scores()
        table = Table(title=f"{finished.info['recipe']}: {finished.info['reason']}", title_justify="left")
        for heading in ("metric", "weights", "value", "real-vs-real floor", "protocol"):
            table.add_column(heading)
        for score in scores:
            if score["images"] == scores[-1]["images"]:
                protocol = score["protocol"]
                reference = f"{protocol['n_real']:,} {protocol['dataset']} {protocol['split']}"
                told = f"{protocol['n_fake']:,} samples vs {reference}"
                table.add_row(score["metric"], score["weights"], f"{score['value']:.3f}", f"{score['floor']:.3f}", told)
        self.console.print(table)
        info = finished.info
        how = f"{info['engine']}, {info['precision']}, {info['environment']['device']}"
        self.console.print(
            f"{info['images']:,} images in {info['seconds']:.1f} s of training, "
            f"{info['images_per_second']:,.0f} images/s ({how})",
            highlight=False,
        )
        diagnosis = examine(finished)
        for line in diagnosis.lines():
            style = "yellow" if diagnosis.findings else None
            self.console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
        self.console.print(f"everything lies in {finished.path}", markup=False, highlight=False, soft_wrap=True)

    def _tick(self, images: int) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=images)

    def _say(self, sentence: str) -> None:
        self.console.print(sentence, style="yellow", markup=False, highlight=False, soft_wrap=True)
