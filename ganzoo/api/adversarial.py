"""The adversarial objective: any loss on logits, with any regularizers and any augmentation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, cast, get_args

import torch
from torch import Tensor, nn

from ganzoo.api.bounds import EverySteps, Weight
from ganzoo.api.dataset import Images
from ganzoo.api.objective import Batch, Losses, Networks, Objective, Phase, Spec
from ganzoo.errors import GanzooError, foreign_code, nearest


class AdversarialLoss(nn.Module, ABC):
    """A loss on logits, which can be combined with any network, regularizer and augmentation.

    Logits arrive as float32 (n,), and each method returns a scalar.

    Attributes:
        pairs: Whether ``generator`` also needs the real logits (relativistic losses).
    """

    pairs: ClassVar[bool] = False

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's loss, from real logits (n,) and fake logits (n,)."""

    @abstractmethod
    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """The generator's loss, from fake logits (n,) and, if ``pairs`` is set, real logits (n,)."""


Player = Literal["discriminator", "generator"]
SIDES = (*get_args(Player), "both")  # of a regularizer


def _not_given(inputs: Tensor) -> Tensor:
    raise AssertionError("This context was created without the function that was called.")


class RegularizerContext:
    """What a regularizer receives from one phase. ``real``, ``fake`` and ``clean_fake`` are made when first read.

    Args:
        networks: All networks, by role.
        critic: The discriminator as a function of images alone, (n, c, h, w) to float32 logits (n,).
        batch: The phase's batch; ``batch.real`` holds the real images before augmentation.
        fakes: Generates ``clean_fake``.
        augment: The augmentation, from (n, c, h, w) to the same size, with new random draws in each call; the identity
            if the recipe has none.
        condition: Extra positional arguments of the networks: the batch's labels in a conditional recipe.
        generate: The generator as a function of latent codes alone, (n, latent) to images without augmentation.
        features: The discriminator's features (n, feature_width) as a function of images alone; those of ``real`` and
            ``fake`` are computed only once. For regularizers with ``reads_features``.
        player: The player whose loss the penalty is added to.

    Attributes:
        real_logits: Logits (n,) of ``real``; None if the phase did not compute them.
        fake_logits: Logits (n,) of ``fake``; None if the phase did not compute them.
    """

    real_logits: Tensor | None = None
    fake_logits: Tensor | None = None

    def __init__(
        self,
        networks: Networks,
        critic: Callable[[Tensor], Tensor],
        batch: Batch,
        fakes: Callable[[], Tensor],
        *,
        augment: Callable[[Tensor], Tensor] | None = None,
        condition: tuple[Tensor, ...] = (),
        generate: Callable[[Tensor], Tensor] = _not_given,
        features: Callable[[Tensor], Tensor] = _not_given,
        player: Player = "discriminator",
    ) -> None:
        self.networks, self.critic, self.batch, self._fakes = networks, critic, batch, fakes
        self.augment = augment or (lambda images: images)
        self.condition, self.generate, self.features, self.player = condition, generate, features, player
        self._made: dict[str, Tensor] = {}

    def _once(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        if name not in self._made:  # torch.compile cannot trace functools.cached_property
            self._made[name] = make()
        return self._made[name]

    @property
    def real(self) -> Tensor:
        """Real images (n, c, h, w) as the discriminator sees them, after augmentation."""
        return self._once("real", lambda: self.augment(self.batch.real))

    @property
    def clean_fake(self) -> Tensor:
        """Fake images (n, c, h, w) before augmentation; only in a generator phase do they carry its graph."""
        return self._once("clean_fake", self._fakes)

    @property
    def fake(self) -> Tensor:
        """The same fake images as the discriminator sees them, after augmentation."""
        return self._once("fake", lambda: self.augment(self.clean_fake))

    def augmented_critic(self, images: Tensor) -> Tensor:
        """Augment images (n, c, h, w), and return their logits (n,).

        Gradient penalties differentiate this function, at ``batch.real`` and ``clean_fake``: with an augmentation T,
        they keep D∘T smooth (StyleGAN2-ADA, R3GAN). The gradient of D at T(x) is a different quantity.
        """
        return self.critic(self.augment(images))

    def discriminate_real(self) -> Tensor:
        """Logits (n,) of ``real``, computed now if the phase did not compute them."""
        return self.critic(self.real) if self.real_logits is None else self.real_logits

    def discriminate_fake(self) -> Tensor:
        """Logits (n,) of ``fake``, computed now if the phase did not compute them."""
        return self.critic(self.fake) if self.fake_logits is None else self.fake_logits


class Regularizer(nn.Module):
    """Constrains one player: a term in its loss, a limit on its weights, or a selection among its samples.

    A loss term overrides ``penalty``; other constraints override the other methods. Keep state, such as running
    averages, in registered buffers that change in place, so that checkpoints include it.

    Args:
        weight: Factor of the penalty in the loss. A recipe may schedule it; it is then a scalar buffer that is updated
            in place before each step.
        every_steps: Lazy regularisation: if above 1, apply the penalty only on every ``every_steps``-th step,
            multiplied by that number and by the player's ``repeat``, in a separate optimizer step (Karras et al. 2020,
            StyleGAN2, section 3.1).

    Attributes:
        side: The player that it constrains, or ``both`` (``context.player`` is then the current one). To choose per
            instance, set it in ``__init__``.
        label: Its name in the logs; ganzoo sets it to the registered name.
        reads_features: Whether it calls ``context.features``; if so, ganzoo refuses a discriminator without
            ``features`` and ``head``.
        images_only: Whether it transforms images, for instance shifts them; if so, ganzoo refuses other datasets.
        processes: Number of processes that train together, each on its share of every batch; ganzoo sets it. Code that
            counts images must multiply by it.
    """

    side: Player | Literal["both"] = "discriminator"
    label: str = "penalty"
    reads_features: ClassVar[bool] = False
    images_only: ClassVar[bool] = False
    processes: int = 1
    weight: float | Tensor

    def __init__(self, *, weight: Weight = 1.0, every_steps: EverySteps = 1) -> None:
        super().__init__()
        self.weight = weight
        self.every_steps = every_steps

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module] | None:
        """Called once, before training: create buffers of a network's size, or refuse an unsuitable network.

        Args:
            spec: Image, latent and class sizes.
            networks: All networks, by role.

        Returns:
            Networks to add, by role (such as a classifier on the discriminator's features), or None. They are trained
            in the phase of the regularizer's side, or in the discriminator's if the side is ``both``.

        Raises:
            GanzooError: A network lacks what the regularizer needs.
        """

    def penalty(self, context: RegularizerContext) -> Tensor | None:
        """The penalty before weighting, a scalar, or None to add nothing to the loss."""
        return None

    def select(self, fake_logits: Tensor) -> Tensor:
        """The fake logits (n,) that the generator's loss receives; called only in the generator's phase.

        The result must have the same shape, because some losses compare real and fake logits pair by pair.
        """
        return fake_logits

    def after_step(self, networks: Networks) -> None:
        """Called without gradients after each step of its player (weight clipping)."""


