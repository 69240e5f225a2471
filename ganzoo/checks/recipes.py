"""What every registered recipe must do without being trained: be built, and take steps that never wait."""

from __future__ import annotations

from typing import Any

import torch

from ganzoo.api.modality import Images
from ganzoo.build import Assembly, assemble
from ganzoo.checks.steps import AS_BUFFER, hidden_state, require_no_hidden_state, turns, without_values
from ganzoo.checks.toys import seed
from ganzoo.checks.verdict import Broken, blaming, called, require
from ganzoo.errors import GanzooError
from ganzoo.recipes.loading import Recipe, load_recipe
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import Entry

Shape = tuple[int, int, int]
GREY: Shape = (1, 28, 28)
SHAPES: tuple[Shape, ...] = (GREY, (3, 32, 32))
CLASSES = 10
SEEDED = "Draw with torch's own generator, which is seeded."
AS_PHASES = "A phase's loss trains the roles it names, all of them, and nobody else."


def loaded(entry: Entry[Any], zoo: Zoo) -> Recipe:
    """The recipe, checked against everything that is registered.

    Raises:
        Broken: It names something that there is not, or an option of the wrong type.
    """
    try:
        return load_recipe(entry.name, zoo)
    except GanzooError as error:
        raise Broken(f"{called(entry)} cannot be read: {error.sentence}", error.remedy) from error


def built(entry: Entry[Any], zoo: Zoo, shape: Shape = GREY) -> Assembly:
    """The recipe's networks and objective, for images of that shape.

    Raises:
        Broken: They cannot be built.
    """
    recipe = loaded(entry, zoo)
    with blaming(entry, f"to be built for {'x'.join(map(str, shape))} images", "Its parts must fit one another."):
        return assemble(recipe, zoo, Images(*shape), CLASSES)


def capturable(entry: Entry[Any], zoo: Zoo, shape: Shape = GREY) -> int:
    """Two steps never wait for the device. Gives the number of phases taken."""
    recipe = loaded(entry, zoo)
    with without_values(entry):
        assembly = assemble(recipe, zoo, Images(*shape), CLASSES)
        return sum(1 for _ in turns(assembly.objective, assembly.networks, assembly.spec))


def gradients(entry: Entry[Any], zoo: Zoo) -> None:
    """Each phase gives its roles finite gradients, and no others; every loss is a finite scalar."""
    assembly = built(entry, zoo)
    with blaming(entry, "in a step of training", AS_PHASES):
        for phase, losses in turns(assembly.objective, assembly.networks, assembly.spec):
            for name, value in losses.items():
                what = f"{called(entry)}: '{name}' of the phase '{phase.name}' is no finite scalar."
                require(value.shape == () and bool(value.isfinite()), what, AS_PHASES)
            for role, network in assembly.networks.items():
                _require_role(entry, role in phase.trains, phase.name, role, [p.grad for p in network.parameters()])


def _require_role(entry: Entry[Any], trained: bool, phase: str, role: str, found: list[torch.Tensor | None]) -> None:
    where = f"{called(entry)}: the phase '{phase}'"
    if not trained:
        require(not any(g is not None for g in found), f"{where} reaches the frozen {role}.", AS_PHASES)
    elif "/" not in phase:  # a penalty alone need not depend on everything, such as the last bias
        require(all(g is not None for g in found), f"{where} leaves parameters of the {role} untrained.", AS_PHASES)
        finite = all(bool(g.isfinite().all()) for g in found if g is not None)
        require(finite, f"{where} gives the {role} gradients that are not finite.", AS_PHASES)


def roles(entry: Entry[Any], zoo: Zoo) -> None:
    """Every role is trained, and samples can be drawn."""
    assembly = built(entry, zoo)
    trained = {role for phase in assembly.objective.phases() for role in phase.trains}
    idle = sorted(set(assembly.networks) ^ trained)
    require(not idle, f"{called(entry)} has networks that no phase trains: {', '.join(idle)}.", AS_PHASES)
    absent = sorted(set(assembly.objective.samples_with) - set(assembly.networks))
    require(not absent, f"{called(entry)} samples with roles that are not there: {', '.join(absent)}.", AS_PHASES)


def half_precision(entry: Entry[Any], zoo: Zoo) -> None:
    """A step under bfloat16 autocast has finite float32 losses."""
    assembly = built(entry, zoo)
    remedy = "Sum and average in .float()."
    with blaming(entry, "in bfloat16", remedy), torch.autocast("cpu", torch.bfloat16):
        for phase, losses in turns(assembly.objective, assembly.networks, assembly.spec, steps=1):
            loss = losses["loss"]
            require(
                loss.dtype == torch.float32 and bool(loss.isfinite()),
                f"{called(entry)}: the loss of the phase '{phase.name}' is not finite float32 under bfloat16.",
                remedy,
            )


def round_trip(entry: Entry[Any], zoo: Zoo) -> None:
    """After a checkpoint training goes on as it would have."""
    first, second = _seeded(entry, zoo), _seeded(entry, zoo)
    before = hidden_state(first.objective)
    _trained(entry, first)
    require_no_hidden_state(entry, before, first.objective)
    with blaming(entry, "to load its own state", AS_BUFFER):
        second.objective.load_state_dict(first.objective.state_dict())
        second.networks.load_state_dict(first.networks.state_dict())
    same = _trained(entry, first) == _trained(entry, second)
    require(same, f"{called(entry)} goes on differently after its state was saved and loaded.", AS_BUFFER)


def deterministic(entry: Entry[Any], zoo: Zoo) -> None:
    """One seed gives one training."""
    same = _trained(entry, _seeded(entry, zoo)) == _trained(entry, _seeded(entry, zoo))
    require(same, f"{called(entry)} trains differently from one seed.", SEEDED)


def _seeded(entry: Entry[Any], zoo: Zoo) -> Assembly:
    seed(5)
    return built(entry, zoo)


def _trained(entry: Entry[Any], assembly: Assembly) -> list[float]:
    seed(11)
    with blaming(entry, "in a step of training", AS_PHASES):
        taken = turns(assembly.objective, assembly.networks, assembly.spec)
        return [float(losses["loss"].detach()) for _, losses in taken]
