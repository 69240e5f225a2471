"""Features of images, shared by all metrics; those of real images are cached. And how much images differ in them."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ganzoo.api.dataset import CACHE_REMEDY, Dataset, cache_folder
from ganzoo.api.metric import Extractor, Features
from ganzoo.errors import GanzooError, foreign_code
from ganzoo.evaluation.metrics import assigned, class_entropy
from ganzoo.evaluation.neighbours import radii
from ganzoo.evaluation.sampling import WHOLE
from ganzoo.files import write_atomically
from ganzoo.reproducibility import full_precision, tensors_digest

logger = logging.getLogger(__name__)


def extract(
    name: str,  # for errors
    extractor: Extractor,  # on `device`, in evaluation mode
    images: Tensor,  # in their modality's stored form (n, *shape)
    device: torch.device,
    batch_size: int | None = None,  # the extractor's own by default; affects features only by rounding
    part: tuple[int, int] = WHOLE,
) -> Features:
    """Run an extractor on images, in float32 even if the training run around it uses another precision.

    With ``part`` (k, m), only every m-th batch is computed, starting with the k-th, and other rows are zero, so that
    the parts of m processes add up to the complete result.
    """
    size = batch_size or extractor.batch_size
    values = torch.zeros(len(images), extractor.width)
    logits = torch.zeros(len(images), extractor.classes) if extractor.classes else None
    with (
        torch.no_grad(),
        full_precision(device),
        foreign_code(
            f"The extractor '{name}' failed",
            "Its plugin must return float features (n, width), and logits (n, classes) or None.",
        ),
    ):
        for start in range(part[0] * size, len(images), part[1] * size):
            rows = slice(start, start + size)
            returned = extractor(images[rows].to(device, copy=True))
            _keep(name, "features", returned[0], values[rows])
            if logits is not None:
                _keep(name, "logits", returned[1], logits[rows])
    return Features(values, logits, None if extractor.projection is None else extractor.projection.cpu())


def _keep(name: str, what: str, returned: Any, rows: Tensor) -> None:
    who = f"The extractor '{name}' returned"
    if not isinstance(returned, Tensor) or not returned.is_floating_point() or returned.shape != rows.shape:
        is_tensor = isinstance(returned, Tensor)
        kind = f"{returned.dtype} of shape {tuple(returned.shape)}" if is_tensor else type(returned).__name__
        raise GanzooError(
            f"{who} {what} of type {kind}.", f"Its plugin declares {rows.shape[1]} floats for each image."
        )
    rows.copy_(returned)
    largest = rows.max() if what == "logits" else rows.abs().max()  # logits may be -inf
    if not largest < math.inf:
        raise GanzooError(
            f"{who} {what} that are NaN or infinite.",
            "Its plugin must return finite numbers; the logit of a class that an image does not belong to may be -inf.",
        )


def content_digest(images: Tensor) -> str:
    """SHA-256, hexadecimal, of samples in their modality's stored form (n, *shape), and of that shape."""
    digest = hashlib.sha256(str(tuple(images.shape)).encode())
    digest.update(images.contiguous().numpy().data)  # without a copy: images may take gigabytes
    return digest.hexdigest()


@dataclass(frozen=True)
class RealImages:
    """Real images with one extractor's features of them, which are cached."""

    dataset: Dataset
    options: Mapping[str, Any]  # the recipe's, for their dataset
    name: str  # the extractor's; empty if there is none
    extractor: Extractor | None  # on `device`, in evaluation mode
    device: torch.device
    code: Mapping[str, str] = field(default_factory=dict)  # what `requests.code_of` returned
    digest: str = ""  # the images' digest, if it is known
    among: tuple[RealImages, Tensor] | None = None  # those that these are a subset of, and the rows of these

    @cached_property
    def key(self) -> Mapping[str, Any]:
        """Everything that the features depend on, as JSON."""
        key: dict[str, Any] = {
            "dataset": self.dataset.name,
            "options": json.loads(json.dumps(dict(self.options), default=str)),
            "split": self.dataset.split,
            "count": len(self.dataset),
            "content": self.digest or content_digest(self.dataset.images),
        }
        if self.extractor is None:
            return key
        key |= {"extractor": self.name, "extractor_digest": self.extractor.digest, **self.code}
        resizing = self.extractor.resizing_of(self.dataset.shape)
        return {**key, **self.extractor.versions, **({} if resizing == "none" else {"resizing": resizing})}

    def see(self, images: Tensor) -> Features:
        """The features of other images, in their modality's stored form."""
        assert self.extractor is not None, "features come from an extractor"
        return extract(self.name, self.extractor, images, self.device)

    @cached_property
    def features(self) -> Features:
        """The features, from the cache if it has them."""
        if self.among is not None:
            others, rows = self.among
            return others.features[rows]

        def compute() -> dict[str, Tensor]:
            computed = self.see(self.dataset.images)
            return {"values": computed.values, **({} if computed.logits is None else {"logits": computed.logits})}

        tensors = remembered("features", self.key, compute)
        projection = None if self.extractor is None else self.extractor.projection
        return Features(tensors["values"], tensors.get("logits"), None if projection is None else projection.cpu())

    def radii(self, k: int) -> Tensor:
        """The distance from each image to the k-th nearest of the others, (n,) float64, cached like the features."""
        return remembered(f"radii{k}", self.key, lambda: {"radii": radii(self.features.values, k, device=self.device)})[
            "radii"
        ]


