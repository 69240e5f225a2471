"""``ganzoo doctor`` on real trainings that go well and on some that are made to fail."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from ganzoo.cli import app
from ganzoo.cli.console import RunProgress
from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError, RunError
from ganzoo.runs.diagnosis import YOUNG
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.generator import load
from ganzoo.runs.loop import Callbacks
from ganzoo.runs.start import resume, start

COMMON = ["train.precision=fp32", "train.ema=null", "train.log_every=2000", "evaluate.samples=300"]
COMMON += ["train.threads=1"]  # by measurement, the bits would depend on how busy the machine is
COMMON += ["evaluate.metrics=[fid@mnist-cnn]"]  # in whose features variety is measured
SMALL = [*COMMON, "train.batch_size=64", "networks.generator.hidden=[128]", "networks.discriminator.hidden=[128]"]
ADAM = "{{name: adam, lr: {}}}"


def train(zoo, folder, recipe, *overrides):
    return start(load_recipe(recipe, zoo, list(overrides)), zoo, folder / "run").path


@pytest.fixture(scope="module")
def healthy(zoo, tmp_path_factory):
    settings = [*SMALL, "train.batch_size=16", "train.images=1280", "train.log_every=256"]
    return train(zoo, tmp_path_factory.mktemp("healthy"), "r1-mnist", *settings)


@pytest.fixture(scope="module")
def collapsed(zoo, tmp_path_factory):
    """A generator that runs after the one image which a slow discriminator likes best at the moment."""
    slow, fast = (ADAM.format(lr) for lr in ("2e-5", "1e-2"))
    rates = [f"optimizers.discriminator={slow}", f"optimizers.generator={fast}"]
    settings = [*SMALL, *rates, "networks.generator.norm=none", "train.images=20000"]
    return train(zoo, tmp_path_factory.mktemp("collapsed"), "vanilla-mnist", *settings)


@pytest.fixture(scope="module")
def diverged(zoo, tmp_path_factory):
    """A critic without any bound, whose loss grows until it is no number."""
    folder = tmp_path_factory.mktemp("diverged")
    settings = ["networks.generator.hidden=[32]", "networks.discriminator.hidden=[16]", "train.batch_size=64"]
    often = ["train.log_every=128", "train.checkpoint_seconds=0", "loss=wasserstein"]
    descent = "optimizers.default={name: sgd, lr: 0.03}"
    with pytest.raises(RunError, match="are not finite"):
        train(zoo, folder, "vanilla-mnist", *COMMON, *settings, *often, descent, "train.images=64000")
    return folder / "run"


def told(*arguments):
    """What the command prints about a run."""
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)], catch_exceptions=False).stdout


def diagnosis(run):
    return json.loads(told(run, "--json"))


def kinds(run):
    return [found["kind"] for found in diagnosis(run)["findings"]]


@pytest.fixture
def aged(tmp_path):
    """A copy of a run, as a machine would have logged it that took so many seconds."""

    def copied(run, seconds):
        copy = shutil.copytree(run, tmp_path / f"{seconds} seconds")
        events = [json.loads(line) for line in (copy / "events.jsonl").read_text().splitlines()]
        last = max(event["seconds"] for event in events if "seconds" in event)
        for event in events:
            if "seconds" in event:
                event["seconds"] *= seconds / last
        (copy / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        return copy

    return copied


def test_a_run_without_any_sign_is_too_young_to_say_while_it_is_young(healthy, aged):
    run = aged(healthy, 20)
    facts = diagnosis(run)
    assert (facts["findings"], facts["verdict"]) == ([], "young")
    # Samples that are too similar are no sign in a run's first minute, and these still are.
    assert facts["unjudged"]["collapse"].startswith("as every run begins like this: the samples are too similar: ")
    always = {"saturation", "vanishing or exploding gradients"}
    assert always <= set(facts["judged"])
    assert (facts["recipe"], facts["status"], facts["images"]) == ("r1-mnist", "done", 1280)
    title, verdict, *_ = told(run).splitlines()
    assert title == "r1-mnist: done after 1,280 images"
    assert verdict.startswith("too young to say: it has trained for 20 s. So far, no sign of divergence, ")
    with pytest.raises(GanzooError, match="No evaluation of the run .* found varied samples"):
        load(run, checkpoint="good")
    assert all(sign in verdict for sign in always)


@pytest.mark.full
def test_a_collapsed_run_is_collapsed_and_nothing_else_once_it_is_old_enough(collapsed, aged):
    young = diagnosis(aged(collapsed, 20))
    assert (young["verdict"], young["findings"]) == ("young", [])
    assert young["unjudged"]["collapse"].startswith("as every run begins like this: the samples are too similar: ")
    assert kinds(aged(collapsed, 2 * YOUNG)) == ["collapse"]


@pytest.mark.parametrize(
    ("loss", "vanished"), [("minimax", True), pytest.param("non-saturating", False, marks=pytest.mark.full)]
)
def test_a_loss_that_saturates_takes_the_generators_gradient_too(zoo, tmp_path, loss, vanished):
    # A discriminator fifty times as fast as it should be, against a generator that hardly moves.
    rates = [f"optimizers.discriminator={ADAM.format('1e-2')}", f"optimizers.generator={ADAM.format('1e-5')}"]
    run = train(zoo, tmp_path, "vanilla-mnist", *SMALL, *rates, f"loss={loss}", "train.images=12800")
    first, *others = diagnosis(run)["findings"]
    assert first["kind"] == "saturation"
    assert "The discriminator makes no mistakes" in first["sentence"]
    assert ("vanishing" in [one["kind"] for one in others]) == vanished


def test_a_diverged_run_stopped_with_its_last_good_checkpoint_and_is_told_so(diverged):
    run = RunFolder.open(diverged)
    stopped = next(event for event in run.events() if event["event"] == "diverged")
    assert stopped["images"] == run.checkpoint().state["images"] + 128
    first, *rest = diagnosis(diverged)["findings"]
    assert first["kind"] == "diverged"
    assert f"after {stopped['images']:,} images" in first["sentence"]
    assert "exploding" in [found["kind"] for found in rest]


def test_a_run_ends_with_its_diagnosis(healthy, aged, capsys):
    with RunProgress() as progress:
        progress.summarise(RunFolder.open(aged(healthy, 20)))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no sign of" in captured.err


class Killed(BaseException):
    pass


def test_a_run_that_was_killed_and_resumed_has_the_same_health(zoo, tmp_path):
    often = ["train.log_every=160", "train.checkpoint_seconds=0", "evaluate.every_images=800", "train.images=1600"]
    recipe = load_recipe("vanilla-mnist", zoo, [*SMALL, *often, "train.batch_size=16", "evaluate.samples=100"])

    def kill(images, losses):
        if images >= 1125:
            raise Killed

    start(recipe, zoo, tmp_path / "whole")
    with pytest.raises(Killed):
        start(recipe, zoo, tmp_path / "run", callbacks=Callbacks(on_step=kill))
    resume(tmp_path / "run", zoo)
    watched = [
        [event for event in RunFolder.open(tmp_path / name).events() if event["event"] == "health"]
        for name in ("whole", "run")
    ]
    assert watched[0] == watched[1]
    assert [event["images"] for event in watched[0] if "variety" in event] == [800, 1600]
    # A reading every 16 steps of 16 images, told at log points 10 steps apart.
    assert len([event for event in watched[0] if "gradients" in event]) == 7


RING = ["train.threads=1", "train.ema=null", "train.batch_size=64", "networks.generator.norm=none"]
RING += ["evaluate.metrics=[]", "evaluate.every_images=4000", "train.images=16000", "train.checkpoint_seconds=0"]
RING += ["train.log_every=2000"]  # which is also how often a checkpoint is saved


def test_a_run_that_loses_its_variety_is_told_at_once_and_keeps_its_last_good_checkpoint(zoo, tmp_path):
    said = []
    jump = "optimizers.default={name: adam, lr: {start: 1e-3, end: 0.1, delay: 8000, images: 1000}}"
    recipe = load_recipe("vanilla-ring", zoo, [*RING, jump])
    run = start(recipe, zoo, tmp_path / "run", callbacks=Callbacks(log=said.append)).path
    (collapse,) = [one for one in said if "collapse" in one]
    assert collapse.startswith("12,032 images: collapse: The samples are too similar: ")
    assert "They were varied after 8,000 images, and `--checkpoint good` draws from there." in collapse
    assert kinds(run)[0] == "collapse"  # though it is young: no run begins like this
    spreads = [load(run, checkpoint=which).sample(100).float().std(0).max() for which in ("good", "last")]
    assert spreads[0] > 3 * spreads[1]


def test_a_run_that_keeps_its_variety_has_not_collapsed(zoo, tmp_path, aged):
    run = aged(train(zoo, tmp_path, "vanilla-ring", *RING), 2 * YOUNG)
    assert "collapse" in diagnosis(run)["judged"]
    assert "collapse" not in kinds(run)


def test_a_damaged_checkpoint_does_not_silence_the_diagnosis(diverged, tmp_path):
    copy = shutil.copytree(diverged, tmp_path / "copy")
    for path in (copy / "checkpoints").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-8])
    assert kinds(copy) == kinds(diverged)
