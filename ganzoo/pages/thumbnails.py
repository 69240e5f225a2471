"""Pictures of a leaderboard: a corner of each grid of samples, and one picture of the best."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from ganzoo.pages.board import Board, Place
from ganzoo.pages.plots import shortened
from ganzoo.pages.words import figure
from ganzoo.runs.pictures import GAP

ROWS = 8
"""Rows of images in the grids that runs leave."""
ACROSS, DOWN = 4, 2
SIDE = 96
"""Of a plot of points, in pixels."""
BEST = 8
"""Recipes in the picture of the best."""


def grid_of(record_samples: str | None, folder: Path) -> Image.Image | None:
    """A record's picture, None where there is none that may be shown.

    Args:
        record_samples: Where it is, relative to ``folder``; what leads out of it is not followed.
        folder: Of the results.
    """
    if record_samples is None:
        return None
    try:
        path = (folder / record_samples).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            return None
        with Image.open(path, formats=["PNG"]) as image:
            copied: Image.Image = image.copy()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return copied


def thumbnail(image: Image.Image) -> Image.Image:
    """Four by two images of a grid, pixel for pixel; a plot of points smaller as a whole."""
    pitch, rest = divmod(image.height - GAP, ROWS)
    if rest or pitch > SIDE:
        small = image.convert("L" if image.mode in ("1", "L", "I;16") else "RGB")
        small.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
        return small
    return image.crop((0, 0, min(ACROSS * pitch + GAP, image.width), DOWN * pitch + GAP))


def best_samples(made: Sequence[Board], folder: Path) -> bytes | None:
    """One PNG with the samples of the best recipes, each with its name and score; None where there are no pictures.

    Of the first dataset's first table, the best first, each recipe once.
    """
    tables = [board.tables[0] for board in made if board.tables]
    named: dict[str, tuple[Place, Image.Image]] = {}
    for place in tables[0].scored if tables else ():
        samples = place.contender.newest.samples if len(named) < BEST else None
        image = grid_of(samples, folder)
        if image is not None:
            named.setdefault(place.contender.newest.recipe, (place, image))
    return _sheet(list(named.values())) if named else None


def _sheet(found: Sequence[tuple[Place, Image.Image]]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    sheet = Figure(figsize=(2.6 * columns, 2.95 * rows), dpi=100, layout="constrained", facecolor="white")
    for number, (place, image) in enumerate(found, 1):
        axes = sheet.add_subplot(rows, columns, number)
        axes.imshow(image.convert("RGB"), interpolation="nearest")
        axes.set_axis_off()
        name, score = shortened(place.contender.newest.recipe, 30), figure(place.value.mean if place.value else None)
        axes.set_title(f"{name}\n{score}", fontsize=9, parse_math=False)
    buffer = BytesIO()
    FigureCanvasAgg(sheet)
    sheet.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
