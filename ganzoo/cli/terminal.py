"""Shared by the commands: functions that print, escaped, and options that only the user can set, never a file."""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

from ganzoo.errors import GanzooError, visible

if TYPE_CHECKING:
    from ganzoo.registry.loading import Zoo


def say(text: object = "", *, err: bool = False, colour: str | None = None) -> None:
    """Print text of one or more lines, escaped; with ``err`` on standard error, as all that is not a result."""
    typer.secho(visible(str(text)), fg=colour, reset=colour is not None, err=err)


_for_json: ContextVar[TextIO | None] = ContextVar("for_json", default=None)


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print JSON on standard output; characters that could control a terminal are escaped as in JSON."""
    stream = _for_json.get() or sys.stdout
    text = json.dumps(value, ensure_ascii="utf" not in (stream.encoding or "utf-8").lower(), indent=indent)
    text = "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text)
    typer.echo(text, file=stream)


def load_zoo_and_warn() -> Zoo:
    """All that is registered, after a sentence on standard error for each plugin that was refused."""
    from ganzoo.registry import loading

    zoo = loading.load_zoo()
    for problem in zoo.problems:
        say(problem.sentence, err=True, colour="yellow")
    return zoo


def discard(descriptor: int) -> None:
    """Discard what is still written there: its reader is gone, or its disk is full."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


class LogHandler(logging.Handler):
    """Prints what ganzoo logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record on standard error."""
        say(record.getMessage(), err=True, colour="yellow")


RunPath = Annotated[Path, typer.Argument(help="The run folder, zoo:NAME, or a folder from the Hub.")]
WhichCheckpoint = Annotated[
    Literal["last", "best", "good"],
    typer.Option(
        help="last; best: the one that train.keep_best kept; good: that of the last evaluation with varied samples."
    ),
]
WhichWeights = Annotated[
    Literal["ema", "raw"] | None, typer.Option(help="Averaged (ema) or raw weights; ema if the run has them.")
]


def _while_it_runs(context: typer.Context, option: typer.CallbackParam, value: Any) -> Any:
    if value and "--json" in option.opts:
        token = _for_json.set(sys.stdout)
        context.call_on_close(lambda: _for_json.reset(token))
        context.with_resource(redirect_stdout(sys.stderr))
    elif value and "--allow-code" in option.opts:
        from ganzoo.api.metric import allowing_code

        context.with_resource(allowing_code())
    elif value:
        from ganzoo.runs.folder import reading

        context.with_resource(reading(value) if "--data-dir" in option.opts else reading(anywhere=True))
    return value


AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        callback=_while_it_runs,
        help="Run code that is in no package, if you trust it: a run's code.py, or an extractor's download (dinov2-*).",
    ),
]
AllowPaths = Annotated[
    bool,
    typer.Option(
        "--allow-paths",
        callback=_while_it_runs,
        help="Allow a run made elsewhere to read its dataset from any path that it names.",
    ),
]
AllowTrackers = Annotated[
    bool,
    typer.Option("--allow-trackers", help="Allow trackers that this command does not name to use a network (wandb)."),
]
DataDir = Annotated[
    Path | None, typer.Option(callback=_while_it_runs, help="Folder that already holds the dataset files.")
]
AsJson = Annotated[
    bool, typer.Option("--json", callback=_while_it_runs, help="Print the outcome as JSON on standard output.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite FILE even if ganzoo did not make it.")]


def refuse_out(out: Path, command: str, *, force: bool) -> None:
    """Raise an error, before anything is computed, if the output file has no folder or would replace a foreign file."""
    from ganzoo.files import MADE, begins_like, refuse_to_overwrite

    refuse_missing_folder(out)
    refuse_to_overwrite(
        out, ours=force or begins_like(out, MADE), command=command, remedy="Give another --out, or add --force."
    )


def refuse_missing_folder(out: Path) -> None:
    """Raise an error, before anything is computed, if the output file's folder does not exist."""
    if not out.parent.is_dir():
        raise GanzooError(f"No such folder: {out.parent}.", "Create it first, or give another --out.")
