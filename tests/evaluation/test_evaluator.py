"""Scores with their floor and protocol, from a toy zoo."""

import json
import random
import sys
from dataclasses import replace
from functools import partial
from types import ModuleType

import numpy as np
import pytest
import torch

from ganzoo import Dataset, ModelMetric
from ganzoo.errors import GanzooError
from ganzoo.evaluation import evaluator as evaluation
from ganzoo.evaluation import intervals, metrics, requests
from ganzoo.evaluation.evaluator import Evaluator, finite
from ganzoo.evaluation.features import extract
from ganzoo.evaluation.metrics import OURS, frechet_distance
from ganzoo.evaluation.protocol import describe, differing, identity
from ganzoo.evaluation.requests import code_of
from ganzoo.registry.registry import Entry

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """The precision of KID estimates and the width of intervals are tested elsewhere."""
    monkeypatch.setattr(metrics, "KID_SUBSETS", 4)
    monkeypatch.setattr(intervals, "ROUNDS", 3)


def evaluator_of(toy_zoo, metrics=("fid@tiny",), **options):
    return Evaluator(metrics, toy_zoo.datasets.get("toy"), options, None, toy_zoo, CPU)


def test_a_score_is_the_distance_to_the_test_images(toy_zoo, extractor, noise):
    images = noise(300)
    (score,) = evaluator_of(toy_zoo).score(images)
    real = toy_zoo.datasets.get("toy").create("test", None).images
    expected = frechet_distance(*(extract("tiny", extractor, some, CPU).statistics for some in (images, real)))
    assert score.metric == "fid@tiny"
    assert score.value == pytest.approx(expected, rel=1e-9)


def test_a_protocol_names_everything_that_the_score_depends_on(toy_zoo, extractor, noise):
    (score,) = evaluator_of(toy_zoo).score(noise(300), sample_seed=5, weights="ema")
    protocol = json.loads(json.dumps(score.protocol))
    assert protocol == {
        "metric": "fid",
        "extractor": "tiny",
        "extractor_digest": extractor.digest,
        "extractor_code": code_of("tiny", toy_zoo),
        "dataset": "toy",
        "dataset_options": {"shift": 0},
        "split": "test",
        "reference_digest": protocol["reference_digest"],
        "n_real": 600,
        "n_fake": 300,
        "n_floor": 300,
        "resizing": "none",
        "quantised": "uint8",
        "torch_fidelity": protocol["torch_fidelity"],
        "sample_seed": 5,
        "weights": "ema",
    }
    assert score.record(images=10, seconds=1.5) == {
        "metric": "fid@tiny",
        "value": score.value,
        "floor": score.floor,
        "interval": list(score.interval),
        "sd": score.sd,
        "weights": "ema",
        "images": 10,
        "seconds": 1.5,
        "protocol": score.protocol,
    }
    assert describe(protocol).startswith("300 against 600 toy test images, tiny ")


def test_references_and_floors_are_cached_and_metrics_share_features(toy_zoo, cache, extractor, noise):
    images, evaluator = noise(300), evaluator_of(toy_zoo, ["fid@tiny", "kid@tiny"])
    first = evaluator.score(images)
    # For the reference, and for the three sets of 300 that 900 training images make.
    kinds = sorted(path.name.split("-")[0] for path in cache.iterdir())
    assert kinds == [*["features"] * 4, *["floor"] * 6]
    before = type(extractor).seen
    assert evaluator_of(toy_zoo, ["fid@tiny", "kid@tiny"]).score(images) == first
    assert type(extractor).seen - before == 300  # only the samples, and only once


