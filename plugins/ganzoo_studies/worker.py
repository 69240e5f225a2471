"""Works through a matrix: starts one process per training or evaluation, records each when it ends, stops on request.

Any number of workers can share one results folder, on one machine or on many. A worker claims a run before starting it,
by a lock in that folder (``Ledger.claim``), and keeps the claim until the run is recorded. The others take unclaimed
runs, wait for claimed ones, and continue those whose worker dies.

A child is started as ``eval FOLDER OPTION...`` or ``run FOLDER OPTION... -- ARGUMENT...``, and runs the command of that
name; a resumed run gets only the options. The child's standard input stays open as long as its parent lives; when it
closes, the child saves and exits too. Until then, a lock next to the run folder keeps a second process out.
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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from filelock import FileLock, Timeout

from ganzoo.api.dataset import cache_folder
from ganzoo.errors import STOPPED, GanzooError
from ganzoo.files import child_python, refuse_links
from ganzoo.registry.loading import Zoo
from ganzoo.reproducibility import resolve_device
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.provenance import environment, external_plugins, hardware_in_words
from ganzoo.runs.records import is_own, own_protocol
from ganzoo.runs.start import warn_of_network_trackers
from ganzoo.training.device import VARIABLES
from ganzoo.training.signals import STOP_SIGNALS, StopRequests
from ganzoo_studies.matrix import Job
from ganzoo_studies.records import (
    Ledger,
    Outcome,
    RunRecord,
    ScoredRun,
    collect,
    final_picture,
    keep_weights,
    kept_run,
    kept_weights,
)

logger = logging.getLogger(__name__)
STOP_CODES: Final = (*STOPPED, *(-number for number in STOP_SIGNALS))
"""Exit codes of a child that was asked to stop."""


def main() -> None:
    """The child's main program: train or score in a run folder, according to its command line."""
    verb, folder, *arguments = sys.argv[1:]
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    path = Path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path):
        if verb == "run":
            end = arguments.index("--")
            options, recipe = arguments[:end], arguments[end + 1 :]
            if _run_json(path).get("status") == "done":
                return
            if (path / "run.json").exists():
                words = ["--resume", folder]
            else:
                # Left behind by a process that was killed before it created the run.
                shutil.rmtree(path, ignore_errors=True)
                words = [*recipe, "--out", folder]
            words += options
        else:
            words = [folder, *arguments]
        sys.argv = ["ganzoo", verb, *words]
        runpy.run_module("ganzoo", run_name="__main__", alter_sys=True)


def lock(folder: Path) -> FileLock:
    """The lock of a run folder, held by the process that is working on it."""
    return FileLock(folder.with_name(f"{folder.name}.lock"))


def log_of(folder: Path, *, scoring: bool) -> Path:
    """The log file of the process that works on a run folder."""
    return folder.with_name(f"{folder.name}{'.eval' if scoring else ''}.log")


def _exit_with_parent() -> None:
    # Not through sys.stdin: a waiting thread would hold its lock, which the interpreter needs at exit.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _run_json(folder: Path) -> dict[str, Any]:
    """The content of a folder's ``run.json``; empty if there is none, or if it is damaged."""
    with suppress(OSError, ValueError):
        content = json.loads((folder / "run.json").read_text("utf-8"))
        if isinstance(content, dict):
            return content
    return {}


@dataclass(frozen=True, eq=False)
class Task:
    """The task of one child."""

    job: Job
    missing: tuple[str, ...] = ()  # metrics by which to score its kept weights; empty if it is to be trained

    def command(self, folder: Path, extra: Sequence[str]) -> list[str]:
        """Verb, folder and arguments of the child; ``extra`` are further options."""
        if not self.missing:
            return ["run", str(folder), *extra, "--", *self.job.arguments]
        metrics = [word for name in self.missing for word in ("--metric", name)]
        samples = str(self.job.recipe.evaluate.samples)
        device = self.job.recipe.train.device
        extra = [word for word in extra if word != "--allow-trackers"]  # which `ganzoo eval` does not use
        return ["eval", str(folder), *metrics, "--samples", samples, "--device", device, "--json", *extra]


