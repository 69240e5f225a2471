"""Writes docs/hooks.md from the hookspecs: ``python docs/make_hooks.py``."""

from __future__ import annotations

import inspect
from pathlib import Path

from ganzoo.api import hookspecs
from ganzoo.registry.registry import KINDS

PAGE = Path(__file__).with_name("hooks.md")
INTRODUCTION = """\
# Hooks

Written by `python docs/make_hooks.py` from `ganzoo/api/hookspecs.py`; change it there.

A plugin is a module named in the entry-point group `ganzoo`, with functions of these names marked `@ganzoo.hookimpl`.
Each receives a `register` callback. If an entry point names a package without hooks, each module below it that has
hooks is a separate plugin, named after the module (`wgan_gp.py` becomes `wgan-gp`). Modules without hooks, and all
whose names start with `_`, are helpers. [tutorial.md](tutorial.md) writes a plugin from scratch, and
[plugins/README.md](../plugins/README.md) explains networks, regularizers, objectives, metrics, extractors and datasets.

Options are a factory's keyword-only parameters: a recipe may set them, and their annotations are checked before
training starts. Positional parameters are supplied by ganzoo. Optimizers come from torch.optim; plugins cannot add any.
"""


def page() -> str:
    """The page's text."""
    parts = [INTRODUCTION, callback(hookspecs.Register), callback(hookspecs.RegisterRecipe)]
    parts += [callback(hookspecs.RegisterStudy), callback(hookspecs.RegisterPretrained)]
    parts += [hook(kind, f"register_{plural}") for kind, plural in KINDS.items()]
    return "\n".join(parts)


def callback(protocol: type) -> str:
    """The callback that a hook gets: its signature and docstring."""
    call = protocol.__call__
    signature = str(inspect.signature(call)).replace("self, ", "").replace("'", "")
    about = inspect.cleandoc(protocol.__doc__ or "")
    return f"## `{protocol.__name__}`\n\n{about}\n\n```text\nregister{signature}\n\n{inspect.getdoc(call)}\n```\n"


def hook(kind: str, name: str) -> str:
    """One hook: the kind it adds, its exact signature, and its docstring."""
    function = getattr(hookspecs, name)
    return f"## {kind}: `{name}`\n\n```python\n{signature(name)}: ...\n```\n\n{inspect.getdoc(function)}\n"


def signature(name: str) -> str:
    """A hook as a plugin writes it."""
    return f"def {name}{inspect.signature(getattr(hookspecs, name))}".replace("'", "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
