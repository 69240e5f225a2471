"""Registered names: what each refers to, who registered it, and which options a recipe may set."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args, get_type_hints

import torch
from pydantic import Field, PydanticUserError, ValidationError, create_model
from torch import nn

from ganzoo.api.adversarial import AdversarialLoss, Augmentation, Regularizer
from ganzoo.api.dataset import Dataset
from ganzoo.api.metric import Better, Extractor, Metric
from ganzoo.api.objective import Objective
from ganzoo.api.priors import Prior
from ganzoo.api.tracker import Tracker
from ganzoo.errors import GanzooError, foreign_code, nearest, unknown
from ganzoo.registry.sources import source
from ganzoo.registry.strict import Section, ValidationFailed, issues

T = TypeVar("T")
KINDS: Mapping[str, str] = {  # singular and plural, in listing order
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
SUMMARIES = {"recipe": "summary", "study": "question", "pretrained": "summary"}  # of files: the key of their summary
NETWORK_KINDS = ("generator", "discriminator", "encoder")
BASE_CLASSES: Mapping[str, tuple[type, ...]] = {  # ganzoo itself makes the kinds that are not listed
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
DECLARED: Mapping[str, tuple[str, ...]] = {"extractor": ("shape", "width"), "metric": ("better", "range")}  # attributes
SUPPLIED: Mapping[str, int] = {**dict.fromkeys(NETWORK_KINDS, 1), "dataset": 2, "tracker": 1}  # positional arguments
OWN_KEYS: Mapping[str, tuple[str, ...]] = {  # besides name and options
    "dataset": ("validation", "count"),
    **dict.fromkeys(NETWORK_KINDS, ("spectral_norm",)),
}
HANDED_OVER = "handed over in this session"  # instead of the package, for what is in none
HEADLINE = "headline"  # the headline metrics of the recipe's dataset
ALL = "all"  # every metric that applies, as in all@mnist-cnn
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
CHECK_OPTIONS = "Check its options with `ganzoo show`."
KEYWORD_ONLY = "Put `*` before it (in a dataclass: kw_only=True)."
_PREFIX = "option_"  # of the model's fields, so that no option can shadow a method of pydantic's


class Options:
    """The options of one factory: its keyword-only parameters, with ``**keywords`` the base class's too.
    ``subject`` names it in messages, no option may have a ``reserved`` name, ganzoo passes ``supplied`` arguments.
    """

    def __init__(
        self, subject: str, factory: Callable[..., Any], reserved: Collection[str] = (), supplied: int = 0
    ) -> None:
        self.subject = subject
        # Parameters with a default that were probably meant as options: they are not keyword-only.
        positional = [p for p in _parameters(factory) if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self.positional = tuple(one.name for one in positional[supplied:] if one.default is not one.empty)
        self.types: dict[str, Any] = {}
        self.defaults: dict[str, Any] = {}
        for parameter, names in _keyword_only(factory):
            name = parameter.name
            if name in ("name", "options", *reserved):
                raise GanzooError(f"The {subject} has an option called '{name}', a name that ganzoo reserves.")
            if name not in self.types:
                self.types[name] = _type(subject, parameter, names)
                if parameter.default is not parameter.empty:
                    self.defaults[name] = parameter.default
        fields: dict[str, Any] = {_PREFIX + name: (kind, Field(alias=name)) for name, kind in self.types.items()}
        try:  # most factories have no options, and making a model takes a millisecond
            self._model = create_model("Options", __base__=Section, **fields) if fields else Section
            self.check({})
        except (PydanticUserError, TypeError) as error:
            raise GanzooError(
                f"The {subject} has an option that no recipe can hold: {str(error).partition('. ')[0]}.",
                "Use int, float, bool, str, Literal or Sequence, for its default too.",
            ) from error
        except ValidationFailed as error:
            for issue in error.issues:
                if not issue.verdict.startswith("needs"):
                    raise GanzooError(
                        f"The {subject} has a default of the wrong type: {issue.sentence('it')}"
                    ) from error

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with defaults filled in; types are strict, but integers pass as floats, and lists as tuples."""
        given = {**self.defaults, **options}
        try:
            # As JSON: strict about numbers and text, yet a list may become a tuple and text a path.
            model = self._model.model_validate_json(json.dumps(given))
        except ValidationError as error:
            by_position = f"It is a positional parameter, which no recipe can set. {KEYWORD_ONLY}"
            mistakes = [
                replace(one, remedy=by_position) if not one.path and one.key in self.positional else one
                for one in issues(error, self._model, given, noun="option")
            ]
            prefix = f"The {self.subject}"
            sentences = [f"{prefix}: {one.sentence('')}" if one.path else one.sentence(prefix) for one in mistakes]
            raise ValidationFailed(mistakes, sentences) from error
        return {name: getattr(model, _PREFIX + name) for name in self.types}

    def schema(self) -> dict[str, Any]:
        """The JSON schema of each option, with the bounds that its author stated."""
        return dict(self._model.model_json_schema().get("properties", {}))


