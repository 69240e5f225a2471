"""``ganzoo run RECIPE --out DIR --continue``: one command that starts, resumes, and exits with 0 if done."""

import json
import shutil
import signal
import subprocess
import sys

import pytest
from PIL import Image

from ganzoo.registry.loading import load_zoo
from ganzoo.runs.folder import RunFolder

TINY = [
    "networks.generator.hidden=[8]",
    "networks.discriminator.hidden=[8]",
    "train.batch_size=16",
    "train.images=480",
    "train.checkpoint_seconds=0",
    "train.log_every=160",
    "evaluate.samples=200",
]
# Killed as its second checkpoint takes its place: the first is whole, and there are steps left.
KILLED = """
import os, signal, sys
from ganzoo.cli import main
def watch(event, details):
    if event == "os.rename" and str(details[1]).endswith("000000000320.json"):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
main()
"""


def words(folder, *overrides):
    settings = [word for override in (*TINY, *overrides) for word in ("--set", override)]
    return ["run", "vanilla-ring", *settings, "--continue", "--out", str(folder / "run")]


UNSCORED = "evaluate.metrics=[]"


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut-off")
    command = [sys.executable, "-c", KILLED, *words(folder, UNSCORED)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    return folder / "run"


@pytest.fixture
def killed(cut_off, tmp_path):
    """A run without metrics that was killed after 160 images is in the folder."""
    shutil.copytree(cut_off, tmp_path / "run")


def test_a_seed_and_a_device_are_those_of_the_run(tmp_path, call):
    assert call(*words(tmp_path, UNSCORED), "--seed", 7, "--device", "cpu")[0] == 0
    train = RunFolder.open(tmp_path / "run").recipe(load_zoo()).train
    assert (train.seed, train.device) == (7, "cpu")


@pytest.mark.usefixtures("killed")
def test_the_same_command_starts_resumes_and_ends_well(tmp_path, call):
    code, _, err = call(*words(tmp_path, UNSCORED, "loss=hinge"))
    assert code == 2
    assert "was started with other settings" in err
    code, _, err = call(*words(tmp_path, UNSCORED))
    assert code == 0, err
    run = RunFolder.open(tmp_path / "run")
    assert run.info["status"] == "done"
    assert [event["images"] for event in run.events() if event["event"] == "resume"] == [160]
    code, out, err = call(*words(tmp_path, UNSCORED), "--json")
    assert code == 0, err
    assert json.loads(out)["status"] == "done"
    code, _, err = call(*words(tmp_path, UNSCORED, "loss=hinge"))
    assert code == 2
    assert "was started with other settings" in err
    assert RunFolder.open(tmp_path / "run").info == run.info


def test_it_needs_a_recipe_and_a_folder(call):
    code, _, err = call("run", "vanilla-ring", "--continue")
    assert code == 2
    assert "--continue needs a recipe and --out" in err


def test_changes_that_need_no_other_training_are_heeded_or_named(tmp_path, call):
    assert call(*words(tmp_path, UNSCORED))[0] == 0
    code, _, err = call(*words(tmp_path, UNSCORED, "train.log_every=80"))
    assert code == 0, err
    assert "is done, so these changes have no effect: train.log_every." in err
    code, out, err = call(*words(tmp_path, "evaluate.metrics=[modes@ring]", "train.log_every=80"), "--json")
    assert code == 0, err
    assert {score["metric"] for score in json.loads(out)["scores"]} == {"modes@ring"}
    assert RunFolder.open(tmp_path / "run").info["images"] == 480


@pytest.mark.usefixtures("killed")
def test_a_run_that_was_cut_off_goes_on_with_the_new_metrics(tmp_path, call):
    more = ("evaluate.metrics=[modes@ring]", "train.log_every=80", "train.device=cpu")
    code, _, err = call(*words(tmp_path, *more))
    assert code == 0, err
    recipe = RunFolder.open(tmp_path / "run").recipe(load_zoo())
    assert (recipe.evaluate.metrics, recipe.train.log_every, recipe.train.device) == (("modes@ring",), 80, "cpu")
    assert RunFolder.open(tmp_path / "run").final_scores()


@pytest.fixture(scope="module")
def pod(tmp_path_factory):
    """A folder with pictures, and with a run on them that was killed after 160 images."""
    folder = tmp_path_factory.mktemp("pod")
    (folder / "photos").mkdir()
    for number in range(20):
        Image.new("RGB", (16, 16), (number, 2 * number, 3 * number)).save(folder / "photos" / f"{number:02}.png")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *on_pictures(folder)], capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    return folder


