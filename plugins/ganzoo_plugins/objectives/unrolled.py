"""Unrolled GAN: the generator anticipates the discriminator's next steps.

Metz, Poole, Pfau & Sohl-Dickstein 2017, "Unrolled Generative Adversarial Networks", arXiv:1611.02163. With f(θ_G, θ_D)
the value that D maximises, D's ascent is unrolled for K steps,

    θ_D^0 = θ_D,    θ_D^{k+1} = θ_D^k + η ∇_{θ_D} f(θ_G, θ_D^k),

and G descends the surrogate f_K(θ_G, θ_D) = f(θ_G, θ_D^K(θ_G, θ_D)), whose gradient passes through all K steps:

    df_K/dθ_G = ∂f(θ_G, θ_D^K)/∂θ_G + ∂f(θ_G, θ_D^K)/∂θ_D^K · dθ_D^K/dθ_G

K = 0 is the ordinary game. All K steps use the batch and the codes of G's own phase. With
``generator: non-saturating``, G minimises -E log D(G(z)) after the K steps instead of f itself. D should have no batch
normalisation: the unrolled steps would also change its running averages.

Differences from the paper:

- The unrolled steps are plain gradient steps of size η (``step_size``), as in the equations; the paper's experiments
  unroll Adam.
- D itself takes one ordinary step before G does; the authors' demonstration updates both at once, on one batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from ganzoo import Batch, Losses, Networks, Objective, Phase, Register, beside, hookimpl

PAPER = "Metz et al. 2017, Unrolled Generative Adversarial Networks, arXiv:1611.02163"
Parameters = Mapping[str, Tensor]


def cost(real: Tensor, fake: Tensor) -> Tensor:
    """D's loss -f, from real and fake logits (n,)."""
    return softplus(-real).mean() + softplus(fake).mean()


class Unrolled(Objective):
    """A generator that looks ``steps`` steps ahead.

    Args:
        steps: K.
        step_size: η. If it is too large for D, the unrolled steps overshoot and G learns from noise.
        generator: Whether G minimises f itself, or the non-saturating loss.
    """

    def __init__(
        self,
        *,
        steps: Annotated[int, Field(ge=0, le=100)] = 5,
        step_size: Annotated[float, Field(gt=0, le=1e3)] = 0.02,
        generator: Literal["minimax", "non-saturating"] = "minimax",
    ) -> None:
        super().__init__()
        self.steps, self.step_size = steps, step_size
        self.saturates = generator == "minimax"

    def phases(self) -> list[Phase]:
        return [
            Phase("discriminator", ("discriminator",), self.discriminator_loss),
            Phase("generator", ("generator",), self.generator_loss),
        ]

    def discriminator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """-f."""
        with torch.no_grad():
            images = self.generate(networks, batch.z, batch.label)
        discriminator, condition = networks["discriminator"], self.condition(batch.label)
        real, fake = (discriminator(shown, *condition).float() for shown in (batch.real, images))
        return {"loss": cost(real, fake), "real_logits": real.mean(), "fake_logits": fake.mean()}

    def generator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """f_K, or the non-saturating loss after K steps; D's own parameters stay as they are."""
        images = self.generate(networks, batch.z, batch.label)
        ahead = self.unroll(networks["discriminator"], images, batch)
        fake = self.judge(networks["discriminator"], ahead, images, batch)
        if not self.saturates:
            return {"loss": softplus(-fake).mean()}
        return {"loss": -cost(self.judge(networks["discriminator"], ahead, batch.real, batch), fake)}

    def unroll(self, discriminator: nn.Module, fake: Tensor, batch: Batch) -> Parameters:
        """θ_D^K by parameter name, as a function of the fakes (n, c, h, w) and, through them, of θ_G."""
        parameters = {name: p.detach().requires_grad_() for name, p in discriminator.named_parameters()}
        for _ in range(self.steps):
            real, judged = (self.judge(discriminator, parameters, shown, batch) for shown in (batch.real, fake))
            gradients = torch.autograd.grad(cost(real, judged), list(parameters.values()), create_graph=True)
            stepped = zip(parameters.items(), gradients, strict=True)
            parameters = {name: p - self.step_size * gradient for (name, p), gradient in stepped}
        return parameters

    def judge(self, discriminator: nn.Module, parameters: Parameters, images: Tensor, batch: Batch) -> Tensor:
        """The discriminator's logits (n,) of images (n, c, h, w), with these parameters."""
        logits: Tensor = functional_call(discriminator, dict(parameters), (images, *self.condition(batch.label)))
        return logits.float()


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    register("unrolled", Unrolled, summary="G's gradient passes through K steps of D", paper=PAPER)


register_recipes = beside(__file__, "unrolled-mnist", "unrolled-ring")
