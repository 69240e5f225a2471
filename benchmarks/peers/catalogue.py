"""The packages that are measured, what each of them needs, and where their environments are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE / "envs"
REQUIREMENTS = HERE / "requirements"
INSTALL = "python benchmarks/peers/install.py"


@dataclass(frozen=True)
class Package:
    """A published package.

    Attributes:
        name: Its name here, and for ``--peer``.
        adapter: The file in this folder that drives it.
        recipe: The most similar ganzoo recipe.
    """

    name: str
    adapter: str
    recipe: str

    @property
    def folder(self) -> Path:
        """The folder of its environment."""
        return ENVIRONMENTS / self.name

    @property
    def requirements(self) -> Path:
        """The requirements file for pip, which pins every version, and every file by its SHA-256."""
        return REQUIREMENTS / f"{self.name}.txt"

    @property
    def python(self) -> Path:
        """The interpreter that runs its adapter."""
        return self.folder / "bin" / "python"

    @property
    def outcome(self) -> Path:
        """The file with the outcome of the installation: ``{"works": true, ...}``, or why it does not work."""
        return self.folder / "outcome.json"

    def missing(self) -> str | None:
        """Why it cannot be measured, in a sentence; None if it can."""
        try:
            outcome = json.loads(self.outcome.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return f"{self.name} is not installed: `{INSTALL} {self.name}` creates its environment."
        return None if outcome["works"] else f"{self.name} does not run here: {outcome['reason']}"


PEERS = {
    package.name: package
    for package in (
        Package("torchgan", "torchgan_peer.py", "dcgan-mnist"),
        Package("vegans", "vegans_peer.py", "dcgan-mnist"),
        Package("torch-mimicry", "mimicry_peer.py", "dcgan-mnist"),
    )
}
