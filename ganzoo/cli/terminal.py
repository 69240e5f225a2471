"""The only door to the terminal, with ``console.py``: what is printed may be a stranger's, and must not steer it."""

from __future__ import annotations

import json
import logging
from typing import Any

import typer

from ganzoo.errors import visible


def say(text: object = "", *, err: bool = False, colour: str | None = None) -> None:
    """Print text, lines and all.

    Args:
        text: Control characters and changes of writing direction in it are escaped.
        err: On standard error, where everything goes that is no result.
        colour: On a terminal.
    """
    typer.secho(visible(str(text)), fg=colour, err=err)


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print JSON on standard output; what would steer a terminal is escaped as JSON escapes it."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    typer.echo("".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text))


class LogHandler(logging.Handler):
    """Prints what ganzoo logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record on standard error."""
        say(record.getMessage(), err=True, colour="yellow")
