"""The full path on real MNIST: start, score, kill, resume, stop early, refuse."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest
import torch

from ganzoo import Images
from ganzoo.api.dataset import png
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import Until, training_digest
from ganzoo.errors import GanzooError, HungUp, Interrupted, RunError, StopAtOnce, Terminated, foreign_code
from ganzoo.registry.loading import load_zoo
from ganzoo.runs.folder import RunFolder, free_folder
from ganzoo.runs.generator import load
from ganzoo.runs.loop import Callbacks, TrainingLoop
from ganzoo.runs.records import is_event
from ganzoo.runs.start import Task, _prepared, resume, start
from ganzoo.training import device as precision
from ganzoo.training.distributed import ALONE
from ganzoo.training.signals import StopRequests
from ganzoo.training.trainer import Trainer
from ganzoo_reports.run_pages import write_report

TINY = [
    "networks.generator.hidden=[32]",
    "networks.discriminator.hidden=[16]",
    "train.batch_size=128",
    "train.images=6400",
    "optimizers.default.lr=1e-3",  # the recipe's falls with the length, which some tests change
    "train.log_every=640",
    "train.checkpoint_seconds=0",
    "train.threads=1",  # otherwise chosen by timing, and another number may change bits
    "evaluate.every_images=3200",
    "evaluate.samples=200",
    "evaluate.metrics=[fid@mnist-cnn]",
]


@pytest.fixture(scope="module", autouse=True)
def few_rounds():
    """Interval widths are not tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ganzoo.evaluation.intervals.ROUNDS", 3)
        yield


FURTHER = ["train.images=640", "evaluate.every_images=null", "evaluate.metrics=[]"]


@pytest.fixture(scope="module")
def few(mnist):
    return mnist.rows(torch.arange(640))


def tiny(*overrides):
    zoo = load_zoo()
    return load_recipe("vanilla-mnist", zoo, [*TINY, *overrides]), zoo


class Killed(BaseException):
    pass


def killed(folder, at, *overrides):
    """A run that is killed when it has shown so many images."""

    def kill(images, losses):
        if images >= at:
            raise Killed

    recipe, zoo = tiny(*overrides)
    with pytest.raises(Killed):
        start(recipe, zoo, folder, callbacks=Callbacks(on_step=kill))
    return RunFolder.open(folder)


def assert_same_weights(first, second):
    """The last checkpoints agree to the bit: weights, averages, optimizers, and every source of random numbers."""
    first, second = (RunFolder.open(run).checkpoint().tensors for run in (first, second))
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    recipe, zoo = tiny()
    folder = tmp_path_factory.mktemp("whole") / "run"
    start(recipe, zoo, folder)
    return folder


def test_a_run_writes_everything_it_promises(whole):
    run = RunFolder.open(whole)
    assert run.info["status"] == "done"
    assert run.info["images"] == 6400
    assert run.info["environment"]["versions"]["torch"] == torch.__version__
    assert [p.name for p in sorted((whole / "samples").iterdir())] == [f"{i:012d}.png" for i in (0, 3200, 6400)]
    drawn = png(Images(1, 28, 28).picture(load(whole).sample(64), 8))  # by the averaged weights
    assert (whole / "samples" / "000000006400.png").read_bytes() == drawn
    scores = run.scores()
    assert [(s["images"], s["weights"]) for s in scores] == [(i, w) for i in (3200, 6400) for w in ("ema", "raw")]
    for score in scores:
        known = {"metric", "value", "floor", "sd", "weights", "images", "seconds", "protocol"}
        assert score.keys() == (known | {"interval"} if score["images"] == 6400 else known)
        assert score["value"] > score["floor"] > 0
        assert score["protocol"]["n_fake"] == 200
        assert score["protocol"]["weights"] == score["weights"]
    events = run.events()
    assert events[0]["event"] == "start"
    assert events[-1]["event"] == "end"
    trained = [e for e in events if e["event"] == "train"]
    assert [e["images"] for e in trained] == list(range(640, 6401, 640))
    assert all(e["discriminator.loss"] > 0 and e["images_per_second"] > 0 for e in trained)
    assert not list(whole.rglob("*.tmp"))


