"""SNGAN's residual networks.

Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks", arXiv:1802.05957. Every weight W of
the discriminator is divided by its largest singular value σ(W), estimated by one step of power iteration in each pass:

    W_SN = W / σ(W),    so that with 1-Lipschitz activations D's Lipschitz constant is bounded

A recipe sets ``spectral_norm: true`` for this or any other network; this module has the networks. For CIFAR-10, the
paper's G is a linear layer to a 4x4 grid, residual blocks that double it (256 channels each), batch normalisation, a
ReLU and a convolution; its D is two blocks that halve the grid and two that keep it (128 channels each), summed over
all positions. For STL-10, the channels double whenever the grid is halved, and once more in D's block that keeps it:
``doubling``. Weights start as in the authors' code: uniform (Glorot & Bengio 2010), with a gain of √2 within blocks.

Differences from the paper:

- G starts at a side of 4 to 6 (28x28 is 4 -> 7 -> 14 -> 28; 32x32 is 4 -> 8 -> 16 -> 32). D halves the grid as long as
  its shorter side, before rounding up, stays at least 7 (28 -> 14 -> 7; 32 -> 16 -> 8; 27 -> 14). Where halving rounds
  up, D pads with zeros and G crops.
- With ``doubling``, D still has two blocks that keep the grid; the paper has one.
- D's last layer has a bias; the authors' for CIFAR-10 has none.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import relu

from ganzoo import Register, Spec, beside, hookimpl
from ganzoo.layers import (
    Conditioning,
    GeneratorConditioning,
    Head,
    ImageTanh,
    LabelSequential,
    ResidualDown,
    ResidualUp,
    Trunk,
    Width,
    batch_norm,
    label_inputs,
    pyramid_sizes,
    with_label,
    xavier_conv2d,
)

PAPER = "Miyato et al. 2018, Spectral Normalization for Generative Adversarial Networks, arXiv:1802.05957"
SMALLEST = 7
"""D halves the grid while at least this many rows and columns remain."""


def channel_counts(width: int, steps: int, doubling: bool) -> list[int]:
    """Channels on each grid, from the finest to ``steps`` halvings below it: (steps + 1) numbers."""
    return [width * 2**step if doubling else width for step in range(steps + 1)]


def start_as_authors(layer: nn.Linear) -> None:
    """Weights uniform (Glorot & Bengio 2010), biases zero."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)


class Generator(nn.Module):
    """From codes (n, latent) to images (n, c, h, w) in [-1, 1].

    Args:
        spec: Image, latent and class sizes.
        width: Channels of the last block (256 in the paper for CIFAR-10).
        doubling: Whether each block has twice as many channels as the next; otherwise all have ``width``.
        conditioning: How labels enter the network in a conditional recipe.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        width: Width = 64,
        doubling: bool = False,
        conditioning: GeneratorConditioning = "concat",
    ) -> None:
        super().__init__()
        by_norm = spec.classes if conditioning == "batch-norm" else 0
        self.label_inputs = spec.classes - by_norm
        (height, columns), *sizes = pyramid_sizes(spec)
        channels = channel_counts(width, len(sizes), doubling)[::-1]
        self.start = nn.Linear(spec.latent + self.label_inputs, channels[0] * height * columns)
        start_as_authors(self.start)
        self.grid = (channels[0], height, columns)
        blocks = zip(pairwise(channels), sizes, strict=True)
        self.blocks = LabelSequential(*(ResidualUp(*pair, size, by_norm) for pair, size in blocks))
        # Not conditional on the label, as in the authors' code.
        self.end = nn.Sequential(batch_norm(width), nn.ReLU(), xavier_conv2d(width, spec.channels), ImageTanh())

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Images (n, c, h, w) from codes (n, latent) and, in a conditional recipe, labels (n,)."""
        maps = self.start(with_label(z, label, self.label_inputs)).view(-1, *self.grid)
        images: Tensor = self.end(self.blocks(maps, label))
        return images


class Discriminator(Trunk):
    """From images (n, c, h, w) to logits (n,), via features that other heads can share.

    Args:
        spec: Image and class sizes.
        width: Channels of the first block (128 in the paper for CIFAR-10).
        doubling: Whether channels double from block to block, up to the first that keeps the grid; otherwise all have
            ``width``.
        conditioning: How labels enter the network in a conditional recipe.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        width: Width = 64,
        doubling: bool = False,
        conditioning: Conditioning = "concat",
    ) -> None:
        super().__init__()
        self.label_inputs = label_inputs(spec, conditioning)
        self.per_image = True
        halvings = max(1, (min(spec.height, spec.width) // SMALLEST).bit_length() - 1)
        channels = channel_counts(width, halvings, doubling)
        self.feature_width = channels[-1]
        self.blocks = nn.Sequential(
            ResidualDown(spec.channels + self.label_inputs, width, first=True),
            *(ResidualDown(fine, coarse) for fine, coarse in pairwise(channels[:-1])),
            ResidualDown(channels[-2], channels[-1], halve=False),
            ResidualDown(channels[-1], channels[-1], halve=False),
        )
        self.head = Head(self.feature_width, spec.classes, conditioning)
        start_as_authors(self.head.linear)
        if self.head.embedding is not None:
            nn.init.xavier_uniform_(self.head.embedding.weight)

    def features(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Features (n, feature_width) of images (n, c, h, w)."""
        maps = self.blocks(with_label(images, label, self.label_inputs))
        return relu(maps).sum((2, 3))


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    register("sngan-resnet", Generator, summary="Residual blocks that double the grid", paper=PAPER)


@hookimpl
def register_discriminators(register: Register[nn.Module]) -> None:
    register("sngan-resnet", Discriminator, summary="Residual blocks without normalisation, summed", paper=PAPER)


register_recipes = beside(__file__, "sngan-mnist", "sngan-mnist-gpu")
