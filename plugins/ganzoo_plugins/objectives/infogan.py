"""InfoGAN: latent codes that mean something, found without labels.

Chen et al. 2016, "InfoGAN: Interpretable Representation Learning by Information Maximizing Generative
Adversarial Nets", arXiv:1606.03657. Equation 6, with the lower bound of equation 5 on the information
between codes c and images:

    min_{G, Q} max_D  V(D, G) - λ L_I(G, Q),    L_I = E_{c, x = G(z, c)}[log Q(c | x)] + H(c) ≤ I(c; G(z, c))

Q(c | x) is a softmax for each categorical code and a Gaussian of deviation 1 for each continuous one (the
authors' MNIST code fixes it too: a learned one makes the bound, a differential entropy, grow without
limit).

Q shares D's trunk and adds a small head. In the generator's phase G and the head learn from L_I while all
of D is frozen. The shared layers are as much Q's as D's, so in the discriminator's phase, as in the
authors' code, they learn from V and from L_I. V's generator part is non-saturating, as in the authors'
code. λ is two options, one for each sort of code. The noise beside the codes is Gaussian instead of
uniform.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log, pi
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, softplus

from ganzoo import (
    Batch,
    CodesPrior,
    GanzooError,
    Losses,
    Networks,
    Objective,
    Phase,
    Register,
    RegisterRecipe,
    Spec,
    hookimpl,
)
from ganzoo_plugins.trunks import Trunk, shared

PAPER = "Chen et al. 2016, InfoGAN: Interpretable Representation Learning, arXiv:1606.03657"


class Recognition(nn.Sequential):
    """Q's own layers: from D's features (n, feature_width) to parameters of Q(c | x), (n, code columns)."""

    def __init__(self, feature_width: int, code_width: int) -> None:
        hidden = [nn.Linear(feature_width, 128, bias=False), nn.BatchNorm1d(128), nn.LeakyReLU(0.2)]
        super().__init__(*hidden, nn.Linear(128, code_width))


def information(prior: CodesPrior, predicted: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """L_I, the lower bound on the information between codes and images, in nats.

    Args:
        prior: Which columns of z are codes.
        predicted: Parameters of Q(c | x), (n, code columns): logits of each categorical code, then means.
        z: The latent codes (n, latent) that the images were made from.

    Returns:
        The categorical codes' part and the continuous codes' part, scalars.
    """
    columns = [*prior.categorical, prior.continuous]
    *chosen, drawn = torch.split(z[:, prior.dim :], columns, dim=1)
    *logits, means = torch.split(predicted, columns, dim=1)
    categorical = predicted.new_zeros(())
    for one_hot, logit in zip(chosen, logits, strict=True):
        categorical = categorical + log(logit.shape[1]) + (one_hot * log_softmax(logit, dim=1)).sum(1).mean()
    log_density = -((drawn - means).square() + log(2 * pi)) / 2
    return categorical, (log_density + log(2)).sum(1).mean()


class InfoGAN(Objective):
    """The adversarial game with a recognition head. The recipe's prior must be ``codes``.

    Args:
        categorical_weight: λ for categorical codes.
        continuous_weight: λ for continuous codes.
    """

    def __init__(self, *, categorical_weight: float = 1.0, continuous_weight: float = 1.0) -> None:
        super().__init__()
        self.weights = categorical_weight, continuous_weight

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Adds the recognition head on the discriminator's features."""
        super().bind(spec, networks)
        if not isinstance(spec.prior, CodesPrior) or spec.prior.width == spec.prior.dim:
            raise GanzooError(
                f"InfoGAN has no codes to recognise in the prior '{spec.prior.name}'.",
                "Use e.g. prior: {name: codes, dim: 62, categorical: [10], continuous: 2}.",
            )
        self.prior = spec.prior
        trunk = shared(networks["discriminator"], "discriminator", "InfoGAN")
        return {"recognition": Recognition(trunk.feature_width, spec.prior.width - spec.prior.dim)}

    def phases(self) -> list[Phase]:
        """The discriminator's turn and the generator's; the recognition head learns in both."""
        return [
            Phase("discriminator", ("discriminator", "recognition"), self.discriminator_loss),
            Phase("generator", ("generator", "recognition"), self.generator_loss),
        ]

    def discriminator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """-V - λ L_I, the images carrying no graph."""
        with torch.no_grad():
            images = self.generate(networks, batch.z, batch.label)
        trunk, condition = cast("Trunk", networks["discriminator"]), self.condition(batch.label)
        real = trunk.head(trunk.features(batch.real, *condition), *condition).float()
        fake, gained = self.judge(networks, images, batch)
        loss = softplus(-real).mean() + softplus(fake).mean() - gained["information"]
        return {"loss": loss, "real_logits": real.mean(), "fake_logits": fake.mean()}

    def generator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """-E[log D(G(z, c))] - λ L_I."""
        fake, gained = self.judge(networks, self.generate(networks, batch.z, batch.label), batch)
        return {"loss": softplus(-fake).mean() - gained["information"], **gained}

    def judge(self, networks: Networks, images: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits (n,) of fakes, and what their codes tell: the two parts of L_I and their weighted sum."""
        trunk = cast("Trunk", networks["discriminator"])
        condition = self.condition(batch.label)
        features = trunk.features(images, *condition)
        predicted = networks["recognition"](features).float()
        categorical, continuous = information(self.prior, predicted, batch.z)
        weighted = self.weights[0] * categorical + self.weights[1] * continuous
        parts = {"information": weighted, "categorical": categorical, "continuous": continuous}
        return trunk.head(features, *condition).float(), parts


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    """The information-maximising game."""
    register("infogan", InfoGAN, summary="Adversarial game that maximises information in latent codes", paper=PAPER)


@hookimpl
def register_recipes(register: RegisterRecipe) -> None:
    """One categorical code for the digit and two continuous ones for its shape."""
    register(Path(__file__).parent / "recipes" / "infogan-mnist.yaml")
