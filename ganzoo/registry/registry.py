"""Registered names: what each refers to, who registered it, and which options a recipe may set."""

from __future__ import annotations

import inspect
import json
import re
from collections import abc
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache, cached_property, partial
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model

from ganzoo.api.bounds import FLOAT32, INT64
from ganzoo.errors import GanzooError, foreign_code, nearest, unknown
from ganzoo.registry.strict import ValidationFailed, ValidationIssue, issues

RESERVED = ("name", "options")
"""Keys of a component that are ganzoo's own."""

HEADLINE = "headline"
"""As a metric: the headline metrics of the recipe's dataset."""

ALL = "all"
"""As a metric: every metric that applies, as in ``all@mnist-cnn``."""

OWN_NAMES: Mapping[str, tuple[str, ...]] = {"metric": (HEADLINE, ALL)}
"""By kind, names that no plugin can register, since they already mean something."""

DECLARED: Mapping[str, tuple[str, ...]] = {"extractor": ("shape", "width"), "metric": ("better", "range")}
"""By kind, the attributes without defaults that every component must have."""

# Fields are prefixed, so that no option can shadow a method of pydantic's.
_PREFIX = "option_"


class _NoOptions(BaseModel):
    """The model of a factory without options: most have none, and making a model takes a millisecond."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Options:
    """The options of one factory, checked against its annotations.

    A keyword-only parameter without a default is an option that every recipe must set. A class whose ``__init__``
    takes ``**keywords`` also has the options of the class it inherits from. A number without a bound must fit into a
    tensor: see ``ganzoo.api.bounds``.

    Args:
        subject: Whose options they are, for error messages: ``generator 'mlp'``.
        factory: A class or function.
        reserved: Additional names that an option may not have.
        supplied: How many positional arguments ganzoo passes to the factory.

    Attributes:
        positional: Parameters with a default that were probably meant as options: they are not keyword-only.

    Raises:
        GanzooError: An option cannot be checked, or its default is not a value that a recipe can hold.
    """

    def __init__(
        self, subject: str, factory: Callable[..., Any], reserved: Collection[str] = (), supplied: int = 0
    ) -> None:
        self.subject = subject
        self.positional = _positional(factory, supplied)
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
        for name, default in self.defaults.items():
            try:
                json.dumps(default)
            except (TypeError, ValueError) as error:
                raise GanzooError(
                    f"The {subject} has an option '{name}' with a default that a recipe cannot hold: {error}.",
                    "Use None, a number, a boolean, text, or a list or tuple of them.",
                ) from error
        wrong = [issue for issue in self._issues(self.defaults) if not issue.verdict.startswith("needs")]
        if wrong:
            raise GanzooError(f"The {subject} has a default of the wrong type: {wrong[0].sentence('it')}")

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with defaults filled in.

        Numbers, text and booleans are never converted into one another, except whole numbers into floats; lists are
        accepted for tuples.

        Raises:
            ValidationFailed: Unknown, missing or wrongly typed options.
        """
        mistakes = self._issues(options)
        if mistakes:
            prefix = f"The {self.subject}"
            raise ValidationFailed(
                mistakes,
                [f"{prefix}: {one.sentence('')}" if one.path else one.sentence(prefix) for one in mistakes],
            )
        return self._validated({**self.defaults, **options})

    def schema(self) -> dict[str, Any]:
        """The JSON schema of each option, with the bounds that its author stated."""
        properties: dict[str, Any] = self._build(self.types).model_json_schema().get("properties", {})
        return properties

    def unknown(self, option: str, remedy: str) -> str:
        """The remedy for an unknown option: the given one, unless its author forgot to make it keyword-only."""
        if option not in self.positional:
            return remedy
        return f"It is a positional parameter, which no recipe can set. {KEYWORD_ONLY}"

    def _build(self, types: Mapping[str, Any]) -> type[BaseModel]:
        fields: dict[str, Any] = {
            _PREFIX + name: (kind, Field(default=... if name not in self.defaults else None, alias=name))
            for name, kind in types.items()
        }
        try:
            if any(map(_cannot_be_written, types.values())):
                raise TypeError("A recipe cannot hold it.")
            return create_model("Options", __base__=_NoOptions, **fields) if fields else _NoOptions
        except (PydanticUserError, TypeError) as error:
            if len(types) > 1:  # one of them is to blame
                for name, kind in types.items():
                    self._build({name: kind})
            named = " and ".join(f"'{name}' of type {inspect.formatannotation(self.types[name])}" for name in types)
            raise GanzooError(
                f"The {self.subject} has an option {named}, which cannot be checked.",
                "Use int, float, bool, str, Literal or Sequence.",
            ) from error

    def _validated(self, options: Mapping[str, Any]) -> dict[str, Any]:
        # As JSON: strict about numbers and text, yet a list may become a tuple and text a path.
        model = self._model.model_validate_json(json.dumps(dict(options)))
        return {name: getattr(model, _PREFIX + name) for name in self.types if name in options}

    def _issues(self, options: Mapping[str, Any]) -> list[ValidationIssue]:
        try:
            self._validated(options)
        except ValidationError as error:
            mistakes = issues(error, self._model, options, noun="option")
            return [
                one if one.path else replace(one, remedy=self.unknown(str(one.key), one.remedy)) for one in mistakes
            ]
        return []


