"""Schemas of a run's records: run.json, events, scores and checkpoints, which are checked before they are used."""

from __future__ import annotations

import math
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ganzoo.config.schema import Threads
from ganzoo.errors import GanzooError
from ganzoo.files import parse_json, read_lines, similar
from ganzoo.registry.registry import NAME

RUN = 2
CHECKPOINT = 1
SCORE = 1
LOCK = ".lock"
FOLDERS = ("samples", "checkpoints")
BEST = "best"
"""The folder of the checkpoint that ``train.keep_best`` keeps; created with the first one."""
FILES = ("recipe.yaml", "run.json", "events.jsonl", "scores.jsonl", LOCK, ".events.jsonl.lock", ".scores.jsonl.lock")


class NewerError(GanzooError):
    """Raised if a newer ganzoo wrote a file in a schema that this one cannot read."""


def refuse_other(schema: object, known: int, what: str) -> None:
    """Refuse a schema that this ganzoo cannot read.

    Args:
        schema: The schema number found.
        known: The schema that it reads.
        what: The subject of the message.

    Raises:
        NewerError: It is newer.
        GanzooError: It is older, or not a schema number.
    """
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 0:
        raise GanzooError(f"{what} is damaged: its schema is {schema!r}.")
    if schema > known:
        raise NewerError(
            f"{what} was made by a newer ganzoo (schema {schema}; this one reads schema {known}).",
            "Update ganzoo: pip install -U ganzoo-bench.",
        )
    if schema < known:
        raise GanzooError(
            f"{what} was made by an earlier ganzoo (schema {schema}; this one reads schema {known}).",
            "Use the ganzoo that made it, or train again.",
        )


Seconds = Annotated[float, Field(ge=0, le=1e12)]
Count = Annotated[int, Field(ge=0, le=10**15)]
"""A number of images shown, or of steps."""


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Event(_Shape):
    """The keys of a line of events.jsonl that ganzoo reads; other keys are allowed."""

    event: str
    images: Count
    seconds: Seconds | None = None
    metric: str = ""
    value: float = math.nan
    floor: float | None = None
    weights: str = ""
    sd: float | None = None
    gradients: dict[str, float] = {}
    variety: dict[str, float] = {}
    real_variety: dict[str, float] = {}
    threads: Threads = 1
    planned_threads: list[Annotated[tuple[Count, Threads], Field(strict=False)]] = []
    broken: Annotated[list[str], Field(min_length=1)] = ["a network"]

    @model_validator(mode="after")
    def _require_fields(self) -> _Event:
        needed = {
            "score": {"metric", "value", "weights", "floor"},
            "diverged": {"broken"},
            "threads": {"threads"},
        }.get(self.event, set())
        pair = {"variety", "real_variety"} & self.model_fields_set
        if not needed <= self.model_fields_set or len(pair) == 1:
            raise ValueError("something is missing")
        if pair and not all("samples" in variety for variety in (self.variety, self.real_variety)):
            raise ValueError("the number of samples is missing")
        return self


class _Train(_Event):
    """A log point: means by phase and quantity."""

    __pydantic_extra__: dict[str, float]


class _Protocol(_Shape):
    sample_seed: int | None = None


class _Score(_Shape):
    """A score, as ``ganzoo eval --out`` appends it to a file."""

    metric: str
    value: float
    floor: float | None = None
    protocol: _Protocol


class _RunScore(_Score):
    """A line of a run's scores.jsonl."""

    weights: str
    images: Count
    seconds: Seconds | None = None


class _State(_Shape):
    """The JSON alongside a checkpoint's tensors, without the trainer's own keys."""

    images: Count
    steps: Count = 0
    seconds: Seconds = 0.0
    threads: Threads | None = None


def is_state(value: object) -> bool:
    """Whether a value is the JSON part of a checkpoint."""
    return isinstance(value, dict) and _fits(_State, value)


def is_event(record: Mapping[str, Any]) -> bool:
    """Whether a record is an event with all the keys that its kind requires."""
    return _fits(_Train if record.get("event") == "train" else _Event, record)


def _fits(shape: type[BaseModel], record: Mapping[str, Any]) -> bool:
    try:
        shape.model_validate(dict(record))
    except ValidationError:
        return False
    return True


Record = dict[str, Any]


def read_events(path: Path) -> list[Record]:
    """The events in order, without those that a resumed run replaced; damaged ones are left out with a warning.

    A resumed run goes back to its checkpoint and logs everything after it again.
    """
    kept: list[Record] = []
    for record in read_lines(path, is_event):
        if record["event"] == "resume":
            kept = [old for old in kept if old["images"] <= record["images"]]
        kept.append(record)
    return kept


