"""A generator that starts from a column of its dataset, as a plugin provides it: sampled in Python and by command."""

import sys

import numpy as np
import pytest
import torch

from ganzoo import Images, load
from ganzoo.build import assemble
from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import load_zoo
from ganzoo.runs.folder import RunFolder

PLUGIN = """
import os

import torch
from torch import nn

from ganzoo import Dataset, GanzooError, Objective, Phase, hookimpl


class Negative(nn.Module):
    '''Minus the source, times a weight.'''

    def __init__(self, spec):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, z, source):
        return -self.weight * source


class Translation(Objective):
    '''The negative of the source should be the image.'''

    roles = {"generator": "generator"}
    generates_from = ("source",)

    def phases(self):
        def loss(networks, batch):
            return {"generator": (self.fakes(networks, batch) - batch.real).square().mean()}

        return [Phase("generator", ("generator",), loss)]

    def generate(self, networks, z, label, source=None):
        return networks["generator"](z, source)


def pairs(split, folder):
    '''Images of one brightness, and their negatives.'''
    if split == "test" and os.environ.get("ONLY_TRAIN"):
        raise GanzooError("There are no test images.")
    levels = torch.arange(5 if split == "test" else 7, dtype=torch.uint8)[:, None, None, None]
    images = (levels * 20).expand(-1, 1, 4, 4).contiguous()
    return Dataset("pairs", split, images, columns={"source": 1 - images / 127.5})


@hookimpl
def register_generators(register):
    register("negative", Negative, summary="Minus the source")


@hookimpl
def register_losses(register):
    register("translation", Translation, summary="From a source to an image", paper="Someone 2020")


@hookimpl
def register_datasets(register):
    register("pairs", pairs, summary="Images and their negatives")
"""
RECIPE = """
summary: A translation
dataset: pairs
networks: {generator: negative}
loss: translation
optimizers: {default: {name: adam, lr: 0.001}}
train: {images: 100, batch_size: 10, ema: null}
"""
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Everything that is registered while the plugin is installed."""
    site = tmp_path_factory.mktemp("site")
    metadata = site / "translating-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: translating\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[ganzoo]\ntranslating = translating_plugin\n")
    (site / "translating_plugin.py").write_text(PLUGIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        yield load_zoo.__wrapped__()
    sys.modules.pop("translating_plugin", None)


@pytest.fixture
def run(tmp_path, zoo):
    """A run folder as training leaves it."""
    (tmp_path / "negative.yaml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "negative.yaml", zoo)
    columns = (("source", (1, 4, 4)),)
    info = {"recipe": recipe.name, "shape": [1, 4, 4], "classes": 0, "class_names": [], "data_dir": None}
    run = RunFolder.create(tmp_path / "run", recipe, {**info, "columns": {"source": [1, 4, 4]}})
    networks = assemble(recipe, zoo, Images(1, 4, 4), 0, columns).networks
    tensors = {f"networks.{name}": tensor for name, tensor in networks.state_dict().items()}
    run.save_checkpoint(tensors, {"images": 100, "seconds": 1.0})
    return run.path


def levels(images):
    return [int(image.unique()) for image in images]


def test_it_starts_from_the_test_images_in_turn(run, zoo):
    assert levels(load(run, zoo=zoo, device=CPU).sample(7)) == [0, 20, 40, 60, 80, 0, 20]


def test_without_test_images_it_starts_from_the_training_images(run, zoo, monkeypatch):
    monkeypatch.setenv("ONLY_TRAIN", "1")
    assert levels(load(run, zoo=zoo, device=CPU).sample(8)) == [0, 20, 40, 60, 80, 100, 120, 0]


def test_it_starts_from_a_given_source(run, zoo):
    generator = load(run, zoo=zoo, device=CPU)
    source = torch.tensor([1.0, -1.0])[:, None, None, None].expand(-1, 1, 4, 4)
    assert levels(generator.sample(3, source=source)) == [0, 255, 0]
    assert levels(generator.decode(torch.zeros(2, 100), source=source)) == [0, 255]


def test_ganzoo_sample_draws_from_it(run, fresh_zoo, call, tmp_path):
    out = tmp_path / "a.npz"
    code, _, err = call("sample", run, "--n", 6, "--out", out, "--device", "cpu")
    assert code == 0, err
    assert f"Saved 6 images to {out}" in err
    with np.load(out) as arrays:
        assert arrays["images"][:, 0, 0].tolist() == [0, 20, 40, 60, 80, 0]
