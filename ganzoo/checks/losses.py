"""What every registered loss, regularizer and augmentation must do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.api.game import AdversarialGame
from ganzoo.api.objective import AdversarialLoss, Augmentation, Objective, Regularizer
from ganzoo.checks import toys as players
from ganzoo.checks.steps import AS_BUFFER, hidden_state, require_no_hidden_state, turns, without_values
from ganzoo.checks.verdict import Broken, blaming, called, require
from ganzoo.recipes.loading import load_recipe
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import Entry

SIZES = (0.0, 1.0, 1e4)
BY_FORMULA = "Use the numerically safe form, such as softplus or logsigmoid, and average over the batch."
AVERAGE = "Average over the batch with .mean(), and do not sum."
IN_STEPS = "Draw with torch's own generator, which is seeded."
EARLY = "In a lazy turn no logits are there yet: use turn.judge_real() and turn.judge_fake()."
BASE_OPTIONS = "Pass weight and every on to Regularizer.__init__."
BASE = {"loss": (AdversarialLoss, Objective), "regularizer": (Regularizer,), "augmentation": (Augmentation,)}


def made(entry: Entry[Any], **options: Any) -> Any:
    """One with these options and its defaults.

    Raises:
        Broken: It cannot be built, or is of another class than its kind needs.
    """
    with blaming(entry, "to be built", "Its defaults must be enough."):
        thing = entry.create(**entry.check(options))
    bases = BASE[entry.kind]
    require(
        isinstance(thing, bases),
        f"{called(entry)} is of type {type(thing).__name__}.",
        f"Inherit from ganzoo.{' or ganzoo.'.join(base.__name__ for base in bases)}.",
    )
    return thing


def on_logits(entry: Entry[Any]) -> bool:
    """Whether it is a loss on logits, and not an objective with phases of its own."""
    return isinstance(made(entry), AdversarialLoss)


def finite(entry: Entry[Any]) -> None:
    """A loss on logits is a finite scalar with finite gradients, however large the logits."""
    for size in SIZES if on_logits(entry) else ():
        finite_at(entry, size)


def finite_at(entry: Entry[Any], size: float) -> None:
    """``finite`` with logits around plus and minus ``size``."""
    loss = made(entry)
    for sign in (1, -1):
        real, fake = logits(sign * size), logits(-sign * size)
        for player, value in _both(entry, loss, real, fake).items():
            what = f"{called(entry)} gives the {player} at logits around {size:g}"
            require_scalar(value, what)
            with blaming(entry, "to be differentiated", "Do not detach the logits."):
                slopes = torch.autograd.grad(value, (real, fake), allow_unused=True)
            finite = all(bool(slope.isfinite().all()) for slope in slopes if slope is not None)
            require(finite, f"{what} a gradient that is not finite.", BY_FORMULA)


def require_scalar(value: Tensor, what: str) -> None:
    """Raise unless a loss is one finite float32 number.

    Raises:
        Broken: It is not.
    """
    require(isinstance(value, Tensor), f"{what} a loss of type {type(value).__name__}.", "Return a tensor.")
    require(value.shape == (), f"{what} a loss of shape {tuple(value.shape)}.", AVERAGE)
    require(value.dtype == torch.float32, f"{what} a loss of type {value.dtype}.", "Logits are float32; keep them so.")
    require(bool(value.isfinite()), f"{what} a loss of {value.item():g}.", BY_FORMULA)


def directions(entry: Entry[Any]) -> None:
    """Large logits mean real: a fooled discriminator is pushed right, and a losing generator up.

    A winning generator need not be pushed any further: some losses want D to be undecided, not fooled.
    """
    if not on_logits(entry):
        return
    loss = made(entry)
    real, fake = logits(-0.5), logits(0.5)
    on_real, on_fake = torch.autograd.grad(_both(entry, loss, real, fake)["discriminator"], (real, fake))
    (on_generator,) = torch.autograd.grad(_both(entry, loss, fake, real)["generator"], real)
    wrong = {
        "the discriminator's logit of a real image down": on_real.sum() >= 0,
        "the discriminator's logit of a fake up": on_fake.sum() <= 0,
        "the generator's logit down": on_generator.sum() >= 0,
    }
    for what, is_so in wrong.items():
        require(
            not is_so, f"{called(entry)} pushes {what}, or not at all.", "Large logits mean real; turn the sign around."
        )


def batch_size(entry: Entry[Any]) -> None:
    """A loss does not depend on the batch size."""
    if not on_logits(entry):
        return
    loss = made(entry)
    real, fake = torch.randn(8), torch.randn(8)
    once, twice = _both(entry, loss, real, fake), _both(entry, loss, real.repeat(2), fake.repeat(2))
    for player, value in once.items():
        require(
            torch.allclose(value, twice[player], atol=1e-5),
            f"{called(entry)} gives the {player} another loss when the batch is doubled.",
            AVERAGE,
        )


def tried(entry: Entry[Any], zoo: Zoo) -> None:
    """An objective with phases of its own is named by a recipe, which is where it is checked."""
    if on_logits(entry):
        return
    named = []
    for recipe in zoo.recipes:
        try:
            named.append(load_recipe(recipe.name, zoo).loss.name)
        except Exception:  # noqa: S112 - that recipe's own check says what is wrong with it
            continue
    require(
        entry.name in named,
        f"{called(entry)} has phases of its own, and no recipe names it.",
        "Register a recipe with it: its networks are not ganzoo's to guess.",
    )


def capturable(entry: Entry[Any]) -> None:
    """Two steps never wait for the device."""
    if entry.kind == "loss" and not on_logits(entry):
        return  # checked in its recipe
    with without_values(entry):
        game, networks = _in_game(entry)
        for _ in turns(game, networks, players.SPEC):
            pass


def round_trip(entry: Entry[Any]) -> None:
    """Whatever state it has is in buffers, and goes on as it was after a checkpoint."""
    if entry.kind == "loss" and not on_logits(entry):
        return  # checked in its recipe
    (game, networks), (other, others) = _in_game(entry), _in_game(entry)
    before = hidden_state(game)
    _train(entry, game, networks)
    require_no_hidden_state(entry, before, game)
    with blaming(entry, "to load its own state_dict", AS_BUFFER):
        other.load_state_dict(game.state_dict())
    others.load_state_dict(networks.state_dict())
    same = _train(entry, game, networks) == _train(entry, other, others)
    require(same, f"{called(entry)} goes on differently after its state was saved and loaded.", AS_BUFFER)


def deterministic(entry: Entry[Any]) -> None:
    """One seed gives one loss."""
    if entry.kind == "loss" and not on_logits(entry):
        return  # checked in its recipe
    same = _train(entry, *_in_game(entry)) == _train(entry, *_in_game(entry))
    require(same, f"{called(entry)} gives two losses from one seed.", IN_STEPS)


def turn(entry: Entry[Any], **options: Any) -> tuple[dict[str, Tensor], nn.ModuleDict]:
    """One turn of the side that a regularizer joins: what it logged, and the networks with their gradients.

    Raises:
        Broken: It raises.
    """
    every_step = {"every_steps": 1} if is_lazy(entry) else {}  # some are lazy unless told otherwise
    regularizer = made(entry, **{**every_step, **options})
    regularizer.label = entry.name
    game, networks = _bound(entry, regularizer)
    phase = next(p for p in game.phases() if regularizer.side in (p.name.split("/")[0], "both"))
    with blaming(entry, "in a turn of its player", "See ganzoo.Turn for what a regularizer is shown."):
        losses = dict(phase.loss(dict(networks.items()), players.batch()))
        losses["loss"].backward()  # type: ignore[no-untyped-call]
    return losses, networks


def is_term(entry: Entry[Any]) -> bool:
    """Whether a regularizer has a weight."""
    return "weight" in entry.options.types


def is_lazy(entry: Entry[Any]) -> bool:
    """Whether a regularizer can be applied every so many steps."""
    return is_term(entry) and "every_steps" in entry.options.types


def penalty(entry: Entry[Any]) -> None:
    """A penalty is a finite scalar, and so are its gradients; what has no weight adds no term."""
    losses, networks = turn(entry)
    require(
        (entry.name in losses) == is_term(entry),
        f"{called(entry)} has {'a' if is_term(entry) else 'no'} weight, but "
        f"{'no penalty' if is_term(entry) else 'a penalty'}.",
        "A term of the loss takes weight and overrides penalty(); what is no term does neither.",
    )
    if not is_term(entry):
        return
    require_scalar(losses[entry.name], f"{called(entry)} gives its player")
    found = [p.grad for p in networks.parameters() if p.grad is not None]
    finite = bool(found) and all(bool(gradient.isfinite().all()) for gradient in found)
    require(finite, f"{called(entry)} gives gradients that are not finite, or none.", BY_FORMULA)


def weight(entry: Entry[Any]) -> None:
    """The weight is ganzoo's to apply."""
    if not is_term(entry):
        return
    (light, _), (heavy, _) = turn(entry, weight=2.0), turn(entry, weight=5.0)
    require(
        torch.equal(light[entry.name], heavy[entry.name])
        and torch.allclose(heavy["loss"] - light["loss"], 3 * light[entry.name], atol=1e-5),
        f"{called(entry)} applies its weight itself.",
        "penalty() returns the term before weighting; ganzoo multiplies.",
    )


