"""run.json: what a run is, read with suspicion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ganzoo.errors import GanzooError
from ganzoo.runs.schema import RUN, refuse_newer

Size = Annotated[int, Field(ge=1)]


class _Process(BaseModel):
    """Who works on a run, or did last."""

    model_config = ConfigDict(strict=True)

    host: str
    pid: int


class _Facts(BaseModel):
    """The facts of run.json that ganzoo itself goes by; a run.json from before there was one does not have it."""

    model_config = ConfigDict(strict=True)

    recipe: str
    shape: Annotated[list[Size], Field(min_length=3, max_length=3)]
    classes: Annotated[int, Field(ge=0)]
    class_names: list[str] = []
    quantised: bool = True
    status: str = "running"
    data_dir: str | None = None
    recipe_digests: list[str] = []
    process: _Process | None = None


def read_description(path: Path) -> dict[str, Any]:
    """The content of a run folder's run.json.

    Raises:
        NewerError: A newer ganzoo made the run.
        GanzooError: There is none, or it is damaged.
    """
    file = path / "run.json"
    try:
        info = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise GanzooError(f"{path} is not a run folder (no run.json).", "Give the folder `ganzoo run` made.") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(file, "it is no JSON") from error
    if not isinstance(info, dict):
        raise _damaged(file, "it is no mapping")
    refuse_newer(info.get("schema", 0), RUN, str(path))
    try:
        _Facts.model_validate(info)
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(file, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return info


def _damaged(file: Path, reason: str) -> GanzooError:
    return GanzooError(f"{file} is damaged ({reason}).", "Put it back from a copy, or start anew with another --out.")
