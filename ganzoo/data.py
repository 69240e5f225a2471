"""From datasets to batches: parts of registered datasets, images given in Python, and random batches.

Batches need no DataLoader: they come from a dataset on the training device, or are streamed to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from ganzoo.api.dataset import Dataset, Part, Split, to_pil
from ganzoo.api.reading import open_picture
from ganzoo.errors import GanzooError
from ganzoo.registry.registry import Entry

Data = Dataset | Tensor | tuple[Tensor, Tensor] | TorchDataset[Any]
VALIDATION = 10_000  # images held out by default: as many as MNIST's test images


def load_part(
    entry: Entry[Dataset],
    options: Mapping[str, Any],
    data_dir: Path | None,
    part: Part,
    validation: int = 0,
    count: int = 0,
) -> Dataset:
    """A part of a registered dataset; see ``part_of``."""
    split: Split = "test" if part == "test" else "train"
    dataset = entry.create(split, data_dir, **options)
    # Scores are recorded, and real vs real is drawn, according to the name and split that a dataset reports.
    if (dataset.name, dataset.split) != (entry.name, split):
        raise GanzooError(
            f"The dataset '{entry.name}' returned '{dataset.name}' ({dataset.split}) for its {split} split.",
            "Give it its registered name and the requested split.",
        )
    return dataset if part == "test" else part_of(dataset, part, validation, count)


def part_of(train: Dataset, part: Part, validation: int, count: int = 0) -> Dataset:
    """The images to train on, or those held out for validation, in the order of the training images.

    Those held out are a seeded, stratified draw, so they are the same everywhere. ``count`` of the others are trained
    on; 0 means all.
    """
    if part == "validation" and validation < 1:
        raise GanzooError(
            "No images were held out for validation.",
            "Train with --set dataset.validation=10000, or score against --split test (in Python split='test').",
        )
    if validation >= len(train):
        raise GanzooError(
            f"{validation:,} images would be held out for validation, but '{train.name}' has {len(train):,} training "
            "images.",
            "Set dataset.validation lower (in Python validation=...), or score against --split test.",
        )
    if validation:
        held_out = train.held_out(validation)
        if part == "validation":
            return replace(train.rows(held_out), split="validation")
        train = train.rows(~held_out)
    if count > len(train):
        raise GanzooError(
            f"dataset.count is {count:,}, but '{train.name}' has {len(train):,} images to train on.",
            "Set it lower, or leave it out to train on all.",
        )
    if not count:
        return train
    # A smaller count is a subset of a larger one.
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    return train.rows(order[:count].sort().values)


IN_MEMORY = "in-memory"  # the registered name of datasets given in Python


def as_dataset(data: Any) -> Dataset:
    """A dataset in memory, from what users pass in Python.

    That is a ``ganzoo.Dataset``; a tensor of images (n, c, h, w), or a pair of images and labels (n,); or a torch
    ``Dataset`` with a length, which is read once, completely: its items are images, or begin with an image and its
    class. An image is a uint8 tensor (c, h, w) or (h, w), a uint8 array (h, w, c) or (h, w), a PIL image, whose
    transparent pixels become white, or float in [0, 1], as torchvision's ``ToTensor`` makes it.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, Tensor):
        return Dataset(IN_MEMORY, "train", _levels(data))
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        images, labels = data
        whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
        return Dataset(IN_MEMORY, "train", _levels(images), labels.long() if whole else labels)
    is_sized = hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, Mapping)
    if not is_sized or len(data) == 0:
        raise GanzooError(
            "The dataset is empty." if is_sized else f"Not a dataset: {type(data).__name__}.",
            "Give a registered dataset by its name alone (its options belong in a recipe, as in ganzoo.recipe(..., "
            "dataset={'name': ...})), a ganzoo.Dataset, a tensor of images, or a torch Dataset that has a length.",
        )
    pictures, classes = [], []
    for index in range(len(data)):
        item = data[index]
        picture, *rest = item if isinstance(item, tuple | list) else (item,)
        pictures.append(_image(picture))
        if rest and (isinstance(rest[0], int | float) or getattr(rest[0], "shape", None) == ()):
            target = torch.as_tensor(rest[0])
            if target.is_floating_point() or target.is_complex():
                raise GanzooError(
                    f"The dataset's item {index} has the target {target.item()}, which is not a class.",
                    "Classes are whole numbers; remove other targets.",
                )
            classes.append(int(target))
    if len({picture.shape for picture in pictures}) > 1:
        raise GanzooError("The images of the dataset differ in size.", "Give images of one size.")
    labelled = len(classes) == len(pictures) and min(classes) >= 0
    kind = type(data).__name__
    return Dataset(
        kind.lower(),
        "train" if getattr(data, "train", False) else "test",
        torch.stack(pictures),
        torch.tensor(classes) if labelled else None,
        tuple(map(str, getattr(data, "classes", None) or ())) if labelled else (),
        # torchvision's class names match our dataset names except for hyphens: FashionMNIST.
        domain=re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind).lower(),
    )


