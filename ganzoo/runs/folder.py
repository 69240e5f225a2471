"""The run folder: everything needed to resume, sample, evaluate and report."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ganzoo.api.dataset import Dataset, Part, cache_folder
from ganzoo.api.metric import code_is_allowed
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import Recipe
from ganzoo.data import load_part
from ganzoo.errors import NO_SPACE, GanzooError, RunError, foreign_code
from ganzoo.files import as_argument, default_folder, locked_append, read_lines, refuse_links, sweep, write_atomically
from ganzoo.registry.loading import Zoo, hand_over
from ganzoo.registry.registry import HANDED_OVER
from ganzoo.registry.sources import whole
from ganzoo.registry.strict import ValidationFailed, walk
from ganzoo.runs.provenance import package_changes
from ganzoo.runs.records import (
    BEST,
    CODE,
    FILES,
    FOLDERS,
    LOCK,
    RUN,
    SCORE,
    Checkpoint,
    Record,
    final_scores,
    is_event,
    load_latest,
    own_protocol,
    prune,
    read_checkpoint,
    read_description,
    read_scores,
    save_checkpoint,
    similar_run,
)

Which = Literal["last", "best", "good"]


@dataclass(frozen=True)
class Reader:
    """What opened run folders may read, because a folder may come from a stranger."""

    data_dir: Path | None = None  # where dataset files are, instead of the folder that the run recorded
    anywhere: bool = False  # whether a run may read any path that it names


_reader = ContextVar("reader", default=Reader())  # noqa: B039 - it is frozen


@contextmanager
def reading(data_dir: Path | None = None, *, anywhere: bool = False) -> Iterator[None]:
    """Let run folders opened in this block read from ``data_dir`` or, with ``anywhere``, from any path they name."""
    before = _reader.get()
    token = _reader.set(Reader(data_dir or before.data_dir, anywhere or before.anywhere))
    try:
        yield
    finally:
        _reader.reset(token)


def _mark(recipe: Recipe, data_dir: Path | None) -> Path:
    """The empty file in the user's cache that says that this user has trained on this data."""
    content = json.dumps([str(data_dir), recipe.dataset.model_dump(mode="json")], sort_keys=True, default=str)
    return cache_folder("read-before") / _digest(content.encode())


def _paths(value: Any, base: Path) -> Iterator[Path]:
    """The existing files and folders that a dataset's options name, at any nesting level."""
    for text in [one for _, one in walk(value) if isinstance(one, str | Path)]:
        with suppress(OSError, ValueError, RuntimeError):  # not a valid path
            path = base / Path(text).expanduser()
            if path.exists():
                yield path


