"""Errors for the user: one sentence says what is wrong, another what to do about it."""

from __future__ import annotations

import copyreg
import errno
import linecache
import re
import sys
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

BESIDE = ("ganzoo_checks", "ganzoo_reports", "ganzoo_studies")  # the packages beside the core in our distribution
# Stack frames in these never point at a plugin's mistake.
LIBRARIES = {"ganzoo", "torch", "pluggy", "pydantic", *BESIDE, *sys.stdlib_module_names}


class GanzooError(Exception):
    """A mistake that the user can fix. The command line prints it without a traceback and exits with ``exit_code``.

    Args:
        sentence: What is wrong, naming the culprit.
        remedy: What to do about it.
    """

    exit_code = 2

    def __init__(self, sentence: str, remedy: str = "") -> None:
        self.sentence = one_line(sentence)
        self.remedy = one_line(remedy)
        super().__init__(f"{self.sentence} {self.remedy}".strip())

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy, as from another process, is made without __init__, as a subclass's may take other arguments.
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


class RunError(GanzooError):
    """A run failed, and the user's input is not to blame (exit code 1)."""

    exit_code = 1


class Diverged(RunError):
    """A loss, a gradient, a weight or a sample is no longer finite."""


class Interrupted(GanzooError):
    """Ctrl-C stopped the run, which saved its state first, unless it was pressed twice (exit code 130)."""

    exit_code = 130


class StopAtOnce(BaseException):
    """Ctrl-C, SIGTERM or SIGHUP with nothing left to save. No ``Exception``, so that no cache or retry catches it."""


class Terminated(GanzooError):
    """SIGTERM stopped the run, which saved its state first (exit code 143)."""

    exit_code = 143


class HungUp(Terminated):
    """SIGHUP, such as from a terminal that was closed, stopped the run, which saved its state first (exit code 129)."""

    exit_code = 129


STOPPED = (HungUp.exit_code, Interrupted.exit_code, Terminated.exit_code)  # of a process that was asked to stop
NO_SPACE = {  # why nothing more can be written
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "The disk quota is exhausted",
    errno.EFBIG: "A file would exceed the size limit of this shell or disk",
}


def one_line(text: str) -> str:
    """Text on one line that is safe to print to a terminal: names come from untrusted files."""
    lines = (line.strip() for line in re.split(r"[\n\r]", text))
    return visible(" ".join(line for line in lines if line))


def visible(text: str) -> str:
    """Text with control characters and changes of text direction escaped; line breaks are kept."""
    return "\n".join(
        # Asked of whole lines first: a page may have 20 MB.
        line if line.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)
        for line in text.split("\n")
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that Python, the host or a GPU ran out of memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # Torch's host allocator, and CUDA libraries outside torch's allocator, raise plain RuntimeErrors.
    messages = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(message in str(error) for message in messages)


def plugin_line(error: BaseException, packages: Collection[str] | None = None) -> str:
    """Where a plugin failed: ``" (nets.py, line 19: `return 1 / 0`)"``; empty if none of its code is to blame.

    That is the innermost frame outside ``LIBRARIES``, or in ``packages``, of the error or, if ganzoo wrapped a plugin's
    exception in its own error, of that exception.
    """
    frames = [*traceback.walk_tb(error.__traceback__)]
    if isinstance(error, GanzooError) and error.__cause__ is not None:
        frames += traceback.walk_tb(error.__cause__.__traceback__)
    for frame, line in reversed(frames):
        package, path = str(frame.f_globals.get("__name__")).partition(".")[0], Path(frame.f_code.co_filename)
        is_plugin = package not in LIBRARIES if packages is None else package in packages
        if is_plugin and (text := linecache.getline(str(path), line).strip()):  # of a file, or of a notebook's cell
            return f" ({path.name}, line {line}: `{text}`)"
    return ""


@contextmanager
def foreign_code(sentence: str, remedy: str = "", *, plugin: bool = False) -> Iterator[None]:
    """Convert any exception in plugin or library code into a ``GanzooError``.

    Ctrl-C, requests to terminate, disk-full errors and any ``GanzooError`` pass through unchanged.

    Args:
        sentence: What failed, without a full stop; the error's own text is appended.
        remedy: What to do about it.
        plugin: Whether to append the plugin's line, and to convert out-of-memory errors too.

    Raises:
        GanzooError: The code raised an exception, or tried to end the process.
    """
    try:
        yield
    except (GanzooError, KeyboardInterrupt, StopAtOnce):
        raise
    except BaseException as error:
        if (
            (isinstance(error, SystemExit) and error.code in STOPPED)
            or (isinstance(error, OSError) and error.errno in NO_SPACE)
            or (is_out_of_memory(error) and not plugin)
        ):
            raise
        if is_out_of_memory(error):
            remedy = "Free some memory, or reduce its sizes."
        named = f"{type(error).__name__}: {str(error)[:1000]}".strip().removesuffix(".").removesuffix(":")
        raise GanzooError(f"{sentence}: {named}{plugin_line(error) if plugin else ''}.", remedy) from error


@contextmanager
def writing(sentence: str, remedy: str) -> Iterator[None]:
    """Convert an ``OSError`` into a ``GanzooError``, except for a full disk, which another path would not mend."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise
        raise GanzooError(f"{sentence} ({error.strerror}).", remedy) from error


MAX_LISTED = 30  # known words in a hint; more would bury the message
MAX_MEANT = 4  # words that a hint suggests


def nearest(
    word: str, known: Iterable[str], aliases: Mapping[str, str] | None = None, listing: str = "ganzoo list"
) -> str:
    """A hint for a misspelt word: ``"Did you mean 'dcgan'?"``, or the known words if none is close.

    Words that begin with the given one are preferred, such as ``vanilla-mnist`` for ``vanilla``; then those that it is
    another part of, such as ``vanilla-ring`` for ``ring``, unless too many have that part to tell which was meant. The
    command ``listing`` is suggested if there are too many known words for one sentence.
    """
    known, aliases = sorted(known), aliases or {}
    lower = re.sub(r"[_ ]", "-", word.lower())
    exact = [aliases.get(lower, lower)] if lower in {*known, *aliases} else []
    longer = sorted((one for one in known if one.startswith(f"{lower}-")), key=len)[:MAX_MEANT]
    parts = sorted((one for one in known if f"-{lower}-" in f"{one}-"), key=len)
    parts = parts if len(parts) <= MAX_MEANT else []
    close = [aliases.get(one, one) for one in get_close_matches(word.lower(), [*known, *aliases], n=1, cutoff=0.6)]
    if meant := exact or longer or parts or close:
        return f"Did you mean {' or '.join(map(repr, meant))}?"
    if len(known) > MAX_LISTED:
        return f"`{listing}` shows all {len(known)}."
    return f"Known: {', '.join(known)}." if known else ""


def unknown(
    kind: str,
    name: str,
    known: Iterable[str],
    hint: str = "",
    aliases: Mapping[str, str] | None = None,
    listing: str = "ganzoo list",
) -> GanzooError:
    """The error for an unknown name."""
    return GanzooError(f"Unknown {kind} '{name}'.", f"{nearest(name, known, aliases, listing)} {hint}".strip())
