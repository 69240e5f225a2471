"""Works through a matrix: starts a process for each job, waits, writes records, and stops when asked."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ganzoo.errors import GanzooError
from ganzoo.files import read_lines
from ganzoo.registry.loading import Zoo
from ganzoo.runs.environment import environment, hardware_in_words
from ganzoo.studies.collect import Outcome, collect, final_picture
from ganzoo.studies.job import lock
from ganzoo.studies.matrix import Job
from ganzoo.studies.records import Key, Ledger, RunRecord
from ganzoo.training.device import resolve_device
from ganzoo.training.signals import StopRequests

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
        # Standard input stays open as long as this process lives: see ganzoo.studies.job.
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "ganzoo.studies.job", str(folder), *job.arguments, *extra],
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


PATIENCE = 0.2
"""Seconds between two looks at the running jobs."""


class Watcher:
    """Is told what happens. Override what is of interest."""

    def planned(self, todo: Sequence[Job], known: Sequence[RunRecord]) -> None:
        """Before anything starts: the jobs to train, and the records of those that need not be."""

    def began(self, job: Job) -> None:
        """A job's process was started."""

    def advanced(self, job: Job, images: int) -> None:
        """A running job has shown so many images."""

    def ended(self, job: Job, record: RunRecord | None) -> None:
        """A job is done or failed; None where it was stopped, and has saved."""


@dataclass(frozen=True)
class Settings:
    """How to work through a matrix.

    Attributes:
        work: Where run folders go.
        parallel: Jobs at a time.
        threads: CPU threads of each; None leaves it to torch.
        force: Train again what is done.
        retry: Go on with what failed.
        extra: More arguments of ``ganzoo run``, for each job.
    """

    work: Path
    parallel: int = 1
    threads: int | None = None
    force: bool = False
    retry: bool = False
    extra: tuple[str, ...] = ()


class Bench:
    """Works through matrices.

    Args:
        zoo: Where names are looked up.
        ledger: Where records go.
        settings: How.
        watcher: Who is told.
    """

    def __init__(self, zoo: Zoo, ledger: Ledger, settings: Settings, watcher: Watcher | None = None) -> None:
        self.zoo = zoo
        self.ledger = ledger
        self.settings = settings
        self.watcher = watcher or Watcher()
        self._running: list[JobProcess] = []

    def run(self, jobs: Sequence[Job]) -> list[RunRecord]:
        """Train what has no record yet, and give the records of all jobs, in their order.

        A job that somebody else stopped has no record.

        Raises:
            Interrupted: Ctrl-C; the running jobs have saved.
            Terminated: SIGTERM; the running jobs have saved.
        """
        todo = [job for job in jobs if self._is_open(job)]
        records = {job: self.ledger.find(self._key(job)) for job in jobs if job not in todo}
        self.watcher.planned(todo, [record for record in records.values() if record])
        records |= self._train(todo)
        return [record for job in jobs if (record := records.get(job))]

    def _key(self, job: Job) -> Key:
        return job.digest, job.dataset, job.seed, hardware_in_words(self._environment(job))

    def _is_open(self, job: Job) -> bool:
        record = self.ledger.find(self._key(job))
        return record is None or self.settings.force or (self.settings.retry and record.status == "failed")

    def _train(self, todo: Iterable[Job]) -> dict[Job, RunRecord | None]:
        queue, records = deque(todo), dict[Job, RunRecord | None]()
        with StopRequests() as stop:
            while self._running or (queue and not stop.received):
                while queue and not stop.received and len(self._running) < self.settings.parallel:
                    self._start(queue.popleft())
                time.sleep(PATIENCE)
                if stop.received:
                    self._pass_on(stop.received)
                records |= dict(self._harvest())
            if (stop.received and None in records.values()) or queue:
                raise stop.error("Stopped, and saved.", "The same command goes on from here.")
        return records

    def _start(self, job: Job) -> None:
        settings = self.settings
        folder = job.folder(settings.work)
        if settings.force and folder.exists():
            with lock(folder):
                shutil.rmtree(folder)
        self._running.append(JobProcess(job, folder, threads=settings.threads, extra=settings.extra))
        self.watcher.began(job)

    def _pass_on(self, number: signal.Signals) -> None:
        for process in self._running:
            process.stop(number)

    def _harvest(self) -> Iterator[tuple[Job, RunRecord | None]]:
        """Look at every running job once, and give those that have ended with their records."""
        for process in list(self._running):
            outcome = process.poll()
            if outcome is None:
                self.watcher.advanced(process.job, process.images)
                continue
            self._running.remove(process)
            record = None if outcome.stopped else self._record(process, outcome)
            self.watcher.ended(process.job, record)
            yield process.job, record

    def _record(self, process: JobProcess, outcome: Outcome) -> RunRecord:
        job, folder = process.job, process.folder
        record = collect(job, folder, outcome, self._environment(job), self.zoo)
        self.ledger.append(record, final_picture(folder))
        return record

    def _environment(self, job: Job) -> dict[str, Any]:
        """What a job is trained on, as far as it is known before it starts."""
        return _environment(job.recipe.train.device)


@cache
def _environment(device: str) -> dict[str, Any]:
    try:
        return environment(resolve_device(device))
    except GanzooError:
        # The job will say so itself; its failure belongs to this machine.
        return environment(torch.device("cpu"))
