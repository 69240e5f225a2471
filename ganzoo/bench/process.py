"""A job's process, from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ganzoo.bench.collect import Outcome
from ganzoo.bench.matrix import Job
from ganzoo.runs.files import read_lines

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")

STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)
"""Exit codes of a run that was asked to end."""


class JobProcess:
    """A running job, in a process and process group of its own: what ends it, or Ctrl-C, ends nothing else.

    Args:
        job: What to train.
        folder: Its run folder, new or begun.
        threads: CPU threads; None leaves it to torch.
        extra: More arguments of ``ganzoo run``.
    """

    def __init__(self, job: Job, folder: Path, *, threads: int | None, extra: Sequence[str] = ()) -> None:
        self.job = job
        self.folder = folder
        self._log = folder.with_name(f"{folder.name}.log")
        self._began = time.monotonic()
        self._asked = False
        folder.parent.mkdir(parents=True, exist_ok=True)
        limits = dict.fromkeys(THREAD_VARIABLES, str(threads)) if threads else {}
        # Standard input stays open as long as this process lives: see ganzoo.bench.job.
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "ganzoo.bench.job", str(folder), *job.arguments, *extra],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **limits},
                start_new_session=True,
            )

    def stop(self, number: signal.Signals) -> None:
        """Ask it to save and end, once: a second request would not let it save."""
        if not self._asked:
            self._asked = True
            self._process.send_signal(number)

    def poll(self) -> Outcome | None:
        """How it ended; None while it goes on."""
        code = self._process.poll()
        if code is None:
            return None
        if self._process.stdin is not None:
            self._process.stdin.close()
        error = None if code == 0 else self._reason(code)
        stopped = code != 0 and (self._asked or code in STOPPED)
        return Outcome(error, time.monotonic() - self._began, stopped)

    @property
    def images(self) -> int:
        """Real images shown, as last logged."""
        logged = [event for event in read_lines(self.folder / "events.jsonl") if event.get("event") == "train"]
        return int(logged[-1]["images"]) if logged else 0

    def _reason(self, code: int) -> str:
        """The last thing it said, which is its error, or what the exit code tells."""
        if code == -signal.SIGKILL:
            return "The process was killed, as a system does that runs out of memory."
        said = [line.strip() for line in self._log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
        return said[-1] if said else f"The process ended with code {code} and said nothing."