class Child:
    """A running task, in its own process and process group: its exit ends no other process; Ctrl-C does not reach it.

    ``locks`` are held until it has been recorded: the claim on the run, and on a GPU.
    """

    def __init__(
        self, task: Task, folder: Path, *, locks: Sequence[FileLock], extra: Sequence[str], variables: Mapping[str, str]
    ) -> None:
        self.task = task
        self.folder = folder
        self.locks = locks
        self._log = log_of(folder, scoring=bool(task.missing))
        self._started_at = time.monotonic()
        self._stop_requested = False
        folder.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                child_python("ganzoo_studies.worker", *task.command(folder, extra)),
                stdin=subprocess.PIPE,  # stays open as long as this process lives
                stdout=log,
                stderr=log,
                env={**os.environ, **variables},
                start_new_session=True,
            )

    def stop(self, number: signal.Signals) -> None:
        """Ask it to save and exit. Only the first call sends the signal: a second one would keep it from saving."""
        if not self._stop_requested:
            self._stop_requested = True
            self._process.send_signal(number)

    def poll(self) -> Outcome | None:
        """How it ended; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        self._process.communicate()  # closes its standard input
        if code == 0:
            error = None
        elif code == -signal.SIGKILL:
            error = "The process was killed, probably because the system ran out of memory."
        else:
            log = self._log.read_text("utf-8", errors="replace")
            lines = [line.strip() for line in log.splitlines() if line.strip()]
            error = lines[-1] if lines else f"The process ended with exit code {code} and no message."
        stopped = code != 0 and (self._stop_requested or code in STOP_CODES)
        return Outcome(error, time.monotonic() - self._started_at, stopped)

    @property
    def images(self) -> int:
        """Real images shown, as last logged."""
        newest: list[bytes] = []
        with suppress(OSError), (self.folder / "events.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))  # the whole file would take seconds, late in a long run
            newest = file.read().splitlines()
        for line in reversed(newest):
            with suppress(ValueError, KeyError, TypeError):
                event = json.loads(line)
                if event["event"] == "train":
                    return int(event["images"])
        return 0


TAIL: Final = 65_536
"""Bytes at the end of ``events.jsonl`` that are searched for the progress."""
POLL_SECONDS: Final = 0.2
"""Seconds between checks on the running children."""
WAIT_SECONDS: Final = 1.0
"""Seconds between checks on what other workers have claimed."""


def free_gpu(names: Sequence[str], folder: Path) -> tuple[str, list[FileLock]]:
    """The first GPU that no other worker here uses, with its lock; a random one, without, if all are in use."""
    for name in names:
        lock = FileLock(refuse_links(folder / f"{socket.gethostname()}-{name}.lock", folder), blocking=False)
        with suppress(Timeout):
            lock.acquire()
            return name, [lock]
    return random.choice(names), []  # noqa: S311 - only to spread the load


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them; empty if there is at most one."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = list(map(str, range(torch.cuda.device_count()))) if named is None else [*filter(None, named.split(","))]
    return gpus if len(gpus) > 1 else []


class Watcher:
    """Callbacks that report the progress of a bench. Override those of interest."""

    def planned(self, todo: Sequence[Job], known: Sequence[ScoredRun], to_score: Sequence[Job]) -> None:
        """Before anything starts: jobs to train, runs that need no training, and jobs of those with missing scores."""

    def began(self, job: Job) -> None:
        """A job's training started."""

    def advanced(self, job: Job, images: int) -> None:
        """A job in training has shown this many images."""

    def ended(self, job: Job, run: ScoredRun | None) -> None:
        """A job's training ended, its missing scores were added, or it failed; None if it was stopped and has saved."""

    def waits(self, jobs: int) -> None:
        """Nothing is left to do here; other workers are doing this many jobs."""

    def elsewhere(self, job: Job, run: ScoredRun) -> None:
        """Another worker has recorded a job that was also queued here."""

    def unscored(self, job: Job, reason: str) -> None:
        """A job's kept weights could not be scored, for the reason given in a sentence."""


