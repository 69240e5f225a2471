"""Closed and full streams, encodings that lack letters, paths that are not text, caches that cannot be written."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ganzoo.cli import app
from ganzoo.config.loading import load_recipe
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.start import start

TINY = [
    "networks.generator.hidden=[8]",
    "networks.discriminator.hidden=[8]",
    "train.batch_size=16",
    "train.images=64",
    "train.log_every=32",
    "train.device=cpu",
    "evaluate.samples=200",
]
SET = [word for override in TINY for word in ("--set", override)]
GANZOO = f"{shlex.quote(sys.executable)} -m ganzoo"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="module")
def trained(zoo, tmp_path_factory):
    recipe = load_recipe("vanilla-ring", zoo, [*TINY, "summary=Größe ↑ 🦒"])
    return start(recipe, zoo, tmp_path_factory.mktemp("trained") / "run").path


@pytest.fixture
def run(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "run"))


def shell(script, *, environment=None, **options):
    """A command line through a shell; there must be no traceback."""
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, env={**os.environ, **(environment or {})}, check=False, **options
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
    return done


@pytest.mark.full
@pytest.mark.parametrize(("how", "code"), [(">&-", 0), (">&- 2>&- <&-", 0), ("| true", 1)])
def test_scores_are_saved_where_nobody_reads_them(run, how, code):
    before = len(RunFolder.open(run).scores())
    done = shell(f"set -o pipefail; {GANZOO} eval {run} --device cpu --json --out {run}.jsonl {how}")
    assert done.returncode == code, done.stderr
    assert len(RunFolder.open(run).scores()) == before + 6
    assert len(Path(f"{run}.jsonl").read_text().splitlines()) == 6


@pytest.mark.full
@pytest.mark.parametrize("command", ["doctor {run}", "eval {run} --device cpu", "list losses"])
def test_an_encoding_without_the_letters_escapes_them(run, command):
    done = shell(f"{GANZOO} {command.format(run=run)}", environment=ASCII)
    assert done.returncode == 0, done.stderr


def test_json_stays_json_in_any_encoding(run, call, monkeypatch):
    recipe, printed = shutil.copy(run / "recipe.yaml", run.parent / "my-recipe.yaml"), run.parent / "printed"
    with monkeypatch.context() as patched, printed.open("w", encoding="ascii") as stream:
        patched.setattr(sys, "stdout", stream)
        assert call("show", recipe, "--json")[0] == 0
    escaped = json.loads(printed.read_text("ascii"))
    assert escaped == json.loads(call("show", recipe, "--json")[1])
    assert escaped["recipe"]["summary"] == "Größe ↑ 🦒"


def test_what_a_plugin_prints_is_kept_out_of_json(call, zoo, monkeypatch):
    def loud():
        print("a network is built")
        return zoo

    monkeypatch.setattr("ganzoo.registry.loading.load_zoo", loud)
    _, out, err = call("list", "losses", "--json")
    assert [entry["name"] for entry in json.loads(out)] == [entry.name for entry in zoo.losses]
    assert "a network is built" in err
    _, out, _ = call("list", "losses")  # without --json, standard output is as it was
    assert "a network is built" in out


def test_every_command_s_json_is_alone():
    found, waiting = set(), [typer.main.get_command(app)]
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        found |= {param.help for param in command.params if "--json" in param.opts}
    assert found == {"Print the outcome as JSON on standard output."}  # all are AsJson


def test_a_run_in_a_folder_whose_name_is_no_text(trained, tmp_path, done):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/b\xffd")
    shutil.copytree(trained, odd)
    for command in ("report --no-draw", "eval --device cpu", "run --set train.images=128 --resume"):
        done(*command.split(), odd)
    assert json.loads(done("doctor", odd, "--json")[0])["run"] == odd


def test_a_path_that_is_no_text_and_would_be_recorded_is_one_sentence(tmp_path, call):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xffd"))
    odd.mkdir()
    code, _, err = call("run", "vanilla-ring", *SET, "--data-dir", odd, "--out", tmp_path / "run")
    assert code == 2
    assert "Not UTF-8, so it cannot be recorded: " in err
    assert not (tmp_path / "run").exists()


# Points are drawn, so that references alone are cached; MNIST is unpacked into the cache.
@pytest.mark.parametrize(("recipe", "code"), [("vanilla-ring", 0), ("vanilla-mnist", 2)])
def test_a_cache_that_cannot_be_made_is_a_sentence_or_no_matter(call, tmp_path, monkeypatch, recipe, code):
    (tmp_path / "cache").touch()
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    found, _, err = call("run", recipe, *SET, "--out", tmp_path / "run")
    assert found == code
    assert "Set GANZOO_CACHE to a folder that you can write to." in err
    if code == 0:
        assert len(RunFolder.open(tmp_path / "run").scores()) == 6


@pytest.mark.full
def test_a_cache_of_another_user_is_a_sentence_that_says_where_to_put_ones_own(tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    start = f"env -u GANZOO_CACHE -u XDG_CACHE_HOME HOME={home}"
    if os.geteuid() == 0:  # root may enter any home, unless it gives up that right
        os.chown(home, 65534, 65534)
        start = f"setpriv --bounding-set=-all --inh-caps=-all {start}"
    else:
        home.chmod(0)
    if subprocess.run(
        ["bash", "-c", f"{start} true && ! {start} ls {home}"], capture_output=True, check=False
    ).returncode:
        pytest.skip("needs a home that this process may not enter")
    done = shell(f"{start} {GANZOO} run vanilla-mnist --out {tmp_path}/run")
    assert done.returncode == 2, done.stderr
    (sentence,) = [line for line in done.stderr.decode().splitlines() if "GANZOO_CACHE" in line]
    assert f"{home}/.cache/ganzoo/mnist" in sentence
    assert sentence.endswith("(Permission denied). Set GANZOO_CACHE to a folder that you can write to.")
