"""TF32, cuDNN and determinism: what is refused, what is set during a step, and that it is undone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ganzoo import AdversarialLoss
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import training_digest
from ganzoo.errors import GanzooError
from ganzoo.registry.loading import load_zoo
from ganzoo.registry.registry import Entry
from ganzoo.training import device as settings
from ganzoo.training.device import WORKSPACE, fix_workspace, numerics
from ganzoo.training.distributed import ALONE
from ganzoo.training.trainer import Trainer

CUDA = torch.device("cuda", 0)
SETTINGS = {
    "deterministic algorithms": torch.are_deterministic_algorithms_enabled,
    "deterministic kernels": lambda: torch.backends.cudnn.deterministic,
    "benchmark": lambda: torch.backends.cudnn.benchmark,
    "TF32 of convolutions": lambda: torch.backends.cudnn.allow_tf32,
    "products": torch.get_float32_matmul_precision,
}


def config(*overrides):
    return load_recipe("vanilla-mnist", load_zoo(), list(overrides)).train


@pytest.mark.parametrize(
    ("overrides", "precision", "inside"),
    [
        ([], "bf16", (False, False, False, False, "highest")),
        ([], "fp32", (False, False, False, False, "highest")),
        ([], "tf32", (False, False, False, True, "high")),
        (["train.cudnn_benchmark=true"], "fp32", (False, False, True, False, "highest")),
        (["train.deterministic=true"], "fp32", (True, True, False, False, "highest")),
    ],
)
def test_settings_hold_during_a_step_on_a_gpu_and_no_longer(overrides, precision, inside):
    before = [read() for read in SETTINGS.values()]
    with numerics(config(*overrides), precision, CUDA):
        assert tuple(read() for read in SETTINGS.values()) == inside
    assert [read() for read in SETTINGS.values()] == before


def test_fp32_on_a_cpu_is_fp32_whatever_the_caller_set():
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with numerics(config(), "fp32", torch.device("cpu")):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_the_choices_are_part_of_a_digest_and_leave_old_digests_unchanged():
    zoo, on, off = load_zoo(), "train.deterministic=true", "train.deterministic=false"
    choices = ([], [on], ["train.cudnn_benchmark=true"], [off])
    digests = [training_digest(load_recipe("vanilla-mnist", zoo, overrides)) for overrides in choices]
    assert digests[0] == digests[3]
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("train.deterministic=true", "train.cudnn_benchmark=true"), "turn one off"),
        (
            ("train.device=cpu", "train.precision=tf32"),
            "train.precision=tf32 is a number format of CUDA GPUs, but this run trains on cpu.",
        ),
    ],
)
def test_settings_that_contradict_are_refused_before_a_folder_is_created(call, tmp_path, settings, words):
    options = [word for setting in settings for word in ("--set", setting)]
    code, _, told = call("run", "vanilla-mnist", *options, "--out", tmp_path / "run")
    assert code == 2
    assert words in " ".join(told.split())
    assert not (tmp_path / "run").exists()


class Puts(AdversarialLoss):
    """Writes to the same place twice."""

    def discriminator(self, real, fake):
        weights = torch.zeros_like(real).put_(torch.tensor([0, 0]), real[:2].detach())
        return fake.mean() - real.mean() + 0 * weights.mean()

    def generator(self, real, fake):
        return -fake.mean()


def test_an_operation_without_a_deterministic_form_is_refused_by_name(mnist, own_zoo):
    own_zoo.losses.add(Entry("loss", "puts", Puts, "Writes to one place twice", "2026", "tests", "tests 0"))
    small = ("loss=puts", "train.batch_size=32", "train.device=cpu")
    free, bound = (
        Trainer(load_recipe("vanilla-mnist", own_zoo, [*small, *more]), own_zoo, dataset=mnist)
        for more in ((), ("train.deterministic=true",))
    )
    free.step()
    with pytest.raises(GanzooError, match="torch has no deterministic 'put_' on cpu.*deterministic=false") as caught:
        bound.step()
    assert caught.value.exit_code == 2


@pytest.fixture
def gpu(monkeypatch):
    """Makes it look, to the code that sets the cuBLAS workspace, as if there were a GPU and CUDA had not started."""
    monkeypatch.setattr(settings.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(settings.torch.cuda, "is_initialized", lambda: False)
    monkeypatch.delenv(WORKSPACE, raising=False)
    return monkeypatch


def test_the_workspace_is_fixed_before_cuda_starts(gpu):
    fix_workspace()
    assert os.environ[WORKSPACE] == ":4096:8"
    gpu.setattr(settings.torch.cuda, "is_initialized", lambda: True)
    fix_workspace()  # set in time, so CUDA may start


def test_deterministic_training_fixes_the_workspace_when_it_chooses_its_device(gpu):
    ALONE.device(config("train.device=cpu"))
    assert WORKSPACE not in os.environ
    ALONE.device(config("train.deterministic=true"))
    assert os.environ[WORKSPACE] == ":4096:8"


def test_a_workspace_set_too_late_or_to_another_value_is_refused(gpu):
    gpu.setattr(settings.torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(GanzooError, match="was not set before CUDA started"):
        fix_workspace()
    gpu.setenv(WORKSPACE, ":0:0")
    with pytest.raises(GanzooError, match="CUBLAS_WORKSPACE_CONFIG is :0:0"):
        fix_workspace()
    assert ALONE.device(config("train.device=cpu", "train.deterministic=true")).type == "cpu"  # a CPU has no workspace


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("recipe", ["vanilla-mnist", "dcgan-mnist", "stylegan2-mnist"])
def test_two_deterministic_runs_on_a_gpu_agree_to_the_bit(tmp_path, recipe):
    from ganzoo.runs.folder import RunFolder

    short = ("train.images=12800", "train.device=cuda", "train.deterministic=true", "evaluate.metrics=[]")
    for name in ("one", "two"):
        words = [word for one in short for word in ("--set", one)]
        command = [sys.executable, "-m", "ganzoo", "run", recipe, *words, "--out", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    one, two = (RunFolder.open(Path(tmp_path / name)).checkpoint().tensors for name in ("one", "two"))
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
