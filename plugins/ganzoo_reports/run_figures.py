"""The figures of a run's report: curves of losses, scores and health, and pictures of samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganzoo.api.dataset import Modality, to_pil
from ganzoo.api.priors import CodesPrior, GaussianPrior, Prior
from ganzoo.api.reading import open_picture, open_regular
from ganzoo.errors import GanzooError
from ganzoo.evaluation.features import RealImages
from ganzoo.evaluation.neighbours import nearest_neighbours, radii
from ganzoo.evaluation.requests import code_of, find_extractor, unfit
from ganzoo.registry.loading import Zoo
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.generator import TrainedGenerator
from ganzoo_reports.plots import Line, curves, spread_out
from ganzoo_reports.scores import KINDS, MetricKey, Records, by_protocol
from ganzoo_reports.templates import Absent, Picture, Player, as_base64, media_type

AXES: Mapping[str, str] = {"images": "images shown", "seconds": "seconds of training"}
FEWEST = 2
"""Points of a curve."""
T = TypeVar("T")
Shown = dict[str, Any]
"""What a template shows, by the names that it uses."""


def plotted(
    heading: str, note: str, lines: Mapping[str, Sequence[Line]], *, name: str, y: str, title: str = "", **style: Any
) -> list[Shown]:
    """A quantity's plots below its heading, from its lines over ``images`` and perhaps ``seconds``; see ``curves``.

    Empty if no line is a curve.
    """
    if not any(len(line.x) >= FEWEST for line in lines["images"]):
        return []
    pictures = [
        curves(lines[along], title=f"{title or heading} over {x}", x=x, y=y, name=f"{name}-{along}", **style)
        for along, x in AXES.items()
        if along in lines
    ]
    return [{"heading": heading, "note": note, "pictures": pictures}]


def _lines(points: Iterable[tuple[float | None, Mapping[str, float]]]) -> list[Line]:
    """A curve for each name, from the values by name at each x; what is unknown, or no axis can show, is left out."""
    by_name: dict[str, list[tuple[float, float]]] = {}
    for x, values in points:
        for name, y in values.items():
            places = by_name.setdefault(name, [])
            if x is not None and abs(y) < 1e300:  # beyond that or NaN, matplotlib fails
                places.append((x, y))
    return [Line(name, [x for x, _ in places], [y for _, y in places]) for name, places in by_name.items()]


def loss_lines(events: Records, along: str = "images") -> list[Line]:
    """Each phase's loss over images or seconds."""
    return _lines(
        (
            event.get(along),
            {name.removesuffix(".loss"): value for name, value in event.items() if name.endswith(".loss")},
        )
        for event in events
        if event.get("event") == "train"
    )


def loss_plots(events: Records) -> list[Shown]:
    """Each phase's loss; none if fewer than two were logged."""
    note = "Each point is the mean since the previous log point."
    return plotted("Losses", note, {along: loss_lines(events, along) for along in AXES}, name="losses", y="loss")


def replayed_losses(events: Records, moments: Sequence[int]) -> list[Shown]:
    """Each phase's loss, for below a replay, with a line at each of its moments, in images."""
    return plotted("Losses", "", {"images": loss_lines(events)}, name="replay", y="loss", moments=moments)


def score_plots(scores: Mapping[str, Records]) -> list[Shown]:
    """Each metric's curves, one for each name's scores, with real vs real; a metric measured only once has none."""
    by_metric: dict[Any, dict[str, Records]] = {}
    for name, records in scores.items():
        for key, some in by_protocol(records).items():
            latest = {one["images"]: one for one in some}  # `ganzoo eval` may have measured some again
            by_metric.setdefault(key, {})[name] = [latest[images] for images in sorted(latest)]
    return [plot for number, some in enumerate(by_metric.values()) for plot in _metric_plots(number, some)]


def _metric_plots(number: int, scores: Mapping[str, Records]) -> list[Shown]:
    records = [record for some in scores.values() for record in some]
    metric, floor = MetricKey.of(records[0]), records[-1].get("floor")
    lines = {
        along: _lines((one.get(along), {name: one["value"]}) for name, some in scores.items() for one in some)
        for along in AXES
    }
    return plotted(
        metric.name,
        f"{metric.direction}; {metric.protocol}",
        lines,
        name=f"score-{number}",
        y=metric.name,
        floor=floor,
        log=spread_out([*(record["value"] for record in records), floor or 0]),
    )


def health_plots(events: Records) -> list[Shown]:
    """Gradient norms, and the samples' variety as a share of that of real images."""
    watched = [event for event in events if event.get("event") == "health"]
    norms = _lines((event["images"], _by_network(event["gradients"])) for event in watched if "gradients" in event)
    shares = _lines((event["images"], _shares(event)) for event in watched if "variety" in event)
    log, note = spread_out(value for line in norms for value in line.y), "For each network, in each phase."
    share = "As a share of the variety of equally many real images: 1 is best."
    return [
        *plotted("Gradient norms", note, {"images": norms}, name="gradient-norms", y="norm", log=log),
        *plotted("Variety of samples", share, {"images": shares}, name="variety-of-samples", y="share"),
    ]


