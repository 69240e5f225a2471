"""Any loss with any regularizers, networks, augmentation and labels: it trains, or an error says why not."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest
import torch

from ganzoo import Dataset, GanzooError, Images, Objective
from ganzoo.build import assemble
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import Recipe
from ganzoo.registry.loading import load_zoo
from ganzoo.training.trainer import Trainer

ZOO = load_zoo()
ON_LOGITS = [entry.name for entry in ZOO.losses if not isinstance(entry.create(), Objective)]
SEEDS = range(100)
ALWAYS = 12
"""So many in every run of the tests, all of them in .ci/full."""
BUILT = 50
MIN_VALID = 30
"""Out of so many that are only built: most parts combine freely."""
Few = Callable[[Iterable[str]], dict[str, Any]]


def random_parts(seed: int) -> dict[str, Any]:
    """A random choice of parts."""
    rng = random.Random(seed)

    def names(registry: Any) -> list[str]:
        return [entry.name for entry in registry]

    return {
        "loss": rng.choice(ON_LOGITS),
        "generator": rng.choice(names(ZOO.generators)),
        "discriminator": rng.choice(names(ZOO.discriminators)),
        "regularizers": rng.sample(names(ZOO.regularizers), rng.choice([0, 1, 1, 2, 3])),
        "augmentation": rng.choice([None, *names(ZOO.augmentations)]),
        "conditional": rng.random() < 0.5,
        "spectral_norm": rng.random() < 0.25,
    }


def recipe_of(parts: dict[str, Any], few: Few) -> Recipe:
    generator, discriminator = parts["generator"], parts["discriminator"]
    drawing = {"name": generator, **few(ZOO.generators.get(generator).options.types)}
    judging = {"name": discriminator, **few(ZOO.discriminators.get(discriminator).options.types)}
    overrides = [
        f"loss={parts['loss']}",
        f"networks.generator={json.dumps(drawing)}",
        f"networks.discriminator={json.dumps({**judging, 'spectral_norm': parts['spectral_norm']})}",
        f"regularizers=[{', '.join(parts['regularizers'])}]",
        f"conditional={str(parts['conditional']).lower()}",
        "train.batch_size=4",
        "train.precision=fp32",
        "train.device=cpu",
        *([f"augmentation={parts['augmentation']}"] if parts["augmentation"] else []),
    ]
    return load_recipe("vanilla-mnist", ZOO, overrides)


def data() -> Dataset:
    images = torch.randint(256, (16, 1, 28, 28), dtype=torch.uint8)
    return Dataset("mnist", "train", images, torch.arange(16) % 10, tuple("0123456789"))


def assert_names_a_part(parts: dict[str, Any], message: str) -> None:
    """The message names a part that does not fit; one that quotes a crash would name parts as well."""
    assert "failed to produce" not in message, (parts, message)
    assert "could not build" not in message, (parts, message)
    names = [parts[kind] for kind in ("loss", "generator", "discriminator", "augmentation") if parts[kind]]
    assert any(f"'{name}'" in message for name in [*names, *parts["regularizers"]]), (parts, message)


def assert_trains(parts: dict[str, Any], trainer: Trainer) -> None:
    """After two steps every loss and every weight is finite, and some weight has changed."""
    before = {name: p.detach().clone() for name, p in trainer.networks.named_parameters()}
    for _ in range(2):
        trainer.step()
    infinite = [name for name, value in trainer.meters.flush().items() if not math.isfinite(value)]
    after = dict(trainer.networks.named_parameters())
    infinite += [name for name, parameter in after.items() if not torch.isfinite(parameter).all()]
    assert not infinite, (parts, infinite)
    assert any(not torch.equal(parameter, before[name]) for name, parameter in after.items()), parts


@pytest.mark.parametrize("seed", [pytest.param(n, marks=pytest.mark.full) if n >= ALWAYS else n for n in SEEDS])
def test_a_random_recipe_trains_or_the_error_names_a_part(seed: int, few: Few) -> None:
    parts, trainer, message = random_parts(seed), None, ""
    torch.manual_seed(seed)
    try:
        trainer = Trainer(recipe_of(parts, few), ZOO, dataset=data())
    except GanzooError as error:
        message = str(error)
    if trainer is None:
        assert_names_a_part(parts, message)
    else:
        assert_trains(parts, trainer)


def test_most_combinations_are_valid(few: Few) -> None:
    built = 0
    for seed in range(BUILT):
        with suppress(GanzooError):
            assemble(recipe_of(random_parts(seed), few), ZOO, Images(1, 28, 28), 10)
            built += 1
    assert built >= MIN_VALID
