"""Which recipes the arguments of ``ganzoo bench`` select."""

import pytest
from typer.testing import CliRunner

from ganzoo.cli import app
from ganzoo.errors import GanzooError
from ganzoo_studies.worker import Bench


@pytest.fixture
def taken(monkeypatch, tmp_path):
    """The names of the recipes that a command line would train; none is trained."""

    def names(*words):
        found = []
        monkeypatch.setattr(Bench, "run", lambda self, jobs: found.extend(jobs) or [])
        places = ["--results", str(tmp_path / "results"), "--work", str(tmp_path / "work")]
        ended = CliRunner().invoke(app, ["bench", *words, *places])
        if isinstance(ended.exception, GanzooError):
            raise ended.exception
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
    assert others
    assert taken("--all", "--exclude", "*-mnist") == others
    assert taken("--all", "--exclude", "*-gpu", "--exclude", "*-mnist") == others
    assert taken("*-gpu", "--exclude", "sagan-*") == [
        entry.name for entry in zoo.recipes if entry.name.endswith("-gpu") and not entry.name.startswith("sagan-")
    ]


def test_a_shard_is_every_nth_recipe_and_datasets_select_recipes(taken):
    assert taken("wgan-*", "--shard", "2/2") == taken("wgan-*")[1::2]
    assert taken("vanilla-*", "--made-for", "ring") == ["vanilla-ring"]


@pytest.mark.parametrize("command", [("bench", "vanilla-ring"), ("study", "run", "ring", "--quick")], ids=str)
def test_options_reach_the_worker(command, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(Bench, "run", lambda self, jobs: seen.append(self.settings) or [])
    places = ["--results", str(tmp_path / "results"), "--work", str(tmp_path / "work")]
    given = {
        (): {"force": False, "retry": False, "parallel": 1, "extra": ()},
        ("--force",): {"force": True, "retry": False},
        ("--retry", "--jobs", "2"): {"force": False, "retry": True, "parallel": 2},
        ("--data-dir", "data"): {"extra": ("--data-dir", "data")},
    }
    if command[0] == "study":
        given["--weights-dir", str(tmp_path / "weights")] = {"weights": tmp_path / "weights", "any_hardware": True}
    for words, wanted in given.items():
        shown = CliRunner().invoke(app, [*command, *words, *places]).stdout
        assert ("it does not answer the question" in shown) == (command[0] == "study")
        assert {name: getattr(seen[-1], name) for name in wanted} == wanted
        assert seen[-1].work == tmp_path / "work"
    assert len(seen) == len(given)
