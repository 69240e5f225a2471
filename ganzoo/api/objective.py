"""Objectives: an ``Objective`` is a list of phases over named networks, built for the sizes in a ``Spec``."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor, nn

from ganzoo.api.dataset import Images, Modality
from ganzoo.api.priors import Prior
from ganzoo.errors import GanzooError


@dataclass(frozen=True)
class Spec:
    """Sizes that come from the dataset and the prior, so that networks never hard-code them.

    Attributes:
        shape: Shape of one sample: (channels, height, width) for images, (1, 1, d) for points.
        prior: The distribution of latent codes.
        classes: Number of classes that networks are conditioned on; 0 if the recipe is unconditional.
        modality: What a sample is. Default: images of ``shape``.
        columns: Name and row shape of each additional column of the dataset, such as ``(("source", (1, 28, 28)),)``.
        dataset_classes: Number of classes of the dataset, even if the recipe is unconditional; 0 if it has no labels,
            None if unknown.
    """

    shape: tuple[int, ...]
    prior: Prior
    classes: int = 0
    modality: Modality = None  # type: ignore[assignment]  # __post_init__ fills it in
    columns: tuple[tuple[str, tuple[int, ...]], ...] = ()
    dataset_classes: int | None = None

    def __post_init__(self) -> None:
        if self.modality is None:
            object.__setattr__(self, "modality", Images(*self.shape))

    @property
    def latent(self) -> int:
        """Width of a latent code: generators take (n, latent)."""
        return self.prior.width

    @property
    def pixels(self) -> int:
        """Values in one sample: channels * height * width for images."""
        return math.prod(self.shape)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width).

        Raises:
            GanzooError: The samples are not images.
        """
        if len(self.shape) != 3:
            raise GanzooError(
                f"This network is for images, but the dataset has {self.modality}.",
                "Choose a network for that modality; fully connected ones such as 'mlp' accept any.",
            )
        channels, height, width = self.shape
        return channels, height, width

    @property
    def channels(self) -> int:
        """Image channels, 1 or 3."""
        return self.shape[0]

    @property
    def height(self) -> int:
        """Image height in pixels.

        Raises:
            GanzooError: The samples have no height.
        """
        return self.image_shape[1]

    @property
    def width(self) -> int:
        """Image width in pixels.

        Raises:
            GanzooError: The samples have no width.
        """
        return self.image_shape[2]


Networks = Mapping[str, nn.Module]
"""Networks by role: ``networks["generator"]``."""
Losses = Mapping[str, Tensor]
"""What a phase returns: ``"loss"``, which is minimised, and any other scalars worth logging, the same in every step."""


