"""Real images with visible faults, in five increasing strengths, and with invisible changes.

At its weakest, a fault is just visible next to the untouched images; at the second strength, it is clearly visible.
Everything is computed from uint8 images (n, c, h, w) and drawn from one seeded generator, so a set is the same
everywhere. ``FAULTS`` are for grey 28x28 images with classes, ``PICTURE_FAULTS`` for 32x32 pictures of any kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur

Change = Callable[[Tensor, float, torch.Generator], Tensor]
Choice = Callable[[Tensor, Tensor, int, float, torch.Generator], Tensor]


@dataclass(frozen=True)
class Fault:
    """One way to spoil a set of images.

    Attributes:
        name: Its name in tables.
        unit: The unit of strengths.
        strengths: Strengths from the weakest to the strongest; a single one for an invisible change.
        change: Takes float images (n, c, h, w) from 0 to 255, a strength and a generator, and returns images.
        choose: Takes a pool's images and labels, the number of images, a strength and a generator, and returns images.
            For faults of the set as a whole, in which each image alone is fine.
        withheld: Whether it takes no part in choosing a ruler.
        coloured: Whether it changes nothing but colours.
        placed: Whether it changes only where things are, which nobody can tell in random crops of nature.
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    change: Change | None = None
    choose: Choice | None = None
    withheld: bool = False
    coloured: bool = False
    placed: bool = False

    def apply(self, images: Tensor, labels: Tensor, n: int, strength: float, seed: int) -> Tensor:
        """A spoiled set of n images.

        Args:
            images: The pool, uint8 (m, c, h, w), m at least n; a ``change`` spoils its first n.
            labels: The pool's classes, int64 (m,).
            n: Number of images.
            strength: One of ``strengths``, or any other.
            seed: Seed of everything that is drawn at random.

        Returns:
            Images, uint8 (n, c, h, w).
        """
        generator = torch.Generator().manual_seed(seed)
        if self.choose is not None:
            spoiled = self.choose(images, labels, n, strength, generator)
        else:
            assert self.change is not None
            spoiled = self.change(images[:n].float(), strength, generator)
        return spoiled.float().round().clamp(0, 255).to(torch.uint8)


def contrast(images: Tensor, slope: float, generator: torch.Generator) -> Tensor:
    """A steeper curve around middle grey; purely black and white from a slope of 255."""
    return (images - 127.5) * slope + 127.5


