"""What a modality makes of samples: pictures, quantisation, files."""

import gc
import json

import numpy as np
import pytest
import torch
from PIL import Image

import ganzoo
from ganzoo import GanzooError, Images, Modality, Points
from ganzoo.api.dataset import GAP, png, recorded


class Ticks(Modality):
    """A plugin's own: series of numbers, played as text."""

    name = "ticks"
    stored = torch.float32
    quantisation = "none"
    suffixes = (".txt", ".png", ".npz")
    playable = ".txt"

    def __init__(self, *shape, rate=10):
        super().__init__(*shape)
        self.rate = rate

    def options(self):
        return {"rate": self.rate}

    def to_network(self, samples):
        return samples

    def from_network(self, outputs):
        return outputs.float()

    def picture(self, samples, columns=None):
        return (samples.flatten(1)[None].clamp(0, 1) * 255).to(torch.uint8)

    def encoded(self, suffix, samples, labels=None):
        if suffix != ".txt":
            return super().encoded(suffix, samples, labels)
        return f"{self.rate} a second\n{samples.flatten().tolist()}".encode()


def grid(images, columns=None):
    return Images(*images.shape[1:]).picture(images, columns)


def scatter(points):
    return Points(*points.shape[1:]).picture(points)


@pytest.mark.parametrize(
    ("kind", "shape", "words"),
    [
        (Images, (28,), r"channels, height and width, not the shape \(28,\)"),
        (Points, (2,), r"the shape \(1, 1, d\), not \(2,\)"),
        (Points, (2, 1, 2), r"the shape \(1, 1, d\), not \(2, 1, 2\)"),
    ],
)
def test_a_modality_refuses_another_one_s_shape(kind, shape, words):
    with pytest.raises(GanzooError, match=words):
        kind(*shape)


def test_images_are_grey_or_rgb_in_a_dataset():
    assert [str(Images(channels, 8, 6)) for channels in (1, 3)] == ["8x6 grey images", "8x6 RGB images"]
    assert str(Images(4, 8, 6)) == "8x6 images of 4 channels"  # what a discriminator of four at once is built for
    with pytest.raises(GanzooError, match="returned images of 4 channels, not 1 or 3"):
        ganzoo.Dataset("odd", "train", torch.zeros(2, 4, 8, 6, dtype=torch.uint8), modality=Images(4, 8, 6))


