"""Which recipes the arguments of ``ganzoo bench`` select."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ganzoo.cli import app
from ganzoo.config.loading import needs_pictures
from ganzoo.errors import GanzooError
from ganzoo_studies.worker import Bench


@pytest.fixture
def taken(monkeypatch, tmp_path):
    """The names of the recipes that a command line would train; none is trained."""

    def names(*words):
        found = []
        monkeypatch.setattr(Bench, "run", lambda self, jobs: found.extend(jobs) or [])
        places = ["--results", str(tmp_path / "results"), "--work", str(tmp_path / "work")]
        CliRunner().invoke(app, ["bench", *words, *places], catch_exceptions=False)
        return [job.recipe.name for job in found]

    return names


def test_recipes_for_gpus_are_taken_only_where_a_pattern_says_so(taken, zoo):
    of_sagan = [entry.name for entry in zoo.recipes if entry.name.startswith("sagan-")]
    for_gpus = [entry.name for entry in zoo.recipes if entry.name.endswith("-gpu")]
    assert "sagan-mnist-gpu" in of_sagan
    assert taken("sagan-*") == [name for name in of_sagan if name != "sagan-mnist-gpu"]
    assert taken("*-gpu") == for_gpus
    assert taken("sagan-mnist-gpu") == ["sagan-mnist-gpu"]
    assert "sagan-mnist-gpu" in taken("sagan-*", "sagan-*-gpu")
    assert taken("r3gan-*", "sagan-*-gpu")[-1] == "sagan-mnist-gpu"
    assert "r3gan-mnist-gpu" not in taken("r3gan-*", "sagan-*-gpu")
    with pytest.raises(GanzooError, match=r"No recipe is left .* those for GPUs need a pattern such as '\*-gpu'"):
        taken("sagan-mnist-g*")


def test_exclude_leaves_out_more_than_those_for_gpus(taken, zoo):
    others = [entry.name for entry in zoo.recipes if not entry.name.endswith(("-mnist", "-gpu"))]
    others = [name for name in others if not needs_pictures(name, zoo)]
    assert others
    assert taken("--all", "--exclude", "*-mnist") == others
    assert taken("--all", "--exclude", "*-gpu", "--exclude", "*-mnist") == others
    assert taken("*-gpu", "--exclude", "sagan-*") == [
        entry.name for entry in zoo.recipes if entry.name.endswith("-gpu") and not entry.name.startswith("sagan-")
    ]


def test_datasets_select_recipes(taken):
    assert taken("vanilla-*", "--made-for", "ring") == ["vanilla-ring"]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("bench vanilla-ring", {"force": False, "retry": False, "parallel": 1, "extra": ()}),
        ("bench vanilla-ring --force", {"force": True, "retry": False}),
        ("bench vanilla-ring --retry --jobs 2", {"force": False, "retry": True, "parallel": 2}),
        ("study run ring --quick --data-dir data", {"force": False, "extra": ("--data-dir", "data")}),
        ("study run ring --quick --weights-dir weights", {"weights": Path("weights"), "any_hardware": True}),
    ],
)
def test_options_reach_the_worker(words, wanted, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(Bench, "run", lambda self, jobs: seen.append(self.settings) or [])
    shown = CliRunner().invoke(app, [*words.split(), "--results", "results", "--work", "work"]).stdout
    assert ("it does not answer the question" in shown) == words.startswith("study")
    (settings,) = seen
    assert {name: getattr(settings, name) for name in wanted} == wanted
    assert settings.work == Path("work")


@pytest.mark.parametrize("words", [("--workers", "1"), ("--slurm", "partition=gpu")])
def test_what_a_launcher_needs_is_refused_without_one(refused, tmp_path, words):
    places = ["--results", tmp_path / "results", "--work", tmp_path / "work"]
    refusal = refused("study", "run", "ring", *words, *places)
    assert refusal.startswith("--workers and --slurm need --launcher slurm. Add that, or start the command several")
    assert not list(tmp_path.iterdir())
