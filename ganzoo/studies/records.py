"""Records of finished runs: one line of ``runs.jsonl`` each, and how it is made from a run folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ganzoo.errors import GanzooError
from ganzoo.files import append_lines, read_lines, write_atomically
from ganzoo.recipes.schema import Recipe, with_first_names
from ganzoo.registry.validation import issues
from ganzoo.runs.environment import hardware_in_words
from ganzoo.runs.schemas import LARGEST

SCHEMA: Final = 1

Key = tuple[str, str, int, str]
"""What tells runs apart: the recipe's digest, the dataset, the seed and the hardware."""

IRRELEVANT: Mapping[str, tuple[str, ...]] = {
    "train": ("seed", "device", "log_every", "checkpoint_seconds"),
    "": ("summary", "paper", "trackers"),
}
"""What of a recipe its digest leaves out: it changes no weight, or stands in the key beside the digest."""


Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Count = Annotated[int, Field(ge=0, le=10**15)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ScoreRecord(_Line):
    """A score of the final evaluation, as the run's ``scores.jsonl`` has it.

    Attributes:
        metric: ``<metric>@<extractor>``.
        value: The score.
        floor: What real images score in its place, or None where that has no meaning.
        weights: ``ema`` or ``raw``.
        images: Real images shown until then.
        seconds: Seconds of training until then.
        protocol: Everything else the score depends on.
    """

    metric: str
    value: Number
    floor: Number | None
    weights: str
    images: Count
    seconds: Seconds
    protocol: dict[str, Any]


class CurvePoint(_Line):
    """A score on the way: what it was after so many images and seconds of training."""

    images: Count
    seconds: Seconds
    metric: str
    weights: str
    value: Number


class RunRecord(_Line):
    """A run of the matrix.

    Attributes:
        schema_version: ``schema`` in the file; 1.
        recipe: Its name.
        dataset: The dataset's name.
        seed: ``train.seed``.
        digest: Of the resolved recipe, see ``recipe_digest``; the same for all seeds.
        plugin: The plugin that brought the recipe; None where it was a file.
        summary: The recipe's one line.
        paper: Citation, or None.
        loss: The loss's name.
        conditional: Whether the networks got labels.
        status: ``failed`` where the run diverged, crashed or was killed.
        error: What went wrong, None where nothing did.
        scores: The final evaluation: every metric, for each kind of weights.
        curve: All evaluations in order, the final one included.
        images: Real images shown.
        seconds: Seconds of training, evaluation excluded.
        wall_seconds: Seconds from the process's start to its end; None where several processes shared the run.
        images_per_second: Images over ``seconds``; None where nothing was trained.
        parameters: Number of trainable numbers in each network, by role.
        flops_per_image: Floating-point operations of matrix products and convolutions, forward and backward, for
            each real image shown; None where they could not be counted.
        engine: How phases were executed.
        precision: ``fp32`` or ``bf16``.
        threads: CPU threads.
        environment: Hardware and versions, as in ``run.json``.
        samples: The final grid of samples, relative to the file; None where there is none.
        finished: ISO time, UTC.
        command: What trains the same again.
    """

    model_config = ConfigDict(populate_by_name=True)

    schema_version: Annotated[Literal[1], Field(alias="schema")] = SCHEMA
    recipe: str
    dataset: str
    seed: int
    digest: str
    plugin: str | None
    summary: str
    paper: str | None
    loss: str
    conditional: bool
    status: Literal["done", "failed"]
    error: str | None
    scores: tuple[ScoreRecord, ...]
    curve: tuple[CurvePoint, ...]
    images: Count
    seconds: Seconds
    wall_seconds: Seconds | None
    images_per_second: Number | None
    parameters: dict[str, Count]
    flops_per_image: Number | None
    engine: str | None
    precision: str | None
    threads: int
    environment: dict[str, Any]
    samples: str | None
    finished: str
    command: str

    @property
    def hardware(self) -> str:
        """The GPU, or the CPU with what it multiplies with, where it was trained on that."""
        return hardware_in_words(self.environment)

    @property
    def key(self) -> Key:
        """Of two records with the same key, the later one holds."""
        return self.digest, self.dataset, self.seed, self.hardware

    def score(self, metric: str, weights: str | None = None) -> ScoreRecord | None:
        """The final score of a metric: of the given weights, or else the reported one, which comes first."""
        found = [one for one in self.scores if one.metric == metric and weights in (None, one.weights)]
        return found[0] if found else None

    def plain(self) -> dict[str, Any]:
        """What stands in the file."""
        return self.model_dump(mode="json", by_alias=True)


def recipe_digest(recipe: Recipe) -> str:
    """SHA-256, hexadecimal, of everything in a resolved recipe that training and scores depend on.

    Seed and device are left out, since they stand beside it in a record's key: runs of one digest are repetitions.
    """
    plain = recipe.plain()
    for choice in ("sync_batch_norm", "share_fakes"):
        if not plain["train"][choice]:
            del plain["train"][choice]  # so that records from before there was such a choice keep their digest
    plain = with_first_names(plain)
    for section, keys in IRRELEVANT.items():
        mapping = plain[section] if section else plain
        for key in keys:
            mapping.pop(key, None)
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def read_records(path: Path) -> list[RunRecord]:
    """The records of a file, in order, each key's last one only. A torn last line is left out.

    Raises:
        GanzooError: A record is of another version, or is none.
    """
    latest: dict[Key, RunRecord] = {}
    for record in _parsed(path):
        latest.pop(record.key, None)
        latest[record.key] = record
    return list(latest.values())


def _parsed(path: Path) -> Iterable[RunRecord]:
    for number, line in enumerate(read_lines(path), 1):
        if line.get("schema") != SCHEMA:
            raise GanzooError(
                f"Record {number} of {path} was made by another version of ganzoo (schema {line.get('schema')}).",
                f"This one reads schema {SCHEMA}: give another --results.",
            )
        try:
            yield RunRecord.model_validate(line)
        except ValidationError as error:
            what = issues(error, RunRecord, line)[0].sentence("it")
            raise GanzooError(f"Record {number} of {path} is damaged: {what}", "Remove that line.") from error


RECORDS = "runs.jsonl"


class Ledger:
    """``runs.jsonl`` and ``samples/`` in a folder. Several processes may write; a line is written whole or not at all.

    Args:
        folder: Made where it is missing.

    Raises:
        GanzooError: The folder cannot be made, or its records cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / RECORDS
        try:
            (folder / "samples").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GanzooError(f"{folder} cannot be made ({error.strerror}).", "Give another --results.") from error
        self._known = {record.key: record for record in read_records(self.path)}

    def find(self, key: Key) -> RunRecord | None:
        """The last record of a key."""
        return self._known.get(key)

    def append(self, record: RunRecord, picture: Path | None = None) -> None:
        """Write a record, and its picture before it."""
        if picture is not None and record.samples is not None:
            write_atomically(self.folder / record.samples, picture.read_bytes())  # and never through a link
        with FileLock(self.folder / f".{RECORDS}.lock"):
            append_lines(self.path, [record.plain()], durable=True)
        self._known[record.key] = record
