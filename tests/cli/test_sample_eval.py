"""`ganzoo sample`, `animate --walk` and `eval` on a trained run, on files, and on wrong input."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import ganzoo
from ganzoo.cli import app
from ganzoo.cli.console import show_scores
from ganzoo.config.checking import headline
from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError
from ganzoo.registry.loading import load_zoo
from ganzoo.runs.folder import RunFolder, scores_in
from ganzoo.runs.start import start

TINY = [
    "networks.generator.hidden=[16]",
    "networks.discriminator.hidden=[8]",
    "train.images=640",
    "train.batch_size=64",
    "evaluate.samples=300",
    "evaluate.metrics=[fid@mnist-cnn]",
]
FID = ("--metric", "fid@mnist-cnn")
PROTOCOL = {"metric": "fid", "extractor": "mnist-cnn", "extractor_digest": "0" * 8, "dataset": "mnist", "split": "test"}
PROTOCOL |= {"n_real": 10_000, "n_fake": 300, "n_floor": 300, "resizing": "none", "quantised": "uint8"}


@pytest.fixture(scope="module")
def run(tmp_path_factory, zoo):
    """A run of a few steps on real MNIST, unconditional."""
    return start(load_recipe("vanilla-mnist", zoo, TINY), zoo, tmp_path_factory.mktemp("cli") / "run").path


@pytest.fixture(scope="module")
def conditional_run(tmp_path_factory, zoo):
    recipe = load_recipe("vanilla-mnist", zoo, [*TINY, "conditional=true", "train.ema=null"])
    return start(recipe, zoo, tmp_path_factory.mktemp("cli") / "conditional").path


@pytest.fixture(scope="session")
def scores_of(invoke):
    return lambda *arguments: json.loads(invoke("eval", *arguments, "--json").stdout)["scores"]


def test_a_grid_of_samples(invoke, run, tmp_path):
    result = invoke("sample", run, "--n", 10, "--out", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "L"
        assert picture.size == (4 * 30 + 2, 3 * 30 + 2)
    assert result.stdout == ""
    assert f"Saved 10 images to {tmp_path / 'a.png'} (ema weights after 640 training images, seed 0)." in result.stderr


def test_truncated_samples_are_alike(invoke, conditional_run, tmp_path):
    options = ("--class", 3, "--truncation", 0, "--json", "--out", tmp_path / "a.npz")
    assert json.loads(invoke("sample", conditional_run, *options).stdout)["truncation"] == 0
    with np.load(tmp_path / "a.npz") as saved:
        assert saved["images"].std(0).max() == 0
    result = invoke("sample", conditional_run, "--truncation", 0.5, "--out", tmp_path / "a.png")
    assert "seed 0, truncation 0.5)" in " ".join(result.stderr.split())


@pytest.fixture
def short_walk(monkeypatch):
    for what in ("STOPS", "STEPS"):
        monkeypatch.setattr(f"ganzoo_reports.export.{what}", 2)


@pytest.mark.usefixtures("short_walk")
def test_a_walk_is_saved_in_the_run_folder_or_where_told_and_depends_on_seed_and_weights(invoke, run, tmp_path):
    facts = json.loads(invoke("animate", run, "--walk", "--json").stdout)
    assert facts["out"] == str(run / "walk.gif")
    with Image.open(run / "walk.gif") as gif:
        assert gif.n_frames == facts["frames"]
    walks = {(run / "walk.gif").read_bytes()}
    for name, *options in (("seed.gif", "--seed", 1), ("raw.gif", "--weights", "raw")):
        invoke("animate", run, "--walk", "--out", tmp_path / name, *options)
        walks.add((tmp_path / name).read_bytes())
    assert len(walks) == 3


@pytest.mark.usefixtures("short_walk")
@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("sample", "x.png"),
        ("sample --scale 2", "x.png"),
        ("sample", "x.npz"),
        ("export", "x.onnx"),
        ("export", "x.html"),
        ("export", "x.safetensors"),
        ("animate --walk", "x.gif"),
        ("animate --walk", "x.webp"),
    ],
)
def test_only_files_that_ganzoo_made_are_overwritten_without_force(
    invoke, refused, words, name, conditional_run, tmp_path
):
    if words == "export" and name != "x.safetensors":
        pytest.importorskip("onnxruntime")
    command, *options = words.split()
    out = tmp_path / name
    arguments = (command, conditional_run, "--out", out, *options)
    out.write_bytes(b"my own file " * 1000)
    assert refused(*arguments) == (
        f"{out} was not made by `ganzoo {command}`, so it is not overwritten. Give another --out, or add --force.\n"
    )
    assert out.read_bytes() == b"my own file " * 1000
    invoke(*arguments, "--force")
    invoke(*arguments)  # it is ganzoo's own now, so the same command may be repeated
    assert b"made by ganzoo" in out.read_bytes()


def test_samples_as_arrays_are_reproducible(invoke, run, tmp_path):
    facts = json.loads(invoke("sample", run, "--n", 5, "--out", tmp_path / "a.npz", "--json").stdout)
    assert (facts["n"], facts["weights"], facts["shape"]) == (5, "ema", [1, 28, 28])
    invoke("sample", run, "--n", 5, "--out", tmp_path / "b.npz")
    invoke("sample", run, "--n", 5, "--out", tmp_path / "c.npz", "--seed", 1)
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b, np.load(tmp_path / "c.npz") as c:
        assert (a.files, a["images"].dtype, a["images"].shape) == (["images"], np.uint8, (5, 28, 28))
        assert np.array_equal(a["images"], b["images"])
        assert not np.array_equal(a["images"], c["images"])


def test_conditional_samples_carry_their_labels_and_classes_have_columns(invoke, conditional_run, tmp_path):
    for n, class_ in (("--n", "--class"), ("-n", "--label")):  # Python's words work too
        result = invoke("sample", conditional_run, n, 4, class_, 7, "--out", tmp_path / f"{class_}.npz")
        assert "Saved 4 images of class 7" in result.stderr
        with np.load(tmp_path / f"{class_}.npz") as arrays:
            assert arrays["labels"].tolist() == [7, 7, 7, 7]
    facts = json.loads(invoke("sample", conditional_run, "--scale", 3, "--out", tmp_path / "a.png", "--json").stdout)
    drawn = ganzoo.load(conditional_run).sample(60)
    with Image.open(tmp_path / "a.png") as picture:
        assert facts["n"] == 60
        assert picture.size == (3 * (10 * 30 + 2), 3 * (6 * 30 + 2))
        one = np.asarray(picture)[3 * 32 : 3 * 60 : 3, 3 * 62 : 3 * 90 : 3]  # the third class of the second row
    assert np.array_equal(one, drawn[12, 0].numpy())


def test_a_class_is_asked_for_by_its_name(invoke, conditional_run, tmp_path):
    run = shutil.copytree(conditional_run, tmp_path / "run")
    info = json.loads((run / "run.json").read_text())
    info["class_names"] = ["nought", "one", "two", "9", *"456783"]
    (run / "run.json").write_text(json.dumps(info))
    generator = ganzoo.load(run)
    assert torch.equal(generator.sample(2, label="two"), generator.sample(2, label=2))
    assert [generator.class_number(label) for label in ("9", "0", 9)] == [3, 0, 9]
    names = "nought, one, two, 9, 4, 5, 6, 7, 8, 3"
    assert f"\nColumns: {names}\n" in invoke("sample", run, "--out", tmp_path / "a.png").stderr
    for other in ((run, "--class", "two"), (conditional_run,)):  # one class, and classes whose names are numbers
        assert "Columns" not in invoke("sample", *other, "--out", tmp_path / "a.png").stderr
    with pytest.raises(GanzooError, match="Unknown class 'too'. Did you mean 'two'?"):
        generator.sample(2, label="too")
    with pytest.raises(GanzooError, match="Unknown class 10. The classes are 0 to 9"):
        generator.sample(2, label="10")


@pytest.mark.parametrize(
    ("what", "arguments", "sentence"),
    [
        ("run", ["--out", "a.jpg"], "Samples of this run cannot be written to a.jpg"),
        ("run", ["--out", "nowhere/a.png"], "No such folder: nowhere"),
        ("run", ["--out", "a.npz", "--scale", 3], "--scale enlarges PNGs, but a.npz is not a PNG"),
        ("run", ["--out", "a.png", "--device", "abacus"], "abacus"),
        ("conditional_run", ["--out", "a.png", "--weights", "ema"], "no 'ema' weights"),
        ("tmp_path", ["--out", "a.png"], "not a run folder"),
    ],
)
def test_what_cannot_be_sampled_is_refused(refused, request, what, arguments, sentence):
    assert sentence in refused("sample", request.getfixturevalue(what), *arguments)


def test_a_misspelt_folder_leads_to_the_run_next_to_it(refused, run, tmp_path):
    (tmp_path / "vanilla-mnist").symlink_to(run)
    wrong = tmp_path / "vanila-mnist"
    for sentence, *words in (
        ("No such run", "sample", wrong, "--out", tmp_path / "a.png"),
        ("No such run", "eval", run, "--against", wrong),
        ("No such file or folder", "eval", wrong),
    ):
        said = refused(*words)
        assert said.startswith(sentence)
        assert said.endswith(f"Did you mean {tmp_path}/vanilla-mnist?\n")
    said = refused("sample", tmp_path / "nowhere" / "run", "--out", tmp_path / "a.png")
    assert said.startswith("No such run folder: ")
    assert ". Give a folder that `ganzoo run` made; commands" in said


def test_a_run_is_scored_by_its_own_recipe_and_repeats_the_score_of_its_training(scores_of, run):
    trained = RunFolder.open(run).scores()
    scores = scores_of(run, "--device", "cpu")
    assert [score["weights"] for score in scores] == ["ema", "raw"]
    assert RunFolder.open(run).scores() == trained + scores
    for score in scores:
        (before,) = [old for old in trained if old["weights"] == score["weights"]]
        assert score["value"] == pytest.approx(before["value"], rel=1e-5)
        assert score["floor"] == before["floor"]
        assert (score["images"], score["metric"], score["protocol"]["n_fake"]) == (640, "fid@mnist-cnn", 300)


def test_a_run_that_takes_no_scores_is_scored_nevertheless(invoke, run, tmp_path):
    closed = shutil.copytree(run, tmp_path / "run")
    (closed / "scores.jsonl").unlink()
    (closed / "scores.jsonl").mkdir()
    result = invoke("eval", closed, "--samples", 100, "--json")
    assert len(json.loads(result.stdout)["scores"]) == 2
    assert f"None of the 2 scores were added to {closed}" in result.stderr


def test_one_kind_of_weights_with_other_samples(scores_of, run):
    arguments = ("--weights", "raw", "--samples", 100)
    (score,), (zero,) = (scores_of(run, *arguments, *seed) for seed in (("--seed", 3), ()))
    assert (score["weights"], score["protocol"]["n_fake"], score["protocol"]["sample_seed"]) == ("raw", 100, 3)
    assert zero["value"] != score["value"]


def test_the_best_checkpoint_and_a_kind_of_weights_reach_every_command(invoke, refused, run, tmp_path):
    for kind in ("ema", "raw"):
        invoke("export", run, "--out", tmp_path / f"{kind}.safetensors", "--weights", kind)
    assert (tmp_path / "ema.safetensors").read_bytes() != (tmp_path / "raw.safetensors").read_bytes()
    for words in (
        ("eval", run),
        ("sample", run, "--out", tmp_path / "grid.png"),
        ("animate", run, "--walk", "--out", tmp_path / "walk.gif"),
        ("export", run, "--out", tmp_path / "weights.safetensors"),
    ):
        assert "has no best checkpoint" in refused(*words, "--checkpoint", "best")


def test_real_digits_in_an_npz_score_near_the_floor_and_noise_far_above(scores_of, mnist, tmp_path):
    np.savez(tmp_path / "real.npz", images=mnist.images[:300, 0].numpy())
    noise = np.random.default_rng(0).integers(0, 256, (300, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "noise.npz", images=noise)
    (real,), (fake,) = (scores_of(tmp_path / name, *FID) for name in ("real.npz", "noise.npz"))
    assert real["value"] < 2 * real["floor"]
    assert fake["value"] > 100 * fake["floor"]
    assert (real["weights"], real["images"], real["seconds"]) == (None, None, None)
    assert real["protocol"]["n_fake"] == 300


def test_a_folder_of_pngs_says_what_was_done_to_them(invoke, mnist, tmp_path):
    for index, image in enumerate(mnist.images[:20, 0].numpy()):
        Image.fromarray(np.stack([image] * 3, axis=2)).save(tmp_path / f"{index}.png")
    result = invoke("eval", tmp_path, *FID)
    assert "20 PNGs, 28x28 RGB." in result.stderr
    assert "RGB pictures with equal channels: one is kept, as grey." in result.stderr
    assert "Scoring all 20 images (default: 10,000)." in result.stderr
    assert "fid@mnist-cnn" in result.stdout


@pytest.fixture(scope="module")
def ring_run(tmp_path_factory, zoo):
    tiny = [*TINY[:2], "train.images=64", "train.batch_size=16", "train.device=cpu", "evaluate.metrics=[]"]
    return start(load_recipe("vanilla-ring", zoo, tiny), zoo, tmp_path_factory.mktemp("ring") / "run").path


def test_all_metrics_of_a_dataset_are_added_to_those_that_are_named(scores_of, ring_run, monkeypatch):
    monkeypatch.setattr("ganzoo.evaluation.metrics.KID_SUBSETS", 4)
    scores = scores_of(ring_run, "--metric", "modes@ring", "--all", "--samples", 50)
    names = {score["metric"] for score in scores}
    assert names > {"modes@ring", "kl@ring", "quality@ring"}
    assert len(scores) == len({score["weights"] for score in scores}) * len(names)


@pytest.mark.full
def test_every_metric_at_once(scores_of, conditional_run):
    scores = scores_of(conditional_run, "--metric", "coverage@mnist-cnn", "--all", "--samples", 200)
    names = [score["metric"] for score in scores]
    # The run is conditional, so that accuracy is measured too.
    assert {"fid@mnist-cnn", "kid@mnist-cnn", "recall@mnist-cnn", "accuracy@mnist-cnn"} <= set(names)
    assert len(set(names)) == len(names)


MODULE = """
import numpy as np


