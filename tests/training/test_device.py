"""Devices by name, and what to use instead of a missing one."""

import pytest
import torch

from ganzoo.errors import GanzooError
from ganzoo.reproducibility import resolve_device

NO_KERNEL = "Could not run 'aten::empty.memory_format' with arguments from the 'MPS' backend. This could be because"
PLACES = "(in Python device=..., in a recipe train.device)."
NO_DRIVER = (
    "Use --device cpu (in Python device='cpu', in a recipe train.device: cpu), or install a GPU driver and a build of "
    "torch that supports your GPU."
)


@pytest.mark.parametrize(
    ("name", "error", "gpus", "said"),
    [
        ("cuda", "Torch not compiled with CUDA enabled", 0, f"Torch not compiled with CUDA enabled. {NO_DRIVER}"),
        (
            "cuda:2",
            "CUDA error: invalid device ordinal\nMore.",
            2,
            f"Use --device cpu or cuda:0 or cuda:1 {PLACES}",
        ),
        ("mps", NO_KERNEL, 0, f"from the 'MPS' backend. Use --device cpu {PLACES}"),
    ],
)
def test_the_error_for_a_missing_device_names_available_ones(monkeypatch, name, error, gpus, said):
    def refuse(*size, device):
        raise RuntimeError(error)

    monkeypatch.setattr(torch, "empty", refuse)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(GanzooError) as caught:
        resolve_device(name)
    assert str(caught.value).startswith(f"Cannot use the device '{name}': ")
    assert str(caught.value).endswith(said)


def test_an_available_device():
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(GanzooError, match=r"Unknown device 'gpu'\. Known: auto, cpu, cuda"):
        resolve_device("gpu")