def test_a_grid_of_a_conditional_run_has_a_column_for_each_class(tmp_path):
    recipe, zoo = tiny("conditional=true", "train.images=640", "evaluate.metrics=[]", "evaluate.every_images=null")
    run = start(recipe, zoo, tmp_path / "run")
    samples = load(run.path).sample(80)  # the classes in turn
    drawn = png(Images(1, 28, 28).picture(samples, 10))
    assert (run.path / "samples" / "000000000640.png").read_bytes() == drawn


@pytest.mark.full
def test_training_learns(tmp_path):
    zoo = load_zoo()
    settings = ["train.images=19200", "evaluate.every_images=12800", "evaluate.samples=500", "train.ema=null"]
    untrained = start(load_recipe("vanilla-mnist", zoo, [*settings, "train.images=128"]), zoo, tmp_path / "untrained")
    trained = start(load_recipe("vanilla-mnist", zoo, settings), zoo, tmp_path / "trained")
    before, after = ([s for s in run.scores() if s["metric"] == "fid@mnist-cnn"][-1] for run in (untrained, trained))
    assert after["value"] < 0.8 * before["value"]


def test_a_grid_every_minute_changes_no_weights_and_their_number_stays_small(tmp_path, monkeypatch):
    # An average whose batch normalisation is measured before samples are drawn.
    batch = ["networks.generator.norm=batch", "evaluate.every_images=null", "evaluate.metrics=[]"]
    recipe, zoo = tiny(*batch)
    start(recipe, zoo, tmp_path / "without")
    monkeypatch.setattr("ganzoo.runs.loop.GRID_SECONDS", 0.0)
    monkeypatch.setattr("ganzoo.runs.loop.GRIDS", 10**9)
    start(recipe, zoo, tmp_path / "with")
    killed(tmp_path / "resumed", 3300, *batch)
    resume(tmp_path / "resumed", zoo)
    grids = {name: sorted((tmp_path / name / "samples").iterdir()) for name in ("without", "with", "resumed")}
    assert [len(grids[name]) for name in grids] == [2, 51, 51]  # one a step
    for name in ("with", "resumed"):
        assert_same_weights(tmp_path / "without", tmp_path / name)
        assert [grid.read_bytes() for grid in grids[name]][::50] == [grid.read_bytes() for grid in grids["without"]]
    # After an hour, each grid waits for another sixtieth of the training so far.
    monkeypatch.setattr("ganzoo.runs.loop.GRIDS", 0.5)
    start(recipe, zoo, tmp_path / "few")
    assert len(list((tmp_path / "few" / "samples").iterdir())) < 20


def test_evaluating_and_logging_do_not_disturb_training(whole, tmp_path):
    recipe, zoo = tiny("evaluate.every_images=null", "train.log_every=6400", "train.checkpoint_seconds=1000")
    start(recipe, zoo, tmp_path / "quiet")
    assert_same_weights(whole, tmp_path / "quiet")


@pytest.mark.parametrize(
    "at", [*(pytest.param(images, marks=pytest.mark.full) for images in (128, 1600, 3200)), 3300, 5000]
)
def test_a_run_interrupted_anywhere_resumes_to_the_same_bits_and_scores(whole, tmp_path, zoo, at):
    killed(tmp_path / "run", at)
    run = resume(tmp_path / "run", zoo)
    assert_same_weights(whole, run.path)
    told = ("metric", "value", "weights", "images", "protocol")
    ours, expected = ([{k: s[k] for k in told} for s in one.scores()] for one in (run, RunFolder.open(whole)))
    assert ours == expected
    events = run.events()
    trained = [e for e in events if e["event"] == "train"]
    assert [e["images"] for e in trained] == list(range(640, 6401, 640))
    assert [e["images"] for e in events if "variety" in e] == [3200, 6400]
    watched = [e["images"] for e in events if "gradients" in e]
    assert watched == sorted(set(watched))
    seconds = [e["seconds"] for e in trained]
    assert seconds == sorted(seconds)