@contextmanager
def locked(folder: Path, holder: int | None = None) -> Iterator[None]:
    """Hold a folder's lock until the block ends or the process dies."""
    # The timeout is longer than a reader holds the lock in ``is_locked``.
    lock = FileLock(refuse_links(folder / LOCK, folder), timeout=0.2)
    try:
        lock.acquire(poll_interval=0.02)
    except Timeout as error:
        raise GanzooError(
            f"Another process{f' (process {holder})' if holder else ''} is training in {folder}.",
            "Wait for it, or stop it. `ganzoo sample` and `ganzoo eval` work in the meantime.",
        ) from error
    except OSError as error:
        raise GanzooError(
            f"Cannot write to the run folder {folder} ({error.strerror}).", "Use a folder you can write to."
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a process holds a folder's lock (process ids, unlike locks, are reused); True if that is unknown."""
    if not (folder / LOCK).exists():
        return False
    try:
        with FileLock(folder / LOCK, blocking=False):
            return False
    except (Timeout, OSError):
        return True


MAX_BYTES_OF_A_PLANE = 1_000_000


@dataclass(eq=False, repr=False)
class RunFolder:
    """An opened run folder. Reading needs no lock; a process that trains in it holds the lock (``claimed``)."""

    path: Path
    info: dict[str, Any]
    reader: Reader = field(default_factory=_reader.get)
    allows_code: bool = field(default_factory=code_is_allowed.get)

    @classmethod
    def create(cls, path: Path, recipe: Recipe, info: Mapping[str, Any], code: str = "") -> RunFolder:
        """Start a run in a new or empty folder; a folder whose creation was interrupted counts as empty."""
        cls.refuse_used(path)
        content = recipe.to_yaml().encode()
        try:
            path.mkdir(parents=True, exist_ok=True)
            with locked(path):
                cls.refuse_used(path)  # another process may have been faster
                for folder in FOLDERS:
                    (path / folder).mkdir(exist_ok=True)
                write_atomically(path / "recipe.yaml", content)
                if code:
                    write_atomically(path / CODE, code.encode())
                run = cls(path, {"schema": RUN, **info, "own_protocol": own_protocol(recipe)})
                run.update(recipe_digests=[_digest(content)], code_digest=_digest(code.encode()) if code else None)
            return run
        except (OSError, UnicodeError) as error:
            cls(path, {}).discard()
            if isinstance(error, UnicodeError):  # a path that is no text
                raise
            sentence = f"Cannot create the run folder {path} ({error.strerror})."
            if error.errno in NO_SPACE:
                raise RunError(sentence, "Free some space, and try again.") from error
            raise GanzooError(sentence, "Use a folder you can write to.") from error

    @staticmethod
    def refuse_used(path: Path) -> None:
        """Refuse a folder that holds something other than the beginning of a run."""
        if (path / "run.json").exists():
            raise GanzooError(
                f"{path} already holds a run.",
                f"Resume it with `ganzoo run --resume {as_argument(path)}` (in Python resume_from=...), or give "
                "another --out (in Python out=...).",
            )
        if path.exists() and not (path.is_dir() and all(map(_is_beginning, path.iterdir()))):
            raise GanzooError(f"{path} exists and is not an empty folder.", "Give another --out (in Python out=...).")

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open an existing run. Its status is ``killed`` if it was ``running`` and its process is gone."""
        path = Path(path)
        info = read_description(path)
        if info["status"] == "running" and not is_locked(path):
            info = read_description(path)  # it may have ended since it was read
            if info["status"] == "running":
                info["status"] = "killed"
        return cls(path, info)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Be the only process that trains in this folder, and remove files that killed processes left half-written."""
        with locked(self.path, self.info.get("pid")):
            self.info = read_description(self.path)
            self.update(pid=os.getpid())
            for folder in FOLDERS:
                (self.path / folder).mkdir(exist_ok=True)
            for name in (".", *FOLDERS, BEST):
                sweep(self.path / name, sole_writer=True)
            yield

    def update(self, **changes: Any) -> None:
        """Change entries of run.json (``status``, ``ended``, ...)."""
        self.info.update(changes)
        write_atomically(self.path / "run.json", json.dumps(self.info, indent=2, ensure_ascii=False).encode())

    def discard(self) -> None:
        """Remove a run that has not begun to train; other files in its folder are kept."""
        for name in FILES:
            with suppress(OSError):  # there is none
                (self.path / name).unlink()
        for folder in (*(self.path / name for name in FOLDERS), self.path):
            with suppress(OSError):  # it is not empty
                folder.rmdir()

    def replace_recipe(self, recipe: Recipe) -> None:
        """Rewrite recipe.yaml, for a run that is resumed with changes."""
        content = recipe.to_yaml().encode()
        # The digest first: whichever of the two recipes survives a crash, its digest is recorded.
        digests = dict.fromkeys([*self.info.get("recipe_digests", []), _digest(content)])
        self.update(recipe_digests=list(digests), own_protocol=own_protocol(recipe))
        write_atomically(self.path / "recipe.yaml", content)

    def recipe(self, zoo: Zoo, overrides: Iterable[str] = (), *, scored: bool = True) -> Recipe:
        """The resolved recipe, with overrides; if not ``scored``, metrics that are not installed are only a warning."""
        self.refuse_another_recipe()
        try:
            recipe = load_recipe(self.path / "recipe.yaml", self.zoo(zoo), list(overrides), scored=scored)
        except ValidationFailed as error:
            error.sentence = "\n".join([error.sentence, *package_changes(self.info)])
            error.args = (error.sentence,)
            raise
        return recipe.model_copy(update={"name": self.info["recipe"]})

    def zoo(self, zoo: Zoo, *, resuming: bool = False) -> Zoo:
        """The zoo with the very classes that the run was trained with, if it was with some that are in no package.

        They come from this session, when resuming only if none has replaced them, or with permission from its code.py.
        """
        parts = self.info.get("code", ())
        zoo = zoo.copy() if parts else zoo
        for kind, name, made_by in parts:
            with foreign_code(
                f"{self.path / CODE} failed",
                "Modules that it imports are not stored with it; put your own where Python finds them.",
                plugin=True,
            ):
                own = whole([self._code], [made_by]) if made_by else None
                registered = [entry for plugin in zoo.plugins for entry in plugin.registered if entry.kind == kind]
                known = [entry for entry in registered if entry.name == name][-1 if resuming else 0 :]
                same = sorted(  # what is surely the run's own comes last
                    (entry for entry in known if entry.source == own or None in (own, entry.source)),
                    key=lambda entry: entry.source == own,
                )
                if not same and not (made_by and (self.allows_code or code_is_allowed.get())):
                    runs = f", or add --allow-code (in Python: allow_code=True), which runs {self.path / CODE}"
                    raise GanzooError(
                        f"The {kind} '{name}' that is registered here is not the one that {self.path} was trained with."
                        if known
                        else f"The run {self.path} was trained with the {kind} '{name}', which is in no package.",
                        f'Hand it over again, ganzoo.register_{kind}("{name}", {made_by or "..."})'
                        + (f"{runs}: do that only if you trust this run." if made_by else "."),
                    )
                if not same or same[-1].distribution == HANDED_OVER:
                    hand_over(zoo, kind, name, same[-1].factory if same else getattr(self._module, made_by))
        return zoo

    @cached_property
    def _code(self) -> str:
        content = (self.path / CODE).read_bytes() if (self.path / CODE).is_file() else b""
        if _digest(content) != self.info.get("code_digest"):
            raise GanzooError(
                f"{self.path / CODE} is not as ganzoo wrote it: it was damaged, edited or removed.",
                "Restore it from a copy.",
            )
        return content.decode()

    @cached_property
    def _module(self) -> ModuleType:
        """What its code.py holds; runs it, which the user must have allowed."""
        module = ModuleType(f"ganzoo_run_{self.info['code_digest']}")
        module.__file__ = str((self.path / CODE).resolve())
        sys.modules[module.__name__] = module  # where the types of options are looked up
        exec(compile(self._code, module.__file__, "exec"), vars(module))  # noqa: S102
        return module

    def dataset(self, recipe: Recipe, zoo: Zoo, part: Part = "train") -> Dataset:
        """One part of the dataset that it was trained on, from the folder that ``data_dir`` returns."""
        entry, options = zoo.datasets.get(recipe.dataset.name), recipe.dataset.options
        return load_part(entry, options, self.data_dir(recipe), part, recipe.dataset.validation, recipe.dataset.count)

    def data_dir(self, recipe: Recipe) -> Path | None:
        """Where its dataset's files are, as the reader or the run says; an error if the run may not read them."""
        recorded = Path(self.info["data_dir"]) if self.info.get("data_dir") else None
        named = self.reader.data_dir
        folder = named or recorded
        trained_on = False
        with suppress(GanzooError, OSError):  # the cache cannot be read
            trained_on = named is None and _mark(recipe, recorded).exists()
        if self.reader.anywhere or trained_on:
            return folder
        for path in (*([folder] if folder else []), *_paths(recipe.dataset.options, folder or Path())):
            if named is None or not path.resolve().is_relative_to(named.resolve()):
                raise GanzooError(
                    f"The run {self.path} was not started here, and its dataset '{recipe.dataset.name}' would read "
                    f"{path}.",
                    "If that is what you want, add --allow-paths (ganzoo.load(..., allow_paths=True)), or name the "
                    "folder with --data-dir (ganzoo.load(..., data_dir=...)).",
                )
        return folder

    def accept_paths(self, recipe: Recipe, data_dir: Path | None) -> None:
        """Record what this user trains the run on, which later commands may read without being told again."""
        data_dir = data_dir.resolve() if data_dir else None
        self.update(data_dir=str(data_dir) if data_dir else None)
        if data_dir is not None or any(_paths(recipe.dataset.options, Path())):
            with suppress(GanzooError, OSError):  # the cache cannot be written: the user will be asked again
                _mark(recipe, data_dir).touch()

    def refuse_another_recipe(self) -> None:
        """Refuse a recipe.yaml that ganzoo did not write: the run's weights and scores belong to the one it did."""
        file = self.path / "recipe.yaml"
        if not file.is_file():
            raise GanzooError(f"{file} is missing.", "Restore it from a copy, or start over with another --out.")
        known, digest = self.info.get("recipe_digests"), _digest(file.read_bytes())
        # A process that resumes the run may have changed both files since this one opened it.
        if known and digest not in known and digest not in read_description(self.path).get("recipe_digests", []):
            raise GanzooError(
                f"{file} is not as ganzoo wrote it: it was damaged or edited after the run began.",
                "Restore it from a copy. To change settings, resume the run with --set.",
            )

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one record to events.jsonl."""
        locked_append(self.path / "events.jsonl", [record])

    def events(self) -> list[Record]:
        """The events in order, without those that a resumed run logged again; damaged ones only give a warning."""
        kept: list[Record] = []
        for record in read_lines(self.path / "events.jsonl", is_event):
            if record["event"] == "resume":
                kept = [old for old in kept if old["images"] <= record["images"]]
            kept.append(record)
        return kept

    def append_score(self, *scores: Mapping[str, Any]) -> None:
        """Append scores to scores.jsonl, durably."""
        records = [{**score, "schema": SCORE} for score in scores]
        locked_append(self.path / "scores.jsonl", records, durable=True)

    def scores(self) -> list[Record]:
        """All scores so far, in order, without those that a resumed run replaced; see ``read_scores``."""
        return read_scores(self.path / "scores.jsonl")

    def forget_after(self, images: int) -> None:
        """Discard what a resumed run replaces if its newest checkpoints are damaged, and what a kill left to remove."""
        if images:
            prune(self.path / "checkpoints" / f"{images:012d}.safetensors", good=self._good())
        if any(score["images"] > images for score in self.scores()):
            locked_append(self.path / "scores.jsonl", [{"resumed": images}], durable=True)

    def final_scores(self) -> list[Record]:
        """The final scores, those by the recipe's own protocol first; see ``ganzoo.runs.records.final_scores``."""
        return final_scores(self.scores(), self.info.get("own_protocol", {}))

    def save_checkpoint(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write a checkpoint, of which the newest two are kept, and record in run.json that there is one.

        The one of the last evaluation with varied samples is kept too.
        """
        save_checkpoint(self.path / "checkpoints", tensors, state, good=self._good())
        self.update(saved_images=state["images"])

    def save_best(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any], best: Mapping[str, Any]) -> None:
        """Write the checkpoint with the best score so far, replacing the previous one, and record the score."""
        save_checkpoint(self.path / BEST, tensors, state, keep=1)
        self.update(best=best)

    def best(self) -> dict[str, Any] | None:
        """``{"metric", "value", "images", ...}`` of the checkpoint with the best score; None if it is not kept."""
        known = self.info.get("best")
        return known if known and (self.path / BEST / f"{known['images']:012d}.json").exists() else None

    def save_plane(self, images: int, samples: Tensor, field: Tensor | None) -> None:
        """Save one point of a run on 2D data: samples (n, 2), and the discriminator's field (k, k) or None."""
        kept = {"samples": samples} | ({} if field is None else {"field": field})
        limit = torch.finfo(torch.float16).max
        halves = {name: values.clamp(-limit, limit).half().contiguous() for name, values in kept.items()}
        write_atomically(self.path / "samples" / f"{images:012d}.safetensors", save_tensors(halves))

    def planes(self) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """What ``save_plane`` saved, in order; damaged files are left out."""
        for path in sorted((self.path / "samples").glob("*.safetensors")):
            with suppress(OSError, SafetensorError, LookupError, RuntimeError, ValueError, TypeError):
                if path.stem.isdecimal() and path.stat().st_size < MAX_BYTES_OF_A_PLANE:
                    yield int(path.stem), load_tensors(path.read_bytes())

    def find_checkpoint(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest intact checkpoint or None, and a message for each damaged one that was skipped."""
        checkpoint, damaged = load_latest(self.path / "checkpoints")
        if checkpoint is None and (saved := self.info.get("saved_images")):
            raise GanzooError(
                f"The run {self.path} has no checkpoint any more, though it had saved one after {saved:,} images.",
                f"Restore {self.path / 'checkpoints'} from a copy, or start a new run with another --out.",
            )
        return checkpoint, damaged

    def _good(self) -> int | None:  # images shown at the last evaluation with varied samples
        return next((event["images"] for event in reversed(self.events()) if event.get("good")), None)

    def checkpoint(self, which: Which = "last") -> Checkpoint:
        """The newest intact checkpoint, the one with the best score, or that of the last good evaluation."""
        if which == "good":
            if (images := self._good()) is None:
                raise GanzooError(
                    f"No evaluation of the run {self.path} found varied samples.", "Use the last checkpoint."
                )
            return read_checkpoint(self.path / "checkpoints" / f"{images:012d}.safetensors")
        checkpoint, _ = self.find_checkpoint() if which == "last" else load_latest(self.path / BEST)
        if checkpoint is not None:
            return checkpoint
        if which == "last":
            raise GanzooError(f"The run {self.path} has no checkpoint yet.", "Train it a little longer.")
        raise GanzooError(
            f"The run {self.path} has no best checkpoint.",
            "Train with --set train.keep_best=METRIC to keep one, or use the last checkpoint.",
        )


def scores_in(path: Path) -> list[Record]:
    """The scores of a run folder, or of a file that ``ganzoo eval --out`` wrote."""
    if path.is_dir():
        return RunFolder.open(path).scores()
    remedy = "Give a run or a scores file."
    if not path.is_file():
        raise GanzooError(f"No such run or scores file: {path}.", similar_run(path) or remedy)
    scores = read_scores(path, of_a_run=False)
    if not scores:
        raise GanzooError(f"{path} holds something other than scores.", remedy)
    return scores


def free_folder(recipe_name: str) -> Path:
    """The first unused folder of ``runs/<recipe>``, ``runs/<recipe>-2``, ``runs/<recipe>-3``, ..."""
    root = default_folder("runs")
    numbered = (root / (recipe_name if number == 1 else f"{recipe_name}-{number}") for number in count(1))
    return next(path for path in numbered if not os.path.lexists(path))


def _is_beginning(entry: Path) -> bool:  # create writes these before run.json
    if entry.name in FOLDERS:
        return entry.is_dir() and not any(entry.iterdir())
    if entry.name in ("recipe.yaml", CODE):
        return (entry.parent / LOCK).exists()  # otherwise it is the user's own file
    return entry.name == LOCK or entry.name.startswith((".recipe.yaml.", f".{CODE}.", ".run.json."))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