def noise(n, seed):
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28), dtype=np.uint8)


def padded(n, seed):
    return np.pad(noise(n, seed), ((0, 0), (2, 2), (2, 2)))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "cli_noise.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("cli_noise", None)


def test_a_function_is_scored_and_its_scores_are_kept_and_compared(invoke, here):
    command = ("eval", "cli_noise:noise", *FID, "--samples")
    result = invoke(*command, 100, "--out", "a.jsonl")
    assert "100 images, 28x28 grey, from cli_noise:noise, seed 0." in result.stderr
    assert "\N{EN DASH}" in result.stdout
    (score,) = scores_in(here / "a.jsonl")
    assert score["what"] == "cli_noise:noise"
    assert (score["protocol"]["n_fake"], score["protocol"]["sample_seed"]) == (100, 0)
    low, high = score["interval"]
    assert low < score["value"] < high
    again = invoke(*command, 100, "--seed", 1, "--against", "a.jsonl")
    assert f"{score['value']:.4g}" in again.stdout
    # Nothing can be compared: that is said, and the scores are shown nevertheless.
    result = invoke(*command, 50, "--against", "a.jsonl")
    assert "(n_fake: 50 here, 100 there). Add --samples 100 to measure as there." in result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.strip().startswith("fid@")][:1]
    assert line.split()[-1] == "-"


