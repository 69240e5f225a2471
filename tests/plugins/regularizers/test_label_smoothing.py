"""Label smoothing against torch's cross-entropy with soft targets."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from ganzoo_plugins.losses.vanilla import NonSaturating
from ganzoo_plugins.regularizers.label_smoothing import LabelSmoothing


@pytest.mark.parametrize("s", [0.0, 0.1, 0.3])
def test_the_loss_becomes_cross_entropy_with_targets_1_minus_s_and_0(s: float, context) -> None:
    real, fake = torch.randn(64, requires_grad=True), torch.randn(64, requires_grad=True)
    nothing = torch.zeros(64, 1, 1, 1)
    term = LabelSmoothing(weight=s)
    smoothed = NonSaturating().discriminator(real, fake) + term.weight * term.penalty(
        context(lambda x: x, nothing, nothing, real_logits=real)
    )
    expected = binary_cross_entropy_with_logits(real, torch.full_like(real, 1 - s)) + binary_cross_entropy_with_logits(
        fake, torch.zeros_like(fake)
    )
    assert torch.allclose(smoothed, expected, atol=1e-6)
    found, wanted = (torch.autograd.grad(loss, (real, fake)) for loss in (smoothed, expected))
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(found, wanted, strict=True))
