"""What the records of a run are, each checked before anything is computed from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

LARGEST = 1e39
"""Just above the largest number in single precision, which is what everything here was measured in."""


def _measurable(value: float) -> float:
    if math.isfinite(value) and abs(value) > LARGEST:
        raise ValueError("larger than any number in single precision")
    return value


Number = Annotated[float, AfterValidator(_measurable)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Images = Annotated[int, Field(ge=0, le=10**15)]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Event(_Shape):
    """A line of events.jsonl; what other events hold beside these is nobody's business here."""

    event: str
    images: Images
    seconds: Seconds | None = None
    metric: str = ""
    value: Number = math.nan
    floor: Number | None = None
    weights: str = ""
    gradients: dict[str, Number] = {}
    variety: dict[str, Number] = {}
    real_variety: dict[str, Number] = {}
    broken: Annotated[list[str], Field(min_length=1)] = ["a network"]

    @model_validator(mode="after")
    def _is_whole(self) -> _Event:
        needed = {"score": {"metric", "value", "weights", "floor"}, "diverged": {"broken"}}.get(self.event, set())
        pair = {"variety", "real_variety"} & self.model_fields_set
        if not needed <= self.model_fields_set or len(pair) == 1:
            raise ValueError("something is missing")
        if pair and not all("samples" in found for found in (self.variety, self.real_variety)):
            raise ValueError("nobody says of how many samples")
        return self


class _Train(_Event):
    """A log point: means by phase and quantity."""

    __pydantic_extra__: dict[str, Number]


class _Score(_Shape):
    """A line of scores.jsonl."""

    metric: str
    weights: str
    value: Number
    floor: Number | None = None
    images: Images
    seconds: Seconds | None = None
    protocol: dict[str, Any]


class _State(_Shape):
    """What stands beside a checkpoint's tensors, as far as it is not the trainer's own."""

    images: Images
    steps: Annotated[int, Field(ge=0, le=10**15)] = 0
    seconds: Seconds = 0.0


def is_state(value: object) -> bool:
    """Whether it is the JSON part of a checkpoint."""
    return isinstance(value, dict) and _fits(_State, value)


def is_event(record: Mapping[str, Any]) -> bool:
    """Whether it is an event with everything that events of its kind have."""
    return _fits(_Train if record.get("event") == "train" else _Event, record)


def is_score(record: Mapping[str, Any]) -> bool:
    """Whether it is a score with everything that scores have."""
    return _fits(_Score, record)


def _fits(shape: type[BaseModel], record: Mapping[str, Any]) -> bool:
    try:
        shape.model_validate(dict(record))
    except ValidationError:
        return False
    return True
