"""Shared by tests of plugins: a regularizer's context, and the losses of each phase."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ganzoo import (
    AdversarialGame,
    AdversarialLoss,
    Batch,
    GaussianPrior,
    Losses,
    Networks,
    Regularizer,
    RegularizerContext,
    Spec,
)
from ganzoo_plugins.networks.mlp import Discriminator, Generator

Critic = Callable[[Tensor], Tensor]


@pytest.fixture
def context() -> Callable[..., RegularizerContext]:
    """A turn of a critic and two batches; anything else by keyword."""

    def make(critic: Critic, real: Tensor, fake: Tensor, **more: object) -> RegularizerContext:
        batch = Batch(real, torch.zeros(len(real), dtype=torch.int64), more.pop("z", torch.zeros(len(real), 1)))
        logits = {key: more.pop(key) for key in ("real_logits", "fake_logits") if key in more}
        made = RegularizerContext(more.pop("networks", {}), critic, batch, lambda: fake, **more)
        vars(made).update(logits)
        return made

    return make


@pytest.fixture
def play() -> Callable[..., tuple[dict[str, Losses], Networks, Batch]]:
    """The losses of each phase of a game on one batch of four small pictures; with its networks and the batch."""
    spec = Spec((1, 4, 4), GaussianPrior(dim=3))

    def losses(
        loss: AdversarialLoss, *terms: Regularizer, judge: Callable[..., nn.Module] = Discriminator
    ) -> tuple[dict[str, Losses], Networks, Batch]:
        networks = {"generator": Generator(spec, hidden=[8]), "discriminator": judge(spec, hidden=[6])}
        game = AdversarialGame(loss, terms)
        game.bind(spec, networks)
        batch = Batch(torch.rand(4, 1, 4, 4) * 2 - 1, torch.zeros(4, dtype=torch.int64), torch.randn(4, 3))
        return {phase.name: phase.loss(networks, batch) for phase in game.phases()}, networks, batch

    return losses
