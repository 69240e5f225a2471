"""Pictures from a function that the user names on the command line: ``module:function``."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo.errors import GanzooError, nearest
from ganzoo.evaluation.extractors import written
from ganzoo.evaluation.pictures import Pictures

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMED = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
REMEDY = "It is called as function(n, seed) and returns n uint8 images, or (images, labels)."


def is_function(what: str) -> bool:
    """Whether a text names a function and no file of that name is there."""
    return NAMED.fullmatch(what) is not None and not Path(what).exists()


def call(what: str, n: int, seed: int) -> Pictures:
    """The pictures that a function returns; modules in the working folder are found too.

    Args:
        what: ``module:function``, both possibly dotted.
        n: How many it is asked for.
        seed: What it is asked to draw them with.

    Raises:
        GanzooError: There is no such function, it fails, or what it returns is not images or is ambiguous.
    """
    with _working_folder():
        function = _function(what)
        try:
            returned = function(n, seed)
        except Exception as error:
            raise GanzooError(f"{what}({n}, {seed}) failed: {_told(error)}.", REMEDY) from error
    images, labels = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    pixels = _layout(_tensor(images, what), what)
    if len(pixels) != n:
        raise GanzooError(f"{what} returned {len(pixels):,} images where {n:,} were asked for.", REMEDY)
    channels, height, width = pixels.shape[1:]
    note = f"{n:,} images of {what}, seed {seed}, {written((channels, height, width))}."
    return Pictures(pixels, None if labels is None else _labels(labels, n, what), (note,))


def _function(what: str) -> Callable[[int, int], Any]:
    module, _, path = what.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        raise GanzooError(
            f"The module '{module}' cannot be imported: {_told(error)}.", "Give a module that Python finds from here."
        ) from error
    for name in path.split("."):
        if not hasattr(found, name):
            known = [other for other in vars(found) if not other.startswith("_")] if hasattr(found, "__dict__") else []
            raise GanzooError(f"The module '{module}' has no '{path}'.", nearest(name, known))
        found = getattr(found, name)
    if not callable(found):
        raise GanzooError(f"{what} is no function but {type(found).__name__}.", REMEDY)
    return found  # type: ignore[no-any-return]


@contextmanager
def _working_folder() -> Iterator[None]:
    """As with ``python -m``: what lies in the working folder can be imported."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _tensor(images: Any, what: str) -> Tensor:
    import numpy as np

    if isinstance(images, np.ndarray) and images.dtype == np.uint8:
        images = torch.from_numpy(np.ascontiguousarray(images))
    if not isinstance(images, Tensor):
        kind = f"{images.dtype} array" if isinstance(images, np.ndarray) else type(images).__name__
        raise GanzooError(f"{what} returned a {kind}, no uint8 array or tensor.", REMEDY)
    if images.dtype != torch.uint8:
        raise GanzooError(
            f"{what} returned a tensor of type {str(images.dtype).removeprefix('torch.')}.",
            "Quantise it to uint8 as a picture file would be: scores depend on how.",
        )
    return images.detach().cpu()


def _layout(images: Tensor, what: str) -> Tensor:
    """Images (n, c, h, w), where the shape says which axis is which."""
    shape = tuple(images.shape)
    if len(shape) == 3 and 0 not in shape:
        return images[:, None]
    first, last = len(shape) == 4 and shape[1] in (1, 3), len(shape) == 4 and shape[3] in (1, 3)
    if first and last:
        raise GanzooError(
            f"{what} returned shape {shape}, in which channels could be the second axis or the last.",
            "Return images that are neither 1 nor 3 pixels wide or high.",
        )
    if 0 in shape or not (first or last):
        raise GanzooError(
            f"{what} returned shape {shape}.", "Images are (n, h, w), (n, h, w, c) or (n, c, h, w), c being 1 or 3."
        )
    return images if first else images.permute(0, 3, 1, 2)


def _labels(labels: Any, n: int, what: str) -> Tensor:
    found = torch.as_tensor(labels).cpu()
    if found.is_floating_point() or found.shape != (n,):
        raise GanzooError(
            f"{what} returned labels of type {found.dtype} and shape {tuple(found.shape)}.",
            "Labels are whole numbers, one for each image.",
        )
    return found.long()


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().removesuffix(".").removesuffix(":")
