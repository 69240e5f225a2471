"""Each metric is what its name says, its settings are those it used, and names are parsed as people write them."""

from dataclasses import replace

import pytest
import torch

from ganzoo import Extractor, Features, MetricInputs, ModelMetric
from ganzoo.errors import GanzooError
from ganzoo.evaluation import intervals
from ganzoo.evaluation import metrics as functions
from ganzoo.evaluation.features import RealImages, extract
from ganzoo.evaluation.metrics import OURS, memorised
from ganzoo.evaluation.neighbours import manifolds, radii
from ganzoo.evaluation.requests import better, parse_metrics
from ganzoo.registry.registry import Entry

CPU = torch.device("cpu")
METRICS = {metric.name: metric for metric in OURS if not isinstance(metric, ModelMetric)}
"""Metrics of samples; those of a trained model are tested in ``test_model_metrics.py``."""
EVERY = [metric.name for metric in OURS]
N, N_REAL, N_TRAIN = 120, 90, 70


@pytest.fixture
def extractor(extractor, noise):
    """Centred, so that images fall into all of its classes."""
    extractor.head.bias -= extract("tiny", extractor, noise(100, top=200), CPU).logits.mean(0)
    return extractor


@pytest.fixture
def real_images(toy_zoo, extractor):
    """The first n images of a split of the toy dataset."""

    def first(split, n):
        whole = toy_zoo.datasets.get("toy").create(split, None)
        return RealImages(replace(whole, images=whole.images[:n], labels=whole.labels[:n]), {}, "tiny", extractor, CPU)

    return first


@pytest.fixture
def inputs(extractor, noise, real_images):
    """Noise that is darker than the toy dataset's."""
    samples = noise(N, top=150)
    train = real_images("train", N_TRAIN)
    return MetricInputs(
        n=N,
        extract=lambda: extract("tiny", extractor, samples, CPU),
        labels=torch.arange(N) % 4,
        real=real_images("test", N_REAL),
        training_set=lambda: train,
    )


def test_every_metric_is_the_number_its_name_says(inputs):
    fake, real, train = inputs.fake, inputs.real.features, inputs.training_set().features
    seen = manifolds(
        fake.values,
        real.values,
        coverage_radii=radii(real.values, 5),
        precision_radii=radii(real.values, 3),
        recall_radii=radii(fake.values, 3),
    )
    precision, recall = float(seen.precise.double().mean()), float(seen.recalled.any(0).double().mean())
    density, coverage = float(seen.held.double().mean()) / 5, float(seen.covered.any(0).double().mean())
    assert len({precision, recall, density, coverage}) == 4, "so that no metric can pass for another"
    expected = {
        "fid": functions.frechet_distance(Features(fake.values).statistics, Features(real.values).statistics),
        "fid-infinity": intervals.fid_infinity(fake.values, Features(real.values).statistics),
        "kid": functions.kernel_distance(fake.values, real.values)[0],
        "is": functions.classifier_score(fake.logits)[0],
        "precision": precision,
        "recall": recall,
        "density": density,
        "coverage": coverage,
        "class-coverage": functions.class_coverage(*map(functions.class_counts, (fake.logits, real.logits))),
        "class-entropy": functions.class_entropy(functions.class_counts(fake.logits)),
        "accuracy": float((fake.logits.argmax(1) == torch.arange(N) % 4).double().mean()),
        "memorisation": float(memorised(fake.values, train.values).double().mean()),
        "modes": functions.modes_found(functions.class_counts(fake.logits)),
        "kl": functions.kl_to_uniform(functions.class_counts(fake.logits)),
        "quality": len(functions.assigned(fake.logits)) / N,
    }
    assert {name: metric.compute(inputs) for name, metric in METRICS.items()} == expected


def test_classes_that_samples_lack_are_counted_among_those_of_real_images(inputs, real_images):
    one = inputs.real.features.logits.argmax(1).mode().values
    alone = torch.nn.functional.one_hot(one.repeat(N), 4).float()
    collapsed = replace(inputs, extract=lambda: replace(inputs.fake, logits=alone))
    shown = len(inputs.real.features.logits.argmax(1).unique())
    assert shown > 1
    assert METRICS["class-coverage"].compute(collapsed) == 1 / shown


