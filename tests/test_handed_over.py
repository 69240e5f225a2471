"""Classes from a script or notebook, without a package: registered, trained, stored in the run, opened elsewhere."""

import importlib.util
import subprocess
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from torch import nn

import ganzoo
from ganzoo import GanzooError
from ganzoo.api.metric import allowing_code
from ganzoo.registry.loading import KINDS, _load, load_zoo
from ganzoo.registry.sources import source, whole
from ganzoo.runs.start import resume
from ganzoo.training.distributed import Processes
from ganzoo_checks.commands import new
from ganzoo_checks.scaffold import parts_of, write

SCRIPT = '''
"""A GAN of my own."""

from math import *

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ganzoo

token = "hf_secret"
WIDTH = 8
WIDTH = 16


def layer(inputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, WIDTH), nn.ReLU())


class Margin(ganzoo.AdversarialLoss):
    """Logits beyond a margin."""

    def __init__(self, *, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin
        self.register_buffer("steps", torch.zeros(()))

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        self.steps += 1
        return F.relu(self.margin - real).mean() + F.relu(self.margin + fake).mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        token = 0
        return token - fake.mean()


class Shaped(nn.Module):
    def images(self, flat: Tensor) -> Tensor:
        return flat.view(-1, *self.shape) * pi


class MyGenerator(Shaped):
    """One hidden layer."""

    def __init__(self, spec: ganzoo.Spec) -> None:
        super().__init__()
        self.shape = spec.shape
        self.layers = nn.Sequential(layer(spec.latent), nn.Linear(WIDTH, spec.pixels))

    def forward(self, z: Tensor) -> Tensor:
        return self.images(self.layers(z))


class Forgotten(nn.Module):
    pass


if __name__ == "__main__":
    print(token)
    ganzoo.train("vanilla-ring", loss=Margin(margin=2.0), generator=MyGenerator)
'''
TRAIN = {"images": 640, "batch_size": 64, "log_every": 192, "device": "cpu", "threads": 1}


def fresh(zoo, before):
    """What another process finds registered."""
    for plural in KINDS.values():
        setattr(zoo, plural, getattr(before, plural).copy())
    zoo.plugins = [*before.plugins]


@pytest.fixture
def zoo():
    """The session's zoo, which is left as it was found."""
    zoo = load_zoo()
    before = zoo.copy()
    yield zoo
    fresh(zoo, before)


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A function that writes a script and imports it."""

    def imported(text=SCRIPT, name="my_gan"):
        file = tmp_path / f"{name}.py"
        file.write_text(text)
        spec = importlib.util.spec_from_file_location(name, file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return imported


@pytest.fixture
def recipe():
    return ganzoo.recipe("vanilla-ring", train=TRAIN, evaluate={"metrics": []})


@pytest.fixture
def run(zoo, script, recipe, tmp_path):
    """A run of the script's classes, as another process finds it."""
    before, mine = zoo.copy(), script()
    trained = ganzoo.train(recipe, loss=mine.Margin(margin=2.0), generator=mine.MyGenerator, out=tmp_path / "run")
    fresh(zoo, before)
    return trained.path