def _by_network(norms: Mapping[str, float]) -> dict[str, float]:
    """Norms by network, and by phase too if its name differs from the network's."""
    parts = {name: name.rpartition(".") for name in norms}
    return {role if phase == role else f"{role}, {phase}": norms[name] for name, (phase, _, role) in parts.items()}


def _shares(event: Mapping[str, Any]) -> dict[str, float]:
    seen, real = event["variety"], event.get("real_variety", {})
    return {name: seen[name] / real[name] for name in seen if name != "samples" and real.get(name)}


MAX_FRAMES = 60
MAX_PLAYED = 2**22
"""Bytes of sound or video beside one picture: a page holds up to ``MAX_FRAMES`` of them."""
NEIGHBOURS = 16
ROWS, STEPS = 6, 11
SEED = 1
"""Differs from the seed of grids and scores, so that other codes are drawn."""


def frames(samples: Path, events: Records, *, linked: bool = False) -> list[Shown]:
    """Pictures of samples in a run folder, in order, with players of them; ``linked`` ones are not inside the page.

    Each has the real images shown and the seconds of training so far, None if they were not logged.
    """
    seconds = {event["images"]: event["seconds"] for event in reversed(events) if "seconds" in event}
    shown: list[Shown] = []
    for path in evenly_spaced(pictures(samples), MAX_FRAMES):
        images, changed = int(path.stem), path.stat().st_mtime_ns
        if size := _size(path, changed):
            link = Picture(f"samples/{path.name}?{changed}", *size)
            shown.append(
                {
                    "images": images,
                    "seconds": seconds.get(images, None if images else 0.0),
                    "picture": link if linked else Picture.encoded(path.read_bytes(), *size),
                    "player": _player(path, linked),
                }
            )
    return shown


def _player(picture: Path, linked: bool) -> Player | None:
    """What plays the samples of a picture: a file beside it, if their modality has any."""
    for path in picture.parent.glob(f"{picture.stem}.*"):
        if kind := media_type(path.suffix):
            if linked:
                return Player(f"samples/{path.name}?{path.stat().st_mtime_ns}", kind.partition("/")[0])
            with suppress(GanzooError, OSError), open_regular(path, MAX_PLAYED) as file:
                return Player.of(path.suffix, file.read())
    return None


@lru_cache(maxsize=2 * MAX_FRAMES)
def _size(path: Path, changed: int) -> tuple[int, int] | None:
    """Width and height of a picture, decoded once for each time that it changed; None if it is damaged."""
    return next((image.size for _, image in opened([path])), None)


def opened(paths: Iterable[Path]) -> Iterator[tuple[Path, Image.Image]]:
    """These pictures of samples; what is not a picture, or was truncated, is left out."""
    for path in paths:
        with suppress(GanzooError), open_picture(path, ("PNG",)) as image:
            image.load()
            yield path, image


def pictures(samples: Path) -> list[Path]:
    """A run's pictures of samples, in order."""
    return sorted(path for path in samples.glob("*.png") if path.stem.isdecimal())


def evenly_spaced(items: Sequence[T], most: int) -> list[T]:
    """At most ``most`` items, evenly spaced, including the first and the last."""
    return [items[round(index)] for index in np.linspace(0, len(items) - 1, min(len(items), most))]


REPLAYED, REAL_POINTS, MAX_MODES = 80, 400, 100
"""Largest numbers of moments replayed from a run in the plane, and of real points and modes shown with them."""


NOTHING = (torch.zeros(0, 2), torch.zeros(0, 2))


def surroundings(run: RunFolder, zoo: Zoo) -> tuple[Tensor, Tensor]:
    """Real points (n, 2) of a run in the plane, and the means (k, 2) of their modes; none if they cannot be read."""
    try:
        dataset = run.dataset(run.recipe(zoo), zoo)
    except GanzooError:
        return NOTHING
    real, modes = dataset.images.flatten(1), NOTHING[1]
    if dataset.labels is not None and 1 < len(dataset.classes) <= MAX_MODES:
        of_modes = [real[dataset.labels == mode] for mode in range(len(dataset.classes))]
        modes = torch.stack([some.mean(0) for some in of_modes if len(some)])
    return real[:REAL_POINTS], modes


Planes = Sequence[tuple[int, Mapping[str, Tensor]]]
"""Moments of a run in the plane: the images shown so far, and the samples (n, 2) and, if there is one, the field."""


def planes(run: RunFolder) -> Planes:
    """The moments of a run in the plane, in order; none for any other run."""
    shown = evenly_spaced([(images, kept) for images, kept in run.planes() if _is_plane(kept)], REPLAYED)
    return shown if len(shown) >= FEWEST else []


def replay(moments: Planes, around: tuple[Tensor, Tensor]) -> Shown:
    """The data from which the page replays a run in the plane.

    Points are base64 of little-endian pairs of uint16, 0 for -1 and 65535 for 1. Fields are base64 of ``levels``.
    """
    real, modes = around
    return {
        "frames": [
            {
                "images": images,
                "samples": _sixteen_bits(kept["samples"]),
                "field": as_base64(levels(kept["field"]).tobytes()) if "field" in kept else None,
            }
            for images, kept in moments
        ],
        "real": _sixteen_bits(real),
        "modes": _sixteen_bits(modes),
        "drawn": len(moments[0][1]["samples"]),
    }


