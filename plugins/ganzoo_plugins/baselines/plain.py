"""Plain GANs to compare methods with: the non-saturating loss on each family of networks, and nothing else.

Goodfellow et al. 2014, "Generative Adversarial Nets", arXiv:1406.2661, section 3. D minimises
E[softplus(-D(x))] + E[softplus(D(G(z)))], G minimises E[softplus(-D(G(z)))].

A method's score says little until the same networks, trained by the same optimizer for as many images without the
method, stand beside it. These recipes are that: each has the networks, the optimizers, the batch, the average and the
length of its family's recipe, and neither a penalty nor spectral normalisation nor an augmentation. What most recipes
of perceptrons share is in ``baseline-mlp-mnist``; a recipe's own prior, optimizer, critic steps or length may differ.
Two families need none of their own, because their recipe is plain already: ``dcgan-mnist``, and ``cgan-mnist`` for
perceptrons that are given labels.
"""

from __future__ import annotations

from pathlib import Path

from ganzoo import RegisterRecipe, hookimpl


@hookimpl
def register_recipes(register: RegisterRecipe) -> None:
    """One for each family of networks."""
    for family in ("mlp", "sngan", "sagan", "stylegan2", "r3gan"):
        register(Path(__file__).with_name(f"baseline-{family}-mnist.yaml"))
