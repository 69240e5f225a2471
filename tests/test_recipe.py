"""Recipes: what is accepted, what is refused, and how a refusal reads."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import yaml

from ganzoo import Extractor, GaussianPrior, Images, Objective, Regularizer
from ganzoo.api.adversarial import _total
from ganzoo.build import assemble
from ganzoo.config.checking import headline, how_to_score, known
from ganzoo.config.loading import load_recipe, parse_recipe, recipe_for
from ganzoo.config.schema import (
    Component,
    DatasetConfig,
    EvaluateConfig,
    NetworkConfig,
    ScheduleConfig,
    Until,
    training_digest,
)
from ganzoo.errors import GanzooError, visible
from ganzoo.registry import strict
from ganzoo.registry.registry import Entry

BASE = {
    "summary": "A small recipe",
    "paper": "Someone 2020",
    "dataset": "mnist",
    "networks": {"generator": {"name": "mlp", "hidden": [16]}, "discriminator": "mlp"},
    "loss": "non-saturating",
    "regularizers": [{"name": "r1", "weight": 2}, "r2"],
    "optimizers": {"default": {"name": "adam", "lr": 2e-4, "betas": [0.5, 0.999]}},
    "train": {"images": 1000, "batch_size": 100},
    "evaluate": {"every_images": 500, "metrics": ["fid@mnist-cnn"], "samples": 256},
}
ABSENT = object()


def changed(changes):
    """BASE with values at dotted paths replaced, added or taken away."""
    data = copy.deepcopy(BASE)
    for path, value in changes.items():
        *parents, last = path.split(".")
        inner = data
        for key in parents:
            inner = inner.setdefault(key, {})
        if value is ABSENT:
            del inner[last]
        else:
            inner[last] = value
    return data


@pytest.fixture
def load(tmp_path, own_zoo):
    def write_and_load(changes=None, overrides=(), name="small.yaml"):
        path = tmp_path / name
        path.write_text(yaml.safe_dump(changed(changes or {})))
        return load_recipe(path, own_zoo, overrides)

    return write_and_load


@pytest.fixture
def read_back(tmp_path, zoo):
    """What a recipe's file says once it is written again."""

    def write_and_load(recipe):
        copied = tmp_path / "again" / "small.yaml"
        copied.parent.mkdir()
        copied.write_text(recipe.to_yaml())
        return load_recipe(copied, zoo)

    return write_and_load


@pytest.fixture
def refusal(load):
    def sentence(changes=None, overrides=()):
        with pytest.raises(GanzooError) as caught:
            load(changes, overrides)
        assert caught.value.exit_code == 2
        return str(caught.value)

    return sentence


