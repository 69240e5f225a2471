"""The flagship: a conditional GAN of other modules' parts, with MLP networks, tuned for a short run on a CPU.

Nothing here is new. ``flagship-mnist.yaml`` is the conditional GAN of ``cgan.py`` with the settings that helped it most
among those tried. The study ``flagship`` removes or replaces most of them one at a time, to see what each is worth:

- **Labels** (Mirza & Osindero 2014, arXiv:1411.1784). One digit is easier to learn than all of them together, and no
  class is ever forgotten.
- **A projection discriminator** (Miyato & Koyama 2018, arXiv:1802.05637). D first sees the image alone, and compares
  its features with the label at the end; next to the pixels, the label would be one input among hundreds.
- **Adam without momentum** (β1 = 0, as in Gulrajani et al. 2017, arXiv:1704.00028): each player responds to the other
  as it is now, not as it was some steps ago.
- **A learning rate that falls linearly from 1e-3 to DCGAN's 2e-4**: large steps at first, and smaller ones towards the
  end, so that the players circle less.
- **A moving average of G** (Yazıcı et al. 2019, arXiv:1806.04498), which averages out the remaining circling.
- **A discriminator no wider than in most MLP recipes of the zoo**: one of twice the width sees far fewer images in the
  same time, and its samples are worse.
- **A weak R1 every eighth step** (Mescheder et al. 2018, arXiv:1801.04406; lazy, as in Karras et al. 2020,
  arXiv:1912.04958, but without their rescaling of the learning rate and the betas), and **an auxiliary classifier with
  a small weight** (Odena et al. 2017, arXiv:1610.09585). Together, the weak R1 and the classifier make samples more
  precise and a little less varied.
- **Three hidden layers of 512 units in G** instead of the tutorials' funnel from 128 to 1024: fewer operations, so more
  images in the same time.
- **64 latent variables, and one batch of fakes for both players** (``train.share_fakes``): saves a pass through G.

The study trains for a small part of the recipe's length, with a shorter average, a discriminator twice as wide, a
stronger R1 and no classifier. In it, labels, the projection, Adam without momentum, the high initial rate, the average
and R1 each help. Shared fakes, 64 latent variables and the way in which G gets its labels hardly matter. Some choices
do not come out best: a rate that stays high, the tutorials' funnel and a narrower discriminator score better after so
few images, the last two at the cost of recall.

In the same training time, DCGAN's generator against the same discriminator covered more of the real images' variety,
but more of its digits were pale or broken. In the study, with the same number of images, it scores better in all views
but takes longer.

The projection, the learning rate, the average, the length, the width of the discriminator, the regularizers and the two
generators were compared on validation images, with one seed each, so small differences mean nothing. Not adopted:

- with earlier versions of the recipe, in the same training time: a rate that falls to 5e-5, with a longer average
  (better in every headline view, but less precise), the same with top-k training (no further gain), and the settings
  that the study ``flagship-search`` found (no clear gain);
- with the wider discriminator, for half as many images as it then had: a constant rate of 5e-4 (more precise, but less
  varied, and worse Fréchet distances); an R1 four times as strong (the reverse, but for fid@mnist-ae); labels beside
  D's pixels, a slower G, layer normalisation or wider layers in G, and a categorical code in the prior (no clear gain);
  relativistic pairing, a constant rate of 1e-3, shifted images and cutout (worse).

All other settings come from an earlier search that used test images; other recipes had no such search. The flagship
also gets labels, which unconditional recipes do not. Its rank shows what tuning achieves, not which idea is best.
"""

from __future__ import annotations

from ganzoo import beside

register_recipes = beside(__file__, "flagship-mnist")