def _image(picture: Any, who: str = "The dataset returns") -> Tensor:
    """uint8 (c, h, w); PIL images are laid on white where they are transparent."""
    if isinstance(picture, Image.Image):
        if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
            raise GanzooError(f"{who} PIL images of mode {picture.mode}.", "Convert them to L or RGB.")
        mode = "L" if picture.mode in ("1", "L", "LA") else "RGB"
        if picture.has_transparency_data:
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
        picture = picture.convert(mode)
    remedy = (
        "An image is uint8 and grey or RGB: a tensor (c, h, w) or (h, w), or an array (h, w, c) or (h, w). Give images "
        "and labels as a tuple of two tensors, (n, c, h, w) and (n,)."
    )
    try:
        image = picture if isinstance(picture, Tensor) else torch.from_numpy(np.array(picture))
    except TypeError as error:  # a mapping, or text
        raise GanzooError(f"The dataset returns a {type(picture).__name__} for an image.", remedy) from error
    if not isinstance(picture, Tensor) and image.dim() == 3:
        image = image.permute(2, 0, 1)
    image = _levels(image[None] if image.dim() == 2 else image)
    if image.dtype != torch.uint8 or image.dim() != 3 or image.shape[0] not in (1, 3):
        raise GanzooError(
            f"The dataset returns images of type {str(image.dtype).removeprefix('torch.')} and shape "
            f"{tuple(image.shape)}.",
            remedy,
        )
    return image


def read_picture(path: Path, mode: Literal["L", "RGB"]) -> Tensor:
    """A picture file as uint8 (c, h, w), upright, in grey or in colour; what is transparent becomes white.

    Raises:
        GanzooError: It cannot be read, or does not have 8 bits per channel.
    """
    with open_picture(path) as picture:
        ImageOps.exif_transpose(picture, in_place=True)
        return _image(to_pil(_image(picture, f"The file {path} holds")).convert(mode))


def _levels(images: Tensor) -> Tensor:
    """Floats in [0, 1] as the uint8 they were made from; anything else unchanged."""
    if not images.is_floating_point():
        return images
    scaled = images.float() * 255  # in bfloat16, whose steps are wider than 1, every product would be a whole number
    levels = scaled.round()
    tolerance = 1e-3 if images.element_size() >= 4 else 1 / 16  # half of float16's step below 1, in levels
    exact = ((levels - scaled).abs() < tolerance) & (levels >= 0) & (levels <= 255)
    if not bool(exact.all()):
        raise GanzooError(
            "The dataset's images are floats that are not 256 levels between 0 and 1.",
            "Remove whatever normalises them: scores depend on the original pixel values.",
        )
    return levels.to(torch.uint8)


SHARE = 0.5  # of a GPU's free memory that a dataset may take; networks and their feature maps need the rest
ALL = slice(None)  # rows of a batch; if several processes train together, each takes its own


