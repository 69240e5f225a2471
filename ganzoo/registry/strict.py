"""Strict parsing of user input: YAML without anchors, tags and duplicate keys; and messages about wrong values."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from ganzoo.api.reading import open_regular
from ganzoo.errors import GanzooError, nearest, one_line
from ganzoo.files import similar

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
KeyPath = tuple[str | int, ...]

try:
    from yaml import CSafeLoader as _Base
except ImportError:  # a PyYAML built without libyaml
    from yaml import SafeLoader as _Base  # type: ignore[assignment]

# The scalars of YAML 1.2: `1e-4` is a number; `no`, `010`, `1:30` and `2024-01-01` are text.
_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9_]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?([0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|\.[0-9]+([eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|\.(inf|Inf|INF))|\.(nan|NaN|NAN)|-?Infinity|NaN",  # the last two as JSON spells them
        list("-+0123456789.IN"),
    ),
)


class _Loader(_Base):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise yaml.constructor.ConstructorError(None, None, "keys must be text", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key '{key.value}'", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):  # quotes text that YAML 1.1 or _Loader would read otherwise
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, text: str) -> yaml.ScalarNode:
        # Double quotes escape U+0085, which YAML reads back as a space, and what terminals do not show.
        plain = all(character.isprintable() or character == "\n" for character in text)
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _Dumper.text)
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds."""
    try:
        with open_regular(path, MAX_BYTES) as file:
            text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GanzooError(f"{path} is not valid UTF-8 (byte {error.start}).") from error
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        hint = similar(path, lambda entry: entry.suffix in (".yaml", ".yml") and entry.is_file())
        raise GanzooError(
            f"No such file: {path}.", hint or "Check its path; a relative one starts at the working folder."
        ) from error
    except OSError as error:
        raise GanzooError(f"Cannot read {path} ({error.strerror}).") from error
    return parse_mapping(text, str(path))


def parse_mapping(text: str, source: str) -> dict[str, Any]:
    """The mapping of one YAML document; see ``parse``."""
    value = parse(text, source)
    if not isinstance(value, dict):
        kind = "nothing: it is empty" if value is None else "a list" if isinstance(value, list) else "a single value"
        raise GanzooError(f"{source} must hold a mapping of keys to values, not {kind}.", "Write `key: value` lines.")
    return value


def parse(text: str, source: str) -> Any:
    """The value of one YAML document, which error messages call ``source``."""
    try:
        _refuse_unsupported(text, source)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark or error.context_mark, str(error.problem or error.context)
        raise GanzooError(f"{_place(source, mark)}: {problem}.", _yaml_remedy(problem, text, mark)) from error
    except (yaml.YAMLError, ValueError) as error:
        raise GanzooError(f"{source} is not valid YAML: {' '.join(str(error).split())}.") from error


