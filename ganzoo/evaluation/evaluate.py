"""``ganzoo.evaluate``: score any images: a tensor, a folder of PNGs, an .npz file, or what a function returns."""

from __future__ import annotations

import logging
import pkgutil
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from torch import Tensor

from ganzoo.api import reading
from ganzoo.api.dataset import Dataset, Images, Modality, Part
from ganzoo.api.metric import allowing_code
from ganzoo.config.checking import required_headline
from ganzoo.config.loading import find_dataset
from ganzoo.data import VALIDATION, as_dataset
from ganzoo.errors import GanzooError, foreign_code, unknown
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.protocol import Protocol, Score
from ganzoo.evaluation.requests import written
from ganzoo.files import similar
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.registry.registry import Entry
from ganzoo.reproducibility import default_modes, preserved_global_state, resolve_device

if TYPE_CHECKING:
    from PIL import Image

    from ganzoo.data import Data

logger = logging.getLogger(__name__)


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
        note: Called with a sentence about each thing that was done to the images, and about metrics that were left out.
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
    by_default = metrics is None
    if metrics is None:
        metrics = required_headline(real.domain if isinstance(real, Dataset) else real.name, zoo)
        if isinstance(real, Dataset):  # nothing is held out
            metrics = [name for name in metrics if not zoo.metric(name.partition("@")[0]).held_out]
    with allowing_code(allow_code):
        evaluator = Evaluator(
            metrics,
            real,
            options,
            None if data_dir is None else Path(data_dir),
            zoo,
            resolve_device("auto" if device is None else str(device)),
            split=split,
            validation=validation if split == "validation" else 0,
            anyway=anyway,
            extractor_weights=extractor_weights,
        )
    modality = evaluator.dataset.modality
    if isinstance(images, str | Path):
        images = read_pictures(images)
    pictures = images if isinstance(images, Pictures) else Pictures(as_samples(images, modality=modality))
    if labels is not None:
        pictures = replace(pictures, labels=as_labels(labels, len(pictures.images)))
    if pictures.images.dtype == modality.stored and (wrong := modality.check(pictures.images)):
        raise GanzooError(f"Got {wrong}.", "Scale them as the dataset does.")
    if isinstance(modality, Images):
        pictures = pictures.fitted(evaluator.dataset.shape, crop=crop)
    n = len(pictures.images)
    left_out = evaluator.leave_out(n) if by_default else []
    if not evaluator.requests:
        raise GanzooError(" ".join(left_out), "Give more images.")
    for sentence in [*pictures.notes, *left_out]:
        note(sentence)
    check([(request.name, evaluator.protocol(request, n, sample_seed)) for request in evaluator.requests])
    return evaluator.score(pictures.images, sample_seed=sample_seed, labels=pictures.labels, interval=interval)


@dataclass(frozen=True)
class Pictures:
    """Images to score."""

    images: Tensor  # uint8 (n, c, h, w), or points, float32 (n, 1, 1, d)
    labels: Tensor | None = None  # int64 (n,)
    notes: tuple[str, ...] = ()  # sentences about what was done to them

    def noted(self, sentence: str, images: Tensor, labels: Tensor | None) -> Pictures:
        """A copy with other images and labels, and one more note."""
        return Pictures(images, labels, (*self.notes, sentence))

    def fitted(self, shape: tuple[int, ...], *, crop: bool = False) -> Pictures:
        """The pictures in a dataset's size and channels, if nothing is lost; ``crop`` may cut off a black border."""
        if self.images.shape[2:] != shape[1:]:
            sizes = f"The pictures are {written(self.images.shape[1:])}, but the dataset's are {written(shape)}"
            top, left = (self.images.shape[2] - shape[1]) / 2, (self.images.shape[3] - shape[2]) / 2
            inner = self.images[:, :, int(top) : int(top) + shape[1], int(left) : int(left) + shape[2]]
            bordered = top >= 0 and left >= 0 and top.is_integer() and left.is_integer()
            if not bordered or inner.count_nonzero() != self.images.count_nonzero():
                raise GanzooError(
                    f"{sizes}{', and the border is not black in all pictures' if bordered else ''}.",
                    "Nothing is resampled, because that alone changes a score, and nothing but black is cut off; "
                    "generate them at the dataset's size.",
                )
            if not crop:
                raise GanzooError(
                    f"{sizes}, and the border is black in all pictures.",
                    "Cut it off with --crop (in Python crop=True).",
                )
            return self.noted(
                f"A black border was cut off, leaving {written(inner.shape[1:])}.", inner, self.labels
            ).fitted(shape)
        channels = self.images.shape[1]
        if channels == shape[0]:
            return self
        if channels == 1:
            return self.noted("Grey pictures: tiled to RGB.", self.images.expand(-1, 3, -1, -1), self.labels)
        if (self.images[:, :1] != self.images).any():
            raise GanzooError(
                "The pictures are coloured, but the dataset is grey.",
                "Convert them to grey yourself, since there are several ways to do so.",
            )
        return self.noted("RGB pictures with equal channels: one is kept, as grey.", self.images[:, :1], self.labels)

    def at_most(self, n: int, seed: int, why: str = "requested") -> Pictures:
        """``n`` of them, drawn without replacement, or all if there are fewer; ``why`` says where ``n`` comes from."""
        if len(self.images) < n:
            return self.noted(f"Scoring all {len(self.images):,} images ({why}: {n:,}).", self.images, self.labels)
        if len(self.images) == n:
            return self
        chosen = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(seed))[:n]
        labels = None if self.labels is None else self.labels[chosen]
        return self.noted(
            f"Scoring {n:,} of {len(self.images):,} images, drawn with seed {seed}.", self.images[chosen], labels
        )


