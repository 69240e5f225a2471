"""What every registered recipe must do: build, and take training steps that never wait for the device.

Recipes are built for images. A recipe that refuses images is built for its dataset's samples. Studies and pretrained
generators, which are files as well, must be valid.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from ganzoo.api.dataset import Images, Modality
from ganzoo.build import Assembly, assemble, build_objective, require_roles
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import Recipe
from ganzoo.errors import GanzooError
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import Entry
from ganzoo.runs.generator import load as load_generator
from ganzoo_checks import networks
from ganzoo_checks.entries import CheckFailed, described, plugin_code, require
from ganzoo_checks.toys import (
    AS_BUFFER,
    GREY,
    SEEDED,
    Shape,
    fake_device,
    hidden_words,
    on_device,
    require_no_hidden_state,
    seed,
    take_steps,
)
from ganzoo_studies.study import load_study

CLASSES = 10
AS_PHASES = "A phase must train exactly the roles that it names."


def load(entry: Entry[Any], zoo: Zoo) -> Recipe:
    """The recipe, checked against everything that is registered.

    Raises:
        CheckFailed: It names something unknown, or sets an option to the wrong type.
    """
    with _usable(entry):
        return load_recipe(entry.name, zoo)


def study(entry: Entry[Any], zoo: Zoo) -> None:
    """A study and all its runs are valid: those of its cells and of its search, in full and with ``--quick``.

    Raises:
        CheckFailed: It names something unknown, or one of its recipes is refused.
    """
    with _usable(entry):
        whole = load_study(entry.name, zoo)
        for one in (whole, whole.scaled_down()):
            one.cells(zoo)
            one.trials(zoo)


def pretrained(entry: Entry[Any], zoo: Zoo) -> None:
    """A pretrained generator's files belong together, and samples can be drawn with them.

    Raises:
        CheckFailed: Something does not fit.
    """
    with _usable(entry, "cannot be used"):
        load_generator(f"zoo:{entry.name}", zoo=zoo, device=torch.device("cpu")).sample(2)


@contextmanager
def _usable(entry: Entry[Any], verdict: str = "is invalid") -> Iterator[None]:
    try:
        yield
    except GanzooError as error:
        raise CheckFailed(f"{described(entry)} {verdict}: {error.sentence}", error.remedy) from error


def build(entry: Entry[Any], zoo: Zoo, shape: Shape = GREY) -> Assembly:
    """The recipe's networks and objective, for images of one shape or, if it refuses images, its dataset's samples.

    Raises:
        CheckFailed: They do not build.
    """
    recipe = load(entry, zoo)
    try:
        return _assemble(entry, recipe, zoo, Images(*shape))
    except CheckFailed:
        modality = _other_than_images(recipe, zoo, shape)
        if modality is None:
            raise
    return _assemble(entry, recipe, zoo, modality)


def _assemble(entry: Entry[Any], recipe: Recipe, zoo: Zoo, modality: Modality) -> Assembly:
    with plugin_code(entry, f"to build for {networks.sized(modality)}", "Its parts must fit together."):
        # Each column that the objective generates from has the shape of a sample.
        columns = tuple((name, modality.shape) for name in build_objective(recipe, zoo).generates_from)
        return assemble(recipe, zoo, modality, CLASSES, columns)


def _other_than_images(recipe: Recipe, zoo: Zoo, shape: Shape) -> Modality | None:
    """The modality if a recipe is not for images: its dataset's or, if that needs files, its networks'; else None."""
    dataset = zoo.datasets.get(recipe.dataset.name)
    with TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        with suppress(CheckFailed), plugin_code(dataset, "in an empty folder", ""):
            modality = dataset.create("train", Path(folder), **recipe.dataset.options).modality
            return None if isinstance(modality, Images) else modality
        with suppress(GanzooError):
            for role, kind in build_objective(recipe, zoo).roles.items():
                network, classes = recipe.networks[role], CLASSES if recipe.conditional else 0
                _, spec = networks.build(zoo.registry(kind).get(network.name), shape, classes, network.options)
                if not isinstance(spec.modality, Images):
                    return spec.modality
    return None


def capturable(entry: Entry[Any], zoo: Zoo, shape: Shape = GREY) -> int:
    """Two steps stay on the device, and never wait for it.

    Returns:
        The number of phases that ran.
    """
    assembly = build(entry, zoo, shape)
    with fake_device(entry) as device:
        on_device(assembly.objective, device)
        on_device(assembly.networks, device)
        return sum(1 for _ in take_steps(assembly.objective, assembly.networks, assembly.spec, device=device))


def gradients(entry: Entry[Any], zoo: Zoo) -> None:
    """Each phase gives finite gradients to the roles it trains and to no other; every loss is a finite scalar."""
    assembly = build(entry, zoo)
    with plugin_code(entry, "in a training step", AS_PHASES):
        for phase, losses in take_steps(assembly.objective, assembly.networks, assembly.spec):
            for name, value in losses.items():
                what = f"{described(entry)}: '{name}' of the phase '{phase.name}' is not a finite scalar."
                scalar = isinstance(value, Tensor) and value.shape == () and bool(value.isfinite())
                require(scalar, what, "Return scalar tensors, and look for 0/0 and log 0.")
            for role, network in assembly.networks.items():
                _require_role(entry, role in phase.trains, phase.name, role, [p.grad for p in network.parameters()])


def _require_role(entry: Entry[Any], trained: bool, phase: str, role: str, grads: list[Tensor | None]) -> None:
    where = f"{described(entry)}: the phase '{phase}'"
    if not trained:
        require(not any(g is not None for g in grads), f"{where} computes gradients for the frozen {role}.", AS_PHASES)
    elif "/" not in phase:  # a lazy penalty may leave parameters out, such as the last bias
        require(
            all(g is not None for g in grads), f"{where} gives no gradient to some parameters of the {role}.", AS_PHASES
        )
        finite = all(bool(g.isfinite().all()) for g in grads if g is not None)
        require(finite, f"{where} gives the {role} gradients that are not finite.", AS_PHASES)


def roles(entry: Entry[Any], zoo: Zoo) -> None:
    """Some phase trains each role, and phases name no other roles."""
    assembly = build(entry, zoo)
    with plugin_code(entry, "to list its phases", "phases() is called once, after bind."):
        phases = assembly.objective.phases()
    for phase in phases:
        require_roles(f"{described(entry)}: the phase '{phase.name}' trains", phase.trains, assembly.networks)
    idle = sorted(set(assembly.networks) - {role for phase in phases for role in phase.trains})
    require(not idle, f"{described(entry)} has networks that no phase trains: {', '.join(idle)}.", AS_PHASES)


def half_precision(entry: Entry[Any], zoo: Zoo) -> None:
    """Under bfloat16 autocast, losses are finite and float32."""
    assembly = build(entry, zoo)
    remedy = "Compute sums and means in .float()."
    with plugin_code(entry, "in bfloat16", remedy), torch.autocast("cpu", torch.bfloat16):
        for phase, losses in take_steps(assembly.objective, assembly.networks, assembly.spec, steps=1):
            loss = losses["loss"]
            what = (
                "not finite"
                if loss.dtype == torch.float32
                else f"{str(loss.dtype).removeprefix('torch.')}, not float32,"
            )
            require(
                loss.dtype == torch.float32 and bool(loss.isfinite()),
                f"{described(entry)}: the loss of the phase '{phase.name}' is {what} under bfloat16.",
                remedy,
            )


def round_trip(entry: Entry[Any], zoo: Zoo) -> None:
    """Training resumes from a checkpoint to the same losses."""
    first, second = _build_seeded(entry, zoo), _build_seeded(entry, zoo)
    before = hidden_words(first.objective)
    _train(entry, first)
    require_no_hidden_state(entry, before, first.objective)
    with plugin_code(entry, "to load its own state_dict", AS_BUFFER):
        second.objective.load_state_dict(first.objective.state_dict())
        second.networks.load_state_dict(first.networks.state_dict())
    same = _train(entry, first) == _train(entry, second)
    require(same, f"{described(entry)} trains differently after a checkpoint.", AS_BUFFER)


def deterministic(entry: Entry[Any], zoo: Zoo) -> None:
    """The same seed gives the same losses."""
    same = _train(entry, _build_seeded(entry, zoo)) == _train(entry, _build_seeded(entry, zoo))
    require(same, f"{described(entry)} trains differently from the same seed.", SEEDED)


def _build_seeded(entry: Entry[Any], zoo: Zoo) -> Assembly:
    seed(5)
    return build(entry, zoo)


def _train(entry: Entry[Any], assembly: Assembly) -> list[float]:
    seed(11)
    with plugin_code(entry, "in a training step", AS_PHASES):
        steps = take_steps(assembly.objective, assembly.networks, assembly.spec)
        return [float(losses["loss"].detach()) for _, losses in steps]
