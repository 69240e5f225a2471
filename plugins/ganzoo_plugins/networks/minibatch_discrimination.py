"""Minibatch discrimination: a discriminator that also sees how close the other samples of its batch are.

Salimans, Goodfellow, Zaremba, Cheung, Radford & Chen 2016, "Improved Techniques for Training GANs", arXiv:1606.03498,
section 3.2. A tensor T makes a matrix M_i of B rows and C columns out of the features f_i of sample i:

    M_i = f_i T        c_b(i, j) = exp(-‖M_ib - M_jb‖₁)        o_ib = mean of c_b(i, j) over all j ≠ i

The B numbers o_i are appended to f_i, before the last layer. Real samples and fakes are compared among themselves, so
fakes that are too similar give a collapsed generator away. In the authors' code for CIFAR-10, B = 100 and C = 5.

Differences from the paper:

- The paper adds up the c_b, over j = i too, whose c_b is 1. A mean does not grow with the batch, as in the authors'
  code for ImageNet.
- The authors' code for CIFAR-10 also normalises T's columns, scales them and centres the o_b on a first batch.
- The layer extends DCGAN's discriminator or a perceptron; the paper's networks, with weight normalisation, noise and
  dropout, are not implemented.
- Several processes each compare the samples of their own share of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ganzoo import Register, Spec, beside, hookimpl
from ganzoo.layers import Conditioning, Head, Norm, Slope, Width
from ganzoo_plugins.networks import dcgan, mlp

PAPER = "Salimans et al. 2016, Improved Techniques for Training GANs, arXiv:1606.03498"


class MinibatchDiscrimination(nn.Module):
    """Appends to each sample's features how close the others are: from (n, inputs) to (n, inputs + kernels).

    Args:
        inputs: Features of a sample.
        kernels: B, the number of features added.
        dimensions: C, the length of M's rows.
    """

    def __init__(self, inputs: int, kernels: int, dimensions: int) -> None:
        super().__init__()
        self.kernels = kernels
        self.projection = nn.Linear(inputs, kernels * dimensions, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """The features f (n, inputs) with o (n, kernels) appended."""
        n = len(features)
        rows = self.projection(features).view(n, self.kernels, -1)
        precise = rows.to(torch.promote_types(rows.dtype, torch.float32)).permute(2, 1, 0)
        sums = []
        # One column of a few rows at a time stays in a CPU's cache, which is several times as fast.
        for part in precise.split(10, dim=1):
            differences = [(column[:, :, None] - column[:, None, :]).abs() for column in part]
            sums.append((-sum(differences[1:], start=differences[0])).exp().sum(2))
        closeness = (torch.cat(sums).T - 1) / max(1, n - 1)  # without the sample's own, e⁰
        return torch.cat([features, closeness.to(features.dtype)], dim=1)


class Perceptron(mlp.Discriminator):
    """A multilayer perceptron with minibatch discrimination before its head.

    Args:
        spec: Image and class sizes.
        kernels: B, the number of features added.
        dimensions: C, the length of M's rows.
        hidden: Widths of the hidden layers.
        norm: Normalisation of every hidden layer but the first.
        slope: Negative slope of the LeakyReLUs.
        conditioning: How labels enter the network in a conditional recipe.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        kernels: Width = 100,
        dimensions: Width = 5,
        hidden: Sequence[Width] = (512, 256),
        norm: Norm = "none",
        slope: Slope = 0.2,
        conditioning: Conditioning = "concat",
    ) -> None:
        super().__init__(spec, hidden=hidden, norm=norm, slope=slope, conditioning=conditioning)
        self.trunk.append(MinibatchDiscrimination(self.feature_width, kernels, dimensions))
        self.feature_width += kernels
        self.head = Head(self.feature_width, spec.classes, conditioning)
        self.per_image = False


class Convolutional(dcgan.Discriminator):
    """DCGAN's discriminator with minibatch discrimination before its head.

    Args:
        spec: Image and class sizes.
        kernels: B, the number of features added.
        dimensions: C, the length of M's rows.
        width: Channels of the first layer; each later layer has twice as many as the one before.
        norm: Normalisation of every layer but the first. With a gradient penalty, ``none`` or ``layer``.
        slope: Negative slope of the LeakyReLUs.
        conditioning: How labels enter the network in a conditional recipe.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        kernels: Width = 100,
        dimensions: Width = 5,
        width: Width = 64,
        norm: Norm = "batch",
        slope: Slope = 0.2,
        conditioning: Conditioning = "concat",
    ) -> None:
        super().__init__(spec, width=width, norm=norm, slope=slope, conditioning=conditioning)
        self.layers.append(MinibatchDiscrimination(self.feature_width, kernels, dimensions))
        self.feature_width += kernels
        self.head = Head(self.feature_width, spec.classes, conditioning)
        self.per_image = False
        self.apply(dcgan.initialise)


@hookimpl
def register_discriminators(register: Register[nn.Module]) -> None:
    register("minibatch-mlp", Perceptron, summary="A perceptron that compares the images of a minibatch", paper=PAPER)
    summary = "DCGAN's discriminator, comparing the images of a minibatch"
    register("minibatch-dcgan", Convolutional, summary=summary, paper=PAPER)


register_recipes = beside(__file__, "minibatch-discrimination-mnist")
