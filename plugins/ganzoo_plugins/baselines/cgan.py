"""cGAN: both players get the label.

Mirza & Osindero 2014, "Conditional Generative Adversarial Nets", arXiv:1411.1784, equation 2:

    min_G max_D  E_x[log D(x | y)] + E_z[log(1 - D(G(z | y)))]

The label is a one-hot vector, appended to the latent code in G and to the image in D: ``conditioning: concat``, the
default of ``mlp``, ``dcgan``, ``sngan-resnet`` and ``infogan``. Fakes get the labels of the batch's real images.

Differences from the paper:

- The first layer gets both z (or x) and y; the paper maps each through a hidden layer of its own first.
- The paper's D has maxout units.
- The recipe's loss is non-saturating.
- The paper has dropout in both players. Here D has none, and G has batch normalisation instead.
"""

from __future__ import annotations

from ganzoo import beside

register_recipes = beside(__file__, "cgan-mnist", aliases={"cgan-mnist": ("conditional-mnist",)})