def quoted(value: Any) -> str:
    """What JSON can hold, a path, a NumPy number or a tensor of one, as YAML on one line; a TypeError for others."""
    # JSON does not escape all characters that YAML refuses, or takes for the end of a line.
    return "".join(
        one if one.isprintable() else f"\\U{ord(one):08X}"
        for one in json.dumps(value, default=_plain, ensure_ascii=False)
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if getattr(value, "shape", None) == ():  # a NumPy number, or a tensor
        return value.item()
    name = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
    raise TypeError(f"it is or contains {name}")


def dump(value: Any) -> str:
    """YAML that ``parse`` reads back to the same value; short lists and innermost mappings stay on one line."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def walk(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """A value and everything in it, at any nesting level, each with the keys and list indices that lead to it."""
    yield path, value
    if isinstance(value, (Mapping, list, tuple)):
        for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from walk(inner, (*path, key))


def _refuse_unsupported(text: str, source: str) -> None:
    """Check events before anything is built, so that neither deep nesting nor expanding aliases cost anything."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        tag = getattr(event, "tag", None)
        if depth > MAX_DEPTH:
            reason = f"nested more than {MAX_DEPTH} levels deep"
        elif isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            reason = "anchors and aliases (& and *) are not allowed; write the value out"
        elif tag is not None:
            reason = f"the tag {tag} is not allowed; write a plain value"
        else:
            continue
        raise GanzooError(f"{_place(source, event.start_mark)}: {reason}.")


def _yaml_remedy(problem: str, text: str, mark: Any) -> str:
    lines = text.splitlines()
    if mark is None or mark.line >= len(lines):
        return ""
    before, rest = lines[mark.line][: mark.column], lines[mark.line][mark.column :]
    if rest.startswith("\t") and not before.strip():
        return "Indent with spaces."
    if rest.startswith(":") and re.search(r":\s", before):
        return "Put text that contains ': ' in quotes."
    if problem.startswith("did not find expected ','") and re.search(r"=[\[{]", before + rest[:1]):
        return 'Put text that contains [ or { in quotes: ["a=[1, 2]"].'
    return "Check the indentation of this line." if problem.startswith("mapping values") else ""


def _place(source: str, mark: Any) -> str:
    return source if mark is None else f"{source}, line {mark.line + 1}, column {mark.column + 1}"


class Section(BaseModel):
    """A mapping with known keys, whose values are never turned into another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


SHOWN = 5  # at most this many mistakes are listed; the rest are counted
SYNONYMS: Mapping[str, str] = {  # other tools' names for our keys
    "beta1": "betas",
    "batch": "batch_size",
    "critic": "discriminator",
    "criterion": "loss",
    "epochs": "images",
    "generator": "networks",
    "iterations": "images",
    "latent_dim": "dim",
    "learning_rate": "lr",
    "steps": "images",
    "z_dim": "dim",
}
EXPECTED: Mapping[str, str] = {  # what a value must be, by pydantic's error type
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
}


@dataclass(frozen=True)
class ValidationIssue:
    """One mistake in a mapping."""

    path: KeyPath  # the keys and list indices that lead to it
    verdict: str  # what is wrong: a predicate whose subject is the value at path, or a sentence if whole
    remedy: str = ""
    key: str | None = None  # the missing or unknown key below path, if that is the mistake
    whole: bool = False

    @classmethod
    def of(cls, error: GanzooError, *path: str | int) -> ValidationIssue:
        """The issue for an error about the value at ``path``."""
        return cls(path, error.sentence, error.remedy, whole=True)

    def below(self, *path: str | int) -> ValidationIssue:
        """The same mistake, as seen from a mapping further up."""
        return replace(self, path=(*path, *self.path))

    def sentence(self, root: str) -> str:
        """The mistake in words; ``root`` names the mapping itself."""
        subject = ".".join(map(str, self.path))  # networks.generator.hidden.0
        if not self.whole:
            return f"{subject or root} {self.verdict}. {self.remedy}".strip()
        shown_place = f"{subject}: " if len(self.path) > 1 and subject not in self.verdict else ""
        return f"{shown_place}{self.verdict.rstrip('.')}. {self.remedy}".strip()


class ValidationFailed(GanzooError):
    """Invalid values: every mistake, and the same in words; no words if it is caught and reported later."""

    def __init__(self, issues: Sequence[ValidationIssue], sentences: Sequence[str] = ()) -> None:
        more = [f"... and {len(sentences) - SHOWN} more."] if len(sentences) > SHOWN else []
        super().__init__("")
        self.sentence = "\n".join(map(one_line, [*sentences[:SHOWN], *more]))
        self.args = (self.sentence,)
        self.issues = tuple(issues)


def issues(
    error: ValidationError, model: type[BaseModel], data: Any, noun: str = "key", filled_in: Collection[str] = ()
) -> list[ValidationIssue]:
    """Every mistake that pydantic found in ``data``. A key is called ``noun``; no hint names one of ``filled_in``."""
    mistakes: list[ValidationIssue] = []
    expected: dict[KeyPath, list[str]] = {}
    errors = error.errors(include_url=False)
    for details in errors:
        loc, kind = details["loc"], details["type"]
        outer, key = loc[:-1], str(loc[-1]) if loc else ""
        if kind == "extra_forbidden":
            known = [other for other in known_keys(model, outer) if outer or other not in filled_in]
            mistakes.append(ValidationIssue(path_in(data, outer), f"has no {noun} '{key}'", meant(key, known), key))
        elif kind == "missing" and isinstance(loc[-1], int):
            expected.setdefault(path_in(data, outer), []).append("longer")
        elif kind == "missing":
            mistakes.append(ValidationIssue(path_in(data, outer), f"needs the {noun} '{key}'", key=key))
        elif kind == "too_short" and any(other["loc"][: len(loc)] == loc != other["loc"] for other in errors):
            pass  # pydantic does not count the items that it refuses
        elif kind == "combination":
            mistakes.append(ValidationIssue(path_in(data, loc), details["msg"], whole=details["msg"][0].isupper()))
        else:
            expected.setdefault(path_in(data, loc), []).append(_expected(details))
    # A union reports each of its members; together they are one mistake.
    for path, alternatives in expected.items():
        value: Any = reduce(getitem, path, data)
        is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15  # as in 1e5
        remedy = f"Write {value:.0f}." if is_whole and EXPECTED["int_type"] in alternatives else ""
        if isinstance(value, str) and value.lower() == "none" and not any(one.startswith("'") for one in alternatives):
            remedy = "In YAML, None is null."
        elif isinstance(value, str) and EXPECTED["list_type"] in alternatives and len(value) <= 60:
            remedy = f"Write [{value}]."
        mistakes.append(ValidationIssue(path, f"must be {_any_of(alternatives)}, not {shown(value)}", remedy))
    return without_echoes(mistakes)


def known_keys(model: type[BaseModel], loc: KeyPath) -> list[str]:
    """The keys that a model knows at one of pydantic's locations, which may include the tags of unions."""
    models = [model]
    for part in loc:
        fields = [
            field for model in models for name, field in model.model_fields.items() if (field.alias or name) == part
        ]
        models = [inner for field in fields for inner in models_in(field.annotation)] or models
    return sorted({field.alias or name for model in models for name, field in model.model_fields.items()})


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation mentions: the members of a union, the values of a mapping."""
    if get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models_in(argument)]


def meant(word: str, known: Collection[str]) -> str:
    """A hint for an unknown key; other tools' words lead to ours."""
    synonyms = {other: key for other, key in SYNONYMS.items() if key in known and other not in known}
    return nearest(word, known, synonyms, "ganzoo show NAME") or "It takes none."


def path_in(data: Any, loc: KeyPath) -> KeyPath:
    """A location without the parts that pydantic added: tags and types of unions, which are not keys of ``data``."""
    path: list[str | int] = []
    for part in loc:
        in_list = isinstance(data, (list, tuple)) and isinstance(part, int) and part < len(data)
        if in_list or (isinstance(data, Mapping) and part in data):
            path.append(part)
            data = data[part]
    return tuple(path)


def shown(value: Any) -> str:
    """A value as a recipe would write it, shortened."""
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def without_echoes(mistakes: list[ValidationIssue]) -> list[ValidationIssue]:
    """Count a misspelt key as one mistake, although the key that was meant is missing too."""
    hints = {(issue.path, issue.remedy) for issue in mistakes}
    return [
        issue
        for issue in mistakes
        if not issue.verdict.startswith("needs") or (issue.path, f"Did you mean '{issue.key}'?") not in hints
    ]


def _any_of(alternatives: Iterable[str]) -> str:  # each may be such a list itself
    first, *more = dict.fromkeys(alternatives)
    if not more:
        return first
    choices, _, last = ", ".join([first, *more]).replace(" or ", ", ").rpartition(", ")
    return f"{choices} or {last}"


def _expected(details: ErrorDetails) -> str:
    template = EXPECTED.get(details["type"])
    if template is None:
        return f"valid ({details['msg'][:1].lower()}{details['msg'][1:]})"
    return template.format_map(
        {key: f"{bound:g}" if isinstance(bound, float) else bound for key, bound in details.get("ctx", {}).items()}
    )
