"""Extractors of digits: damaged weights, and images that they were not fitted to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from ganzoo import Extractor, GanzooError
from ganzoo_plugins.extractors import mnist_ae, mnist_cnn
from ganzoo_plugins.extractors.mnist_ae import MnistAe
from ganzoo_plugins.extractors.mnist_cnn import MnistCnn

WEIGHTS = {MnistAe: Path(mnist_ae.__file__).with_name(MnistAe.weights), MnistCnn: mnist_cnn.WEIGHTS}
each = pytest.mark.parametrize("kind", WEIGHTS)


@each
@pytest.mark.parametrize("damage", ["missing", "truncated", "other network"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, kind: type[Extractor], damage: str) -> None:
    path = tmp_path / "weights.safetensors"
    if damage == "truncated":
        path.write_bytes(WEIGHTS[kind].read_bytes()[:1000])
    elif damage == "other network":
        path.write_bytes(save({"encoder.first.weight": torch.zeros(2)}))
    with pytest.raises(GanzooError, match=r"weights\.safetensors cannot be read"):
        kind(path)


@each
@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (2, 3, 28, 28), (1, 28, 28)], ids=str)
def test_anything_but_digits_is_refused(kind: type[Extractor], shape: tuple[int, ...]) -> None:
    with pytest.raises(GanzooError, match="never resamples"):
        kind()(torch.zeros(shape, dtype=torch.uint8))
    with pytest.raises(GanzooError, match="never resamples"):
        kind()(torch.zeros(2, 1, 28, 28))
