"""Registers a study whose search and whose `--quick` are wrong."""

from pathlib import Path

from ganzoo import hookimpl


@hookimpl
def register_studies(register):
    register(Path(__file__).with_name("wrong-trials.yaml"))
    register(Path(__file__).with_name("wrong-quick.yaml"))
