"""Options that would do nothing are refused, not ignored."""

import pytest
from typer.testing import CliRunner

from ganzoo.cli import app


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