def test_a_dataset_with_other_options_has_other_references(toy_zoo, noise):
    (plain,) = evaluator_of(toy_zoo).score(noise(100))
    (shifted,) = evaluator_of(toy_zoo, shift=40).score(noise(100))
    assert shifted.floor != plain.floor
    assert shifted.value != plain.value
    assert differing(plain.protocol, shifted.protocol) == {"dataset_options.shift": (0, 40)}


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (torch.zeros(5, 1, 8, 8), "float32"),
        (torch.zeros(5, 8, 8, dtype=torch.uint8), r"\(5, 8, 8\)"),
        (torch.zeros(5, 1, 9, 8, dtype=torch.uint8), r"\(5, 1, 9, 8\) cannot be scored.* \(n, 1, 8, 8\)"),
        (torch.zeros(5, 3, 8, 8, dtype=torch.uint8), r"\(5, 3, 8, 8\)"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), "at least 2 samples are needed, but there is only 1"),
    ],
)
def test_images_that_do_not_fit_are_refused(toy_zoo, images, sentence):
    with pytest.raises(GanzooError, match=sentence):
        evaluator_of(toy_zoo).score(images)


def test_real_images_that_do_not_fit_are_refused_immediately(toy_zoo):
    images = torch.zeros(60, 1, 16, 16, dtype=torch.uint8)
    with pytest.raises(GanzooError, match="accepts 8x8 grey images, but these are 16x16 grey"):
        Evaluator(["fid@tiny"], Dataset("odd", "test", images), {}, None, toy_zoo, CPU, anyway=True)


def test_metrics_that_lack_real_images_are_left_out_and_named(toy_zoo, noise):
    few = Dataset("few", "test", noise(11, top=200))
    evaluator = Evaluator(["fid@tiny", "recall@tiny", "precision@tiny"], few, {}, None, toy_zoo, CPU, anyway=True)
    assert evaluator.leave_out(50) == [
        "Not scored by recall@tiny, precision@tiny: real vs real needs at least 6 images on each side, but there are 5 "
        "and 6.",
        "Still measured: fid@tiny.",
    ]
    assert [score.metric for score in evaluator.score(noise(50))] == ["fid@tiny"]
    assert evaluator.leave_out(50) == []
    with pytest.raises(GanzooError, match="'fid@tiny' cannot be computed: at least 2 samples are needed"):
        evaluator.leave_out(1)


def test_scores_are_comparable_unless_more_differs_than_what_was_sampled(toy_zoo, noise):
    evaluator = evaluator_of(toy_zoo)
    (a,) = evaluator.score(noise(100), sample_seed=0, weights="ema")
    (b,) = evaluator.score(noise(100, seed=1), sample_seed=1, weights="raw")
    (more,) = evaluator.score(noise(120))
    assert differing(a.protocol, b.protocol) == {}
    assert differing(a.protocol, more.protocol) == {"n_fake": (100, 120)}
    assert "extractor_digest" in differing(a.protocol, {**a.protocol, "extractor_digest": "0" * 64})
    without = {key: value for key, value in a.protocol.items() if key != "resizing"}
    assert differing(a.protocol, without) == {"resizing": ("none", None)}


def scored(toy_zoo, images, metrics=("all@tiny",), labels=None, split="test", **options):
    evaluator = Evaluator(metrics, toy_zoo.datasets.get("toy"), options, None, toy_zoo, CPU, split=split)
    return {one.metric.partition("@")[0]: one for one in evaluator.score(images, labels=labels)}


def split_of(toy_zoo, split):
    return toy_zoo.datasets.get("toy").create(split, None)


METRICS = {metric.name: metric for metric in OURS if not isinstance(metric, ModelMetric)}


def test_all_is_every_metric_that_applies(toy_zoo, noise):
    found = scored(toy_zoo, noise(300))
    expected = [name for name, metric in METRICS.items() if metric.rejecting != "needs"]
    assert list(found) == [name for name in expected if not METRICS[name].needs_labels]
    assert {"fid", "kid", "is", "precision", "recall", "density", "coverage", "memorisation"} <= found.keys()
    labelled = scored(toy_zoo, noise(300), labels=torch.arange(300) % 4)
    assert list(labelled) == expected
    assert {name: labelled[name] for name in found} == found


