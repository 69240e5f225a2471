"""Checkpoints: tensors as safetensors, everything else as JSON, both with digests; loading one executes no code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ganzoo.errors import GanzooError
from ganzoo.files import parse_json, write_atomically
from ganzoo.runs.schemas import CHECKPOINT, NewerError, is_state, refuse_other


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training run.

    Attributes:
        tensors: All tensors by dotted name (``networks.generator.…``, ``ema.generator.…``, ``optimizers.…``).
        state: Everything else, as JSON: ``images``, ``steps``, ``seconds`` and the cursors.
        path: Its safetensors file.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]
    path: Path

    def weights(self, prefix: str) -> dict[str, Tensor]:
        """A network's state dict: the tensors under ``prefix``, such as ``"ema.generator"``."""
        return below(prefix, self.tensors)


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under a prefix, by the rest of their names."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, keep: int = 2) -> Path:
    """Write a checkpoint atomically, then remove all but the newest ``keep``.

    The JSON file is written last, with the digests of the tensors and of itself: a checkpoint without it is incomplete,
    one with a wrong digest is damaged. Checkpoints at more images are removed too: they were too damaged to resume.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own: dict[int, Tensor] = {}
    saved = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().contiguous()
        # Layers may share a weight, but safetensors refuses tensors that share memory.
        saved[name] = plain if own.setdefault(plain.untyped_storage().data_ptr(), plain) is plain else plain.clone()
    content = save_tensors(saved)
    path = folder / f"{state['images']:012d}.safetensors"
    write_atomically(path, content)
    meta = {"schema": CHECKPOINT, "sha256": hashlib.sha256(content).hexdigest(), "state": dict(state)}
    write_atomically(path.with_suffix(".json"), json.dumps({**meta, "meta_sha256": _digest(meta)}, indent=1).encode())
    prune(path, keep=keep)
    return path


def prune(newest: Path, *, keep: int = 2) -> None:
    """Keep the last ``keep`` complete checkpoints up to ``newest``; remove later, earlier and incomplete ones."""
    paths = _checkpoints(newest.parent)
    kept = [path for path in paths if path <= newest and path.with_suffix(".json").exists()][-keep:]
    for path in paths:
        if path not in kept:
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints' files, oldest first; copies that a user made under other names are none of ours."""
    return sorted(path for path in folder.glob("*.safetensors") if path.stem.isdecimal())


def load_latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest intact checkpoint, and a message for each damaged one that was skipped.

    Returns None if the folder is empty, or if a crash interrupted the very first checkpoint.

    Raises:
        NewerError: A newer ganzoo wrote one of them.
        GanzooError: Every checkpoint is damaged.
    """
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
    interrupted = len(paths) == 1 and not paths[0].with_suffix(".json").exists()
    if damaged and not interrupted:
        raise GanzooError(
            f"Every checkpoint in {folder} is damaged: {' '.join(damaged)}",
            "Start a new run with another --out (in Python out=...); this one's scores and pictures are still there.",
        )
    return None, damaged


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify one checkpoint.

    Raises:
        NewerError: A newer ganzoo wrote it.
        GanzooError: It is incomplete or damaged.
    """
    try:
        content = path.read_bytes()
        meta = parse_json(path.with_suffix(".json").read_bytes())
        schema, digest, state = meta["schema"], meta["sha256"], meta["state"]
        own_digest = meta.pop("meta_sha256")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GanzooError(f"The checkpoint {path.name} is incomplete ({type(error).__name__}).") from error
    if not is_state(state) or own_digest != _digest(meta):
        raise GanzooError(f"The checkpoint {path.name} is damaged: its state does not match its digest.")
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