@dataclass(frozen=True, eq=False)  # tensors do not compare to one truth value
class Batch:
    """The data of one phase, on the training device: named columns of n rows each.

    Attributes:
        real: Real samples (n, *shape) in [-1, 1]; images are (n, c, h, w).
        label: Their classes (n,), int64; zeros if the dataset has none. Fakes get the same labels, so that real and
            fake samples can be compared pair by pair.
        z: Latent codes (n, latent), drawn separately for each phase, or once for all phases that share fakes.
        source: The input of a translating generator (n, ...), if the dataset has such a column; images are in [-1, 1].
        fake: The samples (n, *shape) that the generator made from ``z``, with its graph, if phases share them; None if
            the phase generates its own.
        extra: The dataset's other additional columns, by name.
    """

    real: Tensor
    label: Tensor
    z: Tensor
    source: Tensor | None = None
    fake: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, columns: Mapping[str, Tensor], z: Tensor) -> Batch:
        """A batch of a sampler's columns and latent codes."""
        extra = {name: column for name, column in columns.items() if name not in ("image", "label", "source")}
        return cls(columns["image"], columns["label"], z, columns.get("source"), extra=extra)

    def columns(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Some of the dataset's additional columns, by name.

        Raises:
            KeyError: The dataset has no such column.
        """
        known = self.extra if self.source is None else {"source": self.source, **self.extra}
        return {name: known[name] for name in names}


@dataclass(frozen=True)
class Phase:
    """A loss, the networks that it trains, and when it runs.

    Attributes:
        name: For logs, and for a recipe's ``phases`` section.
        trains: Roles whose parameters it updates; all others are frozen meanwhile.
        loss: From networks and batch to ``{"loss": ..., ...}``, all scalars. It must not synchronise with the host.
        repeat: How many times it runs in one step, each time on the next real batch (critic iterations).
        every_steps: It runs only on every ``every_steps``-th step (lazy regularisation).
        begin: The share of training after which it starts to run: 0.5, for instance, to fit a prior to codes that an
            earlier phase has learned by then.
        end: The share of training after which it stops.
        after: Called without gradients after the optimizers' step (weight clipping, balance terms).
        shares_fakes: Whether it uses ``batch.fake``. All phases that share fakes run one after another on the same
            batch, and its fakes are generated once per step. The phase that trains the generator must be the last.
    """

    name: str
    trains: tuple[str, ...]
    loss: Callable[[Networks, Batch], Losses]
    repeat: int = 1
    every_steps: int = 1
    begin: float = 0.0
    end: float = 1.0
    after: Callable[[Networks], None] | None = None
    shares_fakes: bool = False


class Objective(nn.Module, ABC):
    """A list of phases over named networks. State that the phases need is kept in registered buffers.

    An objective is a module, so that checkpoints include its buffers (BEGAN's k, ADA's p, running averages).

    Attributes:
        roles: The networks a recipe must name, each with the kind that provides it.
        samples_with: The roles needed to draw samples, or by other methods of the objective that metrics call. Each
            gets an exponential moving average.
        generates_from: Columns of the dataset that ``generate`` takes as keyword arguments, in addition to codes and
            labels: ``("source",)`` for a translating generator.
        views: How many samples ``overview`` shows for each code: 2 for pairs from two domains.
        shows: Columns that ``overview`` gets in addition to those of ``generates_from``; ``image`` is the real samples.
        processes: Number of processes that train together, each on its share of every batch; ganzoo sets it before it
            calls ``phases``.
    """

    roles: ClassVar[Mapping[str, Literal["generator", "discriminator", "encoder"]]] = {
        "generator": "generator",
        "discriminator": "discriminator",
    }
    samples_with: ClassVar[tuple[str, ...]] = ("generator",)
    generates_from: ClassVar[tuple[str, ...]] = ()
    views: ClassVar[int] = 1
    shows: ClassVar[tuple[str, ...]] = ()
    processes: int = 1
    spec: Spec

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Record the sizes, and return additional networks (a recognition head, a classifier).

        Called once, before training. To add networks, override this method and call ``super().bind`` first.

        Args:
            spec: Image, latent and class sizes.
            networks: The networks that the recipe names.

        Returns:
            The additional networks, by role.
        """
        self.spec = spec
        return {}

    @abstractmethod
    def phases(self) -> Sequence[Phase]:
        """The phases of one step, in order. Called once, after ``bind``."""

    def condition(self, label: Tensor) -> tuple[Tensor, ...]:
        """Extra positional arguments of the networks: the labels in a conditional recipe, nothing otherwise."""
        return (label,) if self.spec.classes else ()

    def generate(self, networks: Networks, z: Tensor, label: Tensor) -> Tensor:
        """Samples (n, *shape) in [-1, 1] from latent codes (n, latent) and labels (n,).

        An objective with ``generates_from`` overrides this with one more keyword argument for each name there:
        ``generate(self, networks, z, label, source=None)``.
        """
        samples: Tensor = networks["generator"](z, *self.condition(label))
        return samples

    def overview(self, networks: Networks, z: Tensor, label: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """Samples (n, views, *shape) for pictures of a run's progress; the views of a code are shown side by side."""
        return self.generate_from(networks, z, label, columns).unsqueeze(1)

    def discriminate(self, networks: Networks, samples: Tensor, label: Tensor) -> Tensor | None:
        """The discriminator's logits (n,) for samples (n, *shape) with labels (n,); only pictures use them.

        None if there is no discriminator, or if it does not return one number per sample. A discriminator that judges
        several samples together states how many in its attribute ``packing``; each sample is then judged together with
        copies of itself.
        """
        discriminator = networks.get("discriminator")
        if discriminator is None:
            return None
        copies = int(getattr(discriminator, "packing", 1))
        condition = (one.repeat(copies) for one in self.condition(label))
        logits: Tensor = discriminator(samples.repeat(copies, *[1] * (samples.dim() - 1)), *condition)
        return logits.flatten()[: len(samples)] if logits.numel() == copies * len(samples) else None

    def fakes(self, networks: Networks, batch: Batch) -> Tensor:
        """Samples that ``generate`` returns for a batch's codes, labels and columns."""
        return self.generate_from(networks, batch.z, batch.label, batch.columns(self.generates_from))

    def generate_from(self, networks: Networks, z: Tensor, label: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """``generate`` with the columns that ``generates_from`` names."""
        return self.generate(networks, z, label, **columns)