class Augmentation(nn.Module):
    """A differentiable image transformation, applied to real and fake images before the discriminator sees them.

    ``forward`` takes images (n, c, h, w) in [-1, 1] and returns as many of the same size. Values may leave that range
    where clamping would stop gradients (noise, brightness).

    Attributes:
        images_only: Whether it makes sense only for images; if so, ganzoo refuses other datasets.
        scheduled: Float options that a recipe may schedule. Each is an attribute of the same name; if scheduled, it is
            a scalar buffer that is updated in place before each step.
        processes: Number of processes that train together, each on its share of every batch; ganzoo sets it. Code that
            counts images must multiply by it.
    """

    images_only: ClassVar[bool] = False
    scheduled: ClassVar[tuple[str, ...]] = ()
    processes: int = 1

    def observe(self, real_logits: Tensor) -> None:
        """Called without gradients in each discriminator phase with the real logits (n,) (adaptive augmentation)."""


class AdversarialGame(Objective):
    """A discriminator and a generator, trained alternately (Goodfellow et al. 2014, Algorithm 1).

    Args:
        loss: What each player minimises.
        regularizers: Constraints on either player, each logged under its ``label``.
        augmentation: Applied to all images that the discriminator sees.
        share_fakes: Train the generator on the same fakes as the discriminator, which saves a pass through the
            generator. Otherwise each phase generates its own.
        turns: Runs per step of each phase whose frequency the recipe changes; the others run once, lazy ones every
            ``every_steps``.
    """

    def __init__(
        self,
        loss: AdversarialLoss,
        regularizers: Sequence[Regularizer] = (),
        augmentation: Augmentation | None = None,
        share_fakes: bool = False,
        turns: Mapping[str, float] | None = None,
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
        self.turns = turns or {}
        self._terms = tuple(regularizers)
        self._added: dict[Regularizer, tuple[str, ...]] = {}

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Record the sizes, and bind the regularizers, which may add networks."""
        added = dict(super().bind(spec, networks))
        for what, part in [
            ("The augmentation", self.augmentation),
            *((f"The regularizer '{term.label}'", term) for term in self._terms),
        ]:
            if part is not None and part.images_only and not isinstance(spec.modality, Images):
                raise GanzooError(
                    f"{what} transforms images, but the dataset has {spec.modality.name}.", "Remove it from the recipe."
                )
        for term in self._terms:
            for name in ("features", "head") if term.reads_features else ():
                if not hasattr(networks["discriminator"], name):
                    raise GanzooError(
                        f"The regularizer '{term.label}' reads the discriminator's features, and "
                        f"'{type(networks['discriminator']).__module__}' has no '{name}'.",
                        "Use a discriminator with features() and head, such as 'dcgan' or 'mlp'.",
                    )
            with foreign_code(
                f"The regularizer '{term.label}' could not be bound to its networks", "Choose others or fix its bind()."
            ):
                own = dict(term.bind(spec, networks) or {})
            for role in own.keys() & (added.keys() | networks.keys()):
                raise GanzooError(
                    f"The regularizer '{term.label}' adds a network '{role}', but one already exists.",
                    "Remove one of the two, or rename one of the networks.",
                )
            added.update(own)
            self._added[term] = tuple(own)
        return added

    def phases(self) -> Sequence[Phase]:
        """The discriminator's phase, then the generator's, each followed by its lazy regularizers' phases.

        Raises:
            GanzooError: ``bind`` was not called before.
        """
        if not hasattr(self, "spec"):
            raise GanzooError("The AdversarialGame is not bound to its networks.", "Call bind(spec, networks) first.")
        return [
            *self._player("discriminator", self.discriminator_loss),
            *self._player("generator", self.generator_loss),
        ]

    def _player(self, player: Player, loss: Callable[[Sequence[Regularizer], Networks, Batch], Losses]) -> list[Phase]:
        terms = [term for term in self._terms if term.side in (player, "both")]
        every_step = [term for term in terms if term.every_steps == 1]

        def after(networks: Networks) -> None:
            for term in terms:
                term.after_step(networks)

        trained = self._trained(player, every_step)
        phases = [Phase(player, trained, partial(loss, every_step), after=after, shares_fakes=self.share_fakes)]
        for term in terms:
            if term.every_steps > 1:
                name = f"{player}/{term.label}"
                # As much in total as in the player's own updates, however many of those a step has.
                factor = term.every_steps * self.turns.get(player, 1) / self.turns.get(name, 1)
                lazy = partial(self._lazy_loss, player, term, factor)
                phases.append(
                    Phase(name, self._trained(player, [term]), lazy, every_steps=term.every_steps, after=after)
                )
        return phases

    def _trained(self, player: Player, terms: Sequence[Regularizer]) -> tuple[str, ...]:
        """The player and the networks that its terms added."""
        learning = [term for term in terms if term.side == player or player == "discriminator"]
        return (player, *(role for term in learning for role in self._added.get(term, ())))

    def discriminator_loss(self, terms: Sequence[Regularizer], networks: Networks, batch: Batch) -> Losses:
        """The discriminator's loss on one batch, with its regularizers."""
        context = self.context("discriminator", terms, networks, batch)
        if any(term.reads_features for term in terms) or not getattr(networks["discriminator"], "per_image", False):
            real, fake = context.critic(context.real), context.critic(context.fake)
        else:  # if the discriminator judges each image separately, one pass is faster than two
            real, fake = context.critic(torch.cat([context.real, context.fake])).chunk(2)
        if self.augmentation is not None:
            self.augmentation.observe(real.detach())
        logged = {"real_logits": real.mean(), "fake_logits": fake.mean()}
        context.real_logits, context.fake_logits = real, fake
        return _total(self.loss.discriminator(real, fake), terms, context) | logged

    def generator_loss(self, terms: Sequence[Regularizer], networks: Networks, batch: Batch) -> Losses:
        """The generator's loss on one batch, with its regularizers."""
        context = self.context("generator", terms, networks, batch)
        real = context.critic(context.real) if self.loss.pairs else None
        fake = context.critic(context.fake)
        context.real_logits, context.fake_logits = real, fake
        for term in terms:
            fake = term.select(fake)
        return _total(self.loss.generator(real, fake), terms, context)

    def logits(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """The discriminator's logits (n,) of images as it sees them in training, without augmentation: for metrics."""
        return cast("Tensor", networks["discriminator"](images, *self.condition(label)).float())

    def context(
        self, player: Player, terms: Sequence[Regularizer], networks: Networks, batch: Batch
    ) -> RegularizerContext:
        """The context of a player's phase with these regularizers; only the generator's fakes carry its graph."""
        discriminator: Any = networks["discriminator"]
        condition, columns = self.condition(batch.label), batch.columns(self.generates_from)
        shares_features = any(term.reads_features for term in terms)
        known: dict[Tensor, Tensor] = {}

        def labels(images: Tensor) -> Sequence[Tensor]:
            times = len(images) // len(batch.label)  # 2 if real images and fakes are judged in one pass
            return condition if times == 1 else [label.repeat(times) for label in condition]

        def features(images: Tensor) -> Tensor:
            if images not in known:  # a tensor's hash is its identity
                known[images] = discriminator.features(images, *labels(images))
            return known[images]

        def critic(images: Tensor) -> Tensor:
            if shares_features:
                return cast("Tensor", discriminator.head(features(images), *labels(images)).float())
            return cast("Tensor", discriminator(images, *labels(images)).float())

        def fakes() -> Tensor:
            # Even if a regularizer reads them first where it needs no gradients itself.
            with torch.set_grad_enabled(player == "generator"):
                fake = self.fakes(networks, batch) if batch.fake is None else batch.fake
            return fake if player == "generator" else fake.detach()

        return RegularizerContext(
            networks,
            critic,
            batch,
            fakes,
            augment=self.augmentation,
            condition=condition,
            generate=lambda z: self.generate_from(networks, z, batch.label, columns),
            features=features,
            player=player,
        )

    def _lazy_loss(self, player: Player, term: Regularizer, factor: float, networks: Networks, batch: Batch) -> Losses:
        penalty = term.penalty(self.context(player, [term], networks, batch))
        if penalty is None:
            raise GanzooError(f"The regularizer '{term.label}' has no penalty to apply lazily.", "Set every_steps: 1.")
        return {"loss": term.weight * factor * penalty, "penalty": penalty}


def _total(total: Tensor, terms: Sequence[Regularizer], context: RegularizerContext) -> dict[str, Tensor]:
    penalties: dict[str, Tensor] = {}
    for term in terms:
        # Two terms may share a name (one regularizer with two settings): both are added, only the last is logged.
        penalty = term.penalty(context)
        if penalty is not None:
            total = total + term.weight * penalty
            penalties[term.label] = penalty
    return {**penalties, "loss": total}
