"""The flagship: the best score that a few minutes on two CPU cores reach, put together from other modules' parts.

Nothing here is new. ``flagship-mnist.yaml`` is the conditional GAN of ``cgan.py`` with the parts that a search
found to matter (``results/flagship-search``), each of which an ablation takes away again with three seeds
(``results/flagship-ablation``; both are ``benchmarks/variants.py``'s). What they say, the most important first:

- **Labels** (Mirza & Osindero 2014, arXiv:1411.1784). One digit is less to learn than all of them, and no class is ever
  forgotten. Nothing else helps as much.
- **Adam without momentum, and a learning rate more than twice the usual** (β1 = 0 as in Gulrajani et al. 2017,
  arXiv:1704.00028): each player follows the other instead of where it was going. Either alone is worth nearly as much
  as labels. Decaying the rate costs more than it gives here.
- **A moving average of G** (Yazıcı et al. 2019, arXiv:1806.04498): half the distance of the weights that it follows.
- **A discriminator twice as wide, and R1 every eighth step** (Mescheder et al. 2018, arXiv:1801.04406; lazily as in
  Karras et al. 2020, arXiv:1912.04958). In the ablation's short trainings neither shows; in the search, twice as long,
  the wider discriminator was the best single change.
- **Flat hidden layers of 512 in G** instead of the tutorials' funnel from 128 to 1024. They cost fewer operations;
  image for image the funnel is better, at least at first.
- **64 latent variables** rather than 100, and **one batch of fakes for both players** (``train.share_fakes``, which the
  search did not know of): no difference that three seeds could show. The second saves a pass through G.
- **bf16** costs little, if anything.

What did not pay in the search: the relativistic loss, hinge loss with spectral normalisation, augmentation and a deeper
discriminator. A larger batch was faster and no worse by itself, but needed more images beside the other changes.
The search has one seed for each variant, so small differences in it mean nothing; convolutions were not searched.

Settings were chosen by the score that is reported, against the same test images, and other recipes had no such search.
Labels are given to it that unconditional recipes do without. Its rank says what tuning reaches, not which idea is best.
"""

from __future__ import annotations

from pathlib import Path

from ganzoo import RegisterRecipe, hookimpl


@hookimpl
def register_recipes(register: RegisterRecipe) -> None:
    """The flagship for MNIST."""
    register(Path(__file__).with_name("flagship-mnist.yaml"))
