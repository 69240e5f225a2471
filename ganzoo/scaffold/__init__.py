"""A plugin to begin with: a distribution that installs, passes its checks and trains before a line of it is changed.

The templates in ``plugin/`` are files of ``string.Template``; in their paths PACKAGE and NAME stand for the names.
"""

from __future__ import annotations

import importlib.util
import keyword
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from string import Template

from ganzoo.errors import GanzooError
from ganzoo.registry.loading import Zoo
from ganzoo.registry.packages import OURS, distribution_name, installed, normal
from ganzoo.registry.registry import NAME

TEMPLATES = Path(__file__).parent / "plugin"
ENDING = ".template"
MISTAKEN = 0.85
"""Names as similar as this are taken for one another: ``vanila`` and ``vanilla``."""


def refuse_name(name: str, zoo: Zoo) -> None:
    """Refuse what cannot be a distribution, a package and the name of a loss at once, or would be mistaken for another.

    Raises:
        GanzooError: It is malformed, a word of Python's, taken, or nearly so.
    """
    package = package_of(name)
    if not NAME.fullmatch(name) or not package.isidentifier():
        raise GanzooError(
            f"A plugin cannot be called '{name}'.",
            "Use lower-case letters and digits joined by hyphens, a letter first: my-gan.",
        )
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or package == "ganzoo":
        raise GanzooError(
            f"A plugin cannot be called '{name}', a word that Python or ganzoo has already.", "Add another."
        )
    taken = {entry.name for registry in zoo.registries() for entry in registry}
    taken |= {found.name for found in zoo.plugins} | {problem.plugin for problem in zoo.problems}
    taken |= {normal(point.name) for point in installed()} | {distribution_name(point) for point in installed()}
    for wanted in (name, f"{name}-mnist"):
        if wanted in taken:
            raise GanzooError(f"The name '{wanted}' is taken already.", "See `ganzoo list`, and choose another.")
    close = get_close_matches(name, taken, n=1, cutoff=MISTAKEN)
    if close:
        raise GanzooError(
            f"'{name}' would be mistaken for '{close[0]}', which is there already.", "Choose another name."
        )
    if importlib.util.find_spec(package) is not None:
        raise GanzooError(f"Python finds a module called '{package}' already.", "Choose another name.")


def package_of(name: str) -> str:
    """The importable name of a distribution: ``my_gan`` for ``my-gan``."""
    return name.replace("-", "_")


def write(name: str, folder: Path) -> list[Path]:
    """Write a plugin into a new folder.

    Args:
        name: One that ``refuse_name`` let pass.
        folder: Where to; it must not be there yet.

    Returns:
        The files, in order.

    Raises:
        GanzooError: The folder is there already, or cannot be made.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise GanzooError(f"{folder} is there already.", "Choose another name, or another folder with --out.") from None
    except OSError as error:
        raise GanzooError(f"{folder} cannot be made ({error.strerror}).", "Choose another with --out.") from error
    written = []
    for path, text in rendered(name):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
        written.append(folder / path)
    return written


def rendered(name: str) -> Iterator[tuple[Path, str]]:
    """Each file's path inside the folder, and its text."""
    words = {
        "name": name,
        "package": package_of(name),
        "requirement": f"{OURS}>={version(OURS)}",
    }
    for template in sorted(TEMPLATES.rglob(f"*{ENDING}")):
        path = template.relative_to(TEMPLATES).as_posix().removesuffix(ENDING)
        path = path.replace("PACKAGE", words["package"]).replace("NAME", name)
        yield Path(path), Template(template.read_text(encoding="utf-8")).substitute(words)
