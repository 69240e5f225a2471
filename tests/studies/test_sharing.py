"""Several workers on one results folder: each job runs once, and a dead worker's job is taken over."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, suppress

import pytest

from ganzoo.files import read_lines
from ganzoo_studies.findings import find
from ganzoo_studies.matrix import jobs_of
from ganzoo_studies.records import Ledger
from ganzoo_studies.study import load_study
from ganzoo_studies.worker import Bench, Settings, Watcher, take_gpu, visible_gpus

TINY = [
    "networks.generator.hidden=[8]",
    "networks.discriminator.hidden=[8]",
    "train.batch_size=64",
    "train.images=32000",
    "train.log_every=3200",
    "train.checkpoint_seconds=0",
    "train.precision=fp32",
    "train.threads=1",
    "evaluate.samples=200",
    "evaluate.every_images=null",
]


class Following(Watcher):
    """Remembers which seeds were started here, and does something at the first."""

    def __init__(self, at_first):
        self.begun, self.at_first = [], at_first

    def began(self, job):
        if not self.begun:
            self.at_first()
        self.begun.append(job.seed)


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(900)  # longer than all of its own waits together
def test_workers_share_a_matrix_and_killing_one_loses_and_repeats_nothing(zoo, tmp_path):
    results, work = tmp_path / "results", tmp_path / "work"
    words = [word for override in TINY for word in ("--set", override)]
    command = [sys.executable, "-m", "ganzoo", "bench", "vanilla-ring", *words, "--seed", "0", "--seed", "1"]
    # Slow preparation comes first: the other worker must still be at its first job when ours start.
    jobs = jobs_of(zoo, ["vanilla-ring"], seeds=[0, 1], overrides=TINY)
    following = Following(at_first=lambda: os.killpg(other.pid, signal.SIGKILL))
    bench = Bench(zoo, Ledger(results), Settings(work), following)
    other = subprocess.Popen(
        [*command, "--results", str(results), "--work", str(work)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 240
        while not list(work.glob("*/*/seed-0-*/run.json")):
            assert other.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(other.pid, signal.SIGSTOP)  # it stays in its first job, and keeps its claim, until it is killed
        runs = bench.run(jobs)
        assert other.wait(60) == -signal.SIGKILL
    finally:
        with suppress(ProcessLookupError):
            os.killpg(other.pid, signal.SIGKILL)
    assert following.begun == [1, 0]  # the job that the other had claimed came last, once it was dead
    assert [run.record.status for run in runs] == ["done", "done"]
    assert Counter(line["seed"] for line in read_lines(results / "runs.jsonl")) == {0: 1, 1: 1}
    rows = [json.dumps(row, sort_keys=True) for row in read_lines(results / "scores.jsonl")]
    assert len(rows) == len(set(rows))
    assert {json.loads(row)["seed"] for row in rows} == {0, 1}


def test_a_claim_has_one_holder_whose_death_frees_it(tmp_path):
    ledger, other = Ledger(tmp_path), Ledger(tmp_path)
    claim = ledger.claim("ab", 0)
    code = (
        "import sys; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); "
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, claim.lock_file],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(TimeoutError):
        claim.acquire()
    with ledger.claim("ab", 1):
        pass
    holder.kill()
    holder.communicate()
    with other.claim("ab", 0), pytest.raises(TimeoutError):
        ledger.claim("ab", 0).acquire()


def test_each_worker_takes_its_own_gpu_as_long_as_there_are_any(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    names = visible_gpus()
    assert names == ["3", "5"]
    first, second = ExitStack(), ExitStack()
    assert [take_gpu(names, tmp_path, held) for held in (first, second)] == ["3", "5"]
    with ExitStack() as third:
        assert take_gpu(names, tmp_path, third) in names
        first.close()
        assert take_gpu(names, tmp_path, third) == "3"
    second.close()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert visible_gpus() == []


RING = """\
question: Does a penalty help?
baseline: vanilla-ring
overrides: [train.images=9600, train.batch_size=64, evaluate.samples=300, evaluate.every_images=null]
search:
  optimizers.default.lr: [3e-3, 1e-2]
validation: 500
gates:
  reference: [train.images=76800]
variants:
  r1: ["regularizers=[{name: r1, weight: 1.0}]"]
measures: [kl@ring]
claims:
  - {says: R1 helps., better: r1, on: kl@ring}
"""


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_study_whose_workers_are_killed_in_turn_ends_as_one_worker_alone_would_end_it(zoo, tmp_path):
    """One is killed while it tunes, the other while it trains for the claims; a third begins in between.

    The rows see so few images that more are better on any CPU, as the study's gate asks.
    """
    (tmp_path / "penalty.yaml").write_text(RING)
    started = []

    def worker(name):
        words = ["penalty.yaml", "--results", name, "--work", f"{name}/work", "--weights-dir", f"{name}/weights"]
        command = [sys.executable, "-m", "ganzoo", "study", "run", *words, "--seeds", "5"]
        with (tmp_path / f"{name}.log").open("ab") as log:
            started.append(subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True))
        return started[-1]

    def killed(one, other, at):
        """Kill one of two workers, both still at work, once a condition on the records holds."""
        while not at(read_lines(tmp_path / "shared" / "runs.jsonl")):
            assert (one.poll(), other.poll()) == (None, None)
            time.sleep(0.1)
        os.killpg(one.pid, signal.SIGKILL)
        assert one.wait() == -signal.SIGKILL

    def outcome(name):
        ledger = Ledger(tmp_path / name)
        found = find(load_study(tmp_path / "penalty.yaml", zoo), ledger, zoo)
        scores = sorted((run.record.digest, run.record.seed, run.scores[0]["value"]) for run in ledger.runs)
        won = {place: one.winner.changes for place, one in found.tuned.items()}
        return scores, won, found.all_gates, [one.verdict for one in found.findings]

    try:
        first, second = worker("shared"), worker("shared")
        killed(first, second, at=lambda runs: len(runs) >= 6)
        third = worker("shared")
        killed(second, third, at=lambda runs: any(run["seed"] >= 100 for run in runs))
        assert third.wait() == 0
        assert worker("alone").wait() == 0
    finally:
        for one in started:
            with suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
            one.wait()
    shared = outcome("shared")
    scores, _, gates, (verdict,) = shared
    lines = read_lines(tmp_path / "shared" / "runs.jsonl")
    assert len({(digest, seed) for digest, seed, _ in scores}) == len(scores) == len(lines)
    assert shared == outcome("alone")
    assert [gate.is_passed for gate in gates] == [True] * 2
    assert (verdict.seeds, verdict.interval is None) == (5, False)
    page = (tmp_path / "shared" / "penalty.html").read_text()
    assert all(part in page for part in ("Does a penalty help?", "R1 helps.", "<svg", 'id="claims"', 'id="tuning"'))
    named = {"penalty.yaml", "shared", "shared.log", "alone", "alone.log"}
    assert {
        path.name for path in tmp_path.iterdir()
    } == named  # all that a stranger's study writes is where it was told
    for name in ("runs.jsonl", "scores.jsonl"):  # their order says who was faster
        path = tmp_path / "shared" / name
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert outcome("shared") == shared
