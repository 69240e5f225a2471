"""`ganzoo sample`, `animate --walk` and `eval` on a trained run, on files, and on wrong input."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

import ganzoo
from ganzoo.cli.console import show_scores
from ganzoo.cli.trained import evaluate, sample
from ganzoo.config.checking import headline
from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError
from ganzoo.registry.loading import load_zoo
from ganzoo.runs.folder import RunFolder, scores_in
from ganzoo.runs.start import start
from ganzoo_reports.commands import animate, export

TINY = [
    "networks.generator.hidden=[16]",
    "networks.discriminator.hidden=[8]",
    "train.images=640",
    "train.batch_size=64",
    "evaluate.samples=300",
    "evaluate.metrics=[fid@mnist-cnn]",
]
FID = ("--metric", "fid@mnist-cnn")


@pytest.fixture(scope="module")
def app():
    app = typer.Typer()
    app.command("sample")(sample)
    app.command("animate")(animate)
    app.command("export")(export)
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
    assert f"Saved 10 images to {tmp_path / 'a.png'} (ema weights after 640 training images, seed 0)." in result.stderr


def test_truncated_samples_are_alike(app, conditional_run, tmp_path):
    spread = {}
    for truncation in (1, 0.5, 0):
        facts = invoke(
            app, "sample", conditional_run, "-n", 50, "--class", 3, "--truncation", truncation, "--json",
            "--out", tmp_path / "a.npz",
        )  # fmt: skip
        assert json.loads(facts.stdout)["truncation"] == truncation
        with np.load(tmp_path / "a.npz") as saved:
            spread[truncation] = saved["images"].astype(float).std(0).mean()
    assert spread[1] > spread[0.5] > spread[0] == 0
    result = invoke(app, "sample", conditional_run, "--truncation", 0.5, "--out", tmp_path / "a.png")
    assert "seed 0, truncation 0.5)" in " ".join(result.stderr.split())


def test_a_walk_is_saved_in_the_run_folder_or_where_told_and_depends_on_seed_and_weights(
    app, run, tmp_path, monkeypatch
):
    for name, few in (("STOPS", 2), ("STEPS", 3)):
        monkeypatch.setattr(f"ganzoo_reports.export.{name}", few)
    facts = json.loads(invoke(app, "animate", run, "--walk", "--json").stdout)
    assert facts["out"] == str(run / "walk.gif")
    with Image.open(run / "walk.gif") as gif:
        assert gif.n_frames == facts["frames"]
    walks = {(run / "walk.gif").read_bytes()}
    for name, *options in (("seed.gif", "--seed", 1), ("raw.gif", "--weights", "raw")):
        invoke(app, "animate", run, "--walk", "--out", tmp_path / name, *options)
        walks.add((tmp_path / name).read_bytes())
    assert len(walks) == 3


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
    words, name, app, conditional_run, tmp_path, monkeypatch
):
    for what in ("STOPS", "STEPS"):
        monkeypatch.setattr(f"ganzoo_reports.export.{what}", 2)
    if words == "export" and name != "x.safetensors":
        pytest.importorskip("onnxruntime")
    command, *options = words.split()
    out = tmp_path / name
    arguments = (command, conditional_run, "--out", out, *options)
    out.write_bytes(b"my own file " * 1000)
    with pytest.raises(GanzooError) as refused:
        invoke(app, *arguments)
    assert str(refused.value) == (
        f"{out} was not made by `ganzoo {command}`, so it is not overwritten. Give another --out, or add --force."
    )
    assert out.read_bytes() == b"my own file " * 1000
    invoke(app, *arguments, "--force")
    invoke(app, *arguments)  # it is ganzoo's own now, so the same command may be repeated
    assert b"made by ganzoo" in out.read_bytes()


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


def test_conditional_samples_carry_their_labels_and_classes_have_columns(app, conditional_run, tmp_path):
    for n, class_ in (("--n", "--class"), ("-n", "--label")):  # Python's words work too
        result = invoke(app, "sample", conditional_run, n, 4, class_, 7, "--out", tmp_path / f"{class_}.npz")
        assert "Saved 4 images of class 7" in result.stderr
        with np.load(tmp_path / f"{class_}.npz") as arrays:
            assert arrays["labels"].tolist() == [7, 7, 7, 7]
    facts = json.loads(
        invoke(app, "sample", conditional_run, "--scale", 3, "--out", tmp_path / "a.png", "--json").stdout
    )
    drawn = ganzoo.load(conditional_run).sample(60)
    with Image.open(tmp_path / "a.png") as picture:
        assert facts["n"] == 60
        assert picture.size == (3 * (10 * 30 + 2), 3 * (6 * 30 + 2))
        one = np.asarray(picture)[3 * 32 : 3 * 60 : 3, 3 * 62 : 3 * 90 : 3]  # the third class of the second row
    assert np.array_equal(one, drawn[12, 0].numpy())


def test_a_class_is_asked_for_by_its_name(app, conditional_run, tmp_path):
    run = shutil.copytree(conditional_run, tmp_path / "run")
    info = json.loads((run / "run.json").read_text())
    info["class_names"] = ["nought", "one", "two", "9", *"456783"]
    (run / "run.json").write_text(json.dumps(info))
    generator = ganzoo.load(run)
    assert torch.equal(generator.sample(2, label="two"), generator.sample(2, label=2))
    assert [generator.class_number(label) for label in ("9", "0", 9)] == [3, 0, 9]
    names = "nought, one, two, 9, 4, 5, 6, 7, 8, 3"
    assert f"\nColumns: {names}\n" in invoke(app, "sample", run, "--out", tmp_path / "a.png").stderr
    for other in ((run, "--class", "two"), (conditional_run,)):  # one class, and classes whose names are numbers
        assert "Columns" not in invoke(app, "sample", *other, "--out", tmp_path / "a.png").stderr
    with pytest.raises(GanzooError, match="Unknown class 'too'. Did you mean 'two'?"):
        generator.sample(2, label="too")
    with pytest.raises(GanzooError, match="Unknown class 10. The classes are 0 to 9"):
        generator.sample(2, label="10")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "a.jpg"], r"Samples of this run cannot be written to a\.jpg"),
        (["--out", "nowhere/a.png"], "No such folder: nowhere"),
        (["--out", "a.npz", "--scale", 3], "--scale enlarges PNGs, but a.npz is not a PNG"),
        (["--out", "a.png", "--device", "abacus"], "abacus"),
    ],
)
def test_what_cannot_be_sampled_is_refused(app, run, arguments, sentence):
    with pytest.raises(GanzooError, match=sentence):
        invoke(app, "sample", run, *arguments)


def test_a_folder_that_is_no_run_is_refused(app, tmp_path):
    with pytest.raises(GanzooError, match="not a run folder"):
        invoke(app, "sample", tmp_path, "--out", tmp_path / "a.png")


def test_a_misspelt_folder_leads_to_the_run_next_to_it(app, run, tmp_path):
    (tmp_path / "vanilla-mnis").mkdir()  # no run
    (tmp_path / "vanilla-mnist").symlink_to(run)
    wrong, hint = tmp_path / "vanila-mnist", f"Did you mean {tmp_path}/vanilla-mnist?"
    for arguments in (("sample", wrong, "--out", tmp_path / "a.png"), ("eval", run, "--against", tmp_path / "vanilla")):
        with pytest.raises(GanzooError, match=r"^No such run") as caught:
            invoke(app, *arguments)
        assert caught.value.remedy == hint
    (tmp_path / "vanilla-mnis").rmdir()
    with pytest.raises(GanzooError, match="^No such file or folder") as caught:
        invoke(app, "eval", wrong)
    assert caught.value.remedy == hint
    with pytest.raises(GanzooError, match=r"^No such run folder: .*\. Give a folder that `ganzoo run` made, or"):
        invoke(app, "sample", tmp_path / "nowhere" / "run", "--out", tmp_path / "a.png")


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


def test_a_run_that_takes_no_scores_is_scored_nevertheless(app, run, tmp_path):
    closed = shutil.copytree(run, tmp_path / "run")
    (closed / "scores.jsonl").unlink()
    (closed / "scores.jsonl").mkdir()
    result = invoke(app, "eval", closed, "--samples", 100, "--json")
    assert len(json.loads(result.stdout)["scores"]) == 2
    assert f"None of the 2 scores were added to {closed}" in result.stderr


def test_one_kind_of_weights_with_other_samples(app, run):
    arguments = ("--weights", "raw", "--samples", 100, "--seed", 3, "--json")
    (score,) = json.loads(invoke(app, "eval", run, *arguments).stdout)["scores"]
    assert score["weights"] == "raw"
    assert (score["protocol"]["n_fake"], score["protocol"]["sample_seed"]) == (100, 3)
    (zero,) = json.loads(invoke(app, "eval", run, *arguments[:4], "--json").stdout)["scores"]
    assert zero["value"] != score["value"]


def test_the_best_checkpoint_and_a_kind_of_weights_reach_every_command(run, tmp_path):
    from ganzoo.cli import app

    contents = []
    for kind in ("ema", "raw"):
        out = tmp_path / kind / "weights.safetensors"
        out.parent.mkdir()
        invoke(app, "export", run, "--out", out, "--weights", kind)
        contents.append(out.read_bytes())
    assert contents[0] != contents[1]
    for words in (
        ("eval", run),
        ("sample", run, "--out", tmp_path / "grid.png"),
        ("animate", run, "--walk", "--out", tmp_path / "walk.gif"),
        ("export", run, "--out", tmp_path / "weights.safetensors"),
    ):
        with pytest.raises(GanzooError, match="has no best checkpoint"):
            invoke(app, *words, "--checkpoint", "best")


def test_real_digits_in_an_npz_score_near_the_floor_and_noise_far_above(app, mnist, tmp_path):
    np.savez(tmp_path / "real.npz", images=mnist.images[:1000, 0].numpy())
    noise = np.random.default_rng(0).integers(0, 256, (1000, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "noise.npz", images=noise)
    (real,) = json.loads(invoke(app, "eval", tmp_path / "real.npz", *FID, "--json").stdout)["scores"]
    (fake,) = json.loads(invoke(app, "eval", tmp_path / "noise.npz", *FID, "--json").stdout)["scores"]
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
    assert "Scoring all 20 images (default: 10,000)." in result.stderr
    assert "fid@mnist-cnn" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--weights", "ema"], "is not a run, so it has no 'ema' weights"),
        (["--metric", "fid@mnist-cn"], "Unknown extractor 'mnist-cn'.*Did you mean 'mnist-cnn'"),
    ],
)
def test_what_cannot_be_scored_is_refused(app, tmp_path, arguments, sentence):
    np.savez(tmp_path / "a.npz", images=np.zeros((5, 28, 28), np.uint8))
    with pytest.raises(GanzooError, match=sentence):
        invoke(app, "eval", tmp_path / "a.npz", *arguments)


def scores_of(app, *arguments):
    return json.loads(invoke(app, "eval", *arguments, "--json").stdout)["scores"]


def test_all_metrics_of_a_dataset_are_added_to_those_that_are_named(app, tmp_path, zoo, monkeypatch):
    monkeypatch.setattr("ganzoo.evaluation.metrics.KID_SUBSETS", 4)
    tiny = [*TINY[:2], "train.images=64", "train.batch_size=16", "train.device=cpu", "evaluate.metrics=[]"]
    run = start(load_recipe("vanilla-ring", zoo, tiny), zoo, tmp_path / "run").path
    scores = scores_of(app, run, "--metric", "modes@ring", "--all", "--samples", 50)
    names = {score["metric"] for score in scores}
    assert names > {"modes@ring", "kl@ring", "quality@ring"}
    assert len(scores) == len({score["weights"] for score in scores}) * len(names)


@pytest.mark.full
def test_every_metric_at_once(app, conditional_run):
    scores = scores_of(app, conditional_run, "--metric", "coverage@mnist-cnn", "--all", "--samples", 200)
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


def test_a_function_is_scored_and_its_scores_are_kept_and_compared(app, here):
    result = invoke(app, "eval", "cli_noise:noise", *FID, "--samples", 100, "--out", "a.jsonl")
    assert "100 images, 28x28 grey, from cli_noise:noise, seed 0." in result.stderr
    assert "\N{EN DASH}" in result.stdout
    (score,) = scores_in(here / "a.jsonl")
    assert (score["protocol"]["n_fake"], score["protocol"]["sample_seed"]) == (100, 0)
    low, high = score["interval"]
    assert low < score["value"] < high
    again = invoke(app, "eval", "cli_noise:noise", *FID, "--samples", 100, "--seed", 1, "--against", "a.jsonl")
    assert f"{score['value']:.4g}" in again.stdout
    # Nothing can be compared: that is said, and the scores are shown nevertheless.
    result = invoke(app, "eval", "cli_noise:noise", *FID, "--samples", 90, "--against", "a.jsonl")
    assert "(n_fake: 90 here, 100 there). Add --samples 100 to measure as there." in result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.strip().startswith("fid@")][:1]
    assert line.split()[-1] == "-"


def test_what_cannot_be_compared_is_said_before_anything_is_scored(app, run, here, monkeypatch):
    invoke(app, "eval", run, "--samples", 90, "--out", "a.jsonl", "--metric", "fid@mnist-cnn")
    arguments = ("eval", run, "--samples", 80, "--against", "a.jsonl", "--metric", "fid@mnist-cnn")
    with monkeypatch.context() as patched:
        patched.setattr("ganzoo.runs.generator.draw", lambda *_, **__: sys.exit("drawing begins"))
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert str(result.exception) == "drawing begins"
    assert "n_fake: 80 here, 90 there" in result.stderr
    names = ("--metric", "fid@mnist-cnn", "--metric", "kid@mnist-cnn")
    invoke(app, "eval", "cli_noise:noise", "--samples", 70, "--metric", "kid@mnist-cnn", "--out", "a.jsonl")
    result = invoke(app, "eval", run, "--samples", 90, "--against", "a.jsonl", "--weights", "raw", *names)
    assert "kid@mnist-cnn: measured differently in a.jsonl" in result.stderr
    assert "n_fake: 90 here, 70 there" in result.stderr
    lines = [line for line in result.stdout.splitlines() if "@mnist-cnn" in line and "raw" in line]
    assert [line.split()[-1] == "-" for line in lines] == [False, True]


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
def zoo_with_a_metric(tmp_path, monkeypatch):
    metadata = tmp_path / "site" / "spreading-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: spreading\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[ganzoo]\nspreading = spreading_plugin\n")
    (tmp_path / "site" / "spreading_plugin.py").write_text(METRIC)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield load_zoo.__wrapped__()
    sys.modules.pop("spreading_plugin", None)


def test_a_plugin_s_metric_scores_a_run_as_its_recipe_asks(zoo_with_a_metric, tmp_path):
    zoo, metrics = zoo_with_a_metric, "evaluate.metrics=[spread@mnist-cnn, fid@mnist-cnn]"
    run = start(load_recipe("vanilla-mnist", zoo, [*TINY, metrics]), zoo, tmp_path / "run")
    trained = [score for score in run.scores() if score["metric"] == "spread@mnist-cnn"]
    assert [score["weights"] for score in trained] == ["ema", "raw"]
    assert trained[0]["floor"] == pytest.approx(1, abs=0.05)
    assert trained[0]["value"] < 0.5
    assert trained[0]["protocol"]["plugin"] == "spreading 1.0"


def test_a_recipe_knows_a_plugin_s_metrics(zoo_with_a_metric):
    zoo = zoo_with_a_metric
    with pytest.raises(GanzooError) as caught:
        load_recipe("vanilla-mnist", zoo, ["evaluate.metrics=[spred@mnist-cnn]"])
    assert "Unknown metric 'spred'. Did you mean 'spread'?" in str(caught.value)
    settings = ["evaluate.metrics=[spread@mnist-cnn]", "evaluate.every_images=640"]
    with pytest.raises(GanzooError, match="waits for 'spread@mnist-cnn' to fall, but lower is not better for it"):
        load_recipe("vanilla-mnist", zoo, [*settings, "train.until={metric: spread@mnist-cnn, below: 1}"])


def test_a_border_is_cut_off_where_that_is_asked_for(app, here):
    with pytest.raises(GanzooError, match="Cut it off with --crop"):
        invoke(app, "eval", "cli_noise:padded", *FID, "--samples", 50)
    result = invoke(app, "eval", "cli_noise:padded", *FID, "--samples", 50, "--crop")
    assert "A black border was cut off, leaving 28x28 grey." in result.stderr


def test_a_run_has_no_border_to_cut_off(app, tmp_path):
    (tmp_path / "run.json").touch()
    with pytest.raises(GanzooError, match=r"--crop is for pictures from elsewhere, but .* is a run\. Leave it out"):
        invoke(app, "eval", tmp_path, "--crop")
    with pytest.raises(GanzooError, match="--crop is for pictures from elsewhere, but zoo:any is a run"):
        invoke(app, "eval", "zoo:any", "--crop")


@pytest.mark.full
def test_another_split_is_another_protocol(app, here):
    (test,) = scores_of(app, "cli_noise:noise", *FID, "--samples", 50)
    (train,) = scores_of(app, "cli_noise:noise", *FID, "--samples", 50, "--split", "train")
    assert (test["protocol"]["n_real"], train["protocol"]["n_real"]) == (10_000, 60_000)
    assert (train["protocol"]["split"], train["protocol"]["n_floor"]) == ("train", 50)


def test_labels_of_a_file_are_what_accuracy_is_measured_by(app, mnist_test, tmp_path):
    images, labels = mnist_test.images[:200, 0].numpy(), mnist_test.labels[:200].numpy()
    np.savez(tmp_path / "right.npz", images=images, labels=labels)
    np.savez(tmp_path / "none.npz", images=images)
    (score,) = scores_of(app, tmp_path / "right.npz", "--metric", "accuracy@mnist-cnn")
    assert score["value"] > 0.98
    with pytest.raises(GanzooError, match="'accuracy@mnist-cnn' needs to know which class each image was meant to be"):
        invoke(app, "eval", tmp_path / "none.npz", "--metric", "accuracy@mnist-cnn")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--extractor-weights", "a.pth"], "'mnist-ae' has its own weights, so it does not accept a.pth"),
        (["--out", "nowhere/a.jsonl"], "No such folder: nowhere"),
        (["--against", "a.jsonl"], "No such run or scores file: a.jsonl"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_scored(app, here, arguments, sentence):
    with pytest.raises(GanzooError, match=sentence):
        invoke(app, "eval", "cli_noise:noise", "--samples", 50, *arguments)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(("--metric", "fod@mnist-cnn"), "Unknown metric 'fod'"), (("--dataset", "mnits"), "Unknown dataset 'mnits'")],
)
def test_a_misspelt_name_is_refused_before_a_function_draws(app, words, sentence):
    with pytest.raises(GanzooError, match=sentence):
        invoke(app, "eval", "no_such_module:draw", *words)


def test_training_images_are_called_copies(capsys):
    protocol = {
        "metric": "memorisation",
        "extractor": "tiny",
        "extractor_digest": "0" * 8,
        "dataset": "toy",
        "split": "test",
        "n_real": 10,
        "n_fake": 1000,
        "n_floor": 1000,
        "resizing": "none",
        "quantised": "uint8",
    }
    record = {"metric": "memorisation@tiny", "value": 0.9, "floor": 0.3, "weights": None, "protocol": protocol}
    show_scores([record], None, "")
    assert "Training images are copied: 90.0% of the samples" in capsys.readouterr().out
    show_scores([{**record, "value": 0.31}], None, "")
    assert "copied" not in capsys.readouterr().out


def test_a_file_of_something_else_gets_no_scores(app, here, tmp_path):
    notes = tmp_path / "notes.md"
    notes.write_text("# mine\n")
    with pytest.raises(GanzooError, match="holds something other than scores"):
        invoke(app, "eval", "cli_noise:noise", *FID, "--out", notes)
    assert notes.read_text() == "# mine\n"


def test_names_of_metrics_that_are_no_single_metric(app, run, zoo):
    options = ("--metric", "headline", "--samples", 200, "--no-interval", "--json")
    scored = json.loads(invoke(app, "eval", run, *options).stdout)
    assert {score["metric"] for score in scored["scores"]} == set(headline("mnist", zoo))
    with pytest.raises(GanzooError, match=r"Repeat it: --metric fid@mnist-cnn --metric kid@mnist-cnn\."):
        invoke(app, "eval", run, "--metric", "fid@mnist-cnn,kid@mnist-cnn")
    with pytest.raises(GanzooError, match="'all@mnist-cnn' only works with `ganzoo eval`"):
        load_recipe("vanilla-mnist", zoo, ["evaluate.metrics=[all@mnist-cnn]"])


@pytest.mark.parametrize("command", [("sample", "--out", "x.png"), ("eval",)])
def test_a_name_where_a_run_is_expected(app, command):
    with pytest.raises(GanzooError, match="Did you mean zoo:cgan-mnist"):
        invoke(app, command[0], "cgan-mnist", *command[1:])
    with pytest.raises(GanzooError, match="`ganzoo run vanilla-ring` trains it"):
        invoke(app, command[0], "vanilla-ring", *command[1:])


def test_a_pretrained_generator_has_no_best_checkpoint(app):
    with pytest.raises(GanzooError, match="no checkpoints"):
        invoke(app, "sample", "zoo:cgan-mnist", "--out", "x.png", "--checkpoint", "best")


def test_numbers_are_never_cut(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    protocol = {"metric": "fid", "extractor": "mnist-cnn", "extractor_digest": "0" * 8, "dataset": "mnist"}
    protocol |= {"split": "test", "n_real": 10_000, "n_fake": 300, "n_floor": 300, "resizing": "none"}
    protocol |= {"quantised": "uint8"}
    score = {"metric": "fid@mnist-cnn", "weights": "ema", "value": 2551.3, "floor": 3.2, "sd": 0.1}
    show_scores([{**score, "interval": [2513.2, 2602.7], "protocol": protocol}], None, "")
    out = capsys.readouterr().out
    assert "2513\N{EN DASH}2603" in out
    assert "\N{HORIZONTAL ELLIPSIS}" not in out


@pytest.mark.parametrize("what", ["cli_noise:noise", "run"])
def test_pictures_of_ones_own_are_compared_with(app, run, here, mnist, what):
    (here / "photos").mkdir()
    for index, image in enumerate(mnist.images[:100, 0].numpy()):
        Image.fromarray(image).save(here / "photos" / f"{index}.png")
    shutil.copytree(run, here / "run")
    command = ["eval", what, "--samples", 50, "--dataset", "photos", "--json"]
    (score, *_) = json.loads(invoke(app, *command, *FID, "--anyway").stdout)["scores"]
    assert score["value"] > score["floor"]
    protocol = score["protocol"]
    assert (protocol["dataset"], protocol["split"], protocol["n_real"]) == ("image-folder", "test", 10)
    assert protocol["dataset_options"]["path"] == "photos"
    with pytest.raises(GanzooError, match="'mnist-cnn' was fitted to mnist, not to 'image-folder'"):
        invoke(app, *command, *FID)
    with pytest.raises(
        GanzooError, match=r"No installed extractor .* name an extractor for any images, such as fid@in"
    ):
        invoke(app, *command, "--metric", "headline")


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        (
            "image-folder",
            r"'image-folder' means your own pictures\. Give their folder or zip archive, such as \./photos",
        ),
        ("./nowhere", r"No such file or folder: \./nowhere\. Give a folder of pictures"),
        ("nowhere", "Unknown dataset 'nowhere'"),
        ("cli_noise.py", "cli_noise.py is neither a folder nor a zip archive"),
    ],
)
def test_a_reference_that_does_not_exist(app, here, dataset, sentence):
    with pytest.raises(GanzooError, match=sentence):
        invoke(app, "eval", "cli_noise:noise", *FID, "--samples", 100, "--dataset", dataset)


def test_a_folder_called_as_a_dataset_is_not_in_its_way(app, here):
    (here / "mnist").mkdir()
    invoke(app, "eval", "cli_noise:noise", *FID, "--samples", 100, "--dataset", "mnist")
