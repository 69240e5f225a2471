"""Implements a hook, and registers nothing in it."""

from ganzoo import hookimpl


@hookimpl
def register_losses(register):
    pass
