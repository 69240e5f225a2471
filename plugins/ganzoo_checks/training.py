"""Checks of what trains: networks, losses, regularizers, augmentations and recipes; and of other files.

All are built for images. A network or a recipe that refuses images of every size is checked with points, if it accepts
those, or with its dataset's samples. A network that takes labels is also checked with labels, and one that needs them
only with labels.

PYTEST_DONT_REWRITE: assertions carry whole messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo import (
    AdversarialLoss,
    GanzooError,
    GaussianPrior,
    Images,
    Modality,
    Objective,
    Phase,
    Points,
    Recipe,
    Spec,
    load,
)
from ganzoo.api.dataset import modalities
from ganzoo.build import assemble, build_objective, needs_label, takes_label
from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import NETWORK_KINDS, Entry
from ganzoo.runs.pretrained import recipe_of
from ganzoo.runs.records import read_card
from ganzoo_checks.checking import (
    AVERAGE,
    STABLE_FORM,
    Alone,
    Game,
    assert_nothing_hidden,
    assert_scalar,
    check,
    create,
    fake_device,
    hidden_words,
    seed,
    take_steps,
    toy_batch,
    toy_game,
    untouched,
)
from ganzoo_studies.study import load_study

Network = Entry[nn.Module]
CLASSES = 10
IMAGES: tuple[Modality, ...] = (Images(1, 28, 28), Images(3, 32, 32))
POINTS: tuple[Modality, ...] = (Points(1, 1, 2), Points(1, 1, 3))


def families() -> list[tuple[Modality, ...]]:
    """Modalities of two sizes each: images, points, and those of plugins."""
    return [IMAGES, POINTS, *(sizes for kind in modalities() if (sizes := kind.examples()))]


def build(entry: Network, modality: Modality, classes: int) -> tuple[nn.Module, Spec]:
    """The network for samples of a modality, always from the same seed, and its spec."""
    spec = Spec(modality.shape, GaussianPrior(dim=16), classes, modality)
    seed(5)
    return create(entry, spec), spec


def cases(entry: Network, size: int = 0) -> Iterator[tuple[nn.Module, Spec]]:
    """The network and its spec without classes, unless it needs labels, and with classes if it takes labels.

    ``size`` is 0 or 1: one of the two in each of ``families``.
    """
    family, network = _accepted(entry)
    for classes in (0, CLASSES):
        if takes_label(network) if classes else not needs_label(network):
            yield build(entry, family[size], classes)


def _accepted(entry: Network) -> tuple[tuple[Modality, ...], nn.Module]:
    """The first family of which the network accepts some size, and the network."""
    for family in families():
        for modality in family:
            with suppress(GanzooError):
                network, spec = build(entry, modality, CLASSES)
                if family is not IMAGES:
                    network(*inputs(entry, network, spec))
                return family, network
    return IMAGES, build(entry, IMAGES[0], CLASSES)[0]


def inputs(entry: Network, network: nn.Module, spec: Spec, n: int = 2) -> tuple[Tensor, ...]:
    """Codes (n, latent) for a generator, else samples (n, *shape) in [-1, 1]; and labels (n,) if it gets any."""
    x = torch.randn(n, spec.latent) if entry.kind == "generator" else torch.rand(n, *spec.shape) * 2 - 1
    return (x, torch.arange(n) % spec.classes) if spec.classes and takes_label(network) else (x,)


@check("shape", *NETWORK_KINDS)
def shape(entry: Network, zoo: Zoo) -> None:
    """Take every size from the spec: spec.image_shape, spec.pixels, spec.latent, spec.classes. A network for anything
    other than images must refuse images with a GanzooError when it is built; your modality's examples() are tried too.
    """
    for network, spec in (*cases(entry), *cases(entry, size=1)):
        arguments = inputs(entry, network, spec)
        out = network(*arguments)
        _assert_shape(entry, out, spec, 2)
        assert out.dtype == torch.float32, f"returns {out.dtype}, not float32.\nThe trainer sets the precision."
        assert out.isfinite().all(), "returns values that are not finite.\nLook for 0/0 and log 0."
        network.eval()  # batch normalisation may refuse a single image in training
        _assert_shape(entry, network(*(x[:1] for x in arguments)), spec, 1)
        if entry.kind == "generator":
            for growth in (1, 4, 4, 4):  # images of an untrained generator are small anyway
                for parameter in network.parameters():
                    parameter.data.mul_(growth)
                assert network(*arguments).nan_to_num().abs().max() <= 1, (
                    "returns values outside [-1, 1], at the latest once its weights grow.\n"
                    "End it with ganzoo.layers.ImageTanh()."
                )


def _assert_shape(entry: Network, out: Any, spec: Spec, n: int) -> None:
    assert isinstance(out, Tensor), f"returns a {type(out).__name__}, not a tensor."
    expected = {"generator": (n, *spec.shape), "discriminator": (n,), "encoder": (n, spec.latent)}[entry.kind]
    assert out.shape == expected, f"returns shape {tuple(out.shape)}, not {expected}, for {spec.modality}."


@check("inputs", *NETWORK_KINDS)
def uses_inputs(entry: Network, zoo: Zoo) -> None:
    """Pass a gradient on to each input: do not detach or round it. Use the label, or remove it from forward's
    parameters: conditional recipes reject a network without it.
    """
    for network, spec in cases(entry):
        with torch.no_grad():
            for parameter in network.parameters():  # some start from zeros, or from the same values for all labels
                parameter.add_(0.02 * torch.randn_like(parameter))
        x, *label = inputs(entry, network, spec)
        out = network(x.requires_grad_(), *label)
        (out * torch.randn_like(out)).sum().backward()
        reached = x.grad is not None and x.grad.flatten(1).any(1).all()
        assert reached, "passes no gradient on to its input."
        if spec.classes:
            network.eval()
            x, labels = inputs(entry, network, spec, CLASSES)
            repeated = x[:1].expand_as(x)
            seed(0)  # for noise within the network
            out = network(repeated, labels)
            seed(0)
            # A deep network may hardly react to labels at first, so any difference is enough.
            assert not torch.equal(out, network(repeated, labels.roll(1))), "takes labels but ignores them."


@check("attributes", "discriminator")
def attributes(entry: Network, zoo: Zoo) -> None:
    """Set per_image only if nothing mixes images, as batch normalisation does; return logits (n,) with gradients.
    Define features(images), feature_width and head(features), all with the label as well if it takes one.
    """
    for network, spec in cases(entry):
        images, *label = inputs(entry, network, spec, 4)
        if getattr(network, "per_image", False):
            # In training mode, where batch normalisation uses batch statistics; by gradients, as dropout is random.
            logits = network(images.requires_grad_(), *label)
            (gradient,) = torch.autograd.grad(logits[0], images, allow_unused=True, materialize_grads=True)
            assert not gradient[1:].any(), "sets per_image, but its logit of one image depends on the others."
        if hasattr(network, "features"):
            network.eval()
            features: Any = network.features(images, *label)  # type: ignore[operator]
            assert isinstance(features, Tensor), f"returns a {type(features).__name__} as features.\nReturn a tensor."
            declared = (4, network.feature_width)
            assert features.shape == declared, (
                f"returns features of shape {tuple(features.shape)} and declares {declared}.\nSet feature_width."
            )
            logits = network.head(features, *label)  # type: ignore[operator]
            assert torch.equal(logits, network(images, *label)), (
                "computes logits that differ from those of its head.\nReturn self.head(self.features(x))."
            )


SIZES = (0.0, 1.0, -1.0, 1e4, -1e4)
"""Means of the logits of real images; those of fakes are their opposites."""


@check("logits", "loss")
def on_logits(entry: Entry[Any], zoo: Zoo) -> None:
    """Take logits (n,) with gradients, and return a scalar. generator() gets real=None, unless the class sets
    pairs = True.
    """
    loss = create(entry)
    if isinstance(loss, Objective):
        return
    for size in SIZES:
        real, fake = _logits(size), _logits(-size)
        for player, value in _losses(loss, real, fake).items():
            assert all(gradient.isfinite().all() for gradient in _gradients(value, real, fake)), (
                f"gives the {player} a gradient that is not finite at logits around {abs(size):g}.\n{STABLE_FORM}"
            )
    flip = "Large logits mean real; flip the sign."
    real, fake = _logits(-0.5), _logits(0.5)
    on_real, on_fake = _gradients(_losses(loss, real, fake)["discriminator"], real, fake)
    assert on_real.sum() < 0, f"pushes the discriminator's logit of a real image down, or not at all.\n{flip}"
    assert on_fake.sum() > 0, f"pushes the discriminator's logit of a fake up, or not at all.\n{flip}"
    # Of a generator that loses: one that wins may stop, since some losses are lowest where D is undecided.
    (on_generator,) = _gradients(_losses(loss, fake, real)["generator"], real)
    assert on_generator.sum() < 0, f"pushes the generator's logit down, or not at all.\n{flip}"
    real, fake = torch.randn(256), torch.randn(256)
    once, twice = _losses(loss, real, fake), _losses(loss, real.repeat(2), fake.repeat(2))
    for player, value in once.items():
        # An unbiased estimate divides by n - 1 instead of n.
        assert torch.allclose(value, twice[player], rtol=0.01, atol=0.01), (
            f"gives the {player} a different loss for a doubled batch.\n{AVERAGE}"
        )


def _logits(mean: float) -> Tensor:
    return (mean + 0.1 * torch.randn(16)).requires_grad_()


def _losses(loss: AdversarialLoss, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """Each player's loss."""
    losses = {
        "discriminator": loss.discriminator(real, fake),
        "generator": loss.generator(real if loss.pairs else None, fake),
    }
    for player, value in losses.items():
        assert_scalar(value, f"gives the {player}")
    return losses


def _gradients(loss: Tensor, *logits: Tensor) -> tuple[Tensor, ...]:
    """The gradients of a loss; zero for logits that it does not use."""
    return torch.autograd.grad(loss, logits, allow_unused=True, materialize_grads=True)


@check("used-by-a-recipe", "loss")
def used_by_a_recipe(entry: Entry[Any], zoo: Zoo) -> None:
    """Register a recipe that uses it: ganzoo cannot guess its networks."""
    if not isinstance(create(entry), Objective):
        return
    for recipe in zoo.recipes:
        with suppress(GanzooError):  # which the recipe's own check reports
            if load_recipe(recipe.name, zoo).loss.name == entry.name:
                return
    raise AssertionError("has its own phases, but no recipe uses it.")


def _in_phase(entry: Entry[Any], n: int = 8, **options: Any) -> tuple[Game, Phase, dict[str, Tensor]]:
    """A toy game with the regularizer at every step, the phase it joins, and that phase's losses on a batch of n."""
    every_step = {"every_steps": 1} if "every_steps" in entry.options.types else {}  # some are lazy by default
    regularizer = create(entry, **every_step, **options)
    regularizer.label = entry.name
    game = toy_game(regularizer=regularizer)
    phase = next(phase for phase in game.objective.phases() if regularizer.side in (phase.name, "both"))
    return game, phase, dict(phase.loss(game.by_role, toy_batch(n)))


@check("penalty", "regularizer")
def penalty(entry: Entry[Any], zoo: Zoo) -> None:
    """Let its penalty be a scalar; see ganzoo.RegularizerContext for what it sees. Pass weight and every_steps to
    Regularizer.__init__. A lazy phase has no logits yet: call context.discriminate_real() and
    context.discriminate_fake().
    """
    options = entry.options.types
    game, phase, losses = _in_phase(entry)
    if "weight" not in options:
        assert entry.name not in losses, "has no weight, but a penalty.\nLet its constructor take weight."
        return
    assert entry.name in losses, (
        "has a weight, but no penalty.\n"
        "Override penalty(). If it adds no term to the loss, write a constructor without weight and every_steps."
    )
    term = losses[entry.name]
    assert_scalar(term, "returns")
    trained = [parameter for role in phase.trains for parameter in game.networks[role].parameters()]
    found = torch.autograd.grad(term, trained, allow_unused=True) if term.requires_grad else ()
    gradients = [gradient for gradient in found if gradient is not None]  # zeros will do
    assert gradients, (
        f"has a penalty without a gradient for the {phase.name}.\nTake gradients at images with create_graph=True, as "
        "ganzoo.functional.input_gradient does, and set side to the player that the penalty constrains."
    )
    assert all(gradient.isfinite().all() for gradient in gradients), (
        f"gives gradients that are not finite.\n{STABLE_FORM}"
    )
    # A sum is 8 times as large. Different images, random draws and comparisons between images change it less.
    many = _in_phase(entry, 64)[2][entry.name]
    assert many.abs() <= 4 * term.abs() + 1e-6, f"has a penalty that grows with the batch.\n{AVERAGE}"
    # Some weights are fractions, which are less than 1.
    light, heavy = (_in_phase(entry, weight=weight)[2] for weight in (0.25, 0.75))
    assert torch.allclose(heavy["loss"] - light["loss"], 0.5 * light[entry.name], atol=1e-5), (
        "applies its weight itself.\nReturn the unweighted term from penalty(); ganzoo multiplies."
    )
    if "every_steps" in options:
        game = toy_game(regularizer=create(entry, weight=0.5, every_steps=4))
        lazy = [phase for phase in game.objective.phases() if "/" in phase.name]
        assert lazy, "has no separate phase with every_steps: 4."
        losses = dict(lazy[0].loss(game.by_role, toy_batch()))
        assert torch.allclose(losses["loss"], 2 * losses["penalty"]), "is not four times as strong with every_steps: 4."


@check("shape", "augmentation")
def augmentation(entry: Entry[Any], zoo: Zoo) -> None:
    """Take sizes from the images, keep their shape, and use differentiable operations only."""
    for size in (*IMAGES, Images(3, 21, 34)):
        transform = create(entry)
        images = (torch.rand(4, *size.shape) * 2 - 1).requires_grad_()
        changed = transform(images)
        assert isinstance(changed, Tensor), f"returns a {type(changed).__name__}, not a tensor."
        before, after = tuple(images.shape), tuple(changed.shape)
        assert after == before, f"returns shape {after} for images of shape {before}."
        (changed * torch.randn_like(changed)).sum().backward()  # type: ignore[no-untyped-call]
        transform.observe(torch.randn(4))
        reached = images.grad is not None and images.grad.any() and images.grad.isfinite().all()
        assert reached, (
            "passes no gradient on to the images, or one that is not finite.\nDo not detach, round or divide by zero."
        )


TRAINED = (*NETWORK_KINDS, "loss", "regularizer", "augmentation", "recipe")
STEPS = ("capturable", "gradients", "half-precision", "reproducible")
"""The checks that train."""


def games(entry: Entry[Any], zoo: Zoo) -> Iterator[Game]:
    """What the checks train, always from the same seed: a network alone, a part in a toy game, or a recipe.

    A loss with its own phases has none here: its recipe's checks cover it.
    """
    if entry.kind in NETWORK_KINDS:
        for network, spec in cases(entry):
            yield Game(Alone(entry.kind), {entry.kind: network}, spec)
    elif entry.kind == "recipe":
        yield recipe_game(load_recipe(entry.name, zoo), zoo)
    elif not isinstance(part := create(entry), Objective):
        yield toy_game(**{entry.kind: part})


def recipe_game(recipe: Recipe, zoo: Zoo) -> Game:
    """A recipe's networks and objective, for the first modality that they accept."""
    others = [family[0] for family in families()[1:]]
    with suppress(GanzooError):
        return _assembled(recipe, zoo, IMAGES[0])
    with suppress(Exception), TemporaryDirectory() as folder:
        dataset = zoo.datasets.get(recipe.dataset.name).create("train", Path(folder), **recipe.dataset.options)
        others.insert(0, dataset.modality)
    for modality in others:
        with suppress(GanzooError):
            return _assembled(recipe, zoo, modality)
    return _assembled(recipe, zoo, IMAGES[0])


def _assembled(recipe: Recipe, zoo: Zoo, modality: Modality) -> Game:
    # Each column that the objective generates from has the shape of a sample.
    columns = tuple((name, modality.shape) for name in build_objective(recipe, zoo).generates_from)
    seed(5)
    assembly = assemble(recipe, zoo, modality, CLASSES, columns)
    return Game(assembly.objective, dict(assembly.networks.items()), assembly.spec)


