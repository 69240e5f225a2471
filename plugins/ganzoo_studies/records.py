"""Records of runs and their scores: made from a run folder, stored in a results folder, and read back.

``runs.jsonl`` has a line for each run, ``scores.jsonl`` a line for each of its scores, including those measured later.
A study also keeps the weights of every run, so that another metric can be scored without training again.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ganzoo.config.schema import Recipe, training_digest
from ganzoo.errors import GanzooError, writing
from ganzoo.files import (
    locked_append,
    numbered_lines,
    refuse_links,
    sweep,
    temporary_name,
    without_folders,
    write_atomically,
)
from ganzoo.registry import strict
from ganzoo.registry.loading import Zoo
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.provenance import external_plugins, hardware_in_words, now
from ganzoo.runs.records import Count, Name, Seconds, final_scores, own_protocol, save_checkpoint
from ganzoo_studies.cost import flops_per_image
from ganzoo_studies.matrix import Job, job_folder

RUNS: Final = "runs.jsonl"
SCORES: Final = "scores.jsonl"
RECIPES: Final = "recipes"
"""Folder of the recipes that the runs were trained with, see ``RunRecord.frozen``."""
CLAIMS: Final = ".claims"
"""Folder of the locks on runs in progress, see ``Ledger.claim``."""

Key = tuple[str, str, int, str, str | None]
"""Identifies a run: the recipe's digest, the dataset, the seed, the hardware and the precision."""

Training = tuple[Key, str | None]
"""A run's key, and when it started."""

Score = dict[str, Any]

LARGEST: Final = 1e39
"""Just above the largest number in single precision, which is what everything here was measured in."""
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]


class _Line(BaseModel):
    """A line about a training run, which these fields tell from others; the hardware does too."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    recipe: Name
    dataset: Name
    seed: int
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]+$", max_length=64)]
    """Of the settings, see ``training_digest``; the same for all seeds."""
    precision: str | None  # None if the run failed before that was decided
    started: str | None  # as in ``run.json``; it distinguishes a run from an earlier one with the same key

    def plain(self) -> dict[str, Any]:
        """The line in the file."""
        return self.model_dump(mode="json", by_alias=True)


class RunRecord(_Line):
    """A training run: its settings, its cost, and the environment it ran in. Its scores are separate rows."""

    schema_version: Annotated[Literal[3], Field(alias="schema")] = 3
    plugin: str | None  # the entry point that provides the recipe; None if it is a file
    summary: str  # of the recipe
    paper: str | None
    loss: str
    conditional: bool  # whether the networks get labels
    status: Literal["done", "failed"]  # failed if the run diverged, crashed or was killed
    error: str | None  # what went wrong; None if nothing did
    images: Count  # real images shown
    seconds: Seconds  # of training, evaluation excluded
    wall_seconds: Seconds | None  # from the process's start to its end; None if other processes trained a part of it
    images_per_second: Number | None  # None if nothing was trained
    parameters: dict[str, Count]  # number of trainable parameters of each network, by role
    flops_per_image: Number | None  # see ``flops_per_image``; None if the run failed or they could not be counted
    engine: str | None
    threads: int
    environment: dict[str, Any]  # hardware and versions, as in ``run.json``
    samples: str | None  # path of the final grid of samples, relative to the file; None if there is none
    finished: str  # ISO time, UTC
    command: str  # repeats the training
    protocol: dict[str, Any]  # by which the run scored itself, see ``own_protocol``
    diverged: bool = False  # whether it failed because a loss, a weight, a sample or a score was not finite
    plugins: dict[str, str] = {}  # of other packages that it was trained with, each with its package and version

    @property
    def has_crashed(self) -> bool:
        """Whether it failed without diverging, so not because of the method: it may well succeed on another machine."""
        return self.status == "failed" and not self.diverged

    @property
    def frozen(self) -> str:
        """Path of its recipe, relative to the file: every setting, whatever becomes of the registered recipe."""
        return f"{RECIPES}/{self.recipe}-{self.digest[:8]}.yaml"

    @property
    def hardware(self) -> str:
        """The GPU or, if it was trained on a CPU, the CPU with its matrix instructions."""
        return hardware_in_words(self.environment)

    @property
    def where(self) -> str:
        """Precision, engine, threads and hardware, as far as they are known, in one line."""
        on_cpu = "" if self.environment.get("gpu") else f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        return ", ".join(filter(None, (self.precision, self.engine, on_cpu, self.hardware)))

    @property
    def key(self) -> Key:
        """Identifies the run: of two records with the same key, the later one counts."""
        return self.digest, self.dataset, self.seed, self.hardware, self.precision

    @property
    def training(self) -> Training:
        """Tells it from earlier runs with the same key."""
        return self.key, self.started

    def folder(self, work: Path) -> Path:
        """The run folder of its job."""
        return job_folder(work, self.recipe, self.dataset, self.seed, self.digest)


class ScoreRow(_Line):
    """A score of a run: the run that it belongs to, and the score as in the run's own ``scores.jsonl``."""

    schema_version: Annotated[Literal[2], Field(alias="schema")] = 2
    hardware: str  # as ``RunRecord.hardware``
    images: Count  # real images shown before the score was measured
    seconds: Seconds | None = None  # of training before that
    weights: str  # ema or raw
    metric: str  # <metric>@<extractor>
    value: Number
    floor: Number | None = None  # real vs real: the score of real images instead of samples; None if it has none
    interval: tuple[Number, Number] | None = None  # 95%, of the mean score of other sets of as many samples
    sd: Annotated[float, Field(ge=0, le=LARGEST)] | None = None  # of the floor, over draws of real images
    protocol: dict[str, Any]  # everything else the score depends on

    @classmethod
    def of(cls, record: RunRecord, score: Mapping[str, Any]) -> ScoreRow:
        """The row for a score from a run folder."""
        training = {name: getattr(record, name) for name in (*_Line.model_fields, "hardware")}
        return cls.model_validate({**training, **{name: score[name] for name in _OF_SCORE if name in score}})

    @property
    def training(self) -> Training:
        """The run that it belongs to."""
        return (self.digest, self.dataset, self.seed, self.hardware, self.precision), self.started

    @property
    def score(self) -> Score:
        """The score as in the run folder."""
        left_out = {key for key in ("interval", "sd") if getattr(self, key) is None}
        return self.model_dump(mode="json", include=set(_OF_SCORE), exclude=left_out)


