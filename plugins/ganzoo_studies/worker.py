"""Works through a matrix: a process per training or evaluation, recorded when it ends, and stopped on request.

Any number of workers can share one results folder, on one machine or on many. A worker claims a job before starting it,
by a lock in that folder (``Ledger.claim``), and keeps the claim until it is recorded. The others take unclaimed jobs,
wait for claimed ones, and continue those whose worker dies.

A thread follows each job. The standard input of its child, ``ganzoo run --continue`` or ``ganzoo eval``, stays open as
long as its parent lives; when it closes, the child saves and exits too. Until then, a lock next to the run folder keeps
a second process out.
"""

from __future__ import annotations

import logging
import os
import random
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, Final, Literal

import torch
from filelock import FileLock, Timeout

from ganzoo.api.dataset import cache_folder
from ganzoo.errors import STOPPED, GanzooError
from ganzoo.files import child_python, refuse_links
from ganzoo.registry.loading import Zoo
from ganzoo.reproducibility import resolve_device
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.provenance import changed_plugins, environment, hardware_in_words
from ganzoo.runs.records import is_own, own_protocol
from ganzoo.runs.start import warn_of_network_trackers
from ganzoo.training.device import VARIABLES
from ganzoo.training.signals import STOP_SIGNALS, StopRequests
from ganzoo_studies.matrix import Job
from ganzoo_studies.records import (
    Ledger,
    RunRecord,
    ScoredRun,
    collect,
    final_picture,
    keep_weights,
    kept_folder,
    opened,
    run_of,
)

logger = logging.getLogger(__name__)
STOP_CODES: Final = (*STOPPED, *(-number for number in STOP_SIGNALS))
"""Exit codes of a child that was asked to stop."""
LOGS: Final = {"run": ".log", "eval": ".eval.log"}
"""How the names of the children's logs end, next to the run folder."""
TAIL: Final = 65_536
"""Bytes at the end of ``events.jsonl`` that are searched for the progress: the whole file would take seconds."""
POLL_SECONDS: Final = 0.2
"""Seconds between looks at a running child."""
WAIT_SECONDS: Final = 1.0
"""Seconds between looks at what other workers have claimed."""


def main() -> None:
    """The child's main program: run a ``ganzoo`` command as the only process that works in a run folder."""
    folder, *arguments = sys.argv[1:]
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    with lock(Path(folder)):
        sys.argv = ["ganzoo", *arguments]
        runpy.run_module("ganzoo", run_name="__main__", alter_sys=True)


def lock(folder: Path) -> FileLock:
    """The lock of a run folder, held by the process that is working on it."""
    return FileLock(folder.with_name(f"{folder.name}.lock"))


def _exit_with_parent() -> None:
    # Not through sys.stdin: a waiting thread would hold its lock, which the interpreter needs at exit.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def images_shown(folder: Path) -> int:
    """Real images that the run in a folder has shown, as last logged."""
    with suppress(OSError, IndexError), (folder / "events.jsonl").open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        return int(re.findall(rb'"event": "train", "images": (\d+),', file.read())[-1])
    return 0


def take_gpu(names: Sequence[str], folder: Path, held: ExitStack) -> str:
    """The first GPU that no other job here uses, locked until ``held`` closes; a random one if all are in use."""
    for name in names:
        with suppress(Timeout):
            path = refuse_links(folder / f"{socket.gethostname()}-{name}.lock", folder)
            held.enter_context(FileLock(path, blocking=False))
            return name
    return random.choice(names)  # noqa: S311 - only to spread the load


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them; empty if there is at most one."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = list(map(str, range(torch.cuda.device_count()))) if named is None else [*filter(None, named.split(","))]
    return gpus if len(gpus) > 1 else []


class Watcher:
    """Callbacks that report the progress of a bench, in any of its threads. Override those of interest."""

    def planned(self, todo: Sequence[Job], known: Sequence[ScoredRun], to_score: Sequence[Job]) -> None:
        """Before anything starts: jobs to train, runs that need no training, and jobs of those with missing scores."""

    def began(self, job: Job) -> None:
        """A job's training started."""

    def advanced(self, job: Job, images: int) -> None:
        """A job in training has shown this many images."""

    def ended(self, job: Job, run: ScoredRun | None, *, elsewhere: bool = False) -> None:
        """A job's training ended, its missing scores were added, or it failed; None if it was stopped and has saved.

        ``elsewhere``: Another worker has recorded it, which was also planned here.
        """

    def say(self, sentence: str, style: str | None = None) -> None:
        """A sentence for a person, in a style of rich."""


