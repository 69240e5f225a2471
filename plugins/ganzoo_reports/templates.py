"""Renders pages from templates, each as one file, and formats numbers for them.

Every value is escaped, control characters and changes of text direction too; pages fetch nothing, and run no foreign
script.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from mimetypes import guess_type
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from ganzoo.errors import GanzooError, visible
from ganzoo.formatting import count, duration, figure, short

_MARKDOWN = re.compile(r"([\\`*_\[\]#|~$])")


def markdown(text: Any) -> str:
    """Text on one line, escaped for Markdown and for the HTML in it."""
    plain = visible(" ".join(str(text).split()))
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A word such as https://… would automatically become a link.
    return _MARKDOWN.sub(r"\\\1", plain).replace("://", ":&#47;&#47;").replace("www.", "www&#46;")


def code(text: str) -> Markup:
    """Text as code in Markdown, on one line; it may contain backticks."""
    plain = visible(" ".join(text.split()))
    longest = max((len(run) for run in re.findall("`+", plain)), default=0)
    fence = "`" * (longest + 1)
    return Markup(f"{fence} {plain} {fence}" if longest else f"{fence}{plain}{fence}")  # noqa: S704 - code is shown as it is


def between_markers(text: str, markers: tuple[str, str], content: str, name: str) -> str:
    """Replace the text between two markers of the document ``name``.

    Raises:
        GanzooError: The document does not have both markers, once each and in order.
    """
    begin, end = markers
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise GanzooError(
            f"{name} must contain the lines {begin} and {end}, once each and in this order.",
            "Put them where the table should go.",
        )
    return f"{text.partition(begin)[0]}{begin}\n{content}\n{end}{text.partition(end)[2]}"


def markdown_table(headings: Mapping[str, str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, from each column's side, ``left`` or ``right``, by its heading, and cells in Markdown."""
    rules = ["---:" if side == "right" else "---" for side in headings.values()]
    lines = [[markdown(heading) for heading in headings], rules, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_ARXIV = re.compile(r"arXiv:((?:[a-z-]+/\d{7}|\d{4}\.\d{4,5})(?:v\d+)?)")


def linked(text: str) -> Markup:
    """Escaped text in which arXiv numbers are links."""
    address = r'<a href="https://arxiv.org/abs/\1" rel="noreferrer">arXiv:\1</a>'
    return Markup(_ARXIV.sub(address, str(Markup.escape(text))))  # noqa: S704 - escaped, and only arXiv numbers are inserted


def as_base64(content: bytes) -> str:
    """Bytes as text, for a page that holds them."""
    return base64.b64encode(content).decode()


@dataclass(frozen=True)
class Absent:
    """A part that a page cannot show."""

    why: str  # the reason, in a sentence for the reader


@dataclass(frozen=True)
class Picture:
    """A picture inside a page."""

    uri: str  # ``data:image/png;base64,…``
    width: int  # in pixels
    height: int

    @classmethod
    def of(cls, image: Image.Image) -> Picture:
        """A picture from memory, as PNG."""
        buffer = BytesIO()
        image.save(buffer, "PNG", optimize=True)
        return cls.encoded(buffer.getvalue(), *image.size)

    @classmethod
    def encoded(cls, png: bytes, width: int, height: int) -> Picture:
        """A picture from a PNG file's bytes."""
        return cls(f"data:image/png;base64,{as_base64(png)}", width, height)


@dataclass(frozen=True)
class Player:
    """Sound or video inside a page."""

    uri: str  # ``data:audio/…;base64,…``
    element: str  # ``audio`` or ``video``

    @classmethod
    def of(cls, suffix: str, content: bytes) -> Player:
        """A player of a file's bytes."""
        kind = media_type(suffix)
        return cls(f"data:{kind};base64,{as_base64(content)}", kind.partition("/")[0])


def media_type(suffix: str) -> str:
    """The MIME type of sound and video, by the suffix of their files; empty for all others."""
    kind = guess_type(f"file{suffix}")[0] or ""
    return kind if kind.startswith(("audio/", "video/")) else ""


@cache  # a page that follows a run is rendered again and again, and compiling its templates takes longest
def _environment(package: str) -> tuple[Environment, ChoiceLoader]:
    loader = ChoiceLoader([PackageLoader(package, "html"), PackageLoader(__package__, "html")])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "figure": figure,
        "count": count,
        "short": short,
        "duration": duration,
        "linked": linked,
        "code": code,
    }
    environment.tests["absent"] = lambda value: isinstance(value, Absent)
    return environment, loader


def text(template: str, context: Mapping[str, Any], escape: Callable[[Any], str], *, package: str = __package__) -> str:
    """Render a template that is not HTML: ``escape`` is applied to every value, except to ``Markup``."""
    environment, _ = _environment(package)
    plain = environment.overlay(
        autoescape=False, finalize=lambda value: value if isinstance(value, Markup) else escape(value)
    )
    return plain.get_template(template).render(context).strip() + "\n"


def page(
    template: str,
    scripts: tuple[str, ...],
    context: Mapping[str, Any],
    *,
    package: str = __package__,
) -> str:
    """Render a template with its JavaScript files and the style sheet.

    Values come from untrusted plugins and run folders: all are escaped, and the page's content security policy allows
    no script but ours, named by its digest, and no requests to any address. What the folder ``html`` of ``package``
    lacks is found in ours.
    """
    environment, loader = _environment(package)
    sources = {name: loader.get_source(environment, name)[0] for name in ("style.css", *scripts)}
    script = "".join(sources[name] for name in scripts)
    own = {
        "style": Markup(sources["style.css"]),  # noqa: S704 - a file of a package
        "script": Markup(script),  # noqa: S704 - files of a package
        "script_digest": as_base64(hashlib.sha256(script.encode()).digest()),
    }
    return visible(environment.get_template(template).render({**context, **own})) + "\n"