def test_everything_is_filled_in(load):
    recipe = load()
    assert recipe.name == "small"
    assert recipe.dataset == DatasetConfig(name="mnist")
    assert recipe.networks["generator"].options["hidden"] == [16]
    assert recipe.networks["discriminator"].options["hidden"] == [512, 256]
    assert recipe.networks["generator"].spectral_norm is False
    assert [(one.name, one.options["weight"], one.options["every_steps"]) for one in recipe.regularizers] == [
        ("r1", 2.0, 1),
        ("r2", 10.0, 1),
    ]
    assert recipe.prior == Component(name="gaussian", options={"dim": 100})
    assert recipe.optimizers["default"].options == {
        "lr": 2e-4,
        "decay": "constant",
        "betas": (0.5, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
    }
    assert (recipe.train.seed, recipe.train.ema, recipe.train.until) == (0, 0.999, None)
    assert (recipe.conditional, recipe.augmentation, recipe.trackers, recipe.phases) == (False, None, (), {})


def test_without_an_evaluate_section_nothing_is_measured(load):
    assert load({"evaluate": ABSENT}).evaluate == EvaluateConfig(every_images=None, metrics=(), samples=10_000)


def test_a_summary_and_a_citation_are_one_line_however_they_are_written(load):
    recipe = load({"summary": "One\n  two\n", "paper": "Nobody 2020,\n\nA paper\n"})
    assert (recipe.summary, recipe.paper) == ("One two", "Nobody 2020, A paper")


def test_a_resolved_recipe_reads_back_to_the_same(load, read_back):
    changes = {
        "networks.generator.spectral_norm": True,
        "prior": {"name": "codes", "categorical": [10, 3]},
        "loss": "infogan",
        "regularizers": [],
        "optimizers.recognition": {"name": "adamw", "lr": 1e-5},
        "optimizers.generator": {"name": "rmsprop", "lr": 1},
        "phases": {"discriminator": {"repeat": 5}},
        "train.until": {"metric": "fid@mnist-cnn", "below": 3},
        "train.ema": None,
        "paper": None,
    }
    recipe = load(changes)
    assert recipe.prior.options == {"dim": 62, "categorical": (10, 3), "continuous": 2}
    assert recipe.optimizers["recognition"].options["weight_decay"] == 0.01
    assert recipe.train.until == Until(metric="fid@mnist-cnn", below=3.0)
    again = read_back(recipe)
    assert again == recipe
    assert again.to_yaml() == recipe.to_yaml()


SCHEDULED = {
    "optimizers.default.lr": {"start": 1e-3, "end": 1e-4, "shape": "cosine"},
    "optimizers.default.betas": [0.0, {"start": 0.9, "end": 0.99, "images": 500}],
    "regularizers": [{"name": "r1", "weight": {"start": 2, "end": 1, "delay": 100}}, "r2"],
    "train.ema": {"start": 0.5, "end": 0.999, "shape": "linear"},
    "augmentation": {"name": "ada", "p": {"start": 0, "end": 0.5}},
}


def test_what_may_change_during_training_takes_a_schedule(load, read_back):
    recipe = load(SCHEDULED)
    assert recipe.optimizers["default"].options["lr"] == ScheduleConfig(start=1e-3, end=1e-4, shape="cosine")
    assert recipe.optimizers["default"].options["betas"] == (0.0, ScheduleConfig(start=0.9, end=0.99, images=500))
    assert recipe.regularizers[0].options["weight"] == ScheduleConfig(start=2.0, end=1.0, delay=100)
    assert recipe.regularizers[0].initial_options()["weight"] == 2.0
    assert recipe.regularizers[1].schedules() == {}
    assert recipe.train.ema == ScheduleConfig(start=0.5, end=0.999)
    assert read_back(recipe) == recipe


def test_an_option_of_a_plugin_s_own_may_be_called_every(own_zoo):
    class Timed(Regularizer):
        """Something with a period of its own."""

        def __init__(self, *, every: int = 3) -> None:
            super().__init__()
            self.period = every

    own_zoo.regularizers.add(Entry("regularizer", "timed", Timed, "Has a period", None, "clock", "clock 1.0"))
    recipe = load_recipe("vanilla-mnist", own_zoo, ["regularizers=[{name: timed, every: 5}]"])
    assert recipe.regularizers[0].options == {"every": 5}


@pytest.mark.parametrize("name", ["lsgan-mnist", "LSGAN-mnist", "least-square-mnist"])
def test_recipes_by_the_names_that_people_type(zoo, name):
    with pytest.raises(GanzooError) as caught:
        load_recipe(name, zoo)
    assert str(caught.value) == f"Unknown recipe '{name}'. Did you mean 'least-squares-mnist'?"


def test_every_registered_recipe_reads_back_to_the_same(zoo, tmp_path):
    for entry in zoo.recipes:
        recipe = load_recipe(entry.name, zoo)
        (tmp_path / f"{entry.name}.yaml").write_text(recipe.to_yaml())
        assert load_recipe(tmp_path / f"{entry.name}.yaml", zoo) == recipe
        assert (recipe.summary, recipe.paper) == (entry.summary, entry.paper)


def test_components_are_built_in_code_as_in_files():
    assert NetworkConfig(name="mlp", options={"hidden": [3]}) == NetworkConfig.model_validate(
        {"name": "mlp", "hidden": [3]}
    )
    assert NetworkConfig.model_validate("mlp") == NetworkConfig(name="mlp", spectral_norm=False, options={})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"los": "hinge"}, "the recipe has no key 'los'. Did you mean 'loss'?"),
        # One mistake, though the right key is missing.
        ({"los": "hinge", "loss": ABSENT}, "yaml: the recipe has no key 'los'. Did you mean 'loss'?"),
        (
            {"optimizers.default": {"name": "adam", "learning_rat": 1e-4}},
            "yaml: optimizers.default has no option 'learning_rat'. Did you mean 'lr'?",
        ),
        ({"loss": ABSENT}, "the recipe needs the key 'loss'."),
        (
            {"optimizers.default.learning_rat": 1e-4},
            "optimizers.default has no option 'learning_rat'. Did you mean 'lr'?",
        ),
        (
            {"optimizers.default.zzzzz": 1},
            "Known: amsgrad, betas, decay, decoupled_weight_decay, eps, lazy_scaling, lr, weight_decay.",
        ),
        ({"optimizers.default": {"lr": 1e-4}}, "optimizers.default needs the key 'name'."),
        (
            {"regularizers": [{"nam": "r1", "weight": 1}]},
            "regularizers.0 needs the key 'name'.",
        ),
        ({"optimizers.default.name": "adamm"}, "optimizers.default: Unknown optimizer 'adamm'. Did you mean 'adam'?"),
        ({"optimizers.default.lr": "1e-4x"}, "optimizers.default.lr must be a number, not '1e-4x'."),
        ({"optimizers.default.lr": float("inf")}, "optimizers.default.lr must be finite, not inf."),
        ({"optimizers": {}}, "optimizers must be at least 1 long, not {}."),
        ({"train.images": 0}, "train.images must be at least 1, not 0."),
        ({"train.images": 10**12 + 1}, "train.images must be at most 1000000000000, not 1000000000001."),
        ({"train.images": "1000"}, "train.images must be a whole number, not '1000'."),
        ({"train.images": 1e5}, "train.images must be a whole number, not 100000.0. Write 100000."),
        ({"train.threads": 2.0}, "train.threads must be 'auto' or a whole number, not 2.0. Write 2."),
        (
            {"train.engine": "fast"},
            "train.engine must be 'eager', 'compile', 'cudagraph', 'compile-cudagraph' or 'auto', not 'fast'.",
        ),
        ({"train.images": True}, "train.images must be a whole number, not true."),
        ({"train.ema": 1}, "train.ema must be less than 1, not 1."),
        ({"train.ema": 0.0}, "train.ema must be greater than 0, not 0.0."),
        ({"train.seed": -1}, "train.seed must be at least 0, not -1."),
        ({"train.seed": 2**63}, "train.seed must be at most 9223372036854775807"),
        ({"train.precision": "fp16"}, "train.precision must be 'auto', 'fp32', 'tf32' or 'bf16', not 'fp16'."),
        ({"train.epochs": 3}, "train has no key 'epochs'. Did you mean 'images'?"),
        ({"train": None}, "train must be a mapping, not null."),
        ({"train.batch_size": 1001}, "train has a batch_size of 1001, more than its images (1000)."),
        ({"conditional": "yes"}, "conditional must be true or false, not 'yes'."),
        ({"summary": ""}, "summary must be at least 1 characters long, not ''."),
        ({"prior": {"name": "gauss"}}, "Unknown prior 'gauss'. Did you mean 'gaussian'?"),
        ({"phases": {"discriminator": {"repeat": 0}}}, "phases.discriminator.repeat must be at least 1, not 0."),
        (
            {"phases": {"discriminator": {"repat": 1}}},
            "phases.discriminator has no key 'repat'. Did you mean 'repeat'?",
        ),
        ({"evaluate.samples": 1}, "evaluate.samples must be at least 2, not 1."),
        ({"evaluate.every_images": 0}, "evaluate.every_images must be at least 1, not 0."),
        (
            {"evaluate.metrics": "fid@mnist-cnn"},
            "evaluate.metrics must be a list, not 'fid@mnist-cnn'. Write [fid@mnist-cnn].",
        ),
        (
            {"evaluate.metrics": ["fid"]},
            "evaluate.metrics.0: The metric 'fid' does not name an extractor. Write <metric>@<extractor>, such as ",
        ),
        (
            {"evaluate.metrics": ["fud@mnist-cnn"]},
            "evaluate.metrics.0: Unknown metric 'fud'. Did you mean 'fid'?",
        ),
        ({"evaluate.metrics": ["fud"]}, "evaluate.metrics.0: Unknown metric 'fud'. Did you mean 'fid'?"),
        (
            {"evaluate.metrics": ["fid@mnist-cn"]},
            "evaluate.metrics.0: Unknown extractor 'mnist-cn'. Did you mean 'mnist-cnn'?",
        ),
        (
            {"train.until": {"metric": "fid@other", "below": 1}},
            "train.until waits for 'fid@other', which is not in evaluate.metrics. It lists fid@mnist-cnn.",
        ),
        (
            {"train.until": {"metric": "fid@mnist-cnn", "below": 1}, "evaluate.every_images": None},
            "Set evaluate.every_images:",
        ),
        ({"train.until": {"metric": "fid@mnist-cnn", "below": 0}}, "train.until.below must be greater than 0, not 0."),
        (
            {"evaluate.metrics": ["recall@mnist-cnn"], "train.until": {"metric": "recall@mnist-cnn", "below": 1}},
            "train.until waits for 'recall@mnist-cnn' to fall, but lower is not better for it.",
        ),
        (
            {"evaluate.metrics": ["accuracy@mnist-cnn"]},
            "the recipe scores 'accuracy@mnist-cnn', which needs conditional: true.",
        ),
        (
            {"networks.generator.name": "dcgann"},
            "networks.generator: Unknown generator 'dcgann'. Did you mean 'dcgan'?",
        ),
        ({"networks.generator.hiden": [1]}, "networks.generator has no option 'hiden'. Did you mean 'hidden'?"),
        ({"networks.generator.hidden": [8, "a"]}, "networks.generator.hidden.1 must be a whole number, not 'a'."),
        ({"networks.generator": {"hidden": [1]}}, "networks.generator needs the key 'name'."),
        ({"networks.generator.spectral_norm": 1}, "networks.generator.spectral_norm must be true or false, not 1."),
        ({"networks.generator.options": {"hidden": [1]}}, "networks.generator has no option 'options'."),
        (
            {"networks.discriminator": ABSENT},
            "networks needs the key 'discriminator'. The loss 'non-saturating' trains generator, discriminator.",
        ),
        ({"networks.encoder": "mlp"}, "networks has no key 'encoder'. The loss 'non-saturating' trains"),
        (
            {"loss": "non-saturated"},
            "Unknown loss 'non-saturated'. Did you mean 'non-saturating'?",
        ),
        (
            {"networks": {"generater": "mlp", "discriminator": "mlp"}},
            "networks has no key 'generater'. Did you mean 'generator'?",
        ),
        (
            {"networks": {"generator": "mlp", "critic": "mlp"}},
            "networks has no key 'critic'. Did you mean 'discriminator'?",
        ),
        ({"loss": {"name": "hinge", "margn": 2}}, "yaml: loss has no option 'margn'. It takes none."),
        ({"loss": "r1"}, "yaml: 'r1' is a regularizer, not a loss. Put it under 'regularizers'."),
        ({"regularizers": ["hinge"]}, "regularizers.0: 'hinge' is a loss, not a regularizer. Put it under 'loss'."),
        ({"augmentation": "r1"}, "'r1' is a regularizer, not an augmentation. Put it under 'regularizers'."),
        ({"networks.generator": "autoencoder-mlp"}, "networks.generator: Unknown generator 'autoencoder-mlp'."),
        ({"dataset": 3}, "dataset must be a name or a mapping, not 3."),
        ({"augmentation": ["ada"]}, "augmentation must be a name or a mapping, not ['ada']."),
        ({"networks.generator": ["mlp"]}, "networks.generator must be a name or a mapping, not ['mlp']."),
        ({"train.init_from": 3}, "train.init_from must be text or a mapping, not 3."),
        ({"dataset": "mnis"}, "Unknown dataset 'mnis'. Did you mean 'mnist'?"),
        ({"regularizers": ["r1", {"name": "r2", "weight": "2"}]}, "regularizers.1.weight must be a number, not '2'."),
        ({"augmentation": "diffaug"}, "Unknown augmentation 'diffaug'."),
        ({"augmentation": "none"}, "Unknown augmentation 'none'. Write null for no augmentation."),
        ({"train.ema": "None"}, "train.ema must be a number, not 'None'. In YAML, None is null."),
        ({"train.precision": "none"}, "or 'bf16', not 'none'."),
        ({"trackers": ["tensorbord"]}, "trackers.0: Unknown tracker 'tensorbord'."),
        ({"loss": "wgan"}, "Unknown loss 'wgan'. Did you mean 'wasserstein'?"),
        ({"loss": "lsgan"}, "Unknown loss 'lsgan'. Did you mean 'least-squares'?"),
        ({"loss": "bce"}, "Unknown loss 'bce'. Did you mean 'non-saturating'?"),
        ({"loss": "rsgan"}, "Unknown loss 'rsgan'. Did you mean 'relativistic-pairing'?"),
        ({"optimizers.default.name": "LBFGS"}, "The optimizer 'LBFGS' cannot train a GAN here"),
        ({"evaluate.every": 500}, "evaluate has no key 'every'. Known: anyway, every_images, metrics, samples."),
        (
            {"regularizers": [{"name": "r1", "every": 4}]},
            "regularizers.0 has no option 'every'. Did you mean 'every_steps'?",
        ),
        (
            {"phases": {"generator": {"every": 2}}},
            "phases.generator has no key 'every'. Did you mean 'every_steps'?",
        ),
        ({"optimizers.default.lr": {"start": 1}}, "optimizers.default.lr needs the key 'end'."),
        (
            {"optimizers.default.lr": {"start": 1, "end": 0, "shap": "cosine"}},
            "has no key 'shap'. Did you mean 'shape'?",
        ),
        ({"optimizers.default.lr": {"start": 0, "end": 1}}, "optimizers.default.lr must be greater than 0, not 0.0."),
        (
            {"optimizers.default.lr": {"start": 1, "end": 0, "shape": "exponential"}},
            "optimizers.default.lr is exponential, so start and end must both be positive or both negative.",
        ),
        (
            {"optimizers.default.lr": {"start": 1, "end": 0.5}, "optimizers.default.decay": "linear"},
            "optimizers.default has both a schedule of lr and a decay. Remove one of the two.",
        ),
        (
            {"optimizers.default.betas": [0, {"start": 0.9, "end": 1}]},
            "optimizers.default.betas.1 must be less than 1, not 1.0.",
        ),
        ({"optimizers.default.eps": {"start": 1e-8, "end": 1e-4}}, "optimizers.default.eps must be a number"),
        ({"train.ema": {"start": 0.5, "end": 1}}, "train.ema has end 1, which must be at least 0 and less than 1."),
        ({"train.ema": {"start": 0.5, "end": 0.9, "images": 0}}, "train.ema.images must be at least 1, not 0."),
        (
            {"regularizers": [{"name": "r1", "every_steps": {"start": 1, "end": 2}}]},
            "regularizers.0.every_steps must be a whole number",
        ),
        (
            {"augmentation": {"name": "ada", "p": {"start": 0, "end": 1.5}}},
            "augmentation.p must be at most 1, not 1.5.",
        ),
        ({"name": "other"}, "the recipe has no key 'name'. A recipe takes its name from its file."),
    ],
)
def test_refusals(refusal, tmp_path, changes, expected):
    sentence = refusal(changes)
    assert sentence.startswith(f"{tmp_path / 'small.yaml'}: ")
    assert expected in sentence
    assert "\n" not in sentence