def test_what_cannot_be_compared_is_said_before_anything_is_scored(run, monkeypatch):
    monkeypatch.setattr("ganzoo.runs.generator.draw", lambda *_, **__: sys.exit("drawing begins"))
    result = CliRunner().invoke(app, ["eval", str(run), "--samples", "80", "--against", str(run), *FID])
    assert str(result.exception) == "drawing begins"
    assert "n_fake: 80 here, 300 there" in result.stderr


METRIC = """
from ganzoo import Metric, hookimpl


class Spread(Metric):
    '''Standard deviation of the samples' features, relative to that of real images.'''

    better = "higher"
    range = "0 and up"

    def compute(self, inputs):
        return inputs.fake.values.std(0).mean() / inputs.real.features.values.std(0).mean()


@hookimpl
def register_metrics(register):
    register("spread", Spread, summary="Spread of the samples' features, relative to real images")
"""


@pytest.fixture
def zoo_with_a_metric(install):
    install("spreading", METRIC, "ganzoo", spreading="")
    return load_zoo.__wrapped__()


def test_a_plugin_s_metric_scores_a_run_as_its_recipe_asks(zoo_with_a_metric, tmp_path):
    zoo, metrics = zoo_with_a_metric, "evaluate.metrics=[spread@mnist-cnn, fid@mnist-cnn]"
    run = start(load_recipe("vanilla-mnist", zoo, [*TINY, metrics]), zoo, tmp_path / "run")
    ema, raw = (score for score in run.scores() if score["metric"] == "spread@mnist-cnn")
    assert (ema["weights"], raw["weights"]) == ("ema", "raw")
    assert ema["floor"] == pytest.approx(1, abs=0.05)
    assert ema["value"] < 0.5
    assert ema["protocol"]["plugin"] == "spreading 1.0"


