"""What `ganzoo list` and `ganzoo show` need of everything that is registered: words, and options that are checked."""

from __future__ import annotations

import inspect
import re
from functools import partial
from typing import Any

from ganzoo.checks.verdict import Broken, called, require
from ganzoo.errors import GanzooError
from ganzoo.registry.registry import Entry

METHODS = ("loss", "regularizer", "augmentation")
"""Kinds that are somebody's idea, and cite where it was published."""

LONGEST_SUMMARY = 80
STRANGE: tuple[Any, ...] = ({"no": {"such": ["value"]}}, [[{"no": "such"}]], "no such value", True, -1.5)
"""Values of which at least one is wrong for any option that has a type."""


def summary(entry: Entry[Any]) -> None:
    """The summary is one short line without a full stop."""
    text = entry.summary
    require(
        text.strip() == text != "" and "\n" not in text and len(text) <= LONGEST_SUMMARY and not text.endswith("."),
        f"{called(entry)} has the summary {text!r}.",
        f"One line of at most {LONGEST_SUMMARY} characters, without a full stop or spaces around it.",
    )


def paper(entry: Entry[Any], kinds: tuple[str, ...] = METHODS) -> None:
    """What comes from a paper cites it, with its year."""
    if entry.kind not in kinds:
        return
    require(
        re.search(r"\b(19|20)\d\d\b", entry.paper or "") is not None,
        f"{called(entry)} cites no paper with its year.",
        'Register it with paper="Authors year, title, arXiv number", or your own name and the year.',
    )


def docstring(entry: Entry[Any]) -> None:
    """The factory has a docstring."""
    if entry.kind == "recipe":
        return
    require(bool(_docstring(entry.factory)), f"{called(entry)} has no docstring.", "Say what it is, in one sentence.")


def options_documented(entry: Entry[Any]) -> None:
    """Every option stands in the Args section of the docstring, or of the class it was inherited from."""
    text = "\n".join(_docstrings(entry.factory))
    explained = set(re.findall(r"^\s*\**(\w+)(?: \([^)]*\))?:", text, re.MULTILINE))
    missing = [name for name in entry.options.types if name not in explained]
    require(
        not missing,
        f"{called(entry)} has options that its docstring does not explain: {', '.join(missing)}.",
        "Give each a line in the docstring's Args section.",
    )


def unknown_option(entry: Entry[Any]) -> None:
    """A misspelt option is refused by name."""
    try:
        entry.check({"no_such_option": 1})
    except GanzooError as error:
        if "no_such_option" in str(error):
            return
    raise Broken(f"{called(entry)} accepts any option.", "Name its options as keyword-only parameters.")


def defaults(entry: Entry[Any]) -> None:
    """Its own defaults pass its check, and are all there is to set, unless an option is required."""
    if set(entry.options.types) - set(entry.options.defaults):
        return
    try:
        filled = entry.check(entry.options.defaults)
    except GanzooError as error:
        remedy = "Widen the type, or narrow the default."
        raise Broken(f"{called(entry)} refuses its own defaults: {error}", remedy) from error
    complete = set(filled) == set(entry.options.types)
    require(complete, f"{called(entry)} loses options in its check.", "Name each option once.")


def types(entry: Entry[Any]) -> None:
    """Each option refuses a value of a wrong type."""
    for name in entry.options.types:
        require(
            any(_refused(entry, name, value) for value in STRANGE),
            f"{called(entry)} takes anything for its option '{name}'.",
            "Annotate it with a type that a YAML file can hold: int, float, bool, str, Literal, Sequence[int].",
        )


def _refused(entry: Entry[Any], name: str, value: Any) -> bool:
    try:
        entry.check({name: value})
    except GanzooError as error:
        return name in str(error)
    return False


def _docstring(factory: Any) -> str:
    while isinstance(factory, partial):
        factory = factory.func
    # Not inspect.getdoc, which would find the base class's.
    text = vars(factory).get("__doc__") if isinstance(factory, type) else getattr(factory, "__doc__", None)
    return (text or "").strip()


def _docstrings(factory: Any) -> list[str]:
    while isinstance(factory, partial):
        factory = factory.func
    if not inspect.isclass(factory):
        return [_docstring(factory)]
    written = [
        (vars(cls).get("__doc__"), getattr(vars(cls).get("__init__"), "__doc__", None)) for cls in factory.__mro__
    ]
    return [text for pair in written for text in pair if text]