@check("valid", "recipe", "study", "pretrained")
def valid(entry: Entry[Any], zoo: Zoo) -> None:
    """Every name that it uses must be registered, and every option must be of the right type."""
    if entry.kind == "recipe":
        load_recipe(entry.name, zoo)
    elif entry.kind == "pretrained":
        recipe_of(read_card(entry.create()), zoo)
        if entry.create().with_suffix(".safetensors").exists():  # or it is downloaded on request
            load(f"zoo:{entry.name}", zoo=zoo, device=torch.device("cpu")).sample(2)
    else:
        study = load_study(entry.name, zoo)
        for one in (study, study.scaled_down()):
            one.cells(zoo)
            one.trials(zoo)
            one.references(zoo)


@check("capturable", *TRAINED)
def capturable(entry: Entry[Any], zoo: Zoo) -> None:
    """Stay on the device, without values to read, such as a GPU that captures a graph: no .item(), float(), bool() or
    `if` on a tensor, no boolean masks. Use torch.where instead of `if`, and create tensors on the device of the inputs.
    """
    for game in games(entry, zoo):
        with fake_device() as device:
            game.to_empty(device=device)
            list(take_steps(game, device=device))


@check("gradients", *NETWORK_KINDS, "recipe")
def gradients(
    entry: Entry[Any], zoo: Zoo, autocast: Callable[[], AbstractContextManager[object]] = nullcontext
) -> None:
    """Use every parameter, keep fixed tensors in buffers, and let a phase train exactly the roles that it names."""
    for game in games(entry, zoo):
        idle = set(game.networks)
        for phase, losses in take_steps(game, steps=1, autocast=autocast):
            idle -= set(phase.trains)
            where = f"in the phase '{phase.name}'"
            for name, value in losses.items():
                assert value.isfinite(), f"gives '{name}' {where} that is not finite.\nLook for 0/0 and log 0."
            loss = losses["loss"]
            assert loss.dtype == torch.float32, f"gives a loss {where} that is {loss.dtype}, not float32."
            for role, network in game.networks.items():
                grads = {name: parameter.grad for name, parameter in network.named_parameters()}
                without = [name for name, grad in grads.items() if grad is None]
                if role not in phase.trains:
                    assert len(without) == len(grads), f"computes gradients for the frozen {role} {where}."
                elif "/" not in phase.name:  # a lazy penalty may leave parameters out, such as the last bias
                    assert not without, f"has parameters of the {role} that get no gradient: {', '.join(without)}."
                infinite = [name for name, grad in grads.items() if grad is not None and not grad.isfinite().all()]
                assert not infinite, (
                    f"has parameters of the {role} whose gradient is not finite {where}: {', '.join(infinite)}.\n"
                    "Look for square roots and divisions at zero."
                )
        assert not idle, f"has networks that no phase trains: {', '.join(sorted(idle))}."


@check("half-precision", *NETWORK_KINDS, "recipe")
def half_precision(entry: Entry[Any], zoo: Zoo) -> None:
    """Compute sensitive sums and means in .float(), and create tensors with the dtype of the input."""
    # Each phase by itself, as in training: while autocast is on, torch 2.8 keeps a network's half-precision copies,
    # without a gradient if it was frozen or in no_grad when they were made.
    gradients(entry, zoo, partial(torch.autocast, "cpu", torch.bfloat16))


@check("reproducible", *TRAINED)
@untouched()
def reproducible(entry: Entry[Any], zoo: Zoo) -> None:
    """Draw weights and everything else with torch's default generator, which ganzoo seeds. Keep state with
    self.register_buffer(...) and change it in place, so that checkpoints hold it.
    """
    for first, again, resumed in zip(*(games(entry, zoo) for _ in range(3)), strict=True):
        before = hidden_words(first)
        assert _train(first) == _train(again), "trains differently from the same seed."
        assert_nothing_hidden(first, before)
        resumed.load_state_dict(first.state_dict())
        assert _train(first) == _train(resumed), "trains differently after a checkpoint."


def _train(game: Game) -> list[float]:
    """Train for two steps."""
    seed(11)
    losses = [float(losses["loss"].detach()) for _, losses in take_steps(game)]
    assert torch.tensor(losses).isfinite().all(), "gives a loss that is not finite within two steps."
    return losses
