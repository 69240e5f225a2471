"""``dataset.count``: a training with few images."""

import json

import pytest
import torch

from ganzoo.api.dataset import Dataset
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import training_digest
from ganzoo.data import part_of
from ganzoo.errors import GanzooError
from ganzoo.registry.registry import Entry
from ganzoo.runs.start import start


def images(n):
    return Dataset("toy", "train", torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1))


def numbers(dataset):
    return set(dataset.images.flatten().tolist())


def test_fewer_images_are_some_of_more_and_none_of_those_set_apart():
    few, more = (numbers(part_of(images(200), "train", 50, count)) for count in (10, 100))
    apart = numbers(part_of(images(200), "validation", 50, 10))
    assert (len(few), len(more), len(apart)) == (10, 100, 50)
    assert few < more
    assert not more & apart
    assert numbers(part_of(images(200), "train", 0, 0)) == set(range(200))


def test_more_than_there_are_is_a_mistake():
    with pytest.raises(GanzooError, match="dataset.count is 151, but 'toy' has 150 images to train on"):
        part_of(images(200), "train", 50, 151)


def test_it_is_another_training_and_leaves_other_recipes_as_they_are(zoo):
    plain, few = load_recipe("vanilla-mnist", zoo), load_recipe("vanilla-mnist", zoo, ["dataset.count=600"])
    assert training_digest(plain) != training_digest(few)
    assert "count" not in plain.plain()["dataset"]
    assert few.plain()["dataset"]["count"] == 600


def test_a_dataset_has_no_option_of_this_name(zoo):
    def blank(split, data_dir, *, count: str = "few"):
        return images(8)

    with pytest.raises(GanzooError, match="has an option called 'count', a name that ganzoo reserves"):
        zoo.datasets.add(Entry("dataset", "blank", blank, "Blank images", None, "tests", "tests 0"))


def test_a_run_trains_on_them_alone_and_looks_for_copies_among_them(zoo, tmp_path, call):
    small = ["dataset.count=64", "train.images=64", "train.batch_size=16", "train.device=cpu"]
    recipe = load_recipe("vanilla-ring", zoo, [*small, "evaluate={metrics: [memorisation@ring], samples: 50}"])
    run = start(recipe, zoo, tmp_path / "run")
    assert len(run.checkpoint().tensors["sampler.order"]) == 64
    scores = [*run.scores(), *json.loads(call("eval", run.path, "--json", "--device", "cpu")[1])["scores"]]
    assert {score["protocol"]["n_train"] for score in scores} == {64}