def test_all_mistakes_are_told_together_and_five_are_enough(refusal):
    lines = refusal({"train.images": 0, "train.seed": -1, "networks.generator.name": 3, "los": "x"}).splitlines()
    assert len(lines) == 4
    lines = refusal({"loss": "minimaxx", "networks.generator.hiden": [1], "regularizers": ["r3"]}).splitlines()
    assert len(lines) == 3
    lines = refusal({f"zzz{n}": 1 for n in range(8)}).splitlines()
    assert len(lines) == 6
    assert lines[-1] == "... and 3 more."


@pytest.mark.parametrize("name", ["My Recipe.yaml", "a_b.yaml", ".yaml"])
def test_a_recipe_file_has_a_name_of_words(load, name):
    with pytest.raises(GanzooError, match=r"malformed\. Rename the file, for example to (my-recipe|a-b|yaml)"):
        load(name=name)


def test_unknown_recipes(zoo, tmp_path):
    with pytest.raises(GanzooError, match=r"Unknown recipe 'vanila-mnist'\. Did you mean 'vanilla-mnist'\?"):
        load_recipe("vanila-mnist", zoo)
    with pytest.raises(GanzooError, match="No such file: .*missing.yaml"):
        load_recipe(str(tmp_path / "missing.yaml"), zoo)
    with pytest.raises(GanzooError, match="No such file:"):
        load_recipe(tmp_path / "missing", zoo)


