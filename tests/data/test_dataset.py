"""What a dataset may hold: pictures of 256 levels, or points that are not quantised."""

import numpy as np
import pytest
import torch

from ganzoo import Batch, Dataset, Features, Images, Points
from ganzoo.data import load_part
from ganzoo.errors import GanzooError
from ganzoo.registry.registry import Entry


def points(*values: float, shape: tuple[int, ...] = (1, 1, 2)) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).view(-1, *shape)


@pytest.mark.parametrize(
    ("samples", "kind", "shape"),
    [
        (torch.zeros(4, 3, 8, 6, dtype=torch.uint8), Images, (3, 8, 6)),
        (points(-1, 1, 0.25, 1e-7, 0, 0, 0, 0), Points, (1, 1, 2)),
    ],
)
def test_pictures_are_quantised_and_points_are_not(samples, kind, shape):
    dataset = Dataset("samples", "train", samples)
    assert dataset.modality == kind(*shape)
    assert (len(dataset), dataset.shape) == (4, shape)


@pytest.mark.parametrize(
    "made",
    [
        lambda: Dataset("same", "train", torch.zeros(4, 1, 8, 6, dtype=torch.uint8)),
        lambda: Batch(torch.zeros(4, 1, 8, 6), torch.zeros(4, dtype=torch.int64), torch.zeros(4, 2)),
        lambda: Features(torch.zeros(4, 2)),
    ],
)
def test_what_holds_tensors_is_compared_as_an_object(made):
    one, other = made(), made()
    assert one == one
    assert one != other
    assert len({one, other, one}) == 2


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(4, 1, 8, 8),
        torch.zeros(4, 2),
        torch.zeros(4, 3, 1, 2),
        torch.zeros(0, 1, 1, 2),
        torch.zeros(4, 1, 1, 0),
        torch.zeros(4, 1, 1, 2, dtype=torch.float64),
        torch.zeros(4, 2, 8, 8, dtype=torch.uint8),
        torch.zeros(0, 1, 8, 8, dtype=torch.uint8),
    ],
    ids=lambda images: f"{images.dtype} {tuple(images.shape)}",
)
def test_anything_between_pictures_and_points_is_refused(images):
    with pytest.raises(GanzooError, match="'odd'.*returned (images|samples) of (shape|2 channels)"):
        Dataset("odd", "test", images)


@pytest.mark.parametrize("value", [1.001, -2.0, float("nan"), float("inf")])
def test_points_that_no_generator_can_draw_are_refused(value):
    with pytest.raises(GanzooError, match=r"'odd' \(test\) returned points outside of \[-1, 1\]"):
        Dataset("odd", "test", points(0.5, value))


@pytest.mark.parametrize(
    ("labels", "classes", "sentence"),
    [
        ([0, -1, 1], ("a", "b"), "labels from -1 to 1 for 2 classes"),
        ([0, 1, 2], ("a", "b"), "labels from 0 to 2 for 2 classes"),
        ([0, -1, 1], (), "labels from -1 to 1 for up to 1000000 classes"),
        ([0, 1, 10**6], (), "labels from 0 to 1000000 for up to 1000000 classes"),
    ],
)
def test_labels_without_a_class_are_refused(labels, classes, sentence):
    images = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(GanzooError, match=rf"'odd' \(test\) returned {sentence}"):
        Dataset("odd", "test", images, torch.tensor(labels), classes)
    assert Dataset("odd", "test", images, torch.tensor([0, 1, 1]), classes).labels is not None


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ({"images": np.zeros((2, 1, 4, 4), np.uint8)}, "'images' as ndarray"),
        ({"labels": [0, 1]}, "'labels' as list"),
        ({"labels": np.zeros(2, np.int64)}, "'labels' as ndarray"),
        ({"columns": {"source": [0, 1]}}, "'source' as list"),
    ],
)
def test_what_is_no_tensor_is_named(what, sentence):
    with pytest.raises(
        GanzooError, match=rf"'odd' \(test\) returned {sentence}, not as a tensor\. Use torch\.from_numpy"
    ):
        Dataset(**{"name": "odd", "split": "test", "images": torch.zeros(2, 1, 4, 4, dtype=torch.uint8), **what})


def test_classes_without_names_are_called_by_their_numbers():
    images = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    found = Dataset("plain", "train", images, torch.tensor([2, 0, 0]))
    assert found.classes == ("0", "1", "2")
    assert found.rows(torch.tensor([1])).classes == found.classes


@pytest.mark.parametrize(
    ("name", "split", "part"), [("odd", "train", "test"), ("odd", "test", "validation"), ("even", "train", "train")]
)
def test_a_dataset_that_returns_another_one_or_another_split_is_refused(name, split, part):
    def factory(asked, folder):
        return Dataset(name, split, torch.zeros(4, 1, 4, 4, dtype=torch.uint8))

    entry = Entry("dataset", "odd", factory, "x", None, "tests", "0")
    asked = "test" if part == "test" else "train"
    with pytest.raises(GanzooError, match=rf"The dataset 'odd' returned '{name}' \({split}\) for its {asked} split\."):
        load_part(entry, {}, None, part, validation=2)
