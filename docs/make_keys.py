"""Writes docs/keys.md from the docstrings of the recipe schema: ``python docs/make_keys.py``."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from pathlib import Path

from pydantic import BaseModel

from ganzoo.config import schema

PAGE = Path(__file__).with_name("keys.md")
INTRODUCTION = """\
# Every key of a recipe

Written by `python docs/make_keys.py` from `ganzoo/config/schema.py`; change it there.

Where a value is a registered name, `{name: NAME, option: value, ...}` gives it options: `ganzoo list` shows the names,
`ganzoo show NAME` the options. `--set train.batch_size=64` changes a key for one run. [recipes.md](recipes.md) is about
the parts that take more than a name.
"""
SECTIONS = {
    "The recipe": schema.Recipe,
    "`dataset`": schema.DatasetConfig,
    "`networks.ROLE`": schema.NetworkConfig,
    "`phases.NAME`": schema.PhaseOverride,
    "`train`": schema.TrainConfig,
    "`train.init_from`": schema.InitFrom,
    "`train.until`": schema.Until,
    "`evaluate`": schema.EvaluateConfig,
    "A schedule, in the place of a number": schema.ScheduleConfig,
}
LEFT_OUT = {"name", "options"}  # the file's name, and options, which the introduction explains


def page() -> str:
    """The page's text."""
    parts = [INTRODUCTION]
    for title, section in SECTIONS.items():
        about = attributes(section)
        rows = [
            f"| `{key}` | {default(section, key)} | {about[key]} |"
            for key in section.model_fields
            if key not in LEFT_OUT
        ]
        summary = inspect.cleandoc(section.__doc__ or "").partition("\n\n")[0].replace("``", "`")
        parts.append(
            "\n".join([f"## {title}\n\n{summary}\n\n| key | default | meaning |\n| --- | --- | --- |", *rows, ""])
        )
    return "\n".join(parts)


def attributes(section: type[BaseModel]) -> dict[str, str]:
    """The docstring's description of each attribute, on one line."""
    block = textwrap.dedent(inspect.cleandoc(section.__doc__ or "").partition("Attributes:\n")[2])
    entries = re.findall(r"^(\w+): (.*(?:\n .*)*)", block, re.MULTILINE)
    return {name: " ".join(text.split()).replace("``", "`").replace("|", r"\|") for name, text in entries}


def default(section: type[BaseModel], key: str) -> str:
    """A key's default as JSON, or ``required``."""
    field = section.model_fields[key]
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):  # only a name, or a section of its own
        return f"`{value.name}`" if isinstance(value, schema.Component) else ""
    return "none" if value in ((), {}, None) else f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
