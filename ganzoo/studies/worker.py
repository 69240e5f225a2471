"""Works through a matrix: a process for each training or evaluation, records for those that ended, a stop when asked.

Any number of workers share one results folder, on one machine or on many. Whoever starts a training claims it first, by
a lock in that folder (``Ledger.claim``), and keeps the claim until it is recorded. The others take what is free, wait
for what is claimed, and go on with it where its worker died.

A child is started as ``run FOLDER ARGUMENT...`` or ``eval FOLDER ARGUMENT...``, which is the command of that name. Its
standard input is a leash: when that ends, whoever started the child is gone, and the child saves and ends too. A lock
beside the run folder keeps a second process out of it until then.
"""

from __future__ import annotations

import json
import logging
import os
import random
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from filelock import FileLock, Timeout

from ganzoo.api.dataset import cache_folder
from ganzoo.errors import GanzooError
from ganzoo.files import child_python, read_lines, refuse_links
from ganzoo.registry.loading import Zoo
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.provenance import environment, hardware_in_words
from ganzoo.runs.scores import is_own, own_protocol
from ganzoo.studies.matrix import Job
from ganzoo.studies.records import Ledger, Outcome, RunRecord, ScoredRun, collect, final_picture, kept_run
from ganzoo.studies.weights import keep_weights, kept_weights
from ganzoo.training.device import resolve_device
from ganzoo.training.signals import StopRequests

logger = logging.getLogger(__name__)
THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")

STOPPED: Final = (130, 143, -signal.SIGINT, -signal.SIGTERM)
"""Exit codes of a child that was asked to end."""


def main() -> None:
    """What a child does: train or score in a run folder, as the command line says."""
    verb, folder, *arguments = sys.argv[1:]
    threading.Thread(target=_follow_leash, daemon=True).start()
    path = Path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path):
        if verb == "run":
            status = _status(path)
            if status == "done":
                return
            if status is None:
                # What a process left that was killed before there was a run.
                shutil.rmtree(path, ignore_errors=True)
            words = [*arguments, "--out", folder] if status is None else ["--resume", folder]
        else:
            words = [folder, *arguments]
        sys.argv = ["ganzoo", verb, *words]
        runpy.run_module("ganzoo", run_name="__main__", alter_sys=True)


def lock(folder: Path) -> FileLock:
    """Held by the process that works on a run folder."""
    return FileLock(folder.with_name(f"{folder.name}.lock"))


def log_of(folder: Path, *, scoring: bool) -> Path:
    """What the process that works on a run folder prints."""
    return folder.with_name(f"{folder.name}{'.eval' if scoring else ''}.log")


