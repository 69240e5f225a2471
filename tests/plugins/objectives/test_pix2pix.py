"""pix2pix: its losses and networks against the paper and the authors' code."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ganzoo import Batch, GanzooError, GaussianPrior, Spec
from ganzoo_plugins.networks import mlp
from ganzoo_plugins.objectives.pix2pix import PatchGAN, Pix2Pix, UNet, padded

SPEC = Spec((1, 28, 28), GaussianPrior(dim=1), columns=(("source", (1, 28, 28)),))


class Half(nn.Module):
    """Half the source, and logits that are the mean over a patch's pixels and their source's."""

    def forward(self, z: Tensor, *, source: Tensor) -> Tensor:
        return source / 2

    def patches(self, images: Tensor, source: Tensor) -> Tensor:
        return torch.cat([images.flatten(1).mean(1, keepdim=True), source.flatten(1).mean(1, keepdim=True)], 1)


def batch(n: int = 2) -> Batch:
    source, real = torch.full((n, 1, 4, 4), 0.8), torch.full((n, 1, 4, 4), -0.2)
    return Batch(real, torch.zeros(n, dtype=torch.int64), torch.zeros(n, 1), source)


def test_the_losses_are_those_of_the_paper() -> None:
    objective, networks = Pix2Pix(l1=10, adversarial=2), {"generator": Half(), "discriminator": Half()}
    objective.bind(SPEC, networks)
    real, fake, source = torch.tensor(-0.2), torch.tensor(0.4), torch.tensor(0.8)
    d = objective.discriminator_loss(networks, batch())
    wanted = (softplus(-real) + softplus(-source) + softplus(fake) + softplus(source)) / 4
    torch.testing.assert_close(d["loss"], wanted)
    g = objective.generator_loss(networks, batch())
    torch.testing.assert_close(g["l1"], torch.tensor(0.6))
    torch.testing.assert_close(g["loss"], 10 * 0.6 + 2 * (softplus(-fake) + softplus(-source)) / 2)


def test_without_the_game_only_the_distance_is_left() -> None:
    objective = Pix2Pix(l1=10, adversarial=0)
    objective.bind(SPEC, {"generator": Half(), "discriminator": Half()})
    assert [phase.trains for phase in objective.phases()] == [("generator",)]
    torch.testing.assert_close(objective.generator_loss({"generator": Half()}, batch())["loss"], torch.tensor(6.0))


def test_a_discriminator_of_whole_images_is_refused() -> None:
    with pytest.raises(GanzooError, match="The discriminator judges whole images, .* Choose 'patchgan'"):
        Pix2Pix().bind(SPEC, {"generator": UNet(SPEC, width=2), "discriminator": mlp.Discriminator(SPEC)})


def test_sources_without_targets_are_refused() -> None:
    spec = replace(SPEC, columns=(*SPEC.columns, ("unpaired", ())))
    with pytest.raises(GanzooError, match="learns from pairs, and these sources have no targets"):
        Pix2Pix().bind(spec, {"generator": Half(), "discriminator": Half()})


def test_the_networks_have_as_many_weights_as_the_authors() -> None:
    """Their code prints 54.414 M and 2.769 M for the U-Net of 256 pixels and the PatchGAN of 70."""
    spec = Spec((3, 256, 256), GaussianPrior(dim=1), columns=(("source", (3, 256, 256)),))
    with torch.device("meta"):
        counts = [sum(p.numel() for p in network(spec).parameters()) for network in (UNet, PatchGAN)]
    assert [f"{count / 1e6:.3f}" for count in counts] == ["54.414", "2.769"]


def test_the_unet_halves_a_digit_to_one_position_and_takes_any_size() -> None:
    network, sizes = UNet(SPEC, width=2), []
    network.down[-1].register_forward_hook(lambda module, inputs, maps: sizes.append(tuple(maps.shape[2:])))
    for size in ((28, 28), (13, 45), (1, 1), (64, 32)):
        assert network(torch.zeros(2, 1), source=torch.rand(2, 1, *size)).shape == (2, 1, *size)
    assert sizes == [(1, 1), (1, 2), (1, 1), (2, 1)]


def test_a_small_source_is_enlarged_by_a_whole_factor() -> None:
    spec = replace(SPEC, columns=(("source", (3, 7, 7)),))
    network = UNet(spec, width=2)
    assert network(torch.zeros(2, 1), source=torch.rand(2, 3, 7, 7)).shape == (2, 1, 28, 28)
    assert network(torch.zeros(2, 1), source=torch.rand(2, 3, 5, 9)).shape == (2, 1, 20, 36)
    judge = PatchGAN(spec, width=2, layers=1)
    assert judge(torch.rand(2, 1, 28, 28), source=torch.rand(2, 3, 7, 7)).shape == (2,)
    with pytest.raises(GanzooError, match="The sources are 9x9 and the images 28x28"):
        UNet(replace(SPEC, columns=(("source", (1, 9, 9)),)))


@pytest.mark.parametrize(("layers", "side"), [(1, 16), (2, 34), (3, 70)])
def test_a_patch_has_the_paper_s_size_and_contains_its_source(layers: int, side: int) -> None:
    spec = Spec((1, 128, 128), GaussianPrior(dim=1), columns=(("source", (1, 128, 128)),))
    judge = PatchGAN(spec, width=2, layers=layers, norm="none")
    image, source = (torch.rand(1, 1, 128, 128, requires_grad=True) for _ in range(2))
    logits = judge.patches(image, source)
    across = round(logits.shape[1] ** 0.5)
    middle = logits[0, across // 2 * across + across // 2]
    for gradient in torch.autograd.grad(middle, (image, source)):
        rows = (gradient[0, 0] != 0).any(1).nonzero()
        assert rows.max() - rows.min() + 1 == side
    torch.testing.assert_close(judge(image, source=source), logits.mean(1))


def test_padding_repeats_the_border_and_says_where_the_picture_is() -> None:
    image = torch.arange(6.0).view(1, 1, 2, 3)
    whole, (rows, columns) = padded(image, 4, least=5)
    assert whole.shape == (1, 1, 5, 5)
    assert torch.equal(whole[..., rows, columns], image)
    assert whole[0, 0, 0].tolist() == [0, 0, 1, 2, 2]
    assert padded(image, 1)[0] is image
