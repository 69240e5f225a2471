"""What is optimised: phases over named networks.

Two levels. Most papers are an ``AdversarialLoss``, two functions on logits, which ganzoo composes with any regularizer,
augmentation and network. A paper with its own networks or schedule is an ``Objective``, a list of phases.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from ganzoo.spec import Spec

Networks = Mapping[str, nn.Module]
"""Networks by role: ``networks["generator"]``."""

Losses = Mapping[str, Tensor]
"""What a phase returns: ``"loss"``, which is minimised, and any other scalars worth logging."""


@dataclass(frozen=True)
class Batch:
    """What one phase sees, all on the training device.

    Attributes:
        real: Real images (n, c, h, w) in [-1, 1].
        label: Their classes (n,), int64; zeros where the dataset has none. Fakes are drawn with the same labels, so
            that real and fake are comparable pair by pair.
        z: Latent codes (n, latent), drawn anew for every phase.
    """

    real: Tensor
    label: Tensor
    z: Tensor


@dataclass(frozen=True)
class Phase:
    """One turn of the optimizers.

    Attributes:
        name: For logs, and for a recipe's ``phases`` section.
        trains: Roles whose parameters it updates; all others are frozen meanwhile.
        loss: From networks and batch to ``{"loss": ..., ...}``, all scalars. No host synchronisation inside.
        repeat: How often it runs in one step, each time on the next real batch (critic iterations).
        every: It runs on each ``every``-th step only (lazy regularisation).
        after: Called without gradients after the optimizers stepped (weight clipping, balance terms).
    """

    name: str
    trains: tuple[str, ...]
    loss: Callable[[Networks, Batch], Losses]
    repeat: int = 1
    every: int = 1
    after: Callable[[Networks], None] | None = None


class Objective(nn.Module):
    """A list of phases over named networks, with whatever state they need as registered buffers.

    A module, so that its buffers (BEGAN's k, ADA's p, running averages) are checkpointed with the rest.

    Attributes:
        roles: The networks a recipe must name, each with the kind that provides it.
        samples_with: The roles that drawing samples needs; each gets an exponential moving average.
    """

    roles: ClassVar[Mapping[str, Literal["generator", "discriminator", "encoder"]]] = {
        "generator": "generator",
        "discriminator": "discriminator",
    }
    samples_with: ClassVar[tuple[str, ...]] = ("generator",)
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
        """Images (n, c, h, w) in [-1, 1] from latent codes (n, latent) and labels (n,)."""
        images: Tensor = networks["generator"](z, *self.condition(label))
        return images


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
    """

    networks: Networks
    critic: Callable[[Tensor], Tensor]
    batch: Batch
    real: Tensor
    fake: Tensor
    real_logits: Tensor | None = None
    fake_logits: Tensor | None = None


class Regularizer(nn.Module):
    """A term added to one player's loss.

    Args:
        weight: Factor of the penalty in the loss.
        every: Lazy regularisation: apply it on each ``every``-th step, ``every`` times as strongly, as an optimizer
            step of its own (Karras et al. 2020, StyleGAN2, section 3.1).

    Attributes:
        side: The player whose loss it joins.
        label: What it is logged as; ganzoo sets it to the registered name.
    """

    side: ClassVar[Literal["discriminator", "generator"]] = "discriminator"
    label: str = "penalty"

    def __init__(self, *, weight: float = 1.0, every: int = 1) -> None:
        super().__init__()
        self.weight = weight
        self.every = every

    @abstractmethod
    def penalty(self, turn: Turn) -> Tensor:
        """The penalty before weighting, a scalar."""

    def after_step(self, networks: Networks) -> None:
        """Called without gradients after each step of its player (weight clipping)."""


class Augmentation(nn.Module):
    """A differentiable change of images, applied to real and fake alike before the discriminator sees them.

    ``forward`` takes and returns images (n, c, h, w) in [-1, 1].
    """

    def observe(self, real_logits: Tensor) -> None:
        """Called without gradients in each discriminator phase with the real logits (n,) (adaptive augmentation)."""
