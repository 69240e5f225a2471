"""Registers a recipe whose objective cannot list its phases."""

from pathlib import Path

from ganzoo import Objective, hookimpl


class NoPhases(Objective):
    """Looks a network up that nobody adds."""

    def phases(self):
        return self.steps


@hookimpl
def register_losses(register):
    register("no-phases", NoPhases, summary="Has no phases", paper="Someone 2020")


@hookimpl
def register_recipes(register):
    register(Path(__file__).with_name("no-phases-mnist.yaml"))
