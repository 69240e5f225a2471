"""Top-k: which fakes train the generator, how strongly, and how k shrinks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ganzoo import AdversarialLoss
from ganzoo_plugins.losses.vanilla import NonSaturating
from ganzoo_plugins.losses.wgan_gp import Wasserstein
from ganzoo_plugins.networks.r3gan import RelativisticPairing
from ganzoo_plugins.regularizers.top_k import TopK

LOSSES = [NonSaturating(), RelativisticPairing()]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)


def gradient(loss: AdversarialLoss, real: Tensor, fake: Tensor, term: TopK | None = None) -> Tensor:
    fake = fake.clone().requires_grad_()
    seen = fake if term is None else term.select(fake)
    (slope,) = torch.autograd.grad(loss.generator(real, seen), fake)
    return slope


def at_once(share: float) -> TopK:
    """One that has shrunk to its smallest k."""
    term = TopK(share=share, decay=0.0, images=1)
    term.seen += 1
    return term


@every_loss
def test_k_equal_to_the_batch_size_is_the_identity(loss: AdversarialLoss) -> None:
    real, fake = torch.randn(7), torch.randn(7)
    for term in (TopK(), TopK(share=1.0, decay=0.0, images=1), at_once(1.0)):
        assert torch.equal(term.select(fake), fake)
        assert torch.equal(gradient(loss, real, fake, term), gradient(loss, real, fake))


@every_loss
@pytest.mark.parametrize("k", [1, 3])
def test_the_gradient_is_that_of_the_mean_over_the_k_best(loss: AdversarialLoss, k: int) -> None:
    real, fake = torch.randn(12), torch.randn(12)
    found = gradient(loss, real, fake, at_once(k / 12))
    best = fake.topk(k).indices
    expected = torch.zeros(12)
    expected[best] = gradient(loss, real[best], fake[best])
    assert torch.allclose(found, expected, atol=1e-7)


def test_ties_do_not_let_more_than_k_through() -> None:
    found = gradient(Wasserstein(), torch.zeros(6), torch.zeros(6), at_once(0.5))
    assert torch.count_nonzero(found) == 3


@pytest.mark.parametrize("processes", [1, 2])
def test_k_shrinks_each_epoch_down_to_its_share(processes: int) -> None:
    term = TopK(share=0.5, decay=0.8, images=100)
    term.processes = processes
    sizes = []
    for _ in range(50):
        sizes.append(int(term.size(10)))
        term.select(torch.randn(10 // processes))
    assert sizes == [10] * 10 + [8] * 10 + [6] * 10 + [5] * 20  # 10 · 0.8² = 6.4, 10 · 0.8³ = 5.12


def test_at_least_one_fake_teaches() -> None:
    assert int(at_once(0.01).size(4)) == 1
