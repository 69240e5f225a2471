"""Metrics from a classifier's classes, on sets whose scores are known exactly."""

import math

import pytest
import torch
from torch.nn.functional import one_hot

from ganzoo.evaluation.metrics import class_counts, class_coverage, class_entropy


def logits(*classes, among=10):
    """Logits as from a confident classifier."""
    return one_hot(torch.tensor(classes), among).float() * 9


def counts(*classes, among=10):
    return class_counts(logits(*classes, among=among))


def test_the_largest_logit_counts():
    assert counts(0, 2, 2, 2, among=4).tolist() == [1, 0, 3, 0]


def test_one_class_has_no_entropy_and_an_even_spread_has_the_most():
    assert class_entropy(counts(*[3] * 50)) == 0
    assert class_entropy(counts(*range(10))) == pytest.approx(math.log(10), rel=1e-12)
    assert class_entropy(counts(0, 0, 0, 1)) == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4), rel=1e-12)


def test_coverage_refers_to_the_classes_that_real_images_show():
    real = counts(*range(4), among=1000)
    assert class_coverage(counts(0, 1, 1, among=1000), real) == 0.5
    assert class_coverage(counts(7, 8, 9, among=1000), real) == 0
    assert class_coverage(real, real) == 1


def test_a_stray_sample_does_not_cover_a_class():
    real = counts(0, 1)
    assert class_coverage(counts(*[0] * 96, *[1] * 4), real) == 0.5  # less than a tenth of its share, one half
    assert class_coverage(counts(*[0] * 94, *[1] * 6), real) == 1
