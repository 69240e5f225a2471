"""``ganzoo.evaluate``: scores any images, whatever generated them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo.api.dataset import Dataset, Split
from ganzoo.api.modality import Images
from ganzoo.errors import GanzooError
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.image_io import Pictures, as_labels, as_pictures, as_tensor
from ganzoo.evaluation.protocol import Protocol, Score
from ganzoo.registry.loading import Zoo, load_zoo

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)
WHO = "Got"


def evaluate(
    images: Tensor | np.ndarray[Any, Any] | Pictures,
    metrics: Sequence[str] = ("fid@mnist-cnn",),
    dataset: str | Dataset | Any = "mnist",
    *,
    labels: Tensor | np.ndarray[Any, Any] | Sequence[int] | None = None,
    split: Split = "test",
    device: torch.device | str | None = None,
    data_dir: str | Path | None = None,
    sample_seed: int | None = None,
    interval: bool = False,
    crop: bool = False,
    extractor_weights: Path | None = None,
    zoo: Zoo | None = None,
    note: Callable[[str], None] = logger.info,
    check: Callable[[Sequence[tuple[str, Protocol]]], None] = lambda coming: None,
) -> list[Score]:
    """Score images against real ones.

    Args:
        images: uint8, as a tensor or array (n, c, h, w), (n, h, w) or (n, h, w, c), c being 1 or 3; or what
            ``read_pictures`` gave. Points and other samples come as their dataset stores them.
        metrics: ``<metric>@<extractor>`` each; ``all@<extractor>`` is every metric that applies.
        dataset: What they are compared with: the name of a registered dataset, or real images as a ``ganzoo.Dataset``
            or as a dataset of torch's that gives pictures, or pairs of a picture and its class. Where only those
            images are known, one half of them scored against the other is the floor.
        labels: The class that each image was meant to be, (n,), or None.
        split: Of a registered dataset; the other one makes the floor.
        device: Where features are computed; a GPU where there is one by default.
        data_dir: Where dataset files are kept.
        sample_seed: What the images were drawn with, for the protocol.
        interval: Whether FID gets a bootstrap interval, which takes seconds.
        crop: Whether a border that is black in all images may be cut off.
        extractor_weights: The file of a downloaded extractor's weights.
        zoo: Where names are looked up; the installed plugins by default.
        note: Called with a sentence for each thing that was done to the images.
        check: Called with the names and protocols of the scores before they are computed; may raise.

    Returns:
        A score for each metric, with the floor that real images score and the protocol it was measured under.

    Raises:
        GanzooError: A name is unknown, or the images do not fit the dataset, an extractor or a metric.
    """
    zoo = zoo or load_zoo()
    real: Any = dataset
    if isinstance(dataset, str):
        real = zoo.datasets.get(dataset)
    elif not isinstance(dataset, Dataset):
        real = from_torch(dataset)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    evaluator = Evaluator(
        metrics,
        real,
        {},
        None if data_dir is None else Path(data_dir),
        zoo,
        where,
        split=split,
        extractor_weights=extractor_weights,
    )
    modality = evaluator.reference.dataset.modality
    if isinstance(images, Pictures):
        pictures = images
    else:
        read = as_pictures(images, WHO) if isinstance(modality, Images) else as_tensor(images, WHO, modality.stored)
        pictures = Pictures(read, None if labels is None else as_labels(labels, len(read), WHO))
    if isinstance(modality, Images):
        pictures = pictures.fitted(evaluator.shape, crop=crop)
    for sentence in pictures.notes:
        note(sentence)
    n = len(pictures.images)
    check([(request.name, evaluator.protocol(request, n, sample_seed)) for request in evaluator.requests])
    return evaluator.score(pictures.images, sample_seed=sample_seed, labels=pictures.labels, interval=interval)


def from_torch(source: Any) -> Dataset:
    """A dataset of torch's as one of ours, in memory.

    Args:
        source: Has a length; its items are pictures, or begin with a picture and its class. A picture is uint8
            (c, h, w), (h, w) or of PIL, or float in [0, 1] as ``torchvision.transforms.ToTensor`` makes it from one.

    Raises:
        GanzooError: It is something else.
    """
    if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")) or len(source) == 0:
        raise GanzooError(
            f"Not a dataset: {type(source).__name__}.",
            "Give the name of a registered dataset, a ganzoo.Dataset, or a torch Dataset that has a length.",
        )
    pictures, labels = [], []
    for index in range(len(source)):
        item = source[index]
        picture, *rest = item if isinstance(item, tuple | list) else (item,)
        pictures.append(_picture(picture))
        if rest and isinstance(rest[0], int | Tensor):
            labels.append(int(rest[0]))
    if len({picture.shape for picture in pictures}) > 1:
        raise GanzooError("The pictures of the dataset differ in size.", "Give pictures of one size.")
    whole = len(labels) == len(pictures) and min(labels) >= 0
    names = getattr(source, "classes", None) or range(max(labels) + 1 if whole else 0)
    return Dataset(
        type(source).__name__.lower(),
        "train" if getattr(source, "train", False) else "test",
        torch.stack(pictures),
        torch.tensor(labels) if whole else None,
        tuple(map(str, names)) if whole else (),
    )


def _picture(given: Any) -> Tensor:
    """uint8 (c, h, w)."""
    import numpy as np

    picture = given if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
    if not isinstance(given, Tensor) and picture.dim() == 3:
        picture = picture.permute(2, 0, 1)
    picture = picture[None] if picture.dim() == 2 else picture
    if picture.is_floating_point():
        levels = (picture * 255).round()
        if not bool(((levels - picture * 255).abs() < 1e-3).all()) or levels.min() < 0 or levels.max() > 255:
            raise GanzooError(
                "The dataset's pictures are floats that are not 256 levels between 0 and 1.",
                "Leave out what normalises them: scores depend on the pixels as they are.",
            )
        picture = levels.to(torch.uint8)
    if picture.dtype != torch.uint8 or picture.dim() != 3 or picture.shape[0] not in (1, 3):
        raise GanzooError(
            f"The dataset gives pictures of type {str(picture.dtype).removeprefix('torch.')} and shape "
            f"{tuple(picture.shape)}.",
            "A picture is uint8 (c, h, w) or (h, w), c being 1 or 3.",
        )
    return picture
