"""Each metric is what its name says, its settings are those it used, and names are read as people write them."""

from dataclasses import replace

import pytest
import torch

from ganzoo import Extractor
from ganzoo.errors import GanzooError
from ganzoo.evaluation import extrapolation, metrics, torch_fidelity
from ganzoo.evaluation.features import extract
from ganzoo.evaluation.metrics import METRICS, Case, memorised, parse, parse_all
from ganzoo.evaluation.neighbours import density_and_coverage, radii
from ganzoo.evaluation.reference_cache import RealImages

CPU = torch.device("cpu")
N, N_REAL, N_TRAIN = 120, 90, 70


@pytest.fixture
def extractor(extractor, noise):
    """Centred, so that images fall into all of its classes."""
    extractor.head.bias -= extract("tiny", extractor, noise(100, top=200), CPU).logits.mean(0)
    return extractor


@pytest.fixture
def real_images(world, extractor):
    """The first n images of a split of the toy dataset."""

    def first(split, n):
        whole = world.datasets.get("toy").create(split, None)
        return RealImages(replace(whole, images=whole.images[:n], labels=whole.labels[:n]), {}, "tiny", extractor, CPU)

    return first


@pytest.fixture
def case(extractor, noise, real_images):
    """Noise that is darker than the toy dataset's."""
    samples = noise(N, top=150)
    train = real_images("train", N_TRAIN)
    return Case(
        n=N,
        look=lambda: extract("tiny", extractor, samples, CPU),
        labels=torch.arange(N) % 4,
        real=real_images("test", N_REAL),
        training_set=lambda: train,
    )


def test_every_metric_is_the_number_its_name_says(case):
    fake, real, train = case.fake, case.real.features, case.training_set().features
    precision, recall = torch_fidelity.precision_and_recall(fake.values, real.values)
    density, coverage = density_and_coverage(fake.values, real.values, radii(real.values, 5), 5)
    assert len({precision, recall, density, coverage}) == 4, "so that none can be taken for another"
    expected = {
        "fid": torch_fidelity.frechet_distance(
            torch_fidelity.statistics(fake.values), torch_fidelity.statistics(real.values)
        ),
        "fid-infinity": extrapolation.fid_infinity(fake.values, torch_fidelity.statistics(real.values)),
        "kid": torch_fidelity.kernel_distance(fake.values, real.values),
        "is": torch_fidelity.classifier_score(fake.logits),
        "precision": precision,
        "recall": recall,
        "density": density,
        "coverage": coverage,
        "class-coverage": metrics.class_coverage(fake.logits, real.logits),
        "class-entropy": metrics.class_entropy(fake.logits),
        "accuracy": metrics.accuracy(fake.logits, torch.arange(N) % 4),
        "memorisation": memorised(fake.values, train.values),
        "modes": metrics.modes_found(fake.logits),
        "kl": metrics.kl_to_uniform(fake.logits),
        "quality": metrics.quality(fake.logits),
    }
    assert {name: metric.compute(case) for name, metric in METRICS.items()} == expected


def test_classes_that_samples_lack_are_counted_among_those_of_real_images(case, real_images):
    one = case.real.features.logits.argmax(1).mode().values
    alone = torch.nn.functional.one_hot(one.repeat(N), 4).float()
    collapsed = replace(case, look=lambda: replace(case.fake, logits=alone))
    shown = len(case.real.features.logits.argmax(1).unique())
    assert shown > 1
    assert METRICS["class-coverage"].compute(collapsed) == 1 / shown


def test_settings_are_what_a_score_depends_on(case):
    assert {name: dict(metric.settings(case)) for name, metric in METRICS.items()} == {
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
        "memorisation": {"n_train": N_TRAIN, "train_digest": case.training_set().key["content"]},
        "modes": {},
        "kl": {},
        "quality": {},
    }
    few = replace(case, n=7)
    assert METRICS["kid"].settings(few)["subset_size"] == 7
    assert METRICS["is"].settings(few)["splits"] == 3


def test_what_several_metrics_share_is_computed_once(case):
    looks = []

    def look():
        looks.append(1)
        return case.look()

    counted = replace(case, look=look)
    for metric in METRICS.values():
        metric.compute(counted)
    assert looks == [1]
    assert counted.precision_and_recall is counted.precision_and_recall
    assert counted.density_and_coverage is counted.density_and_coverage


