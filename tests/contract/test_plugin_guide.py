"""The code in plugins/README.md, installed and trained as a reader would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = (Path(__file__).parents[2] / "plugins" / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"<!-- test: (?P<file>\S+) -->\n```\w+\n(?P<text>.*?)```", re.DOTALL)
ENTRY_POINTS = """\
[ganzoo]
my-networks = my_networks
my-regularizers = my_regularizers
my-objectives = my_objectives
"""
GAME = """\
summary: The snippets in one game
dataset: mnist
networks: {generator: mlp, discriminator: {name: my-small, width: 32}}
loss: non-saturating
regularizers: [{name: my-flat-between, weight: 2.0, every_steps: 2}]
optimizers: {default: {name: adam, lr: 1e-3}}
train: {images: 1000}
"""
AUTOENCODER = """\
summary: The objective of the guide
dataset: mnist
networks: {encoder: my-flat, generator: mlp}
loss: {name: my-autoencoder, weight: 0.2}
optimizers: {default: {name: adam, lr: 1e-3}}
train: {images: 1000}
"""
TAKE_STEPS = """\
import json, sys, torch
from ganzoo import ImageDataset
from ganzoo.registry.loading import load_zoo
from ganzoo.config.loading import load_recipe
from ganzoo.training.trainer import Trainer

zoo = load_zoo()
data = ImageDataset("mnist", "train", torch.randint(256, (64, 1, 28, 28), dtype=torch.uint8))
for source in sys.argv[1:]:
    recipe = load_recipe(source, zoo, ["train.batch_size=8", "train.device=cpu", "train.precision=fp32"])
    trainer = Trainer(recipe, zoo, dataset=data)
    before = [p.clone() for p in trainer.networks.parameters()]
    for _ in range(2):
        trainer.step()
    assert not any(torch.equal(a, b) for a, b in zip(before, trainer.networks.parameters(), strict=True)), source
print(json.dumps({
    "problems": [problem.sentence for problem in zoo.problems],
    "added": [f"{e.kind} {e.name}" for p in zoo.plugins if p.name[:3] == "my-" for e in p.registered],
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guide's files, installed: modules, and metadata with their entry points."""
    folder = tmp_path_factory.mktemp("site")
    for block in BLOCK.finditer(GUIDE):
        target = folder / block["file"].replace("snippets/", "my_")
        target.parent.mkdir(exist_ok=True)
        target.write_text(block["text"], encoding="utf-8")
    metadata = folder / "my_gan-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-gan\nVersion: 0.1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS, encoding="utf-8")
    (folder / "game-mnist.yaml").write_text(GAME, encoding="utf-8")
    (folder / "autoencoder-mnist.yaml").write_text(AUTOENCODER, encoding="utf-8")
    return folder


def test_every_snippet_registers_and_every_parameter_trains(installed: Path) -> None:
    recipes = [str(installed / "game-mnist.yaml"), str(installed / "autoencoder-mnist.yaml")]
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", TAKE_STEPS, *recipes],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "problems": [],
        "added": [
            "discriminator my-small",
            "encoder my-flat",
            "loss my-autoencoder",
            "regularizer my-flat-between",
        ],
    }