NPZ_REMEDY = "Save it with numpy.savez(FILE, images=...): uint8, (n, h, w), (n, h, w, c) or (n, c, h, w)."
OTHER_PICTURES = frozenset({".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


def read_pictures(path: str | Path) -> Pictures:
    """Pictures from a folder of PNGs or an .npz file, for ``ganzoo.evaluate``.

    Raises:
        GanzooError: The path is neither, or its content is damaged, too large or ambiguous.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.suffix.lower() == ".npz" and path.is_file():
            arrays = reading.read_npz(path, ("images", "labels"), NPZ_REMEDY)
            if "images" not in arrays:
                raise GanzooError(f"{path} has no array called 'images'.", NPZ_REMEDY)
            who = f"The file {path} holds"
            images = as_samples(arrays["images"], who)
            labels = as_labels(arrays["labels"], len(images), who) if "labels" in arrays else None
            return Pictures(images, labels, (f"{len(images):,} {_described(images)}.",))
        exists = path.exists()
    except OSError as error:
        raise GanzooError(f"{path} cannot be read ({error.strerror}).", NPZ_REMEDY) from error
    if exists:
        raise GanzooError(f"{path} is not a run, a folder of PNGs or an .npz file.", NPZ_REMEDY)
    raise GanzooError(
        f"No such file or folder: {path}.",
        similar(path, lambda entry: entry.suffix.lower() == ".npz" or entry.is_dir())
        or "Give a folder of PNGs or an .npz file; `ganzoo eval` also takes a run folder or module:function.",
    )


def _read_folder(folder: Path) -> Pictures:
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    pngs = [file for file in files if file.suffix.lower() == ".png"]
    others = [file.name for file in files if file.suffix.lower() in OTHER_PICTURES]
    if others:
        raise GanzooError(
            f"{folder} holds {len(others):,} pictures that are not PNGs, such as {others[0]}.",
            "Other formats, lossy or not, are not scored; keep only PNGs in the folder.",
        )
    if not pngs:
        raise GanzooError(
            f"{folder} holds no PNGs.",
            "Subfolders are not searched. To score a run, use `ganzoo eval`, or ganzoo.load(...).sample(n).",
        )
    with reading.open_picture(pngs[0], ("PNG",)) as first:
        shape = _shape_of(first, pngs[0])
    reading.check_bytes(folder, len(pngs) * prod(shape))
    images = torch.empty(len(pngs), *shape, dtype=torch.uint8)
    for index, file in enumerate(pngs):
        with reading.open_picture(file, ("PNG",)) as picture:
            if (other := _shape_of(picture, file)) != shape:
                raise GanzooError(
                    f"{file.name} is {written(other)}, but the first picture in the folder is {written(shape)}.",
                    "All pictures must have the same size and the same channels.",
                )
            pixels = torch.from_numpy(np.array(picture))
        images[index] = pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)
    return Pictures(images, notes=(f"{len(pngs):,} PNGs, {written(shape)}.",))


def _shape_of(picture: Image.Image, file: Path) -> tuple[int, int, int]:
    """(channels, height, width) of a picture, which must store exactly the pixels to score."""
    remedy = "Save it as 8-bit grey or RGB, without a palette or transparency."
    if picture.mode not in ("L", "RGB"):
        raise GanzooError(f"The picture {file} is of mode {picture.mode}.", remedy)
    if picture.has_transparency_data:
        raise GanzooError(f"The picture {file} has a transparent colour.", remedy)
    # Pillow reads 16-bit RGB as RGB and drops the lower byte; only its decoder's mode shows this.
    if any("16" in str(tile[3]) for tile in picture.tile):  # type: ignore[attr-defined]
        raise GanzooError(f"The picture {file} has 16 bits per channel.", remedy)
    if picture.getexif().get(0x0112, 1) != 1:
        raise GanzooError(
            f"The picture {file} is stored rotated or mirrored, with an Exif orientation tag.",
            "Save its pixels upright, without that tag.",
        )
    return len(picture.mode), picture.height, picture.width


REMEDY = "It is called as function(n, seed) and must return n uint8 images or float32 points, or (images, labels)."


def is_function(what: str) -> bool:
    """Whether a text names a function and no file has that name."""
    return re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", what) is not None and not Path(what).exists()


def call(what: str, n: int, seed: int) -> Pictures:
    """The pictures that ``module:function``, both possibly dotted, returns; the module may be in the working folder."""
    before = list(sys.path)
    sys.path.insert(0, str(Path.cwd()))  # as with `python -m`
    try:
        with preserved_global_state(), redirect_stdout(sys.stderr):
            with foreign_code(f"{what} cannot be imported", "Give a module that Python finds from here."):
                function = pkgutil.resolve_name(what)
            with foreign_code(f"{what}({n}, {seed}) failed", REMEDY):
                returned = function(n, seed)
    finally:
        sys.path[:] = before
    images, labels = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    samples = as_samples(images, f"{what} returned")
    if len(samples) != n:
        raise GanzooError(f"{what} returned {len(samples):,} images, but {n:,} were requested.", REMEDY)
    labels = None if labels is None else as_labels(labels, n, f"{what} returned")
    return Pictures(samples, labels, (f"{n:,} {_described(samples)}, from {what}, seed {seed}.",))


def _described(samples: Tensor) -> str:
    if samples.dtype == torch.uint8:
        return f"images, {written(samples.shape[1:])}"
    return f"points, {samples.shape[-1]} dimensions"


LAYOUTS = (
    "Give uint8 images, (n, h, w), (n, h, w, c) or (n, c, h, w) with c 1 or 3, quantised as for a picture file, since "
    "scores depend on that; or float32 points, (n, 1, d)."
)


def as_samples(images: Any, who: str = "Got", modality: Modality | None = None) -> Tensor:
    """Images or points on the CPU, refused unless their shape shows which axis is which.

    They have one of the ``LAYOUTS``, or the stored form of the dataset's ``modality``. The result is uint8 (n, c, h,
    w), float32 (n, 1, 1, d) or the stored form. ``who`` starts the error's sentence: ``made_up:noise returned``.
    """
    if not isinstance(images, Tensor | np.ndarray):
        raise GanzooError(f"{who} {type(images).__name__} instead of an array or tensor.", LAYOUTS)
    with foreign_code(f"{who} images that cannot be read", LAYOUTS):
        if isinstance(images, np.ndarray):
            # A copy if it is read-only, as JAX's arrays are: torch would warn that writing to it is undefined.
            images = torch.from_numpy(np.require(images, requirements=["C", "W", "E"]))
        tensor: Tensor = images.detach().cpu().to_dense()
        shape = tuple(tensor.shape)
    if modality is not None and tensor.dtype == modality.stored and shape[1:] == modality.shape:
        return tensor
    if tensor.dtype == torch.float32 and shape[1:-1] in ((1,), (1, 1)) and 0 not in shape:
        return tensor.reshape(len(tensor), 1, 1, -1)
    if tensor.dtype != torch.uint8:
        raise GanzooError(f"{who} values of type {str(tensor.dtype).removeprefix('torch.')}.", LAYOUTS)
    if len(shape) == 3 and 0 not in shape:
        return tensor[:, None]
    first, last = len(shape) == 4 and shape[1] in (1, 3), len(shape) == 4 and shape[3] in (1, 3)
    if first and last:
        raise GanzooError(
            f"{who} shape {shape}, in which the channels could be the second axis or the last.",
            "Avoid images that are 1 or 3 pixels wide or high.",
        )
    if 0 in shape or not (first or last):
        raise GanzooError(f"{who} shape {shape}.", LAYOUTS)
    return tensor if first else tensor.permute(0, 3, 1, 2)


def as_labels(labels: Any, n: int, who: str = "Got") -> Tensor:
    """Labels as int64 (n,), on the CPU; refused if they are not integers, or not one for each image."""
    remedy = "Labels must be integers, one for each image."
    with foreign_code(f"{who} labels that cannot be read", remedy):
        tensor = labels if isinstance(labels, Tensor) else torch.tensor(labels)  # as_tensor warns of read-only arrays
        whole = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
        if whole and tensor.shape == (n,):
            return tensor.to("cpu", torch.int64, copy=True).to_dense()
    raise GanzooError(f"{who} labels of type {tensor.dtype} and shape {tuple(tensor.shape)}.", remedy)
