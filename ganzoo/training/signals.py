"""Ctrl-C and SIGTERM as requests to stop between steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from ganzoo.errors import GanzooError, Interrupted, StopAtOnce, Terminated


class StopRequests:
    """While active, records the first SIGINT or SIGTERM; a second Ctrl-C stops immediately."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._interrupted = False
        self._exit_message: tuple[str, str] | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._record)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def error(self, sentence: str, remedy: str) -> GanzooError:
        """The error to exit with: its exit code depends on the signal."""
        kind = Terminated if self.received is signal.SIGTERM else Interrupted
        return kind(sentence, remedy)

    @contextmanager
    def at_once(self, sentence: str, remedy: str) -> Iterator[None]:
        """A block with nothing left to save: a request, even an earlier one, stops it immediately.

        Raises:
            Interrupted: Ctrl-C arrived; the message is the sentence and the remedy.
            Terminated: SIGTERM arrived.
        """
        self._exit_message = sentence, remedy
        try:
            if self.received:
                raise self.error(sentence, remedy)
            try:
                yield
            finally:
                self._exit_message = None
        except StopAtOnce:
            raise self.error(sentence, remedy) from None

    def _record(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
        first = self.received is None
        self.received = self.received or signal.Signals(number)
        if first and self._exit_message is not None:
            raise StopAtOnce
