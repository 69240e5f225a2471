"""The flagship: a conditional GAN of other modules' parts, with MLP networks, tuned for a short run on a CPU.

Nothing here is new. ``flagship-mnist.yaml`` is the conditional GAN of ``cgan.py`` with the settings that helped it most
among those tried:

- Labels (Mirza & Osindero 2014, arXiv:1411.1784): one digit is easier to learn than all, and no class is forgotten.
- A projection discriminator (Miyato & Koyama 2018, arXiv:1802.05637): next to the pixels, the label would be one input
  among hundreds.
- Adam without momentum (Gulrajani et al. 2017, arXiv:1704.00028): each player responds to the other as it is now.
- A rate that falls from 1e-3 to DCGAN's 2e-4: large steps first, then smaller ones, so that the players circle less.
- A moving average of G (Yazıcı et al. 2019, arXiv:1806.04498): takes out the remaining circling.
- A weak R1 every eighth step (Mescheder et al. 2018, arXiv:1801.04406; lazy as in Karras et al. 2020, arXiv:1912.04958,
  without their rescaling of rate and betas) and a weak auxiliary classifier (Odena et al. 2017, arXiv:1610.09585):
  samples are more precise and a little less varied.
- Three layers of 512 units in G, a D of the usual width, 64 latent variables, and one batch of fakes for both players
  (``train.share_fakes``): more images in the same time.

Tuning chose the settings: the projection, the rate, the average, the length, D's width, the regularizers and the
generator on validation images, with one seed each; the others earlier, on test images. Other recipes had no such
search, and unconditional ones get no labels, so the flagship's rank shows what tuning achieves, not which idea is best.
The study ``flagship`` removes or replaces most parts one at a time, in shorter runs with a wider D, a stronger R1, a
shorter average and no auxiliary classifier; not every choice comes out best there.

Tried with earlier versions, and not adopted: DCGAN's generator (more variety, but pale or broken digits); a rate down
to 5e-5 with a longer average, alone or with top-k training; a constant rate; a stronger R1; relativistic pairing;
labels beside D's pixels; a slower G, layer normalisation or wider layers in G; a categorical code in the prior; shifted
images and cutout; and what the study ``flagship-search`` found. None was a clear gain in all respects.
"""

from __future__ import annotations

from ganzoo import beside

register_recipes = beside(__file__, "flagship-mnist")
