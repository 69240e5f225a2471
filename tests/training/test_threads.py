"""CPU threads: how many a machine offers, measurements that leave no trace, and changes that a resumed run repeats."""

import os
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from ganzoo.config.loading import load_recipe
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.loop import Callbacks
from ganzoo.runs.start import resume, start
from ganzoo.training import tuning as threads
from ganzoo.training.device import VARIABLES, available_cores
from ganzoo.training.distributed import ALONE, Processes
from ganzoo.training.trainer import Trainer
from ganzoo.training.tuning import ThreadTuner, settle_threads

TINY = [
    "networks.generator.hidden=[32]",
    "networks.discriminator.hidden=[16]",
    "train.batch_size=16",
    "train.images=320",
    "train.log_every=32",
    "train.checkpoint_seconds=0",
    "evaluate.metrics=[]",
]


@pytest.fixture
def two_threads(monkeypatch):
    """A process that may use two threads and whose user has not set their number."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


OLD = "sys/fs/cgroup/cpu/docker/x/cpu.cfs_"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "3:cpu,cpuacct:/docker/x\n", f"{OLD}quota_us": "100000", f"{OLD}period_us": "100000"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 100000"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
    ],
    ids=["none", "version-2", "version-1", "inside", "free"],
)
def test_a_control_group_limits_the_cores(tmp_path, files, cores):
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert available_cores(tmp_path) == (cores or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [("vanilla-mnist", ["networks.discriminator.spectral_norm=true"]), ("began-mnist", []), ("ada-mnist", [])],
)
def test_a_rehearsal_leaves_no_trace(zoo, few, different, monkeypatch, recipe, overrides):
    monkeypatch.setattr("ganzoo.training.trainer.MEASURED_BATCHES", 1)  # for averaged weights, unused here
    monkeypatch.setattr("ganzoo.training.step.WATCH_EVERY", 1)
    settings = load_recipe(recipe, zoo, ["train.batch_size=16", "train.precision=fp32", *overrides])
    rehearsed, other = (Trainer(settings, zoo, dataset=few) for _ in range(2))
    for trainer in (rehearsed, other):
        torch.manual_seed(0)  # two trainers in one process share torch's own generator
        trainer.step()
        trainer.step()
        with trainer.rehearsal():
            for _ in range(3 if trainer is rehearsed else 0):
                trainer.step()
        trainer.step()
    assert rehearsed.images == other.images
    assert different(rehearsed, other) == []
    assert rehearsed.flush() == other.flush()
    assert rehearsed.gradients.flush() == other.gradients.flush()


@pytest.mark.parametrize(
    "change",
    [
        {"processes": Processes(0, 2)},
        {"device": torch.device("cuda")},
        {"engine": SimpleNamespace(name="compile")},
        {"recipe": SimpleNamespace(train=SimpleNamespace(threads=2))},
    ],
    ids=str,
)
def test_threads_are_adapted_only_in_a_single_eager_process_on_a_cpu(two_threads, monkeypatch, change):
    measured = []
    monkeypatch.setattr(ThreadTuner, "_measure", lambda *given: measured.append(1))
    facts = {
        "recipe": SimpleNamespace(train=SimpleNamespace(threads="auto")),
        "processes": ALONE,
        "device": torch.device("cpu"),
        "engine": SimpleNamespace(name="eager"),
    }
    for given, expected in ((facts, True), (facts | change, False)):
        measured.clear()
        tuner = ThreadTuner(SimpleNamespace(**given))
        for _ in range(20):
            tuner.after_step(1.0)
        assert bool(measured) == expected


class Clock:
    """A clock that only the test advances, so that this machine's load does not matter."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for name in ("monotonic", "perf_counter"):
        monkeypatch.setattr(threads, name, clock)
    return clock


def test_fewer_threads_are_used_while_the_machine_is_busy_and_all_afterwards(zoo, few, two_threads, clock, monkeypatch):
    """Steps take as long as on a busy machine or an idle one."""
    trainer = Trainer(load_recipe("vanilla-mnist", zoo, TINY), zoo, dataset=few)
    busy, said = [True], []

    def step():
        clock.now += 0.02 if torch.get_num_threads() == 1 else 0.2 if busy[0] else 0.01

    monkeypatch.setattr(trainer, "step", step)
    monkeypatch.setattr(threads, "SHARE", 1)
    tuner = ThreadTuner(trainer, log=said.append)

    def train_until_changed():
        for _ in range(500):
            began = clock.now
            trainer.step()
            changed = tuner.after_step(clock.now - began)
            if changed is not None:
                return changed
        return None

    assert train_until_changed() == 1
    assert torch.get_num_threads() == 1
    assert "Training with 1 of 2 CPU threads: with all of them, a step now takes" in said[0]
    busy[0] = False
    assert train_until_changed() == 2
    assert said[1:] == ["Training with all 2 CPU threads again."]
    for _ in range(20):
        trainer.step()
        assert tuner.after_step(0.01) is None
    busy[0] = True
    assert train_until_changed() == 1