def test_a_recipe_knows_a_plugin_s_metrics(zoo_with_a_metric):
    spread, waits = "evaluate.metrics=[spread@mnist-cnn]", "train.until={metric: spread@mnist-cnn, below: 1}"
    for settings, sentence in (
        (["evaluate.metrics=[spred@mnist-cnn]"], r"Unknown metric 'spred'\. Did you mean 'spread'\?"),
        ([spread, "evaluate.every_images=640", waits], "to fall, but lower is not better for it"),
    ):
        with pytest.raises(GanzooError, match=sentence):
            load_recipe("vanilla-mnist", zoo_with_a_metric, settings)


def test_a_border_is_cut_off_where_that_is_asked_for(invoke, here):
    result = invoke("eval", "cli_noise:padded", *FID, "--samples", 100, "--crop")
    assert "A black border was cut off, leaving 28x28 grey." in result.stderr


def test_a_run_has_no_border_to_cut_off(refused, tmp_path):
    (tmp_path / "run.json").touch()
    for run in (tmp_path, "zoo:flagship-mnist"):
        sentence = f"--crop is for pictures from elsewhere, but {run} is a run. Leave it out"
        assert sentence in refused("eval", run, "--crop")


@pytest.mark.full
def test_another_split_is_another_protocol(scores_of, here):
    (test,) = scores_of("cli_noise:noise", *FID, "--samples", 50)
    (train,) = scores_of("cli_noise:noise", *FID, "--samples", 50, "--split", "train")
    assert (test["protocol"]["n_real"], train["protocol"]["n_real"]) == (10_000, 60_000)
    assert (train["protocol"]["split"], train["protocol"]["n_floor"]) == ("train", 50)


