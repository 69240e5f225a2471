"""From datasets to batches: parts of registered datasets, images given in Python, and random batches.

Validation images are held out from the training images by a seeded, stratified draw, so they are the same everywhere.
Batches need no DataLoader: they come from a dataset on the training device, or are streamed to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from ganzoo.api.dataset import Dataset, Part, Split
from ganzoo.errors import GanzooError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch.utils.data import Dataset as TorchDataset

    from ganzoo.registry.registry import Entry

    Data = Dataset | Tensor | tuple[Tensor, Tensor] | TorchDataset[Any]

SEED = 0
VALIDATION = 10_000
"""How many images are held out by default: the number of MNIST's test images."""


def load_part(
    entry: Entry[Dataset],
    options: Mapping[str, Any],
    data_dir: Path | None,
    part: Part,
    validation: int = 0,
    count: int = 0,
) -> Dataset:
    """A part of a registered dataset.

    Args:
        entry: The dataset.
        options: Its options, checked.
        data_dir: Where the user keeps dataset files.
        part: Which part; ``train`` excludes the images of ``validation``.
        validation: How many training images are held out.
        count: How many of the remaining ones to train on; 0 means all.

    Raises:
        GanzooError: The dataset cannot be loaded or reports another name or split, or no images are held out for
            validation.
    """
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

    Raises:
        GanzooError: None are held out for validation, none would be left to train on, or fewer than ``count`` are left.
    """
    if part == "validation" and not validation:
        raise GanzooError(
            "No images were held out for validation.",
            "Train with --set dataset.validation=10000, or score against --split test (in Python split='test').",
        )
    if not validation:
        return _first(train, count)
    if validation >= len(train):
        raise GanzooError(
            f"dataset.validation is {validation:,}, but '{train.name}' has {len(train):,} training images.",
            "Hold out fewer; some must remain for training.",
        )
    held_out = train.held_out(validation)
    if part == "validation":
        return replace(train.rows(held_out), split="validation")
    return _first(train.rows(~held_out), count)


def _first(train: Dataset, count: int) -> Dataset:
    """A seeded choice of images, in the order of the training images; a smaller count is a subset of a larger one."""
    if not count:
        return train
    if count > len(train):
        raise GanzooError(
            f"dataset.count is {count:,}, but '{train.name}' has {len(train):,} images to train on.",
            "Set it lower, or leave it out to train on all.",
        )
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(SEED))
    return train.rows(order[:count].sort().values)


IN_MEMORY = "in-memory"
"""The registered name of datasets given in Python."""


def as_dataset(data: Any) -> Dataset:
    """A dataset in memory.

    Args:
        data: A ``ganzoo.Dataset``; a tensor of images (n, c, h, w), or a pair of images and labels (n,); or a torch
            ``Dataset`` with a length, which is read once, completely: its items are images, or begin with an image and
            its class. An image is a uint8 tensor (c, h, w) or (h, w), a uint8 NumPy array (h, w, c) or (h, w), a PIL
            image, whose transparent pixels become white, or float in [0, 1], as ``torchvision.transforms.ToTensor``
            makes it from one of these.

    Raises:
        GanzooError: It is something else, its images differ in size or are not grey or RGB, or its labels are not
            classes.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, Tensor):
        return Dataset(IN_MEMORY, "train", _levels(data))
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        images, labels = data
        if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
            raise GanzooError(
                f"The labels are of type {str(labels.dtype).removeprefix('torch.')}.",
                "Labels are whole numbers, one per image.",
            )
        return Dataset(IN_MEMORY, "train", _levels(images), labels.long())
    if isinstance(data, tuple | list) and len(data) == 2:
        first, second = (getattr(part, "ndim", 0) for part in data)
        # Neither many images nor a row of numbers is one image, so these are not a dataset of two.
        if first == 4 or (first == 3 and (second == 1 or isinstance(data[1], tuple | list))):
            raise GanzooError(
                f"Not images and labels: a {type(data).__name__} of {' and '.join(type(p).__name__ for p in data)}.",
                "Give a tuple of two tensors, images (n, c, h, w) and labels (n,).",
            )
    if isinstance(data, Mapping):
        raise GanzooError(
            f"Not a dataset: {type(data).__name__}.",
            "Give a registered dataset by its name alone; its options belong in a recipe, as in "
            "ganzoo.recipe(..., dataset={'name': ...}).",
        )
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")) or len(data) == 0:
        raise GanzooError(
            f"Not a dataset: {type(data).__name__}.",
            "Give a registered name, a ganzoo.Dataset, a tensor of images, or a torch Dataset that has a length.",
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
    names = getattr(data, "classes", None) or ()
    kind = type(data).__name__
    return Dataset(
        kind.lower(),
        "train" if getattr(data, "train", False) else "test",
        torch.stack(pictures),
        torch.tensor(classes) if labelled else None,
        tuple(map(str, names)) if labelled else (),
        # torchvision's class names match our dataset names except for hyphens: FashionMNIST.
        domain=re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind).lower(),
    )


