"""The command line: ganzoo's own commands, and those of the entry-point group ``ganzoo.commands``.
An entry leads to a function or a ``typer.Typer``. Its module is imported at every start: defer heavy imports.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from importlib.metadata import EntryPoint, version
from itertools import pairwise
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from ganzoo.cli.listing import list_, plugins, show
from ganzoo.cli.run import run
from ganzoo.cli.terminal import LogHandler, discard, say
from ganzoo.cli.trained import doctor, download, evaluate, sample, translate
from ganzoo.errors import (
    BESIDE,
    NO_SPACE,
    GanzooError,
    Interrupted,
    Terminated,
    foreign_code,
    is_out_of_memory,
    one_line,
    plugin_line,
)
from ganzoo.registry.packages import COMMANDS, OURS, PLUGINS, allowed, distribution_name, distribution_of, installed

OTHER_WORDS = {"train": "run", "resume": "run --resume", "generate": "sample", "score": "eval"}  # people try these too


class Commands(TyperGroup):
    """The commands, with those that packages bring, and hints for common synonyms."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for point in allowed(COMMANDS):
            if point.name not in self.commands:
                self.commands[point.name] = _from_package(point)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names."""
        if args[0] in OTHER_WORDS:
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{OTHER_WORDS[args[0]]}'?")
        for word, value in pairwise([*args, "end"]):
            if word.startswith("--") and (value == "" or word.endswith("=")):  # as a path, it would be this folder
                raise GanzooError(f"{word.removesuffix('=')} is empty.", "Give it a value, or leave it out.")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="ganzoo",
    cls=Commands,
    help="A plugin-based GAN zoo: train, sample and score every GAN with one command.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
OWN: dict[str, Callable[..., None]] = {
    "run": run,
    "list": list_,
    "show": show,
    "plugins": plugins,
    "sample": sample,
    "translate": translate,
    "eval": evaluate,
    "doctor": doctor,
    "download": download,
}
for _name, _command in OWN.items():
    app.command(_name)(_command)


def _from_package(point: EntryPoint) -> Any:
    """The command that an entry point names; if it cannot be loaded, one that only says so."""
    alone = typer.Typer(add_completion=False)
    failed = f"'{point.value}' of {distribution_of(point)} cannot be loaded"
    try:
        # Standard output may be meant for JSON.
        with foreign_code(failed, "Update that package, or uninstall it."), redirect_stdout(sys.stderr):
            found = point.load()
            if isinstance(found, typer.Typer):
                alone.add_typer(found, name=point.name)
            else:
                alone.command(point.name)(found)
            return typer.main.get_group(alone).commands[point.name]
    except GanzooError as error:
        broken = error

    def refuse() -> None:
        raise broken

    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    return TyperCommand(point.name, callback=refuse, help=str(broken), context_settings=anything)


LOGGERS = ("ganzoo", "ganzoo_plugins", *BESIDE)
NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS)
ClickException: type[Exception] = typer.BadParameter.__mro__[2]  # of typer's bundled click, which typer does not export


def _version(requested: bool) -> None:
    if requested:
        say(f"ganzoo {version('ganzoo-bench')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A plugin-based GAN zoo: train, sample and score every GAN with one command."""


def main() -> None:
    """The ``ganzoo`` command. A user's mistake gives one line and an exit code, never a traceback."""
    _prepare_streams()
    requests = _stop_requests()
    for package in LOGGERS:
        logging.getLogger(package).addHandler(LogHandler())
    try:
        try:
            # In standalone mode, typer would print its errors itself, with the user's input unescaped.
            code = app(prog_name="ganzoo", standalone_mode=False)
        finally:
            # A full disk may only show when the buffer is flushed, so flush it before the interpreter shuts down.
            sys.stdout.flush()
        message = "Interrupted." if code == Interrupted.exit_code else ""  # from typer, for Ctrl-C
    except SystemExit:
        raise
    except BaseException as error:
        code, message = _explained(error)
        # A library that is being imported may swallow the request to stop, and then fail because it is incomplete.
        if requests and not isinstance(error, (Interrupted, Terminated)):
            code, message = 128 + requests[0], "Interrupted." if requests[0] == signal.SIGINT else ""
        if isinstance(error, BrokenPipeError) or (isinstance(error, OSError) and error.errno in NO_SPACE):
            discard(1)  # or exiting would fail a second time
    if message:
        say(message, err=True, colour="red")
    sys.exit(code)


def _explained(error: BaseException) -> tuple[int, str]:
    if isinstance(error, GanzooError):
        return error.exit_code, str(error)
    if isinstance(error, ClickException):
        return _usage(error)
    if isinstance(error, UnicodeEncodeError):  # a path or value that was to be written to a file
        culprit = ascii(error.object[max(0, error.start - 40) : error.end + 20])
        return 2, f"Not UTF-8, so it cannot be recorded: {culprit}. Use a path without such bytes."
    if is_out_of_memory(error):
        return 1, "Out of memory. Request fewer samples, or use a device with more memory."
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        trains = sys.argv[1:2] in (["run"], ["bench"]) or sys.argv[1:3] == ["study", "run"]
        remedy = "Everything saved is intact: free some space and resume the run."
        return 1, f"{NO_SPACE[error.errno]}. {remedy if trains else 'Free some space, and try again.'}"
    if isinstance(error, OSError) and (error.filename is not None or error.errno in NO_ACCESS):
        remedy = " Check its permissions, or choose another folder." if error.errno in NO_ACCESS else ""
        code = 2 if error.errno == errno.ENAMETOOLONG else 1
        return code, one_line(f"Cannot open {error.filename or 'a file'}: {error.strerror}.{remedy}")
    theirs = [one for group in (PLUGINS, COMMANDS) for one in installed(group) if distribution_name(one) != OURS]
    if line := plugin_line(error, {re.split("[.:]", point.value)[0] for point in theirs}):
        return 1, one_line(f"{type(error).__name__}: {error}{line}.")
    # A traceback may quote an untrusted file, so it is printed like everything else, escaped.
    return 1, "" if isinstance(error, BrokenPipeError) else "".join(traceback.format_exception(error)).rstrip()


def _usage(error: Any) -> tuple[int, str]:
    if type(error).__name__ == "NoArgsIsHelpError":  # its constructor has printed the help
        return error.exit_code, ""
    sentence, context = error.format_message(), getattr(error, "ctx", None)
    end = "" if sentence.endswith((".", "?")) else "."
    return error.exit_code, one_line(f"{sentence}{end} Try `{context.command_path if context else 'ganzoo'} -h`.")


def _prepare_streams() -> None:
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller: libraries would print into the next file that gets its descriptor
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 (open to the end)
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _stop_requests() -> Sequence[int]:  # grows with each signal that arrives
    """Let SIGTERM and SIGHUP exit through the usual cleanup, as Ctrl-C does; training has its own handlers."""
    requests: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        requests.append(number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        # Not a GanzooError: code that tolerates failures, such as a cache, would swallow it.
        sys.exit(128 + number)

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        # What the parent process ignores, such as SIGHUP under nohup, stays ignored.
        if hasattr(signal, name) and signal.getsignal(signal.Signals[name]) is not signal.SIG_IGN:
            signal.signal(signal.Signals[name], stop)
    return requests