def test_a_folder_is_no_recipe(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my pngs").mkdir()
    (tmp_path / "r1").mkdir()
    (tmp_path / "r1" / "run.json").write_text("{}")
    assert call("run", "r1") == (2, "", "r1 is a run folder. `ganzoo run --resume r1` resumes it.\n")
    remedy = "`ganzoo run --data 'my pngs'` trains on the pictures in it."
    assert call("run", "my pngs") == (2, "", f"my pngs is a folder, not a recipe. {remedy}\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("summary: My GAN: a test", "line 1, column 16: mapping values are not allowed in this context. Put text that"),
        ("train: [a=[8, 8], b=2]", "expected ',' or ']'. Put text that contains [ or { in quotes: [\"a=[1, 2]\"]."),
        ("train: {device: cuda: 1}", "Put text that contains ': ' in quotes."),
        ("train:\n  images: 100\n   seed: 3", "not allowed in this context. Check the indentation of this line."),
        ("train:\n\timages: 100", "line 2, column 1: found character that cannot start any token. Indent with spaces."),
        ("train:\n  images: 100\n\tseed: 3", "line 3, column 1: found a tab character that violates indentation. Ind"),
    ],
)
def test_mistakes_of_yaml_have_a_remedy(tmp_path, zoo, text, expected):
    (tmp_path / "small.yaml").write_text(text)
    with pytest.raises(GanzooError) as caught:
        load_recipe(tmp_path / "small.yaml", zoo)
    assert expected in str(caught.value)


