"""Writes docs/keys.md from the docstrings of the recipe schema: ``python docs/make_keys.py``."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ganzoo.api.adversarial import Regularizer
from ganzoo.api.priors import GaussianPrior
from ganzoo.config import schema
from ganzoo.config.checking import optimizer_options
from ganzoo.registry.registry import Options

PAGE = Path(__file__).with_name("keys.md")
INTRODUCTION = """\
# Every key of a recipe

Written by `python docs/make_keys.py` from `ganzoo/config/schema.py`.

Defaults are in parentheses. Where a value is a registered name (`ganzoo list`), `{name: NAME, option: value}` gives it
options (`ganzoo show NAME`). `--set train.batch_size=64` changes a key for one run. [Recipes](recipes.md) describes
what needs more than a name.
"""
SECTIONS: dict[str, type[BaseModel] | tuple[str, Options, dict[str, str]]] = {
    "The recipe": schema.Recipe,
    "`dataset`": schema.DatasetConfig,
    "`prior`": (
        "Where latent codes come from.",
        Options("prior", GaussianPrior),
        {"dim": "Width of a code, for `gaussian` and `uniform`; see `ganzoo show codes` for `codes`."},
    ),
    "`networks.ROLE`": schema.NetworkConfig,
    "`regularizers`": (
        "Terms in a player's loss. Penalties have these options besides their own.",
        Options("regularizer", Regularizer),
        {
            "weight": "Factor: a number or a schedule. Many have another default.",
            "every_steps": "Above 1, a [lazy](recipes.md#optimizers) penalty: only every so many steps.",
        },
    ),
    "`optimizers.ROLE`": (
        "How a role is trained; the options of torch's class, such as `betas`, too.",
        optimizer_options("adam"),
        {
            "name": "An [optimizer of torch](recipes.md#optimizers), in lower case.",
            "lr": "Learning rate: a number or a schedule.",
            "decay": "`linear` or `cosine`: `lr` falls to zero over the whole run.",
            "lazy_scaling": "Makes up for the steps of lazy regularizers.",
        },
    ),
    "`phases.NAME`": schema.PhaseOverride,
    "`train`": schema.TrainConfig,
    "`train.init_from`": schema.InitFrom,
    "`train.until`": schema.Until,
    "`evaluate`": schema.EvaluateConfig,
    "A schedule instead of a number": schema.ScheduleConfig,
}
"""Parts of the schema; and of components, whose keys depend on their names, what those have in common: summary, options
with their defaults, and meanings."""
LEFT_OUT = {"name", "options"}  # the file's name, and options, which the introduction explains


def page() -> str:
    """The page's text."""
    parts = [INTRODUCTION]
    for title, section in SECTIONS.items():
        if isinstance(section, tuple):
            summary, options, about = section
            defaults = {key: in_json(options.defaults[key]) if key in options.defaults else "required" for key in about}
        else:
            summary = inspect.cleandoc(section.__doc__ or "").partition("\n\n")[0].replace("``", "`")
            about = attributes(section)
            defaults = {key: default(section, key) for key in section.model_fields if key not in LEFT_OUT}
        lines = [f"- `{key}`{f' ({value})' if value else ''}: {about[key]}\n" for key, value in defaults.items()]
        parts.append(f"## {title}\n\n{summary}\n\n{''.join(lines)}")
    return "\n".join(parts)


def attributes(section: type[BaseModel]) -> dict[str, str]:
    """The docstring's description of each attribute, on one line."""
    block = textwrap.dedent(inspect.cleandoc(section.__doc__ or "").partition("Attributes:\n")[2])
    entries = re.findall(r"^(\w+): (.*(?:\n .*)*)", block, re.MULTILINE)
    return {name: " ".join(text.split()).replace("``", "`") for name, text in entries}


def default(section: type[BaseModel], key: str) -> str:
    """A key's default as JSON, or ``required``."""
    field = section.model_fields[key]
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):  # only a name, or a section of its own
        return f"`{value.name}`" if isinstance(value, schema.Component) else ""
    return in_json(value)


def in_json(value: Any) -> str:
    """A default in JSON, without the quotes of text."""
    return "none" if value in ((), {}, None) else f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
