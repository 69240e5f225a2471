"""What the README shows works as it is shown."""

import re
import sys
from pathlib import Path

import torch

from ganzoo import Images
from ganzoo.build import assemble
from ganzoo.checks.catalogue import plugin_checks
from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import load_zoo

README = (Path(__file__).parents[1] / "README.md").read_text()


def block(mark):
    """The fenced block right under an HTML comment, or the one with these words."""
    if mark.startswith("newcomer"):
        (found,) = re.findall(rf"^<!-- {mark} -->\n```\w+\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    else:
        (found,) = (
            text for text in re.findall(r"^```\w+\n(.*?)^```$", README, re.MULTILINE | re.DOTALL) if mark in text
        )
    return found


def test_the_recipe_is_accepted_and_fits_together(zoo, tmp_path):
    (tmp_path / "mine.yaml").write_text(block("summary:"))
    recipe = load_recipe(tmp_path / "mine.yaml", zoo, ["regularizers.0.weight=2"])
    assert recipe.train.images == 100_000
    assembly = assemble(recipe, zoo, Images(1, 28, 28), 10)
    assert set(assembly.networks) == {"generator", "discriminator"}
    assert assembly.objective.regularizers[0].weight == 2


def test_the_plugin_registers_a_hinge_loss():
    namespace = {}
    exec(block("class Hinge"), namespace)
    registered = {}
    namespace["register_losses"](lambda name, factory, **described: registered.update({name: factory}))
    loss = registered["my-hinge"]()
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0])
    # By hand: (0 + 0.5) / 2 for the real ones and (0 + 1) / 2 for the fakes; -(-3 + 0) / 2 for the generator.
    assert loss.discriminator(real, fake).item() == 0.75
    assert loss.generator(None, fake).item() == 1.5


def test_the_plugin_passes_its_checks(tmp_path, monkeypatch):
    metadata = tmp_path / "my_hinge-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-hinge\nVersion: 1.0\n")
    entry_points = "[ganzoo]\nmy-hinge = my_hinge\n"
    (metadata / "entry_points.txt").write_text(entry_points)
    (tmp_path / "my_hinge.py").write_text(block("class Hinge"))
    monkeypatch.syspath_prepend(str(tmp_path))
    checks = plugin_checks("my-hinge", load_zoo.__wrapped__())
    assert {"summary", "docstring", "directions", "used-by-a-recipe"} <= {check.check for check in checks}
    for check in checks:
        check.run()
    assert sys.modules.pop("my_hinge").Hinge


def test_the_two_commands_are_marked_for_scripts():
    assert block("newcomer: run").endswith("ganzoo run vanilla-mnist\n")
    assert block("newcomer: test").endswith("pytest -n auto\n")
    assert block("newcomer: run").count("\n") == block("newcomer: test").count("\n") == 1
    assert README.startswith("![")
    assert README.count("\n") < 150


def test_nobody_is_told_to_install_a_stranger_s_package():
    assert not re.search(r"pip install[^\n]* ganzoo(\s|$|\[)", README)
