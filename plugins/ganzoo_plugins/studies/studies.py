"""Registers every study in this folder."""

from pathlib import Path

from ganzoo import RegisterStudy, hookimpl


@hookimpl
def register_studies(register: RegisterStudy) -> None:
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        register(path)
