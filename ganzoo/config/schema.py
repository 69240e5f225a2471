"""The recipe schema: everything that a recipe may contain, and its bounds, as pydantic models."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ganzoo.api.bounds import EverySteps, ImageCount
from ganzoo.registry import strict

MetricName = Annotated[str, Field(min_length=1, max_length=200)]
OneLine = BeforeValidator(lambda text: " ".join(text.split()) if isinstance(text, str) else text)
Threads = Annotated[int, Field(ge=1, le=4096)]
DESCRIPTIVE: Final = ("summary", "paper", "trackers")  # keys of a recipe that are not part of its training_digest
# Keys of train outside the digest. The seed is in a record's key instead: runs with the same digest are repetitions.
WITHOUT_EFFECT: Final = ("seed", "device", "log_every", "checkpoint_seconds", "keep_best")
DEFAULTS: Final = {  # left out while they have these values, so that adding such a key changes no digest
    "sync_batch_norm": False,
    "share_fakes": False,
    "threads": "auto",
    "deterministic": False,
    "cudnn_benchmark": False,
    "init_from": None,
    "freeze": [],
}


def combination(verdict: str) -> PydanticCustomError:
    """An error for values that are valid separately but not together; see ``ValidationIssue.verdict``."""
    return PydanticCustomError("combination", "{verdict}", {"verdict": verdict})


def refuse_unless_mapping(data: Any, expected: str) -> Any:
    """Return a mapping, or a model made from one; pydantic's message would not mention what else is ``expected``."""
    if not isinstance(data, (dict, BaseModel)):
        raise combination(f"must be {expected}, not {strict.shown(data)}")
    return data


class ScheduleConfig(strict.Section):
    """A number that changes during training, written instead of a plain number: ``lr: {start: 1e-3, end: 1e-4}``.

    Attributes:
        start: The initial value.
        end: The final value, which it then keeps.
        shape: How it moves from one to the other.
        images: Real images over which it changes, or null for the rest of the run.
        delay: Real images before the change begins.
    """

    start: float
    end: float
    shape: Literal["linear", "cosine", "exponential"] = "linear"
    images: ImageCount | None = None
    delay: Annotated[int, Field(ge=0, le=10**12)] = 0

    @model_validator(mode="after")
    def _has_one_sign(self) -> ScheduleConfig:
        if self.shape == "exponential" and self.start * self.end <= 0:
            raise combination("is exponential, so start and end must both be positive or both negative")
        return self

    def at(self, images: int, total: int) -> float:
        """The value after ``images`` of ``total``; t in [0, 1] is the share of its own images shown since the delay.
        linear: end + (start - end) (1 - t). exponential: start (end / start)^t.
        cosine: end + (start - end) (1 + cos πt) / 2 (Loshchilov and Hutter 2017, without restarts).
        """
        if images <= self.delay:
            return self.start
        t = min(1.0, (images - self.delay) / (self.images or max(1, total - self.delay)))
        if self.shape == "exponential":
            return self.start * math.pow(self.end / self.start, t)
        factor = 1 - t if self.shape == "linear" else (1 + math.cos(math.pi * t)) / 2
        return self.end + (self.start - self.end) * factor


def _within_unit(schedule: ScheduleConfig) -> ScheduleConfig:
    for key, value in (("start", schedule.start), ("end", schedule.end)):
        if not 0 <= value < 1:
            raise combination(f"has {key} {value:g}, which must be at least 0 and less than 1")
    return schedule


EmaDecay = Annotated[
    Annotated[float, Field(gt=0, lt=1), Tag("number")]
    | Annotated[ScheduleConfig, AfterValidator(_within_unit), Tag("schedule")],
    Discriminator(lambda value: "schedule" if isinstance(value, dict | ScheduleConfig) else "number"),
]


