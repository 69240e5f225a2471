"""From templates to pages: one file each, every value escaped, nothing fetched and no foreign script run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from ganzoo.reports import formatting

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Absent:
    """A part that a page cannot show.

    Attributes:
        why: A sentence for the reader.
    """

    why: str


@dataclass(frozen=True)
class Picture:
    """A picture inside a page.

    Attributes:
        uri: ``data:image/png;base64,…``.
        width: In pixels.
        height: In pixels.
    """

    uri: str
    width: int
    height: int

    @classmethod
    def of(cls, image: Image.Image) -> Picture:
        """A picture from memory, as PNG."""
        buffer = BytesIO()
        image.save(buffer, "PNG", optimize=True)
        return cls.encoded(buffer.getvalue(), *image.size)

    @classmethod
    def encoded(cls, png: bytes, width: int, height: int) -> Picture:
        """A picture that is PNG already."""
        return cls(f"data:image/png;base64,{base64.b64encode(png).decode()}", width, height)


def as_image(pixels: Tensor) -> Image.Image:
    """A uint8 picture (c, h, w), grey or RGB, for Pillow."""
    return Image.fromarray((pixels[0] if pixels.shape[0] == 1 else pixels.permute(1, 2, 0)).numpy())


def page(template: str, script: str, context: Mapping[str, Any]) -> str:
    """Render a page.

    Values come from strangers' plugins and run folders: all are escaped, and a policy in the page allows no script
    but ours, named by its digest, and no address to be asked for anything.

    Args:
        template: The name of the HTML template.
        script: The name of the JavaScript file that goes with it.
        context: What the template shows.
    """
    environment = _environment()
    source = _source(environment, script)
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    # Both are files of this package.
    own = {"style": Markup(_source(environment, "style.css")), "script": Markup(source)}  # noqa: S704
    return environment.get_template(template).render({**context, **own, "script_digest": digest}) + "\n"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ganzoo.reports", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= formatting.FILTERS
    environment.tests["absent"] = lambda value: isinstance(value, Absent)
    return environment


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
