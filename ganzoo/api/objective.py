"""What is optimised: an ``Objective`` is a list of phases over named networks, built for the sizes of a ``Spec``.

Most papers need less: an ``AdversarialLoss``, two functions on logits (``ganzoo/api/adversarial.py``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor, nn

from ganzoo.api.dataset import Images, Modality
from ganzoo.api.priors import Prior
from ganzoo.errors import GanzooError


@dataclass(frozen=True)
class Spec:
    """Sizes that come from the dataset and the prior, never hard-coded in a network.

    Attributes:
        shape: Of one sample: (channels, height, width) for images, (1, 1, d) for points, (1, length) for sound.
        prior: Where latent codes come from.
        classes: Number of classes a conditional network is asked for; 0 where the recipe is unconditional.
        modality: What a sample is; images of ``shape`` where it is not given.
        columns: Shapes of the further columns that each row of the dataset has: ``{"source": (1, 28, 28)}``.
        dataset_classes: Number of classes of the dataset, whether or not the networks are told, 0 where it has no
            labels; None where that is unknown.
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
        """Numbers in one sample: channels * height * width for images."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width).

        Raises:
            GanzooError: The samples are no images.
        """
        return self.channels, self.height, self.width

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
        self._refuse_other_than_images()
        return self.shape[1]

    @property
    def width(self) -> int:
        """Image width in pixels.

        Raises:
            GanzooError: The samples have no width.
        """
        self._refuse_other_than_images()
        return self.shape[2]

    def _refuse_other_than_images(self) -> None:
        if len(self.shape) != 3:
            raise GanzooError(
                f"This network is for images, and the dataset has {self.modality}.",
                "Choose a network for that modality; fully connected ones such as 'mlp' take any.",
            )


Networks = Mapping[str, nn.Module]
"""Networks by role: ``networks["generator"]``."""

Losses = Mapping[str, Tensor]
"""What a phase returns: ``"loss"``, which is minimised, and any other scalars worth logging."""


@dataclass(frozen=True)
class Batch:
    """What one phase sees, all on the training device: named columns of n rows each.

    Attributes:
        real: Real samples (n, *shape) in [-1, 1]; images are (n, c, h, w).
        label: Their classes (n,), int64; zeros where the dataset has none. Fakes are drawn with the same labels, so
            that real and fake are comparable pair by pair.
        z: Latent codes (n, latent), drawn anew for every phase, or once for all phases that share fakes.
        source: What a translating generator starts from (n, ...), where the dataset has such a column.
        fake: The samples (n, *shape) that the generator made of ``z``, with its graph, where phases share them; None
            where the phase is to generate its own.
        extra: The dataset's further columns, by name.
    """

    real: Tensor
    label: Tensor
    z: Tensor
    source: Tensor | None = None
    fake: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, columns: Mapping[str, Tensor], z: Tensor) -> Batch:
        """A sampler's columns with latent codes."""
        own = ("image", "label", "source")
        extra = {name: column for name, column in columns.items() if name not in own}
        return cls(columns["image"], columns["label"], z, columns.get("source"), extra=extra)

    def columns(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Some of the dataset's further columns, by name.

        Raises:
            KeyError: The dataset has no such column.
        """
        known = self.extra if self.source is None else {"source": self.source, **self.extra}
        return {name: known[name] for name in names}


@dataclass(frozen=True)
class Phase:
    """What some optimizers minimise, and when.

    Attributes:
        name: For logs, and for a recipe's ``phases`` section.
        trains: Roles whose parameters it updates; all others are frozen meanwhile.
        loss: From networks and batch to ``{"loss": ..., ...}``, all scalars. No host synchronisation inside.
        repeat: How often it runs in one step, each time on the next real batch (critic iterations).
        every_steps: It runs on each ``every_steps``-th step only (lazy regularisation).
        begin: The share of the training after which it begins to run: 0.5 for a prior that is fitted to codes which an
            earlier phase has learned by then.
        end: The share of the training after which it stops.
        after: Called without gradients after the optimizers stepped (weight clipping, balance terms).
        shares_fakes: Whether it takes ``batch.fake``, generated once a step for all phases that do, which then have
            their turns one after another on one batch. The phase that trains the generator is the last of them.
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


class Objective(nn.Module):
    """A list of phases over named networks, with whatever state they need as registered buffers.

    A module, so that its buffers (BEGAN's k, ADA's p, running averages) are checkpointed with the rest.

    Attributes:
        roles: The networks a recipe must name, each with the kind that provides it.
        samples_with: The roles that drawing samples needs, and the objective's other methods that metrics call; each
            gets an exponential moving average.
        generates_from: Columns of the dataset that ``generate`` takes as keyword arguments besides codes and labels:
            ``("source",)`` for a translating generator.
        views: How many samples ``overview`` draws of one code: 2 for pairs of two domains.
    """

    roles: ClassVar[Mapping[str, Literal["generator", "discriminator", "encoder"]]] = {
        "generator": "generator",
        "discriminator": "discriminator",
    }
    samples_with: ClassVar[tuple[str, ...]] = ("generator",)
    generates_from: ClassVar[tuple[str, ...]] = ()
    views: ClassVar[int] = 1
    spec: Spec

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Learn the sizes, and add networks of one's own (a recognition head, a classifier).

        Called once, before training. Override to return the networks to add, by role; call ``super().bind`` first.

        Args:
            spec: Image, latent and class sizes.
            networks: The networks that the recipe named.

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

        An objective with ``generates_from`` overrides it with one more keyword for each name there:
        ``generate(self, networks, z, label, source=None)``.
        """
        samples: Tensor = networks["generator"](z, *self.condition(label))
        return samples

    def overview(self, networks: Networks, z: Tensor, label: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """What pictures of a run's progress show of each code: samples (n, views, *shape), drawn side by side."""
        return self.generate_from(networks, z, label, columns).unsqueeze(1)

    def discriminate(self, networks: Networks, samples: Tensor, label: Tensor) -> Tensor | None:
        """What the discriminator says of samples (n, *shape) with labels (n,): logits (n,), for pictures alone.

        None where no network of that name gives one number for each sample. A discriminator that judges several
        samples at once says how many by an attribute ``packing``; each is then judged in the company of its copies.
        """
        discriminator = networks.get("discriminator")
        if discriminator is None:
            return None
        copies = int(getattr(discriminator, "packing", 1))
        condition = (one.repeat(copies) for one in self.condition(label))
        logits: Tensor = discriminator(samples.repeat(copies, *[1] * (samples.dim() - 1)), *condition)
        return logits.flatten()[: len(samples)] if logits.numel() == copies * len(samples) else None

    def fakes(self, networks: Networks, batch: Batch) -> Tensor:
        """What ``generate`` makes of a batch's codes, labels and columns."""
        return self.generate_from(networks, batch.z, batch.label, batch.columns(self.generates_from))

    def generate_from(self, networks: Networks, z: Tensor, label: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """``generate`` with the columns that ``generates_from`` names."""
        return self.generate(networks, z, label, **columns)
