"""Numbers that a user may set: those that make no sense, or that no tensor can hold, are refused with a message."""

import re
from collections.abc import Sequence
from typing import Annotated

import pytest
from pydantic import Field
from torch import nn
from typer.testing import CliRunner

from ganzoo import Images, build
from ganzoo.build import assemble, memory_guard
from ganzoo.cli import app
from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError
from ganzoo.registry.registry import Options


def refused(*arguments):
    """What the command says to a user's mistake."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if isinstance(result.exception, GanzooError):
        assert result.exception.exit_code == 2
        return str(result.exception)
    assert result.exit_code == 2, (result.output, result.exception)
    return " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("recipe", "setting", "bound"),
    [
        ("ada-mnist", "augmentation.rotation=1e308", "augmentation.rotation must be at most 360, not 1e+308"),
        ("ada-mnist", f"augmentation.interval={2**70}", "augmentation.interval must be at most 1000000"),
        ("consistency-mnist", f"regularizers.0.shift={2**63}", "regularizers.0.shift must be at most 4096"),
        ("r3gan-resnet-mnist", "networks.generator.blocks=1000000000", "generator.blocks must be at most 1000"),
        ("semi-supervised-mnist", f"loss.labels_per_class={10**30}", "labels_per_class must be at most 10000"),
        ("wgan-gp-mnist", "regularizers.0.target=-1", "regularizers.0.target must be at least 0"),
        ("vanilla-mnist", f"train.seed={2**63}", "train.seed must be at most 9223372036854775807"),
        ("vanilla-mnist", "networks.generator.hidden=[65537]", "generator.hidden.0 must be at most 65536"),
    ],
)
def test_a_number_beyond_its_bound_is_refused_with_the_bound(zoo, recipe, setting, bound):
    with pytest.raises(GanzooError, match=re.escape(bound)):
        load_recipe(recipe, zoo, [setting])


@pytest.mark.parametrize("device", ["meta", "cuda:99", "cpu:x"])
def test_a_device_that_does_not_train_is_refused(device, tmp_path):
    said = refused("run", "vanilla-mnist", "--set", f"train.device={device}", "--out", tmp_path / "run")
    assert f"device '{device}'" in said


@pytest.mark.parametrize("classes", [2, 11])
def test_a_game_of_other_classes_than_the_datasets_is_refused(classes, tmp_path):
    said = refused("run", "semi-supervised-mnist", "--set", f"loss.classes={classes}", "--out", tmp_path / "run")
    assert f"set to {classes} classes, but the dataset has 10. Set loss.classes: 10." in said


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (("sample", "run", "--out", "x.png", "--seed", "1" * 20), "--seed"),
        (("sample", "run", "--out", "x.png", "--n", 2**70), "--n"),
        (("eval", "x.npz", "--seed", "1" * 20), "--seed"),
        (("eval", "x.npz", "--samples", 2**70), "--samples"),
        (("run", "vanilla-mnist", "--seed", "1" * 20), "--seed"),
        (("bench", "vanilla-mnist", "--seed", "1" * 20), "--seed"),
        (("bench", "vanilla-mnist", "--jobs", 2**70), "--jobs"),
        (("bench", "vanilla-mnist", "--threads", 2**70), "--threads"),
    ],
)
def test_options_of_the_command_have_bounds(arguments, culprit):
    said = refused(*arguments)
    assert culprit in said
    assert any(str(bound) in said for bound in (2**63 - 1, 1_000_000, 1024)), said


def plugin(
    *,
    pair: tuple[float, int] = (0.0, 0),
    many: Sequence[float] = (),
    named: dict[str, Annotated[int, Field(ge=0)]] = {},  # noqa: B006
    own: Annotated[float, Field(gt=0, le=2)] = 1.0,
    flag: bool = False,
): ...


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"pair": [0.0, 1.5]}, "pair.1 must be a whole number"),
        ({"many": [0.0, float("inf")]}, "many.1 must be finite"),
        ({"named": {"a": -1}}, "named.a must be at least 0"),
        ({"own": 3.0}, "own must be at most 2"),
        ({"own": 0.0}, "own must be greater than 0"),
    ],
)
def test_the_numbers_of_a_plugins_option_are_those_that_it_allows(options, sentence):
    with pytest.raises(GanzooError, match=sentence):
        Options("loss 'strange'", plugin).check(options)


def test_bounds_change_no_value_within_them():
    options = {"pair": [1.5, -(2**63)], "many": [1e-45], "named": {"a": 7}, "own": 2.0, "flag": True}
    checked = Options("loss 'strange'", plugin).check(options)
    assert checked == {**options, "pair": (1.5, -(2**63)), "many": checked["many"]}
    assert list(checked["many"]) == [1e-45]
    with pytest.raises(GanzooError, match="flag must be true or false"):
        Options("loss 'strange'", plugin).check({"flag": 1})


def test_a_network_of_a_billion_small_layers_is_refused_before_it_is_built():
    too_many = pytest.raises(GanzooError, match="The generator 'deep' would have more than 3,000 tensors of weights")
    with too_many, memory_guard("The generator 'deep'"):
        nn.Sequential(*(nn.Linear(1, 1) for _ in range(10**9)))


def test_networks_that_a_loss_adds_are_counted_too(zoo, monkeypatch):
    monkeypatch.setattr(build, "machine_memory", lambda: 64 * 2**20)
    recipe = load_recipe("aae-mnist", zoo, ["loss.hidden=[65536, 65536]"])
    with pytest.raises(GanzooError, match="The loss 'aae' would have more than 16,777,216 weights"):
        assemble(recipe, zoo, Images(1, 28, 28), 10)
