"""``ganzoo.evaluate``: images in any layout, against a registered dataset or one that is passed in."""

import shutil

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import ganzoo
from ganzoo.api.dataset import to_pil
from ganzoo.data import as_dataset
from ganzoo.errors import GanzooError
from ganzoo.evaluation.evaluate import Pictures
from ganzoo.evaluation.protocol import identity


def evaluate(images, toy_zoo, metrics=("fid@tiny",), dataset="toy", device="cpu", **options):
    return ganzoo.evaluate(images, metrics, dataset, device=device, zoo=toy_zoo, **options)


@pytest.fixture
def expected(toy_zoo, noise):
    """The score of 100 images against the registered dataset."""
    (score,) = evaluate(noise(100), toy_zoo)
    return score


def test_every_layout_gives_the_same_score(toy_zoo, noise, expected):
    images = noise(100)
    assert expected.metric == "fid@tiny"
    assert expected.value > expected.floor > 0
    for same in (images[:, 0], images[:, 0].numpy(), images.permute(0, 2, 3, 1), images.repeat(1, 3, 1, 1).numpy()):
        assert evaluate(same, toy_zoo) == [expected]


def test_labels_split_seed_and_interval_are_passed_on(toy_zoo, noise):
    options = {"split": "train", "sample_seed": 7, "interval": True, "labels": [0, 1] * 50}
    fid, accuracy = evaluate(noise(100), toy_zoo, ["fid@tiny", "accuracy@tiny"], **options)
    assert (fid.protocol["split"], fid.protocol["sample_seed"]) == ("train", 7)
    assert fid.interval is not None
    assert 0 <= accuracy.value <= 1


def test_arrays_that_cannot_be_written_to_are_scored_without_a_warning(toy_zoo, noise):
    """NumPy sees JAX's arrays as read-only. torch would warn, and pytest makes that an error."""
    images, labels = noise(100).numpy(), np.arange(100) % 4
    expected = evaluate(images, toy_zoo, ["accuracy@tiny"], labels=labels)
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        for array in (images, labels):
            array.setflags(write=False)
        assert evaluate(images, toy_zoo, ["accuracy@tiny"], labels=labels) == expected
    finally:
        torch.set_warn_always(always)


def test_given_labels_override_the_pictures_own(toy_zoo, noise):
    images, labels = noise(100), torch.arange(100) % 4
    expected = evaluate(images, toy_zoo, ["accuracy@tiny"], labels=labels)
    for pictures in (Pictures(images), Pictures(images, labels), Pictures(images, 3 - labels)):
        assert evaluate(pictures, toy_zoo, ["accuracy@tiny"], labels=labels) == expected
    assert evaluate(Pictures(images, labels), toy_zoo, ["accuracy@tiny"]) == expected


@pytest.mark.parametrize("value", [float("nan"), 1.5])
def test_invalid_points_are_blamed_and_not_the_extractor(zoo, value):
    points = torch.zeros(50, 1, 1, 2)
    points[3, 0, 0, 1] = value
    with pytest.raises(GanzooError, match=r"^Got points outside of \[-1, 1\], or NaN\. Scale them"):
        ganzoo.evaluate(points, ["modes@ring"], "ring", device="cpu", zoo=zoo)


def test_changes_to_the_images_are_reported(toy_zoo, noise):
    said = []
    padded = np.pad(noise(50)[:, 0].numpy(), ((0, 0), (2, 2), (2, 2)))
    evaluate(padded, toy_zoo, crop=True, note=said.append)
    assert said == ["A black border was cut off, leaving 8x8 grey."]


def test_protocols_are_checked_before_anything_is_computed(toy_zoo, noise, extractor):
    evaluate(noise(50), toy_zoo)
    before, coming = type(extractor).seen, []

    def refuse(protocols):
        coming.extend(protocols)
        raise GanzooError("Not today.")

    with pytest.raises(GanzooError, match="Not today"):
        evaluate(noise(50), toy_zoo, check=refuse)
    assert type(extractor).seen == before
    (score,) = evaluate(noise(50), toy_zoo)
    ((name, protocol),) = coming
    assert (name, identity(protocol)) == (score.metric, identity(score.protocol))


@pytest.mark.parametrize(
    ("images", "options", "sentence"),
    [
        (torch.zeros(5, 1, 8, 8), {}, "Got values of type float32"),
        (torch.zeros(5, 1, 9, 9, dtype=torch.uint8), {}, "9x9 grey, but the dataset's are 8x8 grey"),
        (torch.zeros(5, 1, 8, 8, dtype=torch.uint8), {"split": "tset"}, "Unknown split 'tset'. Did you mean 'test'?"),
        (torch.zeros(5, 1, 8, 8, dtype=torch.uint8), {"device": "gpu"}, "Unknown device 'gpu'. Known: auto, cpu"),
    ],
)
def test_what_cannot_be_scored_is_refused(toy_zoo, images, options, sentence):
    with pytest.raises(GanzooError, match=sentence):
        evaluate(images, toy_zoo, **options)


def test_a_folder_or_an_npz_file_is_read(toy_zoo, noise, tmp_path):
    images, labels = noise(30), torch.arange(30) % 4
    expected = evaluate(images, toy_zoo, ["accuracy@tiny"], labels=labels)
    np.savez(tmp_path / "mine.npz", images=images.numpy(), labels=labels.numpy())
    assert evaluate(tmp_path / "mine.npz", toy_zoo, ["accuracy@tiny"]) == expected
    folder = tmp_path / "folder"
    folder.mkdir()
    for index, image in enumerate(images):
        to_pil(image).save(folder / f"{index:02}.png")
    assert evaluate(str(folder), toy_zoo) == evaluate(images, toy_zoo)
    with pytest.raises(GanzooError, match="No such file or folder: .*nothing. Give a folder of PNGs or an .npz file"):
        evaluate(str(tmp_path / "nothing"), toy_zoo)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(GanzooError, match="holds no PNGs.*To score a run, use `ganzoo eval`, or ganzoo.load"):
        evaluate(tmp_path, toy_zoo)


@pytest.mark.parametrize(
    ("given", "name", "split"),
    [
        (lambda real: real, "toy", "test"),
        (lambda real: real.images, "in-memory", "train"),
        (lambda real: (real.images, real.labels), "in-memory", "train"),
        (lambda real: (real.images / 255, real.labels), "in-memory", "train"),
        (lambda real: Pairs(real.images, real.labels), "pairs", "test"),
        (lambda real: Pairs(real.images / 255, real.labels), "pairs", "test"),
        (lambda real: Pairs([image[0].numpy() for image in real.images], real.labels), "pairs", "test"),
    ],
)
def test_images_in_any_form_are_the_reference(toy_zoo, noise, expected, given, name, split):
    real = toy_zoo.datasets.get("toy").create("test", None)
    (score,) = evaluate(noise(100), toy_zoo, dataset=given(real))
    assert score.value == expected.value
    assert score.protocol["reference_digest"] == expected.protocol["reference_digest"]
    assert (score.protocol["dataset"], score.protocol["split"]) == (name, split)


class Pairs(torch.utils.data.Dataset):
    """Pictures and classes, as torchvision's datasets return them."""

    classes = ("a", "b", "c", "d")

    def __init__(self, images, labels, train=False):
        self.images, self.labels, self.train = images, labels, train

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], int(self.labels[index])


def test_a_torch_dataset_keeps_its_classes_and_split(noise):
    found = as_dataset(Pairs(noise(8), torch.arange(8) % 4, train=True))
    assert (found.name, found.split, found.classes) == ("pairs", "train", ("a", "b", "c", "d"))
    assert found.labels.tolist() == [0, 1, 2, 3] * 2
    assert as_dataset(TensorDataset(noise(8))).labels is None


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (3, "Not a dataset: int"),
        (Pairs(torch.randn(4, 1, 8, 8), torch.zeros(4)), "floats that are not 256 levels between 0 and 1"),
        (Pairs(torch.zeros(4, 2, 8, 8, dtype=torch.uint8), torch.zeros(4)), r"shape \(2, 8, 8\)"),
        (Pairs([torch.zeros(1, 8, 8), torch.zeros(1, 9, 8)], torch.zeros(2)), "differ in size"),
        (
            (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0.9, 1.0])),
            "labels of type torch.float32 for 2 images",
        ),
        (
            (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([True, False])),
            "labels of type torch.bool for 2 images",
        ),
        ((torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([-1, 1])), "labels from -1 to 1"),
        (
            (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 10**9])),
            "labels from 0 to 1000000000 for up to 1000000 classes",
        ),
        (
            TensorDataset(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 10**9])),
            "labels from 0 to 1000000000",
        ),
        (
            TensorDataset(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([1.0, 0.7])),
            "item 0 has the target 1.0",
        ),
        ([(torch.zeros(1, 8, 8, dtype=torch.uint8), 0.5)], "item 0 has the target 0.5, which is not a class"),
        (
            torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16(),
            "floats that are not 256 levels",
        ),
    ],
)
def test_anything_but_a_dataset_of_pictures_is_refused(source, sentence):
    with pytest.raises(GanzooError, match=sentence):
        as_dataset(source)


