"""Clustering accuracy of codes, on tables worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from code_accuracy import accuracy, purity


def test_a_permutation_is_a_perfect_clustering() -> None:
    table = np.array([[0, 5, 0], [0, 0, 7], [3, 0, 0]])
    assert accuracy(table) == purity(table) == 1.0


def test_two_codes_of_one_class_are_pure_and_not_accurate() -> None:
    table = np.array([[10, 0], [10, 0]])
    assert accuracy(table) == pytest.approx(0.5)
    assert purity(table) == 1.0


def test_the_assignment_is_the_best_one_and_not_the_greedy_one() -> None:
    table = np.array([[9, 8], [8, 0]])
    assert accuracy(table) == pytest.approx(16 / 25)
