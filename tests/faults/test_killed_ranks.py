"""One of two processes of a training is killed, ten times at random moments: it can be resumed, to the same bits."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from ganzoo.runs.folder import RunFolder

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]

KILLS, IMAGES = 10, 64_000
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "ganzoo"]
SETTINGS = [
    "networks.generator.hidden=[8]",
    "networks.discriminator.hidden=[8]",
    "train.batch_size=32",
    f"train.images={IMAGES}",
    "train.log_every=640",
    "train.checkpoint_seconds=0",
    "train.threads=1",
    "train.precision=fp32",
    "train.device=cpu",
    "evaluate.every_images=16000",
    "evaluate.samples=200",
]
START = ["run", "vanilla-ring", *(word for override in SETTINGS for word in ("--set", override)), "--out"]


def torchrun(*words):
    return subprocess.Popen([*TORCHRUN, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    told, _ = process.communicate(timeout=300)
    return process.returncode, told


def kill_when(process, rank, run, images, delay):
    """Kill a rank a moment after the run has shown so many images, or while it starts where it has already."""
    deadline, victim = time.monotonic() + 200, None
    while victim is None or not (run / "run.json").exists() or shown(run) < images:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
        victim = victim or pid_of(rank, process.pid)
    time.sleep(delay)
    os.kill(victim, signal.SIGKILL)


def pid_of(rank, launcher):
    """The process that the launcher gave this rank; None where it has not yet."""
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        with suppress(OSError):
            if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                return int(child)
    return None


def shown(run):
    return max((event["images"] for event in RunFolder.open(run).events()), default=0)


def outcome(run):
    opened = RunFolder.open(run)
    events = opened.events()
    return {
        "status": opened.info["status"],
        "train events": [event["images"] for event in events if event["event"] == "train"],
        "score events": [(e["images"], e["metric"], e["weights"]) for e in events if e["event"] == "score"],
        "scores": [(one["images"], one["metric"], one["weights"], one["value"]) for one in opened.scores()],
        "files": sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()),
        "pictures": {path.name: path.read_bytes() for path in (run / "samples").iterdir()},
    }


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ranks are looked up in /proc")
def test_a_training_whose_ranks_are_killed_ten_times_ends_as_one_that_was_left_alone(tmp_path):
    code, told = finish(torchrun(*START, tmp_path / "whole"))
    assert code == 0, told
    dice, run = random.Random(0), tmp_path / "killed"
    moments = sorted(dice.randrange(IMAGES * 8 // 10) for _ in range(KILLS))
    ranks = dice.sample([0, 1] * (KILLS // 2), KILLS)
    statuses = []
    for kill, (images, rank) in enumerate(zip(moments, ranks, strict=True)):
        process = torchrun(*START, run) if kill == 0 else torchrun("run", "--resume", run)
        kill_when(process, rank, run, images, dice.uniform(0, 0.1))
        code, told = finish(process)
        assert code != 0, (kill, rank, told)
        statuses.append(RunFolder.open(run).info["status"])
        # The main process says that it lost another; of its own death it can say nothing, but its lock is gone.
        assert statuses[-1] in ("failed", "killed", "interrupted"), (kill, rank, told)
    code, told = finish(torchrun("run", "--resume", run))
    assert code == 0, told
    assert outcome(run) == outcome(tmp_path / "whole"), statuses
    found, expected = (RunFolder.open(one).checkpoint().tensors for one in (run, tmp_path / "whole"))
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []
