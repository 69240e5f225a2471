"""What every registered loss, regularizer and augmentation must do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.api.adversarial import SIDES, AdversarialGame, AdversarialLoss, Regularizer
from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import Entry
from ganzoo_checks.entries import CheckFailed, described, made, plugin_code, require
from ganzoo_checks.toys import (
    AS_BUFFER,
    ODD,
    SEEDED,
    SHAPES,
    SPEC,
    Shape,
    fake_device,
    hidden_words,
    on_device,
    require_no_hidden_state,
    seed,
    take_steps,
    toy_batch,
    toy_game,
)

SIZES = (0.0, 1.0, 1e4)
"""Magnitudes of logits."""
STABLE_FORM = "Use a numerically stable form, such as softplus or logsigmoid, and average over the batch."
AVERAGE = "Average over the batch with .mean(); do not sum."
LAZY_LOGITS = "A lazy phase has no logits yet: call context.discriminate_real() and context.discriminate_fake()."
NO_GRADIENT = (
    "Take gradients at images with create_graph=True, as ganzoo.functional.input_gradient does, and set side to the "
    "player that the penalty constrains."
)
BASE_OPTIONS = "Pass weight and every_steps to Regularizer.__init__."


def create(entry: Entry[Any], **options: Any) -> Any:
    """A new instance with these options, and defaults for the rest.

    Raises:
        CheckFailed: It does not build, has the wrong base class, or is a regularizer with an unknown side.
    """
    thing = made(entry, "to build", "Give every option a default that works.", **options)
    if entry.kind == "regularizer":
        require(
            thing.side in SIDES,
            f"{described(entry)} has side = {thing.side!r}.",
            f"Set it to one of {', '.join(map(repr, SIDES))}.",
        )
    return thing


def on_logits(entry: Entry[Any]) -> bool:
    """Whether it is a loss on logits, rather than an objective with its own phases."""
    return isinstance(create(entry), AdversarialLoss)


def finite(entry: Entry[Any]) -> None:
    """A loss is a finite scalar with finite gradients, however large the logits."""
    for size in SIZES if on_logits(entry) else ():
        finite_at(entry, size)


def finite_at(entry: Entry[Any], size: float) -> None:
    """``finite`` for logits around plus and minus ``size``."""
    loss = create(entry)
    for sign in (1, -1):
        real, fake = logits(sign * size), logits(-sign * size)
        where = f" at logits around {size:g}"
        for player, value in _losses(entry, loss, real, fake, where).items():
            finite = all(bool(gradient.isfinite().all()) for gradient in _gradients(entry, value, real, fake))
            require(finite, f"{described(entry)}{where} gives the {player} a gradient that is not finite.", STABLE_FORM)


def require_scalar(value: Tensor, what: str) -> None:
    """Fail unless a loss is a finite float32 scalar.

    Args:
        value: The loss.
        what: The start of the sentence: "The loss 'x' gives the generator".

    Raises:
        CheckFailed: The loss is not.
    """
    require(isinstance(value, Tensor), f"{what} a loss of type {type(value).__name__}.", "Return a tensor.")
    require(value.shape == (), f"{what} a loss of shape {tuple(value.shape)}.", AVERAGE)
    require(
        value.dtype == torch.float32,
        f"{what} a loss of type {value.dtype}.",
        "Logits are float32; do not change the dtype.",
    )
    require(bool(value.isfinite()), f"{what} a loss of {value.item():g}.", STABLE_FORM)


def directions(entry: Entry[Any]) -> None:
    """Large logits mean real: a fooled discriminator is corrected, and a losing generator raises its logit.

    A winning generator may stop: some losses are lowest where D is undecided.
    """
    if not on_logits(entry):
        return
    loss = create(entry)
    real, fake = logits(-0.5), logits(0.5)
    on_real, on_fake = _gradients(entry, _losses(entry, loss, real, fake)["discriminator"], real, fake)
    (on_generator,) = _gradients(entry, _losses(entry, loss, fake, real)["generator"], real)
    wrong = {
        "the discriminator's logit of a real image down": on_real.sum() >= 0,
        "the discriminator's logit of a fake up": on_fake.sum() <= 0,
        "the generator's logit down": on_generator.sum() >= 0,
    }
    for what, is_so in wrong.items():
        require(
            not is_so, f"{described(entry)} pushes {what}, or not at all.", "Large logits mean real; flip the sign."
        )


def batch_size(entry: Entry[Any]) -> None:
    """Doubling the batch leaves the loss unchanged, except that an unbiased estimate divides by n - 1 instead of n."""
    if not on_logits(entry):
        return
    loss = create(entry)
    real, fake = torch.randn(256), torch.randn(256)
    once, twice = _losses(entry, loss, real, fake), _losses(entry, loss, real.repeat(2), fake.repeat(2))
    for player, value in once.items():
        require(
            torch.allclose(value, twice[player], rtol=0.01, atol=0.01),
            f"{described(entry)} gives the {player} a different loss for a doubled batch.",
            AVERAGE,
        )


def used_by_a_recipe(entry: Entry[Any], zoo: Zoo) -> None:
    """Some recipe uses each objective with its own phases; the recipe's checks cover it."""
    if on_logits(entry):
        return
    used = []
    for recipe in zoo.recipes:
        try:
            used.append(load_recipe(recipe.name, zoo).loss.name)
        except Exception:  # noqa: S112 - the recipe's own check reports this
            continue
    require(
        entry.name in used,
        f"{described(entry)} has its own phases, but no recipe uses it.",
        "Register a recipe that uses it: ganzoo cannot guess its networks.",
    )