def raises(features, logits, images):
    raise ValueError("no luck today")


ODD = [
    (raises, "The extractor 'tiny' failed: ValueError: no luck today."),
    (lambda features, logits, images: None, "The extractor 'tiny' failed: TypeError: 'NoneType' object"),
    (lambda features, logits, images: features, "The extractor 'tiny' returned features of type torch.float32 of"),
    (lambda features, logits, images: (features.numpy(), logits), "returned features of type ndarray."),
    (lambda features, logits, images: ((row for row in features), logits), "returned features of type generator."),
    (lambda features, logits, images: (features.long(), logits), "returned features of type torch.int64 of shape"),
    (lambda features, logits, images: (features + 1j, logits), "returned features of type torch.complex64"),
    (lambda features, logits, images: (features.to("meta"), logits), "The extractor 'tiny' failed: "),
    (lambda features, logits, images: (features.to_sparse(), logits), "The extractor 'tiny' failed: RuntimeError"),
    (lambda features, logits, images: (features[:0], logits), "returned features of type torch.float32 of shape (0, 1"),
    (lambda features, logits, images: (features[:, 1:], logits), "Its plugin declares 12 floats for each image."),
    (lambda features, logits, images: (features * float("nan"), logits), "returned features that are NaN or infinite."),
    (lambda features, logits, images: (features * float("inf"), logits), "returned features that are NaN or infinite."),
    (lambda features, logits, images: (features.double() * 1e300, logits), "features that are NaN or infinite."),
    (lambda features, logits, images: (features, logits * float("nan")), "returned logits that are NaN or infinite."),
    (lambda features, logits, images: (features, None), "returned logits of type NoneType"),
    (lambda features, logits, images: (features, logits[:, 1:]), "Its plugin declares 4 floats for each image."),
]


@pytest.mark.parametrize(("odd", "sentence"), ODD, ids=range(len(ODD)))
def test_an_odd_extractor_is_a_one_line_error(toy_zoo, noise, extractor, monkeypatch, odd, sentence):
    forward = type(extractor).forward
    monkeypatch.setattr(type(extractor), "forward", lambda self, images: odd(*forward(self, images), images))
    with pytest.raises(GanzooError) as raised:
        evaluate(noise(50), toy_zoo, ["fid@tiny", "accuracy@tiny"], labels=[0] * 50)
    assert sentence in str(raised.value)


def test_an_extractor_that_requires_gradients_gets_a_score(toy_zoo, noise, extractor, monkeypatch):
    expected = evaluate(noise(50), toy_zoo)
    forward = type(extractor).forward

    def watched(self, images):
        with torch.enable_grad():
            features, logits = forward(self, images)
            return features.detach().requires_grad_(), logits

    monkeypatch.setattr(type(extractor), "forward", watched)
    assert evaluate(noise(50), toy_zoo) == expected


def test_ones_own_pictures_are_read_as_for_training(toy_zoo, zoo, noise, tmp_path, monkeypatch):
    toy_zoo.datasets.add(zoo.datasets.get("image-folder"))
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    for index, image in enumerate(noise(200, seed=1, top=200)):
        to_pil(image).save(photos / f"{index:03}.png")
    archive = shutil.make_archive(str(photos), "zip", photos)
    scores = [evaluate(noise(50), toy_zoo, dataset=one) for one in ("./photos", "photos", photos, archive)]
    ((first,), *others) = scores
    assert first.value > first.floor > 0
    assert first.protocol["dataset_options"] == {"path": "photos", "size": "auto", "channels": "auto", "largest": None}
    assert first.protocol["n_real"] == 20  # the tenth that training holds out
    assert all((score.value, score.floor) == (first.value, first.floor) for (score,) in others)
    (trained,) = evaluate(noise(50), toy_zoo, dataset=photos, split="train")
    assert trained.protocol["n_real"] == 180


def test_too_few_real_images_for_any_metric_are_told(noise):
    images = noise(120)
    with pytest.raises(GanzooError, match=r"^Not scored by .*\. Give more images\.$"):
        ganzoo.evaluate(images, dataset=images)
