"""Flow matching: a velocity that carries noise to images along straight lines; no adversary.

Lipman et al. 2023, "Flow Matching for Generative Modeling", arXiv:2210.02747, with the optimal-transport path of
section 4.1 at σ_min = 0, which is the rectified flow of Liu, Gong & Liu 2023, "Flow Straight and Fast",
arXiv:2209.03003. Of noise x_0 ~ p(z), an image x_1 and a time t ~ U(0, 1),

    x_t = (1 - t) x_0 + t x_1        L = E ‖v(x_t, t) - (x_1 - x_0)‖²

At the minimum, v(x, t) = E[x_1 - x_0 | x_t = x], and the solution of dx/dt = v(x, t) from x_0 at t = 0 has the
distribution of images at t = 1. It is drawn in N steps of Heun's method or of Euler's,

    euler:  x ← x + v(x, t) / N
    heun:   x ← x + (v(x, t) + v(x + v(x, t) / N, t + 1 / N)) / 2N

A latent code is x_0 itself, so it has as many dimensions as the image, and determines it.

Differences from the paper:

- The solver's steps are fixed; the paper's adapts them to a tolerance. The network is that of the module denoisers.
- L is a mean over pixels.
- Samples end within [-1, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import mse_loss, pad

from ganzoo import Batch, GanzooError, Losses, Networks, Objective, Phase, Register, Spec, beside, hookimpl
from ganzoo.layers import Depth, Width
from ganzoo_plugins.networks.denoisers import MLP, UNet

PAPER = "Lipman et al. 2023, Flow Matching for Generative Modeling, arXiv:2210.02747"

Steps = Annotated[int, Field(ge=1, le=1000)]
Patch = Annotated[int, Field(ge=1, le=16)]
Solver = Literal["euler", "heun"]


def require_noise(spec: Spec, reader: str) -> None:
    """Refuse a prior with another number of dimensions than the samples have.

    Raises:
        GanzooError: It does.
    """
    if spec.latent != spec.pixels:
        raise GanzooError(
            f"{reader} starts from noise of the samples' own size, {spec.pixels} numbers, but the prior has "
            f"{spec.latent}.",
            f"Set prior.dim: {spec.pixels}.",
        )


def as_noise(z: Tensor, spec: Spec) -> Tensor:
    """Latent codes (n, latent) as noise (n, *shape); if there are fewer numbers than pixels, the others are zero."""
    return pad(z, (0, spec.pixels - z.shape[1])).view(-1, *spec.shape)


class Flow(nn.Module):
    """Solves dx/dt = v(x, t): from noise (n, pixels) at t = 0 to samples (n, *shape) in [-1, 1] at t = 1.

    Args:
        spec: Sample and class sizes.
        network: v, called with samples (n, *shape), times (n,) and labels (n,) or None.
        steps: N.
        solver: The method.
    """

    def __init__(self, spec: Spec, network: nn.Module, steps: int, solver: str) -> None:
        super().__init__()
        self.spec, self.network, self.steps, self.solver = spec, network, steps, solver

    def velocity(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """The velocity (n, *shape), float32, of samples (n, *shape) at times (n,)."""
        velocity: Tensor = self.network(x, t, label)
        return velocity.float()

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Samples (n, *shape) from codes (n, latent) and, in a conditional recipe, labels (n,)."""
        x = as_noise(z, self.spec)
        for step in range(self.steps):
            velocity = self.velocity(x, x.new_full(x.shape[:1], step / self.steps), label)
            if self.solver == "heun":
                later = x.new_full(x.shape[:1], (step + 1) / self.steps)
                velocity = (velocity + self.velocity(x + velocity / self.steps, later, label)) / 2
            x = x + velocity / self.steps
        return x.clamp(-1, 1)


def unet(
    spec: Spec,
    *,
    width: Width = 32,
    blocks: Depth = 1,
    patch: Patch = 1,
    steps: Steps = 10,
    solver: Solver = "heun",
) -> Flow:
    """A flow whose velocity is a U-Net.

    Args:
        spec: Image and class sizes.
        width: Channels at full resolution.
        blocks: Residual blocks for each resolution.
        patch: Side of the squares of pixels that it works on.
        steps: N.
        solver: The method; ``heun`` evaluates the velocity twice in a step.
    """
    return Flow(spec, UNet(spec, width, blocks, patch), steps, solver)


def mlp(spec: Spec, *, width: Width = 512, blocks: Depth = 3, steps: Steps = 10, solver: Solver = "heun") -> Flow:
    """A flow whose velocity is a fully connected network.

    Args:
        spec: Sample and class sizes.
        width: Width of the hidden layers.
        blocks: Residual blocks.
        steps: N.
        solver: The method; ``heun`` evaluates the velocity twice in a step.
    """
    return Flow(spec, MLP(spec, width, blocks), steps, solver)


class FlowMatching(Objective):
    """Regression of the velocity on straight lines from noise to images. The recipe's generator is the flow."""

    roles = {"generator": "generator"}  # noqa: RUF012

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Refuse a generator without a velocity, and a prior of another size than the samples."""
        if not hasattr(networks["generator"], "velocity"):
            raise GanzooError(
                "Flow matching needs a generator with a velocity, but "
                f"'{type(networks['generator']).__module__}' has none.",
                "Use e.g. generator: {name: flow-unet}.",
            )
        require_noise(spec, "Flow matching")
        return super().bind(spec, networks)

    def phases(self) -> list[Phase]:
        return [Phase("velocity", ("generator",), self.loss)]

    def loss(self, networks: Networks, batch: Batch) -> Losses:
        """L, for one time of each image."""
        noise = as_noise(batch.z, self.spec)
        t = torch.rand(len(noise), device=noise.device)
        share = t.view(-1, *[1] * (noise.dim() - 1))
        velocity = networks["generator"].velocity(  # type: ignore[operator]
            torch.lerp(noise, batch.real, share), t, *self.condition(batch.label)
        )
        return {"loss": mse_loss(velocity, batch.real - noise)}


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    register("flow-unet", unet, summary="A flow from noise to images, with a U-Net", paper=PAPER)
    register("flow-mlp", mlp, summary="A flow from noise to samples, fully connected", paper=PAPER)


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    register(
        "flow-matching",
        FlowMatching,
        summary="A velocity from noise to images along straight lines, without an adversary",
        paper=PAPER,
        aliases=("rectified-flow", "flow"),
    )


register_recipes = beside(__file__, "flow-matching-mnist", "flow-matching-mlp-mnist")
