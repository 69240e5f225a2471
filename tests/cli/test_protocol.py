"""What is scored against which images, in which extractors, and until when: through the commands themselves."""

import json
import re

import pytest
import torch
import yaml
from typer.testing import CliRunner

from ganzoo import Dataset, evaluate, train
from ganzoo.cli import app
from ganzoo.config.checking import headline
from ganzoo.config.loading import load_recipe
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


def invoke(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def refusal(*arguments):
    """What a command says that refuses, with exit code 2."""
    with pytest.raises(GanzooError) as caught:
        invoke(*arguments)
    assert caught.value.exit_code == 2
    return str(caught.value)


def settings(*more):
    return [word for one in (*TINY, *more) for word in ("--set", one)]


# Another extractor costs as much again, and what is tested here is not what it says.
METRICS = "evaluate.metrics=[fid@mnist-cnn, coverage@mnist-cnn, recall@mnist-cnn]"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A run with validation images."""
    path = tmp_path_factory.mktemp("protocol") / "tuned"
    invoke("run", "vanilla-mnist", *settings("dataset.validation=1000", METRICS), "--out", path, "--json")
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
    with pytest.raises(GanzooError, match=r"dataset\.validation is 20, but 'x' has 20 training images"):
        part_of(Dataset("x", "train", images), "train", 20)


def test_a_run_with_validation_images_is_scored_against_them_and_reported_against_test_images(tuned):
    run = RunFolder.open(tuned)
    assert {score["protocol"]["split"] for score in run.final_scores()} == {"validation"}
    assert {score["protocol"]["validation"] for score in run.final_scores()} == {1000}
    assert len(run.checkpoint().tensors["sampler.order"]) == 59_000
    before = {score["metric"]: score["value"] for score in run.final_scores()}
    own = json.loads(invoke("eval", tuned, "--json").stdout)["scores"]
    assert {score["metric"]: score["value"] for score in own} == pytest.approx(before, rel=1e-5)
    final = json.loads(invoke("eval", tuned, "--split", "test", "--json").stdout)["scores"]
    assert {score["protocol"]["split"] for score in final} == {"test"}
    assert [score["protocol"]["split"] for score in run.final_scores()[:3]] == ["validation"] * 3


def test_validation_images_change_what_is_trained_on_and_none_change_nothing(tuned, zoo, tmp_path):
    from ganzoo.config.schema import training_digest

    plain, apart = (load_recipe("vanilla-mnist", zoo, more) for more in ([], ["dataset.validation=1000"]))
    assert training_digest(plain) != training_digest(apart)
    assert "validation" not in plain.to_yaml()
    assert yaml.safe_load((tuned / "recipe.yaml").read_text())["dataset"] == {"name": "mnist", "validation": 1000}
    assert load_recipe("vanilla-mnist", zoo, ["dataset.validation=7", "dataset.name=kmnist"]).dataset.validation == 7


def test_validation_is_refused_where_nothing_was_set_apart(tmp_path):
    path = tmp_path / "run"
    invoke("run", "vanilla-mnist", *settings("evaluate.metrics=[]", "train.images=64"), "--out", path, "--json")
    refused = refusal("eval", path, "--split", "validation", "--metric", "fid@mnist-cnn")
    assert "No images were held out for validation" in refused


def test_the_headline_is_what_is_installed_of_it(zoo):
    names = headline("mnist", zoo)
    assert names[-3:] == ("fid@mnist-cnn", "coverage@mnist-cnn", "recall@mnist-cnn")
    assert load_recipe("vanilla-mnist", zoo).evaluate.metrics == names
    assert load_recipe("cgan-mnist", zoo).evaluate.metrics == (*names, "accuracy@mnist-cnn")
    assert headline("ring", zoo) == ("modes@ring", "kl@ring", "quality@ring")
    assert headline("cifar10", zoo) == ()


def test_a_plugin_s_extractor_of_a_domain_makes_its_headline(zoo):
    from ganzoo.registry.loading import load_zoo
    from ganzoo.registry.registry import Entry

    class Words:
        domains = ("words",)

    ours = load_zoo.__wrapped__()
    ours.extractors.add(Entry("extractor", "letters", Words, "x", None, "tests", "tests 0"))
    assert headline("words", ours) == ("fid@letters", "coverage@letters", "recall@letters")


def test_samples_of_another_domain_are_refused_without_anyway_and_marked_with_it(mnist):
    clothes = Dataset("clothes", "train", mnist.images[:400])
    images = mnist.images[400:700]
    with pytest.raises(GanzooError, match="'mnist-cnn' was fitted to mnist, not to 'clothes'") as caught:
        evaluate(images, ["fid@mnist-cnn"], clothes)
    assert "anyway" in caught.value.remedy
    (score,) = evaluate(images, ["fid@mnist-cnn"], clothes, anyway=True)
    assert score.record()["protocol"]["anyway"] is True
    with pytest.raises(GanzooError, match="No installed extractor was fitted to 'clothes'"):
        evaluate(images, dataset=clothes)


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


def test_the_command_refuses_another_domain_s_extractor_until_it_is_insisted_upon(digits, tmp_path):
    out, given = tmp_path / "run", ["--data-dir", digits]
    said = " ".join(invoke("run", "vanilla-mnist", *settings(*FOLDER), *given, "--out", out).output.split())
    assert "This run gets no scores: no metric of its recipe fits the dataset 'image-folder'. Install a plugin" in said
    assert "No scores: see above" in said
    assert "metric" not in said.split("No scores")[1]  # never an empty table
    assert RunFolder.open(out).scores() == []
    assert len(list((out / "samples").glob("*.png"))) == 2
    refused = refusal("eval", out, "--metric", "fid@mnist-cnn", *given)
    assert "was fitted to mnist, not to 'image-folder'" in refused
    assert "--anyway" in refused
    assert "No installed extractor was fitted to 'image-folder'" in refusal("eval", out, *given)
    marked = invoke("eval", out, "--metric", "fid@mnist-cnn", "--anyway", *given)
    assert "in an extractor of another dataset" in " ".join(marked.output.split())
    assert [score["protocol"]["anyway"] for score in RunFolder.open(out).scores()] == [True]


def test_a_recipe_s_metrics_of_another_domain_are_left_out_or_marked(digits, tmp_path):
    given = ["--data-dir", digits, *(word for one in FOLDER for word in ("--set", one))]
    explicit = settings("evaluate.metrics=[fid@mnist-cnn]")
    said = " ".join(invoke("run", "vanilla-mnist", *explicit, *given, "--out", tmp_path / "a").output.split())
    assert "Not scored by fid@mnist-cnn: 'mnist-cnn' was fitted to mnist, not to 'image-folder'" in said
    invoke("run", "vanilla-mnist", *explicit, *given, "--set", "evaluate.anyway=true", "--out", tmp_path / "b")
    assert [score["protocol"]["anyway"] for score in RunFolder.open(tmp_path / "b").scores()] == [True]
    waiting = [*explicit, "--set", "train.until={metric: fid@mnist-cnn, below: 3}", "--set", "evaluate.every_images=64"]
    refused = refusal("run", "vanilla-mnist", *waiting, *given, "--out", tmp_path / "c")
    assert "train.until waits for 'fid@mnist-cnn'. Not scored by fid@mnist-cnn" in refused


def test_what_no_other_shape_of_images_would_help_is_said_first(zoo, mnist):
    colour = Dataset("mine", "train", mnist.images[:20].expand(-1, 3, -1, -1), torch.arange(20) % 2, ("a", "b"))
    names = ["fid@mnist-cnn", "accuracy@mnist-cnn", "is@mnist-cnn"]
    kept, said, _ = fitting_metrics(names, zoo, colour)
    assert kept == []
    assert said[0] == "Not scored by accuracy@mnist-cnn: its extractor's classes are not those of 'mine'."
    assert said[1].startswith("Not scored by fid@mnist-cnn, is@mnist-cnn: The extractor 'mnist-cnn' accepts 28x28 grey")
    assert fitting_metrics(names[1:2], zoo, colour)[1][0] == said[0]


def test_own_digits_are_scored_where_their_domain_is_named(mnist, zoo, tmp_path):
    recipe = load_recipe("vanilla-mnist", zoo, TINY)
    said = []
    unknown = train(recipe, dataset=mnist.images[:400], out=tmp_path / "unknown", log=said.append)
    assert unknown.scores == []
    assert any("not to 'in-memory'" in sentence for sentence in said)
    digits = Dataset("mine", "train", mnist.images[:400], mnist.labels[:400], mnist.classes, domain="mnist")
    known = train(recipe, dataset=digits, out=tmp_path / "known")
    assert {score["metric"] for score in known.scores} == set(recipe.evaluate.metrics)
    assert all("anyway" not in score["protocol"] for score in known.scores)


UNTIL = "train.until=[{metric: fid@mnist-cnn, below: 1e6}, {metric: recall@mnist-cnn, above: %s}]"


@pytest.mark.parametrize(("above", "images"), [("-1", 192), ("1.5", 640)])
def test_training_ends_where_every_condition_is_met(above, images, tmp_path):
    out = tmp_path / "run"
    often = settings(UNTIL % above, "evaluate.every_images=192", METRICS)
    invoke("run", "vanilla-mnist", *often, "--out", out, "--json")
    run = RunFolder.open(out)
    assert run.info["images"] == images
    if images < 640:
        assert run.info["reason"] == "fid@mnist-cnn fell below 1e+06 and recall@mnist-cnn rose above -1"
        assert all("interval" in score for score in run.final_scores())


@pytest.mark.parametrize(
    ("until", "sentence"),
    [
        ("{metric: recall@mnist-cnn, below: 3}", "to fall, but lower is not better for it"),
        ("{metric: fid@mnist-cnn, above: 3}", "to rise, but higher is not better for it"),
        ("{metric: fid@mnist-cnn}", "needs either 'below' or 'above' or 'patience'"),
        ("{metric: fid@mnist-cnn, below: 3, above: 1}", "needs either 'below' or 'above' or 'patience'"),
        ("{metric: fid@mnist-cnn, below: 3, min_delta: 1}", "has 'min_delta', which goes with 'patience'"),
        ("{metric: kid@mnist-cnn, patience: 3}", "waits for 'kid@mnist-cnn', which is not in evaluate.metrics"),
        ("{metric: kid@mnist-cnn, below: 3}", "waits for 'kid@mnist-cnn', which is not in evaluate.metrics"),
    ],
)
def test_conditions_that_cannot_be_met_are_refused(until, sentence, zoo):
    with pytest.raises(GanzooError, match=sentence.replace("(", r"\(")):
        load_recipe("vanilla-mnist", zoo, [f"train.until={until}", "evaluate.every_images=64"])


@pytest.mark.parametrize(
    ("best", "every", "sentence"),
    [
        ("kid@mnist-cnn", 64, "keep_best is 'kid@mnist-cnn', which is not in evaluate.metrics"),
        ("fid@mnist-cnn", "null", "Set evaluate.every_images: train.keep_best needs scores during training"),
        ("spread@mnist-cnn", 64, "which is not in evaluate.metrics"),
    ],
)
def test_a_best_checkpoint_needs_a_score_that_is_measured_as_it_trains(best, every, sentence, zoo):
    with pytest.raises(GanzooError, match=sentence):
        load_recipe("vanilla-mnist", zoo, [f"train.keep_best={best}", f"evaluate.every_images={every}"])


def test_intervals_stand_beside_final_scores_and_not_along_the_curve(tmp_path):
    out = tmp_path / "run"
    invoke("run", "vanilla-mnist", *settings("evaluate.every_images=320", METRICS), "--out", out)
    scores = RunFolder.open(out).scores()
    assert {score["images"] for score in scores if "interval" not in score} == {320}
    assert {score["images"] for score in scores if "interval" in score} == {640}
    assert all(score["sd"] > 0 for score in scores)
    shown = invoke("eval", out, "--no-interval").output
    assert "real vs" in shown
    assert len(re.findall(r"[+-][\d.]+(?:e[+-]\d+)?±[\d.]+", shown)) == 3
    wide = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["eval", str(out)]).output
    assert "real vs" in wide
    assert len(re.findall(r"[\d.]+–[\d.]+", wide)) >= 1
    without = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["eval", str(out), "--no-interval"]).output
    assert not re.search(r"[\d.]+–[\d.]+", without)
