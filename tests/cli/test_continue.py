"""``ganzoo run RECIPE --out DIR --continue``: one command that starts, resumes, and exits with 0 if done."""

import json
import shutil

import pytest
from PIL import Image

from ganzoo.config.loading import load_recipe, recipe_for
from ganzoo.registry.loading import load_zoo
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.loop import Callbacks
from ganzoo.runs.start import start

TINY = [
    "networks.generator.hidden=[8]",
    "networks.discriminator.hidden=[8]",
    "train.batch_size=16",
    "train.images=480",
    "train.checkpoint_seconds=0",
    "train.log_every=160",
    "evaluate.samples=200",
]


class Killed(BaseException):
    pass


def killed_after_its_first_checkpoint(recipe, folder):
    """Train, and end without a word with one checkpoint, of 160 images, and steps left."""

    def kill(images, losses):
        if images > 160:
            raise Killed

    with pytest.raises(Killed):
        start(recipe, load_zoo(), folder, callbacks=Callbacks(on_step=kill))
    return folder


def words(folder, *overrides):
    settings = [word for override in (*TINY, *overrides) for word in ("--set", override)]
    return ["run", "vanilla-ring", *settings, "--continue", "--out", str(folder / "run")]


NARROW = ["networks.generator.width=4", "networks.discriminator.width=4", *TINY[2:]]
UNSCORED = "evaluate.metrics=[]"


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory):
    recipe = load_recipe("vanilla-ring", load_zoo(), [*TINY, UNSCORED])
    return killed_after_its_first_checkpoint(recipe, tmp_path_factory.mktemp("cut-off") / "run")


@pytest.fixture
def killed(cut_off, tmp_path):
    """A run without metrics that was killed after 160 images is in the folder."""
    shutil.copytree(cut_off, tmp_path / "run")


def test_a_seed_and_a_device_are_those_of_the_run(tmp_path, done):
    done(*words(tmp_path, UNSCORED), "--seed", 7, "--device", "cpu")
    train = RunFolder.open(tmp_path / "run").recipe(load_zoo()).train
    assert (train.seed, train.device) == (7, "cpu")


@pytest.mark.usefixtures("killed")
def test_the_same_command_starts_resumes_and_ends_well(tmp_path, done, refused):
    assert "was started with other settings" in refused(*words(tmp_path, UNSCORED, "loss=hinge"))
    done(*words(tmp_path, UNSCORED))
    run = RunFolder.open(tmp_path / "run")
    assert run.info["status"] == "done"
    assert [event["images"] for event in run.events() if event["event"] == "resume"] == [160]
    assert json.loads(done(*words(tmp_path, UNSCORED), "--json")[0])["status"] == "done"
    assert "was started with other settings" in refused(*words(tmp_path, UNSCORED, "loss=hinge"))
    assert RunFolder.open(tmp_path / "run").info == run.info


def test_more_images_train_a_finished_run_further(tmp_path, done):
    done(*words(tmp_path, UNSCORED))
    done(*words(tmp_path, UNSCORED, "train.images=640"))
    run = RunFolder.open(tmp_path / "run")
    assert (run.info["status"], run.info["images"]) == ("done", 640)
    assert [event["images"] for event in run.events() if event["event"] == "resume"] == [480]


def test_it_needs_a_recipe_and_a_folder(refused):
    assert "--continue needs a recipe and --out" in refused("run", "vanilla-ring", "--continue")


def test_changes_that_need_no_other_training_are_heeded_or_named(tmp_path, done):
    done(*words(tmp_path, UNSCORED))
    _, err = done(*words(tmp_path, UNSCORED, "train.log_every=80"))
    assert "is done, so these changes have no effect: train.log_every." in err
    out, _ = done(*words(tmp_path, "evaluate.metrics=[modes@ring]", "train.log_every=80"), "--json")
    assert {score["metric"] for score in json.loads(out)["scores"]} == {"modes@ring"}
    assert RunFolder.open(tmp_path / "run").info["images"] == 480


