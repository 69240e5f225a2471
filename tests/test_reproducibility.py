"""Random states of every kind of accelerator are restored, and so is precision."""

import pytest
import torch

from ganzoo import reproducibility
from ganzoo.reproducibility import DEVICES, default_modes, full_precision, global_state, restore_global_state, seeded

CPU = torch.device("cpu")


@pytest.fixture(params=[kind for kind in DEVICES if kind != "cpu"])
def accelerator(request, monkeypatch):
    """A device's second card, and its default generator, which draws on the CPU: no card is needed."""
    device, generator = torch.device(request.param, 1), torch.Generator()

    def of_it(asked):
        assert asked == device, "another card's generator"
        return generator

    module = torch.get_device_module(device)
    monkeypatch.setattr(module, "get_rng_state", lambda asked: of_it(asked).get_state())
    monkeypatch.setattr(module, "set_rng_state", lambda state, asked: of_it(asked).set_state(state))
    monkeypatch.setattr(
        reproducibility, "seeded_state", lambda seed, asked: torch.Generator().manual_seed(seed).get_state()
    )
    return device, generator


def test_an_accelerator_s_generator_is_seeded_and_restored(accelerator):
    device, generator = accelerator
    before = generator.get_state(), torch.get_rng_state()
    with seeded(7, device):
        first = torch.rand(3, generator=generator), torch.rand(3)
    assert torch.equal(generator.get_state(), before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    with seeded(7, device):
        again = torch.rand(3, generator=generator), torch.rand(3)
    assert all(map(torch.equal, first, again))


def test_a_state_of_another_kind_of_device_is_replaced_by_a_seed(accelerator):
    device, generator = accelerator
    assert global_state(device).keys() == {"cpu", device.type}
    restore_global_state(global_state(CPU), device, otherwise=3)
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(3).get_state())


def test_seeded_on_the_cpu_is_a_manual_seed_that_is_taken_back_after_a_failure_too():
    before, found = torch.get_rng_state(), []

    @seeded(5, CPU)
    def fails():
        found.append(torch.randn(4))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found[0], torch.randn(4, generator=torch.Generator().manual_seed(5)))


def test_full_precision_ends_with_its_block():
    usual = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        with torch.autocast("cpu", torch.bfloat16), full_precision(CPU):
            assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("highest", False)
            assert not torch.is_autocast_enabled("cpu")
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
    finally:
        torch.set_float32_matmul_precision(usual)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_default_modes_end_with_their_block_after_a_failure_too(mode, device):
    def modes():
        made = torch.zeros(())
        return made.dtype, made.device.type, made.is_inference(), torch.is_grad_enabled()

    @default_modes()
    def fails():
        assert modes() == (torch.float32, "cpu", False, True)
        raise ZeroDivisionError

    torch.set_default_dtype(torch.float64)
    try:
        with torch.device(device), mode():
            before = modes()
            with pytest.raises(ZeroDivisionError):
                fails()
            assert modes() == before == (torch.float64, device, mode is torch.inference_mode, False)
    finally:
        torch.set_default_dtype(torch.float32)