def thickened(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Each pixel moved a share of the way to the brightest of itself and its four neighbours."""
    return images + share * (_brightest(images) - images)


def thinned(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Each pixel moved a share of the way to the darkest of itself and its four neighbours."""
    return images + share * (-_brightest(-images) - images)


def _brightest(images: Tensor) -> Tensor:
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    shifted = [padded[..., 1:-1, 1:-1], padded[..., 2:, 1:-1], padded[..., :-2, 1:-1]]
    return torch.stack([*shifted, padded[..., 1:-1, 2:], padded[..., 1:-1, :-2]]).amax(0)


def noisy(images: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise."""
    return images + deviation * torch.randn(images.shape, generator=generator)


def salted(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A share of the pixels set to white."""
    return images.masked_fill(torch.rand(images[:, :1].shape, generator=generator) < share, 255)


def holes(images: Tensor, radius: float, generator: torch.Generator) -> Tensor:
    """Two black discs in the bright strokes."""
    for _ in range(2):
        along, across = _local(images, generator)
        distance = (along.square() + across.square()).sqrt()
        images = images * (distance - radius + 0.5).clamp(0, 1)
    return images


def breaks(images: Tensor, width: float, generator: torch.Generator) -> Tensor:
    """A straight black cut through the bright strokes, nine pixels long."""
    along, across = _local(images, generator)
    outside = torch.maximum(across.abs() - width / 2, along.abs() - 4.5) + 0.5
    return images * outside.clamp(0, 1)


def _local(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Coordinates (n, 1, h, w) in pixels around a random bright pixel of each image, rotated by a random angle."""
    n, _, height, width = images.shape
    weights = (images.flatten(1) > 100).float() + 1e-6
    middle = torch.multinomial(weights, 1, generator=generator)
    angle = (torch.rand(n, 1, 1, generator=generator) * torch.pi)[:, None]
    y = torch.arange(height).view(1, 1, -1, 1) - (middle // width).view(-1, 1, 1, 1)
    x = torch.arange(width).view(1, 1, 1, -1) - (middle % width).view(-1, 1, 1, 1)
    return x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()


def shifted(images: Tensor, pixels: float, generator: torch.Generator) -> Tensor:
    """All images shifted to the right, by cubic splines, which do not blur."""
    return torch.from_numpy(ndimage.shift(images.numpy(), (0, 0, 0, pixels), order=3))


def slid(images: Tensor, pixels: float, generator: torch.Generator) -> Tensor:
    """All pictures shifted to the right, by cubic splines; the border is repeated."""
    right = ndimage.shift(np.eye(images.shape[3]), (0, pixels), order=3, mode="nearest")
    return images @ torch.from_numpy(right).float()


def rotated(images: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """All images rotated in the same direction, by cubic splines."""
    return torch.from_numpy(ndimage.rotate(images.numpy(), degrees, axes=(2, 3), reshape=False, order=3))


def elastic(images: Tensor, pixels: float, generator: torch.Generator) -> Tensor:
    """Smooth random displacements, ``pixels`` on average (root mean square)."""
    n, _, height, width = images.shape
    field = gaussian_blur(torch.randn(n, 2, height, width, generator=generator), [19, 19], [3.0, 3.0])
    field = field * (pixels / field.square().sum(1).mean().sqrt())
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([(x + field[:, 0] + 0.5) * 2 / width - 1, (y + field[:, 1] + 0.5) * 2 / height - 1], -1)
    return F.grid_sample(images, grid, mode="bicubic", align_corners=False)


def warped(images: Tensor, pixels: float, generator: torch.Generator) -> Tensor:
    """The same, with the border repeated."""
    wide = F.pad(images, (8, 8, 8, 8), mode="replicate")
    return elastic(wide, pixels, generator)[..., 8:-8, 8:-8]


def turned_hue(images: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """All colours turned around the axis of greys."""
    angle = torch.tensor(degrees).deg2rad()
    third = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
    turn = angle.cos() * torch.eye(3) + (1 - angle.cos()) * third + angle.sin() * cross
    return torch.einsum("ij,njhw->nihw", turn, images)


def faded(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Each pixel moved a share of the way to its own grey."""
    return images + share * (images.mean(1, keepdim=True) - images)


def flattened(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Each pixel moved a share of the way to middle grey."""
    return images + share * (127.5 - images)


def cut_out(images: Tensor, side: float, generator: torch.Generator) -> Tensor:
    """A square of middle grey at a random place, ``side`` pixels wide."""
    n, _, height, width = images.shape
    inside = []
    for size in (height, width):
        start = torch.rand(n, 1, generator=generator) * (size - side)
        pixels = torch.arange(size)
        inside.append((torch.minimum(pixels + 1, start + side) - torch.maximum(pixels, start)).clamp(0, 1))
    hole = (inside[0][:, :, None] * inside[1][:, None])[:, None]
    return images + hole * (127.5 - images)


def chequered(images: Tensor, levels: float, generator: torch.Generator) -> Tensor:
    """Every other pixel brighter, and the others darker, as transposed convolutions leave it."""
    y, x = torch.meshgrid(torch.arange(images.shape[2]), torch.arange(images.shape[3]), indexing="ij")
    return images + levels * (1 - 2 * ((x + y) % 2))


def few_levels(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Each pixel moved a share of the way to the nearest of black, middle grey and white."""
    return images + share * ((images / 127.5).round() * 127.5 - images)


def broken(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A share of the images replaced with quarters of four images, put together."""
    hit = torch.rand(len(images), generator=generator) < share
    four = [images, *(images[torch.randperm(len(images), generator=generator)] for _ in range(3))]
    y, x = images.shape[2] // 2, images.shape[3] // 2
    upper = torch.cat([four[0][:, :, :y, :x], four[1][:, :, :y, x:]], 3)
    lower = torch.cat([four[2][:, :, y:, :x], four[3][:, :, y:, x:]], 3)
    return torch.where(hit.view(-1, 1, 1, 1), torch.cat([upper, lower], 2), images)


def missing(images: Tensor, labels: Tensor, n: int, classes: float, generator: torch.Generator) -> Tensor:
    """The last ``classes`` classes left out; for half a class, half of its images."""
    last = int(labels.max()) + 1
    kept = (last - classes - labels).float().clamp(0, 1)
    return images[torch.multinomial(kept, n, generator=generator)]


def imbalanced(images: Tensor, labels: Tensor, n: int, ratio: float, generator: torch.Generator) -> Tensor:
    """Each class is rarer than the one before it; the first is ``ratio`` times as frequent as the last."""
    weights = ratio ** (-labels.double() / labels.max())
    return images[torch.multinomial(weights, n, generator=generator)]


def few_distinct(images: Tensor, labels: Tensor, n: int, distinct: float, generator: torch.Generator) -> Tensor:
    """Only ``distinct`` different images of each class, repeated."""
    order = torch.randperm(len(images), generator=generator)
    few = torch.cat([order[labels[order] == label][: int(distinct)] for label in labels.unique()])
    few = few[torch.randperm(len(few), generator=generator)]  # so that an incomplete last pass has all classes
    return images[few[torch.arange(n) % len(few)]]


def towards_mean(images: Tensor, labels: Tensor, n: int, share: float, generator: torch.Generator) -> Tensor:
    """Each image moved a share of the way to the mean of its class."""
    moved = images[:n].float()
    for label in labels.unique():
        of = labels[:n] == label
        moved[of] += share * (images[labels == label].float().mean(0) - moved[of])
    return moved


def copied(images: Tensor, labels: Tensor, n: int, distinct: float, generator: torch.Generator) -> Tensor:
    """Only ``distinct`` different images, repeated."""
    few = torch.randperm(len(images), generator=generator)[: int(distinct)]
    return images[few[torch.arange(n) % len(few)]]


def typical(images: Tensor, labels: Tensor, n: int, share: float, generator: torch.Generator) -> Tensor:
    """Only the ``share`` of each cluster that is nearest to its mean, in pixels."""
    kept = []
    for label in labels.unique():
        of = (labels == label).nonzero().flatten()
        some = images[of].flatten(1).float()
        nearest = (some - some.mean(0)).square().sum(1).argsort()
        kept.append(of[nearest[: max(1, round(share * len(of)))]])
    few = torch.cat(kept)
    few = few[torch.randperm(len(few), generator=generator)]
    return images[few[torch.arange(n) % len(few)]]


FAULTS = (
    Fault("dimmed", "times as bright", (0.93, 0.85, 0.75, 0.6, 0.4), lambda x, s, _: x * s),
    Fault("brightened", "times as bright", (1.2, 1.5, 2, 3, 5), lambda x, s, _: x * s),
    Fault("thickened", "of a pixel", (0.15, 0.3, 0.5, 0.75, 1), thickened),
    Fault("thinned", "of a pixel", (0.15, 0.3, 0.5, 0.75, 1), thinned),
    Fault("blurred", "pixels' sd", (0.4, 0.55, 0.75, 1, 1.5), lambda x, s, _: gaussian_blur(x, [13, 13], [s, s])),
    Fault("noisy", "levels' sd", (12, 20, 32, 48, 64), noisy),
    Fault("salted", "of pixels", (0.001, 0.003, 0.006, 0.012, 0.025), salted),
    Fault("holes", "pixels' radius, two", (1, 1.5, 2, 2.5, 3.5), holes),
    Fault("breaks", "pixels wide", (0.7, 1.2, 1.8, 2.5, 4), breaks),
    Fault("shifted", "pixels", (0.5, 1, 2, 3, 4), shifted),
    Fault("rotated", "degrees", (5, 10, 15, 22, 35), rotated),
    Fault("elastic", "pixels", (0.4, 0.8, 1.2, 1.8, 2.5), elastic),
    Fault("binarised", "times the contrast", (1.6, 2.5, 4, 8, 1000), contrast),
    Fault("few grey levels", "of the way to three", (0.2, 0.4, 0.6, 0.8, 1), few_levels),
    Fault("broken samples", "of samples", (0.05, 0.1, 0.2, 0.3, 0.5), broken),
    Fault("classes missing", "classes", (0.5, 1, 2, 3, 5), choose=missing),
    Fault("imbalanced", "first to last class", (1.5, 2.5, 4, 8, 16), choose=imbalanced),
    Fault("few distinct images", "of each class", (300, 100, 50, 20, 5), choose=few_distinct),
    Fault("towards the class's mean", "of the way", (0.08, 0.15, 0.25, 0.4, 0.6), choose=towards_mean),
)

INVISIBLE = (
    Fault("noise of two levels", "levels' sd", (2,), noisy),
    Fault("values below 16 zeroed", "levels", (16,), lambda x, s, _: x * (x >= s)),
    Fault("shifted by a tenth of a pixel", "pixels", (0.1,), shifted),
)

PICTURE_FAULTS = (
    Fault("blurred", "pixels' sd", (0.4, 0.55, 0.75, 1, 1.5), lambda x, s, _: gaussian_blur(x, [13, 13], [s, s])),
    Fault("noisy", "levels' sd", (8, 14, 22, 32, 48), noisy, withheld=True),
    Fault("dimmed", "times as bright", (0.93, 0.85, 0.75, 0.6, 0.4), lambda x, s, _: x * s),
    Fault("low contrast", "of the way to grey", (0.1, 0.2, 0.3, 0.45, 0.7), flattened, withheld=True),
    Fault("hue turned", "degrees", (12, 25, 45, 80, 140), turned_hue, coloured=True),
    Fault("colours faded", "of the way to grey", (0.15, 0.3, 0.5, 0.75, 1), faded, withheld=True, coloured=True),
    Fault("shifted", "pixels", (0.5, 1, 2, 3, 4), slid, placed=True),
    Fault("warped", "pixels", (0.4, 0.8, 1.2, 1.8, 2.5), warped, withheld=True, placed=True),
    Fault("broken", "of pictures", (0.05, 0.1, 0.2, 0.3, 0.5), broken),
    Fault("cut out", "pixels wide", (3, 5, 8, 12, 18), cut_out, withheld=True),
    Fault("cluster left out", "of ten", (0.5, 1, 2, 3, 5), choose=missing),
    Fault("variety lost", "of each cluster kept", (0.9, 0.75, 0.55, 0.35, 0.15), choose=typical, withheld=True),
    Fault("copies", "distinct", (1000, 300, 100, 30, 10), choose=copied),
    Fault("chequered", "levels", (4, 8, 12, 18, 28), chequered, withheld=True),
)

PICTURE_INVISIBLE = (
    Fault("noise of two levels", "levels' sd", (2,), noisy),
    Fault("shifted by a tenth of a pixel", "pixels", (0.1,), slid),
)
