"""What is scored against which images, in which extractors, and until when: through the commands themselves."""

import json
import re

import pytest
import torch
import yaml

from ganzoo import Dataset, Points, evaluate, train
from ganzoo.config.checking import headline
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import training_digest
from ganzoo.data import part_of
from ganzoo.errors import GanzooError
from ganzoo.evaluation.requests import fitting_metrics
from ganzoo.runs.folder import RunFolder

TINY = [
    "networks.generator.hidden=[16]",
    "networks.discriminator.hidden=[8]",
    "train.images=640",
    "train.batch_size=64",
    "train.ema=null",
    "train.device=cpu",
    "evaluate.samples=300",
]


def settings(*more):
    return [word for one in (*TINY, *more) for word in ("--set", one)]


# Another metric costs as much again, and what is tested here is not what it says.
METRICS = "evaluate.metrics=[fid@mnist-cnn]"


@pytest.fixture(scope="module")
def tuned(invoke, tmp_path_factory):
    """A run with validation images."""
    path = tmp_path_factory.mktemp("protocol") / "tuned"
    invoke("run", "vanilla-mnist", *settings("dataset.validation=1000", METRICS), "--out", path)
    return path


def written_out(labels, n):
    """The indices set apart, by the rule in words: the largest remainder, one generator, class by class."""
    total = len(labels)
    members = {c: [i for i, label in enumerate(labels.tolist()) if label == c] for c in sorted(set(labels.tolist()))}
    parts = {c: len(of) * n // total for c, of in members.items()}
    by_remainder = sorted(members, key=lambda c: (-(len(members[c]) * n % total), c))
    for c in by_remainder[: n - sum(parts.values())]:
        parts[c] += 1
    generator, found = torch.Generator().manual_seed(0), []
    for c, of in members.items():
        found += [of[i] for i in torch.randperm(len(of), generator=generator).tolist()[: parts[c]]]
    return sorted(found)


def test_images_set_apart_are_stratified_seeded_and_the_rest_is_trained_on(mnist):
    chosen = written_out(mnist.labels, 10_000)
    validation, rest = part_of(mnist, "validation", 10_000), part_of(mnist, "train", 10_000)
    assert torch.equal(validation.images, mnist.images[chosen])
    assert validation.labels.bincount().tolist() == [987, 1124, 993, 1022, 974, 904, 986, 1044, 975, 991]
    kept = torch.ones(60_000, dtype=torch.bool)
    kept[chosen] = False
    assert torch.equal(rest.images, mnist.images[kept])
    assert (validation.split, rest.split) == ("validation", "train")
    assert part_of(mnist, "train", 0) is mnist


def test_without_labels_all_images_are_one_class():
    images = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1).expand(20, 1, 4, 4)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))[:6].sort().values
    assert torch.equal(part_of(Dataset("x", "train", images), "validation", 6).images[:, 0, 0, 0], order.byte())
    with pytest.raises(
        GanzooError, match=r"20 images would be held out for validation, but 'x' has 20 training images"
    ):
        part_of(Dataset("x", "train", images), "train", 20)
    with pytest.raises(GanzooError, match=r"No images were held out for validation"):
        part_of(Dataset("x", "train", images), "validation", -1)


def test_a_run_with_validation_images_is_scored_against_them_and_reported_against_test_images(invoke, tuned):
    run = RunFolder.open(tuned)
    assert yaml.safe_load((tuned / "recipe.yaml").read_text())["dataset"] == {"name": "mnist", "validation": 1000}
    assert len(run.checkpoint().tensors["sampler.order"]) == 59_000
    (before,) = run.final_scores()
    assert (before["protocol"]["split"], before["protocol"]["validation"]) == ("validation", 1000)
    (own,) = json.loads(invoke("eval", tuned, "--json").stdout)["scores"]
    assert own["value"] == pytest.approx(before["value"], rel=1e-5)
    (final,) = json.loads(invoke("eval", tuned, "--split", "test", "--json").stdout)["scores"]
    assert final["protocol"]["split"] == "test"
    assert run.final_scores()[0]["protocol"]["split"] == "validation"


def test_validation_images_change_what_is_trained_on_and_none_change_nothing(zoo):
    plain, apart = (load_recipe("vanilla-mnist", zoo, more) for more in ([], ["dataset.validation=1000"]))
    assert training_digest(plain) != training_digest(apart)
    assert "validation" not in plain.to_yaml()
    assert load_recipe("vanilla-mnist", zoo, ["dataset.validation=7", "dataset.name=kmnist"]).dataset.validation == 7


