"""Names and what they stand for, with provenance."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from ganzoo.errors import GanzooError, unknown
from ganzoo.registry.options import Options

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
}
"""What a plugin can add, in the order it is listed: the word for one and for several."""

NETWORK_KINDS = ("generator", "discriminator", "encoder")
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered thing.

    Attributes:
        kind: What it is, one of ``KINDS``.
        name: Lower-case words joined by hyphens.
        factory: Makes it. Positional parameters are supplied by ganzoo, keyword-only ones are a recipe's options.
        summary: One line.
        paper: Citation, or None.
        plugin: The plugin that brought it.
        distribution: The package that brought it, with its version.
        aliases: Other names that people type, which error messages lead to this one.
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
        return Options(f"{self.kind} '{self.name}'", self.factory, reserved)

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options as the factory takes them, defaults filled in.

        Raises:
            GanzooError: An option is unknown, missing or of the wrong type.
        """
        return self.options.check(options)

    def create(self, *supplied: Any, **options: Any) -> T:
        """Make one, from what ganzoo supplies and options that ``check`` gave."""
        return self.factory(*supplied, **options)


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
            GanzooError: Its name is malformed or taken, its summary is empty, its factory cannot be called, or its
                options cannot be checked.
        """
        check_name(entry.kind, entry.name)
        taken = self._entries.get(entry.name)
        if taken is not None:
            raise GanzooError(
                f"The {self.kind} '{entry.name}' of plugin '{entry.plugin}' ({entry.distribution}) is already "
                f"registered by plugin '{taken.plugin}' ({taken.distribution}).",
                "Names are unique within a kind; rename one.",
            )
        _check_description(entry)
        for alias in entry.aliases:
            check_name(entry.kind, alias)
        if not callable(entry.factory):
            raise GanzooError(
                f"The {self.kind} '{entry.name}' was registered with {type(entry.factory).__name__} "
                f"{entry.factory!r}, which cannot be called.",
                "Register a class or a function.",
            )
        _ = entry.options
        self._entries[entry.name] = entry

    def discard(self, name: str) -> None:
        """Take an entry out again: its plugin was refused later on."""
        self._entries.pop(name, None)

    def get(self, name: str) -> Entry[T]:
        """The entry of that name.

        Raises:
            GanzooError: Nobody registered it.
        """
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries, self.hint, self.aliases)
        return self._entries[name]

    @property
    def aliases(self) -> dict[str, str]:
        """Names that error messages lead to a registered one. Where several claim an alias, the first name wins."""
        found: dict[str, str] = {}
        for entry in self:
            for alias in entry.aliases:
                found.setdefault(alias, entry.name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def __len__(self) -> int:
        return len(self._entries)

    def in_order(self) -> list[Entry[T]]:
        """All entries in the order in which they were registered."""
        return list(self._entries.values())


def check_name(kind: str, name: Any) -> None:
    """Refuse a malformed name.

    Raises:
        GanzooError: It is not lower-case words or digits joined by hyphens.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise GanzooError(
            f"The {kind} name {name!r} is malformed.", "Names are lower-case words or digits joined by hyphens."
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


def _check_description(entry: Entry[Any]) -> None:
    if not isinstance(entry.summary, str) or not entry.summary.strip() or "\n" in entry.summary.strip():
        raise GanzooError(f"The {entry.kind} '{entry.name}' needs a one-line summary.")
    if entry.paper is not None and (not isinstance(entry.paper, str) or not entry.paper.strip()):
        raise GanzooError(f"The {entry.kind} '{entry.name}' has a paper that is not text.", "Give a citation or None.")
