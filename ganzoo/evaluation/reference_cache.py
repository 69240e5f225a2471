"""The cache of what real images score: features and scores, as safetensors in the user's cache."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ganzoo.api.dataset import Dataset, cache_folder
from ganzoo.api.extractor import Features
from ganzoo.errors import GanzooError
from ganzoo.evaluation.features import extract
from ganzoo.evaluation.neighbours import radii
from ganzoo.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from ganzoo.api.extractor import Extractor

logger = logging.getLogger(__name__)

Key = Mapping[str, Any]
"""What a cached result depends on, as JSON."""


def content_digest(images: Tensor) -> str:
    """SHA-256 of images (n, c, h, w) uint8 and their shape, in hexadecimal."""
    return hashlib.sha256(str(tuple(images.shape)).encode() + images.contiguous().numpy().tobytes()).hexdigest()


@dataclass(frozen=True)
class RealImages:
    """Real images as one extractor sees them, through the cache.

    Attributes:
        dataset: The images.
        options: The recipe's options for their dataset.
        name: The extractor's name; empty where there is none.
        extractor: On ``device``, in evaluation mode; None where nothing is asked of their features.
        device: Where features are computed.
    """

    dataset: Dataset
    options: Mapping[str, Any]
    name: str
    extractor: Extractor | None
    device: torch.device

    @cached_property
    def key(self) -> Key:
        """Everything that their features depend on."""
        return {
            "dataset": self.dataset.name,
            "options": json.loads(json.dumps(dict(self.options), default=str)),
            "split": self.dataset.split,
            "count": len(self.dataset),
            "content": content_digest(self.dataset.images),
            **({} if self.extractor is None else {"extractor": self.name, "extractor_digest": self.extractor.digest}),
        }

    def see(self, images: Tensor) -> Features:
        """The features of other images, in their modality's stored form."""
        assert self.extractor is not None, "features come from an extractor"
        return extract(self.name, self.extractor, images, self.device)

    @cached_property
    def features(self) -> Features:
        """Their features, from the cache where it has them."""
        assert self.extractor is not None, "features come from an extractor"
        tensors = remembered("features", self.key, self._compute)
        projection = self.extractor.projection
        return Features(tensors["values"], tensors.get("logits"), None if projection is None else projection.cpu())

    def radii(self, k: int) -> Tensor:
        """How far each is from the k-th nearest of the others, (n,) float64, from the cache where it has them."""
        if k not in self._radii:

            def compute() -> dict[str, Tensor]:
                return {"radii": radii(self.features.values, k, device=self.device)}

            self._radii[k] = remembered(f"radii{k}", self.key, compute)["radii"]
        return self._radii[k]

    @cached_property
    def _radii(self) -> dict[int, Tensor]:
        return {}

    def _compute(self) -> dict[str, Tensor]:
        found = self.see(self.dataset.images)
        return {"values": found.values} if found.logits is None else {"values": found.values, "logits": found.logits}


def number(kind: str, key: Key, compute: Callable[[], float]) -> float:
    """One number, from the cache where it has it."""

    def as_tensor() -> dict[str, Tensor]:
        return {"value": torch.tensor([compute()], dtype=torch.float64)}

    return float(remembered(kind, key, as_tensor)["value"])


def remembered(kind: str, key: Key, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What ``compute`` gives, from the cache where it holds that intact.

    A damaged file is computed again with a note; a cache that cannot be written is no error, unless it is a link.

    Args:
        kind: What it is, for the file's name.
        key: Everything the result depends on.
        compute: Gives named tensors on the CPU.

    Raises:
        GanzooError: The cache's folder is a link.
    """
    text = json.dumps({"kind": kind, **key}, sort_keys=True)
    short = hashlib.sha256(text.encode()).hexdigest()[:24]
    # Names of datasets that came as Python objects may hold anything.
    name = re.sub(r"[^\w.-]+", "-", f"{kind}-{key['dataset']}-{key['extractor']}")[:120]
    try:
        path = cache_folder("references") / f"{name}-{short}.safetensors"
    except GanzooError as error:
        if not isinstance(error.__cause__, OSError):
            raise  # it is a link
        logger.warning("Could not cache the reference %s: %s", name, error)
        return compute()
    if path.exists():
        try:
            return _read(path, text)
        except (OSError, SafetensorError, ValueError) as error:
            logger.warning("The cached reference %s is damaged (%s); computing it again.", path.name, error)
    tensors = compute()
    try:
        write_atomically(path, save(tensors, {"key": text, "sha256": _digest(tensors)}))
    except OSError as error:
        logger.warning("Could not cache the reference %s (%s); it will be computed again next time.", path.name, error)
    return tensors


def _read(path: Path, text: str) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    if metadata.get("key") != text or metadata.get("sha256") != _digest(tensors):
        raise ValueError("its content does not match its digest")
    return tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
