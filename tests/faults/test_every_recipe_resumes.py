"""Every registered recipe resumes from a checkpoint to the same bits, in phases that rarely run as well."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest
import torch
from fake_device import first_rows, lazily_twice
from torch import Tensor

from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError
from ganzoo.registry.loading import load_zoo
from ganzoo.runs.records import read_checkpoint, save_checkpoint
from ganzoo.training.trainer import Trainer

ZOO = load_zoo()
TRAINED_BY_OTHERS = (
    *("*-gpu", "baseline-*", "vanilla-grid", "pacgan-stacked-mnist", "cgan-mnist"),
    *("f-gan-[hjprt]*", "relativistic-average-*", "least-squares-mnist", "softmax-mnist", "boundary-seeking-mnist"),
    *("hinge-mnist", "projection-mnist", "flagship-mnist", "minibatch-stddev-mnist", "label-smoothing-mnist"),
    *("feature-matching-mnist", "geometric-mnist", "zero-centred-penalty-mnist", "lipschitz-penalty-mnist"),
    *("wgan-div-mnist", "orthogonal-mnist", "balanced-consistency-mnist", "latent-consistency-mnist"),
    *("ali-mnist", "consistency-mnist", "dragan-mnist", "f-gan-kl-mnist", "reacgan-mnist", "unrolled-mnist"),
    *("js-regularizer-mnist", "minibatch-discrimination-mnist", "pix2pix", "pix2pix-[hrs]*", "cyclegan"),
    *("cdcgan-mnist", "dcgan-mnist", "diffaugment-mnist", "r3gan-mnist", "sngan-mnist", "weight-clipping-mnist"),
)
"""Recipes whose parts with a state other recipes have too; those without one are in tests/contract/test_losses.py."""
BATCH_SIZES = (8, 16, 32)
"""Each recipe trains with the smallest that it accepts."""


@pytest.fixture(scope="module")
def dataset():
    """The first images of a recipe's dataset."""
    known = {}
    return lambda recipe: first_rows(recipe, ZOO, known)


@pytest.fixture(autouse=True)
def quick_averages(monkeypatch):
    """Statistics of averaged weights from one batch: the same code as from many."""
    monkeypatch.setattr("ganzoo.training.trainer.MEASURED_BATCHES", 1)


def trainer_of(name, dataset):
    rejection: GanzooError | None = None
    settings = ["train.images=100000", "train.precision=fp32", "train.engine=eager", *lazily_twice(name, ZOO)]
    for batch in BATCH_SIZES:
        try:
            recipe = load_recipe(name, ZOO, [f"train.batch_size={batch}", *settings])
        except GanzooError as error:
            rejection = error
            continue
        return Trainer(recipe, ZOO, dataset=dataset(recipe), device=torch.device("cpu"))
    raise AssertionError(rejection)


def bits(trainer: Trainer) -> dict[str, bytes]:
    tensors, state = trainer.checkpoint()
    known: dict[str, Tensor] = {**tensors, "state": torch.tensor(list(repr(state).encode()))}
    return {
        key: tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes() for key, tensor in known.items()
    }


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            entry.name, marks=pytest.mark.full if any(fnmatch(entry.name, one) for one in TRAINED_BY_OTHERS) else ()
        )
        for entry in ZOO.recipes
    ],
)
def test_two_steps_a_checkpoint_and_two_steps_are_four_steps(name, dataset, tmp_path):
    uninterrupted = trainer_of(name, dataset)
    for step in range(4):
        if step == 2:
            tensors, state = uninterrupted.checkpoint()
            path = save_checkpoint(tmp_path, tensors, state)
            at_two = bits(uninterrupted)
        uninterrupted.step()
    expected = bits(uninterrupted)
    assert expected != at_two

    torch.manual_seed(12345)  # a fresh process may have drawn any number of random numbers
    resumed = trainer_of(name, dataset)
    checkpoint = read_checkpoint(path)
    resumed.restore(checkpoint.tensors, checkpoint.state)
    assert differing(bits(resumed), at_two) == []
    for _ in range(2):
        resumed.step()
    assert differing(bits(resumed), expected) == []


def differing(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    return sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
