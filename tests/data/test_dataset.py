"""What a dataset may hold: pictures of 256 levels, or points that are not quantised."""

import pytest
import torch

from ganzoo import Images, Points
from ganzoo.api.dataset import ImageDataset
from ganzoo.errors import GanzooError


def points(*values: float, shape: tuple[int, ...] = (1, 1, 2)) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).view(-1, *shape)


def test_pictures_are_quantised():
    dataset = ImageDataset("pictures", "train", torch.zeros(4, 3, 8, 6, dtype=torch.uint8))
    assert dataset.modality == Images(*dataset.shape)
    assert dataset.shape == (3, 8, 6)


def test_points_are_not():
    dataset = ImageDataset("points", "train", points(-1, 1, 0.25, 1e-7))
    assert dataset.modality == Points(*dataset.shape)
    assert dataset.shape == (1, 1, 2)
    assert len(dataset) == 2


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
    with pytest.raises(GanzooError, match="'odd'.*returned (images|samples) of shape"):
        ImageDataset("odd", "test", images)


@pytest.mark.parametrize("value", [1.001, -2.0, float("nan"), float("inf")])
def test_points_that_no_generator_can_draw_are_refused(value):
    with pytest.raises(GanzooError, match=r"'odd' \(test\) returned points outside of \[-1, 1\]"):
        ImageDataset("odd", "test", points(0.5, value))


@pytest.mark.parametrize(
    ("labels", "classes", "sentence"),
    [
        ([0, -1, 1], ("a", "b"), "labels from -1 to 1 for 2 classes"),
        ([0, 1, 2], ("a", "b"), "labels from 0 to 2 for 2 classes"),
        ([0, -1, 1], (), r"labels from -1 to 1\."),
    ],
)
def test_labels_without_a_class_are_refused(labels, classes, sentence):
    images = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(GanzooError, match=rf"'odd' \(test\) returned {sentence}"):
        ImageDataset("odd", "test", images, torch.tensor(labels), classes)
    assert ImageDataset("odd", "test", images, torch.tensor([0, 1, 1]), classes).labels is not None
