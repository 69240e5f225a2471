"""Clustering accuracy of codes, on tables worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from code_accuracy import accuracy, main, purity


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


def test_a_run_that_is_not_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["code_accuracy.py", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="none"):
        main()
