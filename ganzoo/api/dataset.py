"""Datasets in memory, as dataset plugins return them, and modalities: what a sample is."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from math import isqrt
from pathlib import Path
from typing import Any, ClassVar, Literal
from zipfile import ZipFile

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torch.nn import functional as F

from ganzoo.errors import GanzooError, writing
from ganzoo.files import MADE, refuse_links, write_atomically

GAP = 2  # black pixels between the images of a grid
PLOT = 384  # width and height of a plot of points, in pixels


class Modality(ABC):
    """One kind of sample. Networks see float32 in [-1, 1]; datasets and files hold the stored form.

    Two modalities are equal if their class, shape and options are equal. A subclass with a ``name`` of its own is all
    that a plugin needs to bring one: runs on it are reopened by that name.

    Args:
        shape: Shape of one sample, for networks and in datasets, without the batch dimension.

    Attributes:
        name: The name in run.json.
        stored: The type that datasets hold and sampling returns.
        quantisation: How samples are quantised, as a score's protocol records it; ``none`` if they are not.
        suffixes: The file suffixes that ``write`` supports.
        playable: The one of ``suffixes`` that browsers play, such as ``.wav``: pages then have players. Empty if
            pictures are enough.
        pictured: Whether the picture of a single sample shows what it is, so that reports show samples one by one.
    """

    name: ClassVar[str]
    stored: ClassVar[torch.dtype]
    quantisation: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = (".png", ".npz")
    playable: ClassVar[str] = ""
    pictured: ClassVar[bool] = True

    def __init__(self, *shape: int) -> None:
        self.shape = tuple(shape)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.shape == self.shape and other.options() == self.options()

    def __hash__(self) -> int:
        return hash((type(self), self.shape))

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.shape}"

    def __str__(self) -> str:
        """A phrase for messages: ``28x28 grey images``."""
        return f"{self.name} of shape {'x'.join(map(str, self.shape))}"

    def options(self) -> dict[str, int]:
        """The constructor's keyword arguments, without the shape, for run.json."""
        return {}

    @classmethod
    def examples(cls) -> tuple[Modality, ...]:
        """Two sizes that ``ganzoo check`` builds networks for; none if it should only build those of recipes."""
        return ()

    @abstractmethod
    def to_network(self, samples: Tensor) -> Tensor:
        """Stored samples (n, *shape) as networks see them: float32 in [-1, 1], on the same device."""

    @abstractmethod
    def from_network(self, outputs: Tensor) -> Tensor:
        """A generator's outputs (n, *shape), nominally in [-1, 1], as stored samples on the same device.

        The caller must refuse NaN.
        """

    def inputs(self, column: Tensor) -> Tensor:
        """A column (n, ...) as networks see it: one that is stored like samples, in any size; others are unchanged."""
        return self.to_network(column) if column.dtype == self.stored else column

    def check(self, samples: Tensor) -> str | None:
        """What is wrong with stored samples, apart from type and shape, as a phrase; None if nothing is wrong."""
        return None

    def overview_size(self, columns: int, rows: int) -> int:
        """How many samples an overview of ``columns`` by ``rows`` shows."""
        return columns * rows

    @abstractmethod
    def picture(self, samples: Tensor, columns: int | None = None) -> Tensor:
        """One picture of many samples.

        Args:
            samples: Stored samples (n, *shape).
            columns: Samples per row. None means about the square root of n, or more if that fills the last row.

        Returns:
            uint8 (1 or 3, height, width).
        """

    def write(self, path: Path, samples: Tensor, labels: Tensor | None = None) -> None:
        """Write samples to one file, atomically; its suffix decides the format. Otherwise as ``encoded``."""
        write_atomically(path, self.encoded(path.suffix, samples, labels))

    def encoded(self, suffix: str, samples: Tensor, labels: Tensor | None = None) -> bytes:
        """The content of a file of samples.

        Commands overwrite an existing file only if its first 4,000 or last 200 bytes contain ``made by ganzoo``, as
        these formats' metadata do.

        Args:
            suffix: One of ``suffixes``. ``.png`` is a picture of all samples; ``.npz`` holds the arrays ``images`` and,
                if they are known, ``labels``. A subclass adds others.
            samples: Stored samples (n, *shape), on the CPU.
            labels: int64 (n,), or None.

        Raises:
            GanzooError: The suffix is another.
        """
        if suffix == ".png":
            return png(self.picture(samples))
        if suffix != ".npz":
            raise GanzooError(f"Samples cannot be written as a '{suffix}' file.", f"Use {' or '.join(self.suffixes)}.")
        import numpy as np

        arrays: dict[str, Any] = {"images": self.array(samples).numpy()}
        if labels is not None:
            arrays["labels"] = labels.numpy()
        buffer = BytesIO()
        np.savez_compressed(buffer, **arrays)
        with ZipFile(buffer, "a") as file:
            file.comment = MADE.encode()
        return buffer.getvalue()

    def array(self, samples: Tensor) -> Tensor:
        """Stored samples as the array of an .npz file."""
        return samples