UNWRITABLE = (abc.Callable, abc.Iterable, abc.Iterator, abc.Generator, abc.Set, abc.MutableSet, set, frozenset, type)
"""Types that a recipe cannot hold, or that are not the same each time they are read or written."""


def _cannot_be_written(kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return False
    return (get_origin(kind) or kind) in UNWRITABLE or any(map(_cannot_be_written, get_args(kind)))


KEYWORD_ONLY = "Put `*` before it (in a dataclass: kw_only=True)."


def _positional(factory: Callable[..., Any], supplied: int) -> tuple[str, ...]:
    """Parameters that have a default, are not keyword-only, and come after those that ganzoo supplies."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:  # written in C without a signature
        return ()
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return tuple(one.name for one in positional[supplied:] if one.default is not one.empty)


def _declared(factory: Callable[..., Any]) -> dict[str, tuple[inspect.Parameter, dict[str, Any]]]:
    """Keyword-only parameters, each with the globals in which its annotation is resolved."""
    functions: list[Callable[..., Any]] = [factory]
    if isinstance(factory, type):
        own = [vars(cls).get("__init__") for cls in factory.__mro__]
        functions = [init for init in own if inspect.isfunction(init)] or [factory]
    declared: dict[str, tuple[inspect.Parameter, dict[str, Any]]] = {}
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters.values()
        except ValueError:  # written in C without a signature: nothing that a recipe could set
            break
        for parameter in parameters:
            if parameter.kind is parameter.KEYWORD_ONLY:
                declared.setdefault(parameter.name, (parameter, _globals(function)))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return declared


def _globals(function: Callable[..., Any]) -> dict[str, Any]:
    while isinstance(function, partial):
        function = function.func
    if isinstance(function, type):  # the partial of a class
        function = function.__init__  # type: ignore[misc]
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
    """An annotation whose numbers are limited to what tensors can hold, in addition to the author's own bounds."""
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


CHECK_OPTIONS = "Check its options with `ganzoo show`."


@contextmanager
def contained(sentence: str, remedy: str = "") -> Iterator[None]:
    """Run a plugin's code: errors become a ``GanzooError``, except Ctrl-C, a request to terminate and a full disk.

    Args:
        sentence: What failed, without a full stop; the error and the plugin's own line follow.
        remedy: What to do about it, unless memory ran out.

    Raises:
        GanzooError: The code raised something, or tried to end the process.
    """
    try:
        with foreign_code(sentence, remedy, locate=True):
            yield
    except (GanzooError, OSError):
        raise
    except Exception as error:  # out of memory, which foreign_code lets pass, as it does a full disk
        cause = f"{type(error).__name__}: {error}".rstrip(".: ")
        raise GanzooError(f"{sentence}: {cause}.", "Free some memory, or reduce its sizes.") from error


T = TypeVar("T")

KINDS: Mapping[str, str] = {
    "generator": "generators",
    "discriminator": "discriminators",
    "encoder": "encoders",
    "loss": "losses",
    "regularizer": "regularizers",
    "augmentation": "augmentations",
    "dataset": "datasets",
    "prior": "priors",
    "extractor": "extractors",
    "metric": "metrics",
    "tracker": "trackers",
    "recipe": "recipes",
    "study": "studies",
    "pretrained": "pretrained",
}
"""What a plugin can add, in listing order: singular and plural."""

SUMMARIES = {"recipe": "summary", "study": "question", "pretrained": "summary"}
"""The kinds that are files, each with the key that holds a file's one-line summary."""
NETWORK_KINDS = ("generator", "discriminator", "encoder")

SUPPLIED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(NETWORK_KINDS, ("spec",)),
    "dataset": ("split", "folder"),
    "tracker": ("folder",),
}
"""By kind, the positional arguments that ganzoo passes to a factory; none to others."""


