"""What every registered recipe must do without being trained: be built, and take steps that never wait."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from ganzoo import Batch, GaussianPrior, Objective, Phase, Spec
from ganzoo.assembly import Assembly, assemble
from ganzoo.plugins import load_zoo
from ganzoo.recipe import Recipe, load_recipe

ZOO = load_zoo()
recipes = pytest.mark.parametrize("name", [entry.name for entry in ZOO.recipes])
shapes = pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)], ids=str)


def turns(assembly: Assembly, n: int = 4, steps: int = 2) -> Iterator[tuple[Phase, Mapping[str, Tensor]]]:
    """Steps as the trainer takes them: each phase on a batch of its own, all other roles frozen."""
    spec, networks = assembly.spec, dict(assembly.networks.items())
    optimizers = {role: torch.optim.Adam(network.parameters(), lr=1e-4) for role, network in networks.items()}
    for _ in range(steps):
        for phase in assembly.objective.phases():
            real, label = torch.rand(n, *spec.image_shape) * 2 - 1, torch.arange(n) % max(1, spec.classes)
            z = spec.prior.sample(n, torch.Generator().manual_seed(0), torch.device("cpu"))
            assembly.networks.zero_grad(set_to_none=True)
            for role, network in networks.items():
                network.requires_grad_(role in phase.trains)
            losses = phase.loss(networks, Batch(real, label, z))
            losses["loss"].backward()
            yield phase, losses
            for role in phase.trains:
                optimizers[role].step()
            if phase.after is not None:
                with torch.no_grad():
                    phase.after(networks)


def build(recipe: Recipe, shape: tuple[int, int, int]) -> Assembly:
    return assemble(recipe, ZOO, shape, 10)


@recipes
@shapes
def test_a_step_never_waits_for_the_device(name: str, shape: tuple[int, int, int]) -> None:
    """Fake tensors have no values: reading one, or deciding by one, raises."""
    recipe = load_recipe(name, ZOO)
    with FakeTensorMode():
        taken = [phase.name for phase, _ in turns(build(recipe, shape))]
    assert len(taken) >= 2


def test_the_test_above_would_notice() -> None:
    class Waits(Objective):
        def phases(self) -> list[Phase]:
            return [Phase("generator", ("generator",), self.loss)]

        def loss(self, networks: Mapping[str, nn.Module], batch: Batch) -> dict[str, Tensor]:
            loss = self.generate(networks, batch.z, batch.label).mean()
            return {"loss": loss if loss > 0 else -loss}

    spec = Spec(1, 28, 28, GaussianPrior(dim=4))
    with FakeTensorMode():
        objective = Waits()
        networks = nn.ModuleDict({"generator": ZOO.generators.get("mlp").create(spec)})
        objective.bind(spec, networks)
        with pytest.raises(DataDependentOutputException):
            list(turns(Assembly(spec, objective, networks)))


@recipes
def test_each_phase_gives_its_roles_finite_gradients_and_no_others(name: str) -> None:
    assembly = build(load_recipe(name, ZOO), (1, 28, 28))
    for phase, losses in turns(assembly):
        assert all(value.shape == () and torch.isfinite(value) for value in losses.values()), phase.name
        for role, network in assembly.networks.items():
            gradients = [p.grad for p in network.parameters()]
            if role not in phase.trains:
                assert all(gradient is None for gradient in gradients), f"{phase.name} reaches the frozen {role}"
            elif "/" not in phase.name:  # a penalty alone need not depend on everything, such as the last bias
                assert all(g is not None and torch.isfinite(g).all() for g in gradients), f"{phase.name}: {role}"


@recipes
def test_every_role_is_trained_and_samples_can_be_drawn(name: str) -> None:
    assembly = build(load_recipe(name, ZOO), (1, 28, 28))
    trained = {role for phase in assembly.objective.phases() for role in phase.trains}
    assert trained == set(assembly.networks)
    assert set(assembly.objective.samples_with) <= set(assembly.networks)


@recipes
def test_a_step_in_half_precision_is_finite(name: str) -> None:
    assembly = build(load_recipe(name, ZOO), (1, 28, 28))
    with torch.autocast("cpu", torch.bfloat16):
        for phase, losses in turns(assembly, steps=1):
            assert losses["loss"].dtype == torch.float32, phase.name
            assert torch.isfinite(losses["loss"]), phase.name


@recipes
def test_it_is_named_after_its_dataset_and_scored_on_the_way(name: str) -> None:
    recipe = load_recipe(name, ZOO)
    assert recipe.name == name
    assert recipe.name.removesuffix("-gpu").endswith(f"-{recipe.dataset.name}")
    assert recipe.evaluate.metrics
    assert recipe.evaluate.every is not None
    assert recipe.evaluate.every < recipe.train.images


@recipes
def test_it_cites_its_paper(name: str) -> None:
    assert ZOO.recipes.get(name).paper is not None