def test_the_order_of_samples_changes_nothing_at_all(toy_zoo, noise):
    images, labels, order = noise(100), torch.arange(100) % 4, torch.randperm(100)
    assert scored(toy_zoo, images, labels=labels) == scored(toy_zoo, images[order], labels=labels[order])


def test_batch_size_changes_nothing_beyond_rounding(toy_zoo, noise, extractor, monkeypatch, tmp_path):
    images, labels = noise(100), torch.arange(100) % 4
    names = [f"{name}@tiny" for name in ("fid", "kid", "is", "recall", "coverage", "accuracy", "memorisation")]
    large = scored(toy_zoo, images, names, labels=labels)
    monkeypatch.setattr(type(extractor), "batch_size", 7)
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path))  # with the other batches' features of real images
    small = scored(toy_zoo, images, names, labels=labels)
    for name, one in large.items():
        assert small[name].value == pytest.approx(one.value, rel=1e-4, abs=1e-6), name


def test_every_metric_has_a_floor_which_is_the_score_of_real_images(toy_zoo):
    train = split_of(toy_zoo, "train")
    found = scored(toy_zoo, train.images, labels=train.labels)
    for name, one in found.items():
        if name not in ("memorisation", "accuracy"):
            # All of them, in another order, so the random draws inside a metric differ.
            assert one.floor == pytest.approx(one.value, rel=0.1, abs=0.002), name
            assert one.protocol["n_floor"] == 900
        else:
            assert one.protocol["n_floor"] == 600


def test_training_images_are_copies_and_test_images_are_the_floor(toy_zoo):
    copied, held_out = (
        scored(toy_zoo, split_of(toy_zoo, split).images, ["memorisation@tiny"])["memorisation"]
        for split in ("train", "test")
    )
    assert copied.value == 1
    assert held_out.value == held_out.floor < 0.5


def test_accuracy_uses_the_labels_that_belong_to_the_images(toy_zoo, extractor, noise):
    images = noise(200)
    predicted = extract("tiny", extractor, images, CPU).logits.argmax(1)
    wrong = predicted.clone()
    wrong[:50] = (wrong[:50] + 1) % 4
    assert scored(toy_zoo, images, ["accuracy@tiny"], labels=predicted)["accuracy"].value == 1
    assert scored(toy_zoo, images, ["accuracy@tiny"], labels=wrong)["accuracy"].value == 0.75


def test_against_the_training_split_the_floor_is_from_test_images(toy_zoo):
    test = split_of(toy_zoo, "test").images
    found = scored(toy_zoo, test, ["fid@tiny", "memorisation@tiny"], split="train")
    assert found["fid"].protocol["split"] == "train"
    assert (found["fid"].protocol["n_real"], found["fid"].protocol["n_floor"]) == (900, 600)
    assert found["fid"].value == pytest.approx(found["fid"].floor, rel=1e-6)
    assert found["memorisation"].value == scored(toy_zoo, test, ["memorisation@tiny"])["memorisation"].value


def test_settings_of_a_metric_are_in_its_protocol(toy_zoo, noise):
    names = [f"{name}@tiny" for name in ("kid", "is", "recall", "coverage", "memorisation")]
    found = {name: one.protocol for name, one in scored(toy_zoo, noise(300), names).items()}
    assert (found["kid"]["subsets"], found["kid"]["subset_size"], found["kid"]["metric_seed"]) == (4, 300, 2020)
    assert (found["is"]["splits"], found["recall"]["neighbours"], found["coverage"]["neighbours"]) == (10, 3, 5)
    assert found["memorisation"]["n_train"] == 900
    fewer = scored(toy_zoo, noise(200), ["kid@tiny"])["kid"].protocol
    assert differing(found["kid"], fewer)["subset_size"] == (300, 200)


