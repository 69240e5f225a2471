"""Unrolled GAN: the generator anticipates the discriminator's next steps.

Metz, Poole, Pfau & Sohl-Dickstein 2017, "Unrolled Generative Adversarial Networks", arXiv:1611.02163. With f(θ_G, θ_D)
the value that D maximises, D's ascent is unrolled for K steps,

    θ_D^0 = θ_D,    θ_D^{k+1} = θ_D^k + η ∇_{θ_D} f(θ_G, θ_D^k),

and G descends on the surrogate f_K(θ_G, θ_D) = f(θ_G, θ_D^K(θ_G, θ_D)), whose gradient goes through all K steps:

    df_K/dθ_G = ∂f(θ_G, θ_D^K)/∂θ_G + ∂f(θ_G, θ_D^K)/∂θ_D^K · dθ_D^K/dθ_G

D itself takes one ordinary step, before G does. K = 0 is the ordinary game.

The paper's experiments unroll Adam (Kingma & Ba 2015, arXiv:1412.6980): with ``betas``, each unrolled step is one of
Adam, from the moments that D's own gradients have left; ε stands under the root, which has no slope at zero. Without,
it is a plain gradient step, as in the equations. η (``step_size``) stays the same to the end of a training. All K
steps use the batch and the codes of G's own phase. With ``generator: non-saturating``, G minimises -E log D(G(z))
after the steps instead of f itself. D should have no batch normalisation: the unrolled steps would change its running
averages too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from ganzoo import Batch, Losses, Networks, Objective, Phase, Register, RegisterRecipe, Spec, hookimpl

PAPER = "Metz et al. 2017, Unrolled Generative Adversarial Networks, arXiv:1611.02163"
EPSILON = 1e-8  # of Adam
Decay = Annotated[float, Field(ge=0, lt=1)]


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """All tensors in one vector."""
    return torch.cat([one.flatten() for one in tensors])


def cost(real: Tensor, fake: Tensor) -> Tensor:
    """-f, D's loss, from real and fake logits (n,)."""
    return softplus(-real).mean() + softplus(fake).mean()


class Unrolled(Objective):
    """A generator that looks ``steps`` steps ahead.

    Args:
        steps: K.
        step_size: η. If it is too large for D, the unrolled steps overshoot and G learns from noise. D's learning rate
            if Adam is unrolled.
        betas: Adam's decay rates, those of D's own Adam; None unrolls plain gradient steps.
        generator: Whether G minimises f itself, or the non-saturating loss.
    """

    mean: Tensor
    square: Tensor
    count: Tensor

    def __init__(
        self,
        *,
        steps: Annotated[int, Field(ge=0, le=100)] = 5,
        step_size: Annotated[float, Field(gt=0, le=1e3)] = 0.02,
        betas: tuple[Decay, Decay] | None = None,
        generator: Literal["minimax", "non-saturating"] = "minimax",
    ) -> None:
        super().__init__()
        self.steps, self.step_size, self.betas = steps, step_size, betas
        self.saturates = generator == "minimax"

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Adam's moments of D's gradient begin at zero."""
        if self.betas is not None:
            weights = flat(networks["discriminator"].parameters()).detach()
            for name, start in (("mean", weights), ("square", weights), ("count", weights[0])):
                self.register_buffer(name, torch.zeros_like(start))
        return super().bind(spec, networks)

    def phases(self) -> list[Phase]:
        """The discriminator's one ordinary step, then the generator's."""
        after = None if self.betas is None else self.remember
        return [
            Phase("discriminator", ("discriminator",), self.discriminator_loss, after=after),
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

    def remember(self, networks: Networks) -> None:
        """Update Adam's moments with the gradient of D's ordinary step."""
        parameters = networks["discriminator"].parameters()
        slope = flat(torch.zeros_like(p) if p.grad is None else p.grad for p in parameters)
        mean, square = self.moments(slope, self.mean, self.square)
        self.mean.copy_(mean)
        self.square.copy_(square)
        self.count += 1

    def moments(self, slope: Tensor, mean: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        """Adam's moments after a gradient."""
        assert self.betas is not None
        return slope.lerp(mean, self.betas[0]), slope.square().lerp(square, self.betas[1])

    def unroll(self, discriminator: nn.Module, fake: Tensor, batch: Batch) -> Tensor:
        """θ_D^K in one vector, as a function of the fakes (n, c, h, w) and, through them, of θ_G."""
        parameters = flat(discriminator.parameters()).detach().requires_grad_()
        if self.betas is not None:
            mean, square = self.mean, self.square
        for step in range(1, self.steps + 1):
            real, judged = (self.judge(discriminator, parameters, shown, batch) for shown in (batch.real, fake))
            (slope,) = torch.autograd.grad(cost(real, judged), parameters, create_graph=True)
            if self.betas is not None:
                mean, square = self.moments(slope, mean, square)
                first, second = (1 - beta ** (self.count + step) for beta in self.betas)
                slope = (mean / first) / (square / second + EPSILON**2).sqrt()
            parameters = parameters - self.step_size * slope
        return parameters

    def judge(self, discriminator: nn.Module, parameters: Tensor, images: Tensor, batch: Batch) -> Tensor:
        """Logits (n,) of images (n, c, h, w) by the discriminator with these parameters, all in one vector."""
        own = dict(discriminator.named_parameters())
        pieces = zip(own.items(), parameters.split([p.numel() for p in own.values()]), strict=True)
        given = {name: piece.view_as(p) for (name, p), piece in pieces}
        logits: Tensor = functional_call(discriminator, given, (images, *self.condition(batch.label)))
        return logits.float()


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    """The unrolled game."""
    register("unrolled", Unrolled, summary="G descends through K steps of D", paper=PAPER)


@hookimpl
def register_recipes(register: RegisterRecipe) -> None:
    """Digits, and the paper's ring, with MLP networks."""
    for name in ("unrolled-mnist", "unrolled-ring"):
        register(Path(__file__).with_name(f"{name}.yaml"))