@pytest.mark.parametrize(
    ("one", "two", "waits"),
    [
        (60.0, 200.0, [10_400.0, 10_400.0, 10_400.0]),  # never more than a fortieth of the time
        (0.2, 0.3, [20.0, 40.0, 80.0, 120.0, 120.0]),
    ],
)
def test_measuring_takes_a_small_share_of_training_however_long_the_steps_are(
    two_threads, clock, monkeypatch, one, two, waits
):
    def step():
        clock.now += one if torch.get_num_threads() == 1 else two

    recipe = SimpleNamespace(train=SimpleNamespace(threads="auto"))
    trainer = SimpleNamespace(recipe=recipe, processes=ALONE, device=torch.device("cpu"), rehearsal=nullcontext)
    trainer.step, trainer.engine = step, SimpleNamespace(name="eager")
    tuner, found = ThreadTuner(trainer), []
    for _ in waits:
        assert tuner._measure(1) is None  # two are slower
        found.append(tuner._due - clock.now)
    assert found == pytest.approx(waits)


@pytest.mark.parametrize("user", ["recipe", "environment"])
def test_a_number_given_by_the_user_is_kept(zoo, few, tmp_path, two_threads, monkeypatch, user):
    if user == "environment":
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(ThreadTuner, "_measure", lambda self, current: pytest.fail("measured"))
    given, seen = ["train.threads=1"] if user == "recipe" else [], set()
    recipe = load_recipe("vanilla-mnist", zoo, [*TINY, *given])
    callbacks = Callbacks(on_step=lambda images, losses: seen.add(torch.get_num_threads()))
    start(recipe, zoo, tmp_path / "run", dataset=few, callbacks=callbacks)
    assert seen == {1 if user == "recipe" else 2}


class Killed(Exception):
    """Simulates a process that ends here."""


def test_a_resumed_run_repeats_changes_of_threads(zoo, few, tmp_path, two_threads, monkeypatch):
    monkeypatch.setattr("ganzoo.training.device.available_cores", lambda *_: 2)
    recipe = load_recipe("vanilla-mnist", zoo, [*TINY, "train.precision=fp32"])
    seen: dict[str, list[int]] = {"whole": [], "broken": []}
    most: set[int] = set()

    def becomes_busy(self, current):
        torch.set_num_threads(1)
        return 1

    def trained(name, *, killed_at=None, again=False):
        def on_step(images, losses):
            place = images // 16 - 1
            seen[name][place:] = [torch.get_num_threads()]
            if images == killed_at:
                raise Killed

        callbacks = Callbacks(on_step=on_step)
        if again:
            return resume(tmp_path / name, zoo, dataset=few, callbacks=callbacks)
        return start(recipe, zoo, tmp_path / name, dataset=few, callbacks=callbacks)

    def after_step(self, seconds, original=ThreadTuner.after_step):
        self._due = 0.0 if self._trainer.images == 192 else float("inf")
        return original(self, seconds)

    with monkeypatch.context() as busy:
        busy.setattr(ThreadTuner, "after_step", after_step)
        busy.setattr(ThreadTuner, "_measure", becomes_busy)
        trained("whole")
        with pytest.raises(Killed):
            trained("broken", killed_at=224)
    # The checkpoint at 160 images predates the change, and the machine is no longer busy.
    for newer in (tmp_path / "broken/checkpoints").glob("*192*"):
        newer.unlink()
    with monkeypatch.context() as free:
        free.setattr(ThreadTuner, "_measure", lambda self, current: most.add(self.most))
        with pytest.raises(Killed):
            trained("broken", killed_at=176, again=True)
        trained("broken", again=True)
    assert most == {2}, "although its checkpoint has one thread, it may use two later"
    assert set(seen["whole"]) == {1, 2}
    assert seen["broken"] == seen["whole"]
    first, second = (RunFolder.open(tmp_path / name).checkpoint().tensors for name in ("whole", "broken"))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize(
    ("seconds", "settled"), [({1: 0.001, 2: 0.002}, 1), ({1: 0.002, 2: 0.001}, 2), ({1: 0.001, 2: 0.00105}, 2)]
)
def test_scoring_uses_fewer_threads_if_they_are_clearly_faster(two_threads, clock, monkeypatch, seconds, settled):
    def multiply(left, right):
        clock.now += seconds[torch.get_num_threads()]
        return left

    monkeypatch.setattr(threads, "use_available_cores", lambda: None)  # there may be only one
    monkeypatch.setattr(torch, "mm", multiply)
    settle_threads()
    assert torch.get_num_threads() == settled


def test_scoring_uses_the_number_set_in_the_environment(two_threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(threads, "_timed", lambda *given: pytest.fail("measured"))
    settle_threads()
    assert torch.get_num_threads() == 2
