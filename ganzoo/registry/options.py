"""What a factory lets a recipe set: its keyword-only parameters, as a pydantic model."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model

from ganzoo.api.bounds import FLOAT32, INT64
from ganzoo.errors import GanzooError
from ganzoo.registry.validation import ValidationFailed, ValidationIssue, issues

RESERVED = ("name", "options")
"""Keys of a component that are ganzoo's own."""

# Fields are prefixed, so that no option can shadow a method of pydantic's.
_PREFIX = "option_"


class Options:
    """The options of one factory, checked against its annotations.

    A keyword-only parameter without a default is an option that every recipe must set. A class whose ``__init__``
    takes ``**keywords`` has the options of the class it inherits from too. A number whose author states no
    bound has to be one that tensors can hold: see ``ganzoo.api.bounds``.

    Args:
        subject: Whose options they are, for error sentences: ``generator 'mlp'``.
        factory: A class or function.
        reserved: Further names that an option may not have.

    Raises:
        GanzooError: An option cannot be checked, or its default is not a value that a recipe can hold.
    """

    def __init__(self, subject: str, factory: Callable[..., Any], reserved: Collection[str] = ()) -> None:
        self.subject = subject
        declared = _declared(factory)
        for name in declared:
            if name in (*RESERVED, *reserved):
                raise GanzooError(f"The {subject} has an option called '{name}', a name that ganzoo reserves.")
        self.types = {name: _type(subject, parameter, names) for name, (parameter, names) in declared.items()}
        self.defaults = {
            name: parameter.default
            for name, (parameter, _) in declared.items()
            if parameter.default is not parameter.empty
        }
        self._model = self._build({name: _bounded(kind) for name, kind in self.types.items()})
        self._check_defaults()

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with defaults filled in.

        Numbers, text and booleans are never turned into one another, except whole numbers into floats; lists are
        accepted where a tuple is annotated.

        Raises:
            ValidationFailed: Unknown, missing or wrongly typed options.
        """
        found = self._issues(options)
        if found:
            prefix = f"The {self.subject}"
            sentences = [issue.sentence("") if issue.path else issue.sentence(prefix) for issue in found]
            named = [f"{prefix}: {s}" if issue.path else s for issue, s in zip(found, sentences, strict=True)]
            raise ValidationFailed(found, named)
        return self._validated({**self.defaults, **options})

    def schema(self) -> dict[str, Any]:
        """The JSON schema of each option, with the bounds that its author stated."""
        properties: dict[str, Any] = self._build(self.types).model_json_schema().get("properties", {})
        return properties

    def _build(self, types: Mapping[str, Any]) -> type[BaseModel]:
        fields: dict[str, Any] = {
            _PREFIX + name: (kind, Field(default=... if name not in self.defaults else None, alias=name))
            for name, kind in types.items()
        }
        config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
        try:
            return create_model("Options", __config__=config, **fields)
        except (PydanticUserError, TypeError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise GanzooError(f"The {self.subject} has an option whose type cannot be checked: {reason}.") from error

    def _check_defaults(self) -> None:
        try:
            found = [c for c in self._issues(self.defaults) if not c.verdict.startswith("needs")]
        except TypeError as error:
            raise GanzooError(f"The {self.subject} has a default that a recipe cannot hold: {error}.") from error
        if found:
            raise GanzooError(f"The {self.subject} has a default of the wrong type: {found[0].sentence('it')}")

    def _validated(self, options: Mapping[str, Any]) -> dict[str, Any]:
        # As JSON: strict about numbers and text, yet a list may become a tuple and text a path.
        model = self._model.model_validate_json(json.dumps(dict(options)))
        return {name: getattr(model, _PREFIX + name) for name in self.types if name in options}

    def _issues(self, options: Mapping[str, Any]) -> list[ValidationIssue]:
        try:
            self._validated(options)
        except ValidationError as error:
            return issues(error, self._model, options, noun="option")
        return []


def _declared(factory: Callable[..., Any]) -> dict[str, tuple[inspect.Parameter, dict[str, Any]]]:
    """Keyword-only parameters, each with the global names that its annotation was written among."""
    found: dict[str, tuple[inspect.Parameter, dict[str, Any]]] = {}
    for function in _functions(factory):
        try:
            parameters = inspect.signature(function).parameters.values()
        except ValueError:  # written in C without a signature: nothing that a recipe could set
            break
        for parameter in parameters:
            if parameter.kind is parameter.KEYWORD_ONLY:
                found.setdefault(parameter.name, (parameter, _globals(function)))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def _functions(factory: Callable[..., Any]) -> list[Callable[..., Any]]:
    if not isinstance(factory, type):
        return [factory]
    own = [vars(cls).get("__init__") for cls in factory.__mro__]
    return [init for init in own if inspect.isfunction(init)] or [factory]


def _globals(function: Callable[..., Any]) -> dict[str, Any]:
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function)
    if not hasattr(function, "__globals__"):
        function = type(function).__call__
    return getattr(function, "__globals__", {})


def _type(subject: str, parameter: inspect.Parameter, names: dict[str, Any]) -> Any:
    """The annotation of one parameter, resolved alone: the others may name types that only a type checker sees."""
    if parameter.annotation is parameter.empty:
        raise GanzooError(f"The {subject} has an option '{parameter.name}' without a type.", "Annotate the parameter.")
    holder = type("Holder", (), {"__annotations__": {parameter.name: parameter.annotation}})
    try:
        return get_type_hints(holder, globalns=names, include_extras=True)[parameter.name]
    except Exception as error:  # evaluating someone else's annotation can raise anything
        raise GanzooError(
            f"The {subject} has an option '{parameter.name}' whose type '{parameter.annotation}' cannot be resolved "
            f"({type(error).__name__}: {error}).",
            "Import it at the top of the module, outside TYPE_CHECKING.",
        ) from error


def _bounded(kind: Any) -> Any:
    """An annotation whose numbers are limited to what tensors can hold; bounds of the author's own come on top."""
    if kind is int:
        return Annotated[int, Field(ge=INT64[0], le=INT64[1])]
    if kind is float:
        return Annotated[float, Field(ge=FLOAT32[0], le=FLOAT32[1])]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal or not arguments:
        return kind
    if origin is Annotated:
        parts: Any = (_bounded(arguments[0]), *kind.__metadata__)
        return Annotated[parts]
    inner = tuple(map(_bounded, arguments))
    if inner == arguments:
        return kind
    return Union[inner] if origin in (Union, UnionType) else origin[inner]  # noqa: UP007 - from a tuple
