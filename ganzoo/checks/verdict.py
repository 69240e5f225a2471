"""A check's complaint, and how somebody else's exception becomes one."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ganzoo.errors import GanzooError
from ganzoo.registry.registry import Entry

FROM_SPEC = "Take every size from the spec: spec.image_shape, spec.pixels, spec.latent, spec.classes."
NO_VALUES = (
    "Stay on the device: no .item(), float(), bool() or `if` on a tensor, no boolean masks; torch.where chooses "
    "instead of `if`, and new tensors are made on the device of the ones given."
)
OURS = Path(__file__).parents[1]
"""Frames in here are not the plugin's."""


class Broken(GanzooError):
    """Something registered does not do what its kind must.

    Args:
        sentence: What is wrong, naming the thing.
        remedy: What to change.
    """

    exit_code = 1


def called(entry: Entry[Any]) -> str:
    """The thing as the start of a sentence: ``The loss 'hinge'``."""
    return f"The {entry.kind} '{entry.name}'"


def require(condition: bool, sentence: str, remedy: str) -> None:
    """Raise unless the condition holds.

    Raises:
        Broken: It does not.
    """
    if not condition:
        raise Broken(sentence, remedy)


@contextmanager
def blaming(entry: Entry[Any], doing: str, remedy: str) -> Iterator[None]:
    """Turn whatever a plugin raises into a sentence that names the thing, the exception and the plugin's own line.

    Args:
        entry: Whose code runs.
        doing: What is asked of it, after "fails": ``to be built for 3x32x32``.
        remedy: What to change.

    Raises:
        Broken: The code raised anything.
    """
    try:
        yield
    except Broken:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200].rstrip(".")
        what = f"{type(error).__name__}: {said}".rstrip(": ")
        raise Broken(f"{called(entry)} fails {doing}: {what}{place(error)}.", remedy) from error


def place(error: BaseException) -> str:
    """Where the plugin's own code raised: the last frame that is neither torch's nor ours, if there is one."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if {"torch", "contextlib.py"} & set(path.parts) or path.is_relative_to(OURS) or not path.is_file():
            continue
        code = linecache.getline(frame.filename, frame.lineno or 0).strip()
        return f" ({path.name}, line {frame.lineno}: `{code}`)"
    return ""
