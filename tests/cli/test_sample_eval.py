"""`ganzoo sample` and `ganzoo eval` on a run that training left, on files, and on mistakes."""

import json

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from ganzoo.cli.evaluate import evaluate
from ganzoo.cli.sample import sample
from ganzoo.errors import GanzooError
from ganzoo.recipe import load_recipe
from ganzoo.runs.folder import RunFolder
from ganzoo.workflow import start

TINY = [
    "networks.generator.hidden=[16]",
    "networks.discriminator.hidden=[8]",
    "train.images=640",
    "train.batch_size=64",
    "evaluate.samples=300",
]


@pytest.fixture(scope="module")
def app():
    app = typer.Typer()
    app.command("sample")(sample)
    app.command("eval")(evaluate)
    return app


@pytest.fixture(scope="module")
def run(tmp_path_factory, zoo):
    """A run of a few steps on real MNIST, unconditional."""
    return start(load_recipe("vanilla-mnist", zoo, TINY), zoo, tmp_path_factory.mktemp("cli") / "run").path


@pytest.fixture(scope="module")
def conditional_run(tmp_path_factory, zoo):
    recipe = load_recipe("vanilla-mnist", zoo, [*TINY, "conditional=true", "train.ema=null"])
    return start(recipe, zoo, tmp_path_factory.mktemp("cli") / "conditional").path


def invoke(app, *arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_a_grid_of_samples(app, run, tmp_path):
    result = invoke(app, "sample", run, "--n", 10, "--out", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "L"
        assert picture.size == (4 * 30 + 2, 3 * 30 + 2)
    assert result.stdout == ""
    assert "10 images (ema weights after 640 training images, seed 0)" in result.stderr


def test_samples_as_arrays_are_reproducible(app, run, tmp_path):
    facts = json.loads(invoke(app, "sample", run, "--n", 5, "--out", tmp_path / "a.npz", "--json").stdout)
    assert (facts["n"], facts["weights"], facts["shape"]) == (5, "ema", [1, 28, 28])
    invoke(app, "sample", run, "--n", 5, "--out", tmp_path / "b.npz")
    invoke(app, "sample", run, "--n", 5, "--out", tmp_path / "c.npz", "--seed", 1)
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b, np.load(tmp_path / "c.npz") as c:
        assert a.files == ["images"]
        assert a["images"].dtype == np.uint8
        assert a["images"].shape == (5, 28, 28)
        assert np.array_equal(a["images"], b["images"])
        assert not np.array_equal(a["images"], c["images"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz", "c.npz"]


def test_conditional_samples_carry_their_labels(app, conditional_run, tmp_path):
    invoke(app, "sample", conditional_run, "--n", 4, "--class", 7, "--out", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["labels"].tolist() == [7, 7, 7, 7]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "a.jpg"], r"neither a \.png nor an \.npz"),
        (["--out", "nowhere/a.png"], "no folder nowhere"),
        (["--out", "a.png", "--class", 3], "unconditional"),
        (["--out", "a.png", "--device", "abacus"], "abacus"),
    ],
)
def test_what_cannot_be_sampled_is_refused(app, run, arguments, sentence):
    with pytest.raises(GanzooError, match=sentence):
        invoke(app, "sample", run, *arguments)


def test_a_folder_that_is_no_run_is_refused(app, tmp_path):
    with pytest.raises(GanzooError, match="not a run folder"):
        invoke(app, "sample", tmp_path, "--out", tmp_path / "a.png")


def test_weights_a_run_lacks_are_refused(app, conditional_run, tmp_path):
    with pytest.raises(GanzooError, match="no 'ema' weights"):
        invoke(app, "sample", conditional_run, "--weights", "ema", "--out", tmp_path / "a.png")


def test_a_run_is_scored_by_its_own_recipe_and_repeats_the_score_of_its_training(app, run):
    trained = RunFolder.open(run).scores()
    scores = json.loads(invoke(app, "eval", run, "--json", "--device", "cpu").stdout)["scores"]
    assert [score["weights"] for score in scores] == ["ema", "raw"]
    assert RunFolder.open(run).scores() == trained + scores
    for score in scores:
        (before,) = [old for old in trained if old["weights"] == score["weights"]]
        assert score["value"] == pytest.approx(before["value"], rel=1e-5)
        assert score["floor"] == before["floor"]
        assert (score["images"], score["metric"], score["protocol"]["n_fake"]) == (640, "fid@mnist-cnn", 300)


def test_one_kind_of_weights_with_other_samples(app, run):
    arguments = ("--weights", "raw", "--samples", 100, "--seed", 3, "--json")
    (score,) = json.loads(invoke(app, "eval", run, *arguments).stdout)["scores"]
    assert score["weights"] == "raw"
    assert (score["protocol"]["n_fake"], score["protocol"]["sample_seed"]) == (100, 3)


def test_real_digits_in_an_npz_score_near_the_floor_and_noise_far_above(app, mnist, tmp_path):
    np.savez(tmp_path / "real.npz", images=mnist.images[:1000, 0].numpy())
    noise = np.random.default_rng(0).integers(0, 256, (1000, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "noise.npz", images=noise)
    (real,) = json.loads(invoke(app, "eval", tmp_path / "real.npz", "--json").stdout)["scores"]
    (fake,) = json.loads(invoke(app, "eval", tmp_path / "noise.npz", "--json").stdout)["scores"]
    assert real["value"] < 2 * real["floor"]
    assert fake["value"] > 100 * fake["floor"]
    assert (real["weights"], real["images"], real["seconds"]) == (None, None, None)
    assert real["protocol"]["n_fake"] == 1000


def test_a_folder_of_pngs_says_what_was_done_to_them(app, mnist, tmp_path):
    for index, image in enumerate(mnist.images[:20, 0].numpy()):
        Image.fromarray(np.stack([image] * 3, axis=2)).save(tmp_path / f"{index}.png")
    result = invoke(app, "eval", tmp_path)
    assert "20 PNGs, 28x28 RGB." in result.stderr
    assert "RGB pictures with equal channels: one is kept, as grey." in result.stderr
    assert "There are 20 pictures, not 10,000." in result.stderr
    assert "fid@mnist-cnn" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--weights", "ema"], "is no run, so it has no 'ema' weights"),
        (["--dataset", "mnsit"], "no dataset called 'mnsit'.*Did you mean 'mnist'"),
        (["--metric", "fid@mnist-cn"], "no extractor called 'mnist-cn'.*Did you mean 'mnist-cnn'"),
    ],
)
def test_what_cannot_be_scored_is_refused(app, tmp_path, arguments, sentence):
    np.savez(tmp_path / "a.npz", images=np.zeros((5, 28, 28), np.uint8))
    with pytest.raises(GanzooError, match=sentence):
        invoke(app, "eval", tmp_path / "a.npz", *arguments)


def test_pictures_of_another_size_are_refused(app, tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((5, 32, 32), np.uint8))
    with pytest.raises(GanzooError, match="32x32 grey, the dataset's 28x28 grey"):
        invoke(app, "eval", tmp_path / "a.npz")
