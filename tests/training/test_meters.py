import pytest
import torch

from ganzoo.errors import GanzooError
from ganzoo.training.step import Meters, check_losses


def test_means_by_phase_since_the_last_flush():
    meters = Meters()
    for value in (1.0, 2.0, 6.0):
        meters.add("discriminator", {"loss": torch.tensor(value), "penalty": torch.tensor(10 * value)})
    meters.add("generator", {"loss": torch.tensor(4.0, dtype=torch.bfloat16)})
    assert meters.flush() == pytest.approx(
        {"discriminator.loss": 3.0, "discriminator.penalty": 30.0, "generator.loss": 4.0}
    )
    assert meters.flush() == {}
    meters.add("generator", {"loss": torch.tensor(7.0)})
    assert meters.flush() == {"generator.loss": 7.0}


def test_adding_keeps_no_graph():
    meters = Meters()
    weight = torch.ones(1, requires_grad=True)
    meters.add("generator", {"loss": (2 * weight).sum()})
    meters.add("generator", {"loss": (4 * weight).sum()})
    assert not any(total.requires_grad for total in meters._sums.values())
    assert meters.flush() == {"generator.loss": 3.0}


@pytest.mark.parametrize(
    ("value", "what"), [(0.5, "of type float"), (None, "of type NoneType"), (torch.ones(3), "a tensor of shape (3,)")]
)
def test_a_phase_that_logs_no_scalar_tensor_is_refused(value, what):
    with pytest.raises(GanzooError) as caught:
        check_losses("main", {"loss": torch.tensor(1.0, requires_grad=True), "weight": value})
    assert str(caught.value) == f"The phase 'main' logs 'weight', {what}. Log scalar tensors."


@pytest.mark.parametrize(
    ("losses", "what"),
    [
        ({}, "of type NoneType"),
        ({"loss": torch.ones(3), "weight": torch.tensor(2.0)}, "a tensor of shape (3,)"),
        ({"loss": torch.tensor(1.0)}, "a number without a gradient"),
    ],
)
def test_a_loss_that_cannot_be_minimised_is_refused(losses, what):
    with pytest.raises(GanzooError) as caught:
        check_losses("main", losses)
    assert str(caught.value) == (
        f"The loss in the phase 'main' is {what}; it must be a scalar tensor with a gradient. Return its mean over the "
        "batch, computed from the networks that the phase trains."
    )


def test_a_bad_penalty_is_named_before_the_loss_that_it_is_part_of():
    with pytest.raises(GanzooError, match="logs 'penalty', a tensor of shape"):
        check_losses("main", {"loss": torch.ones(3), "penalty": torch.ones(3)})


@pytest.mark.parametrize("other", [{}, {"gap": torch.tensor(2.0)}])
def test_a_phase_logs_the_same_scalars_in_every_step(other):
    loss = {"loss": torch.tensor(1.0)}
    meters = Meters()
    meters.add("main", {**loss, "penalty": torch.tensor(3.0)})
    with pytest.raises(GanzooError) as caught:
        meters.add("main", {**loss, **other})
    logged = ", ".join({**loss, **other})
    assert str(caught.value) == (
        f"The phase 'main' logs loss, penalty in one step, but {logged} in another. "
        "Log the same scalars in the same order every time."
    )
    assert meters.flush() == {"main.loss": 1.0, "main.penalty": 3.0}