def on_pictures(folder, out="run"):
    widths = ["networks.generator.width=4", "networks.discriminator.width=4"]
    settings = [word for override in (*widths, *TINY[2:]) for word in ("--set", override)]
    return ["run", "dcgan", "--data", str(folder / "photos"), *settings, "--continue", "--out", str(folder / out)]


@pytest.fixture
def another_home(tmp_path, monkeypatch):
    """No cache of before, as in a container that starts anew."""
    monkeypatch.delenv("GANZOO_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.usefixtures("another_home")
@pytest.mark.parametrize("how", ["continue", "continue with --data-dir", "resume"])
def test_pictures_that_the_command_names_are_read_with_another_cache(how, pod, tmp_path, call):
    run = shutil.copytree(pod / "run", pod / how)
    words = on_pictures(pod, how)
    if how == "resume":
        words = ["run", "--resume", run, "--data", pod / "photos"]
    if how == "continue with --data-dir":
        words += ["--data-dir", tmp_path]
    code, _, err = call(*words)
    assert code == 0, err
    assert [event["images"] for event in RunFolder.open(run).events() if event["event"] == "resume"] == [160]


@pytest.mark.usefixtures("another_home")
def test_paths_that_the_command_does_not_name_are_not_read_with_another_cache(pod, tmp_path, call):
    run = shutil.copytree(pod / "run", pod / "sent")
    code, _, err = call("run", "--resume", run)
    assert code == 2
    assert f"was not started here, and its dataset 'image-folder' would read {pod / 'photos'}" in err
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "data_dir": str(tmp_path)}))
    code, _, err = call(*on_pictures(pod, "sent"))
    assert code == 2
    assert f"would read {tmp_path}" in err


def test_a_score_of_older_weights_is_called_so_and_a_taken_folder_is_quoted(tmp_path, call):
    assert call(*words(tmp_path, "evaluate.metrics=[modes@ring]"))[0] == 0
    (tmp_path / "run").rename(tmp_path / "a run")
    longer = ("--set", "train.images=640", "--set", UNSCORED)
    code, _, err = call("run", "--resume", tmp_path / "a run", *longer)
    assert code == 0, err
    assert "This score is for the weights after 480 images, not for the last weights, after 640 images." in err
    assert "This run gets no scores: evaluate.metrics is empty." in err
    code, _, err = call("run", "vanilla-ring", "--out", tmp_path / "a run")
    assert code == 2
    assert f"`ganzoo run --resume '{tmp_path / 'a run'}'`" in err


def test_a_folder_that_another_run_takes_meanwhile_is_left_to_it(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    create = RunFolder.create.__func__

    def late(cls, path, *rest):
        monkeypatch.setattr(RunFolder, "create", classmethod(create))  # from now on, no other run is faster
        create(cls, path, *rest)
        return create(cls, path, *rest)

    settings = [word for override in (*TINY, UNSCORED) for word in ("--set", override)]
    monkeypatch.setattr(RunFolder, "create", classmethod(late))
    code, _, err = call("run", "vanilla-ring", *settings)
    assert code == 0, err
    assert "Another run has taken runs/vanilla-ring in the meantime. Run folder: runs/vanilla-ring-2" in err
    assert RunFolder.open(tmp_path / "runs" / "vanilla-ring-2").info["status"] == "done"


def test_a_tracker_that_cannot_be_made_leaves_the_folder_free(tmp_path, call, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    code, _, err = call(*words(tmp_path, "trackers=[tensorboard]"))
    assert code == 2
    assert "needs the package tensorboard" in err
    assert not (tmp_path / "run").exists()
    code, _, err = call(*words(tmp_path, UNSCORED))
    assert code == 0, err