class Component(strict.Section):
    """A registered component, by name, with its options. A bare name is enough: ``dataset: mnist``.

    Attributes:
        name: The registered name.
        options: Everything else in the mapping. Values may be ``ScheduleConfig``s once they are checked.
    """

    name: Annotated[str, Field(min_length=1)]
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"name": data}
        refuse_unless_mapping(data, "a name or a mapping")
        if not isinstance(data, dict) or (data.keys() <= cls.model_fields.keys() and "options" in data):
            return data
        own = {key: data[key] for key in data if key in cls.model_fields and key != "options"}
        return {**own, "options": {key: data[key] for key in data if key not in own}}

    def initial_options(self) -> dict[str, Any]:
        """The options to build it with: a schedule is its first value."""
        return {key: initial(value) for key, value in self.options.items()}

    def schedules(self) -> dict[str, ScheduleConfig]:
        """The options that have a schedule, by name."""
        return {key: value for key, value in self.options.items() if isinstance(value, ScheduleConfig)}

    @model_serializer(mode="wrap")
    def _flatten(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        flat: dict[str, Any] = handler(self)
        options = flat.pop("options")
        # So that older recipes, which lack these keys, and their digests do not change.
        return {**{key: flat[key] for key in flat if flat[key] or key not in ("validation", "count")}, **options}


def initial(value: Any, *, at_end: bool = False) -> Any:
    """A value at the start of training, or at its end; schedules inside a list too."""
    if isinstance(value, (list, tuple)):
        return type(value)(initial(item, at_end=at_end) for item in value)
    if isinstance(value, ScheduleConfig):
        return value.end if at_end else value.start
    return value


class DatasetConfig(Component):
    """Where real images come from.

    Attributes:
        validation: Number of training images to hold out and score against instead of the test images.
        count: Train on only this many images, the first in a seeded order; 0 means all.
    """

    validation: Annotated[int, Field(ge=0, le=10**9)] = 0
    count: Annotated[int, Field(ge=0, le=10**12)] = 0

    @property
    def scored_split(self) -> Literal["validation", "test"]:
        """What samples are scored against: the validation images if any are held out, otherwise the test images."""
        return "validation" if self.validation else "test"


class NetworkConfig(Component):
    """A network.

    Attributes:
        spectral_norm: Normalise every linear, convolutional and embedding weight spectrally (Miyato et al. 2018).
    """

    spectral_norm: bool = False


class PhaseOverride(strict.Section):
    """When one phase runs; null keeps the objective's setting.

    Attributes:
        repeat: How many times it runs in one step.
        every_steps: It runs only on every ``every_steps``-th step.
        begin: The share of ``train.images`` after which it begins.
        end: The share of ``train.images`` after which it stops.
    """

    repeat: Annotated[int, Field(ge=1, le=1000)] | None = None
    every_steps: EverySteps | None = None
    begin: Annotated[float, Field(ge=0, lt=1)] | None = None
    end: Annotated[float, Field(gt=0, le=1)] | None = None


class Until(strict.Section):
    """Train until a score is good enough, or no longer improves: exactly one of ``below``, ``above`` and ``patience``.

    Attributes:
        metric: One of ``evaluate.metrics``.
        below: Ends when the score is lower than this, for metrics where lower is better.
        above: Ends when the score is higher than this, for metrics where higher is better.
        patience: Ends after this many evaluations in a row without improvement.
        min_delta: With ``patience``, only a change larger than this is an improvement.
    """

    metric: MetricName
    below: Annotated[float, Field(gt=0, le=1e12)] | None = None
    above: Annotated[float, Field(ge=-1e12, le=1e12)] | None = None
    patience: Annotated[int, Field(ge=1, le=10**6)] | None = None
    min_delta: Annotated[float, Field(ge=0, le=1e12)] = 0.0

    @model_validator(mode="after")
    def _one_end(self) -> Until:
        if [self.below, self.above, self.patience].count(None) != 2:
            raise combination("needs either 'below' or 'above' or 'patience'")
        if self.min_delta and self.patience is None:
            raise combination("has 'min_delta', which goes with 'patience'")
        return self

    def is_met(self, values: Sequence[float], better: Literal["lower", "higher"]) -> bool:
        """Whether training may end, given the scores of all evaluations so far, oldest first; at least one."""
        if self.below is not None:
            return values[-1] < self.below
        if self.above is not None:
            return values[-1] > self.above
        assert self.patience is not None
        losses = [-value if better == "higher" else value for value in values]
        before, recent = losses[: -self.patience], losses[-self.patience :]
        return bool(before) and min(recent) >= min(before) - self.min_delta

    @property
    def in_words(self) -> str:
        """``fid@mnist-cnn fell below 2``."""
        if self.below is not None:
            return f"{self.metric} fell below {self.below:g}"
        if self.above is not None:
            return f"{self.metric} rose above {self.above:g}"
        evaluations = "1 evaluation" if self.patience == 1 else f"{self.patience} evaluations"
        return f"{self.metric} has not improved for {evaluations}"

    @model_serializer(mode="wrap")
    def _what_is_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {
            key: value for key, value in handler(self).items() if value is not None and (key, value) != ("min_delta", 0)
        }


UntilAll = Annotated[
    Annotated[Until, Tag("one")] | Annotated[tuple[Until, ...], Field(strict=False, min_length=1), Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list | tuple) else "one"),
]