@dataclass(frozen=True)
class Settings:
    """How to work through a matrix."""

    work: Path  # where run folders go
    parallel: int = 1  # number of simultaneous processes
    threads: int | None = None  # CPU threads of each process; None leaves them to torch
    force: bool = False  # whether to train runs again that were recorded before the bench was made
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
        self._stop = StopRequests("Stopping the runs in progress, which save first.")
        self._records = threading.Lock()  # held by the thread that reads or writes records
        if settings.force:
            ledger.set_aside(ledger.runs)

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
        if self.settings.retry:
            recorded = [
                run for job in jobs if (run := self._recorded(job)) is not None and run.record.status == "failed"
            ]
            # Divergence is a result of the study: retrying would give only that row a second chance.
            self.ledger.set_aside(run for run in recorded if run.record.has_crashed or not self.settings.any_hardware)
        known = {job: self._up_to_date(run) for job in jobs if (run := self._recorded(job)) is not None}
        changed: dict[tuple[str, str], dict[str, None]] = {}  # labels of jobs, by a plugin's versions then and now
        for job, run in known.items():
            plugins = run.record.plugins
            for name, now in changed_plugins({"plugins": plugins}, job.recipe, self.zoo).items():
                changed.setdefault((plugins.get(name, "none"), now), {})[job.label] = None
        for (then, now), labels in changed.items():
            logger.warning(
                "Trained with %s, but %s is installed (--force trains again): %s", then, now, "; ".join(labels)
            )
        todo = [job for job in jobs if job not in known]
        lacking = [job for job, run in known.items() if _missing(job, run)]
        self.watcher.planned(todo, list(known.values()), lacking)
        runs = dict(known)
        self._work([*todo, *lacking], runs)
        self.unscored += [job for job, run in runs.items() if _missing(job, run)]
        return [runs[job] for job in jobs if job in runs]

    def _recorded(self, job: Job) -> ScoredRun | None:
        """The newest run of a job: on this hardware, or on any if that counts or its weights are here."""
        run = self.ledger.find(*job.key, hardware_in_words(_environment(job.recipe.train.device)))
        if (run is None or run.record.has_crashed) and (other := self.ledger.find(*job.key)) is not None:
            # A run that crashed elsewhere, without enough memory or its dataset, may well succeed here.
            counts = self.settings.any_hardware and not other.record.has_crashed
            return other if counts or (run is None and self._folders(other.record)) else run
        return run

    def _up_to_date(self, run: ScoredRun) -> ScoredRun:
        """The run with the scores that ``ganzoo eval`` has since added to its folders. Also keeps its weights."""
        record, weights = run.record, self.settings.weights
        if record.status != "done":
            return run
        try:
            for folder in (folders := self._folders(record)):
                run = self.ledger.add_scores(run, folder.scores())
            if folders and weights is not None and folders[0].path == record.folder(self.settings.work):
                keep_weights(folders[0], record, weights)
        except (GanzooError, OSError) as error:  # the record is intact, and other jobs are not affected
            logger.warning(
                "%s, seed %s, is recorded, but not all of it was kept: %s", record.recipe, record.seed, error
            )
        return run

    def _folders(self, record: RunRecord) -> list[RunFolder]:
        """The folders with a run's weights, as far as they exist: the kept copy, then the one it was trained in."""
        weights, work = self.settings.weights, self.settings.work
        places = [*([kept_folder(record, weights)] if weights else ()), record.folder(work)]
        return [folder for place in places if (folder := run_of(record, place)) is not None]

    def _work(self, jobs: Sequence[Job], runs: dict[Job, ScoredRun]) -> None:
        """Add the runs of jobs, each made by a thread; of those that other workers have claimed, once they are done."""
        left, waited_for = list(jobs), 0
        with self._stop, ThreadPool(self.settings.parallel) as pool:
            while left and not self._stop.received:
                left = [job for job in pool.imap_unordered(partial(self._do, runs=runs), left) if job is not None]
                if left:
                    if len(left) != waited_for:
                        last = f"other workers with the last {len(left)} jobs" if len(left) > 1 else "another worker"
                        self.watcher.say(f"Waiting for {last}")
                    waited_for = len(left)
                    time.sleep(WAIT_SECONDS)
        if self._stop.received:
            raise self._stop.error("Stopped, and saved.", "Resume with the same command.")

    def _do(self, job: Job, runs: dict[Job, ScoredRun]) -> Job | None:
        """Train a job unless it is recorded, and score it by what it lacks; returns it if another worker claims it."""
        with suppress(Timeout), self.ledger.claim(job.digest, job.seed):
            if self._stop.received:
                return None
            with self._records:
                self.ledger.refresh()
                run = self._recorded(job)
            if run is None:
                run = self._train(job)
            elif job not in runs:
                self.watcher.ended(job, run, elsewhere=True)
            # Also a run of another worker, or one that was started for fewer metrics or another number of samples.
            if run is not None and (missing := _missing(job, run)) and not self._stop.received:
                run = self._score(job, run, missing)
            if run is not None:
                runs[job] = run
            return None
        return job

    def _train(self, job: Job) -> ScoredRun | None:
        """Train a job and record it; returns None if it was stopped."""
        folder, run = job.folder(self.settings.work), None
        if self.settings.force:
            with lock(folder):
                before = opened(folder)
                # A run that another --force command has restarted is resumed.
                if before is None or any(before.info.get("started") == started for _, started in self.ledger.aside):
                    shutil.rmtree(folder, ignore_errors=True)
        self.watcher.began(job)
        command = [*job.arguments, *self.settings.extra, "--out", str(folder), "--continue"]
        outcome = self._child("run", job, folder, command)
        if outcome is not None:
            with self._records:
                made_on = _environment(job.recipe.train.device)
                record, scores, recipe = collect(job, folder, *outcome, made_on, self.zoo)
                run = self._up_to_date(self.ledger.append(record, scores, final_picture(folder), recipe))
        self.watcher.ended(job, run)
        return run

    def _score(self, job: Job, run: ScoredRun, missing: Sequence[str]) -> ScoredRun | None:
        """Score a run's kept weights by the metrics that it lacks; returns None if that was stopped."""
        kept = next(iter(self._folders(run.record)), None)
        if kept is None:
            option = "--work" if self.settings.weights is None else "--weights-dir"
            self.watcher.say(
                f"{job.label}: Cannot score {', '.join(missing)}: the weights were not kept (no such run in "
                f"{job.folder(self.settings.work)}). Point {option} to where they are, or train again with --force.",
                "red",
            )
            return run
        places = [*filter(None, (self.settings.weights, self.settings.work))]
        _refuse_links_beside(kept.path, next(place for place in places if kept.path.is_relative_to(place)))
        command = [str(kept.path), *(word for name in missing for word in ("--metric", name))]
        command += ["--samples", str(job.recipe.evaluate.samples), "--device", job.recipe.train.device, "--json"]
        # `ganzoo eval` uses no trackers.
        command += [word for word in self.settings.extra if word != "--allow-trackers"]
        outcome = self._child("eval", job, kept.path, command)
        if outcome is None:
            return None
        with self._records:
            run = self._up_to_date(run)
        if outcome[0] or (missing := _missing(job, run)):
            reason = outcome[0] or f"No finite score of {', '.join(missing)}."
            self.watcher.say(f"{job.label}: {reason}", "red")
        else:
            self.watcher.ended(job, run)
        return run

    def _child(
        self, verb: Literal["run", "eval"], job: Job, folder: Path, command: Sequence[str]
    ) -> tuple[str | None, float] | None:
        """Train or score in a run folder, in a process of its own; returns None if that was stopped, and has saved.

        Otherwise returns what went wrong, in a sentence or None, and the seconds from its start to its end.

        It has its own process group: its exit ends no other process, and Ctrl-C does not reach it.
        """
        log = folder.with_name(f"{folder.name}{LOGS[verb]}")
        log.parent.mkdir(parents=True, exist_ok=True)
        threads = self.settings.threads
        variables = dict.fromkeys(VARIABLES, str(threads)) if threads else {}
        began = time.monotonic()
        with ExitStack() as held, log.open("wb") as output:
            if job.recipe.train.device in ("auto", "cuda") and (gpus := visible_gpus()):
                variables["CUDA_VISIBLE_DEVICES"] = take_gpu(gpus, cache_folder("gpus"), held)
            child = held.enter_context(
                subprocess.Popen(  # noqa: S603
                    child_python("ganzoo_studies.worker", str(folder), verb, *command),
                    stdin=subprocess.PIPE,  # stays open as long as this process lives
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **variables},
                    start_new_session=True,
                )
            )
            while child.poll() is None and not self._stop.received:
                if verb == "run":
                    self.watcher.advanced(job, images_shown(folder))
                time.sleep(POLL_SECONDS)
            if self._stop.received:
                child.send_signal(self._stop.received)  # once: a second signal would keep it from saving
            code = child.wait()
        if code and (self._stop.received or code in STOP_CODES):
            return None
        error = None
        if code == -signal.SIGKILL:
            error = "The process was killed, probably because the system ran out of memory."
        elif code:
            lines = log.read_text("utf-8", errors="replace").strip().splitlines()
            error = lines[-1].strip() if lines else f"The process ended with exit code {code} and no message."
        return error, time.monotonic() - began


def _refuse_links_beside(folder: Path, place: Path) -> None:
    """Raise if a run folder below ``place``, its lock or one of its logs is a link: a child writes to all of them."""
    for ending in ("", ".lock", *LOGS.values()):
        refuse_links(folder.with_name(f"{folder.name}{ending}"), place)


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