def test_a_metric_that_is_listed_twice_is_scored_once(load):
    assert load({"evaluate.metrics": ["fid@mnist-cnn"] * 2}).evaluate.metrics == ("fid@mnist-cnn",)


@pytest.mark.parametrize(
    ("override", "look", "expected"),
    [
        ("train.images=2_000", lambda r: r.train.images, 2000),
        ("optimizers.default.lr=1e-4", lambda r: r.optimizers["default"].options["lr"], 1e-4),
        ("train.ema=null", lambda r: r.train.ema, None),
        ("evaluate.every_images=", lambda r: r.evaluate.every_images, None),
        ("evaluate.metrics=[]", lambda r: r.evaluate.metrics, ()),
        ("regularizers=[]", lambda r: r.regularizers, ()),
        ("regularizers.1.weight=5", lambda r: r.regularizers[1].options["weight"], 5.0),
        ("regularizers.1=r1", lambda r: r.regularizers[1].name, "r1"),
        ("networks.generator.hidden=[4, 5]", lambda r: r.networks["generator"].options["hidden"], [4, 5]),
        ("networks.discriminator.spectral_norm=true", lambda r: r.networks["discriminator"].spectral_norm, True),
        ("phases.discriminator.repeat=5", lambda r: r.phases["discriminator"].repeat, 5),
        ("prior.dim=7", lambda r: r.prior.options["dim"], 7),
        ("loss={name: minimax}", lambda r: r.loss.name, "minimax"),
        ("dataset.name=fashion-mnist", lambda r: r.dataset.name, "fashion-mnist"),
        ("train.device=cuda:1", lambda r: r.train.device, "cuda:1"),
        (" train.seed = 3", lambda r: r.train.seed, 3),
        ("summary=a=b", lambda r: r.summary, "a=b"),
        ("networks.generator.name=dcgan", lambda r: "hidden" in r.networks["generator"].options, False),
        ("regularizers.0.name=r2", lambda r: r.regularizers[0].options["weight"], 10.0),
        ("regularizers.0.name=r1", lambda r: r.regularizers[0].options["weight"], 2.0),
        ("optimizers.default.name=sgd", lambda r: r.optimizers["default"].options["lr"], 2e-4),
        ("optimizers.default.name=adamw", lambda r: r.optimizers["default"].options["betas"], (0.5, 0.999)),
        ("optimizers.generator.lr=1e-3", lambda r: r.optimizers["generator"].options["betas"], (0.5, 0.999)),
        ("optimizers.generator.lr=1e-3", lambda r: r.optimizers["default"].options["lr"], 2e-4),
        (
            "optimizers.generator={name: adam, lr: 1e-3}",
            lambda r: r.optimizers["generator"].options["betas"],
            (0.9, 0.999),
        ),
    ],
)
def test_overrides(load, override, look, expected):
    assert look(load(overrides=[override])) == expected