def test_a_score_has_an_interval_unless_it_is_turned_off(toy_zoo, noise):
    evaluator = evaluator_of(toy_zoo, ["fid@tiny", "fid-infinity@tiny"])
    fid, extrapolated = evaluator.score(noise(300))
    low, high = fid.record()["interval"]
    assert low < fid.value < high
    assert "interval" not in extrapolated.record()
    assert "interval" not in evaluator.score(noise(300), interval=False)[0].record()


def test_real_vs_real_deviates_as_other_real_images_do(toy_zoo, noise):
    """Written out: the scores of the three thirds of the shuffled training images."""
    train = toy_zoo.datasets.get("toy").create("train", None)
    order = torch.randperm(900, generator=torch.Generator().manual_seed(0))
    evaluator = evaluator_of(toy_zoo, ["fid@tiny", "coverage@tiny", "recall@tiny"])
    scores = [
        [one.value for one in evaluator.score(train.images[order[start : start + 300]], interval=False)]
        for start in (0, 300, 600)
    ]
    found = evaluator.score(noise(300), interval=False)
    for one, draws in zip(found, zip(*scores, strict=True), strict=True):
        mean = sum(draws) / 3
        assert one.floor == pytest.approx(draws[0], rel=1e-9)
        assert one.sd == pytest.approx((sum((draw - mean) ** 2 for draw in draws) / 2) ** 0.5, rel=1e-6)


def test_if_real_images_are_few_their_interval_gives_the_deviation(toy_zoo, noise):
    # 600 test images make one set of 600: the deviation is that of a share, about sqrt(p(1-p)/600).
    found = scored(toy_zoo, noise(600), ["memorisation@tiny"])["memorisation"]
    assert found.sd == pytest.approx((found.floor * (1 - found.floor) / 600) ** 0.5, rel=0.01)
    assert scored(toy_zoo, noise(600), ["fid-infinity@tiny"])["fid-infinity"].sd is None


def test_an_extractor_for_another_dataset_is_refused_and_its_scores_stay_marked(toy_zoo, noise, extractor):
    class OfOthers(type(extractor)):
        domains = ("digits", "letters")

    toy_zoo.extractors.add(Entry("extractor", "others", OfOthers, "x", None, "tests", "0"))
    with pytest.raises(GanzooError, match="'others' was fitted to digits and letters, not to 'toy'") as caught:
        evaluator_of(toy_zoo, ["fid@others"])
    assert "--anyway" in caught.value.remedy
    entry = toy_zoo.datasets.get("toy")
    (marked,) = Evaluator(["fid@others"], entry, {}, None, toy_zoo, CPU, anyway=True).score(noise(50))
    (plain,) = Evaluator(["fid@tiny"], entry, {}, None, toy_zoo, CPU, anyway=True).score(noise(50))
    digits = Dataset("mine", "test", noise(60), domain="digits")
    (declared,) = Evaluator(["fid@others"], digits, {}, None, toy_zoo, CPU).score(noise(50))
    assert marked.protocol["anyway"] is True
    assert not {"anyway"} & {*plain.protocol, *declared.protocol}
    assert "in an extractor of another dataset" in describe(marked.protocol)
    without = {key: value for key, value in marked.protocol.items() if key != "anyway"}
    assert differing(marked.protocol, without) == {"anyway": (True, None)}


def test_validation_images_are_the_reference_and_say_so(toy_zoo, noise):
    entry = toy_zoo.datasets.get("toy")
    evaluator = Evaluator(
        ["fid@tiny", "memorisation@tiny"], entry, {}, None, toy_zoo, CPU, split="validation", validation=200
    )
    fid, memorisation = evaluator.score(noise(100))
    assert (fid.protocol["split"], fid.protocol["validation"], fid.protocol["n_real"]) == ("validation", 200, 200)
    assert memorisation.protocol["n_train"] == 700
    # Real vs real uses images that were trained on. Metrics that need unseen images take the validation images, never
    # test images.
    draws = [evaluator.draw("tiny", False, 100, number) for number in range(7)]
    assert [images.dataset.split for _, images in draws] == ["train"] * 7
    unseen = evaluator.draw("tiny", True, 100, 0)
    assert unseen[1].dataset.split == "validation"
    (test,) = Evaluator(["fid@tiny"], entry, {}, None, toy_zoo, CPU, validation=200).score(noise(100))
    assert "validation" not in test.protocol
    assert differing(fid.protocol, test.protocol)["split"] == ("validation", "test")
    # The same floor as without validation images, so that test scores of tuned runs stay in their column.
    assert test.floor == Evaluator(["fid@tiny"], entry, {}, None, toy_zoo, CPU).score(noise(100))[0].floor


