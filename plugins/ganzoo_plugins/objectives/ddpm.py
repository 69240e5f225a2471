"""DDPM: a network that finds the noise in an image, from which images are drawn step by step; no adversary.

Ho, Jain & Abbeel 2020, "Denoising Diffusion Probabilistic Models", arXiv:2006.11239. Noise is mixed with images x_0 in
T steps, of variances β_t that rise linearly from 10⁻⁴ to 0.02, with ᾱ_t = Π_{s ≤ t} (1 - β_s) and ᾱ_0 = 1. A network
learns the noise, by equation 14,

    x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε        L_simple = E ‖ε - ε(x_t, t)‖²        ε ~ N(0, I), t uniform from 1 to T

Images are drawn as in Song, Meng & Ermon 2021, "Denoising Diffusion Implicit Models", arXiv:2010.02502, equations 12
and 16, from x_T ~ N(0, I) in N steps, each from t to s < t, at evenly spaced times from T to 1 and then to 0:

    x̂_0 = (x_t - √(1 - ᾱ_t) ε(x_t, t)) / √ᾱ_t
    x_s = √ᾱ_s x̂_0 + √(1 - ᾱ_s - σ²) ε(x_t, t) + σ ε'        σ² = η² (1 - ᾱ_s) / (1 - ᾱ_t) · (1 - ᾱ_t / ᾱ_s)

With η = 0 (DDIM), the latent code x_T determines the image. With η = 1 and N = T, this is DDPM's own sampler with the
posterior's variance.

Differences from the papers:

- L is a mean over pixels. The network is that of the module denoisers.
- x̂_0 is clipped to [-1, 1], as in DDPM's code but not in DDIM's, and ε(x_t, t) follows it, so that x_s has the right
  scale.
- The first time is T, whatever N is; in DDIM's code it is one stride before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ganzoo import (
    Batch,
    GanzooError,
    GaussianPrior,
    Losses,
    Networks,
    Objective,
    Phase,
    Register,
    Share,
    Spec,
    beside,
    hookimpl,
)
from ganzoo.layers import Depth, Width
from ganzoo_plugins.networks.denoisers import MLP, UNet
from ganzoo_plugins.objectives.flow_matching import Patch, Steps, as_noise, require_noise

PAPER = "Ho, Jain & Abbeel 2020, Denoising Diffusion Probabilistic Models, arXiv:2006.11239"
TIMES = 1000
"""T."""


class Diffusion(nn.Module):
    """Draws samples (n, *shape) in [-1, 1] from noise (n, pixels), by DDIM or DDPM.

    Args:
        spec: Sample and class sizes.
        network: ε, called with samples (n, *shape), times t / T (n,) and labels (n,) or None.
        steps: N.
        eta: η.

    Attributes:
        kept: ᾱ (T + 1,), from ᾱ_0 = 1.
    """

    kept: Tensor

    def __init__(self, spec: Spec, network: nn.Module, steps: int, eta: float) -> None:
        super().__init__()
        self.spec, self.network, self.steps, self.eta = spec, network, steps, eta
        betas = torch.linspace(1e-4, 0.02, TIMES, dtype=torch.float64)
        kept = torch.cat([torch.ones(1), (1 - betas).cumprod(0)])
        self.register_buffer("kept", kept.float(), persistent=False)

    def noise(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """ε (n, *shape), float32, of samples (n, *shape) at times (n,) from 1 to T."""
        noise: Tensor = self.network(x, t / TIMES, label)
        return noise.float()

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Samples (n, *shape) from codes (n, latent) and, in a conditional recipe, labels (n,)."""
        x = as_noise(z, self.spec)
        stride = (TIMES - 1) / max(1, self.steps - 1)
        times = [round(TIMES - stride * step) for step in range(self.steps)]
        for t, s in pairwise([*times, 0]):
            x = self.step(x, t, s, label)
        return x

    def step(self, x: Tensor, t: int, s: int, label: Tensor | None = None) -> Tensor:
        """x_s (n, *shape) from x_t (n, *shape)."""
        now, then = self.kept[t], self.kept[s]
        noise = self.noise(x, x.new_full(x.shape[:1], t), label)
        clean = ((x - (1 - now).sqrt() * noise) / now.sqrt()).clamp(-1, 1)
        noise = (x - now.sqrt() * clean) / (1 - now).sqrt()
        variance = self.eta**2 * (1 - then) / (1 - now) * (1 - now / then)
        x = then.sqrt() * clean + (1 - then - variance).clamp(min=0).sqrt() * noise
        return x + variance.sqrt() * torch.randn_like(x) if self.eta else x