_OF_SCORE = ("images", "seconds", "weights", "metric", "value", "floor", "interval", "sd", "protocol")


@dataclass(frozen=True)
class ScoredRun:
    """A record with the scores of its run."""

    record: RunRecord
    curve: tuple[Score, ...]  # all its scores, oldest first

    @cached_property
    def scores(self) -> tuple[Score, ...]:
        """The final scores, those by the run's own protocol first: see ``final_scores``."""
        return tuple(final_scores(self.curve, self.record.protocol))

    def plain(self) -> dict[str, Any]:
        """JSON: the record, and its final scores as ``scores``."""
        return {**self.record.plain(), "scores": list(self.scores)}


def read_runs(folder: Path) -> list[ScoredRun]:
    """The runs of a results folder with their scores, in order; only the last run of each key.

    Lines that are not JSON are skipped with a warning. A torn last line, and scores of a run without a record,
    are skipped without one.

    Raises:
        GanzooError: A line was written by another version, or is damaged.
    """
    latest: dict[Key, tuple[RunRecord, list[Score]]] = {}
    for record in _validated(folder / RUNS, RunRecord):
        latest.pop(record.key, None)
        latest[record.key] = record, []
    by_training = {record.training: scores for record, scores in latest.values()}
    for row in _validated(folder / SCORES, ScoreRow):
        scores = by_training.get(row.training, [])
        if row.score not in scores:  # two benches may have collected the same one
            scores.append(row.score)
    return [ScoredRun(record, tuple(scores)) for record, scores in latest.values()]


L = TypeVar("L", bound=_Line)


def _validated(path: Path, kind: type[L]) -> Iterable[L]:
    schema = kind.model_fields["schema_version"].default
    for number, line in numbered_lines(path):
        if (version := line.get("schema")) != schema:
            raise GanzooError(
                f"Line {number} of {path} was written by another version of ganzoo (schema {version}).",
                f"This one reads schema {schema}: give another results folder.",
            )
        try:
            yield kind.model_validate(line)
        except ValidationError as error:
            reason = strict.issues(error, kind, line)[0].sentence("it")
            raise GanzooError(f"Line {number} of {path} is damaged: {reason}", "Repair or remove that line.") from error


