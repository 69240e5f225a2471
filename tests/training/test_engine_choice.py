"""The engine that ``train.engine=auto`` chooses on a GPU: measured, then undone to the bit. Here a tape captures."""

import re

import pytest
import torch

from ganzoo import AdversarialLoss
from ganzoo.config.loading import load_recipe
from ganzoo.errors import RunError
from ganzoo.registry.loading import load_zoo
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.loop import Callbacks
from ganzoo.runs.start import resume, start
from ganzoo.training import tuning as engine_choice
from ganzoo.training.distributed import Processes
from ganzoo.training.trainer import Trainer
from ganzoo.training.tuning import measure_engines, recorded_engine, settle_engine

ZOO = load_zoo()
SMALL = [
    "networks.generator.hidden=[16, 16]",
    "networks.discriminator.hidden=[16]",
    "train.batch_size=16",
    "train.images=16000",
    "train.precision=fp32",
    "train.device=cpu",
    f"optimizers.default={{name: adam, lr: {2.0**-12}, betas: [0.5, 0.9]}}",  # also captured on CPUs, to the same bits
]


@pytest.fixture
def begin(few, tapes, monkeypatch):
    """A trainer whose steps take as long as the test specifies, by the clock that measures engines."""
    time = [0.0]
    monkeypatch.setattr(engine_choice, "perf_counter", lambda: time[0])
    monkeypatch.setattr(engine_choice, "BLOCK_STEPS", 2)
    monkeypatch.setattr(engine_choice, "BLOCKS", 2)

    def trainer(*overrides, costs=None):
        made = Trainer(load_recipe("vanilla-mnist", ZOO, [*SMALL, *overrides]), ZOO, dataset=few)
        torch.manual_seed(3)  # two trainers in one process share torch's own generator
        if costs is not None:
            step = made.step

            def timed():
                step()
                time[0] += costs[made.engine.name]

            monkeypatch.setattr(made, "step", timed)
        return made

    return trainer


def losses_after(trainer, steps=6):
    for _ in range(steps):
        trainer.step()
    return trainer.flush()


@pytest.mark.parametrize(("captured", "wanted"), [(0.002, "cudagraph"), (0.0095, "eager")], ids=["faster", "hardly"])
def test_the_fastest_engine_is_chosen_and_training_in_progress_is_unchanged(begin, different, captured, wanted):
    apart = "train.share_fakes=false"
    whole = begin(apart, f"train.engine={wanted}")
    losses_after(whole, 5)
    expected = losses_after(whole)
    trainer = begin(apart, costs={"eager": 0.01, "cudagraph": captured})
    losses_after(trainer, 5)
    choice = measure_engines(trainer)
    assert (choice["engine"], trainer.engine.name, trainer.steps) == (wanted, wanted, 5)
    assert choice["milliseconds_a_step"] == pytest.approx({"eager": 10, "cudagraph": 1e3 * captured})
    assert choice["left_out"] == {"compile-cudagraph": "the run is too short for compiling to pay off"}
    assert losses_after(trainer) == expected
    assert different(trainer, whole) == []


def test_phases_that_share_fakes_are_compiled_only_on_request(begin, monkeypatch):
    monkeypatch.setattr(engine_choice, "COMPILED_SECONDS", 0.0)
    choice = measure_engines(begin("train.share_fakes=true", costs={"eager": 0.01, "cudagraph": 0.005}))
    assert choice["engine"] == "cudagraph"
    assert choice["left_out"] == {"compile-cudagraph": "compiled phases that share fakes generate them twice"}


class Reading(AdversarialLoss):
    """Branches on a tensor's value, which a graph cannot do."""

    def discriminator(self, real, fake):
        return (fake - real).mean() if fake.mean() > -1e9 else real.mean()

    def generator(self, real, fake):
        return -fake.mean() if fake.mean() > -1e9 else fake.mean()


def broken(self, work):
    work()
    raise RuntimeError("operation not permitted when stream is capturing")


def full(self, work):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


@pytest.mark.parametrize(
    ("capture", "loss", "optimizer", "reason"),
    [
        (broken, None, "adam", "Capturing the phase .* failed: .*operation not permitted when stream is capturing"),
        (full, None, "adam", "out of memory"),
        (None, Reading(), "adam", "runs eagerly, because torch cannot capture its work"),
        (None, None, "adagrad", "The engine 'cudagraph' cannot capture the optimizer 'adagrad'"),
    ],
    ids=["fails", "memory", "reads", "optimizer"],
)
def test_an_engine_that_cannot_capture_is_left_out_with_the_reason(
    begin, make_tape, different, monkeypatch, capture, loss, optimizer, reason
):
    if capture is not None:
        monkeypatch.setattr(make_tape, "capture", capture)
    trained_by = f"optimizers.default={{name: {optimizer}, lr: {2.0**-12}}}"
    whole = begin("train.engine=eager", trained_by)
    trainer = begin(trained_by, costs={"eager": 0.01, "cudagraph": 0.001})
    for one in (whole, trainer):
        one.objective.loss = loss or one.objective.loss
    choice = measure_engines(trainer)
    assert (choice["engine"], list(choice["milliseconds_a_step"])) == ("eager", ["eager"])
    assert re.search(reason, choice["left_out"]["cudagraph"])
    for one in (whole, trainer):
        torch.manual_seed(3)
        losses_after(one)
    assert different(trainer, whole) == []


def test_a_gpu_left_unusable_by_a_trial_ends_training_with_the_remedy(begin, make_tape, monkeypatch):
    trainer = begin(costs={"eager": 0.01, "cudagraph": 0.001})

    def broken(self, work):
        monkeypatch.setattr(trainer, "restore", unusable)
        raise RuntimeError("an illegal memory access was encountered")

    def unusable(tensors, state):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(make_tape, "capture", broken)
    with pytest.raises(RunError, match="Trying the engine 'cudagraph' left the GPU unusable: CUDA error") as caught:
        measure_engines(trainer)
    assert "train.engine=eager" in caught.value.remedy


