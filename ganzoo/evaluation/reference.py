"""Features and scores of real images, kept as safetensors in the user's cache."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ganzoo.api.dataset import CACHE_REMEDY, Dataset, cache_folder
from ganzoo.api.metric import Features, MetricInputs
from ganzoo.errors import GanzooError
from ganzoo.evaluation import intervals, torch_fidelity
from ganzoo.evaluation.features import extract
from ganzoo.evaluation.neighbours import radii
from ganzoo.evaluation.requests import MetricRequest
from ganzoo.files import write_atomically
from ganzoo.reproducibility import tensors_digest

if TYPE_CHECKING:
    from pathlib import Path

    from ganzoo.api.metric import Extractor

logger = logging.getLogger(__name__)

Key = Mapping[str, Any]
"""Everything that a cached result depends on, as JSON."""


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
    def key(self) -> Key:
        """Everything that the features depend on."""
        key: dict[str, Any] = {
            "dataset": self.dataset.name,
            "options": json.loads(json.dumps(dict(self.options), default=str)),
            "split": self.dataset.split,
            "count": len(self.dataset),
            "content": self.digest or content_digest(self.dataset.images),
        }
        if self.extractor is not None:
            key |= {"extractor": self.name, "extractor_digest": self.extractor.digest}
            key |= {**self.code, **self.extractor.versions}
            resizing = self.extractor.resizing_of(self.dataset.shape)
            if resizing != "none":
                key["resizing"] = resizing
        return key

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
        assert self.extractor is not None, "features come from an extractor"

        def compute() -> dict[str, Tensor]:
            computed = self.see(self.dataset.images)
            return {"values": computed.values, **({} if computed.logits is None else {"logits": computed.logits})}

        tensors = remembered("features", self.key, compute)
        projection = self.extractor.projection
        return Features(tensors["values"], tensors.get("logits"), None if projection is None else projection.cpu())

    def radii(self, k: int) -> Tensor:
        """The distance from each image to the k-th nearest of the others, (n,) float64, cached like the features."""
        return remembered(f"radii{k}", self.key, lambda: {"radii": radii(self.features.values, k, device=self.device)})[
            "radii"
        ]


def remembered(kind: str, key: Key, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The result of ``compute``, from the cache if it holds it intact.

    If the cached file is damaged, the result is computed again, with a warning. A cache that cannot be written is not
    an error, unless its folder is a link.

    Args:
        kind: What the result is, for the file's name.
        key: Everything that the result depends on.
        compute: Returns named tensors on the CPU.

    Raises:
        GanzooError: The cache's folder is a link.
    """
    text = json.dumps({"kind": kind, **key}, sort_keys=True)
    short = hashlib.sha256(text.encode()).hexdigest()[:24]
    # Datasets that are Python objects may have any name.
    name = re.sub(r"[^\w.-]+", "-", f"{kind}-{key['dataset']}-{key['extractor']}")[:120]
    try:
        path = cache_folder("references") / f"{name}-{short}.safetensors"
    except GanzooError as error:
        if not isinstance(error.__cause__, OSError):
            raise  # the folder is a link
        logger.warning("Could not cache the reference %s: %s", name, error)
        return compute()
    if path.exists():
        try:
            return _read(path, text)
        except (OSError, SafetensorError, ValueError) as error:
            logger.warning("The cached reference %s is damaged (%s); computing it again.", path.name, error)
    tensors = compute()
    try:
        write_atomically(path, save(tensors, {"key": text, "sha256": tensors_digest(sorted(tensors.items()))}))
    except OSError as error:
        logger.warning("Could not cache the reference %s (%s). %s", path, error.strerror, CACHE_REMEDY)
    return tensors


def _read(path: Path, text: str) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    if metadata.get("key") != text or metadata.get("sha256") != tensors_digest(sorted(tensors.items())):
        raise ValueError("its content does not match its digest")
    return tensors


