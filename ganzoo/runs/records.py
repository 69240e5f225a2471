"""What a run folder records, checked when it is read: run.json, events, scores and checkpoints; and cards.

A checkpoint's tensors are safetensors, everything else is JSON, and both have digests; loading one executes no code.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ganzoo.config.schema import Recipe, Threads
from ganzoo.errors import GanzooError
from ganzoo.evaluation.protocol import NOT_COMPARED, compared
from ganzoo.files import parse_json, read_lines, similar, write_atomically
from ganzoo.registry.registry import KINDS, NAME
from ganzoo.reproducibility import below

Record = dict[str, Any]
RUN = 2
CHECKPOINT = 1
SCORE = 1
CARD = 1
LOCK = ".lock"
FOLDERS = ("samples", "checkpoints")
BEST = "best"  # the folder of the checkpoint that train.keep_best keeps; created with the first one
CODE = "code.py"  # the source of what the run was trained with, if that is in no package
FILES = (
    "recipe.yaml",
    CODE,
    "run.json",
    "events.jsonl",
    "scores.jsonl",
    LOCK,
    ".events.jsonl.lock",
    ".scores.jsonl.lock",
)
SAMPLE_SEED = 0  # of the samples that a run scores while it trains
OF_SAMPLES = ("n_fake", "sample_seed")  # protocol keys that scores of the model itself lack: these need no samples


class NewerError(GanzooError):
    """Raised if a newer ganzoo wrote a file in a schema that this one cannot read."""


def refuse_other(schema: object, known: int, what: str) -> None:
    """Refuse a schema number other than the one that this ganzoo reads; ``what`` is the subject of the message."""
    if isinstance(schema, int) and schema > known:
        raise NewerError(
            f"{what} was made by a newer ganzoo (schema {schema}; this one reads schema {known}).",
            "Update ganzoo: pip install -U ganzoo-bench.",
        )
    if schema != known:
        raise GanzooError(
            f"{what} is damaged, or was made by an earlier ganzoo (schema {schema!r}; this one reads schema {known}).",
            "Use the ganzoo that made it, or train again.",
        )


Seconds = Annotated[float, Field(ge=0, le=1e12)]
Count = Annotated[int, Field(ge=0, le=10**15)]  # images shown, or steps
Kind = Annotated[str, Field(pattern=f"^({'|'.join(KINDS)})$")]
Name = Annotated[str, Field(pattern=rf"^({NAME.pattern})$", max_length=200)]  # becomes part of a path


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Event(_Shape):  # the keys of a line of events.jsonl that ganzoo reads
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
        if self.event == "train" and not all(
            isinstance(mean, int | float) for mean in (self.model_extra or {}).values()
        ):
            raise ValueError("a mean is not a number")
        return self


class _Protocol(_Shape):
    sample_seed: int | None = None


class _Score(_Shape):  # as `ganzoo eval --out` appends it to a file
    metric: str
    value: float
    floor: float | None = None
    protocol: _Protocol


class _RunScore(_Score):  # a line of a run's scores.jsonl
    weights: str
    images: Count
    seconds: Seconds | None = None


class _State(_Shape):  # the JSON alongside a checkpoint's tensors, without the trainer's own keys
    images: Count
    steps: Count = 0
    seconds: Seconds = 0.0
    threads: Threads | None = None


class _Environment(_Shape):
    versions: dict[str, str | None] | None = None


class _Best(_Shape):  # the score that train.keep_best kept a checkpoint for
    metric: str
    value: float
    images: Count
    protocol: str | None = None


class _Facts(_Shape):  # the entries of run.json that ganzoo reads
    recipe: Name
    shape: Annotated[list[Annotated[int, Field(ge=1, le=2**26)]], Field(min_length=1, max_length=8)]
    classes: Annotated[int, Field(ge=0, le=10**6)]
    class_names: list[str] = []
    modality: str = "images"
    modality_options: dict[str, int] = {}
    columns: dict[str, list[int]] = {}
    status: str = "running"
    data_dir: str | None = None
    recipe_digests: list[str] = []
    code: list[Annotated[tuple[Kind, Name, str | None], Field(strict=False)]] = []
    code_digest: str | None = None
    own_protocol: dict[str, Any] = {}
    best: _Best | None = None
    precision: Literal["fp32", "tf32", "bf16"] | None = None
    images: Count | None = None
    saved_images: Count | None = None
    seconds: Seconds | None = None
    images_per_second: float | None = None
    parameters: dict[str, int] | None = None
    plugins: dict[str, str] | None = None
    environment: _Environment | None = None
    began_with: _Environment | None = None


def read_card(path: Path) -> Record:
    """A pretrained generator's card; a ``GanzooError`` if it is damaged or something else."""
    try:
        card: Record = parse_json(path.read_bytes())
        refuse_other(card["schema"], CARD, str(path))
        _Facts.model_validate(card["run"])
        _State.model_validate(card["training"])
    except (LookupError, TypeError, ValueError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else "it is not a card that ganzoo wrote"
        remedy = "Reinstall the plugin that provides it; of a folder for the Hub, download all files again."
        raise GanzooError(f"The pretrained generator's {path} cannot be read: {reason}.", remedy) from error
    return card


def first_problem(error: ValidationError) -> str:
    """The first of a model's complaints, in one line."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def is_event(record: object) -> bool:
    """Whether a record is an event with all the keys that its kind requires."""
    return _fits(_Event, record)


def _fits(shape: type[BaseModel], record: object) -> bool:
    try:
        shape.model_validate(record)
    except ValidationError:
        return False
    return True


def refuse_irregular(folder: Path, names: Iterable[str]) -> None:
    """Refuse a folder in which these files, or what is in these folders, are links, pipes or devices: a stranger's may
    lead to the reader's own files, or to what never ends.
    """
    for entry in [folder / name for name in names]:
        for one in [entry, *(entry.iterdir() if entry.is_dir() and not entry.is_symlink() else ())]:
            if one.is_symlink() or (one.exists() and not (one.is_file() or one.is_dir())):
                raise GanzooError(
                    f"{one} is a link, pipe or device, not a file.", "Replace it by a file; ganzoo did not make it."
                )


def read_description(path: Path) -> Record:
    """The content of run.json, once nothing that ganzoo reads or writes in the folder is a link, pipe or device."""
    refuse_irregular(path, (*FOLDERS, BEST, *FILES))
    file = path / "run.json"
    try:
        info: Record = parse_json(file.read_bytes())
        refuse_other(info.get("schema", 0), RUN, f"The run {path}")
        info.setdefault("status", _Facts.model_validate(info).status)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        remedy = "Give a folder that `ganzoo run` made; commands that only draw or score take zoo:NAME too."
        if not path.exists():
            raise GanzooError(f"No such run folder: {path}.", similar_run(path) or remedy) from error
        raise GanzooError(f"{path} is not a run folder (no run.json).", remedy) from error
    except OSError as error:
        raise GanzooError(
            f"{file} cannot be read ({error.strerror}).", "Check its permissions and the disk."
        ) from error
    except (AttributeError, ValueError) as error:
        reason = "not a mapping" if isinstance(error, AttributeError) else "not JSON"
        if isinstance(error, ValidationError):
            reason = first_problem(error)
        remedy = "Restore it from a copy, or start over with another --out."
        raise GanzooError(f"{file} is damaged ({reason}).", remedy) from error
    return info


def similar_run(path: Path) -> str:
    """A hint for a run folder that does not exist: the run next to it that has nearly its name, or ``""``."""
    return similar(path, lambda entry: (entry / "run.json").is_file())


def read_scores(path: Path, *, of_a_run: bool = True) -> list[Record]:
    """The scores in order, without those that a resumed run replaced; damaged ones are left out with a warning."""
    shape = _RunScore if of_a_run else _Score
    scores: list[Record] = []
    for record in read_lines(path, lambda record: _is_resumption(record) or _fits(shape, record)):
        if _is_resumption(record):
            scores = [score for score in scores if score["images"] <= record["resumed"]]
            continue
        refuse_other(record.get("schema", SCORE), SCORE, f"A score in {path}")
        scores.append({key: value for key, value in record.items() if key not in ("schema", "digest")})
    return scores


def _is_resumption(record: Record) -> bool:  # the run went back to a checkpoint before some of its scores
    return record.keys() == {"resumed"} and type(record["resumed"]) is int


def own_protocol(recipe: Recipe) -> Record:
    """The part of a protocol that the recipe decides: which samples are scored against which images."""
    return {
        "dataset": recipe.dataset.name,
        "split": recipe.dataset.scored_split,
        "n_fake": recipe.evaluate.samples,
        "sample_seed": SAMPLE_SEED,
    }


def is_own(score: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether a score was measured by the recipe's own protocol, as ``own_protocol`` returns it."""
    protocol = score["protocol"]
    return all(protocol.get(key) == own[key] for key in own if key in protocol or key not in OF_SAMPLES)


def final_scores(scores: Sequence[Record], own: Mapping[str, Any]) -> list[Record]:
    """The scores at a run's last scored point, the newest for each metric, protocol and kind of weights.
    Those by the recipe's ``own`` protocol (``{}`` if unknown) come first, and averaged weights before raw ones.
    """
    last = max((score["images"] for score in scores), default=0)
    newest = {_identity(score): score for score in scores if score["images"] == last}
    return sorted(newest.values(), key=lambda score: (not is_own(score, own), score["weights"] != "ema"))


def _identity(score: Record) -> str:
    protocol = compared(score["protocol"], NOT_COMPARED - {"sample_seed"})
    return json.dumps([score["metric"], score["weights"], protocol], sort_keys=True, default=str)


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training run."""

    tensors: dict[str, Tensor]  # by dotted name: networks.generator.…, ema.generator.…, optimizers.…
    state: Record  # everything else, as JSON: images, steps, seconds and the cursors
    path: Path  # its safetensors file

    def weights(self, prefix: str) -> dict[str, Tensor]:
        """A network's state dict: the tensors under ``prefix``, such as ``"ema.generator"``."""
        return below(prefix, self.tensors)


def save_checkpoint(
    folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, keep: int = 2, good: int | None = None
) -> Path:
    """Write a checkpoint atomically; remove all but the newest ``keep`` and the one at ``good`` images, and those at
    more images, which are damaged.
    The JSON is written last, with digests: a checkpoint without it is incomplete, one with a wrong digest is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Layers may share a weight, but safetensors refuses tensors that share memory, and those that are not contiguous.
    plain = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    content = save_tensors(plain)
    path = folder / f"{state['images']:012d}.safetensors"
    write_atomically(path, content)
    meta = {"schema": CHECKPOINT, "sha256": hashlib.sha256(content).hexdigest(), "state": dict(state)}
    write_atomically(path.with_suffix(".json"), json.dumps({**meta, "meta_sha256": _digest(meta)}, indent=1).encode())
    prune(path, keep=keep, good=good)
    return path


def prune(newest: Path, *, keep: int = 2, good: int | None = None) -> None:
    """Keep the last ``keep`` complete checkpoints up to ``newest``, and the one at ``good`` images; remove all others,
    and incomplete ones.
    """
    paths = _checkpoints(newest.parent)
    kept = [path for path in paths if path <= newest and path.with_suffix(".json").exists()]
    for path in paths:
        if path not in kept[-keep:] and not (path in kept and int(path.stem) == good):
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints' files, oldest first; copies that a user made under other names are none of ours."""
    return sorted(path for path in folder.glob("*.safetensors") if path.stem.isdecimal())


def load_latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest intact checkpoint, or None, and a message for each damaged one that was skipped."""
    damaged: list[str] = []
    paths: list[Path] = []
    # A run in progress may remove older checkpoints while they are read; then there are newer ones.
    while (listing := _checkpoints(folder)[::-1]) != paths:
        damaged, paths = [], listing
        for path in paths:
            try:
                return read_checkpoint(path), damaged
            except NewerError:
                raise
            except GanzooError as error:
                damaged.append(error.sentence)
    if damaged and (len(paths) > 1 or paths[0].with_suffix(".json").exists()):
        raise GanzooError(
            f"Every checkpoint in {folder} is damaged: {' '.join(damaged)}",
            "Start a new run with another --out (in Python out=...); this one's scores and pictures are still there.",
        )
    return None, damaged


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify one checkpoint."""
    try:
        content = path.read_bytes()
        meta = parse_json(path.with_suffix(".json").read_bytes())
        schema, digest, state = meta["schema"], meta["sha256"], meta["state"]
        if meta.pop("meta_sha256") != _digest(meta) or not _fits(_State, state):
            raise GanzooError(f"The checkpoint {path.name} is damaged: its state does not match its digest.")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GanzooError(f"The checkpoint {path.name} is incomplete ({type(error).__name__}).") from error
    refuse_other(schema, CHECKPOINT, f"The checkpoint {path.name}")
    if hashlib.sha256(content).hexdigest() != digest:
        raise GanzooError(f"The checkpoint {path.name} is damaged: its bytes do not match its digest.")
    try:
        return Checkpoint(load_tensors(content), state, path)
    # Beyond SafetensorError: a header may name types and sizes that torch rejects.
    except (SafetensorError, LookupError, RuntimeError, ValueError, TypeError, AssertionError, OverflowError) as error:
        raise GanzooError(f"The checkpoint {path.name} is damaged: {type(error).__name__}: {error}.") from error


def _digest(meta: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
