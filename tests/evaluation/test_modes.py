"""Modes found, evenness and quality, against closed forms."""

from math import inf, log

import pytest
import torch

from ganzoo.evaluation.metrics import assigned, class_counts, kl_to_uniform, modes_found


def logits_of(*modes: int | None, of: int) -> torch.Tensor:
    """Logits that put each sample into its mode; None means no mode."""
    logits = torch.full((len(modes), of), -inf)
    for row, mode in enumerate(modes):
        if mode is not None:
            logits[row, mode] = -float(row)  # the confidence does not matter
    return logits


@pytest.mark.parametrize(
    ("logits", "modes", "kl", "quality"),
    [
        (torch.eye(1000), 1000, 0, 1),
        (logits_of(*[3] * 50, of=1000), 1, log(1000), 1),
        (torch.eye(1000)[:500], 500, log(2), 1),
        (
            logits_of(0, 0, 0, 0, 0, 1, 1, 3, of=4),
            3,
            5 / 8 * log(5 / 2) + 2 / 8 * log(2 / 2) + 1 / 8 * log(1 / 2),
            1,
        ),
        (logits_of(0, None, 2, None, None, 1, of=3), 3, 0, 0.5),
        (logits_of(None, None, of=8), 0, log(8), 0),
    ],
    ids=["every mode once", "one mode", "half of the modes", "uneven", "some in no mode", "none in any mode"],
)
def test_modes_evenness_and_quality_have_closed_forms(logits, modes, kl, quality):
    assert modes_found(class_counts(logits)) == modes
    assert kl_to_uniform(class_counts(logits)) == pytest.approx(kl, abs=1e-12)
    assert len(assigned(logits)) / len(logits) == quality


def test_samples_in_no_mode_are_left_out():
    assert assigned(logits_of(0, None, 2, None, None, 1, of=3)).tolist() == [0, 2, 1]


def test_the_effect_of_chance_is_as_documented():
    """E[KL] is about (modes - 1) / (2 n) for n samples of an ideal generator."""
    drawn = torch.randint(100, (20_000,), generator=torch.Generator().manual_seed(0))
    logits = torch.nn.functional.one_hot(drawn, 100).float()
    assert kl_to_uniform(class_counts(logits)) == pytest.approx(99 / 40_000, rel=0.5)
