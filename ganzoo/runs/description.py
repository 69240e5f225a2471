"""run.json: what a run is, read with suspicion."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ganzoo.errors import GanzooError
from ganzoo.runs.files import parse_json
from ganzoo.runs.schema import RUN, refuse_newer
from ganzoo.runs.shapes import Images, Number, Seconds

MOST_VALUES = 2**26
"""Of one image: 8192 by 8192 grey pixels."""


def _imaginable(shape: list[int]) -> list[int]:
    if prod(shape) > MOST_VALUES:
        raise ValueError(f"an image of more than {MOST_VALUES:,} values")
    return shape


Size = Annotated[int, Field(ge=1)]
Shape = Annotated[list[Size], Field(min_length=3, max_length=3), AfterValidator(_imaginable)]


class _Process(BaseModel):
    """Who works on a run, or did last."""

    model_config = ConfigDict(strict=True)

    host: str
    pid: int


class _Environment(BaseModel):
    """What it was made with, as far as something is computed from it."""

    model_config = ConfigDict(strict=True)

    versions: dict[str, str | None] | None = None


class _Facts(BaseModel):
    """The facts of run.json that ganzoo itself goes by; a run.json from before there was one does not have it."""

    model_config = ConfigDict(strict=True)

    recipe: str
    shape: Shape
    classes: Annotated[int, Field(ge=0, le=10**6)]
    class_names: list[str] = []
    quantised: bool = True
    status: str = "running"
    data_dir: str | None = None
    recipe_digests: list[str] = []
    process: _Process | None = None
    seed: int | None = None
    precision: Literal["fp32", "bf16"] | None = None
    images: Images | None = None
    seconds: Seconds | None = None
    images_per_second: Number | None = None
    parameters: dict[str, int] | None = None
    plugins: dict[str, str] | None = None
    environment: _Environment | None = None


def read_description(path: Path) -> dict[str, Any]:
    """The content of a run folder's run.json.

    Raises:
        NewerError: A newer ganzoo made the run.
        GanzooError: There is none, or it is damaged.
    """
    refuse_pipes(path)
    file = path / "run.json"
    try:
        info = parse_json(file.read_bytes())
    except OSError as error:
        raise GanzooError(f"{path} is not a run folder (no run.json).", "Give the folder `ganzoo run` made.") from error
    except ValueError as error:
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


def refuse_pipes(path: Path) -> None:
    """See that everything in a run folder can be read to its end: a pipe that a stranger put there would be waited for.

    Raises:
        GanzooError: Something in it is neither a file nor a folder.
    """
    for entry in (*path.glob("*"), *path.glob("*/*")):
        if entry.exists() and not (entry.is_file() or entry.is_dir()):
            raise GanzooError(f"{entry} is no file but a pipe, socket or device.", "Remove it; ganzoo did not make it.")


def _damaged(file: Path, reason: str) -> GanzooError:
    return GanzooError(f"{file} is damaged ({reason}).", "Put it back from a copy, or start anew with another --out.")