def test_labels_of_a_file_are_what_accuracy_is_measured_by(scores_of, mnist_test, tmp_path):
    images, labels = mnist_test.images[:200, 0].numpy(), mnist_test.labels[:200].numpy()
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    (score,) = scores_of(tmp_path / "a.npz", "--metric", "accuracy@mnist-cnn")
    assert score["value"] > 0.98


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--weights", "ema"], "is not a run, so it has no 'ema' weights"),
        (["--metric", "fod@mnist-cnn"], "Unknown metric 'fod'"),
        (["--metric", "fid@mnist-cn"], "Unknown extractor 'mnist-cn'.*Did you mean 'mnist-cnn'"),
        (["--metric", "fid@mnist-cnn,kid@mnist-cnn"], r"Repeat it: --metric fid@mnist-cnn --metric kid@mnist-cnn\."),
        (["--out", "nowhere/a.jsonl"], "No such folder: nowhere"),
        (["--out", "cli_noise.py"], "holds something other than scores"),
        (["--against", "a.jsonl"], "No such run or scores file: a.jsonl"),
        (["--dataset", "image-folder"], r"means your own pictures\. Give their folder or zip archive, such as \./phot"),
        (["--dataset", "./nowhere"], r"No such file or folder: \./nowhere\. Give a folder of pictures"),
        (["--dataset", "mnits"], "Unknown dataset 'mnits'"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_a_function_draws(refused, here, arguments, sentence):
    (here / "cli_noise.py").write_text(
        MODULE.replace("def noise(n, seed):", "def noise(n, seed):\n    raise SystemExit")
    )
    assert re.search(sentence, refused("eval", "cli_noise:noise", *arguments))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--extractor-weights", "a.pth"], "'mnist-cnn' has its own weights, so it does not accept a.pth"),
        (["--dataset", "cli_noise.py"], "cli_noise.py is neither a folder nor a zip archive"),
    ],
)
def test_what_cannot_be_used_is_refused(refused, here, arguments, sentence):
    assert sentence in refused("eval", "cli_noise:noise", "--samples", 50, *FID, *arguments)


