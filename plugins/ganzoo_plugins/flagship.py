"""The flagship: the best score that a few minutes on two CPU cores reach, put together from other pages' parts.

Nothing here is new. ``recipes/flagship-mnist.yaml`` is the conditional GAN of ``cgan.py`` with the parts that a search
found to matter (``results/flagship-search``), each of which an ablation takes away again with three seeds
(``results/flagship-ablation``; both are ``benchmarks/variants.py``'s). What they say, the most important first:

- **Labels** (Mirza & Osindero 2014, arXiv:1411.1784). One digit is less to learn than all of them, and no class is ever
  forgotten. Nothing else helps as much.
- **Adam without momentum**, twice as fast as usual: each player follows the other instead of where it was going
  (Gulrajani et al. 2017, arXiv:1704.00028, and all of StyleGAN's line). Decaying the rate costs more than it gives: the
  moving average already takes the noise away.
- **A moving average of G** (Yazıcı et al. 2019, arXiv:1806.04498). It is what is sampled, and far better than the
  weights that it follows.
- **A discriminator twice as wide** and **a flat generator**: hidden layers of 512 instead of a funnel from 128 to 1024,
  whose wide end costs most of G's operations and earns nothing.
- **R1, every eighth step** (Mescheder et al. 2018, arXiv:1801.04406; Karras et al. 2020, arXiv:1912.04958, for the
  laziness). Weak, cheap, and D stays smooth in long trainings.
- **64 latent variables** rather than 100.

What did not pay here: the relativistic loss, hinge loss with spectral normalisation, augmentation (60,000 images are
enough), deeper networks, larger batches (faster for an image, but not for a score), and convolutions, of which two
cores see too few images.
"""

from __future__ import annotations

from pathlib import Path

from ganzoo import RegisterRecipe, hookimpl


@hookimpl
def register_recipes(register: RegisterRecipe) -> None:
    """The flagship for MNIST."""
    register(Path(__file__).parent / "recipes" / "flagship-mnist.yaml")