def test_settings_are_what_a_score_depends_on(inputs):
    assert {name: dict(metric.settings(inputs)) for name, metric in METRICS.items()} == {
        "fid": {},
        "fid-infinity": {"points": 15, "smallest": "1/5", "metric_seed": 2020},
        "kid": {"subsets": 100, "subset_size": N_REAL, "metric_seed": 2020},
        "is": {"splits": 10, "metric_seed": 2020},
        "precision": {"neighbours": 3},
        "recall": {"neighbours": 3},
        "density": {"neighbours": 5},
        "coverage": {"neighbours": 5},
        "class-coverage": {"covered_from": 0.1},
        "class-entropy": {},
        "accuracy": {},
        "memorisation": {"n_train": N_TRAIN, "train_digest": inputs.training_set().key["content"]},
        "modes": {},
        "kl": {},
        "quality": {},
    }
    few = replace(inputs, n=7)
    assert METRICS["kid"].settings(few)["subset_size"] == 7
    assert METRICS["is"].settings(few)["splits"] == 3


def test_what_several_metrics_share_is_computed_once(inputs):
    looks = []

    def look():
        looks.append(1)
        return inputs.extract()

    counted = replace(inputs, extract=look)
    for metric in METRICS.values():
        metric.compute(counted)
    assert looks == [1]
    passes = {id(METRICS[name].manifolds(counted)) for name in ("precision", "recall", "density", "coverage")}
    assert len(passes) == 1


def test_the_smallest_number_of_images_that_a_metric_accepts_is_enough(inputs, extractor, noise, real_images):
    for name, metric in METRICS.items():
        few, n = noise(metric.least, top=150), metric.least
        smallest = MetricInputs(
            n,
            lambda few=few: extract("tiny", extractor, few, CPU),
            torch.zeros(n, dtype=torch.int64),
            real_images("test", n),
            lambda n=n: real_images("train", n),
        )
        assert torch.tensor(metric.compute(smallest)).isfinite(), name


NO_CLASSIFIER = "its extractor is not a classifier"
NO_CLASS = "its extractor assigns some images to no class"
EVERY_CLASS = "its extractor assigns every image to a class"
OTHER = "its extractor's classes are not those of 'toy'"


@pytest.mark.parametrize(
    ("attributes", "labels", "obstacles"),
    [
        ({"classes": 4}, True, {"quality": EVERY_CLASS}),
        ({"classes": 4}, False, {"quality": EVERY_CLASS, "accuracy": OTHER}),
        ({"classes": 5}, True, {"quality": EVERY_CLASS, "accuracy": OTHER}),
        (
            {"classes": 4, "rejects": True},
            True,
            dict.fromkeys(("is", "class-coverage", "class-entropy", "accuracy"), NO_CLASS),
        ),
        (
            {"classes": 0},
            True,
            dict.fromkeys(
                ("is", "class-coverage", "class-entropy", "accuracy", "modes", "kl", "quality"), NO_CLASSIFIER
            ),
        ),
    ],
)
def test_the_obstacles_to_each_metric(attributes, labels, obstacles, real_images):
    kind, dataset = type("Kind", (Extractor,), attributes), real_images("test", 10).dataset
    dataset = dataset if labels else replace(dataset, labels=None)
    found = {name: metric.obstacle(kind, dataset) for name, metric in METRICS.items()}
    assert {name: obstacle for name, obstacle in found.items() if obstacle is not None} == obstacles


def test_a_name_is_a_metric_in_an_extractor_s_features(toy_zoo):
    (request,) = parse_metrics(["kid@tiny"], toy_zoo)
    assert request.metric is METRICS["kid"]
    assert (request.extractor, request.by_name, request.name) == ("tiny", True, "kid@tiny")