def test_a_run_keeps_its_number_format_even_if_auto_would_now_choose_another(whole, tmp_path, zoo, monkeypatch):
    run = killed(tmp_path / "run", 5000)
    other = {"fp32": True, "bf16": False}[run.info["precision"]]
    monkeypatch.setattr(precision, "_fast_bf16", lambda device: other)
    assert resume(run.path, zoo).recipe(zoo).train.precision == "auto"
    assert_same_weights(whole, tmp_path / "run")


@pytest.mark.parametrize("at", [(TrainingLoop, "_score"), (RunFolder, "append_score")])
def test_an_evaluation_interrupted_between_checkpoint_and_score_is_repeated_and_logged_once(at, tmp_path, monkeypatch):
    recipe, zoo = tiny("train.images=1280", "evaluate.every_images=640")
    with monkeypatch.context() as patch:
        patch.setattr(*at, lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            start(recipe, zoo, tmp_path / "run")
    assert RunFolder.open(tmp_path / "run").scores() == []
    run = resume(tmp_path / "run", zoo)
    assert [score["images"] for score in run.scores()] == [640, 640, 1280, 1280]
    assert [event["images"] for event in run.events() if event["event"] == "score"] == [640, 640, 1280, 1280]


@pytest.mark.slow
@pytest.mark.timeout(600)  # longer than all of its own waits together
@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.full),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.full),
        pytest.param(signal.SIGKILL, -signal.SIGKILL, marks=pytest.mark.full),
    ],
)
def test_signals_to_a_real_process(whole, tmp_path, number, code):
    folder = tmp_path / "run"
    settings = [part for override in TINY for part in ("--set", override)]
    command = [sys.executable, "-m", "ganzoo", "run", "vanilla-mnist", *settings, "--out", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 240
        while not list(folder.glob("checkpoints/*.json")):  # from here on, signals are handled
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(number)
        _, told = process.communicate(timeout=120)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == code, told
    assert "Traceback" not in told
    if number != signal.SIGKILL:
        assert f"ganzoo run --resume {folder}" in told.replace("\n", "")
        assert RunFolder.open(folder).info["status"] == "interrupted"
    resume(folder, load_zoo())
    assert_same_weights(whole, folder)


def test_a_request_to_stop_is_not_taken_for_an_unreadable_file_or_a_failing_plugin():
    def read():
        with StopRequests() as requests, requests.at_once("Stopped.", "Resume."):
            try:
                with foreign_code("The extractor failed", "Mend it."):
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(5)
            except Exception as error:
                raise GanzooError("The file is damaged.") from error

    with pytest.raises(Interrupted, match="Stopped"):
        read()


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, Interrupted), (signal.SIGHUP, HungUp)])
def test_a_request_that_a_library_swallows_is_not_reported_as_the_library_s_failure(number, kind):
    def fail():
        with StopRequests() as requests, requests.at_once("Stopped.", "Resume."):
            with suppress(StopAtOnce):  # as torch does while it imports numpy
                os.kill(os.getpid(), number)
            raise ImportError("cannot import name 'ndarray' from partially initialized module 'numpy'")

    with pytest.raises(kind, match="Stopped"):
        fail()


def test_a_process_that_ignores_hangups_trains_on():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with StopRequests() as requests:
            os.kill(os.getpid(), signal.SIGHUP)
        assert requests.received is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_output_to_a_terminal_that_is_gone_is_discarded():
    script = "import os, signal\nfrom ganzoo.training.signals import StopRequests\n" + dedent("""
        main, terminal = os.openpty()
        os.dup2(terminal, 2)
        with StopRequests() as requests:
            os.close(main)
            os.kill(os.getpid(), signal.SIGHUP)
            os.write(2, b"more")
        print(requests.received.name)
    """)
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "SIGHUP\n"