def test_overrides_apply_in_their_order(load):
    assert load(overrides=["train.seed=1", "train.seed=2"]).train.seed == 2
    both = ["networks.generator.width=8", "networks.generator.name=dcgan"]
    for order in (both, both[::-1]):
        generator = load(overrides=order).networks["generator"]
        assert (generator.name, generator.options["width"]) == ("dcgan", 8)
    until = ["train.until.metric=fid@mnist-cnn", "train.until.below=2"]
    assert load(overrides=until).train.until == Until(metric="fid@mnist-cnn", below=2.0)


def test_spectral_norm_survives_another_network(load):
    changes = {"networks.generator.spectral_norm": True}
    assert load(changes, ["networks.generator.name=dcgan"]).networks["generator"].spectral_norm is True


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.imags=3", "--set train.imags=3: train has no key 'imags'. Did you mean 'images'?"),
        ("trian.images=3", "--set trian.images=3: the recipe has no key 'trian'. Did you mean 'train'?"),
        ("train.images=x", "--set train.images=x: train.images must be a whole number, not 'x'."),
        ("train.images=10", "--set train.images=10: train has a batch_size of 100, more than its images (10)."),
        ("networks.generatr.hidden=[1]", "networks has no key 'generatr'. Did you mean 'generator'?"),
        (
            "networks.generator.hiden=[1]",
            "--set networks.generator.hiden=[1]: networks.generator has no option 'hiden'.",
        ),
        ("networks.generator.name=dcgann", "--set networks.generator.name=dcgann: networks.generator: Unknown"),
        ("regularizers.2.weight=1", "'2' is not an index of a list of 2. Indices start at 0."),
        ("regularizers.2=r1", "'2' is not an index of a list of 2. Indices start at 0."),
        ("regularizers.-1.weight=1", "'-1' is not an index of a list of 2."),
        (
            "trackers.0.name=tensorboard",
            "--set trackers.0.name=tensorboard: trackers must be a list, not {'0': {'name': 'tensorboard'}}.",
        ),
        ("train.images.more=1", "train.images is a single value, so it has no keys."),
        ("train.images", "must have the form a.b=c."),
        ("=3", "must have the form a.b=c."),
        (".".join("a" * 2000) + "=3", " must have the form a.b=c."),
        ("train..images=3", "must have the form a.b=c."),
        ("train.images=[1", "--set train.images=[1, line"),
        ("train.images=*a", "anchors"),
        ("name=other", "--set name=other: the recipe has no key 'name'."),
        ("zzz=3", "the recipe has no key 'zzz'. Known: augmentation, conditional, dataset, evaluate, loss, networks, "),
        ("batch_size=64", "--set batch_size=64: the recipe has no key 'batch_size'. Did you mean 'train.batch_size'?"),
        ("lr=1e-3", "--set lr=1e-3: the recipe has no key 'lr'. Did you mean 'optimizers.default.lr'?"),
        ("train.lr=1e-3", "train has no key 'lr'. Did you mean 'optimizers.default.lr'?"),
        ("z_dim=64", "the recipe has no key 'z_dim'. Did you mean 'prior.dim'?"),
        ("weight=1", "Did you mean 'regularizers.0.weight' or 'regularizers.1.weight'?"),
        ("train.until.below=2", "--set train.until.below=2: train.until needs the key 'metric'."),
        ("augmentation.p=0.1", "--set augmentation.p=0.1: augmentation needs the key 'name'."),
        ("loss=bigan", "--set loss=bigan: networks needs the key 'encoder'."),
        (
            "networks.critic=mlp",
            "--set networks.critic=mlp: networks has no key 'critic'. Did you mean 'discriminator'?",
        ),
        (
            "optimizers.default.name=adamm",
            "--set optimizers.default.name=adamm: optimizers.default: Unknown optimizer 'adamm'.",
        ),
    ],
)
def test_override_refusals(refusal, override, expected):
    assert expected in refusal(overrides=[override])


