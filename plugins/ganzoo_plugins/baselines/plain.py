"""Plain GANs to compare methods with: only the non-saturating loss, on each family of networks.

Goodfellow et al. 2014, "Generative Adversarial Nets", arXiv:1406.2661, section 3:

    D minimises E[softplus(-D(x))] + E[softplus(D(G(z)))]        G minimises E[softplus(-D(G(z)))]

A method's score says little without the score of the same networks trained without the method, by the same optimizer
and on as many images. These recipes provide that score. Each has the networks, the optimizers (without
``lazy_scaling``, which is for lazy penalties), the batch size, the moving average and the length of its family's
recipe, but no penalty, no spectral normalisation and no augmentation. ``baseline-mlp-mnist`` has the settings that most
MLP recipes share; the prior, optimizer, critic steps or length of a recipe may differ. Three recipes are plain
already, so that their families need no extra baseline: ``dcgan-mnist``, ``cdcgan-mnist``, and ``cgan-mnist`` for MLPs
that get labels.
``baseline-stacked-mnist``, a narrow DCGAN on stacked digits, is for ``pacgan-stacked-mnist``, which shows D packs of
two and so twice as many images in as many steps.
"""

from __future__ import annotations

from ganzoo import beside

register_recipes = beside(
    __file__,
    "baseline-mlp-mnist",
    "baseline-sngan-mnist",
    "baseline-sagan-mnist",
    "baseline-stylegan2-mnist",
    "baseline-r3gan-mnist",
    "baseline-stacked-mnist",
)
