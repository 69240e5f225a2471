"""The command line: one file a command. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from types import FrameType
from typing import Annotated

import typer

from ganzoo.cli.authors import check, new
from ganzoo.cli.bench import bench
from ganzoo.cli.evaluate import evaluate
from ganzoo.cli.listing import list_, plugins, show
from ganzoo.cli.reports import doctor, leaderboard, report
from ganzoo.cli.run import run
from ganzoo.cli.sample import sample
from ganzoo.errors import GanzooError, is_out_of_memory

app = typer.Typer(
    name="ganzoo",
    help="A plugin-based GAN zoo: train, sample and score every GAN with one command.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run)
app.command("list")(list_)
app.command("show")(show)
app.command("plugins")(plugins)
app.command("check")(check)
app.command("new")(new)
app.command("sample")(sample)
app.command("eval")(evaluate)
app.command("doctor")(doctor)
app.command("report")(report)
app.command("bench")(bench)
app.command("leaderboard")(leaderboard)

NO_ROOM = {
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "The disk quota is used up",
    errno.EFBIG: "A file would be larger than this shell or disk allows",
}
NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"ganzoo {version('ganzoo-bench')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A plugin-based GAN zoo: train, sample and score every GAN with one command."""


def main() -> None:
    """The ``ganzoo`` command: a user's mistake is one sentence and an exit code, never a traceback."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        try:
            app()
        finally:
            # A full disk shows when the buffer is written, which must not be left to the interpreter's last breath.
            sys.stdout.flush()
    except GanzooError as error:
        _leave(str(error), error.exit_code)
    except KeyboardInterrupt:
        _leave("Interrupted.", 130)
    except BrokenPipeError:
        _drop_output()
        sys.exit(1)
    except OSError as error:
        if error.errno in NO_ROOM:
            _drop_output()
            _leave(f"{NO_ROOM[error.errno]}; nothing that was saved is lost. Make room and resume the run.", 1)
        if error.errno in NO_ACCESS:
            _leave(f"{error.filename or 'A file'} cannot be written ({error.strerror}). Give a folder that can.", 1)
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _leave("Memory does not suffice. Ask for fewer samples, or use a device with more.", 1)


def _terminate(number: int, frame: FrameType | None) -> None:
    """Leave in order, so that nothing half-written stays; a training saves first, by its own handler.

    No GanzooError, which code that goes on without what has failed (a plugin, a cache) would take for a failure.
    """
    sys.exit(143)


def _drop_output() -> None:
    """Let what is still buffered go nowhere, so that leaving does not fail a second time."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _leave(sentence: str, code: int) -> None:
    style, plain = ("\033[31m", "\033[0m") if sys.stderr.isatty() else ("", "")
    print(f"{style}{sentence}{plain}", file=sys.stderr)
    sys.exit(code)
