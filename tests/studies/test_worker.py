"""Real matrices in real processes: done, failed, skipped, interrupted, resumed, and scored on an added metric.

The bench itself runs in this process and its training runs in their own, except when a signal ends the bench.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from ganzoo.cli import app
from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError, Interrupted
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.generator import load
from ganzoo_studies.matrix import jobs_of
from ganzoo_studies.records import (
    Ledger,
    RunRecord,
    collect_added_scores,
    kept_folder,
    read_runs,
    run_of,
)
from ganzoo_studies.worker import Bench, Settings, Watcher

TINY = [
    "networks.generator.hidden=[16]",
    "networks.discriminator.hidden=[16]",
    "train.batch_size=32",
    "train.images=1280",
    "train.log_every=320",
    "train.checkpoint_seconds=0",
    "train.precision=fp32",
    "evaluate.every_images=640",
    "evaluate.metrics=[class-coverage@mnist-cnn]",
    "evaluate.samples=200",
]
METRICS = ("class-coverage@mnist-cnn",)


def words(folder, *patterns, options=()):
    settings = [word for override in TINY for word in ("--set", override)]
    places = ["--results", str(folder / "results"), "--work", str(folder / "work")]
    return ["bench", *patterns, *settings, *places, "--threads", "1", *options]


def score_of(run, metric):
    """The final score by a metric, of the reported weights."""
    return next(score for score in run.scores if score["metric"] == metric)


@pytest.fixture(scope="module")
def files(zoo, tmp_path_factory):
    """Recipes that fail: one in training, one before its run exists."""
    folder = tmp_path_factory.mktemp("recipes")
    broken = {
        "diverging": ["optimizers.default.lr=1e30"],
        "missing": ["dataset={name: image-folder, path: nowhere, channels: 1}"],
    }
    for name, overrides in broken.items():
        (folder / f"{name}.yaml").write_text(load_recipe("vanilla-mnist", zoo, overrides).to_yaml())
    return [str(folder / f"{name}.yaml") for name in broken]


@pytest.fixture(scope="module")
def matrix(files, tmp_path_factory):
    """Two recipes that fail and one that does not, two at a time: the folder, and the JSON that was printed."""
    folder = tmp_path_factory.mktemp("bench")
    ended = CliRunner().invoke(app, words(folder, *files, "vanilla-mnist", options=["--json", "--jobs", "2"]))
    printed, told = ended.stdout, ended.stderr
    assert ended.exit_code == 1, told
    assert told.splitlines()[0] == "3 to train, 0 already done"
    assert "1 of 3 done, 2 failed" in told
    assert "Traceback" not in told
    return folder, json.loads(printed)["records"]


def test_failures_are_recorded_in_their_own_words_and_the_other_job_trains(matrix):
    _, records = matrix
    diverging, missing, done = map(recorded, records)
    assert [len(record["scores"]) for record in records] == [0, 0, len(METRICS)]
    assert [diverging.recipe, missing.recipe, done.recipe] == ["diverging", "missing", "vanilla-mnist"]
    for failed in (diverging, missing):
        assert (failed.status, failed.plugin, failed.samples) == ("failed", None, None)
    assert diverging.error.startswith("Training diverged: ")
    assert missing.error.startswith("The folder of pictures nowhere cannot be read")
    assert (missing.dataset, missing.images, missing.parameters) == ("image-folder", 0, {})
    assert (diverging.diverged, diverging.has_crashed, missing.diverged, missing.has_crashed) == (
        True,
        False,
        False,
        True,
    )
    assert (done.status, done.error, done.plugin, done.loss) == ("done", None, "vanilla", "non-saturating")


def test_a_record_holds_what_its_run_left(matrix):
    folder, records = matrix
    record = recorded(records[-1])
    (path,) = (folder / "work" / "vanilla-mnist" / "mnist").glob("seed-0-*/run.json")
    run = RunFolder.open(path.parent)
    assert (record.images, record.seconds) == (run.info["images"], run.info["seconds"])
    assert record.parameters == run.info["parameters"]
    assert record.environment == run.info["environment"]
    assert record.threads == 1
    assert record.wall_seconds > record.seconds
    kept_runs = read_runs(folder / "results")
    assert sorted((one.plain() for one in kept_runs), key=lambda one: one["recipe"]) == records
    (kept,) = [one for one in kept_runs if one.record == record]
    reported, final = (
        [score for score in scores if score["weights"] == "ema"] for scores in (run.scores(), run.final_scores())
    )
    assert list(kept.curve) == reported
    assert list(kept.scores) == records[-1]["scores"] == final == reported[-len(METRICS) :]
    assert [(p["images"], p["metric"]) for p in kept.curve] == [
        (images, metric) for images in (640, 1280) for metric in METRICS
    ]
    assert record.started == run.info["started"]
    # tests/training/test_flops.py works this out.
    assert record.flops_per_image == 232_448
    picture = folder / "results" / record.samples
    assert picture.read_bytes() == (run.path / "samples" / f"{1280:012d}.png").read_bytes()
    with Image.open(picture) as grid:
        assert grid.size == (242, 242)


def recorded(printed):
    """The record in what ``--json`` printed."""
    return RunRecord.model_validate({key: value for key, value in printed.items() if key != "scores"})


class Seen(Exception):
    pass


def planned(jobs, *given):
    """What a bench would train, knows already, and would score, by name."""
    with pytest.raises(Seen) as seen:
        Bench(*given, Onlooker()).run(jobs)
    return seen.value.args


class Onlooker(Watcher):
    def planned(self, todo, known, to_score):
        raise Seen(
            [job.recipe.name for job in todo],
            [run.record.recipe for run in known],
            [job.recipe.name for job in to_score],
        )


@pytest.mark.parametrize(
    ("settings", "overrides", "todo"),
    [
        ({}, [], []),
        ({"retry": True}, [], ["diverging", "missing"]),
        ({"retry": True, "any_hardware": True}, [], ["missing"]),  # as in a study, for which divergence is a result
        ({"force": True}, [], ["diverging", "missing", "vanilla-mnist"]),
        ({}, ["train.seed=1"], ["diverging", "missing", "vanilla-mnist"]),
        ({}, ["train.images=1312"], ["diverging", "missing", "vanilla-mnist"]),
        ({}, ["train.log_every=640"], []),
        ({}, ["evaluate.samples=300"], []),
        ({}, ["evaluate.metrics=[class-coverage@mnist-cnn, kid@mnist-cnn]"], []),
    ],
)
def test_only_jobs_without_a_record_are_trained_unless_requested(zoo, matrix, files, settings, overrides, todo):
    folder, _ = matrix
    jobs = jobs_of(zoo, [*files, "vanilla-mnist"], overrides=[*TINY, *overrides])
    known = [job.recipe.name for job in jobs if job.recipe.name not in todo]
    lacking = ["vanilla-mnist"] if any(override.startswith("evaluate") for override in overrides) else []
    found = planned(jobs, zoo, Ledger(folder / "results"), Settings(folder / "work", **settings))
    assert found == (todo, known, lacking)


def test_runs_of_another_version_of_a_plugin_count_with_a_warning(zoo, own_zoo, matrix, tmp_path, caplog):
    folder, _ = matrix
    shutil.copytree(folder / "results", tmp_path / "results")
    ledger = Ledger(tmp_path / "results")
    (done,) = [run.record for run in ledger.runs if run.record.status == "done"]
    ledger.append(done.model_copy(update={"plugins": {"duo": "duo-gan 0.2.0"}}))
    jobs = jobs_of(zoo, ["vanilla-mnist"], overrides=TINY)
    for version, warned in (
        ("0.2.0", ""),
        ("0.3.0", "Trained with duo-gan 0.2.0, but duo-gan 0.3.0 is installed (--fo"),
    ):
        loss = replace(zoo.losses.get("non-saturating"), plugin="duo", distribution=f"duo-gan {version}")
        own_zoo.losses._entries["non-saturating"] = loss
        assert planned(jobs, own_zoo, ledger, Settings(folder / "work")) == ([], ["vanilla-mnist"], [])
        assert warned in caplog.text
        assert ("Trained with" in caplog.text) is bool(warned)


def test_a_run_that_crashed_is_trained_on_another_machine_unless_it_succeeded_on_one(
    zoo, matrix, files, tmp_path, monkeypatch
):
    folder, _ = matrix
    jobs = jobs_of(zoo, [*files, "vanilla-mnist"], overrides=TINY)
    shutil.copytree(folder / "results", tmp_path / "results")
    ledger, anywhere = Ledger(tmp_path / "results"), Settings(folder / "work", any_hardware=True)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("ganzoo_studies.worker.hardware_in_words", lambda _: "Another CPU")
        found = planned(jobs, zoo, ledger, anywhere)
    assert found == (["missing"], ["diverging", "vanilla-mnist"], [])
    (crashed,) = [run.record for run in ledger.runs if run.record.has_crashed]
    there = {**crashed.environment, "cpu": "Another CPU"}
    ledger.append(crashed.model_copy(update={"status": "done", "error": None, "environment": there}))
    assert planned(jobs, zoo, ledger, anywhere)[0] == []


def again(zoo, folder, *more, watcher=None, **settings):
    """A bench of the recipe that is done, with more overrides, and the runs that it knows."""
    bench = Bench(zoo, Ledger(folder / "results"), Settings(folder / "work", **settings), watcher)
    return bench, bench.run(jobs_of(zoo, ["vanilla-mnist"], overrides=[*TINY, *more]))


@pytest.fixture
def finished(matrix, tmp_path):
    """A copy of a finished bench of one recipe: the folder, and the run folder in it."""
    folder, _ = matrix
    shutil.copytree(folder / "results", tmp_path / "results")
    shutil.copytree(folder / "work" / "vanilla-mnist", tmp_path / "work" / "vanilla-mnist")
    (path,) = tmp_path.glob("work/vanilla-mnist/mnist/seed-0-*/run.json")
    return tmp_path, path.parent


@pytest.mark.full
@pytest.mark.slow
def test_an_added_metric_is_scored_from_the_kept_weights_without_the_run_folder(finished, zoo):
    folder, run = finished
    trained = load(run, zoo=zoo)
    again(zoo, folder, weights=folder / "weights")
    (path,) = folder.glob("weights/vanilla-mnist/mnist/seed-0-*/run.json")
    kept = load(path.parent, zoo=zoo)
    assert {name.partition(".")[0] for name in kept.checkpoint.tensors} == {"ema"}
    assert kept.weights == ("ema",)
    assert torch.equal(kept.sample(8), trained.sample(8))
    shutil.rmtree(run)
    more = "evaluate.metrics=[class-coverage@mnist-cnn, fid@mnist-cnn]"
    bench, (scored,) = again(zoo, folder, more, weights=folder / "weights")
    assert not run.exists()
    score = score_of(scored, "fid@mnist-cnn")
    assert (score["weights"], score["protocol"]["n_fake"]) == ("ema", 200)
    (recorded,) = [one for one in read_runs(folder / "results") if one.record.recipe == "vanilla-mnist"]
    assert recorded == scored
    assert len(recorded.scores) == len(METRICS) + 1
    # Nor is it measured twice.
    jobs = jobs_of(zoo, ["vanilla-mnist"], overrides=[*TINY, more])
    assert planned(jobs, zoo, bench.ledger, bench.settings) == ([], ["vanilla-mnist"], [])
    # Another run of the same recipe and seed does not replace these weights.
    other = recorded.record.model_copy(update={"started": "2020-01-01T00:00:00+00:00"})
    assert kept_folder(other, folder / "weights") != path.parent
    assert run_of(other, kept_folder(other, folder / "weights")) is None


@pytest.mark.parametrize("ending", [".eval.log", ".lock", ""])
def test_nothing_is_written_next_to_kept_weights_through_a_link(finished, zoo, ending):
    folder, run = finished
    again(zoo, folder, weights=folder / "weights")
    (path,) = folder.glob("weights/vanilla-mnist/mnist/seed-0-*")
    shutil.rmtree(run)
    link, mine = path.with_name(f"{path.name}{ending}"), folder / "mine"
    if ending:
        mine.mkdir()
        (mine / "notes.txt").write_text("somebody's own")
    else:
        path.rename(mine)
    link.symlink_to(mine / "notes.txt" if ending else mine)
    before = {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    more = "evaluate.metrics=[class-coverage@mnist-cnn, kid@mnist-cnn]"
    with pytest.raises(GanzooError, match=f"{re.escape(str(link))} is a link"):
        again(zoo, folder, more, weights=folder / "weights")
    assert {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()} == before


def test_weights_that_were_not_kept_cannot_be_scored_and_the_error_gives_a_remedy(finished, zoo):
    folder, run = finished
    shutil.rmtree(run)
    sentences, watcher = [], Watcher()
    watcher.say = lambda sentence, style: sentences.append(sentence.partition(": ")[2])
    more = "evaluate.metrics=[class-coverage@mnist-cnn, kid@mnist-cnn]"
    bench, (known,) = again(zoo, folder, more, watcher=watcher)
    assert [job.recipe.name for job in bench.unscored] == ["vanilla-mnist"]
    assert score_of(known, "class-coverage@mnist-cnn")
    assert sentences == [
        f"Cannot score kid@mnist-cnn: the weights were not kept (no such run in {run}). "
        "Point --work to where they are, or train again with --force."
    ]
    assert not run.exists()


def test_scores_that_eval_added_are_collected_for_the_leaderboard_and_by_the_same_bench(finished, zoo):
    folder, run = finished
    opened = RunFolder.open(run)
    own = next(score for score in opened.final_scores() if score["metric"] == "class-coverage@mnist-cnn")
    added = {**own, "metric": "kid@mnist-cnn", "value": 0.25, "protocol": {**own["protocol"], "metric": "kid"}}
    opened.append_score(added)
    other = {**own, "value": 999.0, "protocol": {**own["protocol"], "split": "train"}}
    before = sum(len(one.curve) for one in read_runs(folder / "results"))
    collect_added_scores(Ledger(folder / "results"), folder / "work")
    assert sum(len(one.curve) for one in read_runs(folder / "results")) == before + 1
    opened.append_score(other)
    _, (known,) = again(zoo, folder)
    assert score_of(known, "kid@mnist-cnn") == added
    assert score_of(known, "class-coverage@mnist-cnn") == own  # the one on training images is kept alongside
    assert known.scores[-1] == other
    assert known in read_runs(folder / "results")


def test_a_folder_reused_by_another_run_is_not_scored_for_the_record(finished):
    folder, run = finished
    ledger = Ledger(folder / "results")
    (known,) = [one for one in ledger.runs if one.record.recipe == "vanilla-mnist"]
    assert run_of(known.record, run).path == run
    RunFolder.open(run).update(started="2020-01-01T00:00:00+00:00")
    assert run_of(known.record, run) is None


@pytest.mark.full  # test_records.py has the record of a folder that cannot be opened
def test_a_damaged_run_folder_fails_only_that_run(finished, zoo):
    folder, run = finished
    (run / "recipe.yaml").write_text("train: {images: ")
    jobs = jobs_of(zoo, ["vanilla-mnist"], overrides=TINY)
    (failed,) = Bench(zoo, Ledger(folder / "elsewhere"), Settings(folder / "work")).run(jobs)
    assert failed.record.status == "failed"
    assert f"{run / 'recipe.yaml'}" in failed.record.error
    # If it was recorded before it was damaged, the record stands.
    (known,) = Bench(zoo, Ledger(folder / "results"), Settings(folder / "work")).run(jobs)
    assert known.record.status == "done"


class Interrupting(Watcher):
    """Ctrl-C, once a training has logged something."""

    sent = False

    def advanced(self, job, images):
        if images and not self.sent:
            self.sent = True
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.full
@pytest.mark.slow
def test_an_interrupted_bench_saves_and_continues_to_the_same_bits(matrix, zoo, tmp_path):
    # So many FIDs take long enough for the signal to arrive in time.
    often = [*TINY, "evaluate.every_images=64"]
    slow = "evaluate.metrics=[class-coverage@mnist-cnn, fid@mnist-cnn]"
    more = "evaluate.metrics=[class-coverage@mnist-cnn, fid@mnist-cnn, kid@mnist-cnn]"
    jobs, requested = (jobs_of(zoo, ["vanilla-mnist"], overrides=[*often, one]) for one in (slow, more))
    run = jobs[0].folder(tmp_path / "work")

    def bench(jobs, watcher=None):
        return Bench(zoo, Ledger(tmp_path / "results"), Settings(tmp_path / "work", threads=1), watcher).run(jobs)

    with pytest.raises(Interrupted, match="Stopped, and saved"):
        bench(jobs, Interrupting())
    assert RunFolder.open(run).info["status"] == "interrupted"
    assert 0 < RunFolder.open(run).checkpoint().state["images"] < 1280
    assert read_runs(tmp_path / "results") == []
    (resumed,) = bench(requested)  # one more metric than the run started with
    assert resumed.record.wall_seconds is None
    values = {(score["metric"], score["weights"]): score["value"] for score in matrix[1][-1]["scores"]}
    assert values.items() <= {(score["metric"], score["weights"]): score["value"] for score in resumed.scores}.items()
    assert score_of(resumed, "kid@mnist-cnn")
    assert_same_weights(run, next(matrix[0].glob("work/vanilla-mnist/mnist/seed-0-*/run.json")).parent)


@pytest.mark.full
def test_a_killed_bench_leaves_nothing_running(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "ganzoo", *words(tmp_path, "vanilla-mnist"), "--set", "train.images=1280000"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        run = wait_for_training(tmp_path)
        process.kill()
        process.wait()
        # The job was not told to end, yet it saves and ends.
        wait_for(lambda: RunFolder.open(run).info["status"] == "interrupted")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert 0 < RunFolder.open(run).checkpoint().state["images"] < 1280


def wait_for_training(folder):
    """The run folder, once it has a checkpoint."""
    return wait_for(lambda: next(folder.glob("work/*/*/seed-*/checkpoints/*.json"), None)).parents[1]


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return found


def assert_same_weights(first, second):
    first, second = (RunFolder.open(run).checkpoint().tensors for run in (first, second))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
