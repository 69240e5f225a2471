"""Ctrl-C and SIGTERM as requests that are honoured between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from ganzoo.errors import GanzooError, Interrupted, Terminated


class StopRequests:
    """While active, notes the first SIGINT or SIGTERM; a second Ctrl-C stops at once, as usual."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._leave_with: tuple[str, str] | None = None
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

    @contextmanager
    def at_once(self, sentence: str, remedy: str) -> Iterator[None]:
        """A block in which nothing is left to save: a request, also an earlier one, ends it without delay.

        Raises:
            Interrupted: By Ctrl-C; with the sentence and the remedy.
            Terminated: By SIGTERM.
        """
        self._leave_with = sentence, remedy
        try:
            if self.received:
                raise self.error(sentence, remedy)
            yield
        finally:
            self._leave_with = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        first = self.received is None
        self.received = self.received or signal.Signals(number)
        if first and self._leave_with is not None:
            raise self.error(*self._leave_with)
