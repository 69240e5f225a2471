"""``ganzoo new``: a starter plugin that installs, passes its checks and trains without changes.

The files in ``plugin/`` are ``string.Template`` templates; PACKAGE and NAME in their paths are replaced as well.
"""

from __future__ import annotations

import importlib.util
import keyword
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from string import Template

from ganzoo.errors import GanzooError, writing
from ganzoo.files import sweep, temporary_name
from ganzoo.registry.loading import Zoo
from ganzoo.registry.packages import OURS, distribution_name, installed, normal
from ganzoo.registry.registry import NAME

TEMPLATES = Path(__file__).parent / "plugin"


def check_name(name: str, zoo: Zoo) -> None:
    """Check that a name can be a package, a module and a loss.

    Raises:
        GanzooError: The name is malformed, reserved, or taken.
    """
    package = name.replace("-", "_")
    if not NAME.fullmatch(name) or not package.isidentifier():
        raise GanzooError(
            f"Invalid plugin name '{name}'.",
            "Use lower-case letters and digits joined by hyphens, starting with a letter: my-gan.",
        )
    # YAML reads null, true and false as other values than names.
    if keyword.iskeyword(package) or package in ("null", "true", "false"):
        raise GanzooError(f"Python or YAML reserves the name '{name}'.", f"Add a word: my-{name}.")
    taken = {entry.name for registry in zoo.registries() for entry in registry}
    taken |= {plugin.name for plugin in zoo.plugins}
    for point in installed():
        taken |= {normal(point.name), distribution_name(point)}
    for new in (name, f"{name}-mnist"):
        if new in taken:
            raise GanzooError(f"The name '{new}' is taken.", "Choose another; `ganzoo list` shows those in use.")
    if importlib.util.find_spec(package) is not None:
        raise GanzooError(f"A Python module '{package}' is already installed.", "Choose another name.")


def write(name: str, folder: Path) -> list[Path]:
    """Write a plugin to a new folder, which appears either complete or not at all; returns its files.

    Raises:
        GanzooError: The folder exists, or could not be created.
    """
    if folder.exists() or folder.is_symlink():
        raise GanzooError(f"{folder} already exists.", "Choose another name, or another folder with --out.")
    prepared, files = temporary_name(folder), dict(rendered(name))
    try:
        with writing(f"Could not create {folder}", "Choose another folder with --out."):
            folder.parent.mkdir(parents=True, exist_ok=True)
            sweep(folder.parent, folder.name)
            for path, text in files.items():
                (prepared / path).parent.mkdir(parents=True, exist_ok=True)
                (prepared / path).write_text(text, encoding="utf-8")
            prepared.rename(folder)
    finally:
        shutil.rmtree(prepared, ignore_errors=True)
    return [folder / path for path in files]


def rendered(name: str) -> Iterator[tuple[Path, str]]:
    """Each file's path in the folder, and its text."""
    package = name.replace("-", "_")
    words = {"name": name, "package": package, "requirement": f"{OURS}>={version(OURS)}"}
    for template in sorted(TEMPLATES.rglob("*.template")):
        path = template.relative_to(TEMPLATES).as_posix().removesuffix(".template")
        path = path.replace("PACKAGE", package).replace("NAME", name)
        yield Path(path), Template(template.read_text(encoding="utf-8")).substitute(words)
