"""``ganzoo new``: a starter plugin that installs, passes its checks and trains without changes; or one from a script.

The files in ``plugin/`` are ``string.Template`` templates; PACKAGE and NAME in their paths are replaced as well.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import keyword
import shutil
from collections.abc import Iterator, Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from string import Template

from ganzoo.errors import GanzooError, unknown, writing
from ganzoo.files import sweep, temporary_name
from ganzoo.registry.loading import Zoo
from ganzoo.registry.packages import OURS, distribution_name, installed, normal
from ganzoo.registry.registry import BASE_CLASSES, KINDS, NAME
from ganzoo.registry.session import hyphenated
from ganzoo.registry.sources import whole
from ganzoo_checks.example import PAPER as LEAST_SQUARES

TEMPLATES = Path(__file__).parent / "plugin"
PAPER = f"Your name {date.today().year}, Your title"  # of a script that has no PAPER of its own
TESTS = '"""Compare equations with values worked out by hand; pyproject.toml adds the checks of `ganzoo check`."""\n'
DOCSTRING = '"""Cite the paper here, and write down its equation."""'
EXAMPLE = Path(__file__).with_name("example.py")
Parts = dict[str, tuple[str, str]]  # by class or function: its kind and the name to register it under


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


def parts_of(text: str, told: Mapping[str, str]) -> tuple[Parts, list[str]]:
    """What a script defines for ganzoo, and its other modules, of which nothing says what they are.

    What says so are base classes, calls like ``register_loss("mine", Mine)`` and ``train(generator=Mine)``, and
    ``told``, which has kinds by class. The script is parsed, never run.

    Raises:
        GanzooError: It defines no such class as ``told`` names.
    """
    kinds = {base.__name__: kind for kind, bases in BASE_CLASSES.items() for base in bases}
    kinds |= {"Module": "", "ModelMetric": "metric"}
    tree, found = ast.parse(text), Parts()
    for node in ast.walk(tree):  # classes come before the calls within other statements
        if isinstance(node, ast.ClassDef):
            for base in map(_last_word, node.bases):
                found.pop(base, None)
                if base in kinds:
                    kinds[node.name] = kinds[base]
                    found[node.name] = (kinds[base], hyphenated(node.name))
        elif (
            isinstance(node, ast.Call)
            and _last_word(node.func) in {f"register_{kind}" for kind in KINDS}  # not register_buffer
            and len(node.args) == 2
            and isinstance(node.args[0], ast.Constant)
        ):
            found[_last_word(node.args[1])] = (
                _last_word(node.func)[len("register_") :],
                ast.unparse(node.args[0])[1:-1],
            )
        elif isinstance(node, ast.keyword) and node.arg in KINDS:
            name = _last_word(getattr(node.value, "func", node.value))
            found[name] = found[name] if found.get(name, ("",))[0] else (str(node.arg), hyphenated(name))
    found |= {name: (kind, hyphenated(name)) for name, kind in told.items()}
    defined = [getattr(node, "name", "") for node in tree.body]
    for name in told.keys() - set(defined):
        raise unknown("class", name, filter(None, defined))
    parts = {name: part for name, part in found.items() if part[0] in KINDS and name in defined}
    used = whole([text], [*parts])
    return parts, [name for name, part in found.items() if not part[0] and f"class {name}(" not in used]


def _last_word(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


def module_of(name: str, text: str, parts: Parts) -> str:
    """A plugin's module: parts of a script, all that they refer to, and the hooks that register them and the recipe."""
    tree = ast.parse(text)
    defined = {one.name: one for one in tree.body if isinstance(one, ast.ClassDef | ast.FunctionDef)}
    helpers = f'from typing import Any\nfrom ganzoo import Register, beside, hookimpl\nPAPER = "{PAPER}"'
    module = whole([helpers, text], ["Any", "Register", "beside", "hookimpl", "PAPER", *parts])
    for kind in dict.fromkeys(kind for kind, _ in parts.values()):
        module += f"\n\n@hookimpl\ndef register_{KINDS[kind]}(register: Register[Any]) -> None:\n"
        for made_by, (_, called) in [part for part in parts.items() if part[1][0] == kind]:
            summary = (ast.get_docstring(defined[made_by]) or made_by).partition("\n")[0].removesuffix(".")
            module += f'    register("{called}", {made_by}, summary={json.dumps(summary)}, paper=PAPER)\n'
    docstring = ast.get_source_segment(text, tree.body[0]) if ast.get_docstring(tree) else DOCSTRING
    return f'{docstring}\n\n{module}\n\nregister_recipes = beside(__file__, "{name}-mnist")\n'


def write(name: str, folder: Path, text: str = "", parts: Parts | None = None) -> list[Path]:
    """Write a plugin, of the parts of a script if there is one, to a new folder; returns its files.

    The folder appears either complete or not at all.

    Raises:
        GanzooError: The folder exists, or could not be created.
    """
    if folder.exists() or folder.is_symlink():
        raise GanzooError(f"{folder} already exists.", "Choose another name, or another folder with --out.")
    prepared, files = temporary_name(folder), dict(rendered(name, text, parts))
    try:
        with writing(f"Could not create {folder}", "Choose another folder with --out."):
            folder.parent.mkdir(parents=True, exist_ok=True)
            sweep(folder.parent, folder.name)
            for path, content in files.items():
                (prepared / path).parent.mkdir(parents=True, exist_ok=True)
                (prepared / path).write_text(content, encoding="utf-8")
            prepared.rename(folder)
    finally:
        shutil.rmtree(prepared, ignore_errors=True)
    return [folder / path for path in files]


def rendered(name: str, text: str = "", parts: Parts | None = None) -> Iterator[tuple[Path, str]]:
    """Each file's path in the folder, and its text."""
    package = name.replace("-", "_")
    words = {
        "name": name,
        "package": package,
        "requirement": f"{OURS}>={version(OURS)}",
        "generator": "mlp",
        "discriminator": "mlp",
        "loss": "vanilla",
        "summary": f"{name} on MNIST",
        "paper": PAPER,
    }
    is_example = parts is None
    if parts is None:
        words |= {"summary": "Least squares and two small networks on MNIST", "paper": LEAST_SQUARES}
        text = EXAMPLE.read_text(encoding="utf-8")
        parts = {
            "LeastSquares": ("loss", name),
            "Generator": ("generator", name),
            "Discriminator": ("discriminator", name),
        }
    words |= dict(parts.values())
    for template in sorted(TEMPLATES.rglob("*.template")):
        path = template.relative_to(TEMPLATES).as_posix().removesuffix(".template")
        content = template.read_text(encoding="utf-8") if is_example or not path.startswith("tests/") else TESTS
        yield Path(path.replace("PACKAGE", package).replace("NAME", name)), Template(content).substitute(words)
    yield Path(f"src/{package}/__init__.py"), module_of(name, text, parts)