def _is_plane(kept: Mapping[str, Tensor]) -> bool:  # has valid contents
    samples, field = kept.get("samples"), kept.get("field")
    whole = samples is not None and samples.dim() == 2 and samples.shape[1] == 2 and 0 < len(samples) <= 10_000
    square = field is None or (field.dim() == 2 and field.shape[0] == field.shape[1] <= 256)
    return whole and square and all(bool(one.isfinite().all()) for one in kept.values())


def levels(field: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A discriminator's field (k, k) as 0 to 255: 0 is the 2nd percentile, judged fake, and 255 the 98th."""
    values = field.float().numpy()
    low, high = np.percentile(values, (2, 98))
    return np.asarray(((values - low) / max(high - low, 1e-12) * 255).clip(0, 255).round(), np.uint8)


def _sixteen_bits(points: Tensor) -> str:
    return as_base64(((points.float().clamp(-1, 1) + 1) / 2 * 65535).round().numpy().astype("<u2").tobytes())


def interpolation(generator: TrainedGenerator) -> Picture | Absent:
    """Rows of images, each from one code to another; a conditional generator draws one class in each row."""
    spec = generator.assembly.spec
    if generator.assembly.objective.generates_from:
        return Absent("This generator translates pictures, which latent codes do not change.")
    ends = spec.prior.sample(2 * ROWS, torch.Generator().manual_seed(SEED), torch.device("cpu"))
    codes = torch.cat([between(spec.prior, a, b, STEPS) for a, b in ends.view(ROWS, 2, -1)])
    labels = torch.arange(ROWS).remainder(spec.classes).repeat_interleave(STEPS) if spec.classes else None
    return Picture.of(to_pil(spec.modality.picture(generator.decode(codes, labels), STEPS)))


def between(prior: Prior, a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Interpolate between two codes along a path that is likely under the prior.

    Gaussian codes lie near a sphere, so the path follows it (White 2016, Sampling Generative Networks,
    arXiv:1609.04468); for uniform codes it is a straight line. Structured codes keep the categories of ``a``.

    Returns:
        Codes (steps, latent), from a to b, both (latent,) and included.
    """
    along = torch.linspace(0, 1, steps).unsqueeze(1)
    codes = a + along * (b - a)
    if isinstance(prior, GaussianPrior | CodesPrior):
        codes[:, : prior.dim] = _around(a[: prior.dim], b[: prior.dim], along)
    if isinstance(prior, CodesPrior):
        kept = slice(prior.dim, prior.width - prior.continuous)
        codes[:, kept] = a[kept]
    return codes


def _around(a: Tensor, b: Tensor, along: Tensor) -> Tensor:
    angle = torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
    if angle.sin() < 1e-4:  # on one line through the origin, the path on the sphere is not unique
        return a + along * (b - a)
    return (((1 - along) * angle).sin() * a + (along * angle).sin() * b) / angle.sin()


def neighbours(generator: TrainedGenerator, zoo: Zoo) -> Shown | Absent:
    """Samples with their nearest training images, in the feature space of the recipe's first metric.

    A pair is ``near`` if it is no farther apart than the training image is from the nearest other training image.
    """
    recipe, modality = generator.recipe, generator.assembly.spec.modality
    named = [metric.partition("@")[2] for metric in recipe.evaluate.metrics if "@" in metric]
    if not named:
        return Absent("None of the recipe's metrics has an extractor, so there are no features to compare.")
    samples = generator.sample(NEIGHBOURS, seed=SEED)
    name, dataset = named[0], generator.run.dataset(recipe, zoo)
    extractor = find_extractor(name, zoo).to(generator.device)
    if (error := unfit(name, extractor, dataset, zoo, anyway=True)) is not None:
        raise error
    real = RealImages(dataset, recipe.dataset.options, name, extractor, generator.device, code_of(name, zoo))
    distances, indices = nearest_neighbours(real.see(samples).values, real.features.values)
    others = radii(real.features.values, 1, of=indices)
    return {
        "pairs": [
            {
                "sample": _shown(sample, modality),
                "real": _shown(dataset.images[index], modality),
                "distance": distance,
                "near": distance <= other,
            }
            for sample, index, distance, other in zip(
                samples, indices.tolist(), distances.tolist(), others.tolist(), strict=True
            )
        ],
        "extractor": name,
        "among": len(dataset),
        "weights": KINDS[generator.weights[0]],
        "age": generator.checkpoint.state.get("images"),
    }


def _shown(sample: Tensor, modality: Modality) -> tuple[Picture, Player | None]:
    """A sample's picture and, if its modality has any, its player."""
    alone, suffix = sample[None], modality.playable
    player = Player.of(suffix, modality.encoded(suffix, alone)) if media_type(suffix) else None
    return Picture.of(to_pil(modality.picture(alone))), player