class InitFrom(strict.Section):
    """Where a run gets its initial weights. A plain string is enough: ``init_from: zoo:flagship-mnist``.

    Attributes:
        source: A run folder, a Hub folder, or ``zoo:NAME``.
        sha256: SHA-256 of the weights, in hexadecimal; null accepts any.
    """

    source: Annotated[str, Field(min_length=1, max_length=4096)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, data: Any) -> Any:
        return {"source": data} if isinstance(data, str) else refuse_unless_mapping(data, "text or a mapping")


EngineName = Literal["eager", "compile", "cudagraph", "compile-cudagraph"]


class TrainConfig(strict.Section):
    """How to train.

    Attributes:
        images: Length of the run in real images shown, whatever the batch size.
        batch_size: Images in one batch.
        precision: ``auto`` is bf16 where it is faster than fp32. ``tf32`` is for CUDA; ``fp32`` never uses it.
        engine: How phases are executed; ``auto`` is eager on a CPU, measured on a GPU.
        ema: Weight of the old average in each step (a number or a schedule); null for no average.
        share_fakes: Both players learn from the same batch of fakes.
        seed: Determines everything that is random.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...
        threads: CPU threads; ``auto`` measures how many are fastest.
        deterministic: Bit-identical on a GPU too, by slower kernels; an operation without one ends the run.
        cudnn_benchmark: cuDNN times its kernels and uses the fastest; the choice varies between runs.
        sync_batch_norm: With several processes, batch normalisation uses the images of all.
        init_from: Starts from the weights of a run or a pretrained generator. Networks that it lacks, and all
            optimizers, start from scratch; averages do not ramp up.
        freeze: Parameters that are not trained, as patterns of their names: ``discriminator.layers.1.*``.
        until: Ends training early: a condition on a score, or a list that must hold at once.
        keep_best: One of ``evaluate.metrics``; its best checkpoint is kept too.
        log_every: Images between two log records.
        checkpoint_seconds: Seconds between two checkpoints; one is written at the next log point.
    """

    images: ImageCount
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    engine: EngineName | Literal["auto"] = "auto"
    ema: EmaDecay | None = 0.999
    share_fakes: bool = False
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    device: Annotated[str, Field(min_length=1, max_length=64)] = "auto"
    threads: Literal["auto"] | Threads = "auto"
    deterministic: bool = False
    cudnn_benchmark: bool = False
    sync_batch_norm: bool = False
    init_from: InitFrom | None = None
    freeze: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field((), strict=False)
    until: UntilAll | None = None
    keep_best: MetricName | None = None
    log_every: ImageCount = 25_600
    checkpoint_seconds: Annotated[float, Field(ge=0, le=10**9)] = 60.0

    @property
    def conditions(self) -> tuple[Until, ...]:
        """The conditions of ``until``; empty if it is not set."""
        return () if self.until is None else self.until if isinstance(self.until, tuple) else (self.until,)

    @model_validator(mode="after")
    def _fits_together(self) -> TrainConfig:
        if self.deterministic and self.cudnn_benchmark:
            raise combination("is deterministic, but cudnn_benchmark chooses kernels by timing: turn one off")
        if self.batch_size > self.images:
            raise combination(f"has a batch_size of {self.batch_size}, more than its images ({self.images})")
        return self


class EvaluateConfig(strict.Section):
    """How to score.

    Attributes:
        every_images: Images between two evaluations; null for a single one at the end.
        metrics: Names such as ``fid@mnist-cnn``; ``headline`` means those of the dataset.
        samples: Number of generated images for a score.
        anyway: Also use extractors that were fitted to another dataset; such scores are marked.
    """

    every_images: ImageCount | None = None
    metrics: tuple[MetricName, ...] = Field((), strict=False)
    samples: Annotated[int, Field(ge=2, le=1_000_000)] = 10_000
    anyway: bool = False