def _status(folder: Path) -> str | None:
    """The status in ``run.json``; None where there is no run."""
    try:
        return str(json.loads((folder / "run.json").read_text("utf-8"))["status"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError):
        return "damaged"


def _follow_leash() -> None:
    # Not through sys.stdin, whose lock a thread that waits would keep from the interpreter when it ends.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


@dataclass(frozen=True, eq=False)
class Task:
    """What one child does.

    Attributes:
        job: The training.
        missing: Metrics to score its kept weights by; empty where it is to be trained.
    """

    job: Job
    missing: tuple[str, ...] = ()

    def command(self, folder: Path, extra: Sequence[str]) -> list[str]:
        """Verb, folder and arguments of the child.

        Args:
            folder: The run folder.
            extra: More arguments, of ``ganzoo run`` and ``ganzoo eval``.
        """
        if not self.missing:
            return ["run", str(folder), *self.job.arguments, *extra]
        metrics = [word for name in self.missing for word in ("--metric", name)]
        samples = str(self.job.recipe.evaluate.samples)
        device = self.job.recipe.train.device
        return ["eval", str(folder), *metrics, "--samples", samples, "--device", device, "--json", *extra]


class Child:
    """A running task, in a process and process group of its own: what ends it, or Ctrl-C, ends nothing else.

    Args:
        task: What to do.
        folder: The run folder, new or begun.
        claim: Held until ``release``.
        threads: CPU threads; None leaves it to torch.
        extra: More arguments, of ``ganzoo run`` and ``ganzoo eval``.
        gpu: The only one that it sees; None leaves it all.
    """

    def __init__(
        self,
        task: Task,
        folder: Path,
        *,
        claim: FileLock,
        threads: int | None,
        extra: Sequence[str] = (),
        gpu: Gpu | None = None,
    ) -> None:
        self.task = task
        self.folder = folder
        self._claim = claim
        self._gpu = gpu
        self._log = log_of(folder, scoring=bool(task.missing))
        self._began = time.monotonic()
        self._asked = False
        folder.parent.mkdir(parents=True, exist_ok=True)
        limits = dict.fromkeys(THREAD_VARIABLES, str(threads)) if threads else {}
        if gpu is not None:
            limits["CUDA_VISIBLE_DEVICES"] = gpu.name
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                child_python("ganzoo.studies.worker", *task.command(folder, extra)),
                stdin=subprocess.PIPE,  # the leash: open as long as this process lives
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
        """How it ended; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        if self._process.stdin is not None:
            self._process.stdin.close()
        error = None if code == 0 else self._reason(code)
        stopped = code != 0 and (self._asked or code in STOPPED)
        return Outcome(error, time.monotonic() - self._began, stopped)

    def release(self) -> None:
        """Give up its claim and its GPU."""
        self._claim.release()
        if self._gpu is not None:
            self._gpu.release()

    @property
    def images(self) -> int:
        """Real images shown, as last logged."""
        logged = [event for event in read_lines(self.folder / "events.jsonl") if event.get("event") == "train"]
        return int(logged[-1]["images"]) if logged else 0

    def _reason(self, code: int) -> str:
        """The last line of its log, which is its error, or what the exit code means."""
        if code == -signal.SIGKILL:
            return "The process was killed, probably because the system ran out of memory."
        lines = [line.strip() for line in self._log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else f"The process ended with exit code {code} and no message."


POLL_SECONDS: Final = 0.2
"""Between two looks at the running children."""
WAIT_SECONDS: Final = 1.0
"""Between two looks at what other workers have claimed."""


@dataclass
class Gpu:
    """A GPU that a child has to itself, as far as workers on this machine are concerned.

    Attributes:
        name: What ``CUDA_VISIBLE_DEVICES`` says.
        held: Its lock; None where all GPUs were taken, and it is shared.
    """

    name: str
    held: FileLock | None

    @classmethod
    def free(cls, names: Sequence[str], folder: Path) -> Gpu:
        """The first that no other worker uses; where all are in use, one of them.

        Args:
            names: Of the GPUs of this machine.
            folder: Where this machine's workers keep their locks.
        """
        for name in names:
            lock = FileLock(refuse_links(folder / f"{socket.gethostname()}-{name}.lock", folder), blocking=False)
            with suppress(Timeout):
                lock.acquire()
                return cls(name, lock)
        return cls(random.choice(names), None)  # noqa: S311 - only to spread them

    def release(self) -> None:
        """Leave it to others."""
        if self.held is not None:
            self.held.release()


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them; empty where there is at most one."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = list(map(str, range(torch.cuda.device_count()))) if named is None else [*filter(None, named.split(","))]
    return found if len(found) > 1 else []


class Watcher:
    """Follows a bench. Override what is of interest."""

    def planned(self, todo: Sequence[Job], known: Sequence[ScoredRun], to_score: Sequence[Job]) -> None:
        """Before anything starts: jobs to train, runs that need no training, and those of them with missing scores."""

    def began(self, job: Job) -> None:
        """A job's training was started."""

    def advanced(self, job: Job, images: int) -> None:
        """A job in training has shown so many images."""

    def ended(self, job: Job, run: ScoredRun | None) -> None:
        """A job is trained or failed; None where it was stopped, and has saved."""

    def elsewhere(self, job: Job, run: ScoredRun) -> None:
        """Another worker has recorded a job that this one was to do."""

    def scored(self, job: Job, run: ScoredRun) -> None:
        """The kept weights of a job were scored by the metrics that were missing."""

    def unscored(self, job: Job, reason: str) -> None:
        """They could not be scored, for the reason given in a sentence."""


@dataclass(frozen=True)
class Settings:
    """How to work through a matrix.

    Attributes:
        work: Where run folders go.
        parallel: Processes at a time.
        threads: CPU threads of each; None leaves it to torch.
        force: Train again what is done.
        retry: Resume what failed.
        extra: More arguments of ``ganzoo run`` and ``ganzoo eval``, for each job.
        any_hardware: A run that was made on other hardware counts too.
        weights: Where the reported weights of every run are kept, for metrics that are asked for later; None keeps
            none beside the run folders.
    """

    work: Path
    parallel: int = 1
    threads: int | None = None
    force: bool = False
    retry: bool = False
    extra: tuple[str, ...] = ()
    any_hardware: bool = False
    weights: Path | None = None


class Bench:
    """Works through matrices.

    Args:
        zoo: Where names are looked up.
        ledger: Where records go.
        settings: How.
        watcher: Who follows.

    Attributes:
        unscored: Jobs that lack a score for good: their weights were not kept, or scoring failed.
    """

    def __init__(self, zoo: Zoo, ledger: Ledger, settings: Settings, watcher: Watcher | None = None) -> None:
        self.zoo = zoo
        self.ledger = ledger
        self.settings = settings
        self.watcher = watcher or Watcher()
        self.unscored: list[Job] = []
        self._running: list[Child] = []
        self._old: dict[Job, ScoredRun] = {}
        """Runs from before, which ``force`` or ``retry`` make again: those that are recorded later count."""

    def run(self, jobs: Sequence[Job]) -> list[ScoredRun]:
        """Train what has no record yet, score what lacks a metric, and return the runs of all jobs, in their order.

        A job whose training was stopped from outside has no run.

        Raises:
            GanzooError: Something that would be written is a link.
            Interrupted: Ctrl-C; the running jobs have saved.
            Terminated: SIGTERM; the running jobs have saved.
        """
        for job in jobs:
            _refuse_links_beside(job.folder(self.settings.work), self.settings.work)
        self.ledger.refresh()
        again = {job: run for job in jobs if (run := self._found(job)) is not None and self._is_to_repeat(run)}
        self._old = again
        known = {job: self._up_to_date(run) for job in jobs if (run := self._recorded(job)) is not None}
        tasks = [Task(job) for job in jobs if job not in known]
        lacking = [Task(job, missing) for job, run in known.items() if (missing := _missing(job, run))]
        self.watcher.planned([task.job for task in tasks], list(known.values()), [task.job for task in lacking])
        tasks += [task for task in lacking if self._has_weights(task, known[task.job])]
        runs = {**known, **self._work(tasks)}
        return [run for job in jobs if (run := runs.get(job))]

    def _recorded(self, job: Job) -> ScoredRun | None:
        """The run of a job that need not be trained."""
        run, old = self._found(job), self._old.get(job)
        return None if run is None or (old is not None and old.record == run.record) else run

    def _found(self, job: Job) -> ScoredRun | None:
        """The newest record of a job: of this hardware, or of any where that counts or its run folder is taken."""
        asked = job.digest, job.dataset, job.seed
        run = self.ledger.find(*asked, hardware_in_words(_environment(job.recipe.train.device)))
        if run is None and (other := self.ledger.find(*asked)) is not None:
            # What crashed elsewhere, for want of memory or of a dataset, may well be trained here.
            counts = self.settings.any_hardware and not other.record.has_crashed
            return other if counts or self._kept(other.record) else None
        return run

    def _is_to_repeat(self, run: ScoredRun) -> bool:
        return self.settings.force or (self.settings.retry and run.record.status == "failed")

    def _up_to_date(self, run: ScoredRun) -> ScoredRun:
        """The run with the scores that ``ganzoo eval`` added to its folders since; its weights are kept from now on."""
        if run.record.status != "done":
            return run
        if (trained := kept_run(run.record, self.settings.work)) is not None:
            run = self.ledger.add_scores(run, trained.scores())
            self._keep(trained, run.record)
        if (kept := self._kept(run.record)) is not None:
            run = self.ledger.add_scores(run, kept.scores())
        return run

    def _kept(self, record: RunRecord) -> RunFolder | None:
        """Where a run's weights are: kept for later, or in the folder that it was trained in."""
        weights = self.settings.weights
        kept = None if weights is None else kept_weights(record, weights)
        return kept or kept_run(record, self.settings.work)

    def _keep(self, run: RunFolder, record: RunRecord) -> None:
        """Keep a run's weights, unless they are kept; where that fails, the run itself is still as good."""
        weights = self.settings.weights
        if weights is None or kept_weights(record, weights) is not None:
            return
        try:
            keep_weights(run, record, weights)
        except (GanzooError, OSError) as error:
            logger.warning("The weights of %s were not kept in %s: %s", run.path, weights, error)

    def _has_weights(self, task: Task, run: ScoredRun) -> bool:
        if (kept := self._kept(run.record)) is not None:
            places = filter(None, (self.settings.weights, self.settings.work))
            _refuse_links_beside(kept.path, next(place for place in places if kept.path.is_relative_to(place)))
            return True
        names, folder = ", ".join(task.missing), task.job.folder(self.settings.work)
        remedy = "Train it again with --force, or point --work to the run folders."
        if self.settings.weights is not None:
            remedy = f"Point --weights-dir to where they are; {self.settings.weights} does not have them."
        self._give_up(
            task.job,
            f"Cannot score {names}: the weights were not kept (no such run in {folder}). {remedy}",
        )
        return False

    def _give_up(self, job: Job, reason: str) -> None:
        self.unscored.append(job)
        self.watcher.unscored(job, reason)

    def _work(self, tasks: Iterable[Task]) -> dict[Job, ScoredRun]:
        """Do what is free, and wait for what other workers do."""
        queue, runs, stopped_any, look_again = list(tasks), dict[Job, ScoredRun](), False, 0.0
        with StopRequests() as stop:
            while self._running or (queue and not stop.received):
                has_room = bool(queue) and len(self._running) < self.settings.parallel
                if has_room and not stop.received and time.monotonic() > look_again:
                    self.ledger.refresh()
                    queue = self._without_what_others_did(queue, runs)
                    if not self._start_one(queue):
                        look_again = time.monotonic() + WAIT_SECONDS
                    continue
                time.sleep(POLL_SECONDS)
                if stop.received:
                    for child in self._running:
                        child.stop(stop.received)
                for child, outcome in self._ended():
                    stopped_any |= outcome.stopped
                    run = self._finish(child, outcome)
                    child.release()
                    look_again = 0.0
                    if run is not None:
                        runs[child.task.job] = run
            if (stop.received and stopped_any) or queue:
                raise stop.error("Stopped, and saved.", "Resume with the same command.")
        return runs

    def _without_what_others_did(self, queue: Iterable[Task], runs: dict[Job, ScoredRun]) -> list[Task]:
        """What is left of a queue; a run that another worker recorded may still lack a score that is asked for here."""
        left = []
        for task in queue:
            run = self._recorded(task.job)
            missing = _missing(task.job, run) if run is not None else ()
            if run is None or (missing and (task.missing or self._has_weights(Task(task.job, missing), run))):
                left.append(Task(task.job, missing))
            if run is not None:
                if not missing:
                    self.watcher.elsewhere(task.job, run)
                runs[task.job] = run
        return left

    def _start_one(self, queue: list[Task]) -> bool:
        """Start the first task that nobody has claimed, and take it off the queue."""
        for index, task in enumerate(queue):
            claim = self.ledger.claim(task.job.digest, task.job.seed)
            try:
                claim.acquire()
            except Timeout:
                continue
            self.ledger.refresh()  # it may have been done between the last look and the claim
            run = self._recorded(task.job)
            if run is not None and (not task.missing or not _missing(task.job, run)):
                claim.release()
                return True  # the next look takes it off the queue
            self._start(queue.pop(index), claim)
            return True
        return False

    def _start(self, task: Task, claim: FileLock) -> None:
        settings = self.settings
        folder = task.job.folder(settings.work)
        if task.missing and (run := self._recorded(task.job)) and (kept := self._kept(run.record)):
            folder = kept.path
        if settings.force and not task.missing and folder.exists():
            with lock(folder):
                shutil.rmtree(folder)
        gpus = visible_gpus() if task.job.recipe.train.device in ("auto", "cuda") else []
        gpu = Gpu.free(gpus, cache_folder("gpus")) if gpus else None
        self._running.append(Child(task, folder, claim=claim, threads=settings.threads, extra=settings.extra, gpu=gpu))
        if not task.missing:
            self.watcher.began(task.job)

    def _ended(self) -> Iterator[tuple[Child, Outcome]]:
        """Look at every child once, and give those that have ended."""
        for child in list(self._running):
            outcome = child.poll()
            if outcome is not None:
                self._running.remove(child)
                yield child, outcome
            elif not child.task.missing:
                self.watcher.advanced(child.task.job, child.images)

    def _finish(self, child: Child, outcome: Outcome) -> ScoredRun | None:
        """Record what a child did; None where it was stopped, or only scores are missing as before."""
        job = child.task.job
        if child.task.missing:
            return None if outcome.stopped else self._finish_scoring(child, outcome)
        run = None
        if not outcome.stopped:
            record, scores = collect(job, child.folder, outcome, _environment(job.recipe.train.device), self.zoo)
            run = self.ledger.append(record, scores, final_picture(child.folder))
            if record.status == "done" and (trained := kept_run(record, self.settings.work)) is not None:
                self._keep(trained, record)
        self.watcher.ended(job, run)
        return run

    def _finish_scoring(self, child: Child, outcome: Outcome) -> ScoredRun | None:
        job, known = child.task.job, self._recorded(child.task.job)
        run = None if known is None else self._up_to_date(known)
        if outcome.error is not None or run is None:
            self._give_up(job, outcome.error or "Its record was removed meanwhile.")
        elif left := _missing(job, run):
            self._give_up(job, f"No finite score of {', '.join(left)}.")
        else:
            self.watcher.scored(job, run)
        return run


def _refuse_links_beside(folder: Path, place: Path) -> None:
    """Raise where a run folder below ``place``, its lock or a log of it is a link: a child writes them all."""
    logs = (log_of(folder, scoring=scoring) for scoring in (False, True))
    for path in (folder, folder.with_name(f"{folder.name}.lock"), *logs):
        refuse_links(path, place)


def _missing(job: Job, run: ScoredRun) -> tuple[str, ...]:
    """The metrics that a job asks for and its run has no score of, by the protocol that the job asks for."""
    if run.record.status != "done":
        return ()
    own = own_protocol(job.recipe)
    known = {score["metric"] for score in run.scores if is_own(score, own)}
    return tuple(name for name in job.recipe.evaluate.metrics if name not in known)


@cache
def _environment(device: str) -> dict[str, Any]:
    """What a job is trained on, as far as it is known before it starts."""
    try:
        return environment(resolve_device(device))
    except GanzooError:
        # The job will say so itself; its failure belongs to this machine.
        return environment(torch.device("cpu"))


if __name__ == "__main__":
    main()