def unet(
    spec: Spec, *, width: Width = 32, blocks: Depth = 1, patch: Patch = 1, steps: Steps = 20, eta: Share = 0.0
) -> Diffusion:
    """A diffusion model whose ε is a U-Net.

    Args:
        spec: Image and class sizes.
        width: Channels at full resolution.
        blocks: Residual blocks for each resolution.
        patch: Side of the squares of pixels that it works on.
        steps: N.
        eta: η, 0 for DDIM, 1 for DDPM.
    """
    return Diffusion(spec, UNet(spec, width, blocks, patch), steps, eta)


def mlp(spec: Spec, *, width: Width = 512, blocks: Depth = 3, steps: Steps = 20, eta: Share = 0.0) -> Diffusion:
    """A diffusion model whose ε is a fully connected network.

    Args:
        spec: Sample and class sizes.
        width: Width of the hidden layers.
        blocks: Residual blocks.
        steps: N.
        eta: η, 0 for DDIM, 1 for DDPM.
    """
    return Diffusion(spec, MLP(spec, width, blocks), steps, eta)


class DDPM(Objective):
    """Regression of the noise in images. The recipe's generator is the diffusion model."""

    roles = {"generator": "generator"}  # noqa: RUF012

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Refuse a generator that is no diffusion model, and a prior other than N(0, I) of the samples' size."""
        if not isinstance(networks["generator"], Diffusion):
            raise GanzooError(
                "DDPM needs a generator that is a diffusion model, but "
                f"'{type(networks['generator']).__module__}' is none.",
                "Use e.g. generator: {name: ddpm-unet}.",
            )
        if not isinstance(spec.prior, GaussianPrior):
            raise GanzooError(
                f"DDPM starts from N(0, I), but the prior is '{spec.prior.name}'.",
                f"Use prior: {{name: gaussian, dim: {spec.pixels}}}.",
            )
        require_noise(spec, "DDPM")
        return super().bind(spec, networks)

    def phases(self) -> list[Phase]:
        return [Phase("noise", ("generator",), self.loss)]

    def loss(self, networks: Networks, batch: Batch) -> Losses:
        """L_simple, for one time of each image."""
        model, noise = networks["generator"], as_noise(batch.z, self.spec)
        assert isinstance(model, Diffusion)
        t = torch.randint(1, TIMES + 1, (len(noise),), device=noise.device)
        kept = model.kept[t].view(-1, *[1] * (noise.dim() - 1))
        x = kept.sqrt() * batch.real + (1 - kept).sqrt() * noise
        return {"loss": mse_loss(model.noise(x, t, *self.condition(batch.label)), noise)}


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    register("ddpm-unet", unet, summary="Noise removed step by step, by a U-Net", paper=PAPER, aliases=("ddim",))
    register("ddpm-mlp", mlp, summary="Noise removed step by step, by a fully connected network", paper=PAPER)


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    register(
        "ddpm",
        DDPM,
        summary="The noise in noisy images, without an adversary; drawn by DDIM or DDPM",
        paper=PAPER,
        aliases=("ddim", "diffusion"),
    )


register_recipes = beside(__file__, "ddpm-mnist", "ddpm-mlp-mnist", aliases={"ddpm-mnist": ("ddim-mnist",)})