def test_the_first_ctrl_c_says_what_a_second_one_does_and_that_one_what_is_lost(tmp_path, capfd):
    def twice(images, losses):
        if images == 640 + 128:
            os.kill(os.getpid(), signal.SIGINT)
            assert "press Ctrl-C again to quit without saving" in capfd.readouterr().err
            os.kill(os.getpid(), signal.SIGINT)

    recipe, zoo = tiny("train.images=1280", "evaluate.every_images=null", "evaluate.metrics=[]")
    with pytest.raises(Interrupted, match="without saving: the last 128 of 768 images are lost. Resume with"):
        start(recipe, zoo, tmp_path / "run", callbacks=Callbacks(on_step=twice))
    assert RunFolder.open(tmp_path / "run").info["status"] == "interrupted"


def test_a_second_ctrl_c_stops_immediately_even_after_a_sigterm():
    with StopRequests() as requests:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # schedulers may repeat it while a checkpoint is being saved
        os.kill(os.getpid(), signal.SIGINT)
        assert isinstance(requests.error("Stopped.", "Resume."), Terminated)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_signal_handlers_are_restored_and_a_run_in_a_thread_sets_none():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with suppress(ZeroDivisionError), StopRequests():
        1 / 0  # noqa: B018
    with ThreadPoolExecutor(1) as pool:
        pool.submit(StopRequests().__enter__).result()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_training_ends_when_it_is_good_enough(tmp_path):
    recipe, zoo = tiny("train.until={metric: fid@mnist-cnn, below: 1e6}", "evaluate.every_images=640")
    run = start(recipe, zoo, tmp_path / "run")
    assert run.info["images"] == 640
    assert "fell below" in run.info["reason"]


@pytest.mark.parametrize(
    ("metric", "values"), [("quality@ring", [0.1, 0.5, 0.3, 0.4, 0.9]), ("kl@ring", [0.9, 0.5, 0.7, 0.6, 0.1])]
)
def test_training_ends_on_a_plateau_and_keeps_the_best_checkpoint(tmp_path, monkeypatch, metric, values):
    """Scores get better, worse, and stay there: the best is the second, and training ends two evaluations later."""
    values = iter(values)
    score = TrainingLoop._score

    def scripted(self, weights):
        score(self, weights)
        file = self.run.path / "scores.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        if weights == "ema":
            lines[-1]["value"] = next(values)
        file.write_text("".join(f"{json.dumps({k: v for k, v in line.items() if k != 'schema'})}\n" for line in lines))

    monkeypatch.setattr(TrainingLoop, "_score", scripted)
    zoo = load_zoo()
    small = ["train.images=2560", "evaluate.every_images=512", "evaluate.samples=50", f"evaluate.metrics=[{metric}]"]
    until, keep = f"train.until={{metric: {metric}, patience: 2}}", f"train.keep_best={metric}"
    recipe = load_recipe("vanilla-ring", zoo, [*small, until, keep])
    run = start(recipe, zoo, tmp_path / "run")
    assert (run.info["images"], run.info["reason"]) == (2048, f"{metric} has not improved for 2 evaluations")
    protocol = json.loads(run.info["best"]["protocol"])
    assert protocol["n_fake"] == 50
    assert run.info["best"].items() >= {"metric": metric, "value": 0.5, "images": 1024}.items()
    kept = sorted(path.name for path in (run.path / "best").iterdir())
    assert kept == ["000000001024.json", "000000001024.safetensors"]
    best, last = load(run.path, checkpoint="best"), load(run.path)
    assert (best.checkpoint.state["images"], last.checkpoint.state["images"]) == (1024, 2048)
    assert not torch.equal(best.sample(4), last.sample(4))
    page = write_report(run.path, zoo, draw=False).read_text("utf-8")
    assert f"Best checkpoint: {metric} 0.500 after 1,024 images" in page
    plain, keeping = (load_recipe("vanilla-ring", zoo, [*small, *more]) for more in ((), (keep,)))
    assert training_digest(plain) == training_digest(keeping) != training_digest(recipe)
    # A score on more samples is not compared with scores on fewer.
    monkeypatch.setattr(TrainingLoop, "_score", score)
    again = resume(run.path, zoo, overrides=["evaluate.samples=60"])
    assert again.info["best"]["images"] == 2048