def capturable(entry: Entry[Any]) -> None:
    """Two steps stay on the device, and never wait for it."""
    if entry.kind == "loss" and not on_logits(entry):
        return  # its recipe's checks cover it
    game, networks = _game(entry)
    with fake_device(entry) as device:
        on_device(game, device)
        on_device(networks, device)
        for _ in take_steps(game, networks, SPEC, device=device):
            pass


def round_trip(entry: Entry[Any]) -> None:
    """Training resumes from a checkpoint to the same losses."""
    if entry.kind == "loss" and not on_logits(entry):
        return  # its recipe's checks cover it
    (game, networks), (other, others) = _game(entry), _game(entry)
    before = hidden_words(game)
    _train(entry, game, networks)
    require_no_hidden_state(entry, before, game)
    with plugin_code(entry, "to load its own state_dict", AS_BUFFER):
        other.load_state_dict(game.state_dict())
        others.load_state_dict(networks.state_dict())
    same = _train(entry, game, networks) == _train(entry, other, others)
    require(same, f"{described(entry)} trains differently after a checkpoint.", AS_BUFFER)


def deterministic(entry: Entry[Any]) -> None:
    """The same seed gives the same losses."""
    if entry.kind == "loss" and not on_logits(entry):
        return  # its recipe's checks cover it
    same = _train(entry, *_game(entry)) == _train(entry, *_game(entry))
    require(same, f"{described(entry)} gives different losses from the same seed.", SEEDED)


