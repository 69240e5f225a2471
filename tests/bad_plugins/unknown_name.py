"""A recipe that names a loss which there is not."""

from pathlib import Path

from ganzoo import hookimpl


@hookimpl
def register_recipes(register):
    register(Path(__file__).with_name("unknown-name-mnist.yaml"))