def test_scores_of_weights_in_a_damaged_checkpoint_are_replaced(tmp_path):
    zoo = load_zoo()
    small = ["train.images=1536", "evaluate.every_images=512", "evaluate.samples=50", "evaluate.metrics=[quality@ring]"]
    run = start(load_recipe("vanilla-ring", zoo, small), zoo, tmp_path / "run")
    before = run.final_scores()
    file = run.path / "scores.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        if line["images"] == 1536:
            del line["schema"]
            line["value"] = 0.125  # as other weights might have scored
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (run.path / "checkpoints" / "000000001536.safetensors").write_bytes(b"")
    again = resume(run.path, zoo)
    assert again.info["images"] == 1536
    assert [score["value"] for score in again.final_scores()] == [score["value"] for score in before]
    assert [score["images"] for score in again.scores()] == [score["images"] for score in map(dict, lines)]


@pytest.mark.parametrize(
    ("values", "better", "patience", "min_delta", "met"),
    [
        ([3, 2, 2], "lower", 1, 0.0, True),
        ([3, 2], "lower", 1, 0.0, False),
        ([3, 2, 2.5], "lower", 2, 0.0, False),
        ([3, 2, 2.5, 2.2], "lower", 2, 0.0, True),
        ([3, 2, 1.95], "lower", 1, 0.1, True),
        ([0.1, 0.2, 0.3], "higher", 2, 0.0, False),
        ([0.3, 0.2, 0.1], "higher", 2, 0.0, True),
        ([0.3], "higher", 1, 0.0, False),
    ],
)
def test_a_plateau_means_no_improvement_on_the_best_within_the_patience(values, better, patience, min_delta, met):
    until = Until(metric="fid@mnist-cnn", patience=patience, min_delta=min_delta)
    assert until.is_met(values, better) is met


def test_divergence_before_the_first_checkpoint_leaves_none(tmp_path):
    recipe, zoo = tiny("optimizers.default.lr=1e30")
    with pytest.raises(RunError, match="are not finite"):
        start(recipe, zoo, tmp_path / "run")
    run = RunFolder.open(tmp_path / "run")
    assert run.info["status"] == "failed"
    assert run.find_checkpoint() == (None, [])


@pytest.mark.parametrize("breaks_at", [768, 1280], ids=["losses-tell", "no-loss-has-seen-it"])
def test_divergence_keeps_the_last_good_checkpoint(tmp_path, few, monkeypatch, breaks_at):
    step = Trainer.step

    def breaking(trainer):
        step(trainer)
        if trainer.images == breaks_at:
            next(trainer.networks["generator"].parameters()).data.fill_(float("nan"))

    monkeypatch.setattr(Trainer, "step", breaking)
    recipe, zoo = tiny(*FURTHER, "train.images=6400")
    with pytest.raises(RunError, match="(is|are) not finite after 1,280 images"):
        start(recipe, zoo, tmp_path / "run", dataset=few)
    run = RunFolder.open(tmp_path / "run")
    assert run.info["status"] == "failed"
    checkpoint, damaged = run.find_checkpoint()
    assert (checkpoint.state["images"], damaged) == (640, [])
    assert all(tensor.isfinite().all() for tensor in checkpoint.tensors.values())