@cache
def base_classes() -> Mapping[str, tuple[type, ...]]:
    """By kind, the classes of which factories make an instance. ganzoo itself makes the kinds that are not listed."""
    from torch import nn

    from ganzoo.api.adversarial import AdversarialLoss, Augmentation, Regularizer
    from ganzoo.api.dataset import Dataset
    from ganzoo.api.metric import Extractor, Metric
    from ganzoo.api.objective import Objective
    from ganzoo.api.priors import Prior
    from ganzoo.api.tracker import Tracker

    return {
        **dict.fromkeys(NETWORK_KINDS, (nn.Module,)),
        "loss": (AdversarialLoss, Objective),
        "regularizer": (Regularizer,),
        "augmentation": (Augmentation,),
        "prior": (Prior,),
        "dataset": (Dataset,),
        "extractor": (Extractor,),
        "metric": (Metric,),
        "tracker": (Tracker,),
    }


def base_class_names(kind: str) -> str:
    """The ``base_classes`` of a kind, as messages name them: ``ganzoo.AdversarialLoss or ganzoo.Objective``."""
    return " or ".join(
        f"{'torch.nn' if base.__module__.startswith('torch') else 'ganzoo'}.{base.__name__}"
        for base in base_classes()[kind]
    )


NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered component.

    Attributes:
        kind: What it is, one of ``KINDS``.
        name: Lower-case words joined by hyphens.
        factory: Makes it. Positional parameters are supplied by ganzoo, keyword-only ones are a recipe's options.
        summary: One line.
        paper: Citation, or None.
        plugin: The plugin that registered it.
        distribution: The package that provides it, with its version.
        aliases: Other names that people type; error messages point from them to this one.
    """

    kind: str
    name: str
    factory: Callable[..., T]
    summary: str
    paper: str | None
    plugin: str
    distribution: str
    aliases: tuple[str, ...] = ()

    @cached_property
    def options(self) -> Options:
        """What a recipe may set.

        Raises:
            GanzooError: The factory's options cannot be checked.
        """
        reserved = {"dataset": ("validation",), **dict.fromkeys(NETWORK_KINDS, ("spectral_norm",))}.get(self.kind, ())
        return Options(f"{self.kind} '{self.name}'", self.factory, reserved, len(SUPPLIED.get(self.kind, ())))

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options as the factory takes them, with defaults filled in.

        Raises:
            GanzooError: An option is unknown, missing or of the wrong type.
        """
        return self.options.check(options)

    def create(self, *supplied: Any, **options: Any) -> T:
        """Make one, from ganzoo's positional arguments and options that ``check`` returned.

        Raises:
            GanzooError: The plugin refused, failed, ran out of memory, or made something of another kind or without a
                method or an attribute that its kind has.
        """
        who = f"The {self.kind} '{self.name}' of plugin '{self.plugin}' ({self.distribution})"
        missing = sorted(getattr(self.factory, "__abstractmethods__", ()))
        if missing and isinstance(self.factory, type):
            inherited = {name for base in self.factory.__mro__[1:] for name in vars(base)}
            close = get_close_matches(missing[0], vars(self.factory).keys() - inherited, n=1)
            remedy = f"Did you misspell it as '{close[0]}'?" if close else "Define it in the class."
            raise GanzooError(f"{who} has no method '{missing[0]}'.", remedy)
        with contained(f"{who} could not be created", CHECK_OPTIONS if options else ""):
            made = self.factory(*supplied, **options)
            lacking = [name for name in DECLARED.get(self.kind, ()) if not hasattr(made, name)]  # it may be a property
        if not isinstance(made, base_classes().get(self.kind, (object,))):
            verb = "Inherit from" if isinstance(self.factory, type) else "Return a"
            raise GanzooError(f"{who} is a {type(made).__name__}.", f"{verb} {base_class_names(self.kind)}.")
        if lacking:
            raise GanzooError(f"{who} has no attribute '{lacking[0]}'.", "Set it in its class.")
        if self.kind == "metric":
            _check_direction(self.name, made.better)  # type: ignore[attr-defined]
        return made

    @cached_property
    def domains(self) -> tuple[str, ...]:
        """The datasets that an extractor was fitted to. A factory function is called first, with random weights.

        Raises:
            GanzooError: They are not a tuple of names, or the function failed.
        """
        import torch

        with torch.random.fork_rng(devices=[]):
            return check_domains(self.name, self.prototype({}))

    def prototype(self, options: Mapping[str, Any]) -> Any:
        """An object with the attributes and methods of what is made: the class, or what a function makes.

        Args:
            options: What ``check`` returned. Needed only by a function, which must take no positional arguments.

        Raises:
            GanzooError: The function refused, failed or ran out of memory.
        """
        return self.factory if isinstance(self.factory, type) else self.create(**options)