class Again:
    """Replaces the tape, which sees no compiled code: a replay runs the work again on the same inputs."""

    def __init__(self, latents):
        pass

    def warm_up(self, work):
        work()

    def capture(self, work):
        return work


@pytest.mark.usefixtures("compiler")
@pytest.mark.full
def test_compiled_losses_are_captured_if_training_is_long_enough(begin, capture_with, monkeypatch):
    """As far as a CPU can show: the captured losses are the compiled ones, and their values agree."""
    monkeypatch.setattr(engine_choice, "COMPILED_SECONDS", 0.0)
    capture_with(Again)
    costs = {"eager": 0.01, "cudagraph": 0.005, "compile-cudagraph": 0.001}
    trainer = begin("train.share_fakes=false", costs=costs)
    choice = measure_engines(trainer)
    assert (choice["engine"], choice["left_out"]) == ("compile-cudagraph", {})
    apart = begin("train.share_fakes=false", "train.engine=eager")
    assert losses_after(trainer) == pytest.approx(losses_after(apart), rel=1e-3, abs=1e-4)
    assert trainer.engine.name == "compile-cudagraph"


def test_nothing_is_measured_without_a_choice(begin, monkeypatch):
    monkeypatch.setattr(engine_choice, "measure_engines", lambda trainer: pytest.fail("measured"))
    said = []
    assert settle_engine(begin(), said.append) is None  # a CPU
    trainer = begin()
    trainer.device = torch.device("cuda")
    for name, value in {
        "recipe": trainer.recipe.with_train(engine="eager"),
        "processes": Processes(0, 2),
        "steps": 900,
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(trainer, name, value)
            assert settle_engine(trainer, said.append) is None
    assert said == [
        "Engine eager: CUDA graphs need a run with a single process.",
        "Engine eager: measuring other engines would take about as many steps as are left.",
    ]


def test_a_gpu_is_measured_and_the_choice_reported(begin, monkeypatch):
    trainer, said = begin(), []
    trainer.device = torch.device("cuda")
    choice = {"engine": "cudagraph", "milliseconds_a_step": {"eager": 10.0, "cudagraph": 1.0}}
    choice["left_out"] = {"compile-cudagraph": "the run is too short"}
    monkeypatch.setattr(engine_choice, "measure_engines", lambda trainer: choice)
    assert settle_engine(trainer, said.append) is choice
    sentence = "Engine cudagraph: a step takes 10 ms with eager, 1 ms with cudagraph."
    assert said == [f"{sentence} Not compile-cudagraph: the run is too short."]


def test_the_choice_is_recorded_and_a_resumed_run_measures_nothing(few, tapes, tmp_path, monkeypatch):
    """On a CPU that is taken for a GPU; tests/cuda repeats this on the simulated device, from the command line."""
    choice = {"engine": "cudagraph", "milliseconds_a_step": {"eager": 10.0, "cudagraph": 1.0}}
    choice["left_out"] = {"compile-cudagraph": "short"}

    def settle(trainer, log):
        if trainer.recipe.train.engine != "auto":
            return None
        trainer.use_engine(choice["engine"])
        return choice

    monkeypatch.setattr("ganzoo.runs.start.settle_engine", settle)
    rest = ["evaluate.metrics=[]", "evaluate.samples=16"]

    def trained(name, images, *overrides):
        recipe = load_recipe("vanilla-mnist", ZOO, [*SMALL, *rest, f"train.images={images}", *overrides])
        start(recipe, ZOO, tmp_path / name, dataset=few)

    trained("whole", 320, "train.engine=cudagraph")
    trained("auto", 160)
    info = RunFolder.open(tmp_path / "auto").info
    assert info["engine"] == "cudagraph"
    assert info["engine_choice"] == choice
    monkeypatch.setattr("ganzoo.runs.start.settle_engine", engine_choice.settle_engine)
    said = []
    callbacks = Callbacks(log=said.append)
    resume(tmp_path / "auto", ZOO, overrides=["train.images=320"], dataset=few, callbacks=callbacks)
    resumed = RunFolder.open(tmp_path / "auto")
    assert (resumed.info["engine"], resumed.info["engine_choice"]) == ("cudagraph", choice)
    assert [sentence for sentence in said if "ngine" in sentence] == []
    assert resumed.recipe(ZOO).train.engine == "auto", "the folder holds the requested value"
    one, other = (RunFolder.open(tmp_path / name).checkpoint().tensors for name in ("whole", "auto"))
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []


@pytest.mark.parametrize(
    ("engine", "before", "now", "processes", "wanted"),
    [
        ("cudagraph", "cuda:0", "cuda", 1, "cudagraph"),
        ("cudagraph without generator", "cuda", "cuda:1", 1, "cudagraph"),
        ("compile-cudagraph", "cuda", "cuda", 1, "compile-cudagraph"),
        ("eager", "cuda", "cuda", 2, "eager"),
        ("cudagraph", "cuda", "cuda", 2, None),
        ("cudagraph", "cuda", "cpu", 1, None),
        ("eager", "cpu", "cuda", 1, None),
        ("rm -rf", "cuda", "cuda", 1, None),
        (None, None, "cuda", 1, None),
    ],
)
def test_a_resumed_run_keeps_its_engine_on_the_same_kind_of_device(engine, before, now, processes, wanted):
    info = {"engine": engine, "environment": {"device": before} if before else None}
    assert recorded_engine(info, torch.device(now), processes) == wanted