class Ledger:
    """``runs.jsonl``, ``scores.jsonl``, ``recipes/`` and ``samples/`` in a folder. Several processes may write at once.

    Raises:
        GanzooError: The folder cannot be created, a path that it writes to is a link, or its records cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("samples", RECIPES, CLAIMS, RUNS, SCORES, f".{RUNS}.lock", f".{SCORES}.lock"):
            refuse_links(folder / name, folder)
        with writing(f"{folder} cannot be created", "Give another results folder."):
            for name in ("samples", RECIPES, CLAIMS):
                (folder / name).mkdir(parents=True, exist_ok=True)
        self._seen: list[int] = []
        self.aside: set[Training] = set()  # runs that are not found any more, see ``set_aside``
        self.refresh()

    def refresh(self) -> None:
        """Read the records again if they have been written to."""
        files = [self.folder / name for name in (RUNS, SCORES)]
        # By reading them, since a network file system may cache older sizes.
        sizes = [len(path.read_bytes()) if path.exists() else 0 for path in files]
        if sizes != self._seen:
            self._runs: dict[tuple[str, str, int], dict[Key, ScoredRun]] = {}
            for run in read_runs(self.folder):
                self._remember(run)
            self._seen = sizes

    @property
    def runs(self) -> list[ScoredRun]:
        """All runs."""
        return [run for runs in self._runs.values() for run in runs.values()]

    def find(self, digest: str, dataset: str, seed: int, hardware: str | None = None) -> ScoredRun | None:
        """The newest run of a recipe on the given hardware, or on any, in whatever precision.

        A run that crashed counts only where there is no other.
        """
        runs = self._runs.get((digest, dataset, seed), {})
        matches = [run for key, run in runs.items() if hardware in (None, key[3])]
        matches = [run for run in matches if not run.record.has_crashed] or matches
        return matches[-1] if matches else None

    def set_aside(self, runs: Iterable[ScoredRun]) -> None:
        """From now on, find none of these runs: they are to be made again."""
        self.aside |= {run.record.training for run in runs}
        self._seen = []
        self.refresh()

    def claim(self, digest: str, seed: int) -> FileLock:
        """A lock: of all processes that write to the folder, only its holder works on that run.

        The operating system releases it when its holder dies for any reason: locks never go stale or time out.
        """
        path = refuse_links(self.folder / CLAIMS / f"{seed}-{digest}.lock", self.folder)
        return FileLock(path, blocking=False)

    def append(
        self,
        record: RunRecord,
        scores: Iterable[Score] = (),
        picture: Path | None = None,
        recipe: Recipe | None = None,
    ) -> ScoredRun:
        """Write a record, after its recipe, its picture and its scores."""
        if recipe is not None and not (self.folder / record.frozen).exists():  # the seeds of a recipe share its file
            write_atomically(self.folder / record.frozen, shared(recipe).encode())
        if picture is not None and record.samples is not None:
            write_atomically(self.folder / record.samples, picture.read_bytes())  # never follows a link
        run = self.add_scores(ScoredRun(record, ()), scores)
        locked_append(self.folder / RUNS, [record.plain()], durable=True)
        return run

    def add_scores(self, run: ScoredRun, scores: Iterable[Score]) -> ScoredRun:
        """Write the scores of a run that are not in ``scores.jsonl`` yet: those of the weights that it reports."""
        known = [score for score in scores if math.isfinite(score["value"])]
        reported = [score for score in known if score["weights"] == "ema"] or known
        rows = [ScoreRow.of(run.record, score) for score in reported]
        new = [row for row in rows if row.score not in run.curve]
        if new:
            locked_append(self.folder / SCORES, [row.plain() for row in new], durable=True)
        run = ScoredRun(run.record, (*run.curve, *(row.score for row in new)))
        self._remember(run)
        return run

    def _remember(self, run: ScoredRun) -> None:
        runs = self._runs.setdefault(run.record.key[:3], {})
        runs.pop(run.record.key, None)
        if run.record.training not in self.aside:
            runs[run.record.key] = run


def collect(
    job: Job, folder: Path, failure: str | None, wall_seconds: float, environment: Mapping[str, Any], zoo: Zoo
) -> tuple[RunRecord, Sequence[Score], Recipe]:
    """The record, the scores and the recipe of a job whose process has ended.

    The run folder may be missing if it failed; ``environment``, this process's, is used if the folder has none.
    """
    run, trained, problem = None, job.recipe, None
    scores: Sequence[Score] = []
    events: Sequence[Mapping[str, Any]] = []
    try:
        run = RunFolder.open(folder)
        # The recipe as it was trained: the file may have been edited after the bench started.
        trained, scores, events = run.recipe(zoo), run.scores(), run.events()
    except GanzooError as damage:  # one damaged folder does not end the other jobs
        run, problem = None, str(damage)
    info = run.info if run else {}
    broken = sorted({score["metric"] for score in scores if not math.isfinite(score["value"])})
    error = failure or problem or (f"A score is not finite: {', '.join(broken)}." if broken else None)
    # From the finished run, or from the last log event.
    logged = [info] if info.get("status") == "done" else [event for event in events if event["event"] == "train"]
    images, seconds = (logged[-1]["images"], logged[-1]["seconds"]) if logged else (0, 0.0)
    resumed = any(event["event"] == "resume" for event in events)
    # If a worker died before recording a finished run, the process that finds it done takes no time.
    is_whole = not resumed and wall_seconds >= seconds
    made_with = info.get("environment", environment)
    used = external_plugins(trained, zoo)
    record = RunRecord(
        recipe=job.recipe.name,
        dataset=job.dataset,
        seed=job.seed,
        digest=training_digest(trained),
        plugin=job.plugin,
        summary=job.recipe.summary,
        paper=job.recipe.paper,
        loss=job.recipe.loss.name,
        conditional=job.recipe.conditional,
        status="failed" if error else "done",
        error=error,
        images=images,
        seconds=seconds,
        wall_seconds=round(wall_seconds, 1) if is_whole else None,
        images_per_second=round(images / seconds, 1) if seconds else None,
        parameters=info.get("parameters", {}),
        flops_per_image=None if error else count_flops(job, zoo, run),
        engine=info.get("engine"),
        precision=info.get("precision"),
        threads=made_with["threads"],
        environment=dict(made_with),
        samples=None if error else job.picture(f"{hardware_in_words(made_with)}, {info.get('precision')}"),
        finished=now(),
        command=job.command,
        started=info.get("started"),
        protocol=own_protocol(trained),
        diverged=bool(error) and (bool(broken) or any(event["event"] == "diverged" for event in events)),
        plugins={**used, **{name: known for name, known in (info.get("plugins") or {}).items() if name in used}},
    )
    return record, scores, trained


def shared(recipe: Recipe) -> str:
    """A recipe's file for others: without trackers, and with only the last name of each absolute path."""
    return strict.dump(without_folders({**recipe.plain(), "trackers": []}))


