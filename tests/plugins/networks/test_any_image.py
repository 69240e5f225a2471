"""Every network takes images whose sides are odd, with labels and without."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from ganzoo import Images
from ganzoo.build import needs_label
from ganzoo.registry.loading import load_zoo
from ganzoo.registry.registry import NETWORK_KINDS, Entry
from ganzoo_checks.training import build, inputs

NARROW = {"width": 4, "hidden": [8, 8], "style": 8}
ENTRIES = [entry for kind in NETWORK_KINDS for entry in load_zoo().registry(kind)]


@pytest.mark.parametrize("shape", [(3, 30, 45), (1, 5, 9)], ids=str)
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.kind}-{entry.name}")
def test_any_image_fits(entry: Entry, shape: tuple[int, int, int]) -> None:
    narrow = {name: value for name, value in NARROW.items() if name in entry.options.types}
    entry = replace(entry, factory=partial(entry.factory, **narrow))
    for classes in (10, 0):
        network, spec = build(entry, Images(*shape), classes)
        out = network(*inputs(entry, network, spec))
        assert out.shape == {"generator": (2, *shape), "discriminator": (2,), "encoder": (2, spec.latent)}[entry.kind]
        if needs_label(network):
            break
