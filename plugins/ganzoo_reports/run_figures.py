"""The figures of a run's report: curves of losses, scores and health, and pictures of samples."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from markupsafe import Markup
from torch import Tensor

from ganzoo.api.dataset import Images
from ganzoo.api.priors import CodesPrior, GaussianPrior
from ganzoo.api.reading import open_picture
from ganzoo.errors import GanzooError
from ganzoo.evaluation.features import RealImages
from ganzoo.evaluation.neighbours import nearest_neighbours, radii
from ganzoo.evaluation.requests import code_of, find_extractor, unfit
from ganzoo.registry.loading import Zoo
from ganzoo.runs.generator import TrainedGenerator
from ganzoo_reports.plots import Line, curves, spread_out
from ganzoo_reports.scores import MetricKey
from ganzoo_reports.templates import Absent, Picture

if TYPE_CHECKING:
    from ganzoo.api.priors import Prior
    from ganzoo.config.schema import Recipe
    from ganzoo.runs.folder import RunFolder

AXES: Mapping[str, str] = {"images": "images shown", "seconds": "seconds of training"}
FEWEST = 2

Records = Sequence[Mapping[str, Any]]
T = TypeVar("T")


@dataclass(frozen=True)
class Plots:
    """One quantity, plotted over images and over seconds.

    Attributes:
        heading: The quantity.
        note: Text below the heading, or empty.
        pictures: The plots.
    """

    heading: str
    note: str
    pictures: tuple[Markup, ...]


def loss_lines(events: Records, along: str = "images") -> list[Line]:
    """Each phase's loss over images or seconds."""
    logged = [event for event in events if event.get("event") == "train"]
    names = [name for name in _names(logged) if name.endswith(".loss")]
    return [
        _line(name.removesuffix(".loss"), [event for event in logged if name in event], along, name) for name in names
    ]


def loss_plots(events: Records) -> Plots | Absent:
    """Each phase's loss, or why there is no curve."""
    if max((len(line.x) for line in loss_lines(events)), default=0) < FEWEST:
        return Absent("Fewer than two losses were logged, so there is no curve.")
    pictures = tuple(
        curves(
            loss_lines(events, along),
            title=f"Losses over {label}",
            x=label,
            y="loss",
            name=f"losses-{along}",
        )
        for along, label in AXES.items()
    )
    return Plots("Losses", "Each point is the mean since the previous log point.", pictures)


def score_plots(records: Records) -> list[Plots]:
    """Each metric's curve for each kind of weights, with real vs real; a metric measured only once has no curve."""
    plots: list[Plots] = []
    for some in by_protocol(records):
        if len({one["images"] for one in some}) >= FEWEST:
            kinds = dict.fromkeys(str(one["weights"]) for one in some)
            by_kind = {kind: last_at_each(one for one in some if str(one["weights"]) == kind) for kind in kinds}
            plots.append(metric_plots(len(plots), by_kind))
    return plots


def metric_plots(number: int, curves_by_name: Mapping[str, Records]) -> Plots:
    """Curves of one metric and protocol, with real vs real.

    Args:
        number: Distinguishes the metric from the page's others.
        curves_by_name: The scores of each curve, in order; at least one in all.
    """
    records = [record for some in curves_by_name.values() for record in some]
    metric, floor = MetricKey.of(records[0]), records[-1].get("floor")
    pictures = tuple(
        curves(
            [_line(name, some, along, "value") for name, some in curves_by_name.items()],
            title=f"{metric.name} over {label}",
            x=label,
            y=metric.name,
            name=f"score-{number}-{along}",
            floor=floor,
            log=spread_out([*(record["value"] for record in records), floor or 0]),
        )
        for along, label in AXES.items()
    )
    return Plots(metric.name, f"{metric.direction}; {metric.protocol}", pictures)


def by_protocol(records: Records) -> list[Records]:
    """Scores grouped by metric, protocol and sample seed, in the order of first appearance."""
    groups: dict[tuple[MetricKey, Any], list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault((MetricKey.of(record), record["protocol"].get("sample_seed")), []).append(record)
    return list(groups.values())


def health_plots(events: Records) -> list[Plots]:
    """Gradient norms, and the samples' variety as a share of that of real images."""
    watched = [event for event in events if event.get("event") == "health"]
    gradients = [
        {"images": event["images"], **_by_network(event["gradients"])} for event in watched if "gradients" in event
    ]
    shares = [{"images": event["images"], **_shares(event)} for event in watched if "variety" in event]
    plots = []
    for heading, note, records, y in (
        ("Gradient norms", "For each network, in each phase.", gradients, "norm"),
        ("Variety of samples", "As a share of the variety of equally many real images: 1 is best.", shares, "share"),
    ):
        if len(records) < FEWEST:
            continue
        names = [name for name in _names(records) if name != "images"]
        lines = [_line(name, [one for one in records if name in one], "images", name) for name in names]
        log = y == "norm" and spread_out(value for line in lines for value in line.y)
        title, name = f"{heading} over {AXES['images']}", heading.lower().replace(" ", "-")
        plots.append(Plots(heading, note, (curves(lines, title=title, x=AXES["images"], y=y, name=name, log=log),)))
    return plots


def _by_network(norms: Mapping[str, float]) -> dict[str, float]:
    """Norms by network, and by phase too if its name differs from the network's."""
    parts = {name: name.rpartition(".") for name in norms}
    return {role if phase == role else f"{role}, {phase}": norms[name] for name, (phase, _, role) in parts.items()}


def _shares(event: Mapping[str, Any]) -> dict[str, float]:
    seen, real = event["variety"], event.get("real_variety", {})
    return {name: seen[name] / real[name] for name in seen if name != "samples" and real.get(name)}


def _line(name: str, records: Records, along: str, of: str) -> Line:
    placed = [record for record in records if _is_number(record.get(along)) and _is_number(record[of])]
    return Line(name, [record[along] for record in placed], [record[of] for record in placed])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _names(records: Records) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record))