def read_scores(path: Path, *, of_a_run: bool = True) -> list[Record]:
    """The scores in order, without those that a resumed run replaced.

    Damaged ones are left out with a warning.

    Raises:
        NewerError: A newer ganzoo wrote one of them.
    """
    shape = _RunScore if of_a_run else _Score
    scores: list[Record] = []
    for record in read_lines(path, lambda record: _is_resumption(record) or _fits(shape, record)):
        if _is_resumption(record):
            scores = [score for score in scores if score["images"] <= record["resumed"]]
            continue
        refuse_other(record.get("schema", SCORE), SCORE, f"A score in {path}")
        scores.append({key: value for key, value in record.items() if key not in ("schema", "digest")})
    return scores


def _is_resumption(record: Mapping[str, Any]) -> bool:
    """Whether a line records that a run went back to a checkpoint before some of its scores."""
    return record.keys() == {"resumed"} and type(record["resumed"]) is int


Size = Annotated[int, Field(ge=1, le=2**26)]
Shape = Annotated[list[Size], Field(min_length=1, max_length=8)]
Name = Annotated[str, Field(pattern=rf"^({NAME.pattern})$", max_length=200)]
"""The name of a recipe or a dataset, which becomes part of a path."""


class _Environment(_Shape):
    """The part of a run's environment that ganzoo reads."""

    versions: dict[str, str | None] | None = None


class _Best(_Shape):
    """The score that ``train.keep_best`` kept a checkpoint for."""

    metric: str
    value: float
    images: Count
    protocol: str | None = None


class _Facts(_Shape):
    """The entries of run.json that ganzoo reads."""

    recipe: Name
    shape: Shape
    classes: Annotated[int, Field(ge=0, le=10**6)]
    class_names: list[str] = []
    modality: str = "images"
    modality_options: dict[str, int] = {}
    columns: dict[str, list[int]] = {}
    status: str = "running"
    data_dir: str | None = None
    recipe_digests: list[str] = []
    own_protocol: dict[str, Any] = {}
    seed: int | None = None
    best: _Best | None = None
    precision: Literal["fp32", "tf32", "bf16"] | None = None
    images: Count | None = None
    saved_images: Count | None = None
    seconds: Seconds | None = None
    images_per_second: float | None = None
    parameters: dict[str, int] | None = None
    plugins: dict[str, str] | None = None
    data_digest: str | None = None
    environment: _Environment | None = None
    began_with: _Environment | None = None


def read_description(path: Path) -> dict[str, Any]:
    """The content of a run folder's run.json.

    Raises:
        NewerError: A newer ganzoo made the run.
        GanzooError: There is none, it is damaged, or something that ganzoo reads or writes in the folder is a link, a
            pipe or a device.
    """
    for name in (*FOLDERS, BEST, *FILES):
        _refuse_links_and_pipes(path / name)
        with suppress(OSError):  # a file; or gone in the meantime
            for entry in list((path / name).iterdir()):
                _refuse_links_and_pipes(entry)
    file = path / "run.json"
    try:
        info = parse_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        remedy = "Give a folder that `ganzoo run` made, or the zoo:NAME of a pretrained generator."
        if not path.exists():
            raise GanzooError(f"No such run folder: {path}.", similar_run(path) or remedy) from error
        raise GanzooError(f"{path} is not a run folder (no run.json).", remedy) from error
    except OSError as error:
        raise GanzooError(
            f"{file} cannot be read ({error.strerror}).", "Check its permissions and the disk."
        ) from error
    except ValueError as error:
        raise _damaged(file, "not JSON") from error
    if not isinstance(info, dict):
        raise _damaged(file, "not a mapping")
    refuse_other(info.get("schema", 0), RUN, f"The run {path}")
    try:
        info.setdefault("status", _Facts.model_validate(info).status)
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(file, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return info


def similar_run(path: Path) -> str:
    """A hint for a run folder that does not exist: the run next to it that has nearly its name, or ``""``."""
    return similar(path, lambda entry: (entry / "run.json").is_file())


def _refuse_links_and_pipes(entry: Path) -> None:
    """Refuse what a stranger may have put in a run folder: a link to the reader's files, or what never ends when read.

    Raises:
        GanzooError: The entry is neither a file nor a folder.
    """
    with suppress(OSError):  # gone
        mode = entry.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            kind = "link" if stat.S_ISLNK(mode) else "pipe, socket or device"
            raise GanzooError(f"{entry} is a {kind}, not a file.", "Replace it by a file; ganzoo did not make it.")


def _damaged(file: Path, reason: str) -> GanzooError:
    return GanzooError(f"{file} is damaged ({reason}).", "Restore it from a copy, or start over with another --out.")
