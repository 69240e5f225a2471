"""The relativistic pairing loss against its formula."""

from __future__ import annotations

import math

import pytest
import torch

from ganzoo_plugins.networks.r3gan import RelativisticPairing

LOSS = RelativisticPairing()


def test_equal_logits_cost_log_2() -> None:
    logits = 5 * torch.randn(8)
    assert LOSS.discriminator(logits, logits).item() == pytest.approx(math.log(2))
    assert LOSS.generator(logits, logits).item() == pytest.approx(math.log(2))


def test_each_fake_is_paired_with_its_own_real_image() -> None:
    real, fake = torch.tensor([1.0, 5.0]), torch.tensor([0.0, 7.0])
    # -log σ of the differences 1 and -2, by hand.
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2))) / 2
    assert LOSS.discriminator(real, fake).item() == pytest.approx(expected)
    assert LOSS.discriminator(real, fake.flip(0)).item() != pytest.approx(expected)


def test_the_players_exchange_roles() -> None:
    real, fake = torch.randn(8), torch.randn(8)
    assert torch.equal(LOSS.generator(real, fake), LOSS.discriminator(fake, real))