def test_a_validation_floor_uses_all_other_images_however_few_were_trained_on(toy_zoo, noise):
    entry = toy_zoo.datasets.get("toy")
    metrics = ["fid@tiny", "memorisation@tiny"]

    def found(count):
        evaluator = Evaluator(metrics, entry, {}, None, toy_zoo, CPU, split="validation", validation=200, count=count)
        return evaluator.score(noise(300))

    all_of_them, few = found(0), found(60)
    assert [one.protocol["n_floor"] for one in few] == [300, 200]
    assert (few[0].floor, few[0].sd) == (all_of_them[0].floor, all_of_them[0].sd)
    assert few[1].protocol["n_train"] == 60


def test_parts_of_a_dataset_are_loaded_once_for_all_extractors(toy_zoo, noise, extractor):
    loaded = []

    def counted(split, folder):
        loaded.append(split)
        return split_of(toy_zoo, split)

    class Second(type(extractor)):
        pass

    toy_zoo.extractors.add(Entry("extractor", "second", Second, "x", None, "tests", "0"))
    entry = Entry("dataset", "toy", counted, "x", None, "tests", "0")
    metrics = [f"{metric}@{name}" for metric in ("fid", "accuracy", "memorisation") for name in ("tiny", "second")]
    evaluator = Evaluator(metrics, entry, {}, None, toy_zoo, CPU, anyway=True)
    for n in (100, 200):
        evaluator.score(noise(n), labels=torch.arange(n) % 4)
    assert sorted(loaded) == ["test", "train"]


def test_features_of_unseen_reference_images_are_not_computed_again(toy_zoo, noise):
    """Real vs real of `accuracy` uses test images, whose features are already known."""
    evaluator = evaluator_of(toy_zoo, ["accuracy@tiny", "fid@tiny"])
    evaluator.prepare()
    kind = type(toy_zoo.extractors.get("tiny").create())
    before = kind.seen
    (accuracy,) = evaluator.score(noise(50), requests=evaluator.requests[:1], labels=torch.arange(50) % 4)
    assert kind.seen - before == 50
    _, images = evaluator.draw("tiny", True, 50, 0)
    assert torch.allclose(images.features.values, images.see(images.dataset.images).values, atol=1e-5)
    assert accuracy.floor == float((images.features.logits.argmax(1) == images.dataset.labels).double().mean())


def test_the_cached_features_of_ganzoo_s_own_extractors_outlive_its_versions(toy_zoo, extractor):
    toy_zoo.extractors.add(Entry("extractor", "own", type(extractor), "x", None, "own", "ganzoo-bench 1.2"))
    assert code_of("own", toy_zoo) == {}
    evaluator = evaluator_of(toy_zoo, ["fid@own"])
    assert "extractor_code" not in evaluator.protocol(evaluator.requests[0], 50)


