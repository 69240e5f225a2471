"""What is asked of weights: orthogonal filters, a wide margin, and a box."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganzoo import GanzooError, GaussianPrior, RegularizerContext, Spec
from ganzoo_plugins.losses.wgan_gp import Wasserstein
from ganzoo_plugins.networks import stylegan2
from ganzoo_plugins.networks.dcgan import Discriminator as Convolutional
from ganzoo_plugins.networks.mlp import Discriminator
from ganzoo_plugins.regularizers.geometric import SVMMargin
from ganzoo_plugins.regularizers.orthogonal import Orthogonal, filters
from ganzoo_plugins.regularizers.weight_clipping import WeightClipping


def linear(rows: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows))
    return layer


def cost(context, network: nn.Module, **options: object) -> Tensor:
    nothing = torch.zeros(2, 1, 2, 2)
    seen: RegularizerContext = context(
        lambda x: x, nothing, nothing, networks={"generator": network, "discriminator": nn.Identity()}
    )
    return Orthogonal(**options).penalty(seen)


@pytest.mark.parametrize(
    ("rows", "relaxed", "strict"),
    [
        ([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]], 0, 9 / 2),  # (4 - 1)²
        # Products 1, 2 and -1; squared lengths 5, 10 and 1.
        ([[1.0, 2.0], [3.0, -1.0], [0.0, 1.0]], 1 + 4 + 1, 6 + (16 + 81) / 2),
    ],
)
def test_each_pair_s_scalar_product_is_squared_and_lengths_if_strict(context, rows, relaxed, strict) -> None:
    assert cost(context, linear(rows)).item() == pytest.approx(relaxed)
    assert cost(context, linear(rows), strict=True).item() == pytest.approx(strict)


@pytest.mark.parametrize("strict", [False, True])
def test_the_gradient_is_the_one_that_biggan_s_code_adds(context, strict: bool) -> None:
    """2 (W Wᵀ ⊙ (1 - I)) W for the relaxed form, 2 (W Wᵀ - I) W for the strict one."""
    layer = nn.Linear(5, 3)
    cost(context, layer, strict=strict).backward()
    rows, eye = layer.weight.detach(), torch.eye(3)
    product = rows @ rows.T
    expected = 2 * (product - eye if strict else product * (1 - eye)) @ rows
    torch.testing.assert_close(layer.weight.grad, expected)


def test_layers_add_up_and_biases_scales_and_embeddings_are_left_out(context) -> None:
    layer = linear([[1.0, 2.0], [3.0, -1.0]])
    network = nn.Sequential(layer, nn.BatchNorm1d(2), layer.__class__(2, 1), nn.Embedding(5, 2))
    assert cost(context, network).item() == pytest.approx(1)  # one output has no pairs


def test_a_filter_is_an_output_channel_of_either_convolution() -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 4), nn.ConvTranspose2d(5, 2, 3))
    assert [tuple(rows.shape) for rows in filters(network)] == [(1, 5, 48), (1, 2, 45)]
    (rows,) = list(filters(network))[1]
    assert torch.equal(rows[1].view(5, 3, 3), network[1].weight[:, 1])


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_filters_of_different_groups_see_different_inputs_and_are_not_compared(context, kind) -> None:
    layer = kind(2, 4, 1, groups=2)
    with torch.no_grad():
        # One input for each group of two filters.
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(layer.weight.shape))
    assert cost(context, layer).item() == pytest.approx(2**2 + 12**2)


def test_stylegan_s_convolutions_count_with_the_weights_that_they_use(context) -> None:
    spec = Spec((1, 8, 8), GaussianPrior(dim=3))
    network = stylegan2.Generator(spec, width=4, style=4)
    modulated = [module for module in network.modules() if isinstance(module, stylegan2.ModulatedConv2d)]
    rows = [tuple(rows.shape) for rows in filters(network)]
    assert modulated
    assert all((1, len(layer.weight), layer.weight[0].numel()) in rows for layer in modulated)
    # Stored weights have a hundred times the size in the mapping network, whose learning rate is as much smaller.
    assert cost(context, network).item() < 1000


def test_spectral_normalisation_is_neither_asked_nor_moved(context) -> None:
    layer = spectral_norm(linear([[1.0, 2.0], [3.0, -1.0]]))
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    assert cost(context, layer).item() == pytest.approx(1), "the stored weight"
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())


@pytest.mark.parametrize(("side", "other"), [("generator", "discriminator"), ("discriminator", "generator")])
def test_orthogonality_joins_the_loss_of_the_side_whose_weights_it_is_about(play, side: str, other: str) -> None:
    term = Orthogonal(weight=0.5) if side == "generator" else Orthogonal(weight=0.5, side=side)
    losses, networks, _ = play(Wasserstein(), term)
    products = [rows @ rows.T for groups in filters(networks[side]) for rows in groups]
    expected = sum((product - product.diag().diag()).square().sum() for product in products) / 2
    assert torch.allclose(losses[side]["penalty"], expected)
    assert "penalty" not in losses[other]


SPEC = Spec((1, 2, 2), GaussianPrior(dim=4))


def test_the_margin_is_half_the_squared_norm_of_the_last_layer_alone(context) -> None:
    discriminator = Discriminator(SPEC, hidden=[3])
    with torch.no_grad():
        discriminator.head.linear.weight.copy_(torch.tensor([[3.0, 0.0, -4.0]]))
    nothing = torch.zeros(2, 1, 2, 2)
    seen = context(discriminator, nothing, nothing, networks={"discriminator": discriminator})
    penalty = SVMMargin().penalty(seen)
    assert penalty.item() == pytest.approx(12.5)
    penalty.backward()
    assert torch.equal(discriminator.head.linear.weight.grad, torch.tensor([[3.0, 0.0, -4.0]]))
    assert all(p.grad is None for p in discriminator.trunk.parameters())


def test_spectral_normalisation_leaves_no_margin_to_widen() -> None:
    discriminator = Convolutional(Spec((1, 8, 8), GaussianPrior(dim=4)), width=2)
    SVMMargin().bind(SPEC, {"discriminator": discriminator})
    nn.utils.parametrizations.spectral_norm(discriminator.head.linear)
    with pytest.raises(GanzooError, match=r"svm-margin.*spectral_norm"):
        SVMMargin().bind(SPEC, {"discriminator": discriminator})


def test_an_equalised_learning_rate_leaves_a_margin() -> None:
    spec = Spec((1, 8, 8), GaussianPrior(dim=4))
    SVMMargin().bind(spec, {"discriminator": stylegan2.Discriminator(spec, width=4)})


def test_every_parameter_lands_in_the_box_and_none_inside_it_moves() -> None:
    critic = torch.nn.Linear(3, 1)
    with torch.no_grad():
        critic.weight.copy_(torch.tensor([[0.5, -0.2, 0.05]]))
        critic.bias.fill_(-7.0)
        WeightClipping(limit=0.1).after_step({"discriminator": critic, "generator": critic})
    assert critic.weight.tolist()[0] == pytest.approx([0.1, -0.1, 0.05])
    assert critic.bias.item() == pytest.approx(-0.1)


def test_frozen_weights_are_left_alone_and_computed_ones_refused() -> None:
    critic = torch.nn.Linear(3, 1)
    critic.bias.requires_grad = False
    with torch.no_grad():
        critic.bias.fill_(-7.0)
        WeightClipping(limit=0.1).after_step({"discriminator": critic})
    assert critic.bias.item() == -7
    spec = Spec((1, 1, 3), GaussianPrior(dim=2))
    WeightClipping().bind(spec, {"discriminator": critic})
    with pytest.raises(GanzooError, match="cannot limit weights that spectral_norm or equalised"):
        WeightClipping().bind(spec, {"discriminator": spectral_norm(critic)})


def test_the_paper_s_limit_of_the_box_is_the_default() -> None:
    assert WeightClipping().limit == 0.01
