"""Captured training matches ordinary training: on a tape here, and as CUDA graphs if a GPU is available."""

import pytest
import torch

from ganzoo import AdversarialGame, AdversarialLoss, Dataset
from ganzoo.build import build_objective
from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError, RunError
from ganzoo.registry.loading import load_zoo
from ganzoo.training import trainer as training
from ganzoo.training.distributed import ALONE, Processes
from ganzoo.training.engines import WARM_UP, CaptureEngine
from ganzoo.training.trainer import Trainer, build_engine

ZOO = load_zoo()
RECIPES = [entry.name for entry in ZOO.recipes if not entry.name.endswith("-gpu")]
ALWAYS = ("ada-mnist", "infogan-mnist", "vanilla-mnist", "vq-vae-mnist", "wgan-gp-mnist")
"""Captured in every test run; more recipes are captured on the device without values (tests/cuda)."""
LR = 2.0**-12  # the same number in single and double precision
SMALL = ["train.batch_size=16", "train.images=1600", "train.precision=fp32", "train.device=cpu"]
MLP = ["networks.generator.hidden=[16, 16]", "networks.discriminator.hidden=[16]"]
STEPS = 2 * WARM_UP + 3  # a lazy phase's fifth turn, if it has one in two steps


@pytest.fixture
def few(mnist):
    return Dataset("mnist", "train", mnist.images[:64], mnist.labels[:64], mnist.classes)


@pytest.fixture
def told():
    return []


@pytest.fixture
def tapes(monkeypatch, make_tape, told):
    """Makes the engine ``cudagraph`` capture on tapes instead of a GPU."""
    made = []

    def choose(name, device, latents, log, processes):
        if name != "cudagraph":
            return build_engine(name, device, latents, log, processes)
        made.append(make_tape(latents))
        return CaptureEngine(made[-1], device, latents, told.append)

    monkeypatch.setattr(training, "build_engine", choose)
    return made


def begin(recipe, engine, *overrides, few=None, processes=ALONE):
    settings = load_recipe(recipe, ZOO, [*SMALL, f"train.engine={engine}", *overrides])
    if few is None or settings.dataset.name != "mnist":
        few = ZOO.datasets.get(settings.dataset.name).create("train", None, **settings.dataset.options)
    return Trainer(settings, ZOO, dataset=few, processes=processes)


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


def assert_same(one, other):
    """Weights, averages, optimizers, the objective's state and all random numbers, to the bit."""
    (ours, _), (theirs, _) = one.checkpoint(), other.checkpoint()
    assert ours.keys() == theirs.keys()
    different = [name for name, value in ours.items() if not torch.equal(value, theirs[name])]
    assert not different


@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.full) for name in RECIPES]
)
def test_every_recipe_is_captured_completely_and_trains_to_the_same_bits(few, tapes, told, monkeypatch, recipe):
    monkeypatch.setattr(training, "MEASURED_BATCHES", 1)  # for averaged weights, unused here
    monkeypatch.setattr("ganzoo.training.step.WATCH_EVERY", 1)
    eager = begin(recipe, "eager", *exact(recipe), few=few)
    wanted = steps(eager)
    captured = begin(recipe, "cudagraph", *exact(recipe), few=few)
    found = steps(captured)
    assert told == []
    (tape,) = tapes
    works = len(captured.step_groups)
    assert (tape.captured, tape.aside_calls, captured.engine.name) == (works, WARM_UP * works, "cudagraph")
    assert found == wanted
    assert_same(captured, eager)


@pytest.mark.parametrize(("shared", "works"), [("false", 2), ("true", 1)])
def test_only_the_first_turns_run_python(few, tapes, monkeypatch, shared, works):
    calls = []
    trainer = begin("vanilla-mnist", "cudagraph", *MLP, f"train.share_fakes={shared}", few=few)
    generate = type(trainer.objective).generate
    monkeypatch.setattr(
        type(trainer.objective), "generate", lambda self, *given: (calls.append(1), generate(self, *given))[1]
    )
    steps(trainer, 20)
    # Each phase, or both together, calls it three times eagerly, once without values and once for the tape.
    assert len(calls) == works * (WARM_UP + 2)
    assert tapes[0].replays == works * (20 - WARM_UP)