@pytest.mark.usefixtures("killed")
def test_a_run_that_was_cut_off_goes_on_with_the_new_metrics(tmp_path, done):
    done(*words(tmp_path, "evaluate.metrics=[modes@ring]", "train.log_every=80", "train.device=cpu"))
    run = RunFolder.open(tmp_path / "run")
    recipe = run.recipe(load_zoo())
    assert (recipe.evaluate.metrics, recipe.train.log_every, recipe.train.device) == (("modes@ring",), 80, "cpu")
    assert run.final_scores()


@pytest.fixture(scope="module")
def pod(tmp_path_factory):
    """A folder with pictures, and with a run on them that was killed after 160 images."""
    folder = tmp_path_factory.mktemp("pod")
    (folder / "photos").mkdir()
    for number in range(20):
        Image.new("RGB", (16, 16), (number, 2 * number, 3 * number)).save(folder / "photos" / f"{number:02}.png")
    killed_after_its_first_checkpoint(recipe_for(folder / "photos", "dcgan", load_zoo(), NARROW), folder / "run")
    return folder


def on_pictures(folder, out):
    settings = [word for override in NARROW for word in ("--set", override)]
    return ["run", "dcgan", "--data", str(folder / "photos"), *settings, "--continue", "--out", str(folder / out)]


@pytest.fixture
def another_home(tmp_path, monkeypatch):
    """No cache of before, as in a container that starts anew."""
    monkeypatch.delenv("GANZOO_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.usefixtures("another_home")
@pytest.mark.parametrize("how", ["continue", "continue with --data-dir", "resume"])
def test_pictures_that_the_command_names_are_read_with_another_cache(how, pod, tmp_path, done):
    run = shutil.copytree(pod / "run", pod / how)
    words = {
        "continue": on_pictures(pod, how),
        "continue with --data-dir": [*on_pictures(pod, how), "--data-dir", tmp_path],
        "resume": ["run", "--resume", run, "--data", pod / "photos"],
    }
    done(*words[how])
    assert [event["images"] for event in RunFolder.open(run).events() if event["event"] == "resume"] == [160]


@pytest.mark.usefixtures("another_home")
def test_a_data_dir_that_the_command_does_not_name_is_not_read_with_another_cache(pod, tmp_path, refused):
    run = shutil.copytree(pod / "run", pod / "sent")
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "data_dir": str(tmp_path)}))
    assert f"would read {tmp_path}" in refused(*on_pictures(pod, "sent"))


def test_a_score_of_older_weights_is_called_so_and_a_taken_folder_is_quoted(tmp_path, done, refused):
    done(*words(tmp_path, "evaluate.metrics=[modes@ring]"))
    run = (tmp_path / "run").rename(tmp_path / "a run")
    _, err = done("run", "--resume", run, "--set", "train.images=640", "--set", UNSCORED)
    assert "This score is for the weights after 480 images, not for the last weights, after 640 images." in err
    assert "This run gets no scores: evaluate.metrics is empty." in err
    assert f"`ganzoo run --resume '{run}'`" in refused("run", "vanilla-ring", "--out", run)


def test_a_folder_that_another_run_takes_meanwhile_is_left_to_it(tmp_path, done, monkeypatch):
    monkeypatch.chdir(tmp_path)
    create = RunFolder.create.__func__

    def late(cls, path, *rest):
        monkeypatch.setattr(RunFolder, "create", classmethod(create))  # from now on, no other run is faster
        create(cls, path, *rest)
        return create(cls, path, *rest)

    settings = [word for override in (*TINY, UNSCORED) for word in ("--set", override)]
    monkeypatch.setattr(RunFolder, "create", classmethod(late))
    _, err = done("run", "vanilla-ring", *settings)
    assert "Another run has taken runs/vanilla-ring in the meantime. Run folder: runs/vanilla-ring-2" in err
    assert RunFolder.open(tmp_path / "runs" / "vanilla-ring-2").info["status"] == "done"
