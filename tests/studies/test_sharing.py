"""Several workers on one results folder: each run once, and what a dead worker left is taken over."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter

import pytest

from ganzoo.cli.bench import part_of
from ganzoo.errors import GanzooError
from ganzoo.files import read_lines
from ganzoo.studies.records import Ledger
from ganzoo.studies.worker import Gpu, visible_gpus

TINY = [
    "networks.generator.hidden=[8]",
    "networks.discriminator.hidden=[8]",
    "train.batch_size=64",
    "train.images=6400",
    "train.precision=fp32",
    "train.threads=1",
    "evaluate.samples=200",
]


def worker(folder, *options):
    words = [word for override in TINY for word in ("--set", override)]
    seeds = [word for seed in range(4) for word in ("--seed", str(seed))]
    places = ["--results", str(folder / "results"), "--work", str(folder / "work")]
    command = [sys.executable, "-m", "ganzoo", "bench", "vanilla-ring", *words, *seeds, *places, *options]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.slow
def test_workers_share_a_matrix_and_one_that_is_killed_loses_and_doubles_nothing(tmp_path):
    first, second, third = (worker(tmp_path) for _ in range(3))
    (tmp_path / "results").mkdir(exist_ok=True)
    while not list(tmp_path.glob("work/*/*/seed-*/run.json")):
        assert second.poll() is None
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    for process in (second, third):
        _, told = process.communicate(timeout=280)
        assert process.returncode == 0, told
        assert "4 of 4 done, 0 failed" in told
    lines = read_lines(tmp_path / "results" / "runs.jsonl")
    assert Counter(line["seed"] for line in lines) == {0: 1, 1: 1, 2: 1, 3: 1}
    rows = [json.dumps(row, sort_keys=True) for row in read_lines(tmp_path / "results" / "scores.jsonl")]
    assert len(rows) == len(set(rows))


def test_a_claim_is_held_by_one_and_freed_by_whoever_dies(tmp_path):
    ledger, other = Ledger(tmp_path), Ledger(tmp_path)
    code = (
        "import sys; from pathlib import Path; from ganzoo.studies.records import Ledger; "
        "claim = Ledger(Path(sys.argv[1])).claim('ab', 0); claim.acquire(); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(TimeoutError):
        ledger.claim("ab", 0).acquire()
    with ledger.claim("ab", 1):
        pass
    holder.kill()
    holder.communicate()
    with other.claim("ab", 0), pytest.raises(TimeoutError):
        ledger.claim("ab", 0).acquire()


@pytest.mark.parametrize(("shard", "part"), [(None, [0, 1, 2, 3, 4]), ("1/2", [0, 2, 4]), ("2/2", [1, 3]), ("6/6", [])])
def test_a_shard_is_every_nth_job(shard, part):
    assert part_of(range(5), shard) == part


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"])
def test_a_malformed_shard_is_refused(shard):
    with pytest.raises(GanzooError, match="k/n"):
        part_of(range(5), shard)


def test_each_worker_takes_a_gpu_of_its_own_while_there_are_any(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    names = visible_gpus()
    assert names == ["3", "5"]
    one, two = Gpu.free(names, tmp_path), Gpu.free(names, tmp_path)
    assert [one.name, two.name] == ["3", "5"]
    shared = Gpu.free(names, tmp_path)
    assert shared.name in names
    assert shared.held is None
    one.release()
    assert Gpu.free(names, tmp_path).name == "3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert visible_gpus() == []