def test_an_override_is_not_blamed_for_what_the_file_says(refusal, tmp_path):
    sentence = refusal({"train.imags": 3}, ["train.seed=1"])
    assert sentence == f"{tmp_path / 'small.yaml'}: train has no key 'imags'. Did you mean 'images'?"


def test_what_goes_wrong_between_an_override_and_the_file_is_not_the_files_fault(refusal, tmp_path):
    changes = {"evaluate.metrics": ["accuracy@mnist-cnn"], "conditional": True}
    clash = "the recipe scores 'accuracy@mnist-cnn', which needs conditional: true."
    assert refusal(changes, ["conditional=false"]) == f"--set conditional=false: {clash}"
    both = ["train.seed=1", "conditional=false"]
    assert refusal(changes, both) == f"--set train.seed=1 --set conditional=false: {clash}"
    changes["conditional"] = False
    assert refusal(changes, ["train.seed=1"]) == f"{tmp_path / 'small.yaml'}: {clash}"


@pytest.mark.parametrize("name", ["a\x85b", "a\x7fb", "a\x9fb", "a\u2028b", 'a"b', "é 😀"])
def test_a_folder_of_pictures_may_have_any_name(zoo, tmp_path, name):
    (tmp_path / name).mkdir()
    recipe = recipe_for(tmp_path / name, "dcgan", zoo)
    assert recipe.dataset.options["path"] == str(tmp_path / name)


def test_a_folder_of_a_user_who_does_not_exist_is_a_sentence(zoo):
    with pytest.raises(GanzooError, match=r"No such file or folder: ~nobody-at-all/photos\. Check --data\."):
        recipe_for(Path("~nobody-at-all/photos"), "dcgan", zoo)


def test_somebody_elses_broken_recipe_does_not_keep_a_method_from_its_own(tmp_path, own_zoo):
    broken = tmp_path / "dcgan-foo.yaml"
    broken.write_text("summary: x\ndataset: foo\n")
    own_zoo.recipes.add(Entry("recipe", "dcgan-foo", lambda: broken, "Broken", None, "theirs", "theirs 1.0"))
    assert recipe_for(tmp_path, "dcgan", own_zoo).networks["generator"].name == "dcgan"


def test_a_function_that_makes_an_objective_has_its_roles(own_zoo, load):
    class Coder(Objective):
        roles: ClassVar = {"encoder": "encoder"}

        def phases(self):
            return []

    own_zoo.losses.add(Entry("loss", "coder", lambda: Coder(), "Codes", None, "tests", "tests 1.0"))
    own_zoo.losses.add(Entry("loss", "torn", lambda: {}["x"], "Torn", None, "tests", "tests 1.0"))
    coder = {"loss": "coder", "regularizers": []}
    assert load({**coder, "networks": {"encoder": "mlp"}}).networks.keys() == {"encoder"}
    with pytest.raises(GanzooError, match="networks has no key 'generator'. The loss 'coder' trains encoder"):
        load(coder)
    with pytest.raises(GanzooError, match="The loss 'torn' of plugin 'tests'.*could not be created: KeyError: 'x'"):
        load({"loss": "torn", "regularizers": []})


@pytest.mark.parametrize(
    ("kind", "changes", "remedy"),
    [
        ("generator", {"networks": {"generator": "odd", "discriminator": "mlp"}}, "torch.nn.Module"),
        ("loss", {"loss": "odd", "regularizers": []}, "ganzoo.AdversarialLoss or ganzoo.Objective"),
        ("regularizer", {"regularizers": ["odd"]}, "ganzoo.Regularizer"),
        ("augmentation", {"augmentation": "odd"}, "ganzoo.Augmentation"),
        ("prior", {"prior": "odd"}, "ganzoo.Prior"),
    ],
)
def test_what_a_plugin_makes_must_be_of_its_kind(own_zoo, kind, changes, remedy, load):
    made = (lambda spec: "x") if kind == "generator" else lambda: "x"
    own_zoo.registry(kind).add(Entry(kind, "odd", made, "Odd", None, "tests", "tests 1.0"))
    with pytest.raises(GanzooError) as caught:
        assemble(load(changes), own_zoo, Images(1, 28, 28), 10)
    assert str(caught.value).endswith(f"The {kind} 'odd' of plugin 'tests' (tests 1.0) is a str. Return a {remedy}.")


def test_a_loss_whose_class_has_no_mapping_of_roles_is_refused(own_zoo, load):
    class Odd(Objective):
        roles = property(lambda self: {})

    own_zoo.losses.add(Entry("loss", "odd", Odd, "Odd", None, "tests", "tests 1.0"))
    with pytest.raises(GanzooError, match="The loss 'odd' has roles = <property") as caught:
        load({"loss": "odd", "networks": {"encoder": "mlp"}})
    assert "networks" not in str(caught.value)


