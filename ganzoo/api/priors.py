"""Latent distributions p(z): what a generator is fed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Width = Annotated[int, Field(ge=1, le=65_536)]


class _Prior(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class GaussianPrior(_Prior):
    """z ~ N(0, I)."""

    name: Literal["gaussian"] = "gaussian"
    dim: Width = 100

    @property
    def width(self) -> int:
        """Width of a latent code."""
        return self.dim

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Draw codes (n, dim), float32."""
        import torch

        return torch.randn(n, self.dim, generator=generator, device=device)


class UniformPrior(_Prior):
    """z ~ U(-1, 1), as in the original GAN and DCGAN papers."""

    name: Literal["uniform"] = "uniform"
    dim: Width = 100

    @property
    def width(self) -> int:
        """Width of a latent code."""
        return self.dim

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Draw codes (n, dim) in [-1, 1), float32."""
        import torch

        return torch.rand(n, self.dim, generator=generator, device=device).mul_(2).sub_(1)


class CodesPrior(_Prior):
    """Noise beside structured codes (InfoGAN, Chen et al. 2016): N(0, I), then one-hot codes, then U(-1, 1) codes.

    The columns are laid out in that order: ``dim`` of noise, each of ``categorical`` one-hot, ``continuous``.
    """

    name: Literal["codes"] = "codes"
    dim: Width = 62
    categorical: tuple[Annotated[int, Field(ge=2, le=10_000)], ...] = Field((10,), strict=False)
    continuous: Annotated[int, Field(ge=0, le=1_000)] = 2

    @property
    def width(self) -> int:
        """Width of a latent code: noise and codes together."""
        return self.dim + sum(self.categorical) + self.continuous

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Draw codes (n, width), float32."""
        import torch

        columns = [torch.randn(n, self.dim, generator=generator, device=device)]
        for classes in self.categorical:
            drawn = torch.randint(classes, (n, 1), generator=generator, device=device)
            # torch's one_hot looks at values on some devices, and so waits for them.
            columns.append((drawn == torch.arange(classes, device=device)).float())
        columns.append(torch.rand(n, self.continuous, generator=generator, device=device) * 2 - 1)
        return torch.cat(columns, dim=1)


Prior = Annotated[GaussianPrior | UniformPrior | CodesPrior, Field(discriminator="name")]
