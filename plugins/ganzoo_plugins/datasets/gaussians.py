"""Known modes in the plane: two mixtures of equally likely, narrow Gaussians.

ring: Metz et al. 2017, "Unrolled Generative Adversarial Networks", arXiv:1611.02163, appendix A: eight Gaussians of
standard deviation 0.02, their means equally spaced on a circle of radius 2.

grid: Srivastava et al. 2017, "VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational Learning",
arXiv:1705.07761, section 4.1: 25 Gaussians on a 5x5 grid, with the numbers that Lin et al. 2018, "PacGAN",
arXiv:1712.04086, give: means (-4 + 2i, -4 + 2j), standard deviation 0.05.

Both are judged as in VEEGAN. With d_k the distance to the mean of mode k, a sample belongs to the nearest mode if d_k
<= 3σ, and to none otherwise. Hence the logits

    l_k = -d_k² / (2σ²)  where d_k <= 3σ,  -inf elsewhere

whose softmax is the posterior over modes. ``modes`` counts the modes that have a sample; ``quality`` is the share of
samples that belong to one. In the plane a Gaussian has exp(-9/2) of its mass beyond 3σ: real points have a quality of
0.9889, and a generator with a higher one draws too close to the means.

Generators draw within [-1, 1], so the planes are scaled down, by 2.5 (ring) and 5 (grid); features are in the papers'
units.

Differences from the paper:

- There is a fixed training set of 100,000 points, as in PacGAN's code; Unrolled GAN's authors draw new points for every
  batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ganzoo import Dataset, Extractor, GanzooError, Register, Split, beside, hookimpl

RING_PAPER = "Metz, Poole, Pfau, Sohl-Dickstein 2017, Unrolled Generative Adversarial Networks, arXiv:1611.02163"
GRID_PAPER = "Srivastava et al. 2017, VEEGAN, arXiv:1705.07761"
COUNTS: dict[Split, int] = {"train": 100_000, "test": 10_000}
SEEDS: dict[Split, int] = {"train": 0, "test": 1}
FARTHEST = 3.0
"""A sample within this many standard deviations of a mode belongs to it."""


@dataclass(frozen=True)
class Mixture:
    """Equally likely Gaussians in the plane.

    Attributes:
        name: The registered name of the dataset and of the extractor.
        means: One (x, y) for each mode.
        std: Standard deviation in each direction.
        scale: Half the side of the plane that generators draw on: the coordinate that they output as 1.
    """

    name: str
    means: tuple[tuple[float, float], ...]
    std: float
    scale: float

    def draw(self, split: Split) -> Dataset:
        """Points (n, 1, 1, 2) in [-1, 1], labelled with their mode."""
        generator = torch.Generator().manual_seed(SEEDS[split])
        labels = torch.randint(len(self.means), (COUNTS[split],), generator=generator)
        noise = torch.randn(len(labels), 2, generator=generator)
        points = (torch.tensor(self.means)[labels] + self.std * noise) / self.scale
        # Adding zero turns -0 into 0.
        names = tuple(f"({round(x, 2) + 0:g}, {round(y, 2) + 0:g})" for x, y in self.means)
        return Dataset(self.name, split, points.view(-1, 1, 1, 2), labels, names)


FIVE = (-4.0, -2.0, 0.0, 2.0, 4.0)
EIGHTHS = [math.tau * k / 8 for k in range(8)]
RING = Mixture("ring", tuple((2 * math.cos(angle), 2 * math.sin(angle)) for angle in EIGHTHS), std=0.02, scale=2.5)
GRID = Mixture("grid", tuple((x, y) for x in FIVE for y in FIVE), std=0.05, scale=5.0)


def ring(split: Split, folder: Path | None) -> Dataset:
    """Points near eight places on a circle, 100,000 and 10,000; ``folder`` is not needed."""
    return RING.draw(split)


def grid(split: Split, folder: Path | None) -> Dataset:
    """Points near the 25 places of a square grid, 100,000 and 10,000; ``folder`` is not needed."""
    return GRID.draw(split)


class NearestMode(Extractor):
    """Which mode of a mixture a point belongs to, if any."""

    mixture: ClassVar[Mixture]
    means: Tensor
    shape = (1, 1, 2)
    width = 2
    rejects = True

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", torch.tensor(self.mixture.means))

    @property
    def digest(self) -> str:
        """SHA-256 of the mixture and of ``FARTHEST``."""
        return sha256(repr((self.mixture, FARTHEST)).encode()).hexdigest()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Where the points are, and which modes they are near.

        Args:
            images: float32 (n, 1, 1, 2), 1 being ``mixture.scale``.

        Returns:
            The points (n, 2) in the paper's units; logits (n, modes), -inf for modes that are more than three standard
            deviations away.

        Raises:
            GanzooError: The images are not points in the plane.
        """
        if images.dtype != torch.float32 or images.shape[1:] != self.shape:
            shape = "x".join(map(str, images.shape))
            raise GanzooError(
                f"The extractor '{self.mixture.name}' was given images of shape {shape} and type {images.dtype}.",
                "It judges float32 points of shape (n, 1, 1, 2).",
            )
        points = images.flatten(1) * self.mixture.scale
        # Not by torch.cdist, whose matrix products lose distances as small as these.
        squared = (points[:, None] - self.means).square().sum(2) / self.mixture.std**2
        return points, (-squared / 2).masked_fill(squared > FARTHEST**2, -math.inf)


class RingModes(NearestMode):
    """Which of the ring's eight modes a point belongs to, if any."""

    mixture = RING
    domains = ("ring",)
    classes = len(RING.means)


class GridModes(NearestMode):
    """Which of the grid's 25 modes a point belongs to, if any."""

    mixture = GRID
    domains = ("grid",)
    classes = len(GRID.means)


@hookimpl
def register_datasets(register: Register[Dataset]) -> None:
    register("ring", ring, summary="8 Gaussians on a circle, points in the plane", paper=RING_PAPER)
    register("grid", grid, summary="25 Gaussians on a square grid, points in the plane", paper=GRID_PAPER)


@hookimpl
def register_extractors(register: Register[Extractor]) -> None:
    register("ring", RingModes, summary="The ring's mode, if within three standard deviations", paper=GRID_PAPER)
    register("grid", GridModes, summary="The grid's mode, if within three standard deviations", paper=GRID_PAPER)


register_recipes = beside(__file__, "vanilla-ring", "vanilla-grid", "collapse-ring")
