"""The standard two-player objective: any loss on logits, with any regularizers and any augmentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from ganzoo.api.objective import (
    AdversarialLoss,
    Augmentation,
    Batch,
    Losses,
    Networks,
    Objective,
    Phase,
    Player,
    Regularizer,
    Turn,
)
from ganzoo.api.spec import Spec
from ganzoo.errors import GanzooError

PlayerLoss = Callable[[Sequence[Regularizer], Networks, Batch], Losses]
PlayerTurn = Callable[[Networks, Batch], Turn]


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
        """The discriminator's turn, then the generator's, each followed by its lazy regularizers' turns."""
        return [
            *self._player("discriminator", self.discriminator_loss, self.discriminator_turn),
            *self._player("generator", self.generator_loss, self.generator_turn),
        ]

    def _player(self, player: Player, loss: PlayerLoss, turn: PlayerTurn) -> list[Phase]:
        terms = [term for term in self._terms if term.side in (player, "both")]
        every_step = [term for term in terms if term.every_steps == 1]
        after = partial(_after_step, terms)
        lazy = [
            Phase(
                f"{player}/{term.label}",
                self._trained(player, [term]),
                partial(_lazy_loss, term, turn),
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
        turn = self.discriminator_turn(networks, batch)
        real, fake = self._judged(networks, turn)
        if self.augmentation is not None:
            self.augmentation.observe(real.detach())
        logged = {"real_logits": real.mean(), "fake_logits": fake.mean()}
        turn = replace(turn, real_logits=real, fake_logits=fake)
        return _total(self.loss.discriminator(real, fake), terms, turn) | logged

    def generator_loss(self, terms: Sequence[Regularizer], networks: Networks, batch: Batch) -> Losses:
        """The generator's loss on one batch, with its regularizers."""
        turn = self.generator_turn(networks, batch)
        real = turn.critic(turn.real) if self.loss.pairs else None
        fake = turn.critic(turn.fake)
        turn = replace(turn, real_logits=real, fake_logits=fake)
        for term in terms:
            fake = term.select(fake)
        return _total(self.loss.generator(real, fake), terms, turn)

    def _judged(self, networks: Networks, turn: Turn) -> tuple[Tensor, Tensor]:
        """Real and fake logits: of one pass where each image is looked at alone, which is faster than two."""
        if self._reads_features or not getattr(networks["discriminator"], "per_image", False):
            return turn.critic(turn.real), turn.critic(turn.fake)
        real, fake = turn.critic(torch.cat([turn.real, turn.fake])).chunk(2)
        return real, fake

    def discriminator_turn(self, networks: Networks, batch: Batch) -> Turn:
        """What the discriminator is shown: fakes carry no graph."""
        with torch.no_grad():
            fake = self.fakes(networks, batch) if batch.fake is None else batch.fake.detach()
        return self._turn("discriminator", networks, batch, fake)

    def generator_turn(self, networks: Networks, batch: Batch) -> Turn:
        """What the generator is judged on: fakes carry its graph."""
        fake = self.fakes(networks, batch) if batch.fake is None else batch.fake
        return self._turn("generator", networks, batch, fake)

    def _turn(self, player: Player, networks: Networks, batch: Batch, fake: Tensor) -> Turn:
        condition = self.condition(batch.label)
        discriminator = networks["discriminator"]
        head: Callable[..., Tensor] = getattr(discriminator, "head", nn.Identity())
        seen: list[tuple[Tensor, Tensor]] = []

        def features(images: Tensor) -> Tensor:
            for known, found in seen:
                if known is images:
                    return found
            found = _features(discriminator, images, condition)
            seen.append((images, found))
            return found

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

        change = self.augmentation or nn.Identity()
        return Turn(
            networks,
            critic,
            batch,
            change(batch.real),
            change(fake),
            condition=condition,
            generate=generate,
            features=features,
            player=player,
        )


def _features(discriminator: nn.Module, images: Tensor, condition: tuple[Tensor, ...]) -> Tensor:
    found: Tensor = discriminator.features(images, *condition)  # type: ignore[operator]
    return found


def _total(adversarial: Tensor, terms: Sequence[Regularizer], turn: Turn) -> dict[str, Tensor]:
    total = adversarial
    penalties: dict[str, Tensor] = {}
    for term in terms:
        # Two terms may share a name (one regularizer with two settings): both count, the last is logged.
        penalty = term.penalty(turn)
        if penalty is not None:
            total = total + term.weight * penalty
            penalties[term.label] = penalty
    return {"loss": total, **penalties}


def _lazy_loss(term: Regularizer, turn: PlayerTurn, networks: Networks, batch: Batch) -> Losses:
    penalty = term.penalty(turn(networks, batch))
    if penalty is None:
        raise GanzooError(f"The regularizer '{term.label}' has no penalty that could be lazy.", "Set every_steps: 1.")
    return {"loss": term.weight * term.every_steps * penalty, "penalty": penalty}


def _after_step(terms: Sequence[Regularizer], networks: Networks) -> None:
    for term in terms:
        term.after_step(networks)