def _parameters(function: Callable[..., Any]) -> Collection[inspect.Parameter]:
    try:
        return inspect.signature(function).parameters.values()
    except ValueError:  # written in C without a signature: nothing that a recipe could set
        return ()


def _keyword_only(factory: Callable[..., Any]) -> Iterator[tuple[inspect.Parameter, dict[str, Any]]]:
    """Keyword-only parameters, a class's own first, each with the names with which its annotation is resolved."""
    constructors = [vars(cls)["__init__"] for cls in getattr(factory, "__mro__", ()) if "__init__" in vars(cls)]
    for function in constructors or [factory]:
        parameters = _parameters(function)
        while isinstance(function, partial):
            function = function.func
        names = getattr(sys.modules.get(getattr(function, "__module__", "")), "__dict__", {})
        yield from ((one, names) for one in parameters if one.kind is one.KEYWORD_ONLY)
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break


def _type(subject: str, parameter: inspect.Parameter, names: dict[str, Any]) -> Any:
    """The annotation of one parameter, resolved alone: the others may name types that only a type checker sees."""
    if parameter.annotation is parameter.empty:
        raise GanzooError(f"The {subject} has an option '{parameter.name}' without a type.", "Annotate the parameter.")
    try:
        holder = type("Holder", (), {"__annotations__": {parameter.name: parameter.annotation}})
        return get_type_hints(holder, globalns=names, include_extras=True)[parameter.name]
    except Exception as error:  # evaluating someone else's annotation can raise anything
        raise GanzooError(
            f"The {subject} has an option '{parameter.name}' whose type '{parameter.annotation}' cannot be resolved "
            f"({type(error).__name__}: {error}).",
            "Import it at the top of the module, outside TYPE_CHECKING.",
        ) from error


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered component."""

    kind: str  # one of KINDS
    name: str  # lower-case words joined by hyphens
    factory: Callable[..., T]  # ganzoo supplies its positional parameters; keyword-only ones are a recipe's options
    summary: str  # one line
    paper: str | None  # citation
    plugin: str  # that registered it
    distribution: str  # the package that provides it, with its version
    aliases: tuple[str, ...] = ()  # other names that people type; error messages point from them to this one

    @cached_property
    def source(self) -> str | None:
        """The source of what was handed over in a script or notebook, complete; see ``sources.source``."""
        return source(self.factory) if self.distribution == HANDED_OVER else None

    @cached_property
    def options(self) -> Options:
        """What a recipe may set."""
        subject, kind = f"{self.kind} '{self.name}'", self.kind
        return Options(subject, self.factory, OWN_KEYS.get(kind, ()), SUPPLIED.get(kind, 0))

    def create(self, *supplied: Any, **options: Any) -> T:
        """Make one from ganzoo's positional arguments and checked options; refuse what is not of its kind."""
        who = f"The {self.kind} '{self.name}' of plugin '{self.plugin}' ({self.distribution})"
        with foreign_code(f"{who} could not be created", CHECK_OPTIONS if options else "", plugin=True):
            made = self.factory(*supplied, **options)
            lacking = [name for name in DECLARED.get(self.kind, ()) if not hasattr(made, name)]  # it may be a property
        bases = BASE_CLASSES.get(self.kind, (object,))
        if not isinstance(made, bases):
            names = " or ".join(f"{'torch.nn' if base is nn.Module else 'ganzoo'}.{base.__name__}" for base in bases)
            verb = "Inherit from" if isinstance(self.factory, type) else "Return a"
            raise GanzooError(f"{who} is a {type(made).__name__}.", f"{verb} {names}.")
        if lacking:
            raise GanzooError(f"{who} has no attribute '{lacking[0]}'.", "Set it in its class.")
        if isinstance(made, Metric) and made.better not in get_args(Better):
            raise GanzooError(f"{who} has better = {made.better!r}.", nearest(str(made.better), get_args(Better)))
        return made

    @cached_property
    def domains(self) -> tuple[str, ...]:
        """The datasets that an extractor was fitted to. A factory function is called first, with random weights."""
        with torch.random.fork_rng(devices=[]):
            domains = getattr(self.prototype({}), "domains", ())
        if not isinstance(domains, tuple):
            raise GanzooError(
                f"The extractor '{self.name}' has domains = {domains!r}.",
                'Make it a tuple of dataset names, such as ("mnist",), or () if it was not fitted to any.',
            )
        return domains

    def prototype(self, options: Mapping[str, Any]) -> Any:
        """The class, or what a function makes from checked options: either has the attributes of what is made."""
        return self.factory if isinstance(self.factory, type) else self.create(**options)