@dataclass(frozen=True)
class Settings:
    """How to work through a matrix."""

    work: Path  # where run folders go
    parallel: int = 1  # number of simultaneous processes
    threads: int | None = None  # CPU threads of each process; None leaves them to torch
    force: bool = False  # whether to train runs again that are already recorded
    retry: bool = False  # whether to resume failed runs
    extra: tuple[str, ...] = ()  # further arguments of ``ganzoo run`` and ``ganzoo eval``, for each job
    any_hardware: bool = False  # whether runs on other hardware also count
    weights: Path | None = None
    """Where to keep every run's reported weights, for metrics requested later; None keeps only the run folders."""


class Bench:
    """Works through matrices."""

    def __init__(self, zoo: Zoo, ledger: Ledger, settings: Settings, watcher: Watcher | None = None) -> None:
        self.zoo = zoo
        self.ledger = ledger
        self.settings = settings
        self.watcher = watcher or Watcher()
        self.unscored: list[Job] = []  # that will not get a missing score: no weights were kept, or scoring failed
        self._running: list[Child] = []
        self._old: dict[Job, ScoredRun] = {}
        """Earlier runs, which ``force`` or ``retry`` repeat: only later records count for their jobs."""

    def run(self, jobs: Sequence[Job]) -> list[ScoredRun]:
        """Train the jobs without a record, score runs that lack a metric, and return the runs of all jobs, in order.

        A job whose training was stopped from outside has no run.

        Raises:
            GanzooError: A path that would be written is a link.
            Interrupted: Ctrl-C; the running jobs have saved. After SIGTERM, ``Terminated``.
        """
        for job in jobs:
            _refuse_links_beside(job.folder(self.settings.work), self.settings.work)
        if "--allow-trackers" not in self.settings.extra:
            warn_of_network_trackers([job.recipe for job in jobs], self.zoo)
        self.ledger.refresh()
        self._old = {}
        for job in jobs:
            if (run := self._newest_run(job)) is not None:
                # Divergence is a result of the study: retrying would give only that row a second chance.
                failed = run.record.has_crashed if self.settings.any_hardware else run.record.status == "failed"
                if self.settings.force or (self.settings.retry and failed):
                    self._old[job] = run
        known = {job: self._up_to_date(run) for job in jobs if (run := self._recorded(job)) is not None}
        plugins = [
            (run.record.plugins.get(name, now), now, job.label)
            for job, run in known.items()
            for name, now in external_plugins(job.recipe, self.zoo).items()
        ]
        for then, now in dict.fromkeys((then, now) for then, now, _ in plugins if then != now):
            labels = dict.fromkeys(label for *versions, label in plugins if versions == [then, now])
            sentence = "Trained with %s, but %s is installed (--force trains again): %s"
            logger.warning(sentence, then, now, "; ".join(labels))
        tasks = [Task(job) for job in jobs if job not in known]
        lacking = [Task(job, missing) for job, run in known.items() if (missing := _missing(job, run))]
        self.watcher.planned([task.job for task in tasks], list(known.values()), [task.job for task in lacking])
        tasks += [task for task in lacking if self._has_weights(task, known[task.job])]
        runs = {**known, **self._work(tasks)}
        return [run for job in jobs if (run := runs.get(job))]

    def _recorded(self, job: Job) -> ScoredRun | None:
        """The run of a job that needs no training; None if the job has to be trained."""
        run, old = self._newest_run(job), self._old.get(job)
        return None if run is None or (old is not None and old.record == run.record) else run

    def _newest_run(self, job: Job) -> ScoredRun | None:
        """The newest record of a job: on this hardware, or on any if that counts or its weights are here."""
        run = self.ledger.find(*job.key, hardware_in_words(_environment(job.recipe.train.device)))
        if (run is None or run.record.has_crashed) and (other := self.ledger.find(*job.key)) is not None:
            # A run that crashed elsewhere, without enough memory or its dataset, may well succeed here.
            counts = self.settings.any_hardware and not other.record.has_crashed
            return other if counts or (run is None and self._kept(other.record)) else run
        return run

    def _up_to_date(self, run: ScoredRun) -> ScoredRun:
        """The run with the scores that ``ganzoo eval`` has since added to its folders. Also keeps its weights."""
        record, weights = run.record, self.settings.weights
        if record.status != "done":
            return run
        try:
            if (trained := kept_run(record, self.settings.work)) is not None:
                run = self.ledger.add_scores(run, trained.scores())
                if weights is not None and kept_weights(record, weights) is None:
                    keep_weights(trained, record, weights)
            if (kept := self._kept(record)) is not None:
                run = self.ledger.add_scores(run, kept.scores())
        except (GanzooError, OSError) as error:  # the record is intact, and other jobs are not affected
            logger.warning(
                "%s, seed %s, is recorded, but not all of it was kept: %s", record.recipe, record.seed, error
            )
        return run

    def _kept(self, record: RunRecord) -> RunFolder | None:
        """The folder with a run's weights: the kept copy, or else the folder that it was trained in; or None."""
        weights = self.settings.weights
        kept = None if weights is None else kept_weights(record, weights)
        return kept or kept_run(record, self.settings.work)

    def _has_weights(self, task: Task, run: ScoredRun) -> bool:
        if (kept := self._kept(run.record)) is not None:
            places = filter(None, (self.settings.weights, self.settings.work))
            _refuse_links_beside(kept.path, next(place for place in places if kept.path.is_relative_to(place)))
            return True
        names, folder = ", ".join(task.missing), task.job.folder(self.settings.work)
        remedy = "Train it again with --force, or point --work to the run folders."
        if self.settings.weights is not None:
            remedy = f"Point --weights-dir to where they are; {self.settings.weights} does not have them."
        self._give_up(task.job, f"Cannot score {names}: the weights were not kept (no such run in {folder}). {remedy}")
        return False

    def _give_up(self, job: Job, reason: str) -> None:
        self.unscored.append(job)
        self.watcher.unscored(job, reason)

    def _work(self, tasks: Sequence[Task]) -> dict[Job, ScoredRun]:
        """Do the unclaimed tasks, and wait for those that other workers are doing."""
        queue, runs, look_again = list(tasks), dict[Job, ScoredRun](), 0.0
        stopped_any = waiting = False
        with StopRequests("Stopping the runs in progress, which save first.") as stop:
            while self._running or (queue and not stop.received):
                has_room = bool(queue) and len(self._running) < self.settings.parallel
                if has_room and not stop.received and time.monotonic() > look_again:
                    if not any(self._start(task, queue, runs) for task in list(queue)):
                        look_again = time.monotonic() + WAIT_SECONDS
                        if not self._running and not waiting:
                            self.watcher.waits(len(queue))
                            waiting = True
                    continue
                time.sleep(POLL_SECONDS)
                for child in list(self._running):
                    if stop.received:
                        child.stop(stop.received)
                    outcome = child.poll()
                    if outcome is None:
                        if not child.task.missing:
                            self.watcher.advanced(child.task.job, child.images)
                        continue
                    self._running.remove(child)
                    stopped_any |= outcome.stopped
                    run = self._finish(child, outcome)
                    for held in child.locks:
                        held.release()
                    look_again = 0.0
                    if run is None:
                        continue
                    runs[child.task.job] = run
                    # A run started for fewer metrics, or another number of samples, has only scored itself by those.
                    missing = () if child.task.missing else _missing(child.task.job, run)
                    if missing and self._has_weights(task := Task(child.task.job, missing), run):
                        queue.append(task)
            if (stop.received and stopped_any) or queue:
                raise stop.error("Stopped, and saved.", "Resume with the same command.")
        return runs

    def _start(self, task: Task, queue: list[Task], runs: dict[Job, ScoredRun]) -> bool:
        """Take a task off the queue, and start it unless another worker has recorded it; False if one claims it."""
        job, settings = task.job, self.settings
        claim = self.ledger.claim(job.digest, job.seed)
        try:
            claim.acquire()
        except Timeout:
            return False
        queue.remove(task)
        self.ledger.refresh()
        run, folder, old = self._recorded(job), job.folder(settings.work), self._old.get(job)
        scoring, task = bool(task.missing), Task(job, () if run is None else _missing(job, run))
        if run is not None:
            runs[job] = run
            if not task.missing:
                self.watcher.elsewhere(job, run)
            # A run recorded by another worker may still lack a score that is requested here.
            if not task.missing or not (scoring or self._has_weights(task, run)):
                claim.release()
                return True
            if (kept := self._kept(run.record)) is not None:
                folder = kept.path
        elif settings.force and old is not None and _run_json(folder).get("started") in (None, old.record.started):
            with lock(folder):  # a run that another --force command has restarted is resumed
                shutil.rmtree(folder, ignore_errors=True)
        variables = dict.fromkeys(VARIABLES, str(settings.threads)) if settings.threads else {}
        locks = [claim]
        if job.recipe.train.device in ("auto", "cuda") and (gpus := visible_gpus()):
            variables["CUDA_VISIBLE_DEVICES"], held = free_gpu(gpus, cache_folder("gpus"))
            locks += held
        self._running.append(Child(task, folder, locks=locks, extra=settings.extra, variables=variables))
        if not task.missing:
            self.watcher.began(job)
        return True

    def _finish(self, child: Child, outcome: Outcome) -> ScoredRun | None:
        """Record what a child did; returns None if it was stopped."""
        job = child.task.job
        run = None
        if child.task.missing:
            if outcome.stopped:
                return None
            if (known := self._recorded(job)) is not None:
                run = self._up_to_date(known)
            if outcome.error is not None or run is None:
                self._give_up(job, outcome.error or "Its record was removed in the meantime.")
                return run
            if left := _missing(job, run):
                self._give_up(job, f"No finite score of {', '.join(left)}.")
                return run
        elif not outcome.stopped:
            record, scores, trained = collect(
                job, child.folder, outcome, _environment(job.recipe.train.device), self.zoo
            )
            run = self._up_to_date(self.ledger.append(record, scores, final_picture(child.folder), trained))
        self.watcher.ended(job, run)
        return run


def _refuse_links_beside(folder: Path, place: Path) -> None:
    """Raise if a run folder below ``place``, its lock or one of its logs is a link: a child writes to all of them."""
    logs = (log_of(folder, scoring=scoring) for scoring in (False, True))
    for path in (folder, folder.with_name(f"{folder.name}.lock"), *logs):
        refuse_links(path, place)


def _missing(job: Job, run: ScoredRun) -> tuple[str, ...]:
    """The metrics that a job requests but its run has not been scored by, under the job's protocol."""
    if run.record.status != "done":
        return ()
    own = own_protocol(job.recipe)
    known = {score["metric"] for score in run.scores if is_own(score, own)}
    return tuple(name for name in job.recipe.evaluate.metrics if name not in known)


@cache
def _environment(device: str) -> dict[str, Any]:
    """The environment that a job is trained in, as far as it is known before it starts."""
    try:
        return environment(resolve_device(device))
    except GanzooError:
        # The job will report the error itself; its failure is recorded for this machine.
        return environment(torch.device("cpu"))


if __name__ == "__main__":
    main()
