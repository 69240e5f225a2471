"""The adversarial objective: any loss on logits, with any regularizers and any augmentation.

An ``AdversarialLoss`` is two functions on logits. ``AdversarialGame`` makes an objective of it, with one phase for the
discriminator and one for the generator; a ``Regularizer`` adds a term to either's loss, and an ``Augmentation`` changes
what the discriminator sees.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from ganzoo.api.bounds import EverySteps, Weight
from ganzoo.api.objective import Batch, Losses, Networks, Objective, Phase, Spec
from ganzoo.errors import GanzooError, nearest


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
SIDES = (*get_args(Player), "both")
"""What a regularizer's ``side`` may be."""


def _not_given(inputs: Tensor) -> Tensor:
    raise AssertionError("This context was made without the function that was called.")


def _unchanged(images: Tensor) -> Tensor:
    return images


@dataclass(frozen=True)
class RegularizerContext:
    """What a regularizer sees of one phase.

    Attributes:
        networks: All networks, by role.
        critic: The discriminator as a function of images alone, (n, c, h, w) to float32 logits (n,).
        batch: The phase's batch; ``batch.real`` are the real images before the augmentation.
        real: Real images (n, c, h, w) as the discriminator saw them, that is after the augmentation.
        fake: Fake images (n, c, h, w), likewise; carries the generator's graph in a generator phase only.
        clean_fake: The same fakes before the augmentation; by default ``fake``.
        augment: The augmentation, (n, c, h, w) to the same size, drawn anew in each call. Without one, the identity.
        real_logits: Logits (n,) of ``real``; None where the phase did not need them.
        fake_logits: Logits (n,) of ``fake``; None where the phase did not need them.
        condition: Extra positional arguments of the networks: the batch's labels in a conditional recipe.
        generate: The generator as a function of latent codes alone, (n, latent) to images that nobody augmented.
        features: The discriminator's features (n, feature_width) as a function of images alone; those of ``real`` and
            ``fake`` are computed once. For regularizers with ``reads_features``.
        player: Whose loss the penalty joins.
    """

    networks: Networks
    critic: Callable[[Tensor], Tensor]
    batch: Batch
    real: Tensor
    fake: Tensor
    real_logits: Tensor | None = None
    fake_logits: Tensor | None = None
    clean_fake: Tensor = None  # type: ignore[assignment]
    augment: Callable[[Tensor], Tensor] = _unchanged
    condition: tuple[Tensor, ...] = ()
    generate: Callable[[Tensor], Tensor] = _not_given
    features: Callable[[Tensor], Tensor] = _not_given
    player: Player = "discriminator"

    def __post_init__(self) -> None:
        if self.clean_fake is None:
            object.__setattr__(self, "clean_fake", self.fake)

    def augmented_critic(self, images: Tensor) -> Tensor:
        """Logits (n,) of images (n, c, h, w) that nobody augmented, through the augmentation.

        What a gradient penalty differentiates, at ``batch.real`` and ``clean_fake``: with an augmentation T, D∘T is the
        function that is held smooth (StyleGAN2-ADA, R3GAN). The slope of D at T(x) is another number.
        """
        return self.critic(self.augment(images))

    def discriminate_real(self) -> Tensor:
        """Logits (n,) of ``real``, computed now where the phase did not need them."""
        return self.critic(self.real) if self.real_logits is None else self.real_logits

    def discriminate_fake(self) -> Tensor:
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
        side: The player it belongs to, or ``both`` (``context.player`` tells which). An instance may choose:
            set it in ``__init__``.
        label: What it is logged as; ganzoo sets it to the registered name.
        reads_features: Whether it calls ``context.features``. A discriminator without ``features`` is then refused.
        processes: How many processes train together, each on its share of every batch; ganzoo sets it. What counts
            images multiplies by it.
    """

    side: Player | Literal["both"] = "discriminator"
    label: str = "penalty"
    reads_features: ClassVar[bool] = False
    processes: int = 1
    weight: float | Tensor

    def __init__(self, *, weight: Weight = 1.0, every_steps: EverySteps = 1, **renamed: Any) -> None:
        super().__init__()
        name = type(self).__name__
        if "every" in renamed:
            raise GanzooError(
                f"{name} passes every= to Regularizer, which now calls it every_steps=.", "Rename it in the plugin."
            )
        if renamed:
            raise TypeError(f"{name} passes {', '.join(renamed)} to Regularizer, which takes weight and every_steps")
        if every_steps < 1:
            raise GanzooError(f"every_steps must be at least 1, not {every_steps}.")
        self.weight = weight
        self.every_steps = every_steps

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module] | None:
        """Called once, before training: make buffers as large as a network, or refuse one that does not fit.

        Args:
            spec: Image, latent and class sizes.
            networks: All networks, by role.

        Returns:
            Networks to add, by role (a classifier on the discriminator's features), or None. They learn in the phase
            of the regularizer's side; the discriminator's, where that is ``both``.

        Raises:
            GanzooError: A network lacks what the regularizer needs.
        """

    def penalty(self, context: RegularizerContext) -> Tensor | None:
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
        processes: How many processes train together, each on its share of every batch; ganzoo sets it. What counts
            images multiplies by it.
    """

    scheduled: ClassVar[tuple[str, ...]] = ()
    processes: int = 1

    def observe(self, real_logits: Tensor) -> None:
        """Called without gradients in each discriminator phase with the real logits (n,) (adaptive augmentation)."""


PlayerLoss = Callable[[Sequence[Regularizer], Networks, Batch], Losses]
ContextFn = Callable[[Networks, Batch], RegularizerContext]


class AdversarialGame(Objective):
    """A discriminator and a generator who take turns (Goodfellow et al. 2014, Algorithm 1).

    Args:
        loss: What each player minimises.
        regularizers: Terms added to either player's loss, by the name they are logged under.
        augmentation: Applied to everything the discriminator sees.
        share_fakes: The generator is judged on the images that the discriminator has just learnt from, which saves a
            pass through it. Otherwise each draws its own.
    """

    def __init__(
        self,
        loss: AdversarialLoss,
        regularizers: Sequence[Regularizer] = (),
        augmentation: Augmentation | None = None,
        share_fakes: bool = False,
    ) -> None:
        super().__init__()
        for term in regularizers:
            if term.side not in SIDES:
                raise GanzooError(
                    f"The regularizer '{term.label}' has the side {term.side!r}.", nearest(str(term.side), SIDES)
                )
        self.loss = loss
        self.regularizers = nn.ModuleList(regularizers)
        self.augmentation = augmentation
        self.share_fakes = share_fakes
        self._terms = tuple(regularizers)
        self._reads_features = any(term.reads_features for term in self._terms)
        self._added: dict[Regularizer, tuple[str, ...]] = {}

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Learn the sizes, and show the networks to the regularizers, who may add some of their own."""
        added = dict(super().bind(spec, networks))
        for term in self._terms:
            if term.reads_features and not hasattr(networks["discriminator"], "features"):
                raise GanzooError(
                    f"The regularizer '{term.label}' reads the discriminator's features, and "
                    f"'{type(networks['discriminator']).__module__}' shares none.",
                    "Use a discriminator with features(), such as 'dcgan' or 'mlp'.",
                )
            own = term.bind(spec, networks) or {}
            for role in own.keys() & (added.keys() | networks.keys()):
                raise GanzooError(
                    f"The regularizer '{term.label}' adds a network '{role}', and there is one already.",
                    "Name one of the two only once in the recipe.",
                )
            added.update(own)
            self._added[term] = tuple(own)
        return added

    def phases(self) -> Sequence[Phase]:
        """The discriminator's phase, then the generator's, each followed by its lazy regularizers' phases."""
        return [
            *self._player("discriminator", self.discriminator_loss, self.discriminator_context),
            *self._player("generator", self.generator_loss, self.generator_context),
        ]

    def _player(self, player: Player, loss: PlayerLoss, context_of: ContextFn) -> list[Phase]:
        terms = [term for term in self._terms if term.side in (player, "both")]
        every_step = [term for term in terms if term.every_steps == 1]

        def after(networks: Networks) -> None:
            for term in terms:
                term.after_step(networks)

        lazy = [
            Phase(
                f"{player}/{term.label}",
                self._trained(player, [term]),
                partial(_lazy_loss, term, context_of),
                every_steps=term.every_steps,
                after=after,
            )
            for term in terms
            if term.every_steps > 1
        ]
        trained = self._trained(player, every_step)
        main = Phase(player, trained, partial(loss, every_step), after=after, shares_fakes=self.share_fakes)
        return [main, *lazy]

    def _trained(self, player: Player, terms: Sequence[Regularizer]) -> tuple[str, ...]:
        """The player and the networks that its terms added."""
        learning = [term for term in terms if term.side == player or player == "discriminator"]
        return (player, *(role for term in learning for role in self._added.get(term, ())))

    def discriminator_loss(self, terms: Sequence[Regularizer], networks: Networks, batch: Batch) -> Losses:
        """The discriminator's loss on one batch, with its regularizers."""
        context = self.discriminator_context(networks, batch)
        if self._reads_features or not getattr(networks["discriminator"], "per_image", False):
            real, fake = context.critic(context.real), context.critic(context.fake)
        else:  # where each image is looked at alone, one pass is faster than two
            real, fake = context.critic(torch.cat([context.real, context.fake])).chunk(2)
        if self.augmentation is not None:
            self.augmentation.observe(real.detach())
        logged = {"real_logits": real.mean(), "fake_logits": fake.mean()}
        context = replace(context, real_logits=real, fake_logits=fake)
        return _total(self.loss.discriminator(real, fake), terms, context) | logged

    def generator_loss(self, terms: Sequence[Regularizer], networks: Networks, batch: Batch) -> Losses:
        """The generator's loss on one batch, with its regularizers."""
        context = self.generator_context(networks, batch)
        real = context.critic(context.real) if self.loss.pairs else None
        fake = context.critic(context.fake)
        context = replace(context, real_logits=real, fake_logits=fake)
        for term in terms:
            fake = term.select(fake)
        return _total(self.loss.generator(real, fake), terms, context)

    def discriminator_context(self, networks: Networks, batch: Batch) -> RegularizerContext:
        """What the discriminator is shown: fakes carry no graph."""
        with torch.no_grad():
            fake = self.fakes(networks, batch) if batch.fake is None else batch.fake.detach()
        return self._context("discriminator", networks, batch, fake)

    def generator_context(self, networks: Networks, batch: Batch) -> RegularizerContext:
        """What the generator is judged on: fakes carry its graph."""
        fake = self.fakes(networks, batch) if batch.fake is None else batch.fake
        return self._context("generator", networks, batch, fake)

    def _context(self, player: Player, networks: Networks, batch: Batch, fake: Tensor) -> RegularizerContext:
        condition = self.condition(batch.label)
        discriminator = networks["discriminator"]
        head: Callable[..., Tensor] = getattr(discriminator, "head", nn.Identity())
        seen: list[tuple[Tensor, Tensor]] = []

        def features(images: Tensor) -> Tensor:
            for known, found in seen:
                if known is images:
                    return found
            seen.append((images, discriminator.features(images, *condition)))  # type: ignore[operator]
            return seen[-1][1]

        def critic(images: Tensor) -> Tensor:
            if self._reads_features:
                logits = head(features(images), *condition)
            else:
                times = len(images) // len(batch.label)
                logits = discriminator(
                    images, *(condition if times == 1 else (label.repeat(times) for label in condition))
                )
            return logits.float()

        def generate(z: Tensor) -> Tensor:
            return self.generate_from(networks, z, batch.label, batch.columns(self.generates_from))

        augment = _unchanged if self.augmentation is None else self.augmentation
        return RegularizerContext(
            networks,
            critic,
            batch,
            augment(batch.real),
            augment(fake),
            clean_fake=fake,
            augment=augment,
            condition=condition,
            generate=generate,
            features=features,
            player=player,
        )


def _total(adversarial: Tensor, terms: Sequence[Regularizer], context: RegularizerContext) -> dict[str, Tensor]:
    total = adversarial
    penalties: dict[str, Tensor] = {}
    for term in terms:
        # Two terms may share a name (one regularizer with two settings): both count, the last is logged.
        penalty = term.penalty(context)
        if penalty is not None:
            total = total + term.weight * penalty
            penalties[term.label] = penalty
    return {"loss": total, **penalties}


def _lazy_loss(term: Regularizer, context_of: ContextFn, networks: Networks, batch: Batch) -> Losses:
    penalty = term.penalty(context_of(networks, batch))
    if penalty is None:
        raise GanzooError(f"The regularizer '{term.label}' has no penalty that could be lazy.", "Set every_steps: 1.")
    return {"loss": term.weight * term.every_steps * penalty, "penalty": penalty}
