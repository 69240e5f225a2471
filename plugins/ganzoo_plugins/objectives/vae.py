"""Variational autoencoder: a baseline without an adversary.

Kingma & Welling 2014, "Auto-Encoding Variational Bayes", arXiv:1312.6114. It minimises the negative evidence lower
bound,

    -E_{z ~ q(z|x)}[log p(x|z)] + KL(q(z|x) ‖ N(0, I)),    q(z|x) = N(μ(x), diag σ²(x)),

in nats per image. Each x gets one z, by reparametrisation, and the divergence has a closed form. The likelihood is

    bernoulli:  log p(x|z) = Σ t log y + (1 - t) log(1 - y)      t, y: x and G(z) rescaled from [-1, 1] to [0, 1]
    gaussian:   log p(x|z) = -Σ ((x - G(z))² / σ_x² + log 2πσ_x²) / 2      σ_x fixed

Grey values of t are not binarised. For them, the Bernoulli term is a cross-entropy, not a likelihood, as is common for
this baseline on MNIST. Sampled images are the means G(z), without the noise of p(x|z), so they look smooth.

In training, G sees only codes of images. If it has batch normalisation, averaged weights (``train.ema``) draw samples
with statistics measured on codes from the prior. Raw weights use the statistics of images' codes, which suit samples
less well.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log, pi
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from ganzoo import (
    Batch,
    GanzooError,
    GaussianPrior,
    Losses,
    Networks,
    Objective,
    Phase,
    Register,
    Spec,
    beside,
    functional,
    hookimpl,
)
from ganzoo_plugins.networks.encoders import Autoencoding, deviation_layer, posterior

PAPER = "Kingma & Welling 2014, Auto-Encoding Variational Bayes, arXiv:1312.6114"

Likelihood = Literal["bernoulli", "gaussian"]


def gaussian_prior(spec: Spec, reader: str) -> None:
    """Refuse a prior for which the closed form of the divergence does not hold.

    Raises:
        GanzooError: The prior is not N(0, I).
    """
    if not isinstance(spec.prior, GaussianPrior):
        raise GanzooError(
            f"{reader} measures its divergence from N(0, I), but the prior is '{spec.prior.name}'.",
            "Use prior: {name: gaussian, dim: ...}.",
        )


def negative_log_likelihood(images: Tensor, means: Tensor, kind: Likelihood, deviation: float) -> Tensor:
    """-log p(x|z) in nats, (n,).

    Args:
        images: x (n, c, h, w) in [-1, 1].
        means: G(z) (n, c, h, w) in [-1, 1], float32.
        kind: Which likelihood.
        deviation: σ_x of the Gaussian, on pixels in [-1, 1].
    """
    if kind == "bernoulli":
        # Rounding can leave values slightly outside [0, 1], which the cross-entropy rejects.
        target, mean = (((pixels + 1) / 2).clamp(0, 1) for pixels in (images, means))
        return binary_cross_entropy(mean, target, reduction="none").flatten(1).sum(1)
    constant = log(2 * pi * deviation**2) * images[0].numel()
    return (functional.squared_norm(images - means) / deviation**2 + constant) / 2


class VAE(Autoencoding):
    """The evidence lower bound. The recipe's generator is the decoder.

    Args:
        likelihood: The likelihood of pixels.
        deviation: σ_x of the Gaussian likelihood, on pixels in [-1, 1].
    """

    def __init__(
        self, *, likelihood: Likelihood = "bernoulli", deviation: Annotated[float, Field(ge=1e-6, le=1e6)] = 1.0
    ) -> None:
        super().__init__()
        self.likelihood: Likelihood = likelihood
        self.deviation = deviation

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Add the layer that computes the encoder's log variances."""
        gaussian_prior(spec, "A variational autoencoder")
        layer = deviation_layer(networks["encoder"], spec, "A variational autoencoder")
        return {**super().bind(spec, networks), "deviation": layer}

    def phases(self) -> list[Phase]:
        return [Phase("autoencoder", ("generator", "encoder", "deviation"), self.bound)]

    def bound(self, networks: Networks, batch: Batch) -> Losses:
        q = posterior(networks, batch.real, self.condition(batch.label))
        means = self.generate(networks, q.sample(), batch.label).float()
        with torch.autocast(batch.real.device.type, enabled=False):  # refuses the cross-entropy on a GPU
            error = negative_log_likelihood(batch.real, means, self.likelihood, self.deviation).mean()
        divergence = q.divergence().mean()
        return {"loss": error + divergence, "error": error, "divergence": divergence}


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    register("vae", VAE, summary="Variational autoencoder, a baseline without an adversary", paper=PAPER)


register_recipes = beside(__file__, "vae-mnist")
