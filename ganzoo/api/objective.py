"""What is optimised: phases over named networks.

Two levels. Most papers are an ``AdversarialLoss``, two functions on logits, which ganzoo composes with any regularizer,
augmentation and network. A paper with its own networks or schedule is an ``Objective``, a list of phases.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, NoReturn

from pydantic import Field
from torch import Tensor, nn

from ganzoo.api.spec import Spec
from ganzoo.errors import GanzooError

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
    """One turn of the optimizers.

    Attributes:
        name: For logs, and for a recipe's ``phases`` section.
        trains: Roles whose parameters it updates; all others are frozen meanwhile.
        loss: From networks and batch to ``{"loss": ..., ...}``, all scalars. No host synchronisation inside.
        repeat: How often it runs in one step, each time on the next real batch (critic iterations).
        every_steps: It runs on each ``every_steps``-th step only (lazy regularisation).
        after: Called without gradients after the optimizers stepped (weight clipping, balance terms).
        shares_fakes: Whether it takes ``batch.fake``, generated once a step for all phases that do, which then have
            their turns one after another on one batch. The phase that trains the generator is the last of them.
    """

    name: str
    trains: tuple[str, ...]
    loss: Callable[[Networks, Batch], Losses]
    repeat: int = 1
    every_steps: int = 1
    after: Callable[[Networks], None] | None = None
    shares_fakes: bool = False


class Objective(nn.Module):
    """A list of phases over named networks, with whatever state they need as registered buffers.

    A module, so that its buffers (BEGAN's k, ADA's p, running averages) are checkpointed with the rest.

    Attributes:
        roles: The networks a recipe must name, each with the kind that provides it.
        samples_with: The roles that drawing samples needs; each gets an exponential moving average.
        generates_from: Columns of the dataset that ``generate`` takes as keyword arguments besides codes and labels:
            ``("source",)`` for a translating generator.
    """

    roles: ClassVar[Mapping[str, Literal["generator", "discriminator", "encoder"]]] = {
        "generator": "generator",
        "discriminator": "discriminator",
    }
    samples_with: ClassVar[tuple[str, ...]] = ("generator",)
    generates_from: ClassVar[tuple[str, ...]] = ()
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

    def fakes(self, networks: Networks, batch: Batch) -> Tensor:
        """What ``generate`` makes of a batch's codes, labels and columns."""
        return self.generate_from(networks, batch.z, batch.label, batch.columns(self.generates_from))

    def generate_from(self, networks: Networks, z: Tensor, label: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """``generate`` with the columns that ``generates_from`` names."""
        return self.generate(networks, z, label, **columns)


class AdversarialLoss(nn.Module):
    """A loss on logits, composable with any network, regularizer and augmentation.

    Logits arrive as float32 (n,), and each method returns a scalar.

    Attributes:
        pairs: Whether ``generator`` needs the real logits too (relativistic losses).
    """

    pairs: ClassVar[bool] = False

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the discriminator minimises, from real logits (n,) and fake logits (n,)."""

    @abstractmethod
    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """What the generator minimises, from fake logits (n,) and, where ``pairs`` is set, real logits (n,)."""


Player = Literal["discriminator", "generator"]

Weight = Annotated[float, Field(ge=-1e9, le=1e9)]
EverySteps = Annotated[int, Field(ge=1, le=1_000_000)]


def _not_given(inputs: Tensor) -> Tensor:
    raise AssertionError("This turn was made by hand, without the function that was called.")


@dataclass(frozen=True)
class Turn:
    """What a regularizer sees of one phase.

    Attributes:
        networks: All networks, by role.
        critic: The discriminator as a function of images alone, (n, c, h, w) to float32 logits (n,).
        batch: The phase's batch.
        real: Real images (n, c, h, w) as the discriminator saw them, that is after the augmentation.
        fake: Fake images (n, c, h, w), likewise; carries the generator's graph in a generator phase only.
        real_logits: Logits (n,) of ``real``; None where the phase did not need them.
        fake_logits: Logits (n,) of ``fake``; None where the phase did not need them.
        condition: Extra positional arguments of the networks: the batch's labels in a conditional recipe.
        generate: The generator as a function of latent codes alone, (n, latent) to images that nobody augmented.
        features: The discriminator's features (n, feature_width) as a function of images alone; those of ``real`` and
            ``fake`` are computed once. For regularizers with ``reads_features``.
        player: Whose turn it is.
    """

    networks: Networks
    critic: Callable[[Tensor], Tensor]
    batch: Batch
    real: Tensor
    fake: Tensor
    real_logits: Tensor | None = None
    fake_logits: Tensor | None = None
    condition: tuple[Tensor, ...] = ()
    generate: Callable[[Tensor], Tensor] = _not_given
    features: Callable[[Tensor], Tensor] = _not_given
    player: Player = "discriminator"

    def judge_real(self) -> Tensor:
        """Logits (n,) of ``real``, computed now where the phase did not need them."""
        return self.critic(self.real) if self.real_logits is None else self.real_logits

    def judge_fake(self) -> Tensor:
        """Logits (n,) of ``fake``, computed now where the phase did not need them."""
        return self.critic(self.fake) if self.fake_logits is None else self.fake_logits


class Regularizer(nn.Module):
    """Something that holds one player back: a term of its loss, a limit on its weights, a choice among its samples.

    A term overrides ``penalty``; the other methods are for what is no term. State (running averages) is a registered
    buffer that is changed in place, so that it is checkpointed with the rest.

    Args:
        weight: Factor of the penalty in the loss. A recipe may give a schedule; the weight is then a scalar buffer
            that is changed in place before each step.
        every_steps: Lazy regularisation: apply the penalty on each ``every_steps``-th step, that many times as
            strongly, as an optimizer step of its own (Karras et al. 2020, StyleGAN2, section 3.1).

    Attributes:
        side: The player it belongs to, or ``both`` (``turn.player`` tells whose turn it is). An instance may choose:
            set it in ``__init__``.
        label: What it is logged as; ganzoo sets it to the registered name.
        reads_features: Whether it calls ``turn.features``. A discriminator without ``features`` is then refused.
    """

    side: Player | Literal["both"] = "discriminator"
    label: str = "penalty"
    reads_features: ClassVar[bool] = False
    weight: float | Tensor

    def __init__(self, *, weight: Weight = 1.0, every_steps: EverySteps = 1, **renamed: Any) -> None:
        super().__init__()
        if renamed:
            self._refuse(renamed)
        if every_steps < 1:
            raise GanzooError(f"every_steps must be at least 1, not {every_steps}.")
        self.weight = weight
        self.every_steps = every_steps

    def _refuse(self, unknown: Mapping[str, object]) -> NoReturn:
        name = type(self).__name__
        if "every" in unknown:
            raise GanzooError(
                f"{name} passes every= to Regularizer, which now calls it every_steps=.", "Rename it in the plugin."
            )
        raise TypeError(f"{name} passes {', '.join(unknown)} to Regularizer, which takes weight and every_steps")

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module] | None:
        """Called once, before training: make buffers as large as a network, or refuse one that does not fit.

        Args:
            spec: Image, latent and class sizes.
            networks: All networks, by role.

        Returns:
            Networks to add, by role (a classifier on the discriminator's features), or None. They learn in the turn of
            the regularizer's side; the discriminator's, where that is ``both``.

        Raises:
            GanzooError: A network lacks what the regularizer needs.
        """

    def penalty(self, turn: Turn) -> Tensor | None:
        """The penalty before weighting, a scalar; None where nothing joins the loss."""
        return None

    def select(self, fake_logits: Tensor) -> Tensor:
        """The fake logits (n,) as the generator's loss shall see them (asked on the generator's side alone).

        What comes back has the same shape, because some losses compare real and fake pair by pair.
        """
        return fake_logits

    def after_step(self, networks: Networks) -> None:
        """Called without gradients after each step of its player (weight clipping)."""


class Augmentation(nn.Module):
    """A differentiable change of images, applied to real and fake alike before the discriminator sees them.

    ``forward`` takes images (n, c, h, w) in [-1, 1] and returns as many of the same size. Values may leave that range
    where clamping would stop gradients (noise, brightness).

    Attributes:
        scheduled: Float options that a recipe may give a schedule. Each is an attribute of the same name; where the
            recipe does give one, the attribute is a scalar buffer that is changed in place before each step.
    """

    scheduled: ClassVar[tuple[str, ...]] = ()

    def observe(self, real_logits: Tensor) -> None:
        """Called without gradients in each discriminator phase with the real logits (n,) (adaptive augmentation)."""
