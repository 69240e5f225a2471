"""The run folder: everything needed to resume, sample, evaluate and report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ganzoo.errors import GanzooError
from ganzoo.plugins import Zoo
from ganzoo.recipe import Recipe, load_recipe
from ganzoo.runs.checkpoint import Checkpoint, load_latest, save_checkpoint
from ganzoo.runs.files import append_lines, read_lines, write_atomically

SCHEMA = 1


class RunFolder:
    """A folder with ``recipe.yaml``, ``run.json``, ``events.jsonl``, ``scores.jsonl``, ``samples/``, ``checkpoints/``.

    Make one with ``create`` or ``open``.
    """

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path = path
        self.info = info

    @classmethod
    def create(cls, path: Path, recipe: Recipe, info: Mapping[str, Any]) -> RunFolder:
        """Start a run in a new or empty folder.

        Raises:
            GanzooError: The folder holds something already, or cannot be made.
        """
        if (path / "run.json").exists():
            raise GanzooError(
                f"{path} already holds a run.",
                f"Go on with `ganzoo run --resume {path}`, or give another --out.",
            )
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise GanzooError(f"{path} exists and is not an empty folder.", "Give another --out.")
        try:
            (path / "samples").mkdir(parents=True, exist_ok=True)
            (path / "checkpoints").mkdir(exist_ok=True)
        except OSError as error:
            raise GanzooError(
                f"The run folder {path} cannot be made ({error.strerror}).",
                "Give a folder that can be written.",
            ) from error
        run = cls(path, {"schema": SCHEMA, **info})
        run.replace_recipe(recipe)
        run.update()
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open an existing run.

        Raises:
            GanzooError: There is no run, or its description cannot be read.
        """
        path = Path(path)
        try:
            info = json.loads((path / "run.json").read_text("utf-8"))
        except OSError as error:
            raise GanzooError(
                f"{path} is not a run folder (no run.json).", "Give the folder `ganzoo run` made."
            ) from error
        except ValueError as error:
            raise GanzooError(f"{path / 'run.json'} is damaged.", "Start the run anew with another --out.") from error
        schema = info.get("schema") if isinstance(info, dict) else None
        if schema != SCHEMA:
            raise GanzooError(
                f"{path} was made by another version of ganzoo (schema {schema}).", f"This one reads schema {SCHEMA}."
            )
        return cls(path, info)

    def update(self, **changes: Any) -> None:
        """Change facts of run.json (``status``, ``ended``, ...)."""
        self.info.update(changes)
        write_atomically(self.path / "run.json", json.dumps(self.info, indent=2, ensure_ascii=False).encode())

    def replace_recipe(self, recipe: Recipe) -> None:
        """Write recipe.yaml anew (a resumed run that trains longer)."""
        write_atomically(self.path / "recipe.yaml", recipe.to_yaml().encode())

    def recipe(self, zoo: Zoo, overrides: Iterable[str] = ()) -> Recipe:
        """The resolved recipe it was started with."""
        return load_recipe(self.path / "recipe.yaml", zoo, list(overrides)).model_copy(
            update={"name": self.info["recipe"]}
        )

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one record to events.jsonl."""
        append_lines(self.path / "events.jsonl", [record])

    def events(self) -> list[dict[str, Any]]:
        """The records of events.jsonl in order, without those that a crash made void.

        A resumed run goes back to its checkpoint; what was logged beyond it is shown again by the resumed run.
        """
        kept: list[dict[str, Any]] = []
        for record in read_lines(self.path / "events.jsonl"):
            if record.get("event") == "resume":
                kept = [old for old in kept if old.get("images", 0) <= record["images"]]
            kept.append(record)
        return kept

    def append_score(self, *scores: Mapping[str, Any]) -> None:
        """Append scores to scores.jsonl, durably."""
        append_lines(self.path / "scores.jsonl", scores, durable=True)

    def scores(self) -> list[dict[str, Any]]:
        """All scores so far, in order."""
        return read_lines(self.path / "scores.jsonl")

    def save_checkpoint(self, tensors: Mapping[str, Any], state: Mapping[str, Any]) -> Path:
        """Write a checkpoint; the newest two are kept."""
        return save_checkpoint(self.path / "checkpoints", tensors, state)

    def find_checkpoint(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest whole checkpoint or None, and a sentence for each damaged one that was passed over."""
        return load_latest(self.path / "checkpoints")

    def latest_checkpoint(self) -> Checkpoint:
        """The newest whole checkpoint.

        Raises:
            GanzooError: There is none.
        """
        checkpoint, _ = self.find_checkpoint()
        if checkpoint is None:
            raise GanzooError(f"The run {self.path} has no checkpoint yet.", "Let it train a little longer.")
        return checkpoint


def free_folder(recipe_name: str, root: Path = Path("runs")) -> Path:
    """The first unused of ``runs/<recipe>``, ``runs/<recipe>-2``, ``runs/<recipe>-3``, ..."""
    path, number = root / recipe_name, 1
    while path.exists():
        number += 1
        path = root / f"{recipe_name}-{number}"
    return path