def check_domains(name: str, extractor: Any) -> tuple[str, ...]:
    """The datasets that an extractor's class, or an extractor, says it was fitted to.

    Raises:
        GanzooError: They are not a tuple of names.
    """
    domains = getattr(extractor, "domains", ())
    if not isinstance(domains, tuple) or not all(isinstance(domain, str) for domain in domains):
        raise GanzooError(
            f"The extractor '{name}' has domains = {domains!r}.",
            'Make it a tuple of dataset names, such as ("mnist",), or () if it was not fitted to any.',
        )
    return domains


def check_scheduled(entry: Entry[Any], augmentation: Any) -> tuple[str, ...]:
    """The options that an augmentation's class, or an augmentation, says a recipe may schedule.

    Raises:
        GanzooError: They are not a tuple of names of its options.
    """
    scheduled = getattr(augmentation, "scheduled", ())
    if not isinstance(scheduled, (tuple, list)):
        sentence = f"The augmentation '{entry.name}' has scheduled = {scheduled!r}."
        raise GanzooError(sentence, "Make it a tuple of option names.")
    for option in scheduled:
        if option not in entry.options.types:
            sentence = f"The augmentation '{entry.name}' has scheduled = {scheduled!r}, but no option {option!r}."
            raise GanzooError(sentence, nearest(str(option), entry.options.types) or "Remove it.")
    return tuple(scheduled)