def test_a_function_that_makes_an_extractor_has_its_domains(own_zoo):
    made = []

    class OfFoo(Extractor):
        shape, width, domains = (1, 8, 8), 3, ("foo",)

        def __init__(self):
            super().__init__()
            made.append(torch.rand(1))

    made_by = dataclass(type("MadeBy", (), {"__call__": lambda self: OfFoo()}))()  # it has no hash
    own_zoo.extractors.add(Entry("extractor", "foo-cnn", made_by, "Of foo", None, "tests", "tests 1.0"))
    before = torch.get_rng_state()
    assert headline("foo", own_zoo) == ("fid@foo-cnn", "coverage@foo-cnn", "recall@foo-cnn")
    assert headline("foo", own_zoo)
    assert (len(made), headline("fo", own_zoo)[0]) == (1, "fid@pictures-ae")
    assert torch.equal(torch.get_rng_state(), before)
    assert "Install a plugin whose extractor was fitted to it" in how_to_score("fo", own_zoo)


def test_a_device_that_yaml_would_not_read_is_refused_as_a_device(call, tmp_path):
    code, _, said = call("run", "vanilla-ring", "--device", "[cpu", "--out", tmp_path / "run")
    assert code == 2
    assert "device '[cpu'" in said


def test_the_recipe_of_the_documentation_is_one(zoo, tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text(encoding="utf-8")
    text = page.partition("<!-- test: recipe -->\n```yaml\n")[2].partition("```")[0]
    (tmp_path / "scheduled.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "scheduled.yaml", zoo)
    assert [len(one.schedules()) for one in (*recipe.regularizers, recipe.augmentation)] == [1, 1, 1]
    for name in known():
        assert f"`{name}`" in page


@pytest.mark.parametrize("value", ["[normal]", "{a: 1}"])
def test_a_prior_whose_name_is_no_text_is_rejected(zoo, value):
    with pytest.raises(GanzooError, match=r": prior\.name must be text, not "):
        load_recipe("vanilla-mnist", zoo, [f"prior.name={value}"])


def test_a_pinned_digest_stays_with_the_weights_that_a_shorthand_names(zoo):
    overrides = ["train.init_from=zoo:dcgan-mnist", f"train.init_from.sha256={'0' * 64}"]
    recipe = load_recipe("dcgan-mnist", zoo, overrides)
    assert (recipe.train.init_from.source, recipe.train.init_from.sha256) == ("zoo:dcgan-mnist", "0" * 64)


def test_a_switch_that_is_off_anyway_may_be_given_and_changes_no_digest(zoo):
    plain = load_recipe("vanilla-mnist", zoo)
    off = load_recipe("vanilla-mnist", zoo, ["optimizers.default.amsgrad=false"])
    on = load_recipe("vanilla-mnist", zoo, ["optimizers.default.amsgrad=true"])
    assert training_digest(plain) == training_digest(off) != training_digest(on)


def test_recipes_that_are_no_mapping_are_called_so(zoo):
    with pytest.raises(GanzooError, match=r"recipe 'list' must hold a mapping of keys to values, not a list\. Write"):
        parse_recipe("- a\n- b\n", "list", zoo)


@pytest.mark.parametrize("text", ["/Users/x/Shots 10.30\u202fAM", "a\xa0b", "a\x85b", "tab\there", "two\nlines", "é"])
def test_text_that_is_printed_on_a_terminal_is_read_back_as_it_was(text):
    assert strict.parse(visible(strict.dump({"key": text})), "a file") == {"key": text}


class Sloppy(GaussianPrior):
    """A prior whose codes have another width than it says."""

    @property
    def width(self):
        return self.dim + 1


class Deviceless(GaussianPrior):
    """A prior that forgot its device."""

    def sample(self, n, generator):
        return torch.zeros(n, self.dim)


@pytest.mark.parametrize(
    ("prior", "sentence"),
    [
        (Sloppy, r"The prior 'faulty' produced codes of shape \(2, 8\) and type float32, not \(2, 9\)"),
        (Deviceless, "failed to produce codes: TypeError"),
    ],
)
def test_a_prior_at_fault_is_named_and_not_the_networks(own_zoo, prior, sentence):
    own_zoo.priors.add(Entry("prior", "faulty", prior, "Faulty", None, "mine", "mine 1.0"))
    recipe = load_recipe("vanilla-mnist", own_zoo, ["prior={name: faulty, dim: 8}"])
    with pytest.raises(GanzooError, match=sentence):
        assemble(recipe, own_zoo, Images(1, 28, 28), 0)


def test_a_penalty_called_loss_does_not_replace_the_loss():
    class Penalty(Regularizer):
        def penalty(self, context):
            return torch.tensor(5.0)

    term = Penalty(weight=2.0)
    term.label = "loss"
    assert _total(torch.tensor(1.0), [term], None) == {"loss": 11.0}


@pytest.mark.parametrize("section", ["train", "networks", "optimizers"])
def test_a_section_has_no_name_that_could_replace_it(zoo, section):
    with pytest.raises(GanzooError) as refused:
        load_recipe("vanilla-mnist", zoo, [f"{section}.name=x"])
    assert "needs the" not in str(refused.value)
    assert f"{section}" in str(refused.value)
