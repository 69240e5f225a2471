"""Validation errors in words: which key, what was expected, what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ganzoo.errors import GanzooError, nearest, one_line

KeyPath = tuple[str | int, ...]

SHOWN = 5
"""At most so many mistakes are listed; the rest are counted."""

SYNONYMS: Mapping[str, str] = {
    "beta1": "betas",
    "batch": "batch_size",
    "criterion": "loss",
    "epochs": "images",
    "generator": "networks",
    "iterations": "images",
    "latent_dim": "dim",
    "learning_rate": "lr",
    "steps": "images",
    "z_dim": "dim",
}
"""What other tools call our keys."""

EXPECTED: Mapping[str, str] = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "finite_number": "finite",
    "float_type": "a number",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_type": "a mapping",
    "none_required": "null",
    "string_too_long": "at most {max_length} characters long",
    "string_too_short": "at least {min_length} characters long",
    "string_type": "text",
    "too_long": "at most {max_length} long",
    "too_short": "at least {min_length} long",
    "tuple_type": "a list",
    "union_tag_invalid": "{expected_tags}",
}
"""Pydantic's error types, as what the value must be."""


@dataclass(frozen=True)
class ValidationIssue:
    """One mistake in a mapping.

    Attributes:
        path: The keys and list indices that lead to it.
        verdict: What is wrong: a predicate whose subject is the value at ``path``, or a sentence if ``whole``.
        remedy: What to do about it.
        key: The key below ``path`` that is missing or too many, if that is the mistake.
        whole: Whether ``verdict`` is a sentence of its own.
    """

    path: KeyPath
    verdict: str
    remedy: str = ""
    key: str | None = None
    whole: bool = False

    @property
    def place(self) -> KeyPath:
        """Where the mistake would be corrected."""
        return self.path if self.key is None else (*self.path, self.key)

    def below(self, *path: str | int) -> ValidationIssue:
        """The same mistake, seen from further up."""
        return replace(self, path=(*path, *self.path))

    def sentence(self, root: str) -> str:
        """The mistake in words; ``root`` names the mapping itself."""
        subject = dotted(self.path)
        if not self.whole:
            return f"{subject or root} {self.verdict}. {self.remedy}".strip()
        shown_place = f"{subject}: " if len(self.path) > 1 and subject not in self.verdict else ""
        return f"{shown_place}{self.verdict.rstrip('.')}. {self.remedy}".strip()


class ValidationFailed(GanzooError):
    """Invalid values, with every mistake.

    Args:
        issues: What is wrong, at least one.
        sentences: The same in words, in the same order.
    """

    def __init__(self, issues: Sequence[ValidationIssue], sentences: Sequence[str]) -> None:
        more = len(sentences) - SHOWN
        shown = [*sentences[:SHOWN], *([f"... and {more} more."] if more > 0 else [])]
        super().__init__("")
        self.sentence = "\n".join(map(one_line, shown))
        self.args = (self.sentence,)
        self.issues = tuple(issues)


def dotted(path: KeyPath) -> str:
    """``networks.generator.hidden.0``."""
    return ".".join(map(str, path))


def issues(error: ValidationError, model: type[BaseModel], data: Any, noun: str = "key") -> list[ValidationIssue]:
    """Every mistake that pydantic found.

    Args:
        error: What pydantic raised.
        model: The model that was validated.
        data: What was given to it.
        noun: What a key is called.
    """
    found: list[ValidationIssue] = []
    expected: dict[KeyPath, list[str]] = {}
    values: dict[KeyPath, Any] = {}
    for details in error.errors(include_url=False):
        loc, kind = details["loc"], details["type"]
        if kind == "extra_forbidden":
            hint = meant(str(loc[-1]), known_keys(model, loc[:-1]))
            found.append(ValidationIssue(path_in(data, loc[:-1]), f"has no {noun} '{loc[-1]}'", hint, str(loc[-1])))
        elif kind == "missing":
            found.append(ValidationIssue(path_in(data, loc[:-1]), f"needs the {noun} '{loc[-1]}'", key=str(loc[-1])))
        elif kind == "union_tag_not_found":
            found.append(ValidationIssue(path_in(data, loc), f"needs the {noun} 'name'", key="name"))
        elif kind == "combination":
            verdict = details["msg"]
            found.append(ValidationIssue(path_in(data, loc), verdict, whole=verdict[0].isupper()))
        else:
            path = path_in(data, loc)
            values[path] = _at(data, path)
            expected.setdefault(path, []).append(_expected(details))
    # A union reports each of its members; together they are one mistake.
    for path, wanted in expected.items():
        choices = " or ".join(dict.fromkeys(wanted))
        found.append(ValidationIssue(path, f"must be {choices}, not {shown(values[path])}"))
    return _without_echoes(found)


def known_keys(model: type[BaseModel], loc: KeyPath) -> list[str]:
    """The keys that a model knows at one of pydantic's locations, which may hold the tags of unions."""
    models = [model]
    for part in loc:
        inner = [found for m in models for found in models_in(_annotation(m, part))]
        tagged = [m for m in models if "name" in m.model_fields and m.model_fields["name"].default == part]
        models = inner or tagged or models
    return sorted({field.alias or name for m in models for name, field in m.model_fields.items()})


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation mentions: the members of a union, the values of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in models_in(argument)]


def meant(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown key; other tools' words lead to ours."""
    known = list(known)
    return nearest(word, known, {other: key for other, key in SYNONYMS.items() if key in known and other not in known})


def path_in(data: Any, loc: KeyPath) -> KeyPath:
    """A location without the parts that pydantic added: tags and types of unions, which are no keys of ``data``."""
    path: list[str | int] = []
    for part in loc:
        inside, data = _step(data, part)
        if inside:
            path.append(part)
    return tuple(path)


def shown(value: Any) -> str:
    """A value as a recipe would write it, shortened."""
    plain = {None: "null", True: "true", False: "false"}
    text = plain[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _step(data: Any, part: str | int) -> tuple[bool, Any]:
    if isinstance(data, Mapping) and part in data:
        return True, data[part]
    if isinstance(data, (list, tuple)) and isinstance(part, int) and part < len(data):
        return True, data[part]
    return False, data


def _without_echoes(found: list[ValidationIssue]) -> list[ValidationIssue]:
    """A misspelt key is one mistake, although the key that was meant is missing too."""
    hints = {(issue.path, issue.remedy) for issue in found}
    return [
        issue
        for issue in found
        if not issue.verdict.startswith("needs") or (issue.path, f"Did you mean '{issue.key}'?") not in hints
    ]


def _at(data: Any, path: KeyPath) -> Any:
    for part in path:
        data = data[part]
    return data


def _expected(details: ErrorDetails) -> str:
    template = EXPECTED.get(details["type"])
    if template is None:
        return f"valid ({details['msg'][:1].lower()}{details['msg'][1:]})"
    context = details.get("ctx", {})
    return template.format_map({key: f"{x:g}" if isinstance(x, float) else x for key, x in context.items()})


def _annotation(model: type[BaseModel], part: str | int) -> Any:
    named = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    return named.get(str(part))