def lazy(entry: Entry[Any]) -> None:
    """It can be applied every so many steps, as much more strongly."""
    if not is_lazy(entry):
        return
    game, networks = _bound(entry, made(entry, weight=2.0, every_steps=4))
    late = [phase for phase in game.phases() if "/" in phase.name]
    require(bool(late), f"{called(entry)} has no turn of its own with every_steps: 4.", BASE_OPTIONS)
    with blaming(entry, "when it is lazy", EARLY):
        losses = late[0].loss(dict(networks.items()), players.batch())
    require(
        late[0].every_steps == 4 and torch.allclose(losses["loss"], 8 * losses["penalty"]),
        f"{called(entry)} is not applied every_steps times as strongly when it is lazy.",
        BASE_OPTIONS,
    )


def augmented(entry: Entry[Any]) -> None:
    """An augmentation keeps the shape and lets finite gradients through, at any size."""
    for shape in ((1, 28, 28), (3, 32, 32)):
        augmented_at(entry, shape)


def augmented_at(entry: Entry[Any], shape: tuple[int, int, int]) -> None:
    """``augmented`` for one shape of images."""
    augmentation = made(entry)
    images = (torch.rand(4, *shape) * 2 - 1).requires_grad_()
    with blaming(entry, f"on images of {shape}", "Take sizes from the images."):
        changed = augmentation(images)
    require(
        changed.shape == images.shape,
        f"{called(entry)} returns shape {tuple(changed.shape)} for images of shape {tuple(images.shape)}.",
        "An augmentation keeps the shape.",
    )
    with blaming(entry, "to be differentiated", "Every change must be differentiable."):
        changed.sum().backward()
        augmentation.observe(torch.randn(4))
    reached = images.grad is not None and bool(images.grad.isfinite().all())
    require(reached, f"{called(entry)} lets no finite gradient through.", "Do not detach, round or divide by zero.")


