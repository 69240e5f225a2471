"""Two real processes on gloo: they train like one process, only one of them writes, and both end."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest
import torch

from ganzoo import load
from ganzoo.api.dataset import Images
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import TrainConfig
from ganzoo.errors import GanzooError, RunError, Terminated
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.registry.loading import load_zoo
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.loop import Callbacks, TrainingLoop
from ganzoo.runs.start import start
from ganzoo.training.distributed import ALONE, Processes, ProcessLost, in_contact

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # longer than all of one test's waits together

STEPS, BATCH = 20, 32
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
RUN = ("-m", "ganzoo", "run")
TINY = [
    "networks.generator.hidden=[16, 16]",
    "networks.generator.norm=none",  # statistics of part of a batch differ from those of the whole
    "networks.discriminator.hidden=[16]",
    "optimizers.default={name: adam, lr: 2e-4, betas: [0.5, 0.999]}",  # higher rates amplify rounding beyond tolerances
    "train.precision=fp32",
    "train.engine=eager",
    f"train.batch_size={BATCH}",
    f"train.images={STEPS * BATCH}",
    f"train.log_every={5 * BATCH}",
    "evaluate={metrics: [], samples: 20}",
]


@contextmanager
def torchrun(*program, **environment):
    process = subprocess.Popen(
        [sys.executable, *LAUNCHER, *program],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # Each rank has its own session, which only the launcher knows; it ends them within half a minute.
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def settings(*overrides):
    return [part for override in (*TINY, *overrides) for part in ("--set", override)]


def ended(process):
    _, told = process.communicate(timeout=250)
    return process.returncode, told


def ran(*program, **environment):
    with torchrun(*program, **environment) as process:
        return ended(process)


def two(folder, *overrides):
    code, told = ran(*RUN, "vanilla-mnist", *settings(*overrides), "--out", str(folder))
    assert code == 0, told
    return RunFolder.open(folder)


def assert_close(first, second):
    """Weights, averages and optimizers agree within rounding, sampler and latents to the bit."""
    found, expected = (run.checkpoint().tensors for run in (first, second))
    assert found.keys() - expected.keys() == {"ranks.1.random.cpu"}
    for name, value in expected.items():
        if name.startswith(("networks.", "ema.", "optimizers.")):
            torch.testing.assert_close(found[name], value, atol=2e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
        elif name.startswith(("sampler", "latents")):
            assert torch.equal(found[name], value), name


LAUNCHED = """
import json, os, shutil, socket, sys
from pathlib import Path
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from ganzoo import cli
from ganzoo.evaluation.features import extract
from ganzoo.evaluation.requests import find_extractor
from ganzoo.evaluation.sampling import draw
from ganzoo.registry.loading import load_zoo
from ganzoo.config.loading import load_recipe
from ganzoo.training.distributed import joined
from ganzoo.training.trainer import Trainer

class Gathered(TorchDispatchMode):
    rows = 0
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if function.overloadpacket is torch.ops.aten.index_select and found.dim() == 4:
            self.rows += len(found)
        return found

def threads():
    return {path.read_text() for path in Path("/proc/self/task").glob("*/comm")}

def free_port():
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]

def ganzoo(port, *words):
    # The launcher's store keeps the addresses of an earlier group, so each other group has a store of its own.
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "False", "MASTER_PORT": str(port)}
    sys.argv = ["ganzoo", *words]
    try:
        cli.main()
    except SystemExit as left:
        assert not left.code, left.code

torch.set_num_threads(1)
zoo = load_zoo()
recipe = load_recipe("stylegan2-mnist", zoo, ["train.batch_size=8"])  # draws noise of its own
dataset = zoo.datasets.get("mnist").create("train", None)
cpu = torch.device("cpu")
batch = 8
n = 2 * batch + 3
with joined() as processes:
    trainer = Trainer(recipe, zoo, dataset=dataset, processes=processes)
    generate, sizes = trainer.objective.generate, []
    trainer.objective.generate = lambda networks, z, label: (sizes.append(len(z)), generate(networks, z, label))[1]
    networks = trainer.sampling_networks("raw")
    part = processes.rank, processes.size
    odd = (torch.arange(6.).view(2, 3) + processes.rank).t()  # not dense in the order of its memory
    processes.all_reduce_mean([odd])
    assert torch.equal(odd, torch.arange(6.).view(2, 3).t() + 0.5), odd
    images, _ = draw(trainer.objective, networks, n, seed=0, device=cpu, batch_size=batch, part=part)
    assert sizes == ([batch, 3] if processes.is_main else [batch]), sizes
    processes.all_reduce_sum(images)
    reader = find_extractor("mnist-cnn", zoo)
    seen = extract("mnist-cnn", reader, images, cpu, batch, part)
    processes.all_reduce_sum(seen.values)
    processes.all_reduce_sum(seen.logits)
    alone, _ = draw(trainer.objective, networks, n, seed=0, device=cpu, batch_size=batch)
    assert torch.equal(images, alone)
    wanted = extract("mnist-cnn", reader, alone, cpu, batch)
    assert torch.equal(seen.values, wanted.values)
    assert torch.equal(seen.logits, wanted.logits)

    # Each process gathers its own rows of a batch alone.
    small = ["train.batch_size=32", "train.device=cpu", "networks.generator.norm=none"]
    trainer = Trainer(load_recipe("vanilla-mnist", zoo, small), zoo, dataset=dataset, processes=processes)
    with Gathered() as gathered:
        trainer.step()
    assert gathered.rows == 16, gathered.rows
    own = json.dumps([free_port(), free_port()]).encode() if processes.is_main else b""
    first, second = json.loads(processes.broadcast_bytes(own))
    during = threads()