def test_samples_are_written_in_formats_that_the_suffix_names_alone(tmp_path):
    with pytest.raises(GanzooError, match=r"Samples cannot be written as a '\.jpg' file\. Use \.png or \.npz\."):
        Images(1, 8, 8).write(tmp_path / "a.jpg", torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(GanzooError, match=r"Use \.txt or \.png or \.npz\."):
        Ticks(1, 8).write(tmp_path / "a.mp3", torch.zeros(2, 1, 8))
    assert list(tmp_path.iterdir()) == []


def test_each_image_lies_in_its_cell_with_a_black_gap():
    images = torch.stack([torch.full((1, 3, 4), 10 * (i + 1), dtype=torch.uint8) for i in range(5)])
    picture = grid(images, columns=2)
    assert picture.shape == (1, 3 * (3 + GAP) + GAP, 2 * (4 + GAP) + GAP)
    for i in range(5):
        top, left = GAP + i // 2 * (3 + GAP), GAP + i % 2 * (4 + GAP)
        assert (picture[0, top : top + 3, left : left + 4] == 10 * (i + 1)).all()
    assert picture.int().sum() == 12 * (10 + 20 + 30 + 40 + 50)


@pytest.mark.parametrize(
    ("n", "across", "down"), [(64, 8, 8), (60, 10, 6), (50, 10, 5), (10, 4, 3), (3, 2, 2), (1, 1, 1)]
)
def test_a_square_or_whole_rows_are_chosen_where_columns_are_not_given(n, across, down):
    assert grid(torch.zeros(n, 1, 28, 28, dtype=torch.uint8)).shape == (1, down * 30 + 2, across * 30 + 2)


def test_png_files_hold_the_same_pixels(tmp_path):
    for channels in (1, 3):
        picture = torch.randint(256, (channels, 9, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        (tmp_path / "grid.png").write_bytes(png(picture))
        with Image.open(tmp_path / "grid.png") as image:
            pixels = np.atleast_3d(np.asarray(image))
        assert np.array_equal(pixels, picture.permute(1, 2, 0).numpy())


def test_points_are_drawn_to_the_right_and_upwards():
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [1.0, 1.0], [5.0, 1.0]]).view(-1, 1, 1, 2)
    picture = scatter(corners)
    assert picture.shape == (1, 384, 384)
    assert picture[0, -1, 0] == picture[0, -1, -1] == 96
    assert picture[0, 0, -1] == 255  # two points, and one from outside
    assert (picture > 0).sum() == 3 * 4  # of a dot in a corner, 2x2 pixels lie within


def test_a_point_in_the_middle_lies_in_the_middle():
    rows, columns = scatter(torch.zeros(1, 1, 1, 2))[0].nonzero(as_tuple=True)
    assert sorted(set(rows.tolist())) == [383 - 192 - 1, 383 - 192, 383 - 192 + 1]
    assert sorted(set(columns.tolist())) == [191, 192, 193]
    assert len(rows) == 9


def test_points_of_one_dimension_lie_along_the_middle_and_of_three_at_the_first_two():
    points = torch.tensor([-1.0, 0.25, 0.25])
    flat = scatter(torch.stack([points, torch.zeros(3)], 1).view(-1, 1, 1, 2))
    assert torch.equal(scatter(points.view(-1, 1, 1, 1)), flat)
    assert torch.equal(scatter(torch.stack([points, torch.zeros(3), torch.ones(3)], 1).view(-1, 1, 1, 3)), flat)


def test_a_modality_is_reopened_by_its_name_with_its_options():
    made = recorded("ticks", [1, 64], Ticks(1, 64, rate=8).options())
    assert made == Ticks(1, 64, rate=8)
    assert made != Ticks(1, 64, rate=9)
    assert made != Ticks(1, 65, rate=8)
    assert recorded("images", [1, 28, 28], Images(1, 28, 28).options()) == Images(1, 28, 28)
    assert recorded("not-installed", [3], {}) is None
    with pytest.raises(GanzooError, match="The modality 'ticks' does not accept the options {'pitch': 440}"):
        recorded("ticks", [1, 64], {"pitch": 440})


def test_one_of_two_modalities_of_the_same_name_is_only_known_to_the_dataset():
    again = type("Ticks", (Ticks,), {"name": "ticks"})
    assert recorded("ticks", [1, 64], {}) is None
    inherits = type("Framed", (Images,), {})
    assert recorded("images", [1, 28, 28], {}) == Images(1, 28, 28)
    del again, inherits
    gc.collect()  # so that the other tests know one of each


def test_a_modality_of_a_plugin_is_trained_on_kept_played_and_reopened_without_its_dataset(tmp_path):
    series = ganzoo.Dataset("series", "train", torch.rand(48, 1, 64) * 2 - 1, modality=Ticks(1, 64, rate=8))
    small = {"generator": {"name": "mlp", "hidden": [16]}, "discriminator": {"name": "mlp", "hidden": [16]}}
    train = {"images": 64, "batch_size": 16, "log_every": 32, "device": "cpu"}
    recipe = ganzoo.recipe("vanilla-mnist", networks=small, train=train)
    run = ganzoo.train(recipe, dataset=series, out=tmp_path / "run")
    assert run.scores == []
    assert ganzoo.Run.open(run.path).info["shape"] == [1, 64]
    kept = sorted(path.name for path in (run.path / "samples").iterdir())
    assert kept == [f"{images:012d}.{suffix}" for images in (0, 64) for suffix in ("png", "txt")]
    trained = ganzoo.load(run.path)
    modality, drawn = trained.assembly.spec.modality, trained.sample(5)
    assert modality == Ticks(1, 64, rate=8)
    assert (drawn.dtype, tuple(drawn.shape)) == (torch.float32, (5, 1, 64))
    modality.write(tmp_path / "five.txt", drawn)
    assert (tmp_path / "five.txt").read_text() == f"8 a second\n{drawn.flatten().tolist()}"
    # A stranger's run.json cannot make pictures of them.
    facts = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**facts, "modality": "images"}))
    with pytest.raises(GanzooError, match=r"The modality 'images' does not accept the options"):
        ganzoo.load(run.path)
