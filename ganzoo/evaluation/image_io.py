"""Images from outside ganzoo: a folder of PNGs, an .npz file, or what a function returns."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo.api import reading
from ganzoo.errors import GanzooError, foreign_code, nearest
from ganzoo.evaluation.requests import written
from ganzoo.files import similar
from ganzoo.reproducibility import preserved_global_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from PIL import Image


@dataclass(frozen=True)
class Pictures:
    """Images to score.

    Attributes:
        images: uint8 (n, c, h, w), or points, float32 (n, 1, 1, d).
        labels: int64 (n,), or None.
        notes: Sentences about what was done to them.
    """

    images: Tensor
    labels: Tensor | None = None
    notes: tuple[str, ...] = ()

    def noted(self, sentence: str, images: Tensor, labels: Tensor | None) -> Pictures:
        """A copy with other images and labels, and one more note."""
        return Pictures(images, labels, (*self.notes, sentence))

    def fitted(self, shape: tuple[int, ...], *, crop: bool = False) -> Pictures:
        """The same pictures with the size and channels of a dataset, if nothing but a black border is lost.

        Args:
            shape: (channels, height, width) of the dataset.
            crop: Whether a border that is black in all pictures may be cut off.

        Raises:
            GanzooError: They have another size, or are coloured while the dataset is grey.
        """
        if self.images.shape[2:] != shape[1:]:
            sizes = f"The pictures are {written(self.images.shape[1:])}, but the dataset's are {written(shape)}"
            height, width = self.images.shape[2] - shape[1], self.images.shape[3] - shape[2]
            if height < 0 or width < 0 or height % 2 or width % 2:
                raise GanzooError(
                    f"{sizes}.", "Nothing is resampled, because that alone changes a score; generate them at that size."
                )
            top, left = height // 2, width // 2
            inner = self.images[:, :, top : top + shape[1], left : left + shape[2]]
            if inner.count_nonzero() != self.images.count_nonzero():
                raise GanzooError(
                    f"{sizes}, and the border is not black in all pictures.",
                    "Nothing is resampled and nothing but black is cut off; generate them at the dataset's size.",
                )
            if not crop:
                raise GanzooError(
                    f"{sizes}, and the border is black in all pictures.",
                    "Cut it off with --crop (in Python crop=True).",
                )
            note = f"A black border was cut off, leaving {written(inner.shape[1:])}."
            return self.noted(note, inner, self.labels).fitted(shape)
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
        """``n`` of them, drawn without replacement, or all of them if there are fewer.

        Args:
            n: How many.
            seed: Decides which ones are drawn.
            why: Where ``n`` comes from, for the note, such as ``default``.
        """
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


def read_npz(path: Path) -> Pictures:
    """Pictures from the array ``images`` and, if present, the array ``labels``.

    Raises:
        GanzooError: The arrays are damaged, too large, or not pictures.
    """
    arrays = reading.read_npz(path, ("images", "labels"), NPZ_REMEDY)
    if "images" not in arrays:
        raise GanzooError(f"{path} has no array called 'images'.", NPZ_REMEDY)
    images, labels = arrays["images"], arrays.get("labels")
    tensor = _images(images, path)
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]):
        raise GanzooError(
            f"The labels in {path} are {labels.dtype} {labels.shape}.",
            "Labels must be integers, one for each image.",
        )
    size = f"images, {written(tensor.shape[1:])}" if tensor.dtype == torch.uint8 else "points"
    return Pictures(
        tensor, None if labels is None else torch.from_numpy(labels.astype("int64")), (f"{len(tensor):,} {size}.",)
    )


def _images(array: np.ndarray[Any, Any], path: Path) -> Tensor:
    """Images (n, c, h, w) from an array that ``as_pictures`` accepts, or points (n, 1, 1, d) from (n, 1, d)."""
    # Points, as ``ganzoo sample`` writes them.
    if array.dtype == "float32" and array.ndim == 3 and array.shape[1] == 1 and 0 not in array.shape:
        points = torch.from_numpy(array)
        if not bool((points.abs() <= 1).all()):
            raise GanzooError(
                f"Some points in {path} are outside [-1, 1] or NaN.",
                "Scale them as the dataset does.",
            )
        return points[:, None]
    channels = array.ndim == 4 and {array.shape[1], array.shape[3]} & {1, 3}
    if array.dtype != "uint8" or not (array.ndim == 3 or channels) or 0 in array.shape:
        raise GanzooError(f"The images in {path} are {array.dtype} of shape {array.shape}.", NPZ_REMEDY)
    return as_pictures(array, f"The file {path} holds images of")


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
            return read_npz(path)
        exists = path.exists()
    except OSError as error:
        raise GanzooError(f"{path} cannot be read ({error.strerror}).", NPZ_REMEDY) from error
    except MemoryError as error:
        raise GanzooError(f"Out of memory while reading {path}.", "Use fewer images.") from error
    if not exists:
        raise GanzooError(
            f"No such file or folder: {path}.",
            similar(path, lambda entry: entry.suffix.lower() == ".npz" or entry.is_dir())
            or "Give a folder of PNGs or an .npz file; `ganzoo eval` also takes a run folder or module:function.",
        )
    raise GanzooError(f"{path} is not a run, a folder of PNGs or an .npz file.", NPZ_REMEDY)


def _read_folder(folder: Path) -> Pictures:
    import numpy as np

    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    pngs = [file for file in files if file.suffix.lower() == ".png"]
    others = [file.name for file in files if file.suffix.lower() in OTHER_PICTURES]
    if others:
        raise GanzooError(
            f"{folder} holds {len(others):,} pictures that are not PNGs, such as {others[0]}.",
            "Other formats, lossy or not, are not scored; keep only PNGs in the folder.",
        )
    if not pngs and (folder / "run.json").exists():  # the command has scored it as a run
        raise GanzooError(
            f"{folder} is a run, not a folder of PNGs.",
            "Score ganzoo.load(...).sample(n), or use `ganzoo eval`.",
        )
    if not pngs:
        raise GanzooError(f"{folder} is not a run and holds no PNGs.", "Subfolders are not searched.")
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


NAMED = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
LAYOUTS = "Images must be uint8, (n, h, w), (n, h, w, c) or (n, c, h, w), with c 1 or 3."
REMEDY = "It is called as function(n, seed) and must return n uint8 images or float32 points, or (images, labels)."


def is_function(what: str) -> bool:
    """Whether a text names a function and no file has that name."""
    return NAMED.fullmatch(what) is not None and not Path(what).exists()


def call(what: str, n: int, seed: int) -> Pictures:
    """The pictures that a function returns; its module may be in the working folder.

    Args:
        what: ``module:function``, both possibly dotted.
        n: The number of pictures to request.
        seed: The seed to pass to the function.

    Raises:
        GanzooError: The function is missing or fails, or its result is not images or is ambiguous.
    """
    import numpy as np

    with _working_folder(), preserved_global_state(), redirect_stdout(sys.stderr):
        function = _function(what)
        with foreign_code(f"{what}({n}, {seed}) failed", REMEDY):
            returned = function(n, seed)
    images, labels = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    # Float32 of shape (n, 1, 1, d), or (n, 1, d) as in .npz files, is points; images are never float32.
    is_tensor = isinstance(images, Tensor) and images.dtype == torch.float32 and not images.is_nested
    is_array = isinstance(images, np.ndarray) and images.dtype == np.float32
    points = (is_tensor or is_array) and tuple(images.shape[1:-1]) in ((1,), (1, 1))
    read = as_tensor(images, f"{what} returned", torch.float32) if points else as_pictures(images, f"{what} returned")
    if len(read) != n:
        raise GanzooError(f"{what} returned {len(read):,} images, but {n:,} were requested.", REMEDY)
    kind = "points" if points else "images"
    form = f"{read.shape[-1]} dimensions" if points else written(read.shape[1:])
    note = f"{n:,} {kind} from {what}, seed {seed}, {form}."
    return Pictures(
        read.reshape(n, 1, 1, -1) if points else read,
        None if labels is None else as_labels(labels, n, f"{what} returned"),
        (note,),
    )


def _function(what: str) -> Callable[[int, int], Any]:
    module, _, path = what.partition(":")
    with foreign_code(f"The module '{module}' cannot be imported", "Give a module that Python finds from here."):
        value: Any = importlib.import_module(module)
    for name in path.split("."):
        missing = object()
        with foreign_code(f"'{name}' of {what} cannot be read", REMEDY):
            attribute = getattr(value, name, missing)
        if attribute is missing:
            names = [other for other in vars(value) if not other.startswith("_")] if hasattr(value, "__dict__") else []
            hint = nearest(name, names, listing=f"dir({module})")
            raise GanzooError(f"The module '{module}' has no '{path}'.", hint)
        value = attribute
    if not callable(value):
        raise GanzooError(f"{what} is not a function but of type {type(value).__name__}.", REMEDY)
    return value  # type: ignore[no-any-return]


@contextmanager
def _working_folder() -> Iterator[None]:
    """As with ``python -m``: modules in the working folder can be imported."""
    before = list(sys.path)
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path[:] = before


def as_pictures(images: Any, who: str) -> Tensor:
    """Images (n, c, h, w), uint8, from a tensor or array whose shape shows which axis is which.

    Args:
        images: (n, h, w), (n, h, w, c) or (n, c, h, w), with c 1 or 3.
        who: The start of a sentence for errors, such as ``made_up:noise returned``.

    Raises:
        GanzooError: They have another form, or could be read in two ways.
    """
    tensor = as_tensor(images, who, torch.uint8)
    shape = tuple(tensor.shape)
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


def as_tensor(images: Any, who: str, dtype: torch.dtype) -> Tensor:
    """A tensor on the CPU, from a tensor or array of the given type.

    Raises:
        GanzooError: The input has another type.
    """
    import numpy as np

    def refuse_too_large(values: Tensor | np.ndarray[Any, Any]) -> None:
        if values.nbytes > reading.max_bytes():
            raise GanzooError(
                f"{who} shape {tuple(values.shape)}.", f"More than {reading.max_bytes() / 1e9:.0f} GB cannot be scored."
            )

    name = str(dtype).removeprefix("torch.")
    if isinstance(images, np.ndarray):
        refuse_too_large(images)  # before a view that repeats its values is copied
        if str(images.dtype) == name:
            # A copy if it is read-only, as JAX's arrays are: torch would warn that writing to it is undefined.
            images = torch.from_numpy(np.require(images, requirements=["C", "W", "E"]))
    if not isinstance(images, Tensor):
        kind = f"a {images.dtype} array" if isinstance(images, np.ndarray) else type(images).__name__
        remedy = LAYOUTS if dtype == torch.uint8 else ""
        raise GanzooError(f"{who} {kind} instead of a {name} array or tensor.", remedy)
    if images.dtype != dtype:
        raise GanzooError(
            f"{who} a tensor of type {str(images.dtype).removeprefix('torch.')}.",
            "Quantise it to uint8 as for a picture file: scores depend on how that is done."
            if name == "uint8"
            else f"Give {name}, the type that the dataset is stored in.",
        )
    if images.is_nested or images.is_quantized or images.layout != torch.strided or images.device.type == "meta":
        raise GanzooError(f"{who} a nested, sparse or meta tensor.", "Give an ordinary dense tensor.")
    refuse_too_large(images)
    return images.detach().cpu()


def as_labels(labels: Any, n: int, who: str) -> Tensor:
    """int64 (n,), on the CPU.

    Raises:
        GanzooError: They are not integers, or not one for each image.
    """
    remedy = "Labels must be integers, one for each image."
    with foreign_code(f"{who} labels that cannot be read", remedy):
        tensor = labels if isinstance(labels, Tensor) else torch.tensor(labels)  # as_tensor warns of read-only arrays
        whole = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
        if whole and tensor.shape == (n,):
            return tensor.to("cpu", torch.int64, copy=True).to_dense()
    raise GanzooError(f"{who} labels of type {tensor.dtype} and shape {tuple(tensor.shape)}.", remedy)
