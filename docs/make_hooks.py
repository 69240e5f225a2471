"""Writes docs/hooks.md from the hookspecs: ``python docs/make_hooks.py``."""

from __future__ import annotations

import inspect
from pathlib import Path

from ganzoo.api import hookspecs
from ganzoo.registry.registry import KINDS

PAGE = Path(__file__).with_name("hooks.md")
INTRODUCTION = """\
# Hooks

Written by `python docs/make_hooks.py` from `ganzoo/api/hookspecs.py`.

A plugin is a module with functions of these names, marked `@ganzoo.hookimpl`; each receives a `register` callback. The
[tutorial](tutorial.md) writes one from scratch, the [guide](../plugins/README.md) has an example of each kind.

Options are a factory's keyword-only parameters: recipes set them, and ganzoo checks them against their annotations.
ganzoo supplies the positional parameters.
"""


def page() -> str:
    """The page's text."""
    files = ("RegisterRecipe", "RegisterStudy", "RegisterPretrained")
    parts = [INTRODUCTION, callback("Register"), callback(*files)]
    parts += [hook(f"register_{plural}") for plural in KINDS.values()]
    return "\n".join(parts)


def callback(*called: str) -> str:
    """A callback that hooks get, by its names: its docstring and its signature."""
    protocol = getattr(hookspecs, called[0])
    call = protocol.__call__
    signature = str(inspect.signature(call)).replace("self, ", "").replace("''", '""').replace("'", "")
    names = ", ".join(f"`{name}`" for name in called)
    return f"## {names}\n\n{inspect.getdoc(protocol)}\n\n```text\nregister{signature}\n\n{inspect.getdoc(call)}\n```\n"


def hook(name: str) -> str:
    """One hook: its exact signature, and its docstring."""
    return f"## `{signature(name)}`\n\n{inspect.getdoc(getattr(hookspecs, name))}\n"


def signature(name: str) -> str:
    """A hook as a plugin writes it, after ``def``."""
    return f"{name}{inspect.signature(getattr(hookspecs, name))}".replace("'", "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