def test_as_many_images_as_a_metric_takes_are_enough(case, extractor, noise, real_images):
    for name, metric in METRICS.items():
        few, n = noise(metric.least, top=150), metric.least
        smallest = Case(
            n,
            lambda few=few: extract("tiny", extractor, few, CPU),
            torch.zeros(n, dtype=torch.int64),
            real_images("test", n),
            lambda n=n: real_images("train", n),
        )
        assert torch.tensor(metric.compute(smallest)).isfinite(), name


class Rejecting(Extractor):
    classes = 4
    rejects = True


class Plain(Extractor):
    classes = 0


class OtherClasses(Extractor):
    classes = 5


class Classifier(Extractor):
    classes = 4


NO_CLASSIFIER = "its extractor is no classifier"
NO_CLASS = "its extractor puts some images into no class"
EVERY_CLASS = "its extractor puts every image into a class"
OTHER = "its extractor tells other classes apart than those of 'toy'"


@pytest.mark.parametrize(
    ("kind", "obstacles"),
    [
        (Classifier, {"quality": EVERY_CLASS}),
        (OtherClasses, {"quality": EVERY_CLASS, "accuracy": OTHER}),
        (Rejecting, dict.fromkeys(("is", "class-coverage", "class-entropy", "accuracy"), NO_CLASS)),
        (
            Plain,
            dict.fromkeys(
                ("is", "class-coverage", "class-entropy", "accuracy", "modes", "kl", "quality"), NO_CLASSIFIER
            ),
        ),
    ],
)
def test_what_stands_in_the_way_of_a_metric(kind, obstacles, real_images):
    dataset = real_images("test", 10).dataset
    found = {name: metric.obstacle(kind, dataset) for name, metric in METRICS.items()}
    assert {name: obstacle for name, obstacle in found.items() if obstacle is not None} == obstacles


def test_accuracy_takes_a_dataset_with_labels(real_images):
    dataset = replace(real_images("test", 10).dataset, labels=None)
    assert METRICS["accuracy"].obstacle(Classifier, dataset) == OTHER
    assert METRICS["fid"].obstacle(Classifier, dataset) is None


def test_a_name_is_a_metric_in_an_extractor_s_features():
    (wanted,) = parse("kid@tiny")
    assert wanted.metric is METRICS["kid"]
    assert (wanted.extractor, wanted.by_name, wanted.name) == ("tiny", True, "kid@tiny")


def test_all_names_every_metric_and_asks_for_none_of_them_by_name():
    found = parse("all@tiny")
    assert [wanted.name for wanted in found] == [f"{name}@tiny" for name in METRICS]
    assert [wanted.metric for wanted in found] == list(METRICS.values())
    assert {wanted.by_name for wanted in found} == {False}


@pytest.mark.parametrize("name", ["fid", "fid@", "", "@"])
def test_a_name_without_an_extractor_is_refused(name):
    with pytest.raises(GanzooError) as caught:
        parse(name)
    assert caught.value.sentence == f"The metric '{name}' names no extractor."
    assert caught.value.remedy == "Write <metric>@<extractor>, such as fid@mnist-cnn."


@pytest.mark.parametrize(("name", "meant"), [("fdi", "fid"), ("al", "all"), ("recal", "recall")])
def test_an_unknown_metric_is_refused_with_the_nearest_name(name, meant):
    with pytest.raises(GanzooError) as caught:
        parse(f"{name}@tiny")
    assert caught.value.sentence == f"There is no metric called '{name}' (in '{name}@tiny')."
    assert caught.value.remedy == f"Did you mean '{meant}'?"


def test_a_metric_that_is_asked_for_twice_is_there_once():
    found = parse_all(["kid@tiny", "fid@tiny", "fid@other", "kid@tiny"])
    assert [wanted.name for wanted in found] == ["kid@tiny", "fid@tiny", "fid@other"]


@pytest.mark.parametrize("names", [["all@tiny", "kid@tiny"], ["kid@tiny", "all@tiny"]])
def test_what_was_asked_for_by_name_stays_so_among_all(names):
    found = parse_all(names)
    assert len(found) == len(METRICS)
    assert [wanted.name for wanted in found if wanted.by_name] == ["kid@tiny"]


def test_the_first_at_sign_ends_the_metric():
    (wanted,) = parse("kid@odd@name")
    assert (wanted.metric.name, wanted.extractor) == ("kid", "odd@name")
