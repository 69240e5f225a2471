"""Things with one mistake each: the right check fails with a clear message, and other plugins keep working."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ganzoo import GanzooError
from ganzoo.cli import main
from ganzoo.registry import loading
from ganzoo_checks.checking import CHECKS, Check
from ganzoo_checks.contract import plugin_checks

MODULES = {
    "bad": (Path(__file__).parent / "bad_plugin.py").read_text(),
    "raises": 'raise RuntimeError("a cable is loose")\n',
    "nothing": "from ganzoo import hookimpl\n@hookimpl\ndef register_losses(register): pass\n",
    "duplicate": """\
from ganzoo import AdversarialLoss, hookimpl
@hookimpl
def register_losses(register):
    register("non-saturating", AdversarialLoss, summary="Another loss of this name")
""",
    "exits": """\
import sys
from ganzoo import AdversarialLoss, hookimpl
class Exits(AdversarialLoss):
    "Ends the process with exit code 0, as if all were well."
    def discriminator(self, real, fake):
        sys.exit(0)
    def generator(self, real, fake):
        return -fake.mean()
@hookimpl
def register_losses(register):
    register("exits", Exits, summary="Of no image", paper="Someone 2020")
""",
}
SMALL = (
    "train.images=256",
    "networks.generator.hidden=[16]",
    "networks.discriminator.hidden=[16]",
    "evaluate.metrics=[]",
)

Command = Callable[..., tuple[int, str, str]]

# What fails, in which check, and parts of its message.
FAILING = (
    ("plugin-raises", "loads", ["'raises'", "RuntimeError: a cable is loose"]),
    ("plugin-nothing", "registers", ["'nothing' registers nothing"]),
    ("discriminator-wrong-shape", "shape", ["discriminator 'wrong-shape'", "shape (2, 1), not (2,)"]),
    ("loss-nan-loss", "logits", ["loss 'nan-loss'", "a loss of inf", "logsigmoid"]),
    ("loss-item-in-loss", "capturable", ["loss 'item-in-loss'", "self.last = loss.item()", "bad_plugin.py, line "]),
    ("regularizer-branches", "capturable", ["regularizer 'branches'", "if gap > 0:", "torch.where"]),
    (
        "loss-stays-on-cpu",
        "capturable",
        ["loss 'stays-on-cpu'", "meta", "weights * (fake - real)", "device of the inputs"],
    ),
    ("loss-copies", "capturable", ["loss 'copies'", "bad_plugin.py, line ", "device of the inputs"]),
    (
        "loss-loses-state",
        "reproducible",
        ["loss 'loses-state'", "plain attribute 'objective.loss.average'", "register_buffer"],
    ),
    ("loss-global-rng", "reproducible", ["loss 'global-rng'", "torch.manual_seed(0)"]),
    ("prior-global-noise", "draws", ["prior 'global-noise'", "draw from its generator alone", "generator=generator"]),
    ("loss-undocumented", "options-documented", ["loss 'undocumented'", "does not document its options: slope"]),
    ("plugin-duplicate", "loads", ["'duplicate'", "loss 'non-saturating'", "already registered"]),
    ("generator-frozen", "gradients", ["generator 'frozen'", "no gradient: spare.weight, spare.bias"]),
    ("discriminator-normalised", "attributes", ["discriminator 'normalised'", "sets per_image", "batch normalisation"]),
    ("recipe-unknown-name-mnist", "valid", ["non-saturatin", "Did you mean 'non-saturating'?"]),
    ("loss-upside-down", "logits", ["loss 'upside-down'", "logit of a real image down", "flip the sign"]),
    ("loss-sums", "logits", ["loss 'sums'", "gives the discriminator a different loss for a doubled batch"]),
    ("regularizer-weighs-itself", "penalty", ["regularizer 'weighs-itself'", "applies its weight itself"]),
    ("regularizer-no-penalty", "penalty", ["regularizer 'no-penalty'", "has a weight, but no penalty"]),
    ("generator-ignores-labels", "inputs", ["generator 'ignores-labels'", "takes labels but ignores them"]),
    ("recipe-one-sided-mnist", "gradients", ["recipe 'one-sided-mnist'", "no phase trains: generator"]),
    ("recipe-own-draws-mnist", "reproducible", ["recipe 'own-draws-mnist'", "trains differently from the same seed"]),
    ("discriminator-hard-coded", "shape", ["discriminator 'hard-coded'", "2x3072 and 784x1", "spec.image_shape"]),
    ("loss-forgets-mean", "logits", ["loss 'forgets-mean'", "discriminator a loss of shape (16,)", ".mean()"]),
    ("loss-returns-none", "logits", ["loss 'returns-none'", "the generator a loss of type NoneType"]),
    (
        "discriminator-detached",
        "inputs",
        ["discriminator 'detached'", "does not require grad", "do not detach"],
    ),
    ("regularizer-critic-side", "penalty", ["regularizer 'critic-side' has the side 'critic'", "generator"]),
    (
        "regularizer-stashes",
        "reproducible",
        ["tensor in the plain attribute 'objective.regularizers.0.last'", "register_buffer"],
    ),
    ("extractor-late-domains", "features", ["'late-domains' has domains = ('mnist',), but its class has ()"]),
    ("augmentation-no-tensor", "shape", ["augmentation 'no-tensor' returns a tuple, not a tensor"]),
    ("discriminator-listed-features", "attributes", ["'listed-features' returns a list as features"]),
    (
        "loss-exits",
        "logits",
        ["loss 'exits' fails in the check 'logits'", "SystemExit: 0", "exits_plugin.py, line 6: `sys.exit(0)`"],
    ),
    ("loss-required-option", "options-types", ["accepts any value for its option 'p'"]),
    ("generator-label-on-cpu", "capturable", ["generator 'label-on-cpu'", "torch.eye(self.spec.classes)[label]"]),
    (
        "generator-no-tanh",
        "shape",
        ["generator 'no-tanh' returns values outside [-1, 1], at the latest once its weights grow"],
    ),
    ("loss-unpaired", "logits", ["loss 'unpaired'", "TypeError", "real=None, unless the class sets pairs = True"]),
    ("augmentation-rounds", "shape", ["augmentation 'rounds' passes no gradient on to the images"]),
    ("study-wrong-trials", "valid", ["study 'wrong-trials'", "row 'baseline'", "lrate"]),
    ("dataset-always-train", "without-files", ["'always-train' returned 'always-train' (train) for its test split"]),
    (
        "regularizer-no-graph",
        "penalty",
        ["'no-graph' has a penalty without a gradient for the discriminator", "create_graph"],
    ),
    ("loss-bare", "docstring", ["loss 'bare' has no docstring"]),
    (
        "extractor-forgets-weights",
        "features",
        ["'forgets-weights' gives different features each time it is built", "torch.Generator"],
    ),
    ("plugin-bad", "import", ["default dtype from torch.float32 to torch.float64"]),
    ("loss-undocumented", "summary", ["'A loss.'"]),
    ("augmentation-crops", "shape", ["augmentation 'crops' returns shape (4, 1, 27, 28)"]),
    ("augmentation-crops", "capturable", ["augmentation 'crops' fails", "RuntimeError"]),
    ("loss-unpaired", "capturable", ["TypeError"]),
    ("loss-own-draws", "reproducible", ["loss 'own-draws'", "trains differently from the same seed"]),
    ("discriminator-detached", "attributes", ["discriminator 'detached'", "does not require grad"]),
    ("metric-not-a-number", "score", ["metric 'not-a-number' gives nan"]),
    ("metric-random", "score", ["metric 'random' gives", "for the same samples", "torch.Generator"]),
    ("metric-not-a-number", "direction", ["metric 'not-a-number' has rejecting = 'maybe'", "'refuses'"]),
    ("metric-random", "direction", ["metric 'random' has share_of = 'pixels'", "'real images'"]),
    ("metric-centred", "score", ["metric 'centred' changes the features it is given", "values.clone()"]),
    ("metric-seeding", "score", ["metric 'seeding' draws from numpy's global generator, or seeds it"]),
    ("prior-on-the-cpu", "draws", ["prior 'on-the-cpu' ignores the device it is given", "device=device"]),
    ("prior-seeding", "draws", ["prior 'seeding' draws from random's global generator, or seeds it"]),
    ("dataset-one-split", "without-files", ["dataset 'one-split' has", "of its test split in its train split too"]),
    ("dataset-unseeded", "without-files", ["dataset 'unseeded' returns different samples", "torch.Generator"]),
    ("dataset-other-classes", "without-files", ["dataset 'other-classes' has different classes in its test split"]),
    (
        "extractor-plain-tensor",
        "features",
        ["'plain-tensor' keeps a tensor in the plain attribute 'mean'", "register_buffer"],
    ),
    ("extractor-whole-logits", "features", ["'whole-logits' returned logits of type torch.int64"]),
    ("extractor-nan-logits", "features", ["'nan-logits' returned logits that are NaN or infinite"]),
    ("extractor-centred", "features", ["'centred' gives an image different features if it is alone in its batch"]),
    (
        "regularizer-wrong-side",
        "penalty",
        ["'wrong-side' has a penalty without a gradient for the discriminator", "set side to"],
    ),
    ("regularizer-summed", "penalty", ["'summed' has a penalty that grows with the batch", ".mean()"]),
    (
        "recipe-trains-both-mnist",
        "gradients",
        ["recipe 'trains-both-mnist'", "computes gradients for the frozen discriminator"],
    ),
    ("recipe-halves-mnist", "half-precision", ["recipe 'halves-mnist'", "is torch.bfloat16, not float32"]),
    ("loss-unused", "used-by-a-recipe", ["loss 'unused' has its own phases, but no recipe uses it"]),
    ("loss-bare", "paper", ["loss 'bare' cites no paper and year"]),
    ("regularizer-never-lazy", "penalty", ["regularizer 'never-lazy' has no separate phase with every_steps: 4"]),
)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[loading.Zoo]:
    """Everything that is registered, with these as modules and package metadata; not the zoo of the other tests."""
    site = tmp_path_factory.mktemp("site")
    for name, code in MODULES.items():
        (site / f"{name}_plugin.py").write_text(code)
        metadata = site / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[ganzoo]\n{name} = {name}_plugin\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]))
        zoo = loading.load_zoo.__wrapped__()
        patch.setattr(loading, "load_zoo", lambda: zoo)
        yield zoo


@pytest.fixture(scope="module")
def checks(zoo: loading.Zoo) -> dict[tuple[str, str], Check]:
    return {(case.thing, case.name): case for plugin in MODULES for case in plugin_checks(plugin, zoo)}


def test_each_check_has_something_that_fails_it() -> None:
    assert {name for name, _, _ in CHECKS} - {check for _, check, _ in FAILING} == set()


@pytest.mark.parametrize(
    ("thing", "check", "words"), FAILING, ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_check_says_what_is_wrong(
    checks: dict[tuple[str, str], Check], thing: str, check: str, words: list[str]
) -> None:
    with pytest.raises(GanzooError) as caught:
        checks[thing, check].run()
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.full
def test_what_is_wrong_makes_no_other_check_crash(checks: dict[tuple[str, str], Check]) -> None:
    failing = {(thing, check) for thing, check, _ in FAILING}
    for place in checks.keys() - failing:
        with suppress(GanzooError):
            checks[place].run()


@pytest.fixture
def ganzoo(zoo: loading.Zoo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Exit code, standard output and standard error of a command."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ganzoo", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return ended.value.code or 0, out, err

    return run


def test_the_command_prints_failures_and_exits_with_1(ganzoo: Command) -> None:
    code, out, _ = ganzoo("check", "raises")
    assert code == 1
    assert "RuntimeError: a cable is loose" in out
    assert "1 of 1 checks failed." in out


def test_the_command_prints_json(ganzoo: Command) -> None:
    code, out, _ = ganzoo("check", "duplicate", "--json")
    assert code == 1
    answer = json.loads(out)
    assert (answer["plugin"], answer["checks"], answer["left_out"]) == ("duplicate", 1, 0)
    (failure,) = answer["failures"]
    assert (failure["plugin"], failure["thing"], failure["check"]) == ("duplicate", "plugin-duplicate", "loads")
    assert "already registered" in failure["sentence"]
    assert failure["remedy"]


def test_a_plugin_that_exits_fails_like_any_other(ganzoo: Command) -> None:
    code, out, _ = ganzoo("check", "exits")
    assert code == 1
    assert "loss-exits logits: The loss 'exits' fails" in out
    assert "loss-exits capturable" not in out  # it would only repeat that
    assert out.splitlines()[-1].endswith("checks failed, 2 were left out.")


def test_what_a_plugin_prints_is_not_among_the_json(
    ganzoo: Command, checks: dict[tuple[str, str], Check], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganzoo_checks.contract.plugin_checks", lambda name, zoo: [checks["metric-random", "score"]])
    code, out, err = ganzoo("check", "bad", "--json")
    assert code == 1
    assert [failure["thing"] for failure in json.loads(out)["failures"]] == ["metric-random"]
    assert "scored" in err


def test_an_unknown_plugin_gets_a_suggestion(ganzoo: Command) -> None:
    code, out, err = ganzoo("check", "duplicates")
    assert (code, out) == (2, "")
    assert "Did you mean 'duplicate'?" in err


def test_a_first_party_recipe_trains_beside_all_of_them(ganzoo: Command, tmp_path: Path) -> None:
    settings = [word for one in SMALL for word in ("--set", one)]
    code, out, err = ganzoo("run", "vanilla-mnist", *settings, "--out", str(tmp_path / "run"), "--json")
    assert code == 0, err
    assert json.loads(out)["status"] == "done"
    assert "a cable is loose" in err