def run_phase(entry: Entry[Any], /, n: int = 8, **options: Any) -> tuple[dict[str, Tensor], nn.ModuleDict]:
    """Run the phase that a regularizer joins, on a batch of n.

    Returns:
        The logged losses, and the networks with their gradients.

    Raises:
        CheckFailed: The regularizer raises an exception, or its penalty is not a finite scalar with a gradient for the
            networks that the phase trains.
    """
    every_step = {"every_steps": 1} if is_lazy(entry) else {}  # some are lazy by default
    regularizer = create(entry, **{**every_step, **options})
    regularizer.label = entry.name
    game, networks = _regularized_game(entry, regularizer)
    phase = next(p for p in game.phases() if regularizer.side in (p.name.split("/")[0], "both"))
    with plugin_code(entry, "in a phase", "See ganzoo.RegularizerContext for what a regularizer sees."):
        losses = dict(phase.loss(dict(networks.items()), toy_batch(n)))
        if entry.name in losses:
            penalty = losses[entry.name]
            require_scalar(penalty, f"{described(entry)} returns")
            trained = [p for role in phase.trains for p in networks[role].parameters()]
            gradients: tuple[Tensor | None, ...] = ()
            if penalty.requires_grad:
                gradients = torch.autograd.grad(penalty, trained, retain_graph=True, allow_unused=True)
            require(
                any(gradient is not None for gradient in gradients),  # zeros will do
                f"{described(entry)} has a penalty without a gradient for the {phase.name}.",
                NO_GRADIENT,
            )
        losses["loss"].backward()  # type: ignore[no-untyped-call]
    return losses, networks


def is_term(entry: Entry[Any]) -> bool:
    """Whether a regularizer has a weight."""
    return "weight" in entry.options.types


def is_lazy(entry: Entry[Any]) -> bool:
    """Whether a regularizer can skip steps."""
    return is_term(entry) and "every_steps" in entry.options.types


def penalty(entry: Entry[Any]) -> None:
    """A penalty is a finite scalar with finite gradients; a regularizer without a weight adds no term."""
    losses, networks = run_phase(entry)
    if not is_term(entry):
        sentence, remedy = "has no weight, but a penalty", "Let its constructor take weight, and pass it on."
        require(entry.name not in losses, f"{described(entry)} {sentence}.", remedy)
        return
    require(
        entry.name in losses,
        f"{described(entry)} has a weight, but no penalty.",
        "Override penalty(). If it adds no term to the loss, write a constructor without weight and every_steps.",
    )
    gradients = [p.grad for p in networks.parameters() if p.grad is not None]
    finite = bool(gradients) and all(bool(gradient.isfinite().all()) for gradient in gradients)
    require(finite, f"{described(entry)} gives no gradients, or gradients that are not finite.", STABLE_FORM)


def averaged(entry: Entry[Any]) -> None:
    """A penalty does not grow with the batch."""
    if not is_term(entry):
        return
    (few, _), (many, _) = run_phase(entry, 8), run_phase(entry, 64)
    if entry.name not in few:
        return  # ``penalty`` reports this
    # A sum is 8 times as large. Different images, random draws and comparisons between images change it less.
    require(
        bool(many[entry.name].abs() <= 4 * few[entry.name].abs() + 1e-6),
        f"{described(entry)} has a penalty that grows with the batch.",
        AVERAGE,
    )


def weight(entry: Entry[Any]) -> None:
    """The regularizer leaves it to ganzoo to apply the weight."""
    if not is_term(entry):
        return
    # Some weights are fractions, which are less than 1.
    (light, _), (heavy, _) = run_phase(entry, weight=0.25), run_phase(entry, weight=0.75)
    if entry.name not in light:
        return  # ``penalty`` reports this
    require(
        torch.equal(light[entry.name], heavy[entry.name])
        and torch.allclose(heavy["loss"] - light["loss"], 0.5 * light[entry.name], atol=1e-5),
        f"{described(entry)} applies its weight itself.",
        "Return the unweighted term from penalty(); ganzoo multiplies.",
    )


def lazy(entry: Entry[Any]) -> None:
    """Applied every k-th step, it is k times as strong."""
    if not is_lazy(entry):
        return
    game, networks = _regularized_game(entry, create(entry, weight=0.5, every_steps=4))
    lazy_phases = [phase for phase in game.phases() if "/" in phase.name]
    require(bool(lazy_phases), f"{described(entry)} has no separate phase with every_steps: 4.", BASE_OPTIONS)
    with plugin_code(entry, "with every_steps: 4", LAZY_LOGITS):
        losses = lazy_phases[0].loss(dict(networks.items()), toy_batch())
        require_scalar(losses["penalty"], f"{described(entry)} returns")
    require(
        lazy_phases[0].every_steps == 4 and torch.allclose(losses["loss"], 2 * losses["penalty"]),
        f"{described(entry)} is not four times as strong with every_steps: 4.",
        BASE_OPTIONS,
    )


