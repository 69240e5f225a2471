"""Ctrl-C and SIGTERM as requests that are honoured between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from ganzoo.errors import GanzooError, Interrupted, Terminated


class StopRequests:
    """While active, notes the first SIGINT or SIGTERM; a second Ctrl-C stops at once, as usual."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def error(self, sentence: str, remedy: str) -> GanzooError:
        """The error to leave with, its exit code by the signal that was received."""
        kind = Terminated if self.received is signal.SIGTERM else Interrupted
        return kind(sentence, remedy)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or signal.Signals(number)