def logits(mean: float, n: int = 16) -> Tensor:
    """Logits (n,) around a mean, that gradients are asked for."""
    return (mean + 0.1 * torch.randn(n)).requires_grad_()


def _both(entry: Entry[Any], loss: AdversarialLoss, real: Tensor, fake: Tensor) -> Mapping[str, Tensor]:
    with blaming(entry, "on logits of shape (n,)", "Each method takes logits (n,) and returns a scalar."):
        return {
            "discriminator": loss.discriminator(real, fake),
            "generator": loss.generator(real if loss.pairs else None, fake),
        }


def _in_game(entry: Entry[Any]) -> tuple[AdversarialGame, nn.ModuleDict]:
    thing = made(entry)
    if entry.kind == "loss":
        return players.game(loss=thing)
    if entry.kind == "augmentation":
        return players.game(augmentation=thing)
    return _bound(entry, thing)


def _bound(entry: Entry[Any], regularizer: Regularizer) -> tuple[AdversarialGame, nn.ModuleDict]:
    with blaming(entry, "to be bound to a game", "bind(spec, networks) sees generator and discriminator."):
        return players.game(regularizers=(regularizer,))


def _train(entry: Entry[Any], game: AdversarialGame, networks: nn.ModuleDict) -> list[float]:
    players.seed(11)
    with blaming(entry, "in a step of training", "See ganzoo.Turn and ganzoo.Batch for what is given."):
        found = [losses["loss"].detach() for _, losses in turns(game, networks, players.SPEC, steps=3)]
    if not all(bool(loss.isfinite()) for loss in found):
        raise Broken(f"{called(entry)} gives a loss that is not finite within three steps.", BY_FORMULA)
    return [float(loss) for loss in found]
