"""Datasets with sources: what a source has to do with its image, and the user's own folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganzoo import GanzooError
from ganzoo.registry.loading import Zoo
from ganzoo_plugins.datasets import glyphs
from ganzoo_plugins.datasets.image_pairs import image_pairs
from ganzoo_plugins.datasets.pairs import edges


def test_an_outline_runs_around_the_ink_one_pixel_wide() -> None:
    image = torch.zeros(1, 1, 5, 5, dtype=torch.uint8)
    image[..., 2, 1:4] = 255
    image[..., 2, 0] = 100  # too dark for ink
    drawn = ["".join(".#"[level > 0] for level in row) for row in edges(image)[0, 0].tolist()]
    assert drawn == [".....", ".###.", "#...#", ".###.", "....."]
    assert set(edges(image).unique().tolist()) == {0, 255}


def test_pairs_of_digits_are_mnist_with_a_source_computed_from_each(zoo: Zoo, mnist_test) -> None:
    whole, small = (zoo.datasets.get(name).create("test", None) for name in ("half-to-whole", "small-to-large"))
    for dataset in (whole, small):
        assert torch.equal(dataset.images, mnist_test.images)
        assert torch.equal(dataset.labels, mnist_test.labels)
        assert dataset.domain == "mnist"
    assert torch.equal(whole.columns["source"][..., :14], mnist_test.images[..., :14])
    assert (whole.columns["source"][..., 14:] == 128).all()
    assert small.columns["source"].shape == (10_000, 1, 7, 7)
    mean = mnist_test.images[5, 0, 8:12, 12:16].float().mean()
    assert small.columns["source"][5, 0, 2, 3] == mean.round()


@pytest.mark.parametrize(("name", "families"), [("regular-to-bold", glyphs.BOLD), ("sans-to-serif", glyphs.SERIF)])
def test_letters_are_pairs_from_one_origin_and_held_out_by_character(zoo: Zoo, name, families) -> None:
    dataset = zoo.datasets.get(name).create("test", None, test_images=40)
    assert dataset.images.shape == dataset.columns["source"].shape == (40, 1, 64, 64)
    again = zoo.datasets.get(name).create("test", None, test_images=20)
    assert torch.equal(again.images, dataset.images[:20])
    ink = [(255 - one.float()).mean((1, 2, 3)) for one in (dataset.columns["source"], dataset.images)]
    if name == "regular-to-bold":
        assert (ink[1] > ink[0]).float().mean() > 0.95
    for one in (dataset.columns["source"], dataset.images):
        assert (one[..., 0] == 255).all()  # nothing is cut off at the left
    for fonts in families[:2]:
        train, test = (set(glyphs.characters(fonts, split)) for split in ("train", "test"))
        assert not train & test
        assert len(test) > 100
    assert all(
        len(set(glyphs.characters(fonts, "test")) & set("abcdefghijklmnopqrstuvwxyz")) < 10 for fonts in families
    )


def test_printed_digits_are_sources_of_handwritten_ones_without_pairs(zoo: Zoo, mnist_test) -> None:
    make = zoo.datasets.get("printed-to-handwritten").create
    there, back = make("test", None, test_images=300), make("test", None, test_images=300, reverse=True)
    assert torch.equal(there.images, mnist_test.images[:300])
    assert torch.equal(there.images, back.columns["source"])
    assert torch.equal(there.columns["source"], back.images)
    assert torch.equal(there.columns["source_label"], back.labels)
    assert (there.domain, back.domain) == ("mnist", "printed-digits")
    assert there.columns["unpaired"].all()
    assert there.columns["source_label"][:12].tolist() == [*range(10), 0, 1]
    nines = there.columns["source"][9::10]
    assert len(nines.flatten(1).unique(dim=0)) > 25  # of 30, in several fonts, sizes and places


def test_faces_are_sources_of_characters(zoo: Zoo, monkeypatch) -> None:
    from ganzoo_plugins.datasets import faces_to_characters

    def drawn(name: str, level: int):
        images = torch.full((4, 3, 32, 32), level, dtype=torch.uint8)
        return lambda split, folder, **options: faces_to_characters.Dataset(name, split, images)

    monkeypatch.setattr(faces_to_characters, "faces", drawn("faces", 10))
    monkeypatch.setattr(faces_to_characters, "characters", drawn("characters", 20))
    dataset = zoo.datasets.get("faces-to-characters").create("train", None)
    assert (dataset.images.unique().item(), dataset.columns["source"].unique().item()) == (20, 10)
    assert dataset.domain == "characters"


def picture(path: Path, level: int, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0]), level, dtype=np.uint8)).save(path)


def levels(images: torch.Tensor) -> list[int]:
    return [int(image.unique()) for image in images]


def test_two_folders_are_pairs_by_name(tmp_path: Path) -> None:
    for number in range(20):
        picture(tmp_path / "input" / f"{number}.png", number)
        picture(tmp_path / "output" / f"{number}.bmp", 100 + number)
    train, test = (image_pairs(split, None, path=str(tmp_path)) for split in ("train", "test"))
    assert sorted(levels(train.images) + levels(test.images)) == list(range(100, 120))
    assert len(test) == 2
    for dataset in (train, test):
        assert [level + 100 for level in levels(dataset.columns["source"])] == levels(dataset.images)
    back = image_pairs("test", None, path=str(tmp_path), reverse=True)
    assert levels(back.columns["source"]) == levels(test.images)


def test_halves_are_pairs_too_in_folders_for_each_split(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("test", 1)):
        for number in range(count):
            path = tmp_path / split / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            halves = np.concatenate([np.full((10, 12), number), np.full((10, 12), 200 + number)], axis=1)
            Image.fromarray(halves.astype(np.uint8)).save(path)
    dataset = image_pairs("train", None, path=str(tmp_path))
    assert dataset.shape == (1, 10, 12)
    assert (levels(dataset.columns["source"]), levels(dataset.images)) == ([0, 1, 2], [200, 201, 202])
    assert image_pairs("train", None, path=str(tmp_path), size=16).shape == (1, 16, 16)
    assert len(image_pairs("test", None, path=str(tmp_path))) == 1


def test_unpaired_folders_need_no_common_names_and_the_smaller_set_is_repeated(tmp_path: Path) -> None:
    for number in range(6):
        picture(tmp_path / "trainA" / f"a{number}.png", number)
        picture(tmp_path / "testA" / f"a{number}.png", 10)
        picture(tmp_path / "testB" / f"b{number}.png", 20)
    for number in range(4):
        picture(tmp_path / "trainB" / f"b{number}.png", 100 + number)
    dataset = image_pairs("train", None, path=str(tmp_path), paired=False)
    assert levels(dataset.columns["source"]) == [0, 1, 2, 3, 4, 5]
    assert levels(dataset.images) == [100, 101, 102, 103, 100, 101]
    assert dataset.columns["unpaired"].all()
    assert set(levels(image_pairs("test", None, path=str(tmp_path), paired=False).images)) == {20}


def test_other_folders_are_refused_in_a_sentence(tmp_path: Path) -> None:
    def refused(path: Path | str, words: str) -> None:
        with pytest.raises(GanzooError, match=words):
            image_pairs("train", None, path=str(path))

    refused("", "translates your own pictures. Give their folder: --data FOLDER")
    refused(tmp_path / "none", "is not a folder. Give two subfolders")
    for name in ("a", "b", "c"):
        picture(tmp_path / "three" / name / "x.png", 0)
    refused(tmp_path / "three", "has 3 subfolders: a, b, c.")
    picture(tmp_path / "halves" / "square.png", 0)
    picture(tmp_path / "halves" / "other.png", 0)
    refused(tmp_path / "halves", "8 pixels wide and 8 high, which is no pair side by side")
    picture(tmp_path / "two" / "A" / "x.png", 0)
    picture(tmp_path / "two" / "B" / "y.png", 0)
    refused(tmp_path / "two", "A/x has no partner of the same name in .*B")