def _image(picture: Any) -> Tensor:
    """uint8 (c, h, w)."""
    import numpy as np
    from PIL import Image

    picture = _opaque(picture) if isinstance(picture, Image.Image) else picture
    remedy = "An image is uint8 and grey or RGB: a tensor (c, h, w) or (h, w), or an array (h, w, c) or (h, w)."
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


def _opaque(picture: Image) -> Image:
    """A PIL image in grey (L) or RGB, laid on white where it is transparent."""
    from PIL import Image

    if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise GanzooError(f"The dataset returns PIL images of mode {picture.mode}.", "Convert them to L or RGB.")
    opaque = picture
    if picture.has_transparency_data:
        opaque = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    return opaque.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")


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


SHARE = 0.5
"""The share of a GPU's free memory that a dataset may take; networks and their feature maps need the rest."""
SLOTS = 8
"""Host buffers of a streamed dataset: one is filled while the others, enough for a step of seven batches, wait to be
copied to the device."""

ALL = slice(None)
"""Every row of a batch; if several processes train together, each takes its own rows."""

State = dict[str, "Tensor | int"]
Columns = dict[str, Tensor]
"""A batch by name: ``image`` float32 in [-1, 1], ``label`` int64, and the dataset's additional columns."""


class Sampler(Protocol):
    """Returns batches in random order; each epoch contains each row exactly once."""

    def next(self) -> Columns:
        """The next batch, in new memory on the device.

        Returns:
            ``image`` (batch_size, *shape), float32 in [-1, 1]; ``label`` (batch_size,), int64, zeros if the dataset has
            none; and the dataset's additional columns, unchanged.
        """
        ...

    def state_dict(self) -> State:
        """Everything that the next batches depend on, apart from the dataset: tensors and integers."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor | int]) -> None:
        """Continue with the batches that would have come next when ``state`` was taken.

        Raises:
            GanzooError: The state belongs to a dataset of another size.
        """
        ...


def build_sampler(
    dataset: Dataset,
    batch_size: int,
    *,
    seed: int,
    device: torch.device,
    log: Callable[[str], None],
    rows: slice = ALL,
) -> Sampler:
    """A dataset's sampler: resident on the device, or streamed if the dataset does not fit on a GPU.

    Args:
        dataset: The dataset, in the host's memory.
        batch_size: Rows in a batch.
        seed: Seed of the order; the same seed gives the same batches on every device.
        device: The device of the batches.
        log: Called with a message if the dataset is streamed.
        rows: Which rows of each batch to return; the others are not gathered.

    Raises:
        GanzooError: The dataset has fewer rows than a batch.
    """
    size = dataset.images.nbytes + sum(column.nbytes for column in dataset.columns.values())
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    if free is None or size <= SHARE * free:
        return ResidentSampler(dataset, batch_size, seed=seed, device=device, rows=rows)
    log(f"Streaming dataset '{dataset.name}': its {size / 2**30:.1f} GiB exceed half of the GPU's free memory.")
    return StreamedSampler(dataset, batch_size, seed=seed, device=device, rows=rows)


class Order:
    """The random order in which a dataset's rows are shown, batch after batch.

    Each epoch contains each row exactly once; a batch may extend into the next epoch, so that all batches have the same
    size. The order is always drawn on the CPU, so it is the same for every device, and a run can be resumed on another
    kind of device, or with a dataset that is now streamed instead of resident. The device gets a copy once per epoch;
    CPU and device do not wait for each other.

    Args:
        count: Number of rows.
        batch_size: Rows in a batch.
        seed: The same seed gives the same order.
        device: The device of the indices.
    """

    def __init__(self, count: int, batch_size: int, *, seed: int, device: torch.device | str) -> None:
        self._count = count
        self._batch_size = batch_size
        self._device = torch.device(device)
        self._generator = torch.Generator().manual_seed(seed)
        self._cursor = 0
        self._use(self._shuffled())

    def _shuffled(self) -> Tensor:
        return torch.randperm(self._count, generator=self._generator)

    def _use(self, order: Tensor) -> None:
        """Use a new order, on the CPU. It must be in new memory, because states taken earlier hold the old one."""
        self._order = order
        pinned = order.pin_memory() if self._device.type == "cuda" else order
        self._on_device = pinned.to(self._device, non_blocking=True)

    def next(self) -> Tensor:
        """The indices of the next batch, int64 (batch_size,), on the device."""
        end = self._cursor + self._batch_size
        if end <= self._count:
            chosen = self._on_device[self._cursor : end]
            self._cursor = end
            return chosen
        rest = self._on_device[self._cursor :]
        self._use(self._shuffled())
        self._cursor = self._batch_size - len(rest)
        return torch.cat([rest, self._on_device[: self._cursor]])

    def state_dict(self) -> State:
        """Everything that the next indices depend on: tensors that are never changed in place, and integers."""
        return {"order": self._order, "generator": self._generator.get_state(), "cursor": self._cursor}

    def load_state_dict(self, state: Mapping[str, Tensor | int]) -> None:
        """Continue with the indices that would have come next when ``state`` was taken.

        Raises:
            GanzooError: The state belongs to a dataset of another size, or is damaged.
        """
        order = torch.as_tensor(state["order"], device="cpu")
        if order.shape != self._order.shape:
            raise GanzooError(
                f"The saved order is for {len(order)} images, but the dataset has {self._count}.",
                "Resume with the dataset that the run started with.",
            )
        if order.sort().values.ne(torch.arange(len(order))).any():
            raise GanzooError("The saved order is damaged: it does not contain each image exactly once.")
        self._use(order.to(torch.int64))
        self._generator.set_state(torch.as_tensor(state["generator"], device="cpu"))
        self._cursor = min(max(0, int(state["cursor"])), len(order))


class ResidentSampler:
    """Batches from a dataset on the device, where samples stay in their stored form until they are drawn.

    Args:
        dataset: The dataset.
        batch_size: Rows in a batch.
        seed: Seed of the order; the same seed gives the same batches on every device.
        device: The device of the dataset and the batches.
        rows: Which rows of each batch to gather.

    Raises:
        GanzooError: The dataset has fewer rows than a batch.
    """

    def __init__(
        self, dataset: Dataset, batch_size: int, *, seed: int, device: torch.device | str, rows: slice = ALL
    ) -> None:
        self._modality = dataset.modality
        self._rows = rows
        self._columns = {name: column.to(device) for name, column in _columns(dataset, batch_size).items()}
        self._order = Order(len(dataset), batch_size, seed=seed, device=device)

    def next(self) -> Columns:
        """See ``Sampler``; does not wait for the device."""
        chosen = self._order.next()[self._rows]
        batch = {name: column.index_select(0, chosen) for name, column in self._columns.items()}
        return batch | {"image": self._modality.to_network(batch["image"])}

    def state_dict(self) -> State:
        """See ``Sampler``."""
        return self._order.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor | int]) -> None:
        """See ``Sampler``."""
        self._order.load_state_dict(state)


class _Slot:
    """A host buffer for one batch, pinned for a GPU, and the event that records when it has been copied."""

    def __init__(self, columns: Columns, batch_size: int, device: torch.device) -> None:
        gpu = device.type == "cuda"
        self.columns = {
            name: torch.empty(batch_size, *column.shape[1:], dtype=column.dtype, pin_memory=gpu)
            for name, column in columns.items()
        }
        self.copied = torch.cuda.Event() if gpu else None  # type: ignore[no-untyped-call]


class StreamedSampler:
    """Batches of a dataset that stays in the host's memory, each gathered while the device trains on the one before.

    Order and batches are those of a ``ResidentSampler``, and each can continue from the other's state.

    Args:
        dataset: The dataset.
        batch_size: Rows in a batch.
        seed: Seed of the order.
        device: The device of the batches.
        rows: Which rows of each batch to gather.

    Raises:
        GanzooError: The dataset has fewer rows than a batch.
    """

    def __init__(
        self, dataset: Dataset, batch_size: int, *, seed: int, device: torch.device | str, rows: slice = ALL
    ) -> None:
        self._modality = dataset.modality
        self._rows = rows
        self._columns = _columns(dataset, batch_size)
        self._device = torch.device(device)
        self._order = Order(len(dataset), batch_size, seed=seed, device="cpu")
        own_rows = len(range(*rows.indices(batch_size)))
        self._slots = cycle([_Slot(self._columns, own_rows, self._device) for _ in range(SLOTS)])
        self._worker = ThreadPoolExecutor(1, "ganzoo-stream")
        self._prefetch()

    def _prefetch(self) -> None:
        """Choose the next batch, and start gathering it."""
        self._state = self._order.state_dict()
        self._next = self._worker.submit(self._gather, next(self._slots), self._order.next()[self._rows])

    def _gather(self, slot: _Slot, chosen: Tensor) -> _Slot:
        if slot.copied is not None:
            slot.copied.synchronize()
        for name, column in self._columns.items():
            torch.index_select(column, 0, chosen, out=slot.columns[name])
        return slot

    def next(self) -> Columns:
        """See ``Sampler``; waits for the host, and for the device only if it is ``SLOTS`` batches behind."""
        slot = self._next.result()
        batch = {name: column.to(self._device, non_blocking=True, copy=True) for name, column in slot.columns.items()}
        if slot.copied is not None:
            slot.copied.record(torch.cuda.current_stream(self._device))
        self._prefetch()
        return batch | {"image": self._modality.to_network(batch["image"])}

    def state_dict(self) -> State:
        """See ``Sampler``; the state from before the prefetched batch was chosen."""
        return dict(self._state)

    def load_state_dict(self, state: Mapping[str, Tensor | int]) -> None:
        """See ``Sampler``."""
        self._order.load_state_dict(state)
        self._next.result()
        self._prefetch()


def _columns(dataset: Dataset, batch_size: int) -> Columns:
    """All columns of a dataset, with zeros as labels if it has none.

    Raises:
        GanzooError: It has fewer rows than a batch.
    """
    if not 1 <= batch_size <= len(dataset):
        raise GanzooError(
            f"batch_size {batch_size} exceeds the {len(dataset)} {dataset.split} images of dataset '{dataset.name}'.",
            f"Set train.batch_size to a number between 1 and {len(dataset)}.",
        )
    labels = torch.zeros(len(dataset), dtype=torch.int64) if dataset.labels is None else dataset.labels
    further = {name: column.contiguous() for name, column in dataset.columns.items()}
    return {"image": dataset.images.contiguous(), "label": labels, **further}
