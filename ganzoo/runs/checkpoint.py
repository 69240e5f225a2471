"""Checkpoints: tensors as safetensors, everything else as JSON with a digest, nothing that can execute."""

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
from ganzoo.runs.schemas import CHECKPOINT, NewerError, is_state, refuse_newer


@dataclass(frozen=True)
class Checkpoint:
    """A moment of a training.

    Attributes:
        tensors: All tensors, by dotted name (``networks.generator.…``, ``ema.generator.…``, ``optimizers.…``).
        state: Everything else, JSON: ``images``, ``steps``, ``seconds`` and the cursors.
        path: The safetensors file it was read from.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]
    path: Path

    def weights(self, prefix: str) -> dict[str, Tensor]:
        """A network's state dict: the tensors below ``prefix``, e.g. ``"ema.generator"``."""
        return {name.removeprefix(f"{prefix}."): t for name, t in self.tensors.items() if name.startswith(f"{prefix}.")}


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, keep: int = 2) -> Path:
    """Write a checkpoint atomically, and then remove all but the newest ``keep``.

    The JSON file is written last and holds the digests of the tensors and of itself: a checkpoint without it is
    unfinished, and one with another digest is damaged. What lies beyond this checkpoint is removed too: it was too
    damaged to go on from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = save_tensors({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
    path = folder / f"{state['images']:012d}.safetensors"
    write_atomically(path, content)
    meta = {"schema": CHECKPOINT, "sha256": hashlib.sha256(content).hexdigest(), "state": dict(state)}
    write_atomically(path.with_suffix(".json"), json.dumps({**meta, "meta_sha256": _digest(meta)}, indent=1).encode())
    prune(path, keep=keep)
    return path


def prune(newest: Path, *, keep: int = 2) -> None:
    """Remove all checkpoints but the ``keep`` up to ``newest``, and what a kill left of half-removed ones."""
    found = sorted(newest.parent.glob("*.safetensors"))
    kept = [path for path in found if path <= newest and path.with_suffix(".json").exists()][-keep:]
    for path in found:
        if path not in kept:
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def load_latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint, and a sentence for each damaged one that was passed over.

    A run's first checkpoint that was cut off while it was written is none: then there is no checkpoint yet.

    Raises:
        NewerError: A newer ganzoo wrote one of them.
        GanzooError: There are checkpoints, and none of them is whole.
    """
    damaged: list[str] = []
    paths = sorted(folder.glob("*.safetensors"), reverse=True)
    for path in paths:
        try:
            return read_checkpoint(path), damaged
        except NewerError:
            raise
        except GanzooError as error:
            damaged.append(error.sentence)
    if len(paths) == 1 and not paths[0].with_suffix(".json").exists():
        return None, damaged
    if damaged:
        raise GanzooError(
            f"No checkpoint in {folder} is whole: {' '.join(damaged)}",
            "Start the run anew with another --out; its scores and pictures are still there.",
        )
    return None, damaged


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint and verify it.

    Raises:
        NewerError: A newer ganzoo wrote it.
        GanzooError: It is truncated or altered.
    """
    try:
        content = path.read_bytes()
        meta = parse_json(path.with_suffix(".json").read_bytes())
        schema, digest, state = meta.get("schema", 1), meta["sha256"], meta["state"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GanzooError(f"The checkpoint {path.name} is incomplete ({type(error).__name__}).") from error
    # Runs from before there was a digest of the JSON file have none.
    own_digest = meta.pop("meta_sha256", None)
    if not is_state(state) or (own_digest is not None and own_digest != _digest(meta)):
        raise GanzooError(f"The checkpoint {path.name} is damaged: its state does not match its digest.")
    refuse_newer(schema, CHECKPOINT, f"The checkpoint {path.name}")
    if hashlib.sha256(content).hexdigest() != digest:
        raise GanzooError(f"The checkpoint {path.name} is damaged: its bytes do not match its digest.")
    try:
        return Checkpoint(load_tensors(content), state, path)
    # Beside its own errors, those of types and sizes that a header may name and torch does not know.
    except (SafetensorError, LookupError, RuntimeError, ValueError, TypeError, AssertionError, OverflowError) as error:
        raise GanzooError(f"The checkpoint {path.name} is damaged: {type(error).__name__}: {error}.") from error


def _digest(meta: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