def augmentation(entry: Entry[Any]) -> None:
    """An augmentation keeps the shape, and passes gradients that are finite and not all zero, at any size."""
    for shape in (*SHAPES, ODD):
        augmentation_at(entry, shape)


def augmentation_at(entry: Entry[Any], shape: Shape) -> None:
    """``augmentation`` for one image shape."""
    augmentation = create(entry)
    images = (torch.rand(4, *shape) * 2 - 1).requires_grad_()
    with plugin_code(entry, f"on images of {shape}", "Take sizes from the images."):
        changed = augmentation(images)
    require(
        isinstance(changed, Tensor),
        f"{described(entry)} returns a {type(changed).__name__}, not a tensor.",
        "Return the changed images.",
    )
    require(
        changed.shape == images.shape,
        f"{described(entry)} returns shape {tuple(changed.shape)} for images of shape {tuple(images.shape)}.",
        "Keep the shape.",
    )
    with plugin_code(entry, "in the backward pass", "Use differentiable operations only."):
        (changed * torch.randn_like(changed)).sum().backward()
        augmentation.observe(torch.randn(4))
    reached = images.grad is not None and bool(images.grad.any()) and bool(images.grad.isfinite().all())
    sentence = f"{described(entry)} passes no gradient on to the images, or one that is not finite."
    require(reached, sentence, "Do not detach, round or divide by zero.")


def logits(mean: float, n: int = 16) -> Tensor:
    """Logits (n,) around a mean, with requires_grad."""
    return (mean + 0.1 * torch.randn(n)).requires_grad_()


def _losses(
    entry: Entry[Any], loss: AdversarialLoss, real: Tensor, fake: Tensor, where: str = ""
) -> Mapping[str, Tensor]:
    """Each player's loss, checked to be a finite scalar; ``where`` describes the logits in the error message."""
    remedy = "Take logits (n,) and return a scalar."
    if not loss.pairs:
        remedy += " generator() gets real=None, unless the class sets pairs = True."
    with plugin_code(entry, "on logits of shape (n,)", remedy):
        losses = {
            "discriminator": loss.discriminator(real, fake),
            "generator": loss.generator(real if loss.pairs else None, fake),
        }
    for player, value in losses.items():
        require_scalar(value, f"{described(entry)}{where} gives the {player}")
    return losses


def _gradients(entry: Entry[Any], loss: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """The gradients of a loss with respect to logits; zero for logits that it does not use."""
    with plugin_code(entry, "in the backward pass", "Do not detach the logits."):
        return torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)


def _game(entry: Entry[Any]) -> tuple[AdversarialGame, nn.ModuleDict]:
    thing = create(entry)
    if entry.kind == "loss":
        return toy_game(loss=thing)
    if entry.kind == "augmentation":
        return toy_game(augmentation=thing)
    return _regularized_game(entry, thing)


def _regularized_game(entry: Entry[Any], regularizer: Regularizer) -> tuple[AdversarialGame, nn.ModuleDict]:
    with plugin_code(entry, "in bind", "bind(spec, networks) gets the generator and the discriminator."):
        return toy_game(regularizers=(regularizer,))


def _train(entry: Entry[Any], game: AdversarialGame, networks: nn.ModuleDict) -> list[float]:
    seed(11)
    with plugin_code(entry, "in a training step", "See ganzoo.RegularizerContext and ganzoo.Batch for its inputs."):
        values = [losses["loss"].detach() for _, losses in take_steps(game, networks, SPEC, steps=3)]
    if not all(bool(value.isfinite()) for value in values):
        raise CheckFailed(f"{described(entry)} gives a loss that is not finite within three steps.", STABLE_FORM)
    return [float(value) for value in values]