class Registry(Generic[T]):
    """Everything registered of one kind.

    Args:
        kind: One of ``KINDS``.

    Attributes:
        hint: Added to the error for an unknown name.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.hint = ""
        self._entries: dict[str, Entry[T]] = {}

    def add(self, entry: Entry[T]) -> None:
        """Add an entry.

        Raises:
            GanzooError: Its name is malformed, taken or one of ``OWN_NAMES``, its summary is empty, its factory is not
                a class or function, its options cannot be checked, an extractor's ``domains`` are not names, a metric
                lacks ``better`` or ``range``, or an augmentation's ``scheduled`` are not its options.
        """
        check_name(entry.kind, entry.name)
        if entry.name in OWN_NAMES.get(entry.kind, ()):
            raise GanzooError(f"The {entry.kind} '{entry.name}' has a name that ganzoo reserves.", "Rename it.")
        taken = self._entries.get(entry.name)
        if taken is not None:
            raise GanzooError(
                f"The {self.kind} '{entry.name}' of plugin '{entry.plugin}' ({entry.distribution}) is already "
                f"registered by plugin '{taken.plugin}' ({taken.distribution}).",
                "Names are unique within a kind; rename one.",
            )
        if not isinstance(entry.summary, str) or not entry.summary.strip() or "\n" in entry.summary.strip():
            key = SUMMARIES.get(entry.kind)
            remedy = f"Add `{key}: ...` to its file." if key else 'Register it with summary="...".'
            raise GanzooError(f"The {entry.kind} '{entry.name}' has no one-line summary.", remedy)
        if entry.paper is not None and (not isinstance(entry.paper, str) or not entry.paper.strip()):
            raise GanzooError(
                f"The {entry.kind} '{entry.name}' has a paper that is not text.", "Give a citation or None."
            )
        paper = " ".join(entry.paper.split()) if entry.paper else None
        entry = replace(entry, summary=entry.summary.strip(), paper=paper)
        for alias in entry.aliases:
            check_name(entry.kind, alias)
        if not callable(entry.factory):
            raise GanzooError(
                f"The {self.kind} '{entry.name}' was registered with {type(entry.factory).__name__} "
                f"{entry.factory!r}, which cannot be called.",
                "Register a class or a function.",
            )
        # A network can be called too, but that does not make another network.
        if isinstance(entry.factory, base_classes().get(entry.kind, ())):
            made = type(entry.factory).__name__
            raise GanzooError(
                f"The {self.kind} '{entry.name}' was registered with an instance of {made}.",
                f"Register the class {made}, or a function that returns a new one on each call.",
            )
        _ = entry.options
        if entry.kind == "extractor":
            check_domains(entry.name, entry.factory)
        if entry.kind == "metric":
            _check_declared(entry.name, entry.factory)
        if entry.kind == "augmentation":
            check_scheduled(entry, entry.factory)
        self._entries[entry.name] = entry

    def discard(self, name: str) -> None:
        """Remove an entry whose plugin was refused later."""
        self._entries.pop(name, None)

    def get(self, name: str) -> Entry[T]:
        """The entry of that name.

        Raises:
            GanzooError: The name is not registered.
        """
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries, self.hint, self.aliases)
        return self._entries[name]

    @property
    def aliases(self) -> dict[str, str]:
        """Registered names by alias, for error messages. If several entries claim an alias, the first name wins."""
        names: dict[str, str] = {}
        for entry in self:
            for alias in entry.aliases:
                names.setdefault(alias, entry.name)
        return names

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def __len__(self) -> int:
        return len(self._entries)

    def in_order(self) -> list[Entry[T]]:
        """All entries in the order in which they were registered."""
        return list(self._entries.values())


def _check_declared(name: str, factory: Any) -> None:
    """Refuse a metric's class that lacks ``better`` or ``range`` and has no constructor that could set them.

    Raises:
        GanzooError: It lacks one, or ``better`` is not one of the three directions.
    """
    from ganzoo.api.metric import Metric

    if not isinstance(factory, type) or not issubclass(factory, Metric):
        return
    if not isinstance(getattr(factory, "better", "lower"), property):
        _check_direction(name, getattr(factory, "better", "lower"))
    if factory.__init__ is not Metric.__init__:
        return
    for attribute, example in (
        ("better", '"lower", "higher" or "neither"'),
        ("range", 'its values in words: "0 to 1"'),
    ):
        if not hasattr(factory, attribute):
            raise GanzooError(
                f"The metric '{name}' has no attribute '{attribute}'.", f"Set it in the class, to {example}."
            )


def _check_direction(name: str, better: Any) -> None:
    from ganzoo.api.metric import Better

    if better not in (directions := get_args(Better)):
        hint = nearest(better, directions) if isinstance(better, str) else f"Known: {', '.join(directions)}."
        raise GanzooError(f"The metric '{name}' has better = {better!r}.", hint)


def check_name(kind: str, name: Any) -> None:
    """Refuse a malformed name.

    Raises:
        GanzooError: It is not lower-case words or digits joined by hyphens.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise GanzooError(
            f"The {kind} name {name!r} is malformed.", "Names are lower-case words or digits joined by hyphens."
        )


def check_file_name(kind: str, path: Path) -> None:
    """Refuse a file whose name, without its suffix, is not a valid name for its content.

    Raises:
        GanzooError: It is not lower-case words or digits joined by hyphens.
    """
    if not NAME.fullmatch(path.stem):
        better = re.sub(r"[^a-z0-9]+", "-", path.stem.lower())[:60].strip("-") or f"my-{kind}"
        raise GanzooError(
            f"The {kind} name {path.stem!r}, taken from the file, is malformed.",
            f"Rename the file, for example to {better}{path.suffix or '.yaml'}.",
        )


def one_kind(word: str) -> str:
    """A kind from its singular or plural.

    Raises:
        GanzooError: The kind is unknown.
    """
    for kind, plural in KINDS.items():
        if word.lower() in (kind, plural):
            return kind
    raise unknown("kind", word, KINDS.values())
