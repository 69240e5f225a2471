"""Datasets given in Python: ``ganzoo.train(recipe, dataset=images)``.

The recipe of such a run contains the name ``in-memory``, so that the run's folder shows what it was trained on. The
images themselves belong to the caller, who has to pass them again to resume the run.
"""

from __future__ import annotations

from pathlib import Path

from ganzoo import Dataset, GanzooError, Register, Split, hookimpl


def in_memory(split: Split, folder: Path | None) -> Dataset:
    """Always an error: the images were given in Python.

    Raises:
        GanzooError: Always.
    """
    raise GanzooError(
        "This run was trained on images that were given in Python.",
        "Resume it from Python too: ganzoo.train(recipe, dataset=..., resume_from=RUN).",
    )


@hookimpl
def register_datasets(register: Register[Dataset]) -> None:
    register("in-memory", in_memory, summary="Images given in Python")
