"""``ganzoo animate``: a run's sample grids, or a walk through its latent space, as one animation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont

from ganzoo.api.dataset import Images, to_pil
from ganzoo.errors import GanzooError
from ganzoo.files import MADE
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.generator import TrainedGenerator, Weights
from ganzoo_reports.run_figures import between, is_plane, opened

FORMATS: Mapping[str, Mapping[str, Any]] = {
    ".gif": {"optimize": True, "comment": MADE},
    ".webp": {"lossless": True, "method": 4, "xmp": MADE.encode()},
}
"""By suffix, Pillow's options."""
MAX_FRAMES = 120
SECONDS, SLOWEST, FASTEST, PAUSE = 6.0, 0.4, 0.05, 1.5
"""Seconds of a training animation: in total, for one frame at most and at least, and extra for the last frame."""
ROWS, COLUMNS, MAX_COLUMNS = 4, 8, 10
"""Grid of a walk; a conditional generator has one class in each column."""
STOPS, STEPS, STEP_SECONDS = 5, 14, 0.06
"""Random codes on each walk, which ends where it begins; frames from one code to the next, and seconds per frame."""
SMALL = 480
"""Pictures are enlarged by an integer factor, to about this width or height."""
STRIP, BAR, INK, LINE = 22, 3, (200, 200, 200), (90, 150, 210)


def training(run: RunFolder) -> tuple[list[Image.Image], list[float]]:
    """A run's sample grids in order, captioned with the images shown so far, and the seconds for which to show each.

    For a run that trains on points in the plane, the frames are those that its report replays.

    Raises:
        GanzooError: The run has fewer than two grids.
    """
    grids = list(_planes(run))
    if not grids:
        opening = opened(run.path / "samples", MAX_FRAMES)
        grids = [(int(path.stem), image.convert("L" if image.mode == "L" else "RGB")) for path, image in opening]
    # A grid of another size would be cut off; a run normally has none.
    grids = [(images, picture) for images, picture in grids if picture.size == grids[-1][1].size]
    if len(grids) < 2:
        raise GanzooError(
            f"The run {run.path} has {'only one grid' if grids else 'no grid'} of samples, so nothing moves.",
            "Set evaluate.every_images to keep a grid at each evaluation, or use --walk.",
        )
    last = max(1, grids[-1][0])  # a folder may hold only 0.png and 00.png
    frames = [_captioned(_enlarged(picture), f"{images:,} images", images / last) for images, picture in grids]
    each = min(SLOWEST, max(FASTEST, SECONDS / len(frames)))
    return frames, [each] * (len(frames) - 1) + [each + PAUSE]


def _planes(run: RunFolder) -> Iterator[tuple[int, Image.Image]]:
    """Samples as dots on black, for the plane [-1, 1] x [-1, 1]."""
    for images, kept in run.planes():
        if not is_plane(kept):
            continue
        picture = Image.new("L", (SMALL, SMALL))
        draw = ImageDraw.Draw(picture)
        for x, y in kept["samples"].float().clamp(-1, 1).tolist():
            across, down = (x + 1) / 2 * (SMALL - 1), (1 - y) / 2 * (SMALL - 1)
            draw.ellipse((across - 2, down - 2, across + 2, down + 2), fill=255)
        yield images, picture


def walk(
    generator: TrainedGenerator, weights: Weights | None = None, *, seed: int = 0
) -> tuple[list[Image.Image], list[float]]:
    """Samples that each move through latent space, from code to code and back to the first.

    Between Gaussian codes, the path follows the sphere, see ``run_figures.between``.

    Args:
        generator: The generator of a run that draws images from codes.
        weights: ``ema`` or ``raw``; None is ``ema`` if the run kept it.
        seed: Seed of the codes.

    Returns:
        The frames, and the seconds for which to show each.

    Raises:
        GanzooError: The generator draws no images.
    """
    spec = generator.assembly.spec
    if not isinstance(spec.modality, Images):
        raise GanzooError(f"A walk shows images, but this run draws {spec.modality}.", "Leave --walk out.")
    columns = min(spec.classes, MAX_COLUMNS) or COLUMNS
    random = torch.Generator().manual_seed(seed)
    stops = spec.prior.sample(STOPS * ROWS * columns, random, torch.device("cpu")).view(STOPS, ROWS * columns, -1)
    ways = [
        torch.stack([between(spec.prior, a, b, STEPS + 1)[:-1] for a, b in zip(start, end, strict=True)], 1)
        for start, end in zip(stops, stops.roll(-1, 0), strict=True)
    ]
    labels = torch.arange(columns).repeat(ROWS) if spec.classes else None
    frames = []
    for moment in torch.cat(ways):
        grid = spec.modality.picture(generator.decode(moment, labels, weights), columns)
        frames.append(_headed(_enlarged(to_pil(grid)), generator.class_names[:columns]))
    return frames, [STEP_SECONDS] * len(frames)


def encoded(frames: Sequence[Image.Image], seconds: Sequence[float], suffix: str) -> bytes:
    """Encode frames of one size as an endlessly looping GIF or lossless WebP.

    Args:
        frames: At least one, grey or RGB.
        seconds: How long each is shown.
        suffix: One of ``FORMATS``.
    """
    buffer, times = BytesIO(), [round(1000 * one) for one in seconds]
    first, *rest = frames
    first.save(buffer, suffix[1:], save_all=True, append_images=rest, duration=times, loop=0, **FORMATS[suffix])
    return buffer.getvalue()


def _enlarged(picture: Image.Image) -> Image.Image:
    factor = max(1, round(SMALL / max(picture.size)))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _captioned(picture: Image.Image, caption: str, share: float) -> Image.Image:
    """A picture above a caption and a progress bar that fills a share of its width."""
    canvas = Image.new("RGB", (picture.width, picture.height + BAR + STRIP))
    canvas.paste(picture)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, picture.height, max(0, round(share * picture.width) - 1), picture.height + BAR - 1), fill=LINE)
    draw.text((4, picture.height + BAR + 2), caption, fill=INK, font=ImageFont.load_default(14))
    return canvas


def _headed(picture: Image.Image, names: Sequence[str]) -> Image.Image:
    """A picture with the names of its columns above it, cut to fit."""
    if not names:
        return picture
    canvas = Image.new("RGB", (picture.width, picture.height + STRIP))
    canvas.paste(picture, (0, STRIP))
    draw, font, width = ImageDraw.Draw(canvas), ImageFont.load_default(14), picture.width / len(names)
    for index, name in enumerate(names):
        while len(name) > 1 and draw.textlength(name, font) > width - 4:
            name = name[:-1]
        draw.text(((index + 0.5) * width, STRIP / 2), name, fill=INK, font=font, anchor="mm")
    return canvas
