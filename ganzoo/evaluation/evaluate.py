"""``ganzoo.evaluate``: score any images, whatever generated them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from ganzoo.api.dataset import Dataset, Images, Part
from ganzoo.api.metric import allowing_code
from ganzoo.config.checking import required_headline
from ganzoo.config.loading import find_dataset
from ganzoo.data import VALIDATION, as_dataset
from ganzoo.errors import GanzooError, unknown
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.image_io import Pictures, as_labels, as_samples, read_pictures
from ganzoo.evaluation.protocol import Protocol, Score
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.reproducibility import default_modes, resolve_device

if TYPE_CHECKING:
    import numpy as np

    from ganzoo.data import Data
    from ganzoo.registry.registry import Entry

logger = logging.getLogger(__name__)
SUBJECT = "Got"


@default_modes()
def evaluate(
    images: Tensor | np.ndarray[Any, Any] | str | Path | Pictures,
    metrics: str | Sequence[str] | None = None,
    dataset: str | Path | Data = "mnist",
    *,
    labels: Tensor | np.ndarray[Any, Any] | Sequence[int] | None = None,
    split: Part = "test",
    validation: int = VALIDATION,
    anyway: bool = False,
    device: torch.device | str | None = None,
    data_dir: str | Path | None = None,
    sample_seed: int | None = None,
    interval: bool = True,
    crop: bool = False,
    extractor_weights: Path | None = None,
    allow_code: bool = False,
    zoo: Zoo | None = None,
    note: Callable[[str], None] = logger.info,
    check: Callable[[Sequence[tuple[str, Protocol]]], None] = lambda coming: None,
) -> list[Score]:
    """Score images against real ones.

    Random states and settings of the process are changed meanwhile, and restored: use one thread at a time.

    Args:
        images: A uint8 tensor or array of shape (n, c, h, w), (n, h, w) or (n, h, w, c), with c 1 or 3; the
            path of a folder of PNGs, or of an .npz file as ``ganzoo sample`` writes it; or what
            ``ganzoo.read_pictures`` returned. Points and other samples must have the form that their dataset stores.
        metrics: Names of the form ``<metric>@<extractor>``; ``all@<extractor>`` means every metric that applies. The
            dataset's headline metrics by default. A single name may be given as a string.
        dataset: What to compare the images with: the name of a registered dataset; the path of a folder or zip archive
            of your own pictures, read as for training; or real images in any form that ``ganzoo.train`` accepts: a
            tensor, a pair of images and labels, or a torch dataset. If only those images are known, real vs real scores
            one half of them against the other.
        labels: The class that each image was meant to be, (n,), which replaces any labels that came with the images;
            None keeps those.
        split: The part of a registered dataset or of your own pictures to compare with: ``test``, ``train``, or
            ``validation`` for images set apart from the training images. Real vs real uses another part.
        validation: How many images are held out, if ``split`` is ``validation``.
        anyway: Also score with extractors that were fitted to another dataset; this marks the scores permanently.
        device: The device to compute features on, such as ``cuda:1``; by default a GPU if there is one.
        data_dir: Where dataset files are.
        sample_seed: The seed that the images were drawn with, for the protocol.
        interval: Whether to compute 95% intervals, which takes a second or two, or minutes in Inception's features.
        crop: Whether a border that is black in all images may be cut off.
        extractor_weights: The weights file of an extractor whose weights are otherwise downloaded.
        allow_code: Whether an extractor may run downloaded code, as DINOv2 does.
        zoo: Where names are looked up; leave it out to use the installed plugins.
        note: Called with a sentence about each thing that was done to the images.
        check: Called with the names and protocols of the scores before they are computed; it may raise.

    Returns:
        A score for each metric, with the score of real images and the protocol that it was measured under.

    Raises:
        GanzooError: A name, the split or the device is unknown; the images cannot be read, or do not fit the dataset,
            an extractor or a metric; or the extractor was fitted to another dataset.
    """
    if split not in get_args(Part):
        raise unknown("split", str(split), get_args(Part))
    zoo = zoo or load_zoo()
    metrics = (metrics,) if isinstance(metrics, str) else metrics
    real: Entry[Dataset] | Dataset
    options: dict[str, Any] = {}
    if isinstance(dataset, str | Path):
        real, options = find_dataset(dataset, zoo)
    else:
        real = as_dataset(dataset)
    where = resolve_device("auto" if device is None else str(device))
    if metrics is None:
        metrics = required_headline(real.domain if isinstance(real, Dataset) else real.name, zoo)
    with allowing_code(allow_code):
        evaluator = Evaluator(
            metrics,
            real,
            options,
            None if data_dir is None else Path(data_dir),
            zoo,
            where,
            split=split,
            validation=validation if split == "validation" else 0,
            anyway=anyway,
            extractor_weights=extractor_weights,
        )
    modality = evaluator.reference.dataset.modality
    if isinstance(images, str | Path):
        pictures = read_pictures(images)
    else:
        pictures = images if isinstance(images, Pictures) else Pictures(as_samples(images, SUBJECT, modality))
    if labels is not None:
        pictures = replace(pictures, labels=as_labels(labels, len(pictures.images), SUBJECT))
    wrong = modality.check(pictures.images) if pictures.images.dtype == modality.stored else None
    if wrong:
        raise GanzooError(f"{SUBJECT} {wrong}.", "Scale them as the dataset does.")
    if isinstance(modality, Images):
        pictures = pictures.fitted(evaluator.shape, crop=crop)
    for sentence in pictures.notes:
        note(sentence)
    n = len(pictures.images)
    check([(request.name, evaluator.protocol(request, n, sample_seed)) for request in evaluator.requests])
    return evaluator.score(pictures.images, sample_seed=sample_seed, labels=pictures.labels, interval=interval)