def test_training_images_are_called_copies(capsys):
    protocol = {**PROTOCOL, "metric": "memorisation", "extractor": "tiny", "dataset": "toy", "n_fake": 1000}
    record = {"metric": "memorisation@tiny", "value": 0.9, "floor": 0.3, "weights": None, "protocol": protocol}
    show_scores([record], None, "")
    assert "Training images are copied: 90.0% of the samples" in capsys.readouterr().out
    show_scores([{**record, "value": 0.31}], None, "")
    assert "copied" not in capsys.readouterr().out


def test_names_of_metrics_that_are_no_single_metric(scores_of, ring_run, zoo):
    scores = scores_of(ring_run, "--metric", "headline", "--samples", 100, "--no-interval")
    assert {score["metric"] for score in scores} == set(headline("ring", zoo))
    with pytest.raises(GanzooError, match="'all@mnist-cnn' only works with `ganzoo eval`"):
        load_recipe("vanilla-mnist", zoo, ["evaluate.metrics=[all@mnist-cnn]"])


@pytest.mark.parametrize("command", [("sample", "--out", "x.png"), ("eval",)])
def test_a_name_where_a_run_is_expected(refused, command):
    assert "Did you mean zoo:cgan-mnist" in refused(command[0], "cgan-mnist", *command[1:])
    assert "`ganzoo run vanilla-ring` trains it" in refused(command[0], "vanilla-ring", *command[1:])


def test_a_pretrained_generator_has_no_best_checkpoint(refused):
    assert "no checkpoints" in refused("sample", "zoo:cgan-mnist", "--out", "x.png", "--checkpoint", "best")


def test_numbers_are_never_cut(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    score = {"metric": "fid@mnist-cnn", "weights": "ema", "value": 2551.3, "floor": 3.2, "sd": 0.1}
    show_scores([{**score, "interval": [2513.2, 2602.7], "protocol": PROTOCOL}], None, "")
    out = capsys.readouterr().out
    assert "2513\N{EN DASH}2603" in out
    assert "\N{HORIZONTAL ELLIPSIS}" not in out


@pytest.mark.parametrize("what", ["cli_noise:noise", "run"])
def test_pictures_of_ones_own_are_compared_with(scores_of, refused, run, here, mnist, what):
    (here / "photos").mkdir()
    for index, image in enumerate(mnist.images[:100, 0].numpy()):
        Image.fromarray(image).save(here / "photos" / f"{index}.png")
    shutil.copytree(run, here / "run")
    command = [what, "--samples", 50, "--dataset", "photos"]
    (score, *_) = scores_of(*command, *FID, "--anyway")
    assert score["value"] > score["floor"]
    protocol = score["protocol"]
    assert (protocol["dataset"], protocol["split"], protocol["n_real"]) == ("image-folder", "test", 10)
    assert protocol["dataset_options"]["path"] == "photos"
    assert "'mnist-cnn' was fitted to mnist, not to 'image-folder'" in refused("eval", *command, *FID)
    said = refused("eval", *command, "--metric", "headline")
    assert "'fid@pictures-ae' cannot be computed: at least 100 real images are needed, but there are only 10" in said


def test_a_folder_called_as_a_dataset_is_not_in_its_way(invoke, here):
    (here / "mnist").mkdir()
    invoke("eval", "cli_noise:noise", *FID, "--samples", 100, "--dataset", "mnist")
