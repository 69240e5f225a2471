"""The flagship: a conditional GAN of perceptrons, tuned for a short training on a CPU, of other modules' parts.

Nothing here is new. ``flagship-mnist.yaml`` is the conditional GAN of ``cgan.py`` with what helped it most among the
settings that were tried. The study ``flagship`` takes each of them away again, which measures what it is worth:

- **Labels** (Mirza & Osindero 2014, arXiv:1411.1784). One digit is less to learn than all of them, and no class is ever
  forgotten.
- **A projection discriminator** (Miyato & Koyama 2018, arXiv:1802.05637). D first sees the image alone and asks at the
  end how well its features suit the label, where a label beside the pixels is one input among hundreds.
- **Adam without momentum** (β1 = 0 as in Gulrajani et al. 2017, arXiv:1704.00028): each player follows the other as it
  is now, not where it was going.
- **A learning rate that falls linearly from 1e-3 to DCGAN's 2e-4**: large steps at first, and smaller ones towards the
  end, so that the players circle less.
- **A moving average of G** (Yazıcı et al. 2019, arXiv:1806.04498), which takes out what circling is left.
- **A discriminator twice as wide as other perceptrons of the zoo have, and R1 every eighth step** (Mescheder et al.
  2018, arXiv:1801.04406; lazily as in Karras et al. 2020, arXiv:1912.04958,
  but without their rescaling of the learning rate and the betas).
- **Flat hidden layers of 512 in G** instead of the tutorials' funnel from 128 to 1024: fewer operations, so more images
  in the same time.
- **64 latent variables, and one batch of fakes for both players** (``train.share_fakes``): a pass through G less.

DCGAN's generator against the same discriminator covered more of the real images' variety in the same time, but drew
more digits pale or broken. The study has it as a variant, next to conditional batch normalisation in the perceptron.

The projection, the learning rate, the length of the average and the two generators were compared on validation images,
one seed each, so small differences mean nothing. All other settings go back to an earlier search that looked at test
images, and other recipes had no such search. It is given labels, which unconditional recipes do without. Its rank
says what tuning reaches, not which idea is best.
"""

from __future__ import annotations

from pathlib import Path

from ganzoo import RegisterRecipe, hookimpl


@hookimpl
def register_recipes(register: RegisterRecipe) -> None:
    """The flagship for MNIST."""
    register(Path(__file__).with_name("flagship-mnist.yaml"))
