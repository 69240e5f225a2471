"""Captured training matches ordinary training: on a tape here, and as CUDA graphs if a GPU is available."""

import pytest
import torch

from ganzoo import AdversarialGame, AdversarialLoss
from ganzoo.build import build_objective
from ganzoo.config.loading import load_recipe, needs_pictures
from ganzoo.errors import GanzooError, RunError
from ganzoo.registry.loading import load_zoo
from ganzoo.training.distributed import Processes
from ganzoo.training.engines import WARM_UP
from ganzoo.training.trainer import Trainer

ZOO = load_zoo()
RECIPES = [
    entry.name for entry in ZOO.recipes if not entry.name.endswith("-gpu") and not needs_pictures(entry.name, ZOO)
]
ALWAYS = ("ada-mnist", "vanilla-mnist", "vq-vae-mnist", "wgan-gp-mnist")
"""Captured in every test run; more recipes are captured on the device without values (tests/cuda)."""
LR = 2.0**-12  # the same number in single and double precision
SMALL = ["train.batch_size=16", "train.images=1600", "train.precision=fp32", "train.device=cpu"]
MLP = ["networks.generator.hidden=[16, 16]", "networks.discriminator.hidden=[16]"]
STEPS = 2 * WARM_UP + 3  # a lazy phase's fifth turn, if it has one in two steps


@pytest.fixture
def begin(few, told):
    def begin(recipe, engine, *overrides, **facts):
        settings = load_recipe(recipe, ZOO, [*SMALL, f"train.engine={engine}", *overrides])
        name, options = settings.dataset.name, settings.dataset.options
        own_pictures = options.get("path") == ""  # any will do
        dataset = few if name == "mnist" or own_pictures else ZOO.datasets.get(name).create("train", None, **options)
        return Trainer(settings, ZOO, dataset=dataset, log=told.append, **facts)

    return begin


def exact(recipe):
    """One constant rate that needs no rounding, an optimizer that torch also captures on CPUs, and recurring phases."""
    settings = load_recipe(recipe, ZOO)
    lazy = [n for n, one in enumerate(settings.regularizers) if one.options.get("every_steps", 1) > 1]
    objective = build_objective(settings, ZOO)
    phases = () if isinstance(objective, AdversarialGame) else objective.phases()
    return [
        *(f"phases.{phase.name}.every_steps=2" for phase in phases if phase.every_steps > 1),
        *(f"phases.{p.name}={{begin: 0, end: 1}}" for p in phases if (p.begin, p.end) != (0, 1)),
        *(f"optimizers.{role}={{name: adam, lr: {LR}, betas: [0.5, 0.9]}}" for role in settings.optimizers),
        *(f"regularizers.{n}.every_steps=2" for n in lazy),
    ]


def steps(trainer, n=STEPS):
    """The losses of each step, and the gradient norms over all of them."""
    curve = []
    for _ in range(n):
        trainer.step()
        curve.append(trainer.flush())
    return curve, trainer.gradients.flush()


@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.full) for name in RECIPES]
)
def test_every_recipe_is_captured_completely_and_trains_to_the_same_bits(
    begin, tapes, told, different, monkeypatch, recipe
):
    monkeypatch.setattr("ganzoo.training.trainer.MEASURED_BATCHES", 1)  # for averaged weights, unused here
    monkeypatch.setattr("ganzoo.training.step.WATCH_EVERY", 1)
    eager = begin(recipe, "eager", *exact(recipe))
    wanted = steps(eager)
    captured = begin(recipe, "cudagraph", *exact(recipe))
    found = steps(captured)
    assert told == []
    (tape,) = tapes
    works = len(captured.step_groups)
    assert (tape.captured, tape.aside_calls, captured.engine.name) == (works, WARM_UP * works, "cudagraph")
    assert found == wanted
    assert different(captured, eager) == []


@pytest.mark.parametrize(("shared", "works"), [("false", 2), ("true", 1)])
def test_only_the_first_turns_run_python(begin, tapes, monkeypatch, shared, works):
    calls = []
    trainer = begin("vanilla-mnist", "cudagraph", *MLP, f"train.share_fakes={shared}")
    generate = type(trainer.objective).generate
    monkeypatch.setattr(
        type(trainer.objective), "generate", lambda self, *given: (calls.append(1), generate(self, *given))[1]
    )
    steps(trainer, 20)
    # Each phase, or both together, calls it three times eagerly, once without values and once for the tape.
    assert len(calls) == works * (WARM_UP + 2)
    assert tapes[0].replays == works * (20 - WARM_UP)