class Sampler:
    """Returns batches in random order; each epoch contains each row exactly once.

    A batch may extend into the next epoch, or several, so that all batches have the same size. The order is always
    drawn on the CPU, so it is the same for every device, and a run can be resumed on another kind of device. The
    dataset stays in its stored form on the device, or, if a GPU has no room for it, in the host's memory, from where
    each batch is streamed.
    """

    def __init__(
        self,
        dataset: Dataset,  # in the host's memory
        batch_size: int,
        *,
        seed: int,
        device: torch.device | str,
        rows: slice = ALL,  # of each batch, those to gather and return
        streamed: bool | None = None,  # None: if it takes more than SHARE of a GPU's free memory
        log: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._batch_size, self._rows, self._modality = batch_size, rows, dataset.modality
        self._device = torch.device(device)
        self._gpu = self._device.type == "cuda"
        labels = torch.zeros(len(dataset), dtype=torch.int64) if dataset.labels is None else dataset.labels
        columns = {"image": dataset.images, "label": labels, **dataset.columns}
        size = sum(column.nbytes for column in columns.values())
        if streamed is None:
            streamed = self._gpu and size > SHARE * torch.cuda.mem_get_info(self._device)[0]
            if streamed:
                log(
                    f"Streaming dataset '{dataset.name}': its {size / 2**30:.1f} GiB exceed half of the GPU's free "
                    "memory."
                )
        self.streamed = streamed
        self._place = torch.device("cpu") if streamed else self._device
        self.columns = {name: column.contiguous().to(self._place) for name, column in columns.items()}
        self._generator = torch.Generator().manual_seed(seed)
        self._cursor = 0
        self._use(torch.randperm(len(dataset), generator=self._generator))

    def _use(self, order: Tensor) -> None:
        """Use a new order, on the CPU. It must be in new memory, because states taken earlier hold the old one."""
        self._order = order
        pinned = order.pin_memory() if self._place.type == "cuda" else order
        self._order_in_place = pinned.to(self._place, non_blocking=True)

    def next(self) -> dict[str, Tensor]:
        """The next batch, in new memory on the device, which is not waited for.

        ``image``, and a ``source`` that is stored like it, are float32 in [-1, 1]; ``label`` is int64, zeros if the
        dataset has none; other columns are unchanged.
        """
        chosen = self._order_in_place[self._cursor : self._cursor + self._batch_size]
        self._cursor += self._batch_size
        while missing := self._batch_size - len(chosen):
            self._use(torch.randperm(len(self._order), generator=self._generator))
            self._cursor = missing
            chosen = torch.cat([chosen, self._order_in_place[:missing]])
        chosen = chosen[self._rows]
        batch = {}
        for name, column in self.columns.items():
            gathered = None
            if self.streamed and self._gpu:  # torch reuses pinned memory only after it has been copied
                gathered = torch.empty(len(chosen), *column.shape[1:], dtype=column.dtype, pin_memory=True)
            rows = torch.index_select(column, 0, chosen, out=gathered)
            batch[name] = rows.to(self._device, non_blocking=True)
        return batch | {name: self._modality.inputs(batch[name]) for name in ("image", "source") if name in batch}

    def state_dict(self) -> dict[str, Tensor | int]:
        """Everything that the next batches depend on: tensors that are never changed in place, and integers."""
        return {"order": self._order, "generator": self._generator.get_state(), "cursor": self._cursor}

    def load_state_dict(self, state: Mapping[str, Tensor | int]) -> None:
        """Continue with the batches that would have come next when ``state`` was taken."""
        order = torch.as_tensor(state["order"], device="cpu")
        if order.shape != self._order.shape:
            raise GanzooError(
                f"The saved order is for {len(order)} images, but the dataset has {len(self._order)}.",
                "Resume with the dataset that the run started with.",
            )
        self._use(order.to(torch.int64))
        self._generator.set_state(torch.as_tensor(state["generator"], device="cpu"))
        self._cursor = int(state["cursor"])
