"""Datasets that were given in Python: ``ganzoo.train(recipe, dataset=images)``.

The name stands in the recipe of such a run, so that its folder says what it was trained on. The images themselves are
the caller's, and have to be passed again to resume it.
"""

from __future__ import annotations

from pathlib import Path

from ganzoo import Dataset, GanzooError, Register, Split, hookimpl


def in_memory(split: Split, folder: Path | None) -> Dataset:
    """Nothing: the images were given in Python.

    Raises:
        GanzooError: Always.
    """
    raise GanzooError(
        "This run was trained on images that were given in Python.",
        "Resume it from Python too: ganzoo.train(recipe, dataset=..., resume_from=RUN).",
    )


@hookimpl
def register_datasets(register: Register[Dataset]) -> None:
    """The name."""
    register("in-memory", in_memory, summary="Images that were given in Python")
