"""Number formats: what is requested, and what ``auto`` chooses."""

from contextlib import contextmanager

import pytest
import torch

from ganzoo.training import device as precision
from ganzoo.training.device import resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_the_requested_precision_is_used(name):
    assert resolve_precision(name, CPU) == name


@pytest.fixture
def avx512(monkeypatch):
    """A processor with instructions for bfloat16, but without AMX."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return monkeypatch


def test_auto_measures_once_and_draws_no_random_numbers(avx512):
    multiplied, multiply = [], torch.mm
    avx512.setattr(torch, "mm", lambda one, other: (multiplied.append(one.dtype), multiply(one, other))[1])
    precision._faster_on_this_cpu.cache_clear()
    before = torch.get_rng_state()
    found = resolve_precision("auto", CPU)
    assert found in ("fp32", "bf16")
    measured = len(multiplied)
    assert set(multiplied) == {torch.float32, torch.bfloat16}
    assert [resolve_precision("auto", CPU) for _ in range(20)] == [found] * 20
    assert len(multiplied) == measured
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("faster", "expected"), [(True, "bf16"), (False, "fp32")])
def test_instructions_alone_are_not_enough(avx512, faster, expected):
    """A processor that has them but on which bfloat16 is no faster trains in fp32."""
    avx512.setattr(precision, "_faster_on_this_cpu", lambda: faster)
    assert resolve_precision("auto", CPU) == expected


@pytest.mark.parametrize(
    ("where", "asked", "answer", "expected"),
    [
        (torch.cpu, "_is_amx_tile_supported", True, "bf16"),
        (torch.backends.cpu, "get_cpu_capability", "AVX2", "fp32"),
    ],
    ids=["with-amx", "without-instructions"],
)
def test_what_the_processor_decides_is_not_measured(avx512, where, asked, answer, expected):
    avx512.setattr(where, asked, lambda: answer)
    avx512.setattr(precision, "_faster_on_this_cpu", lambda: pytest.fail("measured"))
    assert resolve_precision("auto", CPU) == expected


def test_the_gpu_itself_is_queried_and_not_the_current_one(monkeypatch):
    asked = [0]

    @contextmanager
    def current(device):
        asked.append(device.index)
        yield
        asked.pop()

    monkeypatch.setattr(torch.cuda, "device", current)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: asked[-1] == 1)
    assert [resolve_precision("auto", torch.device("cuda", index)) for index in (0, 1, 2)] == ["fp32", "bf16", "fp32"]
