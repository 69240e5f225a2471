"""The extractor of any pictures: how they are brought to its size, what it tells apart, and where it comes from."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ganzoo import Dataset
from ganzoo.evaluation.features import extract
from ganzoo.evaluation.metrics import frechet_distance
from ganzoo.registry.loading import Zoo
from ganzoo_checks import contract
from ganzoo_plugins.extractors import pictures_ae
from ganzoo_plugins.extractors.pictures_ae import PicturesAe, native
from ganzoo_plugins.extractors.pictures_ae_training import coloured, main, scene_batch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def judge() -> PicturesAe:
    return PicturesAe()


def scenes(n: int, seed: int) -> Tensor:
    return scene_batch(n, torch.Generator().manual_seed(seed))


def test_it_passes_the_checks_for_extractors_and_its_file_is_small(zoo: Zoo) -> None:
    contract.features(zoo.extractors.get("pictures-ae"), zoo)
    content = Path(pictures_ae.__file__).with_name(PicturesAe.weights).read_bytes()
    assert len(content) <= 1_000_000
    assert PicturesAe.weights == f"pictures-ae-{sha256(content).hexdigest()[:12]}.safetensors"


def test_grey_is_tiled_small_borders_are_repeated_and_other_sizes_resized(judge: PicturesAe) -> None:
    grey = torch.randint(256, (3, 1, 28, 30), dtype=torch.uint8)
    tiled = native(grey)
    assert tiled.shape == (3, 3, 32, 32)
    assert torch.equal(tiled[:, 2, 2:30, 1:31], grey[:, 0].float())
    assert torch.equal(tiled[:, :, 0], tiled[:, :, 2])
    assert torch.equal(judge(grey)[0], judge(grey.expand(-1, 3, -1, -1))[0])
    smooth = torch.linspace(0, 255, 200).round().to(torch.uint8).view(1, 1, 200, 1).expand(1, 1, 200, 9)
    resized = native(smooth)
    assert resized.shape == (1, 3, 32, 32)
    torch.testing.assert_close(resized[0, 0, 1:-1, 5], (torch.arange(1, 31) + 0.5) / 32 * 255, rtol=0, atol=1.5)
    assert judge.resizing_of((3, 32, 32)) == "none"
    assert judge.resizing_of((1, 28, 28)) == "grey tiled to RGB, padded to 32x32"
    assert judge.resizing_of((3, 64, 48)) == "bilinear, antialiased to 32x32"


def test_worse_pictures_are_farther_from_real_ones_and_invisible_changes_are_not(judge: PicturesAe) -> None:
    pictures, others = scenes(400, 0), scenes(400, 1)
    noise = torch.randn(others.shape, generator=torch.Generator().manual_seed(0))
    made = [(others.float() + sd * noise).round().clamp(0, 255).to(torch.uint8) for sd in (0, 2, 20, 40)]
    made.append(others[:1].expand(400, -1, -1, -1))
    real = extract("pictures-ae", judge, pictures, CPU).statistics
    costs = [frechet_distance(extract("pictures-ae", judge, some, CPU).statistics, real) for some in made]
    assert costs[1] == pytest.approx(costs[0], rel=0.05)
    assert costs[1] < costs[2] < costs[3] < costs[4]


@pytest.mark.full
def test_the_command_writes_a_file_named_after_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mnist: Dataset
) -> None:
    import ganzoo_plugins.extractors.pictures_ae_training as training

    few = [scenes(300, 0), coloured(native(mnist.images[:300]), torch.Generator().manual_seed(0))]
    monkeypatch.setattr(training, "worlds", lambda seed: few)
    main(["--out", str(tmp_path), "--epochs", "1"])
    (path,) = tmp_path.iterdir()
    assert PicturesAe(path).digest == sha256(path.read_bytes()).hexdigest()
    assert path.name == f"pictures-ae-{PicturesAe(path).digest[:12]}.safetensors"
