"""Sends a run's numbers and sample grids to Weights & Biases (a recipe's ``trackers: [wandb]``).

``{name: wandb, mode: offline}`` writes into ``wandb/`` inside the run folder, without a network; ``wandb sync`` uploads
it later. ``{name: wandb, library: trackio}`` uses trackio instead, which has the same interface and keeps everything on
this machine. The step is the number of real images shown, so that runs with different batch sizes share an axis. A
resumed run continues the same W&B run. The recipe is sent as the configuration; code, git state and terminal output
are not sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from ganzoo import GanzooError, Register, Tracker, hookimpl
from ganzoo_plugins.trackers.tensorboard import tagged

Name = Annotated[str, Field(min_length=1, max_length=128)]


class WeightsAndBiases(Tracker):
    """Logs to wandb, or to a library with its interface.

    Args:
        folder: The run folder.
        project: The project that runs are grouped under.
        entity: The user or team; None means the account's default. Only for wandb.
        mode: ``online`` needs ``wandb login``; None means the value of ``WANDB_MODE``, or online. Only for wandb.
        library: ``wandb`` or ``trackio``.

    Raises:
        GanzooError: The library is not installed, or it does not start, e.g. without an account or a network.
    """

    def __init__(
        self,
        folder: Path,
        *,
        project: Name = "ganzoo",
        entity: Name | None = None,
        mode: Literal["online", "offline"] | None = None,
        library: Literal["wandb", "trackio"] = "wandb",
    ) -> None:
        try:
            self.client = import_module(library)
        except ImportError as error:
            extra = "'ganzoo-bench[wandb]'" if library == "wandb" else library
            raise GanzooError(
                f"The tracker 'wandb' needs the package {library}, which is not installed.",
                f"pip install {extra}, or remove it from the recipe's trackers.",
            ) from error
        recipe = folder / "recipe.yaml"
        identity = _identity(folder)
        options: dict[str, Any] = {
            "project": project,
            "name": folder.resolve().name,
            "config": yaml.safe_load(recipe.read_text("utf-8")) if recipe.exists() else {},
            "resume": "allow",
        }
        if library == "wandb":
            quiet = self.client.Settings(
                silent=True, console="off", disable_git=True, disable_code=True, x_save_requirements=False
            )
            options |= {"entity": entity, "mode": mode, "dir": str(folder), "id": identity, "settings": quiet}
        else:
            # trackio identifies runs by name alone: two folders with the same name would become one run.
            name = f"{options['name']}-{identity}" if identity else options["name"]
            options |= {"name": name, "auto_log_gpu": False, "embed": False}
        try:
            self.run = self.client.init(**options)
        except Exception as error:  # wandb's errors have no base class common to all its versions
            reason = " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
            raise GanzooError(
                f"The tracker 'wandb' did not start: {reason}.",
                "Run `wandb login` first, or give it mode: offline."
                if library == "wandb"
                else "Remove it from the recipe's trackers.",
            ) from error
        if library == "wandb":
            self.run.define_metric("*", step_metric="images")

    def log(self, record: Mapping[str, Any]) -> None:
        """Log every number in a record under ``event/key``, and a score under ``score/metric/weights``."""
        self._send(record.get("images", 0), dict(tagged(record)))

    def picture(self, images: int, path: Path) -> None:
        self._send(images, {"samples": self.client.Image(str(path), caption=f"{images:,} images")})

    def close(self) -> None:
        self.run.finish()

    def _send(self, images: int, values: Mapping[str, Any]) -> None:
        if values:
            # Not as wandb's step: it drops steps below the last one, and a resumed run logs some of those again.
            self.run.log({"images": images, **values})


def _identity(folder: Path) -> str | None:
    """An identifier that stays the same when a run is resumed, even if its folder was moved."""
    with suppress(OSError, ValueError, KeyError):
        text = json.loads((folder / "run.json").read_bytes())["id"]
        return sha256(text.encode()).hexdigest()[:16]
    return None


@hookimpl
def register_trackers(register: Register[Tracker]) -> None:
    register("wandb", WeightsAndBiases, summary="Numbers and sample grids for Weights & Biases, or trackio")