def test_learning_rates_keep_falling(few, tapes):
    overrides = [*MLP, "optimizers.default={name: adam, lr: 1e-3, betas: [0.5, 0.9], decay: linear}"]
    overrides.append("train.images=320")
    trained = [begin("vanilla-mnist", engine, *overrides, few=few) for engine in ("eager", "cudagraph")]
    for trainer in trained:
        steps(trainer, 20)
    eager, captured = trained
    for name, weight in eager.networks.state_dict().items():
        torch.testing.assert_close(captured.networks.state_dict()[name], weight, rtol=1e-3, atol=1e-4, msg=name)
    (rate,) = {float(o.inner.param_groups[0]["lr"]) for o in captured.optimizers.values()}
    assert rate == pytest.approx(5e-5)


def test_captured_training_is_restored_to_the_same_bits_even_over_a_running_one(few, tapes):
    whole = begin("r1-mnist", "cudagraph", few=few)
    steps(whole, WARM_UP + 2)
    tensors, state = whole.checkpoint()
    tensors = {name: value.clone() for name, value in tensors.items()}
    steps(whole)
    rest = begin("r1-mnist", "cudagraph", "train.seed=7", few=few)
    steps(rest, WARM_UP + 4)
    rest.restore(tensors, state)
    steps(rest)
    assert_same(rest, whole)


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
def test_a_phase_that_reads_a_value_continues_eagerly_and_leaves_no_trace(few, tapes, told, shared, name, culprit):
    settings = [*exact("vanilla-mnist"), f"train.share_fakes={shared}"]
    trained = [begin("vanilla-mnist", engine, *settings, few=few) for engine in ("eager", "cudagraph")]
    for trainer in trained:
        trainer.objective.loss = Reading()
        torch.manual_seed(3)
        steps(trainer)
    eager, captured = trained
    assert captured.engine.name == name
    (sentence,) = told
    assert sentence.startswith(f"The phase '{culprit}' runs eagerly, because torch cannot capture its work (")
    assert_same(captured, eager)


def test_a_failed_capture_ends_training_with_the_remedy(few, tapes, told, monkeypatch, make_tape):
    """It may have left the GPU in a bad state, on which eager training would then continue."""

    def broken(self, work):
        try:
            work()
            raise RuntimeError("operation not permitted when stream is capturing\nwith a stack trace of C++")
        finally:
            raise RuntimeError("capture_end was called on an invalidated capture")  # as torch does while unwinding

    monkeypatch.setattr(make_tape, "capture", broken)
    captured = begin("vanilla-mnist", "cudagraph", *exact("vanilla-mnist"), few=few)
    steps(captured, WARM_UP)
    with pytest.raises(RunError) as caught:
        captured.step()
    assert caught.value.exit_code == 1
    assert caught.value.sentence == (
        "Capturing the phase 'discriminator and generator' as a CUDA graph failed: RuntimeError: operation not "
        "permitted when stream is capturing."
    )
    assert "train.engine=eager" in caught.value.remedy
    assert told == []


def test_too_little_memory_for_a_graph_is_reported_as_such(few, tapes, monkeypatch, make_tape):
    def full(self, work):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(make_tape, "capture", full)
    captured = begin("vanilla-mnist", "cudagraph", *exact("vanilla-mnist"), few=few)
    steps(captured, WARM_UP)
    with pytest.raises(torch.OutOfMemoryError):
        captured.step()


def test_several_processes_are_refused(few):
    with pytest.raises(GanzooError, match="'cudagraph' trains in one process"):
        begin("vanilla-mnist", "cudagraph", few=few, processes=Processes(0, 2))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_captured_on_a_gpu_and_follows_the_eager_curve(few, recipe):
    curves = []
    for engine in ("eager", "cudagraph"):
        trainer = begin(recipe, engine, "train.device=cuda", *exact(recipe), few=few)
        curves.append(steps(trainer))
    assert trainer.engine.name == "cudagraph"
    for ours, theirs in zip(*(curve for curve, _ in curves), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-2, abs=1e-3)
