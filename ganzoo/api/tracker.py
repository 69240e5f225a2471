"""Trackers, which receive a run's events in addition to its own folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar


class Tracker(ABC):
    """Sends a run's log to a service, or writes it in another file format. Called between steps, never inside one.

    A run does not depend on its trackers: an exception in a method is logged, and the tracker receives nothing more
    except the final ``close``. An exception in the constructor ends the run before its first step.

    Attributes:
        network: Whether it may talk to a network. Such a tracker is used only if the command names it with
            ``--set trackers=[...]`` or allows it with ``--allow-trackers``, because a recipe or a run may come from a
            stranger. False in a class that only writes files.
    """

    network: ClassVar[bool] = True

    @abstractmethod
    def log(self, record: Mapping[str, Any]) -> None:
        """One record of events.jsonl, ``{"event": "train", "images": ..., ...}``; none of ``start`` and ``resume``.

        A resumed run goes back to its last checkpoint, so records of some ``images`` may come twice.
        """

    def picture(self, images: int, path: Path) -> None:
        """A grid of samples was saved at ``path`` after ``images`` training images."""

    def close(self) -> None:
        """The run has ended."""
