"""SAGAN: self-attention in the generator and the discriminator.

Zhang et al. 2019, "Self-Attention Generative Adversarial Networks", arXiv:1805.08318. The residual networks follow
SNGAN and Miyato & Koyama, with one extra layer in each, in which every position attends to every other:

    y_j = γ o_j + x_j,    o_j = v(Σ_i β_ji h(x_i)),    β_ji = exp(s_ij) / Σ_i exp(s_ij),    s_ij = f(x_i) · g(x_j)

``layers.SelfAttention`` is that layer. Channels double whenever the grid is halved. In a conditional recipe, G's batch
normalisation is conditional on the label, and D is a projection discriminator. The paper also uses spectral
normalisation in both networks (``spectral_norm: true`` in a recipe), the hinge loss and two learning rates.

Differences from the paper:

- The layer is placed where the grid's side is half the image's; in the authors' code, a quarter.
- As in the authors' code but not in the paper, f(x) and h(x) are pooled, and h has half of the channels instead of an
  eighth.
- f(x) and g(x) have at least 8 dimensions, where an eighth of a narrow network's channels would leave 1 or 2.
- The attention's convolutions have biases.
- Fakes get the labels of the batch's real images; in the authors' code, uniformly drawn ones.
- The scales of G's conditional normalisation start from N(1, 0.02²) instead of 1.
- Every block of G halves the channels; the authors' first block keeps them.
- D ends in two blocks that keep the grid, not one, and doubles the channels once more in the first of them.
- The first convolution in a block of D keeps the number of channels; the authors' changes it.
- Weights within blocks start with SNGAN's gain of √2.
"""

from __future__ import annotations

from torch import nn

from ganzoo import Register, Spec, beside, hookimpl
from ganzoo.layers import ConditionalBatchNorm, Conditioning, GeneratorConditioning, SelfAttention, Width
from ganzoo_plugins.networks import sngan

PAPER = "Zhang et al. 2019, Self-Attention Generative Adversarial Networks, arXiv:1805.08318"


class Generator(sngan.Generator):
    """From codes (n, latent) to images (n, c, h, w) in [-1, 1].

    Args:
        spec: Image, latent and class sizes.
        width: Channels of the last block (64 in the authors' code); each earlier block has twice as many as the next.
        conditioning: How labels enter the network in a conditional recipe.
    """

    def __init__(self, spec: Spec, *, width: Width = 64, conditioning: GeneratorConditioning = "batch-norm") -> None:
        super().__init__(spec, width=width, doubling=True, conditioning=conditioning)
        # Before the last block, whose input has twice the width.
        self.blocks.insert(len(self.blocks) - 1, SelfAttention(2 * width))
        for module in self.modules():
            if isinstance(module, ConditionalBatchNorm):
                nn.init.normal_(module.scale, 1.0, 0.02)  # so that labels differ from the first step


class Discriminator(sngan.Discriminator):
    """From images (n, c, h, w) to logits (n,), via features that other heads can share.

    Args:
        spec: Image and class sizes.
        width: Channels of the first block (64 in the authors' code); they double up to the first block that keeps the
            grid.
        conditioning: How labels enter the network in a conditional recipe.
    """

    def __init__(self, spec: Spec, *, width: Width = 64, conditioning: Conditioning = "projection") -> None:
        super().__init__(spec, width=width, doubling=True, conditioning=conditioning)
        self.blocks.insert(1, SelfAttention(width))


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    register("sagan", Generator, summary="Residual blocks that double the grid, and self-attention", paper=PAPER)


@hookimpl
def register_discriminators(register: Register[nn.Module]) -> None:
    register("sagan", Discriminator, summary="Residual blocks, self-attention, projection", paper=PAPER)


register_recipes = beside(__file__, "sagan-mnist", "sagan-mnist-gpu")