class Plain(ganzoo.AdversarialLoss):
    """The mean of the logits."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def discriminator(self, real, fake):
        return self.factor * (fake - real).mean()

    def generator(self, real, fake):
        return -fake.mean()


def test_every_kind_has_a_function_that_is_documented():
    for kind, plural in KINDS.items():
        if kind != "pretrained":
            function = getattr(ganzoo, f"register_{kind}")
            assert f"register_{kind}" in ganzoo.__all__
            assert "Add " in function.__doc__, plural


def test_a_class_is_registered_under_a_name_and_replaced_by_its_successor(zoo):
    ganzoo.register_loss("my-plain", Plain, aliases=["ordinary"])
    assert ganzoo.recipe("vanilla-ring", loss="my-plain").loss.name == "my-plain"
    assert zoo.losses.get("my-plain").summary == "The mean of the logits"
    with pytest.raises(GanzooError, match="Unknown loss 'my-plian'. Did you mean 'my-plain'"):
        ganzoo.recipe("vanilla-ring", loss="my-plian")
    with pytest.raises(GanzooError, match="Did you mean 'my-plain'"):
        zoo.losses.get("ordinary")

    class Successor(Plain):
        def __init__(self, *, slope: float = 1.0) -> None:
            super().__init__()

    ganzoo.register_loss("my-plain", Successor, summary="Another")
    assert ganzoo.recipe("vanilla-ring", loss={"name": "my-plain", "slope": 2.0}).loss.options == {"slope": 2.0}
    with pytest.raises(GanzooError, match="has no option 'slop'"):
        ganzoo.recipe("vanilla-ring", loss={"name": "my-plain", "slop": 2.0})


def untyped(*, slope=1.0):
    return Plain()


@pytest.mark.parametrize(
    ("name", "factory", "sentence"),
    [
        ("hinge", Plain, "The loss 'hinge' .* is already registered by plugin 'hinge' .ganzoo-bench"),
        ("My Loss", Plain, "The loss name 'My Loss' is malformed"),
        ("my-plain", untyped, "has an option 'slope' without a type. Annotate the parameter."),
        ("my-plain", Plain(), "was registered with an instance of Plain. Register the class Plain"),
    ],
)
def test_what_a_plugin_may_not_register_is_refused_at_once_and_leaves_the_rest(zoo, name, factory, sentence):
    ganzoo.register_loss("my-plain", Plain)
    known = [entry.name for entry in zoo.losses]
    with pytest.raises(GanzooError, match=sentence):
        ganzoo.register_loss(name, factory)
    assert [entry.name for entry in zoo.losses] == known
    assert zoo.losses.get("my-plain").factory is Plain


def test_a_recipe_file_is_registered(zoo, tmp_path):
    file = tmp_path / "my-ring.yaml"
    file.write_text(ganzoo.recipe("vanilla-ring").to_yaml())
    ganzoo.register_recipe(file)
    assert "my-ring" in ganzoo.recipes()


def test_a_source_has_what_it_refers_to_and_nothing_else():
    code = whole([SCRIPT, "this is no Python"], ["MyGenerator"])
    assert whole([code], ["MyGenerator"]) == code
    assert "hf_secret" not in whole([SCRIPT], ["Margin"])  # though it has a local variable of that name
    assert "WIDTH = 16" in code
    assert "WIDTH = 8\n" not in code
    assert "Margin" not in code
    assert code.startswith("from __future__ import annotations\n\nfrom math import *\n\nimport ganzoo\n")
    places = {"MyGenerator": code}
    exec(compile(code, "source.py", "exec"), places)
    spec = ganzoo.Spec((1, 1, 2), ganzoo.GaussianPrior(dim=2))
    assert places["MyGenerator"](spec)(torch.zeros(3, 2)).shape == (3, 1, 1, 2)
    for name in ("Missing", "run"):  # which a script binds only as the main program
        with pytest.raises(LookupError, match=f"nothing binds {name}"):
            whole([SCRIPT, 'if __name__ == "__main__":\n    run = token'], [name])
    with pytest.raises(LookupError, match="nothing binds nn"):
        whole(["class Mine(nn.Module):\n    pass"], ["Mine"])
    assert "token" not in whole(["import torch; token = 1; WIDTH = 2"], ["WIDTH"])


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("W = 1\nW *= 2\nother = W", ["W = 1", "W *= 2"]),
        ("W = 1\nW = W * 2", ["W = 1", "W = W * 2"]),
        ("W = 1\nif __debug__:\n    W = 2", ["W = 1", "if __debug__:\n    W = 2"]),
        ('W = {}\nW["z"] = 8', ["W = {}", 'W["z"] = 8']),
        ("def W(): W\nW.size = 8", ["def W(): W", "W.size = 8"]),
        ("W = 1\nW *= 2\nW = 3", ["W = 3"]),
        ("from math import *\nfrom cmath import *\nW = e", ["from cmath import *", "from math import *", "W = e"]),
        ("@staticmethod\ndef W():\n    return '\x0c\u2028'", ["@staticmethod\ndef W():\n    return '\x0c\u2028'"]),
    ],
)
def test_a_source_has_every_statement_that_makes_a_name_what_it_is(text, kept):
    twice_refused = "def f(a, a): pass"  # by the compiler, not by the parser: a cell that failed
    lines = [part for part in whole([twice_refused, text], ["W"]).strip().split("\n\n") if "__future__" not in part]
    assert "\n".join(part.strip() for part in lines) == "\n".join(kept)


def test_the_source_of_a_long_script_takes_no_time():
    text = "\n".join(f"def f{i}(x):\n    return x + {i}\n" for i in range(1500))
    began = time.process_time()
    assert "return x + 7" in whole([text], ["f7"])
    assert time.process_time() - began < 2


def test_a_method_that_a_library_decorated_brings_nothing_of_the_library(script):
    first = "    def __init__(self, *, margin"
    code = source(script(SCRIPT.replace(first, f"    @torch.no_grad()\n{first}")).Margin)
    assert "import torch.nn.functional as F" in code
    assert "TypeVar" not in code


def test_a_run_records_names_options_and_the_source_that_it_needs(run):
    recorded = ganzoo.Run.open(run).info
    assert recorded["code"] == [["loss", "margin", "Margin"], ["generator", "my-generator", "MyGenerator"]]
    recipe = (run / "recipe.yaml").read_text()
    assert "loss: {name: margin, margin: 2.0}" in recipe
    assert "name: my-generator" in recipe
    code = (run / "code.py").read_text()
    assert "hf_secret" not in code
    assert "Forgotten" not in code
    assert code.count("class ") == 3


def test_the_callbacks_receive_losses_samples_and_scores(zoo, tmp_path):
    steps, grids, scores = [], [], []
    recipe = ganzoo.recipe("vanilla-ring", train=TRAIN, evaluate={"samples": 50, "every_images": 320})
    run = ganzoo.train(
        recipe,
        out=tmp_path / "run",
        on_step=lambda images, losses: steps.append((images, losses)),
        on_samples=lambda images, samples: grids.append((images, samples.shape[1:])),
        on_evaluation=lambda images, values: scores.append((images, values)),
    )
    assert [images for images, _ in steps] == [*range(64, 641, 64)]
    logged = {event["images"]: event for event in run.folder.events() if event["event"] == "train"}
    assert {images for images, losses in steps if losses} == set(logged) == {192, 320, 384, 576, 640}
    assert all(losses.items() <= logged[images].items() for images, losses in steps if losses)
    assert grids == [(images, (1, 1, 2)) for images in (0, 320, 640)]
    assert [images for images, _ in scores] == [320, 640]
    averaged = [score for score in run.scores if score["weights"] == "ema" and score["images"] == 640]
    assert scores[-1][1] == {score["metric"]: score["value"] for score in averaged}


def test_another_process_opens_the_run_with_the_class_or_with_permission(run, zoo, script):
    needs = (
        r"The run \S+ was trained with the loss 'margin', which is in no package. Hand it over again, "
        r"ganzoo.register_loss\(\"margin\", Margin\), or add --allow-code \(in Python: allow_code=True\), which runs "
        r"\S+code.py: do that only if you trust this run."
    )
    for refused in (lambda: ganzoo.load(run), lambda: ganzoo.Run.open(run).generator):
        with pytest.raises(GanzooError, match=needs):
            refused()
    drawn = ganzoo.load(run, allow_code=True).sample(5)
    assert torch.equal(ganzoo.Run.open(run, allow_code=True).sample(5), drawn)
    assert "margin" not in zoo.losses  # running a run's code registers nothing for the session
    mine = script()
    ganzoo.register_loss("margin", mine.Margin)
    with pytest.raises(GanzooError, match=r"with the generator 'my-generator', .* ganzoo.register_generator\("):
        ganzoo.load(run)
    ganzoo.register_generator("my-generator", mine.MyGenerator)
    assert torch.equal(ganzoo.load(run).sample(5), drawn)
    # An edited class does not take the place of the run's own.
    ganzoo.register_generator("my-generator", script(SCRIPT.replace("* pi", "* 2")).MyGenerator)
    assert torch.equal(ganzoo.load(run).sample(5), drawn)


def test_commands_run_its_code_only_with_permission(run):
    command = [sys.executable, "-m", "ganzoo", "sample", str(run), "--out", str(run.parent / "samples.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--allow-code" in done.stderr
    done = subprocess.run([*command, "--allow-code"], capture_output=True, text=True, check=False)
    assert (done.returncode, "Saved" in done.stderr) == (0, True)


@pytest.mark.parametrize("change", [lambda file: file.write_text(file.read_text() + "#"), Path.unlink])
def test_code_that_was_edited_or_removed_is_refused(run, change):
    change(run / "code.py")
    with pytest.raises(GanzooError, match=r"code.py is not as ganzoo wrote it: it was damaged, edited or removed"):
        ganzoo.load(run, allow_code=True)


def test_a_run_resumes_with_its_own_class_alone(zoo, script, recipe, tmp_path, run):
    mine = script()
    parts = {"loss": mine.Margin(margin=2.0), "generator": mine.MyGenerator}

    def stop(images, losses):
        if images == 384:
            raise KeyboardInterrupt

    half = tmp_path / "half"
    with pytest.raises(KeyboardInterrupt):
        ganzoo.train(recipe, **parts, out=half, on_step=stop)
    edited = script(SCRIPT.replace("* pi", "* 2"), "edited").MyGenerator
    sentence = "The generator 'my-generator' that is registered here is not the one that .* was trained with"
    with pytest.raises(GanzooError, match=sentence):
        ganzoo.train(recipe, **{**parts, "generator": edited}, resume_from=half)
    with pytest.raises(GanzooError, match="was started with other settings"):
        ganzoo.train("vanilla-ring", **{**parts, "loss": mine.Margin(margin=3.0)}, resume_from=half)
    ganzoo.train("vanilla-ring", **parts, resume_from=half)
    whole_run, resumed = (ganzoo.Run.open(path).folder.checkpoint().tensors for path in (run, half))
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole_run.items())


def test_several_processes_resume_no_run_of_classes_that_only_one_has(run, zoo):
    with allowing_code(), pytest.raises(GanzooError, match="no package, so only one process can resume it. Leave"):
        resume(run, zoo, processes=Processes(rank=0, size=2))


def test_each_run_gets_its_own_copy_of_an_instance(zoo, recipe, tmp_path, caplog):
    loss = Plain(2.0)  # whose factor no recipe could set
    loss.register_buffer("steps", torch.zeros(()))
    runs = [ganzoo.train(recipe, loss=loss, out=tmp_path / name) for name in ("one", "other")]
    one, other = (run.folder.checkpoint().tensors for run in runs)
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert runs[0].info["code"] == [["loss", "plain", None]]
    assert "The source of the loss 'plain' is not stored" in caplog.text  # in a notebook too, without `log`
    assert not (runs[0].path / "code.py").exists()
    assert runs[0].sample(2).shape == (2, 1, 1, 2)


def test_a_class_that_was_typed_into_the_interpreter_has_no_source(zoo, recipe, tmp_path):
    typed = {"__name__": "__typed__", "ganzoo": ganzoo}
    exec("class Typed(ganzoo.GaussianPrior):\n    pass", typed)
    before = zoo.copy()
    run = ganzoo.train(recipe, prior={"name": typed["Typed"], "dim": 3}, out=tmp_path / "run")
    assert (run.info["code"], run.sample(1).numel()) == ([["prior", "typed", None]], 2)
    fresh(zoo, before)
    with pytest.raises(GanzooError, match=r"ganzoo.register_prior\(\"typed\", ...\)\.$"):
        ganzoo.load(run.path, allow_code=True)


def test_what_has_no_name_is_refused(zoo, recipe):
    with pytest.raises(
        GanzooError,
        match=r"<function .* is neither a class or function with a name nor an instance of Mod.*register_gen",
    ):
        ganzoo.train(recipe, generator=lambda spec: nn.Identity())


def test_names_and_lists_are_what_a_recipe_holds(zoo, recipe, tmp_path):
    class MyPenalty(ganzoo.Regularizer):
        """Nothing."""

        def penalty(self, context):
            return context.critic(context.real).mean() * 0

    run = ganzoo.train(recipe, loss="hinge", regularizers=["r1", MyPenalty], out=tmp_path / "run")
    recorded = run.folder.recipe(zoo)
    assert (recorded.loss.name, [one.name for one in recorded.regularizers]) == ("hinge", ["r1", "my-penalty"])


def test_a_script_says_what_its_classes_are_without_being_run():
    text = SCRIPT + dedent("""
        class Layered(nn.Module):
            pass
        ganzoo.register_encoder("mine", Layered)
        raise SystemExit
        """)
    parts, unknown = parts_of(text, {})
    assert parts == {
        "Margin": ("loss", "margin"),
        "MyGenerator": ("generator", "my-generator"),
        "Layered": ("encoder", "mine"),
    }
    assert unknown == ["Forgotten"]
    assert parts_of(text, {"Forgotten": "discriminator"})[0]["Forgotten"] == ("discriminator", "forgotten")


def test_only_a_name_that_is_written_out_and_a_kind_say_what_a_class_is():
    text = SCRIPT + 'ganzoo.register_loss(token, Margin)\nself.register_module("g", MyGenerator)\n'
    assert parts_of(text, {})[0] == {"Margin": ("loss", "margin"), "MyGenerator": ("generator", "my-generator")}


def test_a_kind_is_of_a_class_that_the_script_has():
    with pytest.raises(GanzooError, match=r"Unknown class 'MyGenerater'\. Did you mean 'MyGenerator'\?"):
        parts_of(SCRIPT, {"MyGenerater": "generator"})


def test_a_notebook_is_no_script(tmp_path):
    (tmp_path / "mine.ipynb").write_text('{"cells": []}')
    with pytest.raises(GanzooError, match=r"mine.ipynb is a notebook, not a script. Give the code.py of a run"):
        new("own-gan", from_=tmp_path / "mine.ipynb")


@pytest.mark.parametrize("stored", [False, True])
def test_a_plugin_is_written_around_the_classes(run, zoo, script, tmp_path, stored):
    text = (run / "code.py").read_text() if stored else SCRIPT
    parts, unknown = parts_of(text, {})
    assert unknown == ([] if stored else ["Forgotten"])
    write("own-gan", tmp_path / "own-gan", text, parts)
    module = script((tmp_path / "own-gan" / "src" / "own_gan" / "__init__.py").read_text(), "own_gan")
    # Its recipe is beside the package, not beside the copy that was imported.
    (tmp_path / "own-gan-mnist.yaml").write_bytes(
        (tmp_path / "own-gan" / "src" / "own_gan" / "own-gan-mnist.yaml").read_bytes()
    )
    zoo.plugins.append(_load(EntryPoint("own-gan", "own_gan", "ganzoo"), "own-gan 0.1.0", module, zoo))
    used = ganzoo.recipe("own-gan-mnist")
    assert (used.loss.name, used.networks["generator"].name) == ("margin", "my-generator")
    assert zoo.losses.get("margin").summary == "Logits beyond a margin"
    assert ganzoo.load(run).sample(1).numel() == 2  # the plugin has what the run needs