class Images(Modality):
    """Pictures with 256 levels: ``Images(channels, height, width)``.

    Stored as uint8: -1 becomes 0, and 1 becomes 255. A dataset's images have 1 or 3 channels; a network may be built
    for more, such as a discriminator that judges several images at once, on top of one another.

    Raises:
        GanzooError: The shape does not have three sizes.
    """

    name = "images"
    stored = torch.uint8
    quantisation = "uint8"

    def __init__(self, *shape: int) -> None:
        if len(shape) != 3:
            raise GanzooError(
                f"Images have channels, height and width, not the shape {shape}.",
                "Give three sizes, or another modality.",
            )
        super().__init__(*shape)

    def __str__(self) -> str:
        channels, height, width = self.shape
        if channels not in (1, 3):
            return f"{height}x{width} images of {channels} channels"
        return f"{height}x{width} {'grey' if channels == 1 else 'RGB'} images"

    def check(self, samples: Tensor) -> str | None:
        """Images that are neither grey nor RGB are wrong, because no picture shows them."""
        return None if samples.shape[1] in (1, 3) else f"images of {samples.shape[1]} channels, not 1 or 3"

    def to_network(self, samples: Tensor) -> Tensor:
        """uint8 (n, c, h, w) as float32 in [-1, 1]."""
        # 255 / 127.5 is exactly 2, so white is exactly 1.
        return samples.to(torch.float32).div_(127.5).sub_(1)

    def from_network(self, outputs: Tensor) -> Tensor:
        """round((x + 1) * 127.5), clamped, as a picture file would: -1 gives 0, 0 gives 128, 1 gives 255."""
        return ((outputs.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)

    def picture(self, samples: Tensor, columns: int | None = None) -> Tensor:
        """The images side by side on black, two pixels apart."""
        n, channels, height, width = samples.shape
        square = isqrt(n - 1) + 1 if n else 1
        # No gaps in the last row, unless the picture would be more than twice as wide as high.
        columns = columns or next((k for k in range(square, isqrt(2 * n) + 1) if n % k == 0), square)
        rows = -(-n // columns)
        canvas = samples.new_zeros(channels, rows * (height + GAP) + GAP, columns * (width + GAP) + GAP)
        for index, image in enumerate(samples):
            top, left = GAP + index // columns * (height + GAP), GAP + index % columns * (width + GAP)
            canvas[:, top : top + height, left : left + width] = image
        return canvas

    def array(self, samples: Tensor) -> Tensor:
        """(n, h, w) for grey images, (n, h, w, 3) for RGB."""
        return samples[:, 0] if samples.shape[1] == 1 else samples.permute(0, 2, 3, 1).contiguous()


class Points(Modality):
    """Points in a d-dimensional space: ``Points(1, 1, d)``, a shape that networks for images also accept.

    Stored as float32 in [-1, 1] and never quantised: 256 levels are too coarse to tell the modes of a mixture apart.

    Raises:
        GanzooError: It is another shape.
    """

    name = "points"
    stored = torch.float32
    quantisation = "none"
    pictured = False

    def __init__(self, *shape: int) -> None:
        if len(shape) != 3 or shape[:2] != (1, 1):
            raise GanzooError(f"Points have the shape (1, 1, d), not {shape}.", "Give 1, 1 and the dimensions.")
        super().__init__(*shape)

    def __str__(self) -> str:
        return f"points of {self.shape[-1]} dimensions"

    def to_network(self, samples: Tensor) -> Tensor:
        """The points, unchanged."""
        return samples

    def check(self, samples: Tensor) -> str | None:
        """Points beyond [-1, 1], or NaN, are wrong."""
        return None if bool((samples.abs() <= 1).all()) else "points outside of [-1, 1], or NaN"

    def from_network(self, outputs: Tensor) -> Tensor:
        """The points as float32."""
        return outputs.float()

    def overview_size(self, columns: int, rows: int) -> int:
        """Many more than for images: enough to show their density."""
        return 2500

    def picture(self, samples: Tensor, columns: int | None = None) -> Tensor:
        """Grey dots on black at the first two coordinates (right, up), brighter where more points share a pixel.

        A dot is 3x3 pixels, so that it is also visible in a thumbnail. Points outside [-1, 1] are drawn on the border,
        and one-dimensional points along the middle.
        Returns uint8 (1, 384, 384): 0 where there are no points, 96 for a single one, up to 255 where there are most.
        """
        in_plane = F.pad(samples.flatten(0, -2), (0, 1))[:, :2]
        places = ((in_plane + 1) / 2 * (PLOT - 1)).round().clamp(0, PLOT - 1).long()
        across, down = places[:, 0], PLOT - 1 - places[:, 1]
        count = (down * PLOT + across).bincount(minlength=PLOT**2).float()
        # On a log scale, so that a single point is visible next to a pixel with hundreds.
        brightness = (96 + 159 * count.log() / count.max().clamp(min=2).log()).where(count > 0, 0)
        dots = F.max_pool2d(brightness.view(1, PLOT, PLOT), kernel_size=3, stride=1, padding=1)
        return dots.round().to(torch.uint8)

    def array(self, samples: Tensor) -> Tensor:
        """(n, 1, d)."""
        return samples[:, 0]


def modalities() -> list[type[Modality]]:
    """Every modality that is imported: ours, and those of plugins."""
    kinds: list[Any] = [Modality]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return kinds[1:]


def recorded(name: str, shape: Sequence[int], options: Mapping[str, int]) -> Modality | None:
    """The modality that a run recorded; None if not exactly one has this name, so that only the dataset knows it."""
    named = [kind for kind in modalities() if vars(kind).get("name") == name]
    if len(named) != 1:
        return None
    try:
        return named[0](*shape, **options)
    except TypeError as error:
        raise GanzooError(f"The modality '{name}' does not accept the options {dict(options)}.") from error


def to_pil(picture: Tensor) -> Image.Image:
    """A uint8 picture (1 or 3, height, width) as a Pillow image."""
    return Image.fromarray((picture[0] if picture.shape[0] == 1 else picture.permute(1, 2, 0)).numpy())


def png(picture: Tensor) -> bytes:
    """A uint8 picture (1 or 3, height, width) as a PNG file."""
    buffer, made = BytesIO(), PngInfo()
    made.add_text("Software", MADE)
    to_pil(picture).save(buffer, "PNG", optimize=True, pnginfo=made)
    return buffer.getvalue()


Split = Literal["train", "test"]
"""The splits that a dataset plugin provides."""
Part = Literal["train", "validation", "test"]  # what samples are scored against; validation is held out of train
RESERVED = ("image", "label", "z", "fake", "real")  # names that an additional column may not have
MAX_CLASSES = 1_000_000  # each has a name, and a larger label would be an identifier rather than a class


class InvalidDataset(GanzooError):
    """What a plugin returned is not a valid dataset, as opposed to a dataset whose files are missing."""


@dataclass(frozen=True, eq=False)  # tensors do not compare to one truth value
class Dataset:
    """The samples of one split, on the CPU: named columns with the same number of rows.

    A dataset plugin registers a factory ``(split, folder, *, options...) -> Dataset``, where ``folder`` is the user's
    ``--data-dir`` or None.

    Attributes:
        name: The registered name.
        split: ``"train"``, ``"test"``, or ``"validation"`` for held-out training images.
        images: The samples, in their modality's stored form (n, *shape): uint8 (n, 1 or 3, h, w) for images, float32
            (n, 1, 1, d) in [-1, 1] for points.
        labels: int64 (n,), or None.
        classes: Names of the classes, in the order of the labels; empty if there are none. Default: the numbers from 0
            to the highest label. Name them if the other split may lack that one.
        columns: Additional columns by name, each (n, ...): ``source`` is the input of a translating generator. If it is
            stored like the samples, as uint8 for images, networks see it in [-1, 1] too. Batches contain all others
            unchanged.
        modality: What a sample is. Default: images or points, inferred from type and shape.
        domain: The dataset that the samples come from, as named in extractors' ``domains``: ``mnist`` for a thousand
            MNIST digits, for instance. Default: the dataset's own name.
    """

    name: str
    split: Part
    images: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    modality: Modality = None  # type: ignore[assignment]  # __post_init__ fills it in
    domain: str = ""

    def __post_init__(self) -> None:
        if not self.domain:
            object.__setattr__(self, "domain", self.name)
        who = f"Dataset '{self.name}' ({self.split})"
        for what, values in [("images", self.images), ("labels", self.labels), *self.columns.items()]:
            if not isinstance(values, Tensor) and (what != "labels" or values is not None):
                raise InvalidDataset(
                    f"{who} returned '{what}' as {type(values).__name__}, not as a tensor.",
                    "Use torch.from_numpy for an array, and torch.tensor for a list.",
                )
        if self.modality is None:
            kind = Images if self.images.dtype == torch.uint8 else Points
            try:
                object.__setattr__(self, "modality", kind(*self.images.shape[1:]))
            except GanzooError as error:
                raise InvalidDataset(
                    f"{who} returned images of shape {'x'.join(map(str, self.images.shape))} and type "
                    f"{self.images.dtype}.",
                    "A dataset plugin returns uint8 images (n, 1 or 3, height, width) or float32 points (n, 1, 1, d), "
                    "or names its modality.",
                ) from error
        images, labels, modality = self.images, self.labels, self.modality
        if images.dtype != modality.stored or tuple(images.shape[1:]) != modality.shape or images.numel() == 0:
            raise InvalidDataset(
                f"{who} returned samples of shape {tuple(images.shape)} and type {images.dtype}.",
                f"Its modality, {modality}, needs {modality.stored} (n, {', '.join(map(str, modality.shape))}).",
            )
        if wrong := modality.check(images):
            raise InvalidDataset(f"{who} returned {wrong}.", "Scale or convert them to fit.")
        if labels is not None:
            if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
                raise InvalidDataset(
                    f"{who} returned {tuple(labels.shape)} labels of type {labels.dtype} for {len(images)} images.",
                    "Labels are int64, one per image.",
                )
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= (len(self.classes) or MAX_CLASSES):
                raise InvalidDataset(
                    f"{who} returned labels from {low} to {high} for "
                    f"{len(self.classes) or f'up to {MAX_CLASSES}'} classes.",
                    "A label is the position of its class in `classes`, counted from 0.",
                )
            if not self.classes:
                object.__setattr__(self, "classes", tuple(map(str, range(high + 1))))
        for name, column in self.columns.items():
            if name in RESERVED or not name.isidentifier() or len(column) != len(images):
                raise InvalidDataset(
                    f"{who} has a column called '{name}' with {len(column):,} rows for {len(images):,} images.",
                    f"A column has one row per image, and a name other than {', '.join(RESERVED)}.",
                )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample, (channels, height, width) for images."""
        return self.modality.shape

    @property
    def column_shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Names of the additional columns, each with the shape of one row."""
        return tuple((name, tuple(column.shape[1:])) for name, column in self.columns.items())

    def rows(self, chosen: Tensor) -> Dataset:
        """The chosen rows, given by index, int64 (m,), or by a mask, bool (len(self),)."""
        return replace(
            self,
            images=self.images[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            columns={name: column[chosen] for name, column in self.columns.items()},
        )

    def held_out(self, n: int) -> Tensor:
        """Which of the training images ``dataset.validation: n`` holds out for validation, (len(self),) bool.

        Extractors must be fitted without them too, so that scores against them are fair.

        Each class contributes its share, rounded by largest remainder (ties go to the lower class), so that the shares
        add up to ``n``. The held-out images of a class are the first of a permutation; one generator, seeded with 0,
        draws the permutations class by class. Without labels, all images form one class.
        """
        labels = torch.zeros(len(self), dtype=torch.int64) if self.labels is None else self.labels
        classes, sizes = torch.unique(labels, return_counts=True)
        parts = sizes * n // len(self)
        rest = (sizes * n % len(self)).argsort(descending=True, stable=True)
        parts[rest[: n - int(parts.sum())]] += 1
        generator = torch.Generator().manual_seed(0)
        chosen = torch.zeros(len(self), dtype=torch.bool)
        for label, part in zip(classes, parts.tolist(), strict=True):
            members = (labels == label).nonzero().flatten()
            chosen[members[torch.randperm(len(members), generator=generator)[:part]]] = True
        return chosen


CACHE_REMEDY = "Set GANZOO_CACHE to a folder that you can write to."


def cache_folder(*parts: str) -> Path:
    """A folder in the user's cache, created if it is missing (``GANZOO_CACHE`` moves the cache).

    Raises:
        GanzooError: It cannot be created or read, or is a link.
    """
    from platformdirs import user_cache_path

    root = Path(os.environ["GANZOO_CACHE"]) if os.environ.get("GANZOO_CACHE") else user_cache_path("ganzoo")
    folder = root.joinpath(*parts)
    with writing(f"The cache folder {folder} cannot be created or read", CACHE_REMEDY):
        refuse_links(folder, root)
        folder.mkdir(parents=True, exist_ok=True)
        next(folder.iterdir(), None)  # another user's may be closed
    return folder
