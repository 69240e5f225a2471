"""Trainings, and the command line, on a CUDA device with values; where there is a compiler to build it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ganzoo.runs.folder import RunFolder

SIMULATED = Path(__file__).with_name("simulated_device.py")
_spec = importlib.util.spec_from_file_location("simulated_device", SIMULATED)
simulated = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(simulated)

pytestmark = [
    pytest.mark.full,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++, which builds the simulated device"),
    pytest.mark.skipif(torch.backends.cuda.is_built(), reason="this build of torch has a CUDA of its own"),
]
FAULTS = {
    "cpu-tensor": "Expected all tensors to be on the same device",
    "host-read": "a step waits for the device",
    "copy": "a step copies to it",
    "lost-state": "other bits after a restore",
}
BATCH, HALF, WHOLE = 16, 320, 640
TINY = (
    "networks.generator.hidden=[16]",
    "networks.discriminator.hidden=[16]",
    "optimizers.default.lr=1e-3",  # a schedule would depend on the length, which resuming changes
    f"train.batch_size={BATCH}",
    f"train.log_every={BATCH}",
    "train.precision=fp32",
    "train.checkpoint_seconds=0",
    "evaluate.metrics=[]",
    "evaluate.samples=16",
)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    try:
        return simulated.build(tmp_path_factory.mktemp("simulated"))
    except subprocess.CalledProcessError as error:
        pytest.fail(error.stderr.decode())


def on_it(library, *words, **environment):
    """A command on the simulated device, or on the CPU without a library."""
    start = [str(SIMULATED), str(library)] if library else ["-m", "ganzoo"]
    words = words if library else words[1:]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "400", **environment}
    return subprocess.run(
        [sys.executable, *start, *map(str, words)], capture_output=True, text=True, check=False, env=env
    )


def train(library, folder, images, *more, **environment):
    settings = [word for one in (*TINY, f"train.images={images}", *more) for word in ("--set", one)]
    done = on_it(library, "ganzoo", "run", "vanilla-mnist", *settings, "--out", folder, **environment)
    assert done.returncode == 0, done.stderr
    return done.stderr


def go_on(library, folder, *words, **environment):
    done = on_it(library, "ganzoo", "run", "--resume", folder, "--set", f"train.images={WHOLE}", *words, **environment)
    assert done.returncode == 0, done.stderr
    return done.stderr


def different(one, other):
    one, other = (RunFolder.open(run).checkpoint() for run in (one, other))
    assert one.state["images"] == other.state["images"] == WHOLE
    return [name for name, value in one.tensors.items() if not torch.equal(value, other.tensors[name])]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(library, fault):
    done = on_it(library, "zoo", "vanilla-mnist", "--plant", fault)
    (ways,) = json.loads(done.stdout.splitlines()[-1])["recipes"].values()
    assert any(FAULTS[fault] in problem for problem in ways["fp32 eager"]), ways
    # A graph cannot hold the read; of the others, copies that a graph repeats are not counted.
    assert bool(ways["bf16 cudagraph"]) == (fault != "copy"), ways


@pytest.fixture(scope="module")
def unbroken(library, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    train(library, folder, WHOLE)
    return folder


def test_auto_takes_the_gpu_and_a_run_says_so(unbroken):
    environment = RunFolder.open(unbroken).info["environment"]
    assert (environment["device"], environment["gpu"]) == ("cuda", "a simulated GPU")


LITTLE = {simulated.FREE: "1000"}


@pytest.mark.parametrize(("first", "then"), [({}, LITTLE), (LITTLE, {})], ids=["resident-first", "streamed-first"])
def test_a_run_goes_on_to_the_same_bits_wherever_its_dataset_is(library, unbroken, tmp_path, first, then):
    begun = train(library, tmp_path / "run", HALF, **first)
    assert ("Streaming dataset" in begun) is bool(first)
    said = go_on(library, tmp_path / "run", **then)
    assert ("Streaming dataset" in said) is bool(then)
    assert "differ" not in said
    assert different(tmp_path / "run", unbroken) == []


def test_a_captured_run_resumes_to_the_same_bits(library, tmp_path):
    for folder, images in (("whole", WHOLE), ("half", HALF)):
        train(library, tmp_path / folder, images, "train.engine=cudagraph")
    go_on(library, tmp_path / "half")
    assert RunFolder.open(tmp_path / "half").info["engine"] == "cudagraph"
    assert different(tmp_path / "half", tmp_path / "whole") == []


def test_a_run_begun_on_a_cpu_goes_on_on_a_gpu_and_back_with_a_sentence(library, unbroken, tmp_path):
    run = tmp_path / "run"
    train(None, run, HALF)
    said = go_on(library, run)
    assert "Resuming on a simulated GPU; the run began on " in said
    checkpoint = RunFolder.open(run).checkpoint()
    assert checkpoint.tensors["random.cuda"].shape == checkpoint.tensors["latents"].shape == (16,)
    # The order of batches is the same on both.
    assert {name for name in different(run, unbroken) if name.startswith("sampler")} == set()
    said = go_on(library, run, "--device", "cpu", "--set", f"train.images={WHOLE + HALF}")
    assert "; it last trained on a simulated GPU, so the weights may differ in their bits" in said
    assert RunFolder.open(run).info["environment"]["device"] == "cpu"


def test_a_capture_that_breaks_off_ends_the_run_and_leaves_no_stream_capturing(library, tmp_path):
    settings = [word for one in (*TINY, f"train.images={HALF}", "train.engine=cudagraph") for word in ("--set", one)]
    done = on_it(library, "ganzoo", "run", "vanilla-mnist", *settings, "--out", tmp_path, **{simulated.BREAK: "1"})
    assert done.returncode == 1
    assert "Capturing the phase 'discriminator and generator' as a CUDA graph failed" in done.stderr
    assert "train.engine=eager" in done.stderr
    assert "Traceback" not in done.stderr
    assert "current stream: default" in done.stderr
    assert RunFolder.open(tmp_path).info["status"] == "failed"
    go_on(library, tmp_path, "--set", "train.engine=eager")
    assert RunFolder.open(tmp_path).info["status"] == "done"


def test_tf32_trains_on_it_and_goes_on_in_fp32_on_a_cpu(library, tmp_path):
    train(library, tmp_path / "run", HALF, "train.precision=tf32")
    assert RunFolder.open(tmp_path / "run").info["precision"] == "tf32"
    go_on(library, tmp_path / "run", "--device", "cpu")
    assert RunFolder.open(tmp_path / "run").info["precision"] == "fp32"


def test_a_deterministic_run_has_its_workspace_and_two_are_alike(library, tmp_path):
    for folder in ("one", "two"):
        train(library, tmp_path / folder, WHOLE, "train.deterministic=true", CUBLAS_WORKSPACE_CONFIG=":16:8")
    assert different(tmp_path / "one", tmp_path / "two") == []


def test_auto_measures_engines_takes_the_steps_back_and_is_kept_on_resume(library, tmp_path):
    """Which engine wins here says nothing of a card; whichever it is, the run is that engine's to the bit."""
    long, sparse = 200 * BATCH, f"train.log_every={100 * BATCH}"
    said = train(library, tmp_path / "auto", long, sparse)
    info = RunFolder.open(tmp_path / "auto").info
    chosen = info["engine"]
    assert f"Engine {chosen}: a step takes " in said
    assert chosen == info["engine_choice"]["engine"]
    assert set(info["engine_choice"]["milliseconds_a_step"]) == {"eager", "cudagraph"}
    said = go_on(library, tmp_path / "auto", "--set", f"train.images={2 * long}")
    assert "Engine " not in said
    assert RunFolder.open(tmp_path / "auto").info["engine"] == chosen
    train(library, tmp_path / "named", long, sparse, f"train.engine={chosen}")
    go_on(library, tmp_path / "named", "--set", f"train.images={2 * long}")
    one, other = (RunFolder.open(tmp_path / name).checkpoint() for name in ("auto", "named"))
    assert [name for name, value in one.tensors.items() if not torch.equal(value, other.tensors[name])] == []
    said = go_on(library, tmp_path / "auto", "--device", "cpu", "--set", f"train.images={2 * long + BATCH}")
    assert RunFolder.open(tmp_path / "auto").info["engine"] == "eager"


def test_auto_goes_on_eagerly_where_a_capture_breaks_off(library, tmp_path):
    sparse = f"train.log_every={100 * BATCH}"
    said = train(library, tmp_path / "run", 200 * BATCH, sparse, **{simulated.BREAK: "1"})
    assert "Engine eager: a step takes " in said
    assert "Not cudagraph: Capturing the phase 'discriminator and generator' as a CUDA graph failed" in said
    assert "current stream: default" in said
    info = RunFolder.open(tmp_path / "run").info
    assert (info["status"], info["engine"]) == ("done", "eager")
    assert "failed" in info["engine_choice"]["left_out"]["cudagraph"]