def test_a_folder_in_use_is_never_written_into(whole):
    recipe, zoo = tiny()
    before = json.loads((whole / "run.json").read_text())
    with pytest.raises(GanzooError, match="already holds a run"):
        start(recipe, zoo, whole)
    assert json.loads((whole / "run.json").read_text()) == before


def test_resume_refuses_what_would_change_the_past_and_trains_further_on_request(whole, tmp_path):
    zoo = load_zoo()
    for overrides, words in (
        (["train.batch_size=8"], r"train.batch_size=8.* cannot be changed"),
        ([], "is done"),
        (["train.images=320", "evaluate.samples=100"], r"has shown 6,400 images, more than train\.images=320\."),
    ):
        with pytest.raises(GanzooError, match=words):
            resume(whole, zoo, overrides=overrides)
    recipe, _ = tiny("train.images=3200")
    start(recipe, zoo, tmp_path / "run")
    longer = resume(tmp_path / "run", zoo, overrides=["train.images=6400"])
    assert longer.info["images"] == 6400
    assert_same_weights(whole, tmp_path / "run")


def test_free_folders_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert free_folder("vanilla-mnist") == Path("runs/vanilla-mnist")
    Path("runs/vanilla-mnist").mkdir(parents=True)
    assert free_folder("vanilla-mnist") == Path("runs/vanilla-mnist-2")


