"""Every network takes images whose sides are odd, with labels and without; and labels in each way that it offers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from ganzoo import Images
from ganzoo.build import needs_label
from ganzoo.registry.loading import load_zoo
from ganzoo.registry.registry import NETWORK_KINDS, Entry
from ganzoo_checks.training import build, inputs

NARROW = {"width": 4, "hidden": [8, 8], "style": 8}
JUDGES = [entry for entry in load_zoo().discriminators if "conditioning" in entry.options.types]
ENTRIES = [entry for kind in NETWORK_KINDS for entry in load_zoo().registry(kind)]


def narrow(entry: Entry, **options: str) -> Entry:
    few = {name: value for name, value in NARROW.items() if name in entry.options.types}
    return replace(entry, factory=partial(entry.factory, **few, **options))


@pytest.mark.parametrize("shape", [(3, 30, 45), (1, 5, 9)], ids=str)
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.kind}-{entry.name}")
def test_any_image_fits(entry: Entry, shape: tuple[int, int, int]) -> None:
    entry = narrow(entry)
    for classes in (10, 0):
        network, spec = build(entry, Images(*shape), classes)
        out = network(*inputs(entry, network, spec))
        assert out.shape == {"generator": (2, *shape), "discriminator": (2,), "encoder": (2, spec.latent)}[entry.kind]
        if needs_label(network):
            break


@pytest.mark.parametrize("conditioning", ["projection", "concat"])
@pytest.mark.parametrize("entry", JUDGES, ids=lambda entry: entry.name)
def test_each_label_is_judged_differently_in_both_ways(entry: Entry, conditioning: str) -> None:
    network, _ = build(narrow(entry, conditioning=conditioning), Images(1, 28, 28), 3)
    images = torch.rand(1, 1, 28, 28).expand(3, -1, -1, -1)
    assert len(network.eval()(images, torch.arange(3)).unique()) == 3