def test_validation_is_refused_where_nothing_was_set_apart(invoke, refused, tmp_path):
    path = tmp_path / "run"
    invoke("run", "vanilla-mnist", *settings("evaluate.metrics=[]", "train.images=64"), "--out", path, "--json")
    said = refused("eval", path, "--split", "validation", "--metric", "fid@mnist-cnn")
    assert "No images were held out for validation" in said


def test_the_headline_is_what_is_installed_of_it(zoo):
    names = headline("mnist", zoo)
    assert names[-3:] == ("fid@mnist-cnn", "coverage@mnist-cnn", "recall@mnist-cnn")
    assert load_recipe("vanilla-mnist", zoo).evaluate.metrics == names
    assert load_recipe("cgan-mnist", zoo).evaluate.metrics == (*names, "accuracy@mnist-cnn")
    assert headline("ring", zoo) == ("modes@ring", "kl@ring", "quality@ring")
    # Fitted to none of its pictures, but for any.
    assert headline("cifar10", zoo) == (
        "fid@pictures-ae",
        "coverage@pictures-ae",
        "recall@pictures-ae",
        "memorisation@pictures-ae",
    )


def test_samples_of_an_unknown_domain_are_scored_as_any_pictures_and_points_are_not(mnist):
    scores = evaluate(mnist.images[400:700], dataset=Dataset("clothes", "train", mnist.images[:400]))
    assert [score.metric for score in scores] == ["fid@pictures-ae", "coverage@pictures-ae", "recall@pictures-ae"]
    points = Dataset("points", "train", torch.rand(300, 1, 1, 2), modality=Points(1, 1, 2))
    with pytest.raises(GanzooError, match="The extractor 'pictures-ae' accepts 32x32 RGB images, but these are"):
        evaluate(points.images[:100], dataset=points)


FOLDER = ("dataset.name=image-folder", "dataset.path=.", "dataset.channels=1")