FORMULAS = 1
"""Increase this whenever one of ganzoo's metrics changes its result for the same inputs: it voids cached numbers."""
INTERVALS = 1
"""The same for intervals, from which cached deviations may be computed."""
REAL_SEED = 0
"""Seeds the choice of real images that are scored instead of samples, for real vs real."""
MAX_DRAWS = 6
MIN_DRAWS = 3
"""The most and the fewest sets of real images whose scores give a standard deviation; with fewer sets, it comes from
the interval of the first one."""


HALF, OTHER_HALF = "half", "other half"
"""Parts of the reference that are compared with one another if nothing else is known."""


class ReferenceData:
    """Real images with the extractors' features of them; features and scores come from the cache if it has them.

    Args:
        dataset: What samples are compared with.
        options: The dataset's options, for the protocol.
        part: Returns another part of the dataset. ``all`` is every training image; ``rest`` is every training image
            that is not held out for validation, whether it was trained on or not. None if only the reference is known.
        extractors: By name, on ``device``, in evaluation mode.
        device: The device to compute features on.
        code: By extractor, what ``requests.code_of`` returned.
    """

    def __init__(
        self,
        dataset: Dataset,
        options: Mapping[str, Any],
        part: Callable[[str], Dataset] | None,
        extractors: Mapping[str, Extractor],
        device: torch.device,
        code: Mapping[str, Mapping[str, str]],
    ) -> None:
        self.dataset = dataset
        self.part = part
        self.code = code
        self._options = options
        self._extractors = extractors
        self._device = device
        self._loaded = cache(self._load)
        self._seen = cache(self._see)
        self._drawn = cache(self._draw)
        self._numbers: dict[tuple[str, str, int, int], float] = {}

    def real(self, extractor: str) -> RealImages:
        """The reference, with one extractor's features."""
        return self._seen(extractor, self.dataset.split)

    def train(self, extractor: str) -> RealImages:
        """The training set, with one extractor's features.

        Raises:
            GanzooError: The dataset has no training images.
        """
        return self._seen(extractor, "train")

    def real_vs_real(self, request: MetricRequest, n: int) -> tuple[float, float | None]:
        """The score of ``n`` real images instead of samples, or of all of them if there are fewer; and its deviation.

        The standard deviation is that of up to ``MAX_DRAWS`` disjoint sets of real images. If there are fewer than
        ``MIN_DRAWS`` sets, it comes from the interval of the first one; None if there is no such interval.
        """

        def score(inputs: MetricInputs) -> float:
            return finite(request, request.metric.compute(inputs))

        draws = [
            self._number("floor", request, n, number, score)
            for number in range(MAX_DRAWS)
            if self.draw(request, n, number) is not None
        ]
        if len(draws) >= MIN_DRAWS:
            return draws[0], float(np.std(draws, ddof=1))

        def deviation(inputs: MetricInputs) -> float:
            ends = request.metric.interval(inputs, draws[0])
            return math.nan if ends is None else intervals.deviation(ends)

        sd = self._number("deviation", request, n, 0, deviation)
        return draws[0], sd if math.isfinite(sd) else None

    def draw(self, request: MetricRequest, n: int, number: int = 0) -> tuple[MetricInputs, RealImages] | None:
        """A set of real images to score instead of samples: from another part, or half of the reference vs the rest.

        Args:
            request: Decides the extractor, and whether the images must be ones that nothing was trained on.
            n: How many.
            number: The number of the set, from 0; sets are disjoint. Only the first may have fewer than ``n``.

        Returns:
            The inputs of the metric, and the images; None if there are not enough images for a later set.
        """
        return self._drawn(request.extractor, request.metric.held_out, n, number)

    def _draw(self, name: str, held_out: bool, n: int, number: int) -> tuple[MetricInputs, RealImages] | None:
        real, part, own = self.real(name), HALF, self.dataset.split
        if self.part is None:
            real = self._seen(name, OTHER_HALF)
        elif held_out:  # images that nothing was trained on: the reference itself if it is a validation set
            part = own if own == "validation" else "test"
        else:
            part = {"test": "all", "validation": "rest", "train": "test"}[own]
        if number and len(self._rows(part)) < (number + 1) * n:
            return None
        images = self._seen(name, part, n, number)
        fakes, train = images.dataset, partial(self.train, name)
        return MetricInputs(len(fakes), lambda: images.features, fakes.labels, real, train, self._device), images

    def _number(
        self, kind: str, request: MetricRequest, n: int, number: int, compute: Callable[[MetricInputs], float]
    ) -> float:
        """A number about a set of real images, from the cache if the metric is one of ganzoo's."""
        which = kind, request.name, n, number
        if which in self._numbers:
            return self._numbers[which]
        drawn = self.draw(request, n, number)
        assert drawn is not None, "real_vs_real asks for sets that exist"
        inputs, images = drawn
        if request.is_ours:
            key = {
                **images.key,
                "metric": request.entry.name,
                "formulas": FORMULAS,
                **({"intervals": INTERVALS} if kind == "deviation" else {}),
                **({"labels": _labels_digest(inputs.labels)} if request.metric.needs_labels else {}),
                "reference": dict(inputs.real.key),
                "torch_fidelity": torch_fidelity.version(),
                **request.metric.settings(inputs),
            }
            tensors = remembered(kind, key, lambda: {"value": torch.tensor([compute(inputs)], dtype=torch.float64)})
            self._numbers[which] = float(tensors["value"])
        else:  # a plugin's code may change while its metric keeps its name
            self._numbers[which] = compute(inputs)
        return self._numbers[which]

    def _whole(self, part: str) -> Dataset:
        if part in (self.dataset.split, HALF, OTHER_HALF):
            return self.dataset
        if self.part is None:
            raise GanzooError(f"'{self.dataset.name}' has no training images.", "Leave out metrics that need them.")
        return self.part(part)

    def _rows(self, part: str) -> Tensor:
        """The indices of a part's images, shuffled."""
        m = len(self._whole(part))
        order = torch.randperm(m, generator=torch.Generator().manual_seed(REAL_SEED))
        return {HALF: order[: m // 2], OTHER_HALF: order[m // 2 :]}.get(part, order)

    def _load(self, part: str, n: int, number: int) -> tuple[Dataset, str, Tensor | None]:
        """Some images of a part, their digest and, if they are a subset of the reference, their rows in it."""
        dataset, rows = self._whole(part), None
        if n or part == OTHER_HALF:
            chosen = self._rows(part)[number * n : (number + 1) * n or None]
            rows = chosen if dataset is self.dataset else None
            dataset = dataset.rows(chosen)
        return dataset, content_digest(dataset.images), rows

    def _see(self, extractor: str, part: str, n: int = 0, number: int = 0) -> RealImages:
        """Real images with one extractor's features; they are loaded and hashed once for all extractors.

        Args:
            extractor: Its name; empty for none.
            part: The part of the dataset.
            n: How many of it, at random; 0 means all.
            number: The number of the set.
        """
        dataset, digest, rows = self._loaded(part, n, number)
        network, code = self._extractors.get(extractor), self.code.get(extractor, {})
        among = None if rows is None else (self.real(extractor), rows)
        return RealImages(dataset, self._options, extractor, network, self._device, code, digest, among)


def finite(request: MetricRequest, value: float) -> float:
    """A metric's result as a Python number.

    Raises:
        GanzooError: It is NaN or infinite, which JSON cannot represent.
    """
    value = float(value)
    if not math.isfinite(value):
        ours = "There are too few images for it, or their features are too large; score more, or leave this metric out."
        remedy = ours if request.is_ours else "Its plugin must return a finite number."
        raise GanzooError(f"The metric '{request.name}' gave {value}.", remedy)
    return value


def _labels_digest(labels: Tensor | None) -> str | None:
    return None if labels is None else hashlib.sha256(labels.contiguous().numpy().data).hexdigest()
