"""How a check fails, and the checks that apply to every kind: documentation and options."""

from __future__ import annotations

import inspect
import linecache
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ganzoo.errors import GanzooError
from ganzoo.registry.loading import SUMMARIES
from ganzoo.registry.registry import Entry

METHODS = ("loss", "regularizer", "augmentation")
"""Kinds that come from a publication and must cite it."""

MAX_SUMMARY_LENGTH = 80
ODD_VALUES: tuple[Any, ...] = ({"no": {"such": ["value"]}}, [[{"no": "such"}]], "no such value", True, -1.5)
"""Any option with a useful type rejects at least one of these."""

PACKAGE = Path(__file__).parents[1]
"""Stack frames from ganzoo itself never point at the plugin's mistake."""


class CheckFailed(GanzooError):
    """A plugin breaks its contract.

    Args:
        sentence: What is wrong, naming the entry.
        remedy: What to change.
    """

    exit_code = 1


def described(entry: Entry[Any]) -> str:
    """How a message names an entry: ``The loss 'hinge'``."""
    return f"The {entry.kind} '{entry.name}'"


def require(condition: bool, sentence: str, remedy: str) -> None:
    """Fail the check unless the condition holds.

    Raises:
        CheckFailed: It does not.
    """
    if not condition:
        raise CheckFailed(sentence, remedy)


@contextmanager
def plugin_code(entry: Entry[Any], doing: str, remedy: str) -> Iterator[None]:
    """Turn any exception of a plugin into a failure that names the entry, the exception and the plugin's own line.

    Args:
        entry: Whose code runs inside the block.
        doing: Completes "The loss 'x' fails ...": ``to build for 3x32x32 images``.
        remedy: What to change.

    Raises:
        CheckFailed: The code raised an exception.
    """
    try:
        yield
    except CheckFailed:
        raise
    except Exception as error:
        message = " ".join(str(error).split())[:200].rstrip(".")
        cause = f"{type(error).__name__}: {message}".rstrip(": ")
        raise CheckFailed(f"{described(entry)} fails {doing}: {cause}{_location(error)}.", remedy) from error


def _location(error: BaseException) -> str:
    """The innermost frame that belongs neither to torch nor to ganzoo; empty if there is none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if {"torch", "contextlib.py"} & set(path.parts) or path.is_relative_to(PACKAGE) or not path.is_file():
            continue
        code = linecache.getline(frame.filename, frame.lineno or 0).strip()
        return f" ({path.name}, line {frame.lineno}: `{code}`)"
    return ""


def summary(entry: Entry[Any]) -> None:
    """The summary is one short line without a full stop."""
    text = entry.summary
    require(
        text.strip() == text != "" and "\n" not in text and len(text) <= MAX_SUMMARY_LENGTH and not text.endswith("."),
        f"{described(entry)} has the summary {text!r}.",
        f"Write one line of at most {MAX_SUMMARY_LENGTH} characters, without a full stop or surrounding spaces.",
    )


def paper(entry: Entry[Any], kinds: tuple[str, ...] = METHODS) -> None:
    """A published method cites its paper and year."""
    if entry.kind not in kinds:
        return
    require(
        re.search(r"\b(19|20)\d\d\b", entry.paper or "") is not None,
        f"{described(entry)} cites no paper and year.",
        'Register it with paper="Authors year, title, arXiv number"; for your own method, your name and the year.',
    )


def docstring(entry: Entry[Any]) -> None:
    """The factory has a docstring."""
    if entry.kind in SUMMARIES:
        return
    require(bool(_docstring(entry.factory)), f"{described(entry)} has no docstring.", "Describe it in one sentence.")


def options_documented(entry: Entry[Any]) -> None:
    """The docstring's Args section, or a base class's, documents every option."""
    text = "\n".join(_docstrings(entry.factory))
    documented = set(re.findall(r"^\s*\**(\w+)(?: \([^)]*\))?:", text, re.MULTILINE))
    missing = [name for name in entry.options.types if name not in documented]
    require(
        not missing,
        f"{described(entry)} does not document its options: {', '.join(missing)}.",
        "Give each a line in the docstring's Args section.",
    )


def unknown_option(entry: Entry[Any]) -> None:
    """A misspelt option is rejected by name."""
    try:
        entry.check({"no_such_option": 1})
    except GanzooError as error:
        if "no_such_option" in str(error):
            return
    raise CheckFailed(f"{described(entry)} accepts any option.", "Declare its options as keyword-only parameters.")


def defaults(entry: Entry[Any]) -> None:
    """Without required options, the defaults are valid and complete."""
    if set(entry.options.types) - set(entry.options.defaults):
        return
    try:
        filled = entry.check(entry.options.defaults)
    except GanzooError as error:
        remedy = "Widen the type, or narrow the default."
        raise CheckFailed(f"{described(entry)} rejects its own defaults: {error}", remedy) from error
    complete = set(filled) == set(entry.options.types)
    require(complete, f"{described(entry)} drops options during validation.", "Name each option once.")


def types(entry: Entry[Any]) -> None:
    """Each option rejects a value of the wrong type."""
    for name in entry.options.types:
        require(
            any(_rejects(entry, name, value) for value in ODD_VALUES),
            f"{described(entry)} accepts any value for its option '{name}'.",
            "Annotate it with a type that YAML can express: int, float, bool, str, Literal, Sequence[int].",
        )


def _rejects(entry: Entry[Any], name: str, value: Any) -> bool:
    try:
        entry.check({name: value})
    except GanzooError as error:
        return name in str(error)
    return False


def _docstring(factory: Any) -> str:
    while isinstance(factory, partial):
        factory = factory.func
    # Not inspect.getdoc, which would return the base class's docstring.
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
