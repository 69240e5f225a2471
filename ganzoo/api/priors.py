"""Priors p(z): what a generator's latent codes are drawn from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ganzoo.api.bounds import Width
from ganzoo.errors import GanzooError
from ganzoo.functional import one_hot

Categories = Annotated[int, Field(ge=2, le=10_000)]


class Prior(ABC):
    """A distribution of latent codes.

    Register a subclass with ``register_priors``; the keyword-only parameters of its constructor are what a recipe's
    ``prior`` section may set.

    Attributes:
        name: Its name in error messages; ganzoo sets it to the registered one.
    """

    name: ClassVar[str] = "custom"

    @property
    @abstractmethod
    def width(self) -> int:
        """Width of a latent code."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Draw codes (n, width), float32, on ``device``; ``generator`` is the only source of randomness."""

    def truncate(self, codes: Tensor, truncation: float) -> Tensor:
        """Codes (n, width) moved towards the prior's middle, where images are more typical and less varied.

        Override this if the prior has a middle.

        Args:
            codes: As ``sample`` drew them.
            truncation: From 0, which moves all codes to the middle, to 1, which moves none.

        Raises:
            GanzooError: This prior has no middle.
        """
        raise GanzooError(
            f"Codes of the prior '{self.name}' cannot be truncated: it does not say where its middle is.",
            "Leave the truncation out, or override Prior.truncate.",
        )


@dataclass(frozen=True, kw_only=True)
class _AroundZero(Prior):
    """Codes whose middle is 0."""

    dim: Width = 100

    @property
    def width(self) -> int:
        return self.dim

    def truncate(self, codes: Tensor, truncation: float) -> Tensor:
        return codes * truncation


@dataclass(frozen=True, kw_only=True)
class GaussianPrior(_AroundZero):
    """z ~ N(0, I).

    Args:
        dim: Width of a latent code.
    """

    name: ClassVar[str] = "gaussian"

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Draw codes (n, dim), float32."""
        return torch.randn(n, self.dim, generator=generator, device=device)


@dataclass(frozen=True, kw_only=True)
class UniformPrior(_AroundZero):
    """z ~ U(-1, 1), as in DCGAN's code.

    Args:
        dim: Width of a latent code.
    """

    name: ClassVar[str] = "uniform"

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Draw codes (n, dim) in [-1, 1), float32."""
        return torch.rand(n, self.dim, generator=generator, device=device).mul_(2).sub_(1)


@dataclass(frozen=True, kw_only=True)
class CodesPrior(Prior):
    """Noise and structured codes (InfoGAN, Chen et al. 2016): N(0, I), then one-hot codes, then U(-1, 1) codes.

    The columns are laid out in that order: ``dim`` of noise, one one-hot block for each of ``categorical``, and
    ``continuous``.

    Args:
        dim: Width of the noise.
        categorical: Number of values of each categorical code.
        continuous: Number of continuous codes.
    """

    name: ClassVar[str] = "codes"
    dim: Width = 62
    categorical: Annotated[tuple[Categories, ...], Field(max_length=1_000)] = (10,)
    continuous: Annotated[int, Field(ge=0, le=1_000)] = 2

    @property
    def width(self) -> int:
        """Width of a latent code: noise and codes together."""
        return self.dim + sum(self.categorical) + self.continuous

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Draw codes (n, width), float32."""
        columns = [torch.randn(n, self.dim, generator=generator, device=device)]
        for classes in self.categorical:
            drawn = torch.randint(classes, (n,), generator=generator, device=device)
            columns.append(one_hot(drawn, classes).float())
        columns.append(torch.rand(n, self.continuous, generator=generator, device=device) * 2 - 1)
        return torch.cat(columns, dim=1)

    def truncate(self, codes: Tensor, truncation: float) -> Tensor:
        """Codes (n, width) with their noise scaled towards 0; the structured codes stay, since they mean something."""
        return torch.cat([codes[:, : self.dim] * truncation, codes[:, self.dim :]], dim=1)
