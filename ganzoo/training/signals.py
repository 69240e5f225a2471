"""Ctrl-C, SIGTERM and SIGHUP as requests to stop between steps."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ganzoo.errors import GanzooError, HungUp, Interrupted, StopAtOnce, Terminated

STOP_SIGNALS = {  # the error that each request to stop ends in
    signal.Signals[name]: error
    for name, error in {"SIGINT": Interrupted, "SIGTERM": Terminated, "SIGHUP": HungUp}.items()
    if hasattr(signal, name)  # Windows has no SIGHUP
}


class StopRequests:
    """While active, records the first SIGINT, SIGTERM or SIGHUP; a second Ctrl-C stops immediately."""

    def __init__(self, notice: str = "") -> None:  # printed on standard error at the first Ctrl-C
        self.received: signal.Signals | None = None
        self._notice = notice
        self._interrupted = False
        self._at_once = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                if number.name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    self._previous[number] = signal.signal(number, self._record)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def error(self, sentence: str, remedy: str) -> GanzooError:
        """The error to exit with: its exit code depends on the signal."""
        return STOP_SIGNALS[self.received or signal.SIGINT](sentence, remedy)

    @contextmanager
    def at_once(self, sentence: str, remedy: str) -> Iterator[None]:
        """A block with nothing left to save: a request, even an earlier one, stops it at once, with this message."""
        self._at_once = True
        try:
            if self.received:
                raise StopAtOnce
            yield
        except (StopAtOnce, Exception) as error:
            # A library that is being imported may swallow the request, and then fail because it is half imported.
            if self.received is None:
                raise
            raise self.error(sentence, remedy) from error
        finally:
            self._at_once = False

    def _record(self, number: int, frame: object) -> None:
        if number == signal.SIGINT:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
        first = self.received is None
        self.received = self.received or signal.Signals(number)
        if self.received.name == "SIGHUP":
            leave_terminal()
        if first and self._at_once:
            raise StopAtOnce
        if number == signal.SIGINT and self._notice:
            with suppress(OSError):  # unbuffered, because the signal may have interrupted a write to sys.stderr
                os.write(2, f"\n{self._notice}\n".encode())


def leave_terminal() -> None:
    """Discard further output to a terminal that is gone: it would fail before the run is saved."""
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError:
            with suppress(OSError), Path(os.devnull).open("wb") as null:
                os.dup2(null.fileno(), descriptor)
