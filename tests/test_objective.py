"""What an objective, a regularizer and an augmentation do if no method is overridden."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ganzoo import (
    Augmentation,
    Batch,
    GaussianPrior,
    Objective,
    Phase,
    Regularizer,
    RegularizerContext,
    Spec,
)


class Doubles(nn.Module):
    """A generator that shows what it was given."""

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return 2 * z if label is None else 2 * z + label.view(-1, 1)


class Silent(Objective):
    def phases(self) -> list[Phase]:
        return []


def spec(classes: int) -> Spec:
    return Spec((1, 2, 2), GaussianPrior(dim=3), classes=classes)


def turn() -> RegularizerContext:
    batch = Batch(torch.ones(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64), torch.zeros(2, 3))
    return RegularizerContext({}, lambda images: images.flatten(1).sum(1), batch, lambda: -batch.real)


def test_an_objective_remembers_the_sizes_and_adds_no_networks() -> None:
    objective, sizes = Silent(), spec(0)
    assert objective.bind(sizes, {}) == {}
    assert objective.spec is sizes


@pytest.mark.parametrize("classes", [0, 3])
def test_labels_are_a_condition_in_a_conditional_recipe_alone(classes: int) -> None:
    objective, z, label = Silent(), torch.randn(3, 2), torch.tensor([0, 1, 2])
    objective.bind(spec(classes), {})
    condition = objective.condition(label)
    assert len(condition) == (1 if classes else 0)
    assert all(one is label for one in condition)
    images = objective.generate({"generator": Doubles()}, z, label)
    assert torch.equal(images, 2 * z + (label.view(-1, 1) if classes else 0))


def test_a_regularizer_changes_nothing_unless_it_says_so() -> None:
    term, logits = Regularizer(), torch.randn(4)
    assert (term.weight, term.every_steps) == (1.0, 1)
    assert (term.side, term.label, term.reads_features) == ("discriminator", "penalty", False)
    assert term.bind(spec(0), {}) is None
    assert term.penalty(turn()) is None
    assert term.select(logits) is logits
    assert term.after_step({}) is None
    assert Augmentation().observe(logits) is None


def test_a_turn_judges_now_what_its_phase_did_not() -> None:
    assert turn().discriminate_real().tolist() == [4, 4]
    assert turn().discriminate_fake().tolist() == [-4, -4]


@pytest.mark.parametrize("name", ["generate", "features"])
def test_a_context_made_by_hand_names_what_it_lacks(name: str) -> None:
    with pytest.raises(AssertionError) as caught:
        getattr(turn(), name)(torch.zeros(2, 3))
    assert str(caught.value) == "This context was created without the function that was called."