folder, half, rest = json.loads(sys.argv[1])
ganzoo(first, "run", "vanilla-mnist", *half, "--out", folder)
if processes.is_main:
    shutil.copytree(folder, f"{folder}-half")
ganzoo(second, "run", "--resume", folder, *rest)
# A thread of the group that outlives it aborts its process at times, where it lets go of a tensor while the interpreter
# ends.
if during:
    # torch 2.8 gives its threads no names, and the next line nothing to find.
    assert any("gloo" in name for name in during) or torch.__version__.startswith("2.8."), during
    assert not any("gloo" in name for name in threads()), threads()
"""
NORM = "networks.generator.norm=batch"  # across both processes, which must equal that of one


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """What two processes do in one launch: exchanges, then half a run, copied, and its other half."""
    place = tmp_path_factory.mktemp("launched")
    shared = (NORM, "train.sync_batch_norm=true", "evaluate={metrics: [fid@mnist-cnn], samples: 600}")
    half = settings(f"train.images={STEPS // 2 * BATCH}", *shared)
    rest = ["--set", f"train.images={STEPS * BATCH}"]
    (place / "launched.py").write_text(LAUNCHED)
    code, told = ran(str(place / "launched.py"), json.dumps([str(place / "run"), half, rest]))
    return SimpleNamespace(code=code, told=told, half=place / "run-half", run=place / "run")


def test_samples_features_and_rows_are_shared_and_no_thread_of_the_group_outlives_it(launched):
    assert launched.code == 0, launched.told


def test_two_processes_compute_the_scores_of_one(launched):
    half = RunFolder.open(launched.half)
    assert half.info["processes"] == 2
    found = {score["weights"]: score["value"] for score in half.scores()}
    assert set(found) == {"ema", "raw"}
    assert len(half.scores()) == 2
    zoo = load_zoo()
    generator = load(half.path)
    evaluator = Evaluator(["fid@mnist-cnn"], zoo.datasets.get("mnist"), {}, None, zoo, torch.device("cpu"))
    for weights, value in found.items():
        images = generator.sample(600, seed=0, weights=weights)
        (again,) = evaluator.score(images, sample_seed=0, weights=weights, interval=False)
        assert again.value == pytest.approx(value, rel=1e-6)  # sums over another number of threads


def test_two_processes_train_and_resume_like_one_with_the_same_batch(launched, tmp_path):
    zoo = load_zoo()
    whole = start(load_recipe("vanilla-mnist", zoo, [*TINY, NORM]), zoo, tmp_path / "one")
    resumed = RunFolder.open(launched.run)
    assert_close(resumed, whole)
    seen = resumed.checkpoint().tensors
    assert not torch.equal(seen["random.cpu"], seen["ranks.1.random.cpu"])
    assert any("running_var" in name for name in seen)
    assert {path.name for path in launched.run.parent.iterdir()} == {"launched.py", "run", "run-half"}
    kinds = [event["event"] for event in resumed.events()]
    assert kinds.count("start") == kinds.count("resume") == 1
    logged, expected = ([e for e in run.events() if e["event"] == "train"] for run in (resumed, whole))
    assert [e["images"] for e in logged] == [e["images"] for e in expected]
    for ours, theirs in zip(logged, expected, strict=True):
        assert ours["discriminator.loss"] == pytest.approx(theirs["discriminator.loss"], abs=1e-4)


@pytest.mark.full
def test_phases_that_share_fakes_train_with_batch_normalisation(tmp_path):
    """Buffers are averaged only once no backward pass needs their old values."""
    run = two(tmp_path / "two", "networks.generator.norm=batch", "train.share_fakes=true")
    assert (run.info["status"], run.info["images"]) == ("done", STEPS * BATCH)


BROKEN = """
import os
from ganzoo import AdversarialLoss, hookimpl

class Broken(AdversarialLoss):
    def discriminator(self, real, fake):
        if os.environ.get("RANK") == "1":
            raise ValueError("the second process is out of luck")
        return fake.mean() - real.mean()

    def generator(self, real, fake):
        return -fake.mean()

@hookimpl
def register_losses(register):
    register("broken", Broken, summary="Fails in the second process")