def test_features_and_scores_do_not_outlive_the_code_of_a_plugin_s_extractor(toy_zoo, extractor, tmp_path, monkeypatch):
    class Edited(type(extractor)):
        __module__ = "edited.networks"

    class Resizing(Edited):
        resizing = "bilinear to 16x16"

    package, file = ModuleType("edited"), tmp_path / "edited" / "networks" / "scale.py"
    package.__path__ = [str(tmp_path / "edited")]
    monkeypatch.setitem(sys.modules, "edited", package)
    file.parent.mkdir(parents=True)
    file.write_text("SCALE = 1\n")
    for name, kind, version in (("edited", Edited, "0.1"), ("newer", Edited, "0.2"), ("resizing", Resizing, "0.1")):
        toy_zoo.extractors.add(Entry("extractor", name, partial(kind, seed=1), "x", None, "them", f"them {version}"))

    def look(name="edited"):
        evaluator = evaluator_of(toy_zoo, [f"fid@{name}"])
        return {**evaluator.real(name).key, "extractor": None}, evaluator.protocol(evaluator.requests[0], 50)

    before = look()
    assert before[1]["extractor_code"]["plugin"] == "them 0.1"
    assert look("newer")[0] != before[0]
    assert look("resizing")[0] != before[0]
    file.write_text("SCALE = 255\n")
    assert look() == before  # this process has imported the old code
    requests._source.cache_clear()
    after = look()
    assert after[0] != before[0]
    assert "extractor_code.source" in differing(before[1], after[1])


@pytest.mark.parametrize(
    ("metric", "labels", "sentence"),
    [
        ("accuracy", None, "'accuracy@tiny' needs to know which class each image was meant to be"),
        (
            "accuracy",
            torch.full((30,), 4),
            "from 0 to 3 for each of the 30 images, but got 30 from 4 to 4",
        ),
        ("accuracy", torch.full((30,), -1), "from -1 to -1"),
        ("accuracy", torch.zeros(29, dtype=torch.int64), "got 29 from 0 to 0"),
        (
            "fid-infinity",
            None,
            "'fid-infinity@tiny' cannot be computed: at least 50 samples are needed, but there",
        ),
    ],
)
def test_metrics_that_lack_something_are_refused(toy_zoo, noise, metric, labels, sentence):
    with pytest.raises(GanzooError, match=sentence):
        scored(toy_zoo, noise(30), [f"{metric}@tiny"], labels=labels)


def test_a_score_that_never_varies_has_no_interval(toy_zoo, noise):
    (alike,) = evaluator_of(toy_zoo).score(noise(1).expand(40, -1, -1, -1))
    assert alike.value > 0
    assert alike.interval is None


def test_all_means_the_metrics_that_an_extractor_without_classes_and_few_samples_allow(toy_zoo, noise, extractor):
    class Plain(type(extractor)):
        classes = 0

        def forward(self, images):
            return super().forward(images)[0], None

    toy_zoo.extractors.add(Entry("extractor", "plain", Plain, "x", None, "tests", "0"))
    with pytest.raises(GanzooError, match="'is@plain' cannot be computed: its extractor is not a classifier"):
        evaluator_of(toy_zoo, ["is@plain"])
    found = scored(toy_zoo, noise(30), ["all@plain"])
    assert {"fid", "coverage"} <= found.keys()
    assert not {"is", "fid-infinity"} & found.keys()


def test_a_third_party_metric_is_scored_with_floor_and_protocol(toy_zoo, noise, brightness, cache):
    """Its floor is never stored, for its code may change while its name does not."""
    toy_zoo.metrics.add(brightness)
    evaluator = evaluator_of(toy_zoo, ["brightness@tiny", "fid@tiny"])
    ours, _ = evaluator.score(noise(300, top=100), sample_seed=3)
    assert len(list(cache.glob("floor-*"))) == 3  # those of fid
    assert type(ours.value) is float
    assert abs(ours.floor) < abs(ours.value)
    assert (ours.protocol["plugin"], ours.protocol["n_compared"]) == ("brightness 1.2", 300)
    assert json.loads(json.dumps(ours.record()))["metric"] == "brightness@tiny"
    assert "brightness@tiny" in {request.name for request in evaluator_of(toy_zoo, ["all@tiny"]).requests}


