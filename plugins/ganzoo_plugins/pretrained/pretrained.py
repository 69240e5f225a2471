"""Registers every pretrained generator in this folder."""

from pathlib import Path

from ganzoo import RegisterPretrained, hookimpl


@hookimpl
def register_pretrained(register: RegisterPretrained) -> None:
    for path in sorted(Path(__file__).parent.glob("*.json")):
        register(path)
