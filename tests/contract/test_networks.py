"""The checks of ``ganzoo check`` for every registered network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from ganzoo.build import takes_label
from ganzoo.registry.loading import load_zoo
from ganzoo.registry.registry import NETWORK_KINDS
from ganzoo_checks import training as checks

ENTRIES = [entry for kind in NETWORK_KINDS for entry in load_zoo().registry(kind)]
# Named, because the checks pass on what has neither.
WITHOUT_LABELS = {
    ("generator", "semi-supervised"),
    ("discriminator", "semi-supervised"),
    ("discriminator", "pac-dcgan"),
    ("discriminator", "pac-mlp"),
    ("generator", "unet"),
    ("generator", "resnet-translator"),
    ("discriminator", "patchgan"),
}
WITHOUT_FEATURES = {"autoencoder-dcgan", "autoencoder-mlp", "patchgan"}
networks = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.kind}-{entry.name}")
narrow = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.kind}-{entry.name}", indirect=True)


@pytest.fixture
def entry(request: pytest.FixtureRequest, few: Callable[[Iterable[str]], dict[str, Any]]) -> Any:
    """A network that is narrow by default."""
    return changed(request.param, few(request.param.options.types))


def changed(entry: Any, options: Mapping[str, Any]) -> Any:
    """A network with other defaults."""
    return replace(entry, factory=partial(entry.factory, **options))


@networks
def test_the_output_has_the_right_shape_and_range(entry: Any, few: Callable[[Iterable[str]], dict[str, Any]]) -> None:
    """At its own size, but in few steps: each repeats the same layers."""
    checks.shape(changed(entry, few({"steps"} & entry.options.types.keys())), load_zoo())


@narrow
def test_every_parameter_gets_a_finite_gradient(entry: Any) -> None:
    checks.gradients(entry, load_zoo())


@narrow
def test_a_network_uses_its_input_and_the_labels_it_takes(entry: Any) -> None:
    network, _ = checks.build(entry, checks.IMAGES[0], 10)
    assert takes_label(network) == ((entry.kind, entry.name) not in WITHOUT_LABELS)
    checks.uses_inputs(entry, load_zoo())


@narrow
def test_the_same_seed_and_a_checkpoint_give_the_same_losses(entry: Any) -> None:
    checks.reproducible(entry, load_zoo())


@narrow
def test_half_precision_works(entry: Any) -> None:
    checks.half_precision(entry, load_zoo())


@pytest.mark.parametrize("entry", load_zoo().discriminators, ids=lambda entry: entry.name, indirect=True)
def test_a_discriminator_that_shares_features_is_the_head_of_its_features(entry: Any) -> None:
    network, _ = checks.build(entry, checks.IMAGES[0], 0)
    assert hasattr(network, "features") == (entry.name not in WITHOUT_FEATURES)
    checks.attributes(entry, load_zoo())


@pytest.mark.parametrize(
    ("name", "options", "per_image"),
    [
        ("mlp", {}, True),
        ("mlp", {"norm": "layer"}, True),
        ("mlp", {"norm": "batch"}, False),
        ("dcgan", {}, False),
        ("dcgan", {"norm": "none"}, True),
        ("dcgan", {"norm": "instance"}, True),
        ("dcgan", {"norm": "layer"}, True),
        ("dcgan", {"norm": "none", "minibatch_std": True}, False),
        ("cdcgan", {"norm": "none"}, True),
        ("infogan", {"norm": "none"}, True),
        ("infogan", {"norm": "layer"}, True),
        ("sngan-resnet", {}, True),
        ("sagan", {}, True),
        ("r3gan", {}, True),
        ("stylegan2", {}, False),
        ("autoencoder-mlp", {}, True),
        ("autoencoder-mlp", {"norm": "batch"}, False),
        ("autoencoder-dcgan", {}, False),
        ("autoencoder-dcgan", {"norm": "none"}, True),
        ("minibatch-mlp", {}, False),
        ("minibatch-dcgan", {"norm": "none"}, False),
        ("pac-mlp", {}, False),
        ("pac-dcgan", {"norm": "none"}, False),
        ("semi-supervised", {}, True),
        ("patchgan", {}, False),
        ("patchgan", {"norm": "instance"}, True),
    ],
)
def test_per_image_is_set_exactly_if_nothing_mixes_images(
    name: str, options: dict[str, Any], per_image: bool, few: Callable[[Iterable[str]], dict[str, Any]]
) -> None:
    entry = load_zoo().discriminators.get(name)
    entry = changed(entry, {**few(entry.options.types), **options})
    network, _ = checks.build(entry, checks.IMAGES[0], 0)
    assert getattr(network, "per_image", False) is per_image
    checks.attributes(entry, load_zoo())


@narrow
def test_a_network_never_waits_for_the_device(entry: Any) -> None:
    checks.capturable(entry, load_zoo())
