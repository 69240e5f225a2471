"""Pictures of a run: how its samples grew, what lies between two codes, and which real images come nearest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from ganzoo.evaluation.extractors import find
from ganzoo.evaluation.features import extract
from ganzoo.evaluation.neighbours import nearest, radii
from ganzoo.evaluation.references import RealImages
from ganzoo.pages.rendering import Absent, Picture, as_image
from ganzoo.priors import CodesPrior, GaussianPrior
from ganzoo.runs.pictures import grid

if TYPE_CHECKING:
    from ganzoo.evaluation.generator import TrainedGenerator
    from ganzoo.plugins import Zoo
    from ganzoo.priors import Prior

MOST_FRAMES = 60
NEIGHBOURS = 16
ROWS, STEPS = 6, 11
SEED = 1
"""Other codes than those of the grids and of the scores."""
NO_PICTURES = "This run draws points in the plane, not pictures; the plots of its samples show them all."


@dataclass(frozen=True)
class Frame:
    """The samples at one point of a training.

    Attributes:
        images: Real images shown until then.
        seconds: Seconds of training until then, or None where nobody wrote them down.
        picture: The grid or plot.
    """

    images: int
    seconds: float | None
    picture: Picture


@dataclass(frozen=True)
class Frames:
    """How samples grew, in order.

    Attributes:
        shown: At most ``MOST_FRAMES``, the first and the last among them.
        kept: How many there are in the run folder.
    """

    shown: tuple[Frame, ...]
    kept: int


@dataclass(frozen=True)
class Neighbour:
    """A sample and the training image nearest to it.

    Attributes:
        sample: The sample.
        real: The training image.
        distance: Between their features.
        near: Whether that is less than from the training image to any other.
    """

    sample: Picture
    real: Picture
    distance: float
    near: bool


@dataclass(frozen=True)
class Neighbours:
    """Samples with their nearest training images.

    Attributes:
        pairs: In the order they were drawn.
        extractor: Whose features were compared.
        among: How many training images there are.
    """

    pairs: tuple[Neighbour, ...]
    extractor: str
    among: int


def frames(samples: Path, events: Sequence[Mapping[str, Any]]) -> Frames | Absent:
    """The pictures that a run left."""
    paths = sorted(path for path in samples.glob("*.png") if path.stem.isdecimal())
    chosen = [paths[index] for index in _evenly(len(paths))]
    found = [frame for path in chosen if (frame := _frame(path, events)) is not None]
    if not found:
        return Absent("The run left no pictures of samples.")
    return Frames(tuple(found), len(paths))


def _evenly(n: int) -> list[int]:
    """Indices below n, at most ``MOST_FRAMES`` of them, the first and the last among them."""
    if n <= MOST_FRAMES:
        return list(range(n))
    return [round(index * (n - 1) / (MOST_FRAMES - 1)) for index in range(MOST_FRAMES)]


def _frame(path: Path, events: Sequence[Mapping[str, Any]]) -> Frame | None:
    """None where the file is no picture, or was cut short."""
    images = int(path.stem)
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    seconds = [event["seconds"] for event in events if event.get("images") == images and "seconds" in event]
    picture = Picture.encoded(path.read_bytes(), *image.size)
    return Frame(images, seconds[0] if seconds else (0.0 if images == 0 else None), picture)


def interpolation(generator: TrainedGenerator) -> Picture | Absent:
    """Rows of images, each from one code to another; a conditional generator keeps to one class in a row."""
    spec = generator.assembly.spec
    if not spec.quantised:
        return Absent(NO_PICTURES)
    ends = spec.prior.sample(2 * ROWS, torch.Generator().manual_seed(SEED), torch.device("cpu"))
    codes = torch.cat([between(spec.prior, a, b, STEPS) for a, b in ends.view(ROWS, 2, -1)])
    labels = torch.arange(ROWS).remainder(spec.classes).repeat_interleave(STEPS) if spec.classes else None
    return Picture.of(as_image(grid(generator.decode(codes, labels), STEPS)))


def between(prior: Prior, a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Codes from one to another, along what the prior makes likely.

    Gaussian codes lie near a sphere, so they are led along it (White 2016, Sampling Generative Networks,
    arXiv:1609.04468); uniform ones on a straight line. Of structured codes, the categories stay those of ``a``.

    Args:
        prior: Which both were drawn from.
        a: (latent,).
        b: (latent,).
        steps: At least 2, the ends included.

    Returns:
        (steps, latent), a first and b last.
    """
    along = torch.linspace(0, 1, steps).unsqueeze(1)
    straight = a + along * (b - a)
    if isinstance(prior, GaussianPrior):
        return _around(a, b, along)
    if isinstance(prior, CodesPrior):
        kept = slice(prior.dim, prior.width - prior.continuous)
        straight[:, : prior.dim] = _around(a[: prior.dim], b[: prior.dim], along)
        straight[:, kept] = a[kept]
    return straight


def _around(a: Tensor, b: Tensor, along: Tensor) -> Tensor:
    angle = torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
    if angle.sin() < 1e-4:  # on one line through the origin, where there is no one way around
        return a + along * (b - a)
    return (((1 - along) * angle).sin() * a + (along * angle).sin() * b) / angle.sin()


def neighbours(generator: TrainedGenerator, zoo: Zoo) -> Neighbours | Absent:
    """Samples beside their nearest training images, in the features of the recipe's first metric."""
    recipe = generator.recipe
    named = [metric.partition("@")[2] for metric in recipe.evaluate.metrics if "@" in metric]
    if not generator.assembly.spec.quantised:
        return Absent(NO_PICTURES)
    if not named:
        return Absent("The recipe measures nothing, so no features tell which training images are near.")
    samples = generator.sample(NEIGHBOURS, seed=SEED)
    real = _training_set(generator, zoo, named[0])
    seen = extract(named[0], real.extractor, samples, generator.device).values
    distances, indices = nearest(seen, real.features.values)
    others = radii(real.features.values, 1, of=indices)
    pairs = [
        Neighbour(_tile(sample), _tile(real.dataset.images[index]), distance, distance <= other)
        for sample, index, distance, other in zip(
            samples, indices.tolist(), distances.tolist(), others.tolist(), strict=True
        )
    ]
    return Neighbours(tuple(pairs), named[0], len(real.dataset))


def _training_set(generator: TrainedGenerator, zoo: Zoo, extractor: str) -> RealImages:
    component, data_dir = generator.recipe.dataset, generator.run.info.get("data_dir")
    entry = zoo.datasets.get(component.name)
    dataset = entry.create("train", Path(data_dir) if data_dir else None, **component.options)
    found = find(extractor, zoo, dataset.shape).to(generator.device)
    return RealImages(dataset, component.options, extractor, found, generator.device)


def _tile(image: Tensor) -> Picture:
    return Picture.of(as_image(image))
