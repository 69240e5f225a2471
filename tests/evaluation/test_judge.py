"""Scores with floor and protocol, from a toy world."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from ganzoo.errors import GanzooError
from ganzoo.evaluation.evaluator import Judge
from ganzoo.evaluation.features import extract
from ganzoo.evaluation.metrics import METRICS
from ganzoo.evaluation.protocol import comparable, describe
from ganzoo.evaluation.torch_fidelity import frechet_distance
from ganzoo.recipes.schema import METRICS as RECIPE_METRICS
from ganzoo.registry.registry import Entry

CPU = torch.device("cpu")


def judge(world, metrics=("fid@tiny",), **options):
    return Judge(metrics, world.datasets.get("toy"), options, None, world, CPU)


def test_a_score_is_the_distance_to_the_test_images(world, extractor, noise):
    images = noise(300)
    (measured,) = judge(world).score(images)
    real = world.datasets.get("toy").create("test", None).images
    expected = frechet_distance(*(extract("tiny", extractor, some, CPU).statistics for some in (images, real)))
    assert measured.metric == "fid@tiny"
    assert measured.value == pytest.approx(expected, rel=1e-9)


def test_a_protocol_names_all_that_the_score_depends_on(world, extractor, noise):
    (measured,) = judge(world).score(noise(300), sample_seed=5, weights="ema")
    protocol = json.loads(json.dumps(measured.protocol))
    assert protocol == {
        "metric": "fid",
        "extractor": "tiny",
        "extractor_digest": extractor.digest,
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
    assert measured.record(images=10, seconds=1.5) == {
        "metric": "fid@tiny",
        "value": measured.value,
        "floor": measured.floor,
        "weights": "ema",
        "images": 10,
        "seconds": 1.5,
        "protocol": measured.protocol,
    }
    assert describe(protocol).startswith("300 against 600 toy test images, tiny ")


def test_the_floor_is_what_as_many_train_images_score(world):
    train = world.datasets.get("toy").create("train", None).images
    jury = judge(world)
    (whole,) = jury.score(train)
    assert whole.floor == pytest.approx(whole.value, rel=1e-6)  # all of them, in another order
    (part,) = jury.score(train[:200])
    assert part.floor == pytest.approx(part.value, rel=0.5)
    assert part.floor > 1.5 * whole.floor  # fewer samples, more bias


def test_a_floor_of_fewer_images_than_samples_says_so(world, noise):
    (measured,) = judge(world).score(noise(1000))
    assert measured.protocol["n_floor"] == 900


def test_noise_of_another_brightness_scores_far_above_the_floor(world, noise):
    (measured,) = judge(world).score(noise(300, top=100))
    assert measured.value > 20 * measured.floor


def test_references_and_floors_are_cached(world, cache, noise):
    kind = type(world.extractors.get("tiny").create())
    images = noise(300)
    (first,) = judge(world).score(images)
    assert sorted(path.name.split("-")[0] for path in cache.iterdir()) == ["features", "features", "floor"]
    before = kind.seen
    (second,) = judge(world).score(images)
    assert kind.seen - before == 300  # only the samples
    assert (second.value, second.floor) == (first.value, first.floor)


def test_a_dataset_of_other_options_has_other_references(world, noise):
    (plain,) = judge(world).score(noise(100))
    (shifted,) = judge(world, shift=40).score(noise(100))
    assert shifted.floor != plain.floor
    assert shifted.value != plain.value
    with pytest.raises(GanzooError, match="shift"):
        comparable(plain.protocol, shifted.protocol)


def test_a_floor_belongs_to_its_test_images(world, noise):
    brighter = 0

    def changing(split, folder):
        found = world.datasets.get("toy").create(split, None)
        return replace(found, images=found.images + (brighter if split == "test" else 0))

    entry = Entry("dataset", "toy", changing, "x", None, "tests", "0")
    (before,) = Judge(["fid@tiny"], entry, {}, None, world, CPU).score(noise(50))
    brighter = 50
    (after,) = Judge(["fid@tiny"], entry, {}, None, world, CPU).score(noise(50))
    assert after.floor > 2 * before.floor


def test_scoring_is_deterministic_and_leaves_random_state_alone(world, noise):
    jury = judge(world)
    before = torch.get_rng_state()
    first, second = jury.score(noise(64)), jury.score(noise(64))
    assert first == second
    assert torch.equal(torch.get_rng_state(), before)


def test_a_metric_asked_for_twice_is_measured_once(world, noise):
    assert len(judge(world, ["fid@tiny", "fid@tiny"]).score(noise(10))) == 1


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (torch.zeros(5, 1, 8, 8), "float32"),
        (torch.zeros(5, 8, 8, dtype=torch.uint8), r"\(5, 8, 8\)"),
        (torch.zeros(5, 1, 9, 8, dtype=torch.uint8), "8x8 grey, and these are of 9x8 grey"),
        (torch.zeros(5, 3, 8, 8, dtype=torch.uint8), "these are of 8x8 RGB"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), "1 images cannot be scored"),
    ],
)
def test_images_that_do_not_fit_are_refused(world, images, sentence):
    with pytest.raises(GanzooError, match=sentence):
        judge(world).score(images)


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        ("fid", "names no extractor"),
        ("fid@", "names no extractor"),
        ("fdi@tiny", "no metric called 'fdi'.*Did you mean 'fid'"),
        ("fid@tinny", "Unknown extractor 'tinny'.*Did you mean 'tiny'"),
    ],
)
def test_unknown_metrics_are_refused(world, metric, sentence):
    with pytest.raises(GanzooError, match=sentence):
        judge(world, [metric])


def test_a_dataset_of_another_shape_is_refused_before_training(world):
    def large(split, folder):
        small = world.datasets.get("toy").create(split, None)
        return type(small)("large", split, small.images.repeat(1, 1, 2, 2))

    with pytest.raises(GanzooError, match="8x8 grey, and these are of 16x16 grey"):
        Judge(["fid@tiny"], Entry("dataset", "large", large, "x", None, "tests", "0"), {}, None, world, CPU)


def test_an_extractor_that_breaks_its_promise_is_named(world, noise, extractor):
    class Broken(type(extractor)):
        def forward(self, images):
            features, logits = super().forward(images)
            return features * float("nan"), logits

    world.extractors.add(Entry("extractor", "broken", Broken, "x", None, "tests", "0"))
    with pytest.raises(GanzooError, match="'broken'"):
        judge(world, ["fid@broken"])


def test_scores_that_differ_only_in_what_was_sampled_are_comparable(world, noise):
    jury = judge(world)
    (a,) = jury.score(noise(100), sample_seed=0, weights="ema")
    (b,) = jury.score(noise(100, seed=1), sample_seed=1, weights="raw")
    comparable(a.protocol, b.protocol)


def test_scores_of_different_counts_or_extractors_are_not(world, noise):
    jury = judge(world)
    (a,), (b,) = jury.score(noise(100)), jury.score(noise(120))
    with pytest.raises(GanzooError, match=r"cannot be compared \(n_fake: 100 and 120\)"):
        comparable(a.protocol, b.protocol)
    with pytest.raises(GanzooError, match="extractor_digest"):
        comparable(a.protocol, {**a.protocol, "extractor_digest": "0" * 64})
    with pytest.raises(GanzooError, match="resizing"):
        comparable(a.protocol, {key: value for key, value in a.protocol.items() if key != "resizing"})


def scored(world, images, metrics=("all@tiny",), labels=None, split="test", **options):
    jury = Judge(metrics, world.datasets.get("toy"), options, None, world, CPU, split=split)
    return {one.metric.partition("@")[0]: one for one in jury.score(images, labels=labels)}


def split_of(world, split):
    return world.datasets.get("toy").create(split, None)


def test_recipes_may_ask_for_every_metric_there_is():
    assert list(METRICS) == list(RECIPE_METRICS)


def test_all_is_every_metric_that_applies(world, noise):
    found = scored(world, noise(300))
    without_labels = [name for name, metric in METRICS.items() if not metric.labels and metric.rejecting != "needs"]
    assert list(found) == without_labels
    assert {"fid", "kid", "is", "precision", "recall", "density", "coverage", "memorisation"} <= found.keys()
    labelled = scored(world, noise(300), labels=torch.arange(300) % 4)
    assert list(labelled) == [name for name, metric in METRICS.items() if metric.rejecting != "needs"]
    assert {name: labelled[name] for name in found} == found


def test_features_are_computed_once_for_all_metrics(world, noise):
    kind = type(world.extractors.get("tiny").create())
    scored(world, noise(300))
    before = kind.seen
    scored(world, noise(300, seed=5))
    assert kind.seen - before == 300


def test_the_order_of_samples_changes_nothing_at_all(world, noise):
    images, labels, order = noise(200), torch.arange(200) % 4, torch.randperm(200)
    assert scored(world, images, labels=labels) == scored(world, images[order], labels=labels[order])


def test_batch_size_changes_nothing_beyond_rounding(world, noise, monkeypatch):
    images, labels = noise(200), torch.arange(200) % 4
    large = scored(world, images, labels=labels)
    monkeypatch.setattr("ganzoo.evaluation.evaluator.extract", partial(extract, batch_size=7))
    small = scored(world, images, labels=labels)
    for name, one in large.items():
        assert small[name].value == pytest.approx(one.value, rel=1e-4, abs=1e-6), name


def test_every_metric_has_a_floor_which_is_what_real_images_score(world):
    train = split_of(world, "train")
    found = scored(world, train.images, labels=train.labels)
    for name, one in found.items():
        if name not in ("memorisation", "accuracy"):
            # All of them, in another order: what is drawn inside a metric differs.
            assert one.floor == pytest.approx(one.value, rel=0.1, abs=0.002), name
            assert one.protocol["n_floor"] == 900
        else:
            assert one.protocol["n_floor"] == 600


def test_training_images_are_copies_and_test_images_are_the_floor(world):
    assert scored(world, split_of(world, "train").images)["memorisation"].value == 1
    held_out = scored(world, split_of(world, "test").images)["memorisation"]
    assert held_out.value == held_out.floor < 0.5


def test_accuracy_is_of_the_labels_that_belong_to_the_images(world, extractor, noise):
    images = noise(200)
    predicted = extract("tiny", extractor, images, CPU).logits.argmax(1)
    wrong = predicted.clone()
    wrong[:50] = (wrong[:50] + 1) % 4
    assert scored(world, images, ["accuracy@tiny"], labels=predicted)["accuracy"].value == 1
    assert scored(world, images, ["accuracy@tiny"], labels=wrong)["accuracy"].value == 0.75


def test_against_the_training_split_the_floor_is_of_the_test_images(world):
    test = split_of(world, "test").images
    found = scored(world, test, ["fid@tiny", "memorisation@tiny"], split="train")
    assert found["fid"].protocol["split"] == "train"
    assert (found["fid"].protocol["n_real"], found["fid"].protocol["n_floor"]) == (900, 600)
    assert found["fid"].value == pytest.approx(found["fid"].floor, rel=1e-6)
    assert found["memorisation"].value == scored(world, test)["memorisation"].value


def test_settings_of_a_metric_are_in_its_protocol(world, noise):
    found = {name: one.protocol for name, one in scored(world, noise(300)).items()}
    assert (found["kid"]["subsets"], found["kid"]["subset_size"], found["kid"]["metric_seed"]) == (100, 300, 2020)
    assert (found["is"]["splits"], found["recall"]["neighbours"], found["coverage"]["neighbours"]) == (10, 3, 5)
    assert found["memorisation"]["n_train"] == 900
    with pytest.raises(GanzooError, match="subset_size: 300 and 200"):
        comparable(found["kid"], scored(world, noise(200))["kid"].protocol)


def test_an_interval_is_stored_where_it_was_asked_for(world, noise):
    jury = judge(world, ["fid@tiny", "kid@tiny"])
    fid, kid = jury.score(noise(300), interval=True)
    low, high = fid.record()["interval"]
    assert low < fid.value < high
    assert "interval" not in kid.record()
    assert "interval" not in jury.score(noise(300))[0].record()


@pytest.mark.parametrize(
    ("metric", "labels", "sentence"),
    [
        ("accuracy", None, "'accuracy@tiny' takes images that were asked to be of a class"),
        ("accuracy", torch.full((30,), 4), "labels for 'accuracy@tiny' are 30 from 4 to 4"),
        ("accuracy", torch.full((30,), -1), "from -1 to -1"),
        ("accuracy", torch.zeros(29, dtype=torch.int64), "are 29 from 0 to 0"),
        ("fid-infinity", None, "'fid-infinity@tiny' cannot be measured on 30 images"),
    ],
)
def test_metrics_that_lack_something_are_refused(world, noise, metric, labels, sentence):
    with pytest.raises(GanzooError, match=sentence):
        scored(world, noise(30), [f"{metric}@tiny"], labels=labels)


def test_a_metric_of_classes_takes_a_classifier(world, noise, extractor):
    class Plain(type(extractor)):
        classes = 0

        def forward(self, images):
            return super().forward(images)[0], None

    world.extractors.add(Entry("extractor", "plain", Plain, "x", None, "tests", "0"))
    with pytest.raises(GanzooError, match="'is@plain' cannot be measured: its extractor is no classifier"):
        judge(world, ["is@plain"])
    found = scored(world, noise(100), ["all@plain"])
    assert "coverage" in found
    assert "is" not in found