class Recipe(strict.Section):
    """Everything a training run needs.

    Attributes:
        name: The file's name without its ending.
        summary: One line.
        paper: Citation, or null.
        dataset: Where real images come from.
        prior: Where latent codes come from.
        conditional: Whether networks get labels.
        networks: A network for each role of the objective.
        loss: A loss on logits, or an objective with its own phases.
        regularizers: Terms added to a player's loss.
        augmentation: A transformation of everything that the discriminator sees.
        optimizers: By role; ``default`` applies to roles that are not listed.
        phases: Overrides of the objective's phases, by name.
        train: How to train.
        evaluate: How to score.
        trackers: Where a run's events are also sent.
    """

    name: str
    summary: Annotated[str, Field(min_length=1, max_length=200), OneLine]
    paper: Annotated[str, Field(min_length=1), OneLine] | None = None
    dataset: DatasetConfig
    prior: Component = Field(default_factory=lambda: Component(name="gaussian"))
    conditional: bool = False
    networks: Annotated[dict[str, NetworkConfig], Field(min_length=1)]
    loss: Component
    regularizers: tuple[Component, ...] = Field((), strict=False)
    augmentation: Component | None = None
    optimizers: Annotated[dict[str, Component], Field(min_length=1)]
    phases: dict[str, PhaseOverride] = Field(default_factory=dict)
    train: TrainConfig
    evaluate: EvaluateConfig = Field(default_factory=lambda: EvaluateConfig.model_validate({}))
    trackers: tuple[Component, ...] = Field((), strict=False)

    @model_validator(mode="after")
    def _scores_during_training(self) -> Recipe:
        asking = "train.until" if self.train.conditions else "train.keep_best" if self.train.keep_best else None
        if asking is not None and self.evaluate.every_images is None:
            raise combination(f"Set evaluate.every_images: {asking} needs scores during training")
        return self

    @property
    def follows_length(self) -> bool:
        """Whether a learning rate, or anything else with a schedule, depends on ``train.images``."""
        components = [*self.optimizers.values(), *self.regularizers, *filter(None, [self.augmentation])]
        values = [self.train.ema, *(value for one in components for value in one.options.values())]
        values += [item for value in values if isinstance(value, tuple) for item in value]  # of the betas
        schedules = [one for one in values if isinstance(one, ScheduleConfig)]
        decays = any(one.options.get("decay", "constant") != "constant" for one in self.optimizers.values())
        return decays or any(one.images is None for one in schedules)

    def plain(self) -> dict[str, Any]:
        """The recipe as its file holds it: mappings, lists, text, numbers. Its name is the file's."""
        return self.model_dump(mode="json", exclude={"name"})

    def to_yaml(self) -> str:
        """The recipe as a file that ``load_recipe`` reads back to the same."""
        return strict.dump(self.plain())

    def with_train(self, **changes: Any) -> Recipe:
        """A copy of the recipe with other values in ``train``, which are not checked."""
        return self.model_copy(update={"train": self.train.model_copy(update=changes)})

    def components(self) -> Iterator[tuple[strict.KeyPath, str, Component]]:
        """Each registered component's path in the recipe, its kind, and the component; networks are left out."""
        for kind in ("dataset", "prior", "loss", "augmentation"):
            if getattr(self, kind) is not None:
                yield (kind,), kind, getattr(self, kind)
        for kind, section in (("regularizer", "regularizers"), ("tracker", "trackers")):
            for index, component in enumerate(getattr(self, section)):
                yield (section, index), kind, component


def training_digest(recipe: Recipe) -> str:
    """SHA-256, hexadecimal, of everything in a resolved recipe that changes the weights.
    Scoring is not part of it, unless ``train.until`` depends on it; nor is what ``auto`` resolved to.
    """
    requested = {key: value for key, value in recipe.plain().items() if key not in DESCRIPTIVE}
    evaluate: dict[str, Any] = requested.pop("evaluate")
    train = {
        key: value
        for key, value in requested["train"].items()
        if key not in WITHOUT_EFFECT and (key, value) not in DEFAULTS.items()
    }
    if (weights := train.get("init_from")) is not None and weights["sha256"] is not None:
        train["init_from"] = weights["sha256"]  # their location does not matter
    requested["train"] = train
    if recipe.train.until is not None:
        # until names its own metric, so only the interval and the samples of evaluate are needed.
        requested["stopping"] = {key: value for key, value in evaluate.items() if key not in ("metrics", "anyway")}
    return hashlib.sha256(json.dumps(requested, sort_keys=True).encode()).hexdigest()


def same_training(one: Recipe, other: Recipe) -> bool:
    """Whether two resolved recipes give the same weights on the same hardware: equal in digest and seed."""
    return (training_digest(one), one.train.seed) == (training_digest(other), other.train.seed)
