"""Sends a run's numbers and sample grids to TensorBoard (a recipe's ``trackers: [tensorboard]``).

torch.utils.tensorboard writes into ``tensorboard/`` inside the run folder. The step is the number of real images shown,
so that runs with different batch sizes share an axis. A resumed run replaces what the interrupted run logged after the
checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ganzoo import GanzooError, Register, Tracker, hookimpl


class TensorBoard(Tracker):
    """Writes event files that TensorBoard reads.

    Args:
        folder: The run folder.
        flush_seconds: Longest time before a number is written.

    Raises:
        GanzooError: The package tensorboard is not installed.
    """

    network = False

    def __init__(self, folder: Path, *, flush_seconds: Annotated[int, Field(ge=1, le=86_400)] = 30) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise GanzooError(
                "The tracker 'tensorboard' needs the package tensorboard, which is not installed.",
                "pip install 'ganzoo-bench[tensorboard]', or remove it from the recipe's trackers.",
            ) from error
        resumed = _resumed_at(folder)
        self.writer = SummaryWriter(
            str(folder / "tensorboard"),
            # TensorBoard hides earlier events from this step onwards. The checkpoint's own events stay, because the
            # resumed run does not log them again.
            purge_step=None if resumed is None else resumed + 1,
            flush_secs=flush_seconds,
        )

    def log(self, record: Mapping[str, Any]) -> None:
        """Log every number in a record under ``event/key``, and a score under ``score/metric/weights``."""
        for tag, value in tagged(record):
            self.writer.add_scalar(tag, value, record.get("images", 0))

    def picture(self, images: int, path: Path) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(path) as grid:
            pixels = np.asarray(grid.convert("RGB"))
        self.writer.add_image("samples", pixels, images, dataformats="HWC")

    def close(self) -> None:
        self.writer.close()


def _resumed_at(folder: Path) -> int | None:
    """The number of images after which a run was last resumed; None if it never was."""
    with suppress(OSError):
        for line in reversed((folder / "events.jsonl").read_bytes().splitlines()):
            with suppress(ValueError, RecursionError):  # a line that a crash cut short
                record = json.loads(line) if b'"resume"' in line else None
                if (
                    isinstance(record, dict)
                    and record.get("event") == "resume"
                    and isinstance(record.get("images"), int)
                ):
                    return int(record["images"])
    return None


def tagged(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers in a record by ``event/key``; for a score, its value by ``score/metric/weights``."""
    event = record.get("event", "log")
    if {"metric", "value"} <= record.keys():
        yield f"{event}/{record['metric']}/{record.get('weights', 'all')}", record["value"]
    else:
        yield from numbers(str(event), record)


def numbers(prefix: str, record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers in a record and in its nested records, each with its path, such as ``train/losses/generator``."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from numbers(f"{prefix}/{key}", value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and key != "images":
            yield f"{prefix}/{key}", value


@hookimpl
def register_trackers(register: Register[Tracker]) -> None:
    register("tensorboard", TensorBoard, summary="Numbers and sample grids for TensorBoard")