@pytest.fixture(scope="module")
def digits(mnist, tmp_path_factory):
    """A folder of digits, as somebody's own pictures."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("mine")
    for split in ("train", "test"):
        for number in range(100):
            path = folder / split / str(int(mnist.labels[number])) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mnist.images[number, 0].numpy()).save(path)
    return folder


def test_the_command_refuses_another_domain_s_extractor_until_it_is_insisted_upon(invoke, refused, digits, tmp_path):
    out, given = tmp_path / "run", ["--data-dir", digits]
    unfit = settings(*FOLDER, "evaluate.metrics=[fid@mnist-cnn]")
    said = " ".join(invoke("run", "vanilla-mnist", *unfit, *given, "--out", out).output.split())
    assert "This run gets no scores: no metric of its recipe fits the dataset 'image-folder'. Install a plugin" in said
    assert "metric" not in said.split("No scores: see above")[1]  # never an empty table
    assert RunFolder.open(out).scores() == []
    said = refused("eval", out, "--metric", "fid@mnist-cnn", *given)
    assert "was fitted to mnist, not to 'image-folder'" in said
    assert "--anyway" in said
    marked = invoke("eval", out, "--metric", "fid@mnist-cnn", "--anyway", *given)
    assert "in an extractor of another dataset" in " ".join(marked.output.split())
    assert [score["protocol"]["anyway"] for score in RunFolder.open(out).scores()] == [True]


def test_a_recipe_s_metrics_of_another_domain_are_left_out_or_marked(invoke, refused, digits, tmp_path):
    given = ["--data-dir", digits, *(word for one in FOLDER for word in ("--set", one))]
    explicit = settings("evaluate.metrics=[fid@mnist-cnn]")
    said = " ".join(invoke("run", "vanilla-mnist", *explicit, *given, "--out", tmp_path / "a").output.split())
    assert "Not scored by fid@mnist-cnn: 'mnist-cnn' was fitted to mnist, not to 'image-folder'" in said
    invoke("run", "vanilla-mnist", *explicit, *given, "--set", "evaluate.anyway=true", "--out", tmp_path / "b")
    assert [score["protocol"]["anyway"] for score in RunFolder.open(tmp_path / "b").scores()] == [True]
    waiting = [*explicit, "--set", "train.until={metric: fid@mnist-cnn, below: 3}", "--set", "evaluate.every_images=64"]
    said = refused("run", "vanilla-mnist", *waiting, *given, "--out", tmp_path / "c")
    assert "train.until waits for 'fid@mnist-cnn'. Not scored by fid@mnist-cnn" in said


def test_what_no_other_shape_of_images_would_help_is_said_first(zoo, mnist):
    colour = Dataset("mine", "train", mnist.images[:20].expand(-1, 3, -1, -1), torch.arange(20) % 2, ("a", "b"))
    names = ["fid@mnist-cnn", "accuracy@mnist-cnn", "is@mnist-cnn"]
    kept, said, _ = fitting_metrics(names, zoo, colour)
    assert kept == []
    assert said[0] == "Not scored by accuracy@mnist-cnn: its extractor's classes are not those of 'mine'."
    assert said[1].startswith("Not scored by fid@mnist-cnn, is@mnist-cnn: The extractor 'mnist-cnn' accepts 28x28 grey")
    assert fitting_metrics(names[1:2], zoo, colour)[1][0] == said[0]


def test_own_digits_are_scored_where_their_domain_is_named(mnist, zoo, tmp_path):
    recipe = load_recipe("vanilla-mnist", zoo, [*TINY, METRICS])
    said = []
    unknown = train(recipe, dataset=mnist.images[:400], out=tmp_path / "unknown", log=said.append)
    assert unknown.scores == []
    assert any("not to 'in-memory'" in sentence for sentence in said)
    digits = Dataset("mine", "train", mnist.images[:400], mnist.labels[:400], mnist.classes, domain="mnist")
    (score,) = train(recipe, dataset=digits, out=tmp_path / "known").scores
    assert score["metric"] == "fid@mnist-cnn"
    assert "anyway" not in score["protocol"]


UNTIL = "train.until=[{metric: kl@ring, below: 1e6}, {metric: quality@ring, above: %s}]"


@pytest.mark.parametrize(("above", "images"), [("-1", 192), ("1.5", 640)])
def test_training_ends_where_every_condition_is_met(invoke, above, images, tmp_path):
    out = tmp_path / "run"
    often = settings(UNTIL % above, "evaluate.every_images=192", "evaluate.metrics=[kl@ring, quality@ring]")
    invoke("run", "vanilla-ring", *often, "--out", out, "--json")
    run = RunFolder.open(out)
    assert run.info["images"] == images
    if images < 640:
        assert run.info["reason"] == "kl@ring fell below 1e+06 and quality@ring rose above -1"
        assert all("interval" in score for score in run.final_scores() if score["metric"] == "quality@ring")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("until={metric: fid@mnist-cnn, above: 3}", "to rise, but higher is not better for it"),
        ("until={metric: fid@mnist-cnn}", "needs either 'below' or 'above' or 'patience'"),
        ("until={metric: fid@mnist-cnn, below: 3, above: 1}", "needs either 'below' or 'above' or 'patience'"),
        ("until={metric: fid@mnist-cnn, below: 3, min_delta: 1}", "has 'min_delta', which goes with 'patience'"),
        ("until={metric: kid@mnist-cnn, patience: 3}", "waits for 'kid@mnist-cnn', which is not in evaluate.metrics"),
        ("keep_best=kid@mnist-cnn", "keep_best is 'kid@mnist-cnn', which is not in evaluate.metrics"),
        ("keep_best=spread@mnist-cnn", "which is not in evaluate.metrics"),
    ],
)
def test_conditions_that_cannot_be_met_are_refused(change, sentence, zoo):
    with pytest.raises(GanzooError, match=sentence):
        load_recipe("vanilla-mnist", zoo, [f"train.{change}", "evaluate.every_images=64"])


def test_a_best_checkpoint_needs_a_score_that_is_measured_as_it_trains(zoo):
    with pytest.raises(GanzooError, match=r"Set evaluate\.every_images: train\.keep_best needs scores during training"):
        load_recipe("vanilla-mnist", zoo, ["train.keep_best=fid@mnist-cnn", "evaluate.every_images=null"])


def test_intervals_stand_beside_final_scores_and_not_along_the_curve(invoke, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    out = tmp_path / "run"
    invoke("run", "vanilla-mnist", *settings("evaluate.every_images=320", METRICS), "--out", out)
    along, last = RunFolder.open(out).scores()
    assert (along["images"], "interval" in along) == (320, False)
    assert (last["images"], "interval" in last) == (640, True)
    assert along["sd"] > 0
    without = invoke("eval", out, "--no-interval").output
    assert "real vs" in without
    assert re.search(r"[+-][\d.]+(?:e[+-]\d+)?±[\d.]+", without)
    assert not re.search(r"[\d.]+–[\d.]+", without)
    assert re.search(r"[\d.]+–[\d.]+", invoke("eval", out).output)
