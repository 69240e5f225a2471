"""Rivals of translations that are not trained do what their names say; the page is made of the committed outcome."""

import json

import torch

import translation
from ganzoo import Dataset
from ganzoo_plugins.datasets.pairs import edges


def pairs(source, images):
    return Dataset("pairs", "train", images, columns={"source": source})


def test_a_filled_outline_is_the_ink_and_its_holes():
    images = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    images[0, 0, 5:20, 8:18] = 255
    filled = translation.filled(None, pairs(edges(images), images))
    assert torch.equal(filled, images)
    hollow = images.clone()
    hollow[0, 0, 10:14, 11:15] = 0
    # The hole's outline runs inside it, and is not filled.
    within = torch.zeros_like(images, dtype=torch.bool)
    within[0, 0, 10:14, 11:15] = edges(hollow)[0, 0, 10:14, 11:15] > 0
    assert torch.equal(translation.filled(None, pairs(edges(hollow), hollow)), images.masked_fill(within, 0))


def test_the_nearest_neighbour_of_a_training_source_is_its_target():
    generator = torch.Generator().manual_seed(0)
    source, images = (torch.randint(0, 256, (40, 1, 8, 8), generator=generator).to(torch.uint8) for _ in range(2))
    order = torch.randperm(40, generator=generator)
    train = pairs(source, images)
    assert torch.equal(translation.nearest(train, pairs(source[order], images[order])), images[order])


def test_dilation_finds_how_much_bolder_the_targets_are():
    source = torch.full((2, 1, 16, 16), 255, dtype=torch.uint8)
    source[..., 4:12, 7] = 0
    images = source.clone()
    images[..., 3:13, 6:9] = 0
    train = pairs(source, images)
    assert torch.equal(translation.dilated(train, train), images)


def test_the_page_is_made_of_the_committed_outcome():
    outcome = json.loads(translation.OUTCOME.read_text("utf-8"))
    page = translation.PAGE.read_text("utf-8")
    assert outcome["rivals"].keys() == translation.RIVALS.keys()
    assert all(translation.table(name, outcome) in page for name in translation.RIVALS)


def test_what_digits_become_is_said_by_the_commonest():
    counts = [[0] * 10 for _ in range(10)]
    for digit in range(10):
        counts[digit][digit] = 100
    counts[4] = [0, 0, 0, 0, 30, 0, 5, 0, 0, 65]
    text = translation.sentences("cyclegan", counts)
    assert "- 3: 3 in 100%\n" in text
    assert "- 4: 9 in 65%, 4 in 30%\n" in text


def test_digits_that_stay_themselves_are_counted_so(zoo):
    """Printed digits are what they are, to the classifier's error."""
    test = zoo.datasets.get("printed-to-handwritten").create("test", None)
    counts = torch.tensor(translation.becomes(test.columns["source"], test.columns["source_label"]))
    assert counts.sum() == len(test)
    assert counts.diagonal().sum() / counts.sum() > 0.98
