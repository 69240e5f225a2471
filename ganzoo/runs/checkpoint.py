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
from ganzoo.runs.files import write_atomically

SCHEMA = 1


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

    The JSON file is written last and holds the digest of the tensors, so that a checkpoint without it, or with another
    digest, is known to be incomplete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = save_tensors({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
    path = folder / f"{state['images']:012d}.safetensors"
    write_atomically(path, content)
    meta = {"schema": SCHEMA, "sha256": hashlib.sha256(content).hexdigest(), "state": dict(state)}
    write_atomically(path.with_suffix(".json"), json.dumps(meta, indent=1).encode())
    for old in sorted(folder.glob("*.safetensors"))[:-keep]:
        old.with_suffix(".json").unlink(missing_ok=True)
        old.unlink(missing_ok=True)
    return path


def load_latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint, and a sentence for each damaged one that was passed over.

    Raises:
        GanzooError: There are checkpoints, and none of them is whole.
    """
    damaged: list[str] = []
    for path in sorted(folder.glob("*.safetensors"), reverse=True):
        try:
            return read_checkpoint(path), damaged
        except GanzooError as error:
            damaged.append(error.sentence)
    if damaged:
        raise GanzooError(
            f"No checkpoint in {folder} is whole: {' '.join(damaged)}",
            "Start the run anew with another --out; its scores and pictures are still there.",
        )
    return None, damaged


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint and verify it.

    Raises:
        GanzooError: It is truncated, altered, or of a newer ganzoo.
    """
    try:
        content = path.read_bytes()
        meta = json.loads(path.with_suffix(".json").read_text("utf-8"))
        schema, digest, state = meta["schema"], meta["sha256"], meta["state"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GanzooError(f"The checkpoint {path.name} is incomplete ({type(error).__name__}).") from error
    if schema != SCHEMA:
        raise GanzooError(f"The checkpoint {path.name} is of schema {schema}, and this ganzoo reads {SCHEMA}.")
    if hashlib.sha256(content).hexdigest() != digest:
        raise GanzooError(f"The checkpoint {path.name} is damaged: its bytes do not match its digest.")
    try:
        return Checkpoint(load_tensors(content), state, path)
    except SafetensorError as error:
        raise GanzooError(f"The checkpoint {path.name} is damaged: {error}.") from error
