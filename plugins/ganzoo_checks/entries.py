"""How a check fails, and the checks that apply to every kind: documentation and options."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from ganzoo.errors import STOPPED, GanzooError, StopAtOnce, plugin_line
from ganzoo.registry.registry import KEYWORD_ONLY, Entry, base_class_names, base_classes
from ganzoo.registry.strict import ValidationFailed, ValidationIssue

T = TypeVar("T")

METHODS = ("loss", "regularizer", "augmentation")
"""Kinds that come from a publication and must cite it."""

MAX_SUMMARY_LENGTH = 80
ODD_VALUES: tuple[Any, ...] = ({"no": {"such": ["value"]}}, [[{"no": "such"}]], "no such value", True, -1.5)
"""Any option with a useful type rejects at least one of these."""


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
        CheckFailed: The condition does not hold.
    """
    if not condition:
        raise CheckFailed(sentence, remedy)


@contextmanager
def plugin_code(entry: Entry[Any], doing: str, remedy: str) -> Iterator[None]:
    """Turn any exception of a plugin into a failure that names the entry, the exception and the plugin's own line.

    Checks call ``entry.factory`` inside it: ``entry.create`` would wrap the exception in a sentence of its own.

    Args:
        entry: The entry whose code runs inside the block.
        doing: Completes "The loss 'x' fails ...": ``to build for 3x32x32 images``.
        remedy: What to change.

    Raises:
        CheckFailed: The code raised an exception.
    """
    with caught(f"{described(entry)} fails {doing}", remedy):
        yield


def made(entry: Entry[T], doing: str, remedy: str, /, *supplied: Any, **options: Any) -> T:
    """Make what an entry registers, with these options and defaults for the rest.

    Args:
        entry: The entry; recipes, studies and pretrained generators are files, which are not made.
        doing: As for ``plugin_code``.
        remedy: What to change if it cannot be made.
        supplied: The positional arguments that ganzoo passes.
        options: Some of its options.

    Raises:
        CheckFailed: It cannot be made, or is not an instance of its kind's base class.
    """
    with plugin_code(entry, doing, remedy):
        thing = entry.factory(*supplied, **entry.check(options))
    require(
        isinstance(thing, base_classes()[entry.kind]),
        f"{described(entry)} is a {type(thing).__name__}.",
        f"Make it a {base_class_names(entry.kind)}.",
    )
    return thing


@contextmanager
def caught(sentence: str, remedy: str) -> Iterator[None]:
    """Turn any exception of a plugin into a failure that names the exception and the plugin's own line.

    Ctrl-C and a request to terminate pass. ``sys.exit`` does not: it would end all checks, and ``exit(0)`` would look
    as if they had passed.

    Args:
        sentence: What failed, without a full stop; the exception follows.
        remedy: What to change.

    Raises:
        CheckFailed: The block raised an exception.
    """
    try:
        yield
    except (CheckFailed, KeyboardInterrupt, StopAtOnce):
        raise
    except BaseException as error:
        if isinstance(error, SystemExit) and error.code in STOPPED:
            raise
        try:
            message = " ".join(str(error).split())[:200].rstrip(".")
        except Exception:  # the exception's class is the plugin's code as well
            message = ""
        cause = f"{type(error).__name__}: {message}".rstrip(": ")
        raise CheckFailed(f"{sentence}: {cause}{plugin_line(error)}.", remedy) from error


def summary(entry: Entry[Any]) -> None:
    """The summary is one short line without a full stop."""
    text = entry.summary
    require(
        text.strip() == text != "" and "\n" not in text and len(text) <= MAX_SUMMARY_LENGTH and not text.endswith("."),
        f"{described(entry)} has the summary {text!r}.",
        f"Write one line of at most {MAX_SUMMARY_LENGTH} characters, without a full stop or surrounding spaces.",
    )


def paper(entry: Entry[Any]) -> None:
    """A published method cites its paper and year."""
    require(
        re.search(r"\b(19|20)\d\d\b", entry.paper or "") is not None,
        f"{described(entry)} cites no paper and year.",
        'Register it with paper="Authors year, title, arXiv number"; for your own method, your name and the year.',
    )


def docstring(entry: Entry[Any]) -> None:
    """The factory has a docstring."""
    require(bool(_docstring(entry.factory)), f"{described(entry)} has no docstring.", "Describe it in one sentence.")


def options_documented(entry: Entry[Any]) -> None:
    """The docstring's Args section, or a base class's, documents every option."""
    factory: Any = entry.factory
    while isinstance(factory, partial):
        factory = factory.func
    if inspect.isclass(factory):
        texts = [
            text
            for cls in factory.__mro__
            for text in (vars(cls).get("__doc__"), getattr(vars(cls).get("__init__"), "__doc__", None))
            if text
        ]
    else:
        texts = [_docstring(factory)]
    documented = set(re.findall(r"^\s*\**(\w+)(?: \([^)]*\))?:", "\n".join(texts), re.MULTILINE))
    missing = [name for name in entry.options.types if name not in documented]
    require(
        not missing,
        f"{described(entry)} does not document its options: {', '.join(missing)}.",
        "Give each a line in the docstring's Args section.",
    )


def keyword_only(entry: Entry[Any]) -> None:
    """Parameters with a default are keyword-only, so that recipes can set them."""
    for name in entry.options.positional:
        raise CheckFailed(f"{described(entry)} takes '{name}' by position, so no recipe can set it.", KEYWORD_ONLY)


def types(entry: Entry[Any]) -> None:
    """Each option rejects a value of the wrong type."""
    for name in entry.options.types:
        require(
            any(issue.place[:1] == (name,) for value in ODD_VALUES for issue in _issues(entry, {name: value})),
            f"{described(entry)} accepts any value for its option '{name}'.",
            "Annotate it with a type that YAML can express: int, float, bool, str, Literal, Sequence[int].",
        )


def _issues(entry: Entry[Any], options: Mapping[str, Any]) -> Sequence[ValidationIssue]:
    """The validation issues of options. The error's text is not enough: it only counts those after the first few."""
    try:
        entry.check(options)
    except ValidationFailed as error:
        return error.issues
    return ()


def _docstring(factory: Any) -> str:
    while isinstance(factory, partial):
        factory = factory.func
    # Not inspect.getdoc, which would return the base class's docstring.
    text = vars(factory).get("__doc__") if isinstance(factory, type) else getattr(factory, "__doc__", None)
    return (text or "").strip()