@pytest.mark.parametrize(
    ("method", "mistake", "sentence"),
    [
        ("compute", lambda self, inputs: float("inf"), "The metric 'brightness@tiny' gave inf"),
        (
            "settings",
            lambda self, inputs: {"width": inputs.fake.values.shape[1]},
            "settings of a metric cannot depend on the samples",
        ),
    ],
    ids=["no number", "settings"],
)
def test_a_mistake_of_a_third_party_metric_is_named(toy_zoo, noise, brightness, method, mistake, sentence):
    faulty = type("Faulty", (brightness.factory,), {method: mistake})
    toy_zoo.metrics.add(replace(brightness, factory=faulty))
    with pytest.raises(GanzooError, match=sentence):
        evaluator_of(toy_zoo, ["brightness@tiny"]).score(noise(50))


def test_a_metric_that_seeds_and_draws_does_not_disturb_training_s_random_numbers(toy_zoo, noise, brightness):
    class Drawing(brightness.factory):
        def compute(self, inputs):
            drawn = torch.rand(())
            torch.manual_seed(1)
            random.seed(1)
            np.random.seed(1)
            return super().compute(inputs) + drawn

    def state():
        return torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())

    toy_zoo.metrics.add(replace(brightness, factory=Drawing))
    evaluator, before = evaluator_of(toy_zoo, ["brightness@tiny"]), state()
    first = evaluator.score(noise(50))
    assert state() == before
    torch.rand(1)
    assert evaluator.score(noise(50)) == first


def test_a_protocol_is_known_before_the_score_is_computed(toy_zoo, noise, extractor):
    evaluator = evaluator_of(toy_zoo, ["all@tiny"])
    before = type(extractor).seen
    coming = {request.name: evaluator.protocol(request, 100, 5, "raw") for request in evaluator.requests}
    assert type(extractor).seen == before
    scores = evaluator.score(noise(100), sample_seed=5, weights="raw")
    assert scores
    for score in scores:
        assert score.protocol == coming[score.metric]
        stored = json.loads(json.dumps(score.record()))["protocol"]
        assert identity(stored) == identity(coming[score.metric])


def test_every_part_of_a_protocol_is_part_of_its_identity(toy_zoo, noise):
    evaluator = evaluator_of(toy_zoo)
    (request,) = evaluator.requests
    protocol = evaluator.protocol(request, 300, 5, "raw")
    assert identity(dict(reversed(protocol.items()))) == identity(protocol)
    for key in protocol:
        assert identity({**protocol, key: "other"}) != identity(protocol)
    train = Evaluator(["fid@tiny"], toy_zoo.datasets.get("toy"), {}, None, toy_zoo, CPU, split="train")
    assert identity(train.protocol(train.requests[0], 300, 5, "raw")) != identity(protocol)


def test_given_features_give_the_same_scores(toy_zoo, noise):
    images, evaluator = noise(100), evaluator_of(toy_zoo, ["fid@tiny", "is@tiny"])
    features = evaluator.features(images)
    assert evaluator.score(images, features=features) == evaluator.score(images)
    seen = extract("tiny", toy_zoo.extractors.get("tiny").create().eval(), images, CPU)
    assert torch.allclose(features["tiny"].values, seen.values, atol=1e-5)  # in the order of the images


class Rank:
    """One of two processes, the second of which begins when the first is done."""

    size = 2

    def __init__(self, rank, parts):
        self.rank, self.parts = rank, parts

    def all_reduce_sum(self, tensor):
        if self.rank == 0:
            self.parts.append(tensor.clone())
        else:
            tensor.add_(self.parts.pop(0))


@pytest.mark.parametrize("n", [3, 1207])
def test_two_processes_compute_the_same_features_as_one(toy_zoo, noise, n):
    images, parts = noise(n), []
    expected = evaluator_of(toy_zoo).features(images)["tiny"]
    missing = Entry("dataset", "missing", pytest.fail, "x", None, "tests", "0")  # no real images are loaded
    evaluator = Evaluator(["fid@tiny"], missing, {}, None, toy_zoo, CPU, reference=False)
    evaluator.features(images, Rank(0, parts))
    found = evaluator.features(images, Rank(1, parts))["tiny"]
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.logits, expected.logits)


