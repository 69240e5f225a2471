"""A recipe's sections as pydantic models: what each may hold, and within which bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

FOREIGN_EXTRACTORS = (
    "inception-v3-compat",
    "dinov2-vit-s-14",
    "dinov2-vit-b-14",
    "dinov2-vit-l-14",
    "dinov2-vit-g-14",
    "clip-rn50",
    "clip-rn101",
    "clip-rn50x4",
    "clip-rn50x16",
    "clip-rn50x64",
    "clip-vit-b-32",
    "clip-vit-b-16",
    "clip-vit-l-14",
    "clip-vit-l-14-336px",
)
"""Extractors that torch-fidelity brings instead of a plugin."""

Images = Annotated[int, Field(ge=1, le=10**12)]
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
MetricName = Annotated[str, Field(min_length=1, max_length=200)]


def combination(verdict: str) -> PydanticCustomError:
    """An error for values that are right alone and wrong together: a sentence without its subject."""
    return PydanticCustomError("combination", "{verdict}", {"verdict": verdict})


class Section(BaseModel):
    """A mapping with known keys, whose values are never turned into another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _flat_schema(schema: dict[str, JsonValue]) -> None:
    """In a file, options stand beside the name."""
    properties = schema["properties"]
    assert isinstance(properties, dict)
    properties.pop("options", None)
    schema["additionalProperties"] = True


class Component(Section):
    """Something registered, by name, with its options. A bare name will do: ``dataset: mnist``.

    Attributes:
        name: The registered name.
        options: Everything else that stands in the mapping.
    """

    model_config = ConfigDict(json_schema_extra=_flat_schema)

    name: Annotated[str, Field(min_length=1)]
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"name": data}
        if not isinstance(data, dict) or (data.keys() <= cls.model_fields.keys() and "options" in data):
            return data
        own = {key: data[key] for key in data if key in cls.model_fields and key != "options"}
        return {**own, "options": {key: data[key] for key in data if key not in own}}

    @model_serializer(mode="wrap")
    def _flatten(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        flat: dict[str, Any] = handler(self)
        options = flat.pop("options")
        return {**flat, **options}


class NetworkConfig(Component):
    """A network.

    Attributes:
        spectral_norm: Normalise every linear, convolutional and embedding weight spectrally (Miyato et al. 2018).
    """

    spectral_norm: bool = False


class _Optimizer(Section):
    # Each optimizer narrows it; it stands here so that it comes first in a file.
    name: str
    lr: Positive
    decay: Literal["constant", "linear", "cosine"] = "constant"


class Adam(_Optimizer):
    """Adam (Kingma and Ba 2015)."""

    name: Literal["adam"] = "adam"
    betas: tuple[Share, Share] = Field((0.9, 0.999), strict=False)
    eps: Positive = 1e-8
    weight_decay: NotNegative = 0.0


class AdamW(_Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: Literal["adamw"] = "adamw"
    betas: tuple[Share, Share] = Field((0.9, 0.999), strict=False)
    eps: Positive = 1e-8
    weight_decay: NotNegative = 0.01


class Sgd(_Optimizer):
    """Stochastic gradient descent."""

    name: Literal["sgd"] = "sgd"
    momentum: Share = 0.0
    weight_decay: NotNegative = 0.0


class RmsProp(_Optimizer):
    """RMSprop (Tieleman and Hinton 2012)."""

    name: Literal["rmsprop"] = "rmsprop"
    alpha: Share = 0.99
    eps: Positive = 1e-8
    momentum: Share = 0.0
    weight_decay: NotNegative = 0.0


OptimizerConfig = Annotated[Adam | AdamW | Sgd | RmsProp, Field(discriminator="name")]


class PhaseOverride(Section):
    """Changes of one phase's schedule; null leaves what the objective says.

    Attributes:
        repeat: How often it runs in one step.
        every: It runs on each ``every``-th step only.
    """

    repeat: Annotated[int, Field(ge=1, le=1000)] | None = None
    every: Annotated[int, Field(ge=1, le=10**6)] | None = None


class Until(Section):
    """Train until a score is low enough.

    Attributes:
        metric: One of ``evaluate.metrics``.
        below: The score that ends the training.
    """

    metric: MetricName
    below: Positive


class TrainConfig(Section):
    """How to train.

    Attributes:
        images: Real images shown: the length of the training, whatever the batch size.
        batch_size: Images in one batch.
        precision: ``auto`` is bf16 where the hardware multiplies it faster than fp32.
        engine: How phases are executed.
        ema: Weight of the old average in each step, or null for no moving average.
        share_fakes: Both players learn from one batch of fakes a step, the discriminator first.
        seed: Everything random follows from it.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...
        sync_batch_norm: Where several processes train, batch normalisation over the images of all, not of each.
        until: Ends the training early.
        log_every: Images between two log records.
        checkpoint_seconds: Seconds between two checkpoints.
    """

    images: Images
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    engine: Literal["auto", "eager", "compile", "cudagraph"] = "auto"
    ema: Annotated[float, Field(gt=0, lt=1)] | None = 0.999
    share_fakes: bool = False
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    device: Annotated[str, Field(min_length=1, max_length=64)] = "auto"
    sync_batch_norm: bool = False
    until: Until | None = None
    log_every: Images = 25_600
    checkpoint_seconds: Annotated[float, Field(ge=0, le=10**9)] = 60.0

    @model_validator(mode="after")
    def _one_batch_at_least(self) -> TrainConfig:
        if self.batch_size > self.images:
            raise combination(f"has batch_size {self.batch_size}, more than its images ({self.images})")
        return self


class EvaluateConfig(Section):
    """How to score.

    Attributes:
        every: Images between two evaluations, or null for one at the end.
        metrics: Names such as ``fid@mnist-cnn``.
        samples: Generated images that a score is computed from.
    """

    every: Images | None = None
    metrics: tuple[MetricName, ...] = Field((), strict=False)
    samples: Annotated[int, Field(ge=2, le=1_000_000)] = 10_000

    @model_validator(mode="after")
    def _each_metric_once(self) -> EvaluateConfig:
        if len(set(self.metrics)) < len(self.metrics):
            raise combination("names a metric twice")
        return self
