"""What went wrong, said to a person: one sentence with the culprit, and one with the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

_LINE_END = re.compile(r"\s*[\n\r]\s*")


class GanzooError(Exception):
    """A mistake the user can mend. The command line prints it without a traceback and exits with ``exit_code``.

    Args:
        sentence: What is wrong, naming the culprit.
        remedy: What to do about it.
    """

    exit_code = 2

    def __init__(self, sentence: str, remedy: str = "") -> None:
        self.sentence = one_line(sentence)
        self.remedy = one_line(remedy)
        super().__init__(f"{self.sentence} {self.remedy}".strip())


class RunError(GanzooError):
    """A run that could not go on for a reason that is not a mistake in the user's input (exit code 1)."""

    exit_code = 1


class Interrupted(GanzooError):
    """The run was stopped by Ctrl-C, and what it had was saved (exit code 130)."""

    exit_code = 130


class Terminated(GanzooError):
    """The run was stopped by SIGTERM, and what it had was saved (exit code 143)."""

    exit_code = 143


def one_line(text: str) -> str:
    """Text on one line, without what would steer a terminal.

    Names come from strangers' files: a control character, or one that turns the direction of writing, is spelt out.
    """
    joined = _LINE_END.sub(" ", text.strip())
    return joined if joined.isprintable() else "".join(map(_visible, joined))


def _visible(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out: Python's, the host's, or a GPU's."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # torch's allocator of host memory has no class of its own, nor has CUDA outside of torch's allocator.
    told = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(words in str(error) for words in told)


def nearest(word: str, known: Iterable[str], aliases: Mapping[str, str] | None = None) -> str:
    """A hint for a misspelt word: ``"Did you mean 'dcgan'?"``, or the known words where none is close.

    Args:
        word: As it was typed.
        known: What would have been right.
        aliases: Other words for some of them.
    """
    known, aliases = sorted(known), aliases or {}
    close = get_close_matches(word.lower(), [*known, *aliases], n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{aliases.get(close[0], close[0])}'?"
    return f"Known: {', '.join(known)}." if known else ""


def unknown(
    kind: str, name: str, known: Iterable[str], hint: str = "", aliases: Mapping[str, str] | None = None
) -> GanzooError:
    """The error for a name that nobody registered."""
    return GanzooError(f"Unknown {kind} '{name}'.", f"{nearest(name, known, aliases)} {hint}".strip())