@dataclass(eq=False, repr=False)
class Registry(Generic[T]):
    """Everything registered of one kind, one of ``KINDS``."""

    kind: str
    hint: str = ""  # added to the error for an unknown name
    _entries: dict[str, Entry[T]] = field(default_factory=dict)

    def add(self, entry: Entry[T]) -> Entry[T]:
        """Add an entry, with its summary and paper on one line each, or tell what is wrong with it."""
        if not isinstance(entry.name, str) or not NAME.fullmatch(entry.name):
            raise GanzooError(
                f"The {entry.kind} name {entry.name!r} is malformed.",
                "Names are lower-case words or digits joined by hyphens.",
            )
        if entry.kind == "metric" and entry.name in (HEADLINE, ALL):
            raise GanzooError(f"The {entry.kind} '{entry.name}' has a name that ganzoo reserves.", "Rename it.")
        taken = self._entries.get(entry.name)
        if taken is not None and not taken.distribution == entry.distribution == HANDED_OVER:
            raise GanzooError(
                f"The {self.kind} '{entry.name}' of plugin '{entry.plugin}' ({entry.distribution}) is already "
                f"registered by plugin '{taken.plugin}' ({taken.distribution}).",
                "Names are unique within a kind; rename one.",
            )
        if not isinstance(entry.summary, str) or not entry.summary.strip() or "\n" in entry.summary.strip():
            raise GanzooError(
                f"The {entry.kind} '{entry.name}' has no one-line summary.",
                f"Add `{SUMMARIES[entry.kind]}: ...` to its file."
                if entry.kind in SUMMARIES
                else 'Register it with summary="...".',
            )
        if entry.paper is not None and not isinstance(entry.paper, str):
            raise GanzooError(
                f"The {entry.kind} '{entry.name}' has a paper that is not text.", "Give a citation or None."
            )
        # A network can be called too, but that does not make another network.
        if not callable(entry.factory) or isinstance(entry.factory, BASE_CLASSES.get(entry.kind, ())):
            made = type(entry.factory).__name__
            raise GanzooError(
                f"The {self.kind} '{entry.name}' was registered with an instance of {made}.",
                f"Register the class {made}, or a function that returns a new one on each call.",
            )
        entry = replace(entry, summary=entry.summary.strip(), paper=" ".join((entry.paper or "").split()) or None)
        _ = entry.options  # checked now
        self._entries[entry.name] = entry
        return entry

    def copy(self) -> Registry[T]:
        """A registry with the same entries, to which more can be added without changing this one."""
        return replace(self, _entries=dict(self._entries))

    def discard(self, name: str) -> None:
        """Remove an entry whose plugin was refused later."""
        self._entries.pop(name, None)

    def get(self, name: str) -> Entry[T]:
        """The entry of that name."""
        if name not in self._entries:
            what = "pretrained generator" if self.kind == "pretrained" else self.kind
            raise unknown(what, name, self._entries, self.hint, self.aliases, f"ganzoo list {KINDS[self.kind]}")
        return self._entries[name]

    @property
    def aliases(self) -> dict[str, str]:
        """Registered names by alias, for error messages. If several entries claim an alias, the first name wins."""
        return {alias: entry.name for entry in reversed([*self]) for alias in entry.aliases}

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def __len__(self) -> int:
        return len(self._entries)

    def in_order(self) -> list[Entry[T]]:
        """All entries in the order in which they were registered."""
        return list(self._entries.values())


def check_file_name(kind: str, path: Path) -> None:
    """Refuse a file whose name, without its suffix, is not a valid name for its content."""
    if not NAME.fullmatch(path.stem):
        better = re.sub(r"[^a-z0-9]+", "-", path.stem.lower())[:60].strip("-") or f"my-{kind}"
        raise GanzooError(
            f"The {kind} name {path.stem!r}, taken from the file, is malformed.",
            f"Rename the file, for example to {better}{path.suffix or '.yaml'}.",
        )