def last_at_each(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The newest score at each point: `ganzoo eval` may have measured some again."""
    latest = {record["images"]: record for record in records}
    return [latest[images] for images in sorted(latest)]


MAX_FRAMES = 60
NEIGHBOURS = 16
ROWS, STEPS = 6, 11
SEED = 1
"""Differs from the seed of grids and scores, so that other codes are drawn."""
NO_PICTURES = "This run draws {}, not pictures."


@dataclass(frozen=True)
class Frame:
    """The samples at one point of training.

    Attributes:
        images: Real images shown so far.
        seconds: Seconds of training so far; None if they were not logged.
        picture: The grid or plot.
    """

    images: int
    seconds: float | None
    picture: Picture


@dataclass(frozen=True)
class Frames:
    """Training progress in samples, in order.

    Attributes:
        shown: At most ``MAX_FRAMES``, including the first and the last.
        kept: Number of pictures in the run folder.
    """

    shown: tuple[Frame, ...]
    kept: int


@dataclass(frozen=True)
class Neighbour:
    """A sample and the training image nearest to it.

    Attributes:
        sample: The sample.
        real: The training image.
        distance: Distance between their features.
        near: Whether it is at most the training image's distance to the nearest other training image.
    """

    sample: Picture
    real: Picture
    distance: float
    near: bool


@dataclass(frozen=True)
class Neighbours:
    """Samples with their nearest training images.

    Attributes:
        pairs: Pairs in the order in which the samples were drawn.
        extractor: The extractor whose features were compared.
        among: Number of training images.
    """

    pairs: tuple[Neighbour, ...]
    extractor: str
    among: int


def frames(samples: Path, events: Sequence[Mapping[str, Any]]) -> Frames | Absent:
    """The pictures of samples in a run folder, or why there are none."""
    kept = len(_pictures(samples))
    shown = [frame for path in chosen_pictures(samples, MAX_FRAMES) if (frame := _frame(path, events)) is not None]
    if not shown:
        return Absent("The run has no pictures of samples.")
    return Frames(tuple(shown), kept)


def _pictures(samples: Path) -> list[Path]:
    return sorted(path for path in samples.glob("*.png") if path.stem.isdecimal())


def chosen_pictures(samples: Path, most: int) -> list[Path]:
    """At most ``most`` of a run's pictures of samples, evenly spaced, including the first and the last."""
    return _evenly_spaced(_pictures(samples), most)


def _evenly_spaced(items: Sequence[T], most: int) -> list[T]:
    """At most ``most`` items, evenly spaced, including the first and the last."""
    most = min(len(items), most)
    return [items[round(index * (len(items) - 1) / max(1, most - 1))] for index in range(most)]


def _frame(path: Path, events: Sequence[Mapping[str, Any]]) -> Frame | None:
    """A frame; None if the file is not a picture, or was truncated."""
    images = int(path.stem)
    try:
        with open_picture(path, ("PNG",)) as image:
            image.load()
    except GanzooError:
        return None
    seconds = [event["seconds"] for event in events if event.get("images") == images and "seconds" in event]
    picture = Picture.encoded(path.read_bytes(), *image.size)
    return Frame(images, seconds[0] if seconds else (0.0 if images == 0 else None), picture)


REPLAYED, REAL_POINTS, MAX_MODES = 80, 400, 100
"""Largest numbers of moments replayed from a run in the plane, and of real points and modes shown with them."""


def replay(run: RunFolder, events: Records, recipe: Recipe | Absent, zoo: Zoo) -> str | None:
    """The data from which the page replays a run in the plane, as JSON; None for any other run.

    Points are base64 of little-endian pairs of uint16, 0 for -1 and 65535 for 1. Fields are base64 of bytes, 0 for the
    2nd percentile and 255 for the 98th.
    """
    shown = [(images, kept) for images, kept in run.planes() if is_plane(kept)]
    if len(shown) < FEWEST:
        return None
    frames = [
        {
            "images": images,
            "samples": _sixteen_bits(kept["samples"]),
            "field": _eight_bits(kept["field"]) if "field" in kept else None,
        }
        for images, kept in _evenly_spaced(shown, REPLAYED)
    ]
    real, modes = torch.zeros(0, 2), torch.zeros(0, 2)
    if not isinstance(recipe, Absent):
        with suppress(GanzooError):
            dataset = run.dataset(recipe, zoo)
            real = dataset.images[:REAL_POINTS].flatten(1)
            if dataset.labels is not None and 1 < len(dataset.classes) <= MAX_MODES:
                of_modes = [dataset.images[dataset.labels == mode] for mode in range(len(dataset.classes))]
                modes = torch.stack([some.flatten(1).mean(0) for some in of_modes if len(some)])
    losses = loss_lines(events)
    return json.dumps(
        {
            "frames": frames,
            "real": _sixteen_bits(real),
            "modes": _sixteen_bits(modes),
            "losses": [{"name": one.name, "x": one.x, "y": [round(y, 4) for y in one.y]} for one in losses],
        },
        separators=(",", ":"),
    )


def is_plane(kept: Mapping[str, Tensor]) -> bool:
    """Whether a file from a run in the plane has valid contents."""
    samples, field = kept.get("samples"), kept.get("field")
    whole = samples is not None and samples.dim() == 2 and samples.shape[1] == 2 and 0 < len(samples) <= 10_000
    square = field is None or (field.dim() == 2 and field.shape[0] == field.shape[1] <= 256)
    return whole and square and all(bool(one.isfinite().all()) for one in kept.values())


def _sixteen_bits(points: Tensor) -> str:
    levels = ((points.float().clamp(-1, 1) + 1) / 2 * 65535).round().to(torch.int32)
    return base64.b64encode(levels.numpy().astype("<u2").tobytes()).decode()


def _eight_bits(field: Tensor) -> str:
    low, high = torch.quantile(field.float(), torch.tensor([0.02, 0.98])).tolist()
    levels = ((field.float() - low) / max(high - low, 1e-12) * 255).clamp(0, 255).round().to(torch.uint8)
    return base64.b64encode(levels.numpy().tobytes()).decode()


def interpolation(generator: TrainedGenerator) -> Picture | Absent:
    """Rows of images, each from one code to another; a conditional generator draws one class in each row."""
    spec = generator.assembly.spec
    if not isinstance(spec.modality, Images):
        return Absent(NO_PICTURES.format(spec.modality))
    ends = spec.prior.sample(2 * ROWS, torch.Generator().manual_seed(SEED), torch.device("cpu"))
    codes = torch.cat([between(spec.prior, a, b, STEPS) for a, b in ends.view(ROWS, 2, -1)])
    labels = torch.arange(ROWS).remainder(spec.classes).repeat_interleave(STEPS) if spec.classes else None
    return Picture.of_pixels(spec.modality.picture(generator.decode(codes, labels), STEPS))


def between(prior: Prior, a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Interpolate between two codes along a path that is likely under the prior.

    Gaussian codes lie near a sphere, so the path follows it (White 2016, Sampling Generative Networks,
    arXiv:1609.04468); for uniform codes it is a straight line. Structured codes keep the categories of ``a``.

    Args:
        prior: The prior that both were drawn from.
        a: The first code, (latent,).
        b: The last code, (latent,).
        steps: Number of codes, at least 2, including both ends.

    Returns:
        Codes (steps, latent), from a to b.
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
    if angle.sin() < 1e-4:  # on one line through the origin, the path on the sphere is not unique
        return a + along * (b - a)
    return (((1 - along) * angle).sin() * a + (along * angle).sin() * b) / angle.sin()


def neighbours(generator: TrainedGenerator, zoo: Zoo) -> Neighbours | Absent:
    """Samples with their nearest training images, in the feature space of the recipe's first metric."""
    recipe = generator.recipe
    named = [metric.partition("@")[2] for metric in recipe.evaluate.metrics if "@" in metric]
    if not isinstance(modality := generator.assembly.spec.modality, Images):
        return Absent(NO_PICTURES.format(modality))
    if not named:
        return Absent("None of the recipe's metrics has an extractor, so there are no features to compare.")
    samples = generator.sample(NEIGHBOURS, seed=SEED)
    dataset = generator.run.dataset(recipe, zoo)
    extractor = find_extractor(named[0], zoo).to(generator.device)
    if (error := unfit(named[0], extractor, dataset, zoo, anyway=True)) is not None:
        raise error
    code = code_of(named[0], zoo)
    real = RealImages(dataset, recipe.dataset.options, named[0], extractor, generator.device, code)
    seen = real.see(samples).values
    distances, indices = nearest_neighbours(seen, real.features.values)
    others = radii(real.features.values, 1, of=indices)
    pairs = [
        Neighbour(Picture.of_pixels(sample), Picture.of_pixels(dataset.images[index]), distance, distance <= other)
        for sample, index, distance, other in zip(
            samples, indices.tolist(), distances.tolist(), others.tolist(), strict=True
        )
    ]
    return Neighbours(tuple(pairs), named[0], len(dataset))
