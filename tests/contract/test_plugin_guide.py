"""The code in plugins/README.md, installed, checked, trained and scored as a reader would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

GUIDE = (Path(__file__).parents[2] / "plugins" / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"<!-- test: (?P<file>\S+) -->\n```\w+\n(?P<text>.*?)```", re.DOTALL)
GAME = """\
summary: The snippets in one game
dataset: my-letters
networks: {generator: mlp, discriminator: {name: my-small, width: 32}}
loss: non-saturating
regularizers: [{name: my-flat-between, weight: 2.0, every_steps: 2}]
optimizers: {default: {name: adam, lr: 1e-3}}
train: {images: 1000}
"""
USE = """\
import json, sys, torch
from pathlib import Path
from ganzoo import Features, GanzooError, MetricInputs
from ganzoo_checks.contract import plugin_checks
from ganzoo_checks.isolation import import_problems
from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import load_zoo
from ganzoo.training.trainer import Trainer

zoo, folder = load_zoo.__wrapped__(), Path(sys.argv[1])
mine = [plugin for plugin in zoo.plugins if plugin.name[:3] == "my-"]
failures = [problem for problems in import_problems(mine).values() for problem in problems]
for check in plugin_checks("my-gan", zoo):
    if check.name == "import":  # a process for each
        continue
    try:
        check.run()
    except GanzooError as error:
        failures.append(str(error))

train, test = (zoo.datasets.get("my-letters").create(split, folder) for split in ("train", "test"))
for source in (folder / "game-letters.yaml", "my-autoencoder-mnist"):
    recipe = load_recipe(source, zoo, ["train.batch_size=8", "train.device=cpu", "train.precision=fp32"])
    trainer = Trainer(recipe, zoo, dataset=train)
    before = [p.clone() for p in trainer.networks.parameters()]
    for _ in range(2):
        trainer.step()
    assert not any(torch.equal(a, b) for a, b in zip(before, trainer.networks.parameters(), strict=True)), source

class Real:
    features = Features(torch.tensor([[0.0, 0.0], [6.0, 8.0]]))

def gap(*values):
    features = Features(torch.tensor(values))
    return zoo.metric("my-mean-gap").compute(MetricInputs(2, lambda: features, None, Real(), Real))

print(json.dumps({
    "problems": [problem.sentence for problem in zoo.problems],
    "failures": failures,
    "added": sorted(f"{entry.kind} {entry.name}" for plugin in mine for entry in plugin.registered),
    "letters": [[len(part), list(part.shape), part.labels.bincount().tolist(), part.classes] for part in (train, test)],
    "gaps": [gap([0.0, 8.0], [6.0, 0.0]), gap([3.0, 4.0], [9.0, 12.0])],
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guide's files, installed by pip from the guide's pyproject.toml."""
    pytest.importorskip("hatchling", reason="pip builds the guide's package with it, offline.")
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    package = source / "my_gan"
    package.mkdir()
    (package / "__init__.py").touch()
    for block in BLOCK.finditer(GUIDE):
        (source / block["file"]).write_text(block["text"], encoding="utf-8")
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", *offline, "--target", site, source], check=True)
    return site


def test_every_snippet_passes_its_checks_trains_and_scores(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(40):
        file = tmp_path / "letters" / "ab"[number % 2] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (28, 28), (number, number, number)).save(file)
    (tmp_path / "game-letters.yaml").write_text(GAME, encoding="utf-8")
    monkeypatch.syspath_prepend(str(installed))
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)  # for the processes that import them
    monkeypatch.setattr(sys, "argv", ["use", str(tmp_path)])
    exec(compile(USE, "use", "exec"), {})
    assert json.loads(capsys.readouterr().out) == {
        "problems": [],
        "failures": [],
        "added": [
            "dataset my-letters",
            "discriminator my-small",
            "encoder my-flat",
            "extractor my-filters",
            "loss my-autoencoder",
            "metric my-mean-gap",
            "recipe my-autoencoder-mnist",
            "regularizer my-flat-between",
            "study my-slopes",
        ],
        "letters": [[36, [1, 28, 28], [18, 18], ["a", "b"]], [4, [1, 28, 28], [2, 2], ["a", "b"]]],
        "gaps": [0.0, pytest.approx(2**-0.5)],
    }