@pytest.mark.usefixtures("tapes")
def test_captured_training_is_restored_to_the_same_bits_even_over_a_running_one(begin, different):
    whole = begin("r1-mnist", "cudagraph")
    steps(whole, WARM_UP + 2)
    tensors, state = whole.checkpoint()
    tensors = {name: value.clone() for name, value in tensors.items()}
    steps(whole)
    rest = begin("r1-mnist", "cudagraph", "train.seed=7")
    steps(rest, WARM_UP + 4)
    rest.restore(tensors, state)
    steps(rest)
    assert different(rest, whole) == []


class Reading(AdversarialLoss):
    """Branches on a tensor's value, which a graph cannot do."""

    def discriminator(self, real, fake):
        return (fake - real).mean() if fake.mean() > -1e9 else real.mean()

    def generator(self, real, fake):
        return -fake.mean() - 0 * torch.rand(()) * fake.mean()


@pytest.mark.parametrize(
    ("shared", "name", "culprit"),
    [
        ("false", "cudagraph without discriminator", "discriminator"),
        ("true", "eager", "discriminator and generator"),
    ],
)
@pytest.mark.usefixtures("tapes")
def test_a_phase_that_reads_a_value_continues_eagerly_and_leaves_no_trace(
    begin, told, different, shared, name, culprit
):
    settings = [*MLP, *exact("vanilla-mnist"), f"train.share_fakes={shared}"]
    trained = [begin("vanilla-mnist", engine, *settings) for engine in ("eager", "cudagraph")]
    for trainer in trained:
        trainer.objective.loss = Reading()
        torch.manual_seed(3)
        steps(trainer)
    eager, captured = trained
    assert captured.engine.name == name
    (sentence,) = told
    assert sentence.startswith(f"The phase '{culprit}' runs eagerly, because torch cannot capture its work (")
    assert different(captured, eager) == []


@pytest.fixture
def about_to_capture(begin, tapes, make_tape, monkeypatch):
    """A trainer whose next step captures, with this function instead of a tape's."""

    def about_to_capture(capture):
        monkeypatch.setattr(make_tape, "capture", capture)
        trainer = begin("vanilla-mnist", "cudagraph", *MLP, *exact("vanilla-mnist"))
        steps(trainer, WARM_UP)
        return trainer

    return about_to_capture


def test_a_failed_capture_ends_training_with_the_remedy(about_to_capture, told):
    """It may have left the GPU in a bad state, on which eager training would then continue."""

    def broken(self, work):
        try:
            work()
            raise RuntimeError("operation not permitted when stream is capturing\nwith a stack trace of C++")
        finally:
            raise RuntimeError("capture_end was called on an invalidated capture")  # as torch does while unwinding

    trainer = about_to_capture(broken)
    with pytest.raises(RunError) as caught:
        trainer.step()
    assert caught.value.exit_code == 1
    assert caught.value.sentence == (
        "Capturing the phase 'discriminator and generator' as a CUDA graph failed: RuntimeError: operation not "
        "permitted when stream is capturing."
    )
    assert "train.engine=eager" in caught.value.remedy
    assert told == []


def test_too_little_memory_for_a_graph_is_reported_as_such(about_to_capture):
    def full(self, work):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    trainer = about_to_capture(full)
    with pytest.raises(torch.OutOfMemoryError):
        trainer.step()


def test_several_processes_are_refused(begin):
    with pytest.raises(GanzooError, match="'cudagraph' trains in one process"):
        begin("vanilla-mnist", "cudagraph", processes=Processes(0, 2))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_captured_on_a_gpu_and_follows_the_eager_curve(begin, recipe):
    curves = []
    for engine in ("eager", "cudagraph"):
        trainer = begin(recipe, engine, "train.device=cuda", *exact(recipe))
        curves.append(steps(trainer))
    assert trainer.engine.name == "cudagraph"
    for ours, theirs in zip(*(curve for curve, _ in curves), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-2, abs=1e-3)