"""


@pytest.mark.full
def test_a_failing_process_ends_all_with_its_message(tmp_path):
    site = tmp_path / "site"
    described = site / "broken-1.0.dist-info"
    described.mkdir(parents=True)
    (site / "broken.py").write_text(BROKEN)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[ganzoo]\nbroken = broken\n")
    folder = tmp_path / "run"
    code, told = ran(*RUN, "vanilla-mnist", *settings("loss=broken"), "--out", str(folder), PYTHONPATH=str(site))
    assert code == 1
    assert "the second process is out of luck" in told
    assert RunFolder.open(folder).info["status"] != "done"


@pytest.mark.full
def test_sigterm_to_the_launcher_saves(tmp_path):
    folder = tmp_path / "run"
    endless = settings("train.images=100000000")
    with torchrun(*RUN, "vanilla-mnist", *endless, "--out", str(folder)) as process:
        deadline = time.monotonic() + 200
        while not (folder / "events.jsonl").exists() or '"train"' not in (folder / "events.jsonl").read_text():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        code, told = ended(process)
    assert code != 0
    run = RunFolder.open(folder)
    assert run.info["status"] == "interrupted", told
    assert told.count("and saved.") == 1


class Interrupted(Processes):
    """Two processes, from the view of one that gets SIGTERM during their first exchange."""

    asked = 0

    def all_reduce_max(self, numbers):
        Interrupted.asked += 1
        if Interrupted.asked == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return list(numbers)


class Steps(TrainingLoop):
    """A loop whose steps do nothing."""

    def _nothing(self, *given, **facts):
        pass

    _draw_grid = _evaluate = _log_event = _log_means = _save = _nothing

    def _crossed(self, every):
        return False


@pytest.mark.parametrize(("seconds", "steps"), [(0.5, 8), (2.0, 2)])
def test_a_signal_during_an_exchange_is_handled_at_the_next_one(monkeypatch, seconds, steps):
    """That is the next step if steps are slow, because torchrun kills after half a minute."""
    monkeypatch.setattr(Interrupted, "asked", 0)
    clock = SimpleNamespace(now=0.0, monotonic=time.monotonic, perf_counter=lambda: clock.now)
    monkeypatch.setattr("ganzoo.runs.loop.time", clock)
    recipe = load_recipe("vanilla-mnist", load_zoo())
    trainer = SimpleNamespace(processes=Interrupted(0, 2), steps=0, total_steps=100, images=0, recipe=recipe)

    def step():
        trainer.steps += 1
        clock.now += seconds

    trainer.step = step
    trainer.objective = SimpleNamespace(spec=SimpleNamespace(modality=Images(1, 28, 28)))
    threads = SimpleNamespace(after_step=lambda seconds: None)
    with pytest.raises(Terminated):
        Steps(None, {}, None, trainer, threads, Callbacks()).train()
    assert (Interrupted.asked, trainer.steps) == (2, steps)


@pytest.fixture
def four_gpus(monkeypatch):
    """Fakes the GPUs that the choice of a device asks about, and records which one it makes current."""
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    return taken


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_each_process_selects_its_own_gpu_before_touching_any(four_gpus, monkeypatch, name):
    """On this machine nothing can be put on a GPU, so touching one first would fail."""
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert Processes(11, 16).device(TrainConfig(images=128, device=name)) == torch.device("cuda", 3)
    assert four_gpus == [3]


def test_more_processes_than_gpus_and_one_gpu_for_all_are_refused(four_gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "4")
    with pytest.raises(GanzooError, match="has 4 GPUs, so none is left for its process 5.*--nproc-per-node 4"):
        Processes(4, 8).device(TrainConfig(images=128, device="auto"))
    with pytest.raises(GanzooError, match="All 8 processes would train on cuda:0"):
        Processes(4, 8).device(TrainConfig(images=128, device="cuda:0"))
    assert Processes(4, 8).device(TrainConfig(images=128, device="cpu")) == torch.device("cpu")
    assert four_gpus == []


def test_every_row_of_a_batch_is_seen_by_one_process():
    rows = list(range(12))
    assert [row for rank in range(3) for row in rows[Processes(rank, 3).rows(12)]] == rows
    with pytest.raises(GanzooError, match="batch_size 10 cannot be divided equally among 3 processes"):
        Processes(0, 3).rows(10)


def test_a_single_process_exchanges_nothing():
    value = torch.tensor([1.0, 2.0])
    ALONE.all_reduce_mean([value])
    ALONE.broadcast([value])
    assert value.tolist() == [1.0, 2.0]
    assert ALONE.all_reduce_max([3.0]) == [3.0]
    assert ALONE.broadcast_bytes(b"words") == b"words"


def test_a_lost_process_is_distinguished_from_other_errors():
    with pytest.raises(ProcessLost, match="Another process"), in_contact():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shape"), in_contact():
        raise RuntimeError("shape '[2]' is invalid")
    assert issubclass(ProcessLost, RunError)
