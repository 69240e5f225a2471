"""Modes found, evenness and quality, against closed forms."""

from math import inf, log

import pytest
import torch

from ganzoo.evaluation.metrics import assigned, class_counts, kl_to_uniform, modes_found


def quality(logits):
    """The share of samples that belong to a mode."""
    return len(assigned(logits)) / len(logits)


def logits_of(*modes: int | None, of: int) -> torch.Tensor:
    """Logits that put each sample into its mode; None means no mode."""
    logits = torch.full((len(modes), of), -inf)
    for row, mode in enumerate(modes):
        if mode is not None:
            logits[row, mode] = -float(row)  # the confidence does not matter
    return logits


def test_every_mode_once_is_ideal():
    logits = torch.eye(1000)
    assert modes_found(class_counts(logits)) == 1000
    assert kl_to_uniform(class_counts(logits)) == pytest.approx(0, abs=1e-12)
    assert quality(logits) == 1


def test_a_single_mode_is_as_far_from_uniform_as_possible():
    logits = logits_of(*[3] * 50, of=1000)
    assert modes_found(class_counts(logits)) == 1
    assert kl_to_uniform(class_counts(logits)) == pytest.approx(log(1000))


def test_half_of_the_modes_costs_the_logarithm_of_two():
    logits = torch.eye(1000)[:500]
    assert modes_found(class_counts(logits)) == 500
    assert kl_to_uniform(class_counts(logits)) == pytest.approx(log(2))


def test_uneven_modes_against_the_sum_written_out():
    share = {0: 5 / 8, 1: 2 / 8, 3: 1 / 8}
    logits = logits_of(0, 0, 0, 0, 0, 1, 1, 3, of=4)
    assert modes_found(class_counts(logits)) == 3
    assert kl_to_uniform(class_counts(logits)) == pytest.approx(sum(p * log(p / 0.25) for p in share.values()))


def test_samples_outside_all_modes_lower_quality_and_nothing_else():
    logits = logits_of(0, None, 2, None, None, 1, of=3)
    assert assigned(logits).tolist() == [0, 2, 1]
    assert modes_found(class_counts(logits)) == 3
    assert kl_to_uniform(class_counts(logits)) == pytest.approx(0)
    assert quality(logits) == 0.5


def test_no_sample_in_any_mode_gives_the_worst_score_which_is_still_a_number():
    logits = logits_of(None, None, of=8)
    assert modes_found(class_counts(logits)) == 0
    assert kl_to_uniform(class_counts(logits)) == pytest.approx(log(8))
    assert quality(logits) == 0


def test_the_effect_of_chance_is_as_documented():
    """E[KL] is about (modes - 1) / (2 n) for n samples of an ideal generator."""
    drawn = torch.randint(100, (20_000,), generator=torch.Generator().manual_seed(0))
    logits = torch.nn.functional.one_hot(drawn, 100).float()
    assert kl_to_uniform(class_counts(logits)) == pytest.approx(99 / 40_000, rel=0.5)
