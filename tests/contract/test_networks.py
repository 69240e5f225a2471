"""The checks of ``ganzoo check`` for every registered network."""

from __future__ import annotations

from typing import Any

import pytest

from ganzoo.build import takes_label
from ganzoo.checks import networks as checks
from ganzoo.checks.toys import COLOUR, GREY
from ganzoo.registry.loading import load_zoo
from ganzoo.registry.registry import NETWORK_KINDS

ENTRIES = [entry for kind in NETWORK_KINDS for entry in load_zoo().registry(kind)]
# Named, because the checks pass on what has neither.
WITHOUT_LABELS = {
    ("generator", "semi-supervised"),
    ("discriminator", "semi-supervised"),
    ("discriminator", "pac-dcgan"),
    ("discriminator", "pac-mlp"),
}
WITHOUT_FEATURES = {"autoencoder-dcgan", "autoencoder-mlp"}
networks = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.kind}-{entry.name}")
shapes = pytest.mark.parametrize("shape", checks.SHAPES, ids=str)
# Networks for larger images have the same layers, only more of them.
mostly_grey = pytest.mark.parametrize("shape", [GREY, pytest.param(COLOUR, marks=pytest.mark.full)], ids=str)


@networks
@shapes
def test_the_output_has_the_right_shape_and_range(entry: Any, shape: tuple[int, int, int]) -> None:
    checks.output_shape(entry, shape)


@networks
@mostly_grey
def test_every_parameter_gets_a_finite_gradient(entry: Any, shape: tuple[int, int, int]) -> None:
    checks.gradients(entry, shape)


@networks
def test_gradients_reach_the_input(entry: Any) -> None:
    checks.input_gradients(entry)


@networks
def test_a_network_uses_the_labels_it_takes(entry: Any) -> None:
    network, _ = checks.build(entry, checks.GREY, 10)
    assert takes_label(network) == ((entry.kind, entry.name) not in WITHOUT_LABELS)
    checks.labels(entry)


@networks
def test_a_checkpoint_restores_it(entry: Any) -> None:
    checks.round_trip(entry)


@networks
def test_the_same_seed_gives_the_same_weights(entry: Any) -> None:
    checks.deterministic(entry)


@networks
def test_half_precision_works(entry: Any) -> None:
    checks.half_precision(entry)


@pytest.mark.parametrize(
    ("entry", "classes"),
    [
        pytest.param(entry, classes, id=f"{classes}-{entry.name}")
        for classes in (0, 10)
        for entry in load_zoo().discriminators
        if not classes or (entry.kind, entry.name) not in WITHOUT_LABELS
    ],
)
def test_a_discriminator_that_shares_features_is_the_head_of_its_features(entry: Any, classes: int) -> None:
    network, _ = checks.build(entry, checks.GREY, classes)
    assert hasattr(network, "features") == (entry.name not in WITHOUT_FEATURES)
    checks.shared_features_for(entry, classes)


@pytest.mark.parametrize(
    ("name", "options", "per_image"),
    [
        ("mlp", {}, True),
        ("mlp", {"norm": "layer"}, True),
        ("mlp", {"norm": "batch"}, False),
        ("dcgan", {}, False),
        ("dcgan", {"norm": "none"}, True),
        ("dcgan", {"norm": "instance"}, True),
        ("dcgan", {"norm": "none", "minibatch_std": True}, False),
        ("infogan", {"norm": "none"}, True),
        ("sngan-resnet", {}, True),
        ("sagan", {}, True),
        ("r3gan", {}, True),
        ("stylegan2", {}, False),
    ],
)
def test_per_image_is_set_exactly_if_nothing_mixes_images(name: str, options: dict[str, Any], per_image: bool) -> None:
    entry = load_zoo().discriminators.get(name)
    assert (
        getattr(entry.create(checks.build(entry, checks.GREY)[1], **entry.check(options)), "per_image", False)
        is per_image
    )
    checks.per_image(entry, options)


@networks
def test_a_network_never_waits_for_the_device(entry: Any) -> None:
    checks.capturable(entry)
