"""What the README shows works as it is shown."""

import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image, ImageChops, ImageStat
from typer.testing import CliRunner

from ganzoo import Images
from ganzoo.build import assemble
from ganzoo.cli import app
from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import load_zoo
from ganzoo_checks.contract import plugin_checks

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


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
    assert {"summary", "docstring", "logits", "used-by-a-recipe"} <= {check.name for check in checks}
    for check in checks:
        if check.name != "import":  # a process, as tests/contract/test_plugin_guide.py starts it
            check.run()
    assert sys.modules.pop("my_hinge").Hinge


def test_the_two_commands_are_marked_for_scripts():
    assert block("newcomer: run").endswith("ganzoo run vanilla-mnist\n")
    assert block("newcomer: test").endswith("pytest -n auto\n")
    assert block("newcomer: run").count("\n") == block("newcomer: test").count("\n") == 1
    assert README.startswith("![")


def test_it_is_short_and_the_best_demonstration_comes_first():
    assert len(README.split()) <= 900
    assert README.splitlines()[2].startswith("Draw [**digits**](../../deployments#explore/")


def test_its_links_lead_to_files_of_the_repository_or_to_the_site():
    targets = re.findall(r"\]\(([^)#\s]+)", README)
    assert "docs/which.md" in targets
    assert [one for one in targets if not (ROOT / one).exists()] == 4 * ["../../deployments"]


@pytest.mark.parametrize("picture", ["sevens.png", "faces.png"])
def test_the_pictures_are_those_that_the_recorded_commands_draw(picture, tmp_path, monkeypatch):
    notes = (ROOT / "results" / "NOTES.md").read_text("utf-8")
    (words,) = re.findall(rf"`ganzoo (sample [^`]* --out docs/{picture})`", notes)
    assert picture != "sevens.png" or words.replace("docs/", "") in README
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, words.split()).exit_code == 0
    with Image.open(f"docs/{picture}") as drawn, Image.open(ROOT / "docs" / picture) as committed:
        assert drawn.size == committed.size
        off = max(ImageStat.Stat(ImageChops.difference(drawn, committed)).mean)
    assert off < 1  # of 255: CPUs round differently


def test_what_to_use_is_what_the_studies_say():
    """Each is generated from verdicts on fresh seeds, and stands in the same words below its study's question."""
    advice, verdicts = README.partition("## What should I use?")[2], (ROOT / "results" / "README.md").read_text("utf-8")
    sentences = re.findall(r"^- \*\*\[.*?\]\(results/(studies/.*?\.html)\):\*\* (.*)$", advice, re.MULTILINE)
    assert len(sentences) >= 4
    for page, sentence in sentences:
        answer = re.search(rf"^### \[.*\]\({page}\)\n\n(.*{re.escape(sentence)}.*)$", verdicts, re.MULTILINE)
        assert answer, page
        assert "(Exploratory.)" not in answer[1]
        assert (ROOT / "results" / page).is_file()


def test_the_workflow_runs_the_test_command_and_builds_the_site():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "site.yml").read_text("utf-8"))["jobs"]
    steps = [step.get("run", step.get("uses")) for job in jobs.values() for step in job["steps"]]
    assert block("newcomer: test").strip() in steps
    assert any(step.endswith("zensical build --strict") for step in steps)
    assert all(step.startswith("actions/") for step in steps if "@" in step)


def test_nobody_is_told_to_install_a_stranger_s_package():
    assert not re.search(r"pip install[^\n]* ganzoo(\s|$|\[)", README)
