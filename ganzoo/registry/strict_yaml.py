"""YAML without its surprises: no anchors, tags or duplicate keys, and numbers as people write them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from ganzoo.errors import GanzooError

MAX_BYTES = 1_000_000
MAX_DEPTH = 32

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
        r"|\.(inf|Inf|INF))|\.(nan|NaN|NAN)",
        list("-+0123456789."),
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


class _Dumper(yaml.SafeDumper):
    """Quotes whatever either YAML 1.1 or this loader would read as something other than text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        GanzooError: The file is missing, too large, not UTF-8, not valid YAML, or not a mapping.
    """
    try:
        if not path.is_file():
            raise GanzooError(f"No such file: {path}.")
        if path.stat().st_size > MAX_BYTES:
            raise GanzooError(f"{path} is too large for a recipe: over {MAX_BYTES:,} bytes.")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GanzooError(f"{path} is not valid UTF-8 (byte {error.start}).") from error
    except OSError as error:
        raise GanzooError(f"Cannot read {path} ({error.strerror}).") from error
    value = parse(text, str(path))
    if value is None:
        raise GanzooError(f"{path} is empty.")
    if not isinstance(value, dict):
        raise GanzooError(f"{path} must hold a mapping of keys to values, not a {_word(value)}.")
    return value


def parse(text: str, source: str) -> Any:
    """The value of one YAML document.

    Args:
        text: The document.
        source: What error sentences call it.

    Raises:
        GanzooError: A syntax error, or a feature of YAML that recipes do not allow.
    """
    try:
        _refuse_surprises(text, source)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise GanzooError(f"{_place(source, mark)}: {error.problem or error.context}.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise GanzooError(f"{source} is not valid YAML: {' '.join(str(error).split())}.") from error


def dump(value: Any) -> str:
    """YAML that ``parse`` reads back to the same value; short lists and innermost mappings stay on one line."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def _refuse_surprises(text: str, source: str) -> None:
    """Before anything is built, so that neither deep nesting nor expanding aliases cost anything."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        reason = _surprise(event, depth, documents)
        if reason:
            raise GanzooError(f"{_place(source, event.start_mark)}: {reason}.")


def _surprise(event: yaml.Event, depth: int, documents: int) -> str:
    if documents > 1:
        return "only one YAML document is allowed, and a second one starts here"
    if depth > MAX_DEPTH:
        return f"nested more than {MAX_DEPTH} levels deep"
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        return "anchors and aliases (& and *) are not allowed; write the value out"
    tag = getattr(event, "tag", None)
    return "" if tag is None else f"the tag {tag} is not allowed; write a plain value"


def _place(source: str, mark: Any) -> str:
    return source if mark is None else f"{source}, line {mark.line + 1}, column {mark.column + 1}"


def _word(value: Any) -> str:
    return "list" if isinstance(value, list) else "single value"
