"""Real matrices in real processes: done, failed, skipped, cut off and gone on with."""

import json
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

from ganzoo.recipes.loading import load_recipe
from ganzoo.runs.folder import RunFolder
from ganzoo.studies.matrix import Matrix
from ganzoo.studies.records import Ledger, RunRecord, read_records
from ganzoo.studies.worker import Bench, Settings, Watcher

TINY = [
    "networks.generator.hidden=[16]",
    "networks.discriminator.hidden=[16]",
    "train.batch_size=32",
    "train.images=32000",
    "train.log_every=320",
    "train.checkpoint_seconds=0",
    "train.precision=fp32",
    "evaluate.every=16000",
    "evaluate.samples=200",
]


def bench(folder, *patterns, options=()):
    settings = [word for override in TINY for word in ("--set", override)]
    places = ["--results", str(folder / "results"), "--work", str(folder / "work")]
    command = [sys.executable, "-m", "ganzoo", "bench", *patterns, *settings, *places, "--threads", "1", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def files(zoo, tmp_path_factory):
    """Recipes that fail: one in training, one before there is a run."""
    folder = tmp_path_factory.mktemp("recipes")
    broken = {"diverging": ["optimizers.default.lr=1e30"], "misfit": ["dataset.name=ring"]}
    for name, overrides in broken.items():
        (folder / f"{name}.yaml").write_text(load_recipe("vanilla-mnist", zoo, overrides).to_yaml())
    return [str(folder / f"{name}.yaml") for name in broken]


@pytest.fixture(scope="module")
def matrix(files, tmp_path_factory):
    """Two that fail and one that does not, two at a time: the folder, and the JSON that was printed."""
    folder = tmp_path_factory.mktemp("bench")
    process = bench(folder, *files, "vanilla-mnist", options=["--json", "--jobs", "2"])
    printed, told = process.communicate(timeout=300)
    assert process.returncode == 1, told
    assert told.splitlines()[0] == "3 to train, 0 done before"
    assert "1 of 3 done, 2 failed" in told
    assert "Traceback" not in told
    return folder, json.loads(printed)["records"]


def test_failures_are_recorded_in_their_own_words_and_the_other_job_trains(matrix):
    _, records = matrix
    diverging, misfit, done = map(RunRecord.model_validate, records)
    assert [diverging.recipe, misfit.recipe, done.recipe] == ["diverging", "misfit", "vanilla-mnist"]
    for failed in (diverging, misfit):
        assert (failed.status, failed.plugin, failed.samples, failed.scores) == ("failed", None, None, ())
    assert diverging.error.startswith("Training diverged: ")
    assert misfit.error.startswith("The extractor 'mnist-cnn' judges images of 28x28 grey")
    assert (misfit.dataset, misfit.images, misfit.parameters) == ("ring", 0, {})
    assert (done.status, done.error, done.plugin, done.loss) == ("done", None, "vanilla", "non-saturating")


def test_what_is_printed_is_what_is_in_the_file(matrix):
    folder, printed = matrix
    kept = [record.plain() for record in read_records(folder / "results" / "runs.jsonl")]
    assert sorted(kept, key=lambda record: record["recipe"]) == printed


def test_a_record_holds_what_its_run_left(matrix):
    folder, records = matrix
    record = RunRecord.model_validate(records[-1])
    (path,) = (folder / "work" / "vanilla-mnist" / "mnist").glob("seed-0-*/run.json")
    run = RunFolder.open(path.parent)
    assert (record.images, record.seconds) == (run.info["images"], run.info["seconds"])
    assert record.parameters == run.info["parameters"]
    assert record.environment == run.info["environment"]
    assert record.threads == 1
    assert record.wall_seconds > record.seconds
    assert [score.model_dump() for score in record.scores] == run.scores()[2:]
    assert [(p.images, p.weights) for p in record.curve] == [(n, w) for n in (16000, 32000) for w in ("ema", "raw")]
    # tests/training/test_flops.py works this out.
    assert record.flops_per_image == 232_448
    picture = folder / "results" / record.samples
    assert picture.read_bytes() == (run.path / "samples" / f"{32000:012d}.png").read_bytes()
    with Image.open(picture) as grid:
        assert grid.size == (242, 242)


class Seen(Exception):
    pass


class Onlooker(Watcher):
    def planned(self, todo, known):
        raise Seen([job.recipe.name for job in todo], [record.recipe for record in known])


@pytest.mark.parametrize(
    ("settings", "overrides", "todo"),
    [
        ({}, [], []),
        ({"retry": True}, [], ["diverging", "misfit"]),
        ({"force": True}, [], ["diverging", "misfit", "vanilla-mnist"]),
        ({}, ["train.seed=1"], ["diverging", "misfit", "vanilla-mnist"]),
        ({}, ["train.images=32032"], ["diverging", "misfit", "vanilla-mnist"]),
        ({}, ["train.log_every=640"], []),
    ],
)
def test_only_what_has_no_record_is_trained_or_what_is_asked_for(zoo, matrix, files, settings, overrides, todo):
    folder, _ = matrix
    jobs = Matrix([*files, "vanilla-mnist"], overrides=[*TINY, *overrides]).jobs(zoo)
    runner = Bench(zoo, Ledger(folder / "results"), Settings(folder / "work", **settings), Onlooker())
    with pytest.raises(Seen) as seen:
        runner.run(jobs)
    known = [job.recipe.name for job in jobs if job.recipe.name not in todo]
    assert seen.value.args == (todo, known)


@pytest.mark.slow
def test_a_bench_cut_off_leaves_nothing_running_and_goes_on_to_the_same_bits(matrix, tmp_path):
    shown = 0
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        process = bench(tmp_path, "vanilla-mnist")
        run = wait_for_training(tmp_path, shown)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
        assert process.returncode == code, told
        # Nobody told a job to end whose bench was killed, and still it does, and saves.
        wait_for(lambda: RunFolder.open(run).info["status"] == "interrupted")  # noqa: B023
        shown = RunFolder.open(run).latest_checkpoint().state["images"]
        assert 0 < shown < 32_000
    assert read_records(tmp_path / "results" / "runs.jsonl") == []

    process = bench(tmp_path, "vanilla-mnist")
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    (record,) = read_records(tmp_path / "results" / "runs.jsonl")
    assert record.wall_seconds is None
    whole = RunRecord.model_validate(matrix[1][-1])
    assert [score.value for score in record.scores] == [score.value for score in whole.scores]
    assert_same_weights(run, next(matrix[0].glob("work/vanilla-mnist/mnist/seed-0-*/run.json")).parent)


def wait_for_training(folder, beyond):
    """The run folder, once it has a checkpoint after more images than that."""

    def newest():
        saved = sorted(folder.glob("work/*/*/seed-*/checkpoints/*.json"))
        return saved[-1] if saved and int(saved[-1].stem) > beyond else None

    return wait_for(newest).parents[1]


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return found


def assert_same_weights(first, second):
    first, second = (RunFolder.open(run).latest_checkpoint().tensors for run in (first, second))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