def test_a_score_against_another_split_does_not_end_a_run_or_replace_its_own(whole, tmp_path, zoo):
    """As `ganzoo eval RUN --split train` leaves it, between two sessions of one run."""
    run = killed(tmp_path / "run", 3300, "train.until={metric: fid@mnist-cnn, below: 1e-3}")
    (own,) = [score for score in run.scores() if score["weights"] == "ema"]
    run.append_score({**own, "value": 1e-6, "protocol": {**own["protocol"], "split": "train"}})
    # The run's own score at that point is lost, as if the process had been killed before writing it.
    lines = (run.path / "scores.jsonl").read_text().splitlines(keepends=True)
    (run.path / "scores.jsonl").write_text(lines[-1])

    run = resume(tmp_path / "run", zoo)
    assert (run.info["images"], run.info["reason"]) == (6400, "all images shown")
    assert_same_weights(whole, tmp_path / "run")
    wanted = {(s["images"], s["weights"]): s["value"] for s in RunFolder.open(whole).scores()}
    found = {(s["images"], s["weights"]): s["value"] for s in run.scores() if s["protocol"]["split"] == "test"}
    assert found == pytest.approx(wanted)
    assert [s["value"] for s in run.scores() if s["protocol"]["split"] == "train"] == [1e-6]
    # The run does not report it either.
    assert {s["protocol"]["split"] for s in run.final_scores()} == {"test"}


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A finished run, scored once."""
    recipe, zoo = tiny("train.images=640", "evaluate.every_images=null")
    return start(recipe, zoo, tmp_path_factory.mktemp("short") / "run").path


def test_an_added_metric_scores_the_kept_weights_without_training(short, tmp_path, zoo):
    copy = shutil.copytree(short, tmp_path / "run")
    before = {path: path.read_bytes() for path in (copy / "checkpoints").iterdir()}
    metrics = "evaluate.metrics=[fid@mnist-cnn, class-coverage@mnist-cnn]"
    run = resume(copy, zoo, overrides=[metrics], callbacks=Callbacks(on_step=pytest.fail))
    assert {path: path.read_bytes() for path in (copy / "checkpoints").iterdir()} == before
    scored = [(s["metric"], s["weights"]) for s in run.scores()]
    assert len(scored) == len(set(scored)) == 4
    assert run.info["images"] == 640


def test_more_samples_score_a_finished_run_again_with_a_message(short, tmp_path, zoo):
    run = resume(shutil.copytree(short, tmp_path / "run"), zoo, overrides=["evaluate.samples=300"])
    said = [(e["metric"], e["weights"], e["value"]) for e in run.events() if e["event"] == "score"]
    assert said == [(s["metric"], s["weights"], s["value"]) for s in run.scores()]
    assert len(said) == 4


@pytest.mark.parametrize(
    ("settings", "follows"),
    [
        ([], False),
        (["optimizers.default.lr={start: 1e-3, end: 1e-4, images: 320}"], False),
        (["optimizers.default.lr={start: 1e-3, end: 1e-4}"], True),
        (["optimizers.default.betas=[{start: 0.5, end: 0.9}, 0.999]"], True),
        (["optimizers.default.decay=cosine"], True),
        (["train.ema={start: 0.9, end: 0.99}"], True),
        (["regularizers=[{name: top-k, decay: 0.9}]"], False),
        (["regularizers=[{name: r1, weight: {start: 1, end: 0}}]"], True),
        (["train.share_fakes=false", "phases={generator: {begin: 0.5}}"], True),
    ],
)
def test_training_further_warns_about_schedules_that_followed_another_length(tmp_path, few, settings, follows):
    recipe, zoo = tiny(*FURTHER, *settings)
    start(recipe, zoo, tmp_path / "run", dataset=few)
    said = []
    callbacks = Callbacks(log=said.append)
    run = resume(tmp_path / "run", zoo, overrides=["train.images=768"], dataset=few, callbacks=callbacks)
    assert any("is not equal to an uninterrupted one" in sentence for sentence in said) is follows
    (event,) = [event for event in run.events() if event["event"] == "resume"]
    assert (event["train_images_before"], event["train_images"]) == (640, 768)


def test_out_of_memory_in_the_first_step_is_a_one_line_error(tmp_path, few, monkeypatch):
    def full(trainer):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Trainer, "step", full)
    recipe, zoo = tiny(*FURTHER)
    with pytest.raises(RunError, match=r"Out of memory: CUDA out of memory.*Lower train\.batch_size"):
        start(recipe, zoo, tmp_path / "run", dataset=few)
    assert RunFolder.open(tmp_path / "run").info["status"] == "failed"


def test_before_the_first_step_nothing_is_reported_as_saved_and_other_processes_draw_nothing(zoo):
    recipe = load_recipe("vanilla-ring", zoo, ["train.batch_size=16"])
    dataset = zoo.datasets.get("ring").create("train", None)
    trainer = Trainer(recipe, zoo, dataset=dataset)
    loop = TrainingLoop(dataset, {}, None, trainer, None, Callbacks())
    assert loop._stopped()[0] == "Stopped before the first step."
    trainer.step()
    assert loop._stopped()[0] == "Stopped after 16 images, and saved."
    trainer.objective.generate_from = pytest.fail
    loop._record_plane()


@pytest.mark.parametrize(
    ("planned", "whole"), [([[640, 2]], True), ([[640, 2_000_000_000]], False), ([[640]], False), ([["640", 2]], False)]
)
def test_an_event_s_planned_threads_are_pairs_within_bounds(planned, whole):
    assert is_event({"event": "resume", "images": 320, "planned_threads": planned}) is whole


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("train.until={metric: fid@mnist-ae, patience: 1}", "train.until waits for 'fid@mnist-ae'."),
        ("train.keep_best=fid@mnist-ae", "train.keep_best names 'fid@mnist-ae'."),
    ],
)
def test_a_needed_score_that_does_not_fit_is_refused_with_its_own_reason(zoo, few, setting, sentence):
    metrics = "evaluate.metrics=[fid@mnist-cnn, fid@mnist-ae]"
    recipe = load_recipe("vanilla-mnist", zoo, [*TINY, metrics, setting])
    with pytest.raises(GanzooError) as caught:
        _prepared(Task(recipe, None, {}, {}), zoo, replace(few, domain="letters"), Callbacks(), ALONE)
    assert caught.value.sentence.startswith(f"{sentence} Not scored by fid@mnist-ae: 'mnist-ae' was fitted to")
