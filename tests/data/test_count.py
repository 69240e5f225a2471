"""``dataset.count``: a training with few images."""

import json

import pytest
import torch

from ganzoo.api.dataset import Dataset
from ganzoo.config.identity import training_digest
from ganzoo.config.loading import load_recipe, parse_recipe
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


def blank(split, data_dir, *, count: str = "few"):
    return images({"few": 8, "many": 80}[count])


@pytest.fixture
def zoo_with_own_count(zoo):
    zoo.datasets.add(Entry("dataset", "blank", blank, "Blank images", None, "tests", "tests 0"))
    yield zoo
    zoo.datasets.discard("blank")


def test_a_dataset_s_own_option_of_this_name_stays_its_own(zoo_with_own_count):
    zoo = zoo_with_own_count
    recipe = load_recipe("vanilla-mnist", zoo, ["dataset=blank", "dataset.count=many"])
    assert (recipe.dataset.options, recipe.dataset.count) == ({"count": "many"}, 0)
    assert len(zoo.datasets.get("blank").create("train", None, **recipe.dataset.options)) == 80
    again = parse_recipe(recipe.to_yaml(), recipe.name, zoo)
    assert again == recipe
    assert training_digest(again) != training_digest(load_recipe("vanilla-mnist", zoo, ["dataset=blank"]))
    with pytest.raises(GanzooError, match="count must be text, not 5"):
        load_recipe("vanilla-mnist", zoo, ["dataset=blank", "dataset.count=5"])
    # What one of the two means is nothing that the other could go on with.
    other = load_recipe("vanilla-mnist", zoo, ["dataset.count=600", "dataset=blank", "dataset.validation=2"])
    assert (other.dataset.options, other.dataset.count, other.dataset.validation) == ({"count": "few"}, 0, 2)


def test_a_run_trains_on_them_alone_and_looks_for_copies_among_them(zoo, tmp_path, call):
    small = ["dataset.count=64", "train.images=64", "train.batch_size=16", "train.device=cpu"]
    recipe = load_recipe("vanilla-mnist", zoo, [*small, "evaluate={metrics: [memorisation@mnist-cnn], samples: 50}"])
    run = start(recipe, zoo, tmp_path / "run")
    assert len(run.checkpoint().tensors["sampler.order"]) == 64
    scores = [*run.scores(), *json.loads(call("eval", run.path, "--json", "--device", "cpu")[1])["scores"]]
    assert {score["protocol"]["n_train"] for score in scores} == {64}
