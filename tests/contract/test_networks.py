"""What every registered network must do, whoever wrote it; the checks themselves are ``ganzoo check``'s."""

from __future__ import annotations

from typing import Any

import pytest

from ganzoo.checks import networks as checks
from ganzoo.registry.loading import load_zoo
from ganzoo.registry.registry import NETWORK_KINDS

ENTRIES = [entry for kind in NETWORK_KINDS for entry in load_zoo().registry(kind)]
networks = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.kind}-{entry.name}")
shapes = pytest.mark.parametrize("shape", checks.SHAPES, ids=str)


@networks
@shapes
def test_the_output_has_the_shape_and_range_of_its_kind(entry: Any, shape: tuple[int, int, int]) -> None:
    checks.output(entry, shape)


@networks
@shapes
def test_every_parameter_gets_a_finite_gradient(entry: Any, shape: tuple[int, int, int]) -> None:
    checks.gradients(entry, shape)


@networks
def test_gradients_reach_the_input(entry: Any) -> None:
    checks.input_gradients(entry)


@networks
def test_labels_are_taken_or_there_is_no_place_for_them(entry: Any) -> None:
    checks.labels(entry)


@networks
def test_the_state_survives_a_round_trip(entry: Any) -> None:
    checks.round_trip(entry)


@networks
def test_one_seed_gives_one_network(entry: Any) -> None:
    checks.deterministic(entry)


@networks
def test_half_precision_arithmetic_works(entry: Any) -> None:
    checks.half_precision(entry)


@pytest.mark.parametrize("entry", load_zoo().discriminators, ids=lambda entry: entry.name)
@pytest.mark.parametrize("classes", [0, 10])
def test_a_discriminator_that_shares_features_is_its_head_on_them(entry: Any, classes: int) -> None:
    checks.shared_features_for(entry, classes)


@pytest.mark.parametrize(
    ("name", "options", "alone"),
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
def test_a_discriminator_looks_at_each_image_alone_just_where_it_says_so(
    name: str, options: dict[str, Any], alone: bool
) -> None:
    entry = load_zoo().discriminators.get(name)
    assert (
        getattr(entry.create(checks.built(entry, checks.GREY)[1], **entry.check(options)), "per_image", False) is alone
    )
    checks.per_image_with(entry, options)


@networks
def test_a_network_never_waits_for_the_device(entry: Any) -> None:
    checks.capturable(entry)
