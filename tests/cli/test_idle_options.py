"""Options that would do nothing are refused, not ignored."""

from contextlib import nullcontext

import pytest
from typer.testing import CliRunner

from ganzoo.cli import app
from ganzoo.cli.run import run
from ganzoo.errors import GanzooError
from ganzoo.training.distributed import Processes


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--workers", "1"], "--workers needs --launcher slurm; without it, start the command several times."),
        (["--slurm", "partition=gpu"], "--slurm needs --launcher slurm. Add that, or leave --slurm out."),
    ],
)
def test_what_a_launcher_needs_is_refused_without_one(tmp_path, words, sentence):
    places = ["--results", str(tmp_path / "results"), "--work", str(tmp_path / "work")]
    ended = CliRunner().invoke(app, ["study", "run", "ring", *words, *places])
    assert str(ended.exception) == sentence
    assert not list(tmp_path.iterdir())


def test_a_profile_of_a_run_that_may_be_under_way_is_refused(tmp_path):
    with pytest.raises(GanzooError, match="--profile looks at the first steps of a run, and --continue may resume one"):
        run("vanilla-ring", out=tmp_path / "run", continue_=True, profile=True)
    assert not list(tmp_path.iterdir())


def test_a_profile_of_several_processes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ganzoo.training.distributed.joined", lambda: nullcontext(Processes(0, 2)))
    with pytest.raises(GanzooError, match=r"--profile looks at a single process\. .* start without torchrun"):
        run("vanilla-ring", out=tmp_path / "run", profile=True)
    assert not list(tmp_path.iterdir())