@pytest.mark.parametrize(
    ("names", "found", "by_name"),
    [
        (["kid@tiny", "fid@tiny", "kid@tiny"], ["kid", "fid"], ["kid@tiny", "fid@tiny"]),
        (["all@tiny"], EVERY, []),
        (["all@tiny", "kid@tiny"], EVERY, ["kid@tiny"]),
        (["kid@tiny", "all@tiny"], ["kid", *(name for name in EVERY if name != "kid")], ["kid@tiny"]),
    ],
    ids=["twice", "all", "all and one", "one and all"],
)
def test_each_metric_is_requested_once_and_all_means_none_by_name(names, found, by_name, toy_zoo):
    requests = parse_metrics(names, toy_zoo)
    assert [request.name for request in requests] == [f"{name}@tiny" for name in found]
    assert [request.metric.name for request in requests] == found
    assert [request.name for request in requests if request.by_name] == by_name


@pytest.mark.parametrize(
    ("name", "sentence", "remedy"),
    [
        *(
            (
                name,
                f"The metric '{name}' does not name an extractor.",
                "Write <metric>@<extractor>, such as fid@mnist-cnn.",
            )
            for name in ("fid", "fid@", "all", "", "@")
        ),
        ("fdi@tiny", "Unknown metric 'fdi'.", "Did you mean 'fid'?"),
        ("al@tiny", "Unknown metric 'al'.", "Did you mean 'all'?"),
        ("recal@tiny", "Unknown metric 'recal'.", "Did you mean 'recall'?"),
        ("kid@odd@name", "Unknown extractor 'odd@name'.", ""),  # the first @ ends the metric
    ],
)
def test_a_name_without_a_metric_and_an_extractor_is_refused(name, sentence, remedy, metrics):
    with pytest.raises(GanzooError) as caught:
        parse_metrics([name], metrics)
    assert caught.value.sentence == sentence
    assert remedy in (caught.value.remedy or "")


def test_the_better_direction_is_built_in_for_our_metrics_and_from_the_zoo_for_others(metrics, brightness):
    assert (better("fid"), better("recall"), better("class-entropy")) == ("lower", "higher", "neither")
    metrics.metrics.add(brightness)
    assert better("brightness", metrics) == "neither"
    assert better("nobody-s", metrics) == "lower"


def test_what_is_not_a_metric_is_refused_with_its_plugin_s_name(metrics):
    metrics.metrics.add(Entry("metric", "odd", dict, "x", None, "somebody-s", "tests 0"))
    with pytest.raises(GanzooError, match="The metric 'odd' of plugin 'somebody-s' .tests 0. is a dict"):
        parse_metrics(["odd@tiny"], metrics)


def test_every_metric_but_two_has_an_interval_around_its_score(inputs, monkeypatch):
    monkeypatch.setattr(functions, "KID_SUBSET_SIZE", 40)
    for name, metric in METRICS.items():
        value = metric.compute(inputs)
        ends = metric.interval(inputs, value)
        if name == "fid-infinity" or ends is None:
            assert ends is None
            assert name in ("fid-infinity", "class-coverage", "modes"), name  # every resampling shows every class
            continue
        low, high = ends
        assert low <= value <= high, name
        assert metric.interval(inputs, value) == ends, name


def test_the_kernel_distance_s_interval_depends_on_its_samples(inputs):
    metric = METRICS["kid"]
    value, spread = functions.kernel_distance(inputs.fake.values, inputs.real.features.values)
    expected = intervals.kid_interval(inputs.fake.values, inputs.real.features.values, value, spread**2 / 100, CPU)
    assert metric.interval(inputs, value) == expected


def test_a_kernel_distance_of_two_samples_has_no_interval(inputs):
    two = replace(inputs, n=2, extract=lambda: inputs.fake[torch.arange(2)])
    assert METRICS["kid"].interval(two, METRICS["kid"].compute(two)) is None


def test_an_extractor_with_a_single_feature_gives_a_distance_with_an_interval():
    fake, real = torch.randn(200, 1) + 1, torch.randn(200, 1)
    statistics = Features(real).statistics
    assert statistics["sigma"].shape == (1, 1)
    # In one dimension it is the squared difference of means plus the squared difference of standard deviations.
    expected = (fake.mean() - real.mean()) ** 2 + (fake.std() - real.std()) ** 2
    value = functions.frechet_distance(Features(fake).statistics, statistics)
    assert value == pytest.approx(expected.item(), rel=1e-3)
    low, high = intervals.fid_interval(fake, statistics, value)
    assert low < value < high
