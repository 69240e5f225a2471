"""Registers a recipe with an unknown loss."""

from pathlib import Path

from ganzoo import hookimpl


@hookimpl
def register_recipes(register):
    register(Path(__file__).with_name("unknown-name-mnist.yaml"))
