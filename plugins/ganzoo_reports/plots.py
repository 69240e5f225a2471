"""Plots in the colours of the pages: inside a page, as SVG in its own theme; as a file, in the light one."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any, Literal

from markupsafe import Markup

# On import, matplotlib reads a ``matplotlibrc`` in the working folder, which may be untrusted. So it is first imported
# here, from another folder. Other modules import what they need through this one, or import matplotlib when they draw.
with ExitStack() as _back:
    with suppress(FileNotFoundError):  # the working folder was deleted, so nothing is in it
        _back.callback(os.chdir, Path.cwd())
        os.chdir(sys.prefix)
    from matplotlib import style, ticker

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ganzoo.formatting import short

STYLE = (Path(__file__).parent / "html" / "style.css").read_text("utf-8")
LIGHT, DARK = (dict(re.findall(r"--([\w-]+): (#\w{6});", theme)) for theme in STYLE.split("@media")[:2])
"""The pages' colours, by their names in the style sheet."""
NAMES = ("ink-soft", "rule", "real", *(f"series-{number}" for number in range(1, 7)))
"""The colours of plots. A plot is drawn in the light ones; ``svg`` replaces each by its name."""
INK, LINE, REAL, *SERIES = (LIGHT[name] for name in NAMES)

DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "v", "D", "P", "X")
"""Readers with colour blindness cannot distinguish lines by colour alone."""

SETTINGS: Any = {
    "svg.fonttype": "none",  # text in the reader's fonts, which can be searched
    "svg.hashsalt": "ganzoo",  # the same plot gives the same bytes
    "pdf.fonttype": 42,  # TrueType, as journals want
    "text.parse_math": False,  # names may contain dollar signs
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.labelcolor": INK,
}


@dataclass(frozen=True)
class Line:
    """A curve."""

    name: str  # in the legend
    x: Sequence[float]  # increasing
    y: Sequence[float]


@contextmanager
def drawing(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure in the pages' style, with its size in inches; whatever a ``matplotlibrc`` says, LaTeX never starts."""
    with style.context(SETTINGS, after_reset=True), warnings.catch_warnings():
        # Matplotlib warns about characters that its own font lacks; the reader's font may have them.
        warnings.simplefilter("ignore", UserWarning)
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.add_subplot()


def curves(
    lines: Sequence[Line],
    *,
    title: str,
    x: str,
    y: str,
    name: str,
    floor: float | None = None,
    log: bool = False,
    moments: Sequence[float] = (),
) -> Markup:
    """Lines, at least one, over images or seconds, with real vs real as a horizontal line.

    The title is for screen readers; the name, of letters, digits and hyphens, is the plot's own within its page. A
    logarithmic axis needs positive values, and is linear otherwise. A plot with moments, which a script shows one at a
    time, is small: as wide as a phone.
    """
    columns = 4 if max(len(line.name) for line in lines) <= 8 else 2
    width, height = (3.3, 1.3) if moments else (4.9, 2.3)
    with drawing(width, height + 0.16 * -(-len(lines) // columns)) as (figure, axes):
        axes.vlines(moments, 0, 1, color=INK, linewidth=1, transform=axes.get_xaxis_transform(), gid="moments")
        for index, line in enumerate(lines):
            colour, dash = SERIES[index % len(SERIES)], DASHES[index // len(SERIES) % len(DASHES)]
            mark = MARKERS[index % len(MARKERS)] if len(line.x) < 30 else None
            axes.plot(
                line.x,
                line.y,
                color=colour,
                linestyle=dash,
                linewidth=1.4,
                marker=mark,
                markersize=3,
                label=shortened(line.name),
            )
        if floor is not None:
            axes.axhline(floor, color=REAL, linewidth=1, linestyle=(0, (1, 2)), label="real vs real")
        if log and all(value > 0 for line in lines for value in line.y) and (floor is None or floor > 0):
            logarithmic(axes, "y")
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        figure.legend(loc="outside upper left", ncols=columns, handlelength=2.2)
        return svg(figure, title, name)


def logarithmic(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with plain numbers at its ticks."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    # Within two decades, powers of ten give only one or two ticks; within a factor of five, so do these steps.
    steps = (1.0, 2.0, 5.0) if high < 100 * low else (1.0,)
    decades = ticker.LogLocator(10, steps, numticks=10)
    axis.set_major_locator(ticker.MaxNLocator(6) if high < 5 * low else decades)
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_formatter(ticker.NullFormatter())


def svg(figure: Figure, title: str, name: str, tooltips: Mapping[str, str] | None = None) -> Markup:
    """A figure in this module's colours as an SVG element, legible on the page's light and dark background.

    The title is for screen readers, the name distinguishes its ids from those of other plots on the page, and tooltips
    are named by the ``gid`` of their elements.
    """
    file = StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Title": title, "Date": None, "Creator": None})
    unused = r'^.*?(?=<svg)|<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>| font-family: [^;"]*;'
    drawn = re.sub(unused, "", file.getvalue(), flags=re.DOTALL)
    for colour in NAMES:
        drawn = drawn.replace(LIGHT[colour], f"var(--{colour})")
    drawn = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", drawn)
    for gid, sentence in (tooltips or {}).items():
        drawn = drawn.replace(f'<g id="{name}-{gid}">', f'<g id="{name}-{gid}"><title>{escape(sentence)}</title>')
    # What is inside an image is hidden from screen readers, so one with links is a group.
    shown = ' role="group" class="plot"' if "<a " in drawn else ' role="img" class="plot"'
    return Markup(re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', shown, drawn, count=1))  # noqa: S704 (matplotlib escapes text, and the tooltips were escaped here)


def shortened(name: str, width: int = 28) -> str:
    """A name cut to a width in characters, to leave room for the plot."""
    return name if len(name) <= width else f"{name[: width - 1]}…"


def spread_out(values: Iterable[float]) -> bool:
    """Whether the positive values span more than a factor of ten, so that a logarithmic axis shows more."""
    some = [value for value in values if value > 0]
    return bool(some) and max(some) > 10 * min(some)
