"""A few steps of every recipe come to the losses that were recorded, as closely as processors agree."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("golden", Path(__file__).with_name("golden.py"))
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

RECORDED = json.loads(golden.LOSSES.read_text())
TOLERANCES = (1e-2, 0.15)
"""Relative, at the first log point and later. CPUs add up in different orders, and the first steps of Adam are as long
as its learning rate, however small a gradient is: the path length of stylegan2-mnist-gpu differs most between two CPUs
at the first log point, by more than half of this. ``golden.py compare`` compares bits.
"""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.full if name.endswith("-gpu") else ()) for name in sorted(RECORDED)],
)
def test_losses_are_those_on_record(name, tmp_path, monkeypatch):
    monkeypatch.setattr("ganzoo.training.trainer.MEASURED_BATCHES", 1)  # of the average, whose samples nobody draws
    found, wanted = golden.trained(name, tmp_path), RECORDED[name]
    assert found["batch"] == wanted["batch"]
    assert len(found["losses"]) == len(wanted["losses"])
    for step, (got, expected) in enumerate(zip(found["losses"], wanted["losses"], strict=True)):
        tolerance = TOLERANCES[min(step, 1)]
        assert got == pytest.approx(expected, rel=tolerance, abs=tolerance), f"log point {step}"


def test_every_recipe_is_on_record():
    assert sorted(golden.names()) == sorted(RECORDED)