def test_a_dataset_object_is_the_reference_and_its_halves_make_the_floor(toy_zoo, noise):
    real = split_of(toy_zoo, "test")
    evaluator = Evaluator(["all@tiny"], real, {}, None, toy_zoo, CPU)
    (fid,) = (request for request in evaluator.requests if request.name == "fid@tiny")
    scores = {one.metric.partition("@")[0]: one for one in evaluator.score(noise(100, top=200))}
    assert scores["fid"].value == scored(toy_zoo, noise(100, top=200), ["fid@tiny"])["fid"].value
    assert (scores["fid"].protocol["n_real"], scores["fid"].protocol["n_floor"]) == (600, 100)
    assert evaluator.score(noise(700), requests=[fid])[0].protocol["n_floor"] == 300
    assert scores["fid"].floor > 0
    assert "memorisation" not in scores
    with pytest.raises(GanzooError, match="'memorisation@tiny' cannot be computed: 'toy' has no other split"):
        Evaluator(["memorisation@tiny"], real, {}, None, toy_zoo, CPU)


@pytest.mark.parametrize(
    ("metric", "n", "sentence"),
    [
        (
            "precision",
            11,
            r"'precision@tiny' cannot be computed: real vs real needs at least 6 images on each side, but",
        ),
        ("fid", 3, "at least 2 images on each side, but there are 1 and 2"),
        ("kid", 3, "at least 2 images on each side, but there are 1 and 2"),
    ],
)
def test_a_reference_whose_halves_are_too_small_for_real_vs_real_is_refused(toy_zoo, noise, metric, n, sentence):
    few = Dataset("few", "test", noise(n, top=200))
    evaluator = Evaluator([f"{metric}@tiny"], few, {}, None, toy_zoo, CPU, anyway=True)
    with pytest.raises(GanzooError, match=sentence):
        evaluator.score(noise(50))


def test_a_built_in_metric_that_returns_no_number_blames_no_plugin(toy_zoo):
    (request,) = evaluator_of(toy_zoo).requests
    with pytest.raises(GanzooError, match=r"'fid@tiny' gave nan\. There are too few images for it") as raised:
        finite(request, float("nan"))
    assert "plugin" not in str(raised.value)


def test_a_cached_floor_depends_on_its_images_labels_and_formulas(toy_zoo, noise, cache, monkeypatch):
    turned = brighter = 0

    def changing(split, folder):
        found = split_of(toy_zoo, split)
        images = found.images + (brighter if split == "test" else 0)
        return replace(found, images=images, labels=(found.labels + turned) % 4)

    entry = Entry("dataset", "toy", changing, "x", None, "tests", "0")

    def floors():
        found = Evaluator(["accuracy@tiny", "fid@tiny"], entry, {}, None, toy_zoo, CPU, anyway=True)
        scores = found.score(noise(200), labels=torch.arange(200) % 4)
        return [one.floor for one in scores], len(list(cache.glob("floor-*")))

    before, files = floors()
    assert floors() == (before, files)
    turned = 1
    (accuracy, fid), more = floors()
    assert accuracy != before[0]
    assert fid == before[1]
    assert more > files
    brighter = 50
    (_, brightened), most = floors()
    assert brightened > 2 * fid
    monkeypatch.setattr(evaluation, "FORMULAS", evaluation.FORMULAS + 1)
    assert floors()[1] > most


def test_an_extractor_gets_batches_of_the_size_it_asks_for(noise, extractor, monkeypatch):
    seen = []
    monkeypatch.setattr(type(extractor), "batch_size", 40)
    extractor.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    extract("large", extractor, noise(100), CPU)
    assert seen == [40, 40, 20]
