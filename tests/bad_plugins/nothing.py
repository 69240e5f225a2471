"""Implements a hook that registers nothing."""

from ganzoo import hookimpl


@hookimpl
def register_losses(register):
    pass
