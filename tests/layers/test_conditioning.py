"""The shared blocks, against computations done sample by sample."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ganzoo import GanzooError, GaussianPrior, Spec
from ganzoo.layers import (
    IMAGE_CHANNELS,
    ConditionalBatchNorm,
    Head,
    LabelSequential,
    Trunk,
    UpConv2d,
    image_norm,
    label_inputs,
    vector_norm,
)
from ganzoo_plugins.networks import dcgan, mlp

SPEC = Spec((1, 8, 8), GaussianPrior(dim=4), classes=3)


def test_the_projection_is_the_inner_product_with_the_label_s_embedding() -> None:
    head = Head(5, 3, "projection")
    features, label = torch.randn(4, 5), torch.tensor([2, 0, 1, 2])
    for i in range(4):
        v, w = head.embedding.weight[label[i]], head.linear.weight[0]
        wanted = (w * features[i]).sum() + head.linear.bias[0] + (v * features[i]).sum()
        assert head(features, label)[i].item() == pytest.approx(wanted.item(), abs=1e-5)


@pytest.mark.parametrize(("classes", "conditioning"), [(0, "projection"), (3, "concat"), (3, "none")])
def test_a_head_that_projects_nothing_needs_no_label(classes: int, conditioning: str) -> None:
    head = Head(5, classes, conditioning)
    assert head.embedding is None
    features = torch.randn(4, 5)
    assert torch.equal(head(features), head(features, torch.zeros(4, dtype=torch.int64)))


def test_labels_are_inputs_under_concat_alone() -> None:
    assert [label_inputs(SPEC, way) for way in ("concat", "projection", "none")] == [3, 0, 0]


@pytest.mark.parametrize("shape", [(6, 2), (6, 2, 3, 3)], ids=["vectors", "maps"])
def test_conditional_batch_norm_scales_each_sample_by_its_label(shape: tuple[int, ...]) -> None:
    layer = ConditionalBatchNorm(2, 3)
    with torch.no_grad():
        layer.scale.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
        layer.shift.copy_(torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]))
    x, label = torch.randn(shape) * 3 + 1, torch.tensor([0, 1, 2, 2, 1, 0])
    out = layer(x, label)
    dims = [0, *range(2, x.dim())]
    centred = (x - x.mean(dims, keepdim=True)) / (x.var(dims, keepdim=True, correction=0) + 1e-5).sqrt()
    for i in range(6):
        for channel in range(2):
            wanted = centred[i, channel] * layer.scale[label[i], channel] + layer.shift[label[i], channel]
            torch.testing.assert_close(out[i, channel], wanted, atol=1e-5, rtol=1e-4)


def test_conditional_batch_norm_remembers_for_sampling() -> None:
    layer = ConditionalBatchNorm(2, 3)
    # BatchNorm's second argument is eps, and the third momentum: 0.1 of the batch's mean after one step.
    layer(torch.full((4, 2), 5.0), torch.zeros(4, dtype=torch.int64))
    assert layer.norm.running_mean.tolist() == pytest.approx([0.5, 0.5])
    assert layer.norm.eps == pytest.approx(1e-5)
    layer.eval()
    alone = layer(torch.full((1, 2), 5.0), torch.tensor([1]))
    assert torch.allclose(alone, layer(torch.full((7, 2), 5.0), torch.ones(7, dtype=torch.int64))[:1])


def test_a_single_vector_has_no_statistics_and_a_single_image_has() -> None:
    norm, label = ConditionalBatchNorm(3, 2), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(GanzooError, match="needs at least two images"):
        norm(torch.randn(1, 3), label)
    assert norm(torch.randn(1, 3, 4, 4), label).shape == (1, 3, 4, 4)
    assert norm.eval()(torch.randn(1, 3), label).shape == (1, 3)


def test_layers_in_a_row_hand_the_label_to_those_that_take_it() -> None:
    norm = ConditionalBatchNorm(3, 2)
    with torch.no_grad():
        norm.shift[1] = 7.0
    row = LabelSequential(nn.Linear(2, 3), norm, nn.Identity()).eval()
    x = torch.randn(1, 2)
    difference = row(x, torch.tensor([1])) - row(x, torch.tensor([0]))
    assert torch.allclose(difference, torch.full((1, 3), 7.0), atol=1e-5)


def test_instance_norm_looks_at_one_map_of_one_sample() -> None:
    (layer,) = image_norm("instance", 2)
    maps = torch.randn(3, 2, 4, 4) * 5 + 2
    out = layer(maps)
    alone = (maps[1, 1] - maps[1, 1].mean()) / (maps[1, 1].var(correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(out[1, 1], alone, atol=1e-5, rtol=1e-4)
    assert isinstance(vector_norm("instance", 2)[0], nn.LayerNorm)
    assert image_norm("none", 2) == vector_norm("none", 2) == []


@pytest.mark.parametrize("module", [mlp, dcgan], ids=["mlp", "dcgan"])
@pytest.mark.parametrize("conditioning", ["concat", "projection", "none"])
def test_a_discriminator_sees_the_label_as_told(module: object, conditioning: str) -> None:
    torch.manual_seed(0)
    network = module.Discriminator(SPEC, norm="none", conditioning=conditioning)
    images = torch.rand(1, 1, 8, 8).expand(3, -1, -1, -1)
    logits = network(images, torch.arange(3))
    assert (logits.std() > 1e-6) == (conditioning != "none")
    features = network.features(images, torch.arange(3))
    assert (features.std(0).max() > 1e-6) == (conditioning == "concat")


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("module", [mlp, dcgan], ids=["mlp", "dcgan"])
def test_a_generator_with_conditional_norm_sees_the_label_there_alone(module: object, norm: str) -> None:
    network = module.Generator(SPEC, norm=norm, conditioning="batch-norm").eval()
    z = torch.randn(1, 4).expand(3, -1)
    assert network(z, torch.arange(3)).std(0).max() == 0, "all labels start with the same scale and shift"
    norm = next(layer for layer in network.modules() if isinstance(layer, ConditionalBatchNorm))
    with torch.no_grad():
        norm.shift[1] += 1.0
    images = network(z, torch.arange(3))
    assert torch.equal(images[0], images[2])
    assert not torch.equal(images[0], images[1])


def test_a_perceptron_without_a_layer_to_normalise_cannot_get_the_label_that_way() -> None:
    with pytest.raises(GanzooError, match="second hidden layer"):
        mlp.Generator(SPEC, hidden=[8], conditioning="batch-norm")
    mlp.Generator(SPEC, hidden=[8], conditioning="concat")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("channels", [1, IMAGE_CHANNELS])
def test_doubling_is_the_transposed_convolution_up_to_second_derivatives(channels: int, bias: bool) -> None:
    layer = UpConv2d(6, channels, bias=bias).double()
    maps = torch.randn(3, 6, 7, 5, dtype=torch.float64, requires_grad=True)

    def everything(outcome: torch.Tensor) -> list[torch.Tensor]:
        (slope,) = torch.autograd.grad(outcome.sin().sum(), maps, create_graph=True)
        loss = outcome.square().sum() + slope.square().sum()
        return [outcome, slope, *torch.autograd.grad(loss, [*layer.parameters(), maps])]

    wanted = everything(torch.nn.functional.conv_transpose2d(maps, layer.weight, layer.bias, 2, 1))
    for ours, theirs in zip(everything(layer(maps)), wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_trunk_takes_any_head_if_there_are_no_labels():
    class Small(Trunk):
        def __init__(self):
            super().__init__()
            self.layers, self.feature_width, self.head = nn.Flatten(), 4, nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))

    assert Small()(torch.zeros(3, 1, 2, 2)).shape == (3,)