def count_flops(job: Job, zoo: Zoo, run: RunFolder | None) -> float | None:
    """FLOPs per training image; None if counting fails, for example on operations that fake tensors do not support."""
    try:
        where = run.data_dir(job.recipe) if run else None
        dataset = zoo.datasets.get(job.dataset).create("train", where, **job.recipe.dataset.options)
        return flops_per_image(job.recipe, zoo, dataset)
    except Exception:  # whatever the cause, the run succeeded, and its record must not be lost
        return None


def final_picture(folder: Path) -> Path | None:
    """The last grid of samples in a run folder, or None."""
    return max((folder / "samples").glob("*.png"), default=None)


def run_of(record: RunRecord, folder: Path) -> RunFolder | None:
    """The run that a record was made from, or a copy; None if it is not in this folder, or not any more."""
    run = opened(folder)
    is_its = run and (run.info.get("started"), run.info.get("images")) == (record.started, record.images)
    return run if is_its else None


def opened(folder: Path) -> RunFolder | None:
    """A run folder; None if there is none, or if it is damaged."""
    with suppress(GanzooError):
        return RunFolder.open(folder)
    return None


def collect_added_scores(ledger: Ledger, work: Path) -> None:
    """Add to a ledger the scores that ``ganzoo eval`` has since appended to its runs' folders."""
    for run in ledger.runs:
        if run.record.status == "done" and (kept := run_of(run.record, run.record.folder(work))) is not None:
            ledger.add_scores(run, kept.scores())


def kept_folder(record: RunRecord, weights: Path) -> Path:
    """The folder for a recorded run's weights; another run of the same recipe and seed has its own folder."""
    folder = record.folder(weights)
    return folder.with_name(f"{folder.name}-{re.sub(r'[^0-9]', '', record.started or '')}")


def keep_weights(run: RunFolder, record: RunRecord, weights: Path) -> None:
    """Copy a finished run, without its optimizers, pictures and events, and without weights that it does not report.

    `ganzoo eval`, `sample` and `export` accept the copy like the run itself; it cannot be resumed. It appears
    completely or not at all.

    Raises:
        GanzooError: The run has no complete checkpoint, or a path that would be written is a link.
        OSError: The disk is full, or the folder read-only.
    """
    checkpoint, folder = run.checkpoint(), refuse_links(kept_folder(record, weights), weights)
    is_averaged = any(name.startswith("ema.") for name in checkpoint.tensors)
    # An objective may need its own buffers to draw samples.
    kept = ("ema." if is_averaged else "networks.", "objective.")
    reported = {name: tensor for name, tensor in checkpoint.tensors.items() if name.startswith(kept)}
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder.parent, folder.name)
    prepared = temporary_name(folder)
    try:
        save_checkpoint(prepared / "checkpoints", reported, checkpoint.state)
        for name in ("recipe.yaml", "scores.jsonl", "run.json"):
            if (run.path / name).exists():  # a run without metrics has no scores
                shutil.copyfile(run.path / name, prepared / name)
        # Another worker may have kept them in the meantime, and added scores.
        if run_of(record, folder) is None:
            shutil.rmtree(folder, ignore_errors=True)
            prepared.rename(folder)
    finally:
        shutil.rmtree(prepared, ignore_errors=True)
