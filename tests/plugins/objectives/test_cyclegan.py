"""CycleGAN: its losses by hand, its networks against the authors' code, and the law of its pools."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ganzoo import Batch, GanzooError, GaussianPrior, Images, Spec
from ganzoo_plugins.objectives.cyclegan import CycleGAN, ImagePool, ResNet
from ganzoo_plugins.objectives.pix2pix import PatchGAN

SPEC = Spec((1, 2, 2), GaussianPrior(dim=1), columns=(("source", (1, 2, 2)),))


class Times(nn.Module):
    """Images times a number, and as logits their means plus that number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, z: Tensor, *, source: Tensor) -> Tensor:
        return source * self.factor

    def patches(self, images: Tensor, source: None) -> Tensor:
        return images.flatten(1).mean(1, keepdim=True) + self.factor


NETWORKS = {
    "generator": Times(0.5),
    "source_generator": Times(-1.0),
    "discriminator": Times(0.1),
    "source_discriminator": Times(0.2),
}


def built(**options: object) -> tuple[CycleGAN, Batch]:
    objective = CycleGAN(**options)
    objective.bind(SPEC, NETWORKS)
    real, source = torch.full((2, 1, 2, 2), 0.6), torch.full((2, 1, 2, 2), 0.8)
    return objective, Batch(real, torch.zeros(2, dtype=torch.int64), torch.zeros(2, 1), source)


def test_the_losses_are_those_of_the_paper() -> None:
    """x = 0.8, y = 0.6, G(x) = 0.4, F(y) = -0.6, F(G(x)) = -0.4, G(F(y)) = -0.3, G(y) = 0.3, F(x) = -0.8."""
    objective, batch = built(cycle=10, identity=0.5, pool=0)
    losses = objective.generator_loss(NETWORKS, batch)
    game, cycle, identity = (0.4 + 0.1 - 1) ** 2 + (-0.6 + 0.2 - 1) ** 2, 1.2 + 0.9, 0.3 + 1.6
    assert losses["game"].item() == pytest.approx(game)
    assert losses["cycle"].item() == pytest.approx(cycle)
    assert losses["identity"].item() == pytest.approx(identity)
    assert losses["loss"].item() == pytest.approx(game + 10 * cycle + 5 * identity)
    losses = objective.discriminator_loss(NETWORKS, batch)
    assert losses["target"].item() == pytest.approx(((0.6 + 0.1 - 1) ** 2 + (0.4 + 0.1) ** 2) / 2)
    assert losses["source"].item() == pytest.approx(((0.8 + 0.2 - 1) ** 2 + (-0.6 + 0.2) ** 2) / 2)
    without = built(identity=0, pool=0)[0].generator_loss(NETWORKS, batch)
    assert "identity" not in without
    assert without["loss"].item() == pytest.approx(game + 10 * cycle)


def test_a_pool_fills_first_and_then_exchanges_every_second_image() -> None:
    modality = Images(1, 1, 1)
    pool = ImagePool(4, modality)

    def shown(*levels: int) -> list[int]:
        images = modality.to_network(torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1))
        return modality.from_network(pool.exchange(images)).flatten().tolist()

    assert shown(1, 2, 3) == [1, 2, 3]
    assert shown(4) == [4]
    itself, places = 0, [0] * 4
    for step in range(2000):
        level, before = 5 + step % 250, pool.images.flatten().tolist()
        (seen,), after = shown(level), pool.images.flatten().tolist()
        if after == before:
            assert seen == level
            itself += 1
        else:
            (place,) = (at for at in range(4) if before[at] != after[at])
            assert (seen, after[place]) == (before[place], level)
            places[place] += 1
    assert abs(itself - 1000) < 5 * 500**0.5
    assert all(abs(count - sum(places) / 4) < 5 * (sum(places) * 3 / 16) ** 0.5 for count in places)


def test_a_pool_takes_the_images_of_a_batch_one_after_another() -> None:
    """With room for one, the second image meets the first one, the third whichever is left."""
    pool, seen = ImagePool(1, Images(1, 1, 1)), set()
    for _ in range(200):
        pool.filled.zero_()
        levels = torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1, 1)
        shown = pool.modality.from_network(pool.exchange(pool.modality.to_network(levels)))
        seen.add(tuple(shown.flatten().tolist()))
    assert seen == {(10, 20, 30), (10, 20, 10), (10, 10, 30), (10, 10, 20)}


def test_a_pool_is_part_of_checkpoints_and_is_not_averaged_across_processes() -> None:
    state = built()[0].state_dict()
    assert state["targets.images"].shape == (50, 1, 2, 2)
    assert not any(tensor.is_floating_point() for tensor in state.values())


def test_the_networks_have_as_many_weights_as_the_authors() -> None:
    """Their code prints 11.378 M and 2.765 M; our discriminator's normalisation has scales and shifts too."""
    spec = Spec((3, 256, 256), GaussianPrior(dim=1))
    with torch.device("meta"):
        generator, judge = ResNet(spec, blocks=9), PatchGAN(spec, sees_source=False, norm="instance")
    counts = [sum(p.numel() for p in network.parameters()) for network in (generator, judge)]
    assert [f"{count / 1e6:.3f}" for count in (counts[0], counts[1] - 2 * (128 + 256 + 512))] == ["11.378", "2.765"]


@pytest.mark.parametrize("size", [(28, 28), (9, 30), (1, 3)])
def test_pictures_of_any_size_keep_it(size: tuple[int, int]) -> None:
    network = ResNet(SPEC, width=2, blocks=1)
    images = network(torch.zeros(2, 1), source=torch.rand(2, 1, *size))
    assert images.shape == (2, 1, *size)
    assert images.isfinite().all()


def test_sources_of_another_shape_are_refused() -> None:
    spec = Spec((1, 4, 4), GaussianPrior(dim=1), columns=(("source", (3, 4, 4)),))
    with pytest.raises(GanzooError, match="translates both ways"):
        CycleGAN().bind(spec, NETWORKS)


def test_an_overview_shows_the_source_its_translation_and_the_way_back() -> None:
    objective, batch = built()
    shown = objective.overview(NETWORKS, batch.z, batch.label, {"source": batch.source})
    torch.testing.assert_close(shown[0, :, 0, 0, 0], torch.tensor([0.8, 0.4, -0.4]))