def remembered(kind: str, key: Mapping[str, Any], compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that ``compute`` returns, on the CPU, from the cache if it holds them intact.

    ``key`` is everything they depend on. If the cached file is damaged, they are computed again, with a warning. A
    cache that cannot be written is not an error, unless its folder is a link.
    """
    text = json.dumps({"kind": kind, **key}, sort_keys=True)
    # Datasets that are Python objects may have any name.
    name = re.sub(r"[^\w.-]+", "-", f"{kind}-{key['dataset']}-{key['extractor']}")[:120]
    try:
        path = cache_folder("references") / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.safetensors"
    except GanzooError as error:
        if not isinstance(error.__cause__, OSError):
            raise  # the folder is a link
        logger.warning("Could not cache the reference %s: %s", name, error)
        return compute()
    if path.exists():
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            if metadata.get("key") != text or metadata.get("sha256") != tensors_digest(sorted(tensors.items())):
                raise ValueError("its content does not match its digest")
            return tensors
        except (OSError, SafetensorError, ValueError) as error:
            logger.warning("The cached reference %s is damaged (%s); computing it again.", path.name, error)
    tensors = compute()
    try:
        write_atomically(path, save(tensors, {"key": text, "sha256": tensors_digest(sorted(tensors.items()))}))
    except OSError as error:
        logger.warning("Could not cache the reference %s (%s). %s", path, error.strerror, CACHE_REMEDY)
    return tensors


SAMPLES = 500  # images to measure variety on: enough for 3% precision, few enough for half a second
HELD = 0.9  # the share of real images' variance that the directions hold; beyond them is mostly noise


class VarietyWatch:
    """Measures how much samples differ from one another, and as many training images in the same features.

    Features come from the first extractor, or are pixels without any; classes come from the first classifier.
    """

    def __init__(self, extractors: Mapping[str, Extractor], dataset: Dataset, device: torch.device) -> None:
        self.name = next(iter(extractors), "pixels")
        classifiers = [name for name, extractor in extractors.items() if extractor.classes]
        self._extractors = {name: extractors[name] for name in [*extractors][:1] + classifiers[:1]}
        self._device = device
        chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))[: 2 * SAMPLES]
        real, half = self._features(dataset.images[chosen]), len(chosen) // 2
        # Not the directions of the compared images, which would vary more in them than any others do.
        self._real, self._directions = real[torch.arange(half)], Directions.of(real.values[half:])

    def measure(self, images: Tensor) -> dict[str, dict[str, float]]:
        """The variety of the first ``SAMPLES`` samples (n, *shape), n at least 2, and of as many real images."""
        fake = self._features(images[:SAMPLES])
        first = torch.arange(min(len(fake), len(self._real)))
        return {
            "variety": variety(fake[first], self._directions),
            "real_variety": variety(self._real[first], self._directions),
        }

    def _features(self, images: Tensor) -> Features:
        if not self._extractors:
            return Features(images.flatten(1).float() / 255)
        seen = [extract(name, one, images, self._device) for name, one in self._extractors.items()]
        return Features(seen[0].values, seen[-1].logits)


@dataclass(frozen=True)
class Directions:
    """The principal directions of real images in feature space, as few as hold ``HELD`` of the variance."""

    axes: Tensor  # (width, k), orthonormal
    variances: Tensor  # (k,), of the real images along each

    @classmethod
    def of(cls, real: Tensor) -> Directions:  # (n, width)
        """Those of some real images (n, width), n at least 1."""
        centred = real - real.mean(0)
        scale = max(len(real) - 1, 1)
        # From the n x n matrix: features may be hundreds of thousands of pixels.
        variances, rows = torch.linalg.eigh((centred @ centred.T).double() / scale)
        variances, rows = variances.flip(0).float().clamp(min=torch.finfo().tiny), rows.flip(1).float()
        held = variances.cumsum(0)
        k = 1 + int((held < HELD * held[-1]).sum())
        return cls(centred.T @ rows[:, :k] / (scale * variances[:k]).sqrt(), variances[:k])


def variety(features: Features, real: Directions) -> dict[str, float]:
    """How much n images, at least 2, differ from one another in the directions in which real images do.

    ``spread``: the share of the real images' variance that these have, where more than theirs in one direction makes up
    for no lack in another. ``nearest``: the median distance to the nearest other; it detects copies of a few images,
    which have much variance. ``classes``, if the extractor assigns at least half of the images to classes: the
    exponential of these classes' entropy, from 1 to the number of classes.
    """
    points = features.values @ real.axes
    # Not with matrix products, which lose precision for the small distances that reveal a collapse.
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.fill_diagonal_(math.inf).amin(1).median()
    spread = torch.minimum(points.var(0), real.variances).sum() / real.variances.sum()
    measured = {"samples": len(points), "spread": spread.item(), "nearest": nearest.item()}
    classes = torch.empty(0) if features.logits is None else assigned(features.logits)
    if 2 * len(classes) >= len(points):
        measured["classes"] = math.exp(class_entropy(classes.bincount()))
    return measured
