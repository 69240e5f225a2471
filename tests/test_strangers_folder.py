"""In a folder, a clone or a run folder that a stranger made, the commands run none of its code and keep to it."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from ganzoo import recipe as recipe_of
from ganzoo import train
from ganzoo.cli import app
from ganzoo.errors import GanzooError
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.provenance import environment, hardware_in_words
from ganzoo.training.engines import CompileEngine
from ganzoo_plugins.extractors.torch_fidelity import DINOV2_COMMIT
from ganzoo_studies.matrix import jobs_of
from ganzoo_studies.records import Ledger, collect, final_picture

MADE_ON = f"{hardware_in_words(environment(torch.device('cpu')))}, fp32"

BIN = Path(sys.executable).parent
RECIPE = """
summary: Points on a ring
dataset: ring
prior: {name: gaussian, dim: 2}
networks: {generator: {name: mlp, hidden: [4]}, discriminator: {name: mlp, hidden: [4]}}
loss: non-saturating
optimizers: {default: {name: adam, lr: 0.001}}
train: {images: 64, batch_size: 16, log_every: 16, checkpoint_seconds: 0, device: cpu, engine: eager, precision: fp32}
"""
LIBRARIES = (
    "typing", "dataclasses", "json", "subprocess",  # of its own, `python -m` imports others before it starts
    "click", "filelock", "jinja2", "markupsafe", "matplotlib", "numpy", "PIL", "platformdirs", "pluggy", "pydantic",
    "rich", "safetensors", "scipy", "torch", "torch_fidelity", "torchvision", "typer", "yaml",
)  # fmt: skip


def command(*words, cwd, told=subprocess.PIPE, **environment):
    """Run it, and give back how it ended; what is not text in its output is an error here."""
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=told,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=250,
    )


def ganzoo(*words, cwd):
    """The command in this process: as ``command``, but faster, and with the plugins that are loaded."""
    before = Path.cwd()
    os.chdir(cwd)
    try:
        result = CliRunner().invoke(app, [str(word) for word in words])
    finally:
        os.chdir(before)
    error = result.exception
    if isinstance(error, GanzooError):
        return SimpleNamespace(returncode=error.exit_code, stdout=result.stdout, stderr=f"{result.stderr}{error}\n")
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return SimpleNamespace(returncode=result.exit_code, stdout=result.stdout, stderr=result.stderr)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a recipe, a run of it, its bench's results and work."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(RECIPE)
    done = ganzoo("run", "tiny.yaml", "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


# The working folder is no code


@pytest.fixture
def hostile(tmp_path):
    """A folder where importing, or reading as configuration, leaves a file ``fired``; and that file."""
    folder, fired = tmp_path / "hostile", tmp_path / "fired"
    folder.mkdir()
    fire = f"import os; os.close(os.open({str(fired)!r}, os.O_CREAT)); raise ImportError('hostile')\n"
    for name in (*LIBRARIES, "evil_plugin"):
        (folder / f"{name}.py").write_text(fire)
    info = folder / "evil-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ganzoo]\nevil = evil_plugin\n[pydantic]\nevil = evil_plugin\n")
    latex = tmp_path / "bin" / "latex"
    latex.parent.mkdir()
    latex.write_text(f"#!/bin/sh\ntouch {fired}\nexit 1\n")
    latex.chmod(0o755)
    (folder / "matplotlibrc").write_text("text.usetex: True\nsavefig.bbox: tight\nevil: yes\n")
    return folder, fired, {"PATH": f"{latex.parent}:{os.environ['PATH']}"}


MODULE = (BIN / "python", "-m", "ganzoo")
TORCHRUN = (BIN / "torchrun", "--standalone", "--nproc-per-node", "2", "-m", "ganzoo")


@pytest.fixture(scope="module")
def job(zoo, trained):
    """What a bench of the recipe trains."""
    (found,) = jobs_of(zoo, [str(trained / "tiny.yaml")])
    return found


@pytest.fixture(scope="module")
def recorded(zoo, trained, job):
    """The folder with the run and, beside it, results that hold it: of a bench, and of studies."""
    record, scores, recipe = collect(job, trained / "run", None, 1.0, {}, zoo)
    for name in ("results", "studies"):
        Ledger(trained / name).append(record, scores, final_picture(trained / "run"), recipe)
    return trained


@pytest.mark.parametrize(
    "words",
    [
        pytest.param((BIN / "ganzoo", "list", "losses"), marks=pytest.mark.full),
        pytest.param((BIN / "ganzoo", "check", "hinge"), marks=pytest.mark.full),
        pytest.param((BIN / "ganzoo", "bench", "RECIPE", "--results", "OUT/results", "--work", "OUT/work"),
                     marks=pytest.mark.full),
        pytest.param((BIN / "ganzoo", "eval", "RUN", "--metric", "modes@ring", "--samples", "10"),
                     marks=pytest.mark.full),
        (*MODULE, "run", "RECIPE", "--out", "OUT/run"),
        pytest.param((*TORCHRUN, "run", "RECIPE", "--out", "OUT/run"), marks=pytest.mark.full),
        pytest.param((BIN / "ganzoo", "run", "RECIPE", "--out", "OUT/run", "--set", "train.engine=compile"),
                     marks=pytest.mark.full),
    ],
    ids=["list", "check", "bench", "eval", "python-m", "torchrun", "compile"],
)  # fmt: skip
def test_nothing_of_the_working_folder_is_imported_or_read_as_configuration(words, hostile, trained, tmp_path):
    places = {"RUN": trained / "run", "RECIPE": trained / "tiny.yaml"}
    assert_harmless(hostile, [places.get(word, str(word).replace("OUT", str(tmp_path / "out"))) for word in words])


def assert_harmless(hostile, words):
    """The command succeeds in the hostile folder, runs nothing of it, and leaves it as it is."""
    folder, fired, environment = hostile
    before = sorted(folder.rglob("*"))
    done = command(*words, cwd=folder, **environment)
    assert not fired.exists(), done.stderr
    assert done.returncode == 0, done.stderr
    assert "evil" not in done.stdout + done.stderr
    assert sorted(folder.rglob("*")) == before  # nor any bytecode beside it


@pytest.mark.parametrize(
    ("words", "page", "settings"),
    [
        pytest.param(("report", "RUN", "--no-draw"), "run/report.html", None, marks=pytest.mark.full),
        pytest.param(("leaderboard", "RESULTS"), "results/index.html", None, marks=pytest.mark.full),
        (("leaderboard", "RESULTS"), "results/index.html", b"\xff"),
        pytest.param(("study", "report", "ring", "--results", "STUDIES"), "studies/ring.html", b"\xff",
                     marks=pytest.mark.full),
    ],
)  # fmt: skip
def test_plots_are_drawn_the_same_whatever_a_matplotlibrc_says(words, page, settings, hostile, recorded):
    if settings is not None:
        (hostile[0] / "matplotlibrc").write_bytes(settings)
    words = [recorded / word.lower() if word.isupper() else word for word in words]
    done = ganzoo(*words, cwd=recorded)
    assert done.returncode == 0, done.stderr
    made = (recorded / page).read_bytes()
    (recorded / page).unlink()
    assert_harmless(hostile, [BIN / "ganzoo", *words])
    assert (recorded / page).read_bytes() == made


# No link is followed


def state(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def mine(tmp_path, job):
    """Somebody's own folder outside the stranger's clone, with files that are called as ganzoo calls its own."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("notes.txt", "runs.jsonl", "scores.jsonl", Path(job.picture(MADE_ON)).name, "000000000064.png"):
        (folder / name).write_text("somebody's own\nand a torn line")
    return folder


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("results", ""),
        ("results/samples", ""),
        ("results/runs.jsonl", "notes.txt"),
        ("results/scores.jsonl", "new.txt"),
        ("results/.runs.jsonl.lock", "notes.txt"),
        ("results/.scores.jsonl.lock", "notes.txt"),
        pytest.param("results/PICTURE", "notes.txt", marks=pytest.mark.full),
        ("runs", ""),
        ("runs/bench", ""),
        ("runs/bench/tiny", ""),
        ("runs/bench/RUN", ""),
        ("runs/bench/RUN.log", "notes.txt"),
        ("runs/bench/RUN.lock", "notes.txt"),
    ],
)
def test_a_bench_in_a_strangers_clone_writes_nothing_through_a_link(link, target, trained, job, mine, tmp_path):
    clone = tmp_path / "clone"
    link = clone / link.replace("RUN", str(job.folder(Path()))).replace("PICTURE", job.picture(MADE_ON))
    link.parent.mkdir(parents=True)
    link.symlink_to(mine / target)
    before = state(mine)
    done = ganzoo("bench", trained / "tiny.yaml", cwd=clone)
    assert state(mine) == before
    assert "Traceback" not in done.stderr
    if link.suffix == ".png":  # a file that is replaced as a whole takes the link's place
        assert done.returncode == 0, done.stderr
        assert not link.is_symlink()
    else:
        assert done.returncode == 2
        assert f"{link.relative_to(clone)} is a link" in done.stderr


@pytest.mark.parametrize(("words", "link"), [(("run", "tiny.yaml"), "runs"), (("leaderboard",), "results")])
def test_folders_that_nobody_named_may_not_be_links_and_named_ones_may(words, link, mine, tmp_path):
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "tiny.yaml").write_text(RECIPE)
    (clone / link).symlink_to(mine)
    before = state(mine)
    done = ganzoo(*words, cwd=clone)
    assert (done.returncode, state(mine)) == (2, before)
    assert f"{link} is a link" in done.stderr
    if words[0] == "run":
        done = ganzoo(*words, "--out", "runs/named", cwd=clone)
        assert done.returncode == 0, done.stderr
        assert (mine / "named" / "run.json").is_file()


TRACKER = """
from pathlib import Path
from ganzoo import Tracker, hookimpl

class Diary(Tracker):
    def __init__(self, folder: Path) -> None:
        (folder / "diary").mkdir(exist_ok=True)
        self.path = folder / "diary" / "notes.txt"

    def log(self, record):
        with self.path.open("a") as file:
            file.write(f"{record}\\n")

class Local(Diary):
    network = False

    def __init__(self, folder: Path) -> None:
        self.path = folder / "local.txt"

def made(folder: Path) -> Tracker:
    (folder / "made").mkdir()
    return Local(folder)

@hookimpl
def register_trackers(register):
    register("diary", Diary, summary="writes a line for each event, and does not say that it uses no network")
    register("local", Local, summary="writes a line for each event, and says that it uses no network")
    register("made", made, summary="is made by a function")
"""


@pytest.fixture
def diary(tmp_path, monkeypatch, fresh_zoo):
    """A plugin is installed that brings a tracker, which writes into a folder of its own."""
    info = tmp_path / "site" / "diary-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: diary\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ganzoo]\ndiary = diary_plugin\n")
    (tmp_path / "site" / "diary_plugin.py").write_text(TRACKER)
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield
    sys.modules.pop("diary_plugin", None)


@pytest.fixture
def sent(trained, tmp_path):
    """A run folder that was sent to us, interrupted halfway."""
    folder = shutil.copytree(trained / "run", tmp_path / "sent")
    for newest in sorted((folder / "checkpoints").iterdir())[-2:]:
        newest.unlink()
    changed(folder, status="interrupted")
    return folder


def changed(folder, **facts):
    info = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**info, **facts}))


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("checkpoints", ""),
        ("samples", ""),
        ("samples/000000000064.png", "notes.txt"),
        ("events.jsonl", "notes.txt"),
        ("scores.jsonl", "notes.txt"),
        (".lock", "notes.txt"),
        ("recipe.yaml", "notes.txt"),
    ],
)
def test_a_run_folder_with_links_that_lead_out_of_it_is_neither_written_nor_read(link, target, sent, mine, tmp_path):
    link = sent / link
    link.parent.mkdir(exist_ok=True)
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.symlink_to(mine / target)
    before = state(mine)
    for words in (("run", "--resume"), ("report", "--no-draw"), ("eval", "--samples", 10), ("doctor",)):
        done = ganzoo(*words, sent, cwd=tmp_path)
        assert (done.returncode, state(mine)) == (2, before)
        assert f"{link} is a link" in done.stderr
        assert "somebody's own" not in done.stdout + done.stderr


@pytest.fixture
def tracked(diary, tmp_path):
    """A recipe that a stranger sent, with trackers."""
    recipe = tmp_path / "tracked.yaml"
    recipe.write_text(f"{RECIPE}trackers: [diary, local, made]\n")
    return recipe


@pytest.fixture
def run_by_command(tracked, tmp_path):
    def run(*words):
        done = ganzoo("run", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    def first(*words):
        run(tracked, "--out", "run", *words)

    def again(*words):
        run("--resume", "run", "--set", "train.images=128", *words)

    return first, again


@pytest.fixture
def run_by_python(tracked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def first(*words):
        train(tracked, out="run", allow_trackers=bool(words))

    def again(*words):
        longer = recipe_of(tracked, train={"images": 128})
        train(longer, resume_from="run", allow_trackers=bool(words))

    return first, again


@pytest.mark.parametrize("words", [(), ("--allow-trackers",)])
@pytest.mark.parametrize("way", ["run_by_command", "run_by_python"])
def test_trackers_of_a_strangers_recipe_use_a_network_only_with_the_users_word(way, words, request, tmp_path, caplog):
    for step in request.getfixturevalue(way):
        caplog.clear()
        step(*words)
        assert (tmp_path / "run" / "local.txt").exists()
        for name in ("diary", "made"):
            assert (tmp_path / "run" / name).exists() == bool(words)
            assert (f"The tracker '{name}' is left out" in caplog.text) == (not words)
            shutil.rmtree(tmp_path / "run" / name, ignore_errors=True)
        assert ("add --allow-trackers (in Python: allow_trackers=True)" in caplog.text) == (not words)
        assert "'local'" not in caplog.text


def test_only_naming_all_trackers_in_a_command_is_the_users_word(tracked, tmp_path, caplog):
    words = ("run", tracked, "--set", "train.images=16", "--out")
    assert ganzoo(*words, "a", "--set", "trackers.0.name=diary", cwd=tmp_path).returncode == 0
    assert "The tracker 'diary' is left out" in caplog.text
    assert not (tmp_path / "a" / "diary").exists()
    caplog.clear()
    assert ganzoo(*words, "b", "--set", "trackers=[diary]", cwd=tmp_path).returncode == 0
    assert "left out" not in caplog.text
    shutil.rmtree(tmp_path / "b" / "diary")
    changed(tmp_path / "b", status="interrupted")
    assert ganzoo(*words, "b", "--set", "trackers=[diary]", "--continue", cwd=tmp_path).returncode == 0
    assert (tmp_path / "b" / "diary").exists()


@pytest.mark.parametrize(
    "words", [(), ("--allow-trackers",), pytest.param(("--set", "trackers=[diary]"), marks=pytest.mark.full)]
)
def test_a_bench_uses_trackers_of_a_strangers_recipe_as_a_run_does(words, tracked, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    done = ganzoo("bench", tracked, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert bool(list((tmp_path / "runs").rglob("diary"))) == bool(words)
    assert ("The tracker 'diary' is left out" in caplog.text) == (not words)


def test_links_in_a_trackers_folder_are_fine_unless_it_writes_through_them(sent, diary, mine, tmp_path):
    (sent / "diary" / "old" / "logs").mkdir(parents=True)
    (sent / "diary" / "latest").symlink_to("notes.txt")
    (sent / "diary" / "old" / "logs" / "core.log").symlink_to(mine / "notes.txt")  # as wandb does
    for words in (("report", "--no-draw"), ("eval", "--samples", 10), ("doctor",)):
        done = ganzoo(*words, sent, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    done = ganzoo("run", "--resume", sent, "--set", "trackers=[diary]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (sent / "diary" / "notes.txt").read_text().count("'event'") > 0


@pytest.mark.parametrize("words", [("sample", "RUN"), ("eval", "RUN", "--metric", "modes@ring", "--samples", "10")])
def test_what_out_names_is_replaced_or_refused_but_not_followed(words, trained, mine, tmp_path):
    suffix = ".png" if words[0] == "sample" else ".jsonl"
    out = tmp_path / f"out{suffix}"
    out.symlink_to(mine / "notes.txt")
    before = state(mine)
    done = ganzoo(*(trained / "run" if word == "RUN" else word for word in words), "--out", out, cwd=tmp_path)
    assert state(mine) == before
    assert "Traceback" not in done.stderr
    if words[0] == "sample":
        assert (done.returncode, out.is_symlink()) == (2, True)
        assert "was not made by `ganzoo sample`" in done.stderr
        done = ganzoo("sample", trained / "run", "--out", out, "--force", cwd=tmp_path)
        assert (done.returncode, out.is_symlink()) == (0, False)
        assert state(mine) == before
    else:
        assert "holds something other than scores" in done.stderr  # before anything is scored
        (mine / "notes.txt").write_text('{"metric": "modes@ring"}\n')
        before = state(mine)
        done = ganzoo(*words[:1], trained / "run", *words[2:], "--out", out, cwd=tmp_path)
        assert (done.returncode, out.is_symlink(), state(mine)) == (2, True, before)
        assert "is a link" in done.stderr
        assert "modes@ring" in done.stdout  # the scores are shown all the same


def test_a_new_plugin_is_not_written_through_a_link(mine, tmp_path):
    for name, target in (("my-gan", mine), ("other-gan", mine / "nowhere")):
        (tmp_path / name).symlink_to(target)
        before = state(mine)
        done = ganzoo("new", name, cwd=tmp_path)
        assert (done.returncode, state(mine)) == (2, before)


@pytest.mark.parametrize("name", ["references", "mnist"])
def test_nothing_is_cached_through_a_link(name, mine, trained, tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / name).symlink_to(mine)
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    before = state(mine)
    metric, dataset = ("modes@ring", "ring") if name == "references" else ("fid@mnist-cnn", "mnist")
    made = ("--dataset", dataset, "--metric", metric, "--samples", 10)
    done = ganzoo("eval", trained / "run", *made, cwd=tmp_path)
    assert state(mine) == before
    assert done.returncode == 2
    assert f"{name} is a link" in done.stderr


# Nothing steers the terminal, and text is text

STEERING = "\x1b]0;owned\x1b[2J\x9b31m\u202e[/red][bold]:smile:"
SHOWN = "\\x1b]0;owned\\x1b[2J\\x9b31m\\u202e[/red][bold]:smile:"


def is_unsteered(text):
    return "Traceback" not in text and all(one.isprintable() or one == "\n" for one in text)


def unsteered(done):
    return is_unsteered(done.stdout + done.stderr)


@pytest.fixture(scope="module")
def loud(tmp_path_factory):
    """A folder with a recipe whose text steers terminals, and a run of it."""
    folder = tmp_path_factory.mktemp("loud")
    (folder / "loud.yaml").write_text(RECIPE.replace("Points on a ring", json.dumps(STEERING)))
    done = ganzoo("run", "loud.yaml", "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert unsteered(done)
    assert SHOWN in done.stderr
    return folder


@pytest.mark.parametrize(
    "words", [("show", "loud.yaml"), ("doctor", "run"), ("doctor", "run", "--json"), ("show", "loud.yaml", "--json")]
)
def test_texts_of_a_recipe_and_a_run_do_not_steer_the_terminal(words, loud):
    info = json.loads((loud / "run" / "run.json").read_text())
    changed(loud / "run", status=STEERING)
    done = ganzoo(*words, cwd=loud)
    (loud / "run" / "run.json").write_text(json.dumps(info))
    assert unsteered(done)
    assert done.returncode == 0
    if "--json" in words:  # escaped as JSON is, and so whole for a script
        found = json.loads(done.stdout)
        assert STEERING in (found["status"] if words[0] == "doctor" else found["recipe"]["summary"])


@pytest.mark.parametrize(
    "words",
    [
        (f"--no{STEERING}",),
        (STEERING,),
        ("doctor",),
        ("doctor", "a", STEERING),
        ("run", f"--no{STEERING}"),
        ("run", "vanilla-ring", "--seed", STEERING),
        ("run", "vanilla-ring", f"--json={STEERING}"),
    ],
)
def test_a_mistake_in_the_arguments_is_one_sentence_and_does_not_steer_the_terminal(words, call, monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__package__", None)  # as in the installed script, which has a name
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert is_unsteered(err)
    assert err.count("\n") == 1
    assert re.search(r"[.?] Try `ganzoo( doctor| run)? -h`\.$", err.strip())


@pytest.mark.usefixtures("fresh_zoo")
def test_a_plugins_summary_and_its_error_do_not_steer_the_terminal(call, tmp_path, monkeypatch):
    for name, text in {
        "loud_plugin": f"register('loud', lambda: None, summary={STEERING!r})",
        "broken_plugin": f"raise ValueError({STEERING!r})",
    }.items():
        source = f"from ganzoo import hookimpl\n@hookimpl\ndef register_priors(register):\n    {text}\n"
        (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[ganzoo]\n{name} = {name}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    code, out, err = call("list", "priors")
    sys.modules.pop("loud_plugin", None)
    assert code == 0, err
    assert is_unsteered(out + err)
    assert SHOWN in out
    assert SHOWN.rstrip(":") in err


@pytest.mark.parametrize("protocol", [{}, {"n_real": STEERING, "n_fake": None, "dataset": 3}, {STEERING: STEERING}])
def test_scores_of_any_protocol_and_name_are_shown_after_training(protocol, sent, tmp_path):
    assert ganzoo("run", "--resume", sent, cwd=tmp_path).returncode == 0
    RunFolder.open(sent).append_score(
        {"metric": STEERING, "value": 1.0, "floor": 0.5, "weights": "[/x]", "images": 64, "seconds": 1.0}
        | {"protocol": protocol}
    )
    done = ganzoo("run", "--resume", sent, "--set", "evaluate.samples=60", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert unsteered(done)
    assert ("not stated" in done.stderr) == (not protocol)
    for words in (("report", "--no-draw"), ("doctor",)):
        done = ganzoo(*words, sent, cwd=tmp_path)
        assert (done.returncode, unsteered(done)) == (0, True)


class Odd(BaseException):
    pass


def test_an_unforeseen_error_does_not_steer_the_terminal(call, tmp_path, monkeypatch):
    raising = f"class Odd(BaseException):\n    pass\ndef noise(n, seed):\n    raise Odd({STEERING!r})\n"
    (tmp_path / "made_up.py").write_text(raising)
    words = ("eval", "made_up:noise", "--samples", "10")
    done = ganzoo(*words, cwd=tmp_path)
    sys.modules.pop("made_up", None)
    assert done.returncode == 2, done.stderr
    assert unsteered(done)
    assert SHOWN.rstrip(":") in done.stderr

    def broken(what, n, seed):
        raise Odd(STEERING)

    # Nobody foresaw this one, which ganzoo raises itself.
    monkeypatch.setattr("ganzoo.evaluation.evaluate.call", broken)
    code, _, told = call(*words)
    assert code == 1
    assert "Traceback" in told
    assert all(one.isprintable() or one == "\n" for one in told)
    assert SHOWN in told


# Code of others runs only where somebody at the keyboard says so


@pytest.mark.parametrize("words", ["eval", "run", "resume", "report"])
def test_a_recipe_or_a_cache_does_not_make_code_run(words, sent, tmp_path, monkeypatch):
    """The cache holds a repository of that name, as torch.hub would keep it, and weights."""
    hub, fired = tmp_path / "torch" / "hub", tmp_path / "fired"
    fire = f"import os\nos.close(os.open({str(fired)!r}, os.O_CREAT))\nraise OSError('hostile')\n"
    for name in ("facebookresearch_dinov2_main", f"facebookresearch_dinov2_{DINOV2_COMMIT}"):
        (hub / name).mkdir(parents=True)
        (hub / name / "hubconf.py").write_text(fire)
    (hub / "checkpoints").mkdir()
    torch.save({}, hub / "checkpoints" / "dinov2_vits14_pretrain.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    recipe = yaml.safe_load(RECIPE)
    recipe["dataset"] = "mnist"
    recipe["evaluate"] = {"metrics": ["fid@dinov2-vit-s-14"], "samples": 10}
    (tmp_path / "code.yaml").write_text(json.dumps(recipe))
    if words in ("report", "resume"):  # a run folder that was sent, whose recipe names it
        described = yaml.safe_load((sent / "recipe.yaml").read_text())
        described["evaluate"]["metrics"] = ["fid@dinov2-vit-s-14"]
        (sent / "recipe.yaml").write_text(json.dumps(described))
        changed(sent, recipe_digests=[], modality="images")
    said = {
        "eval": ("eval", sent, "--dataset", "mnist", "--metric", "fid@dinov2-vit-s-14", "--samples", 10),
        "run": ("run", "code.yaml", "--out", "out"),
        "resume": ("run", "--resume", sent),
        "report": ("report", sent),
    }[words]
    done = ganzoo(*said, cwd=tmp_path)
    assert not fired.exists()
    if words == "report":
        assert done.returncode == 0, done.stderr
        assert "--allow-code" in (sent / "report.html").read_text()
    else:
        assert done.returncode == 2, done.stderr
        assert "--allow-code" in done.stderr
    if words == "eval":  # the word is given for the pinned commit's files, and these are others
        done = ganzoo(*said, "--allow-code", cwd=tmp_path)
        assert (done.returncode, fired.exists()) == (2, False)
        assert f"is not DINOv2's at commit {DINOV2_COMMIT}, so it is not run" in done.stderr


# A run that was sent reads no pictures of ours unasked


@pytest.fixture(scope="module")
def pictured(tmp_path_factory):
    """A folder with private pictures, and a run that was trained on them."""
    folder = tmp_path_factory.mktemp("pictured")
    (folder / "private").mkdir()
    noise = np.random.default_rng(0)
    for number in range(30):
        picture = Image.fromarray(noise.integers(0, 256, (28, 28), dtype=np.uint8))
        picture.save(folder / "private" / f"{number:02d}.png")
    recipe = yaml.safe_load(RECIPE)
    recipe["dataset"] = {"name": "image-folder", "path": "private", "channels": 1}
    recipe["evaluate"] = {"metrics": ["fid@mnist-cnn"], "samples": 10, "anyway": True}
    (folder / "pictured.yaml").write_text(json.dumps(recipe))
    done = ganzoo("run", "pictured.yaml", "--out", "run", "--data-dir", folder, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


READERS = {
    "resume": ("run", "--set", "train.images=96", "--resume", "RUN"),
    "eval": ("eval", "RUN", "--samples", 10),
    "sample": ("sample", "RUN", "--out", "out.png", "--n", 4),
    "report": ("report", "RUN"),
}


# All readers ask the run folder for the path.
@pytest.mark.parametrize(
    ("reader", "option"),
    [*((reader, "absolute") for reader in READERS), *(("sample", how) for how in ("relative", "climbing", "recorded"))],
)
def test_paths_of_a_run_that_was_sent_are_read_only_with_the_readers_word(
    reader, option, pictured, tmp_path, monkeypatch
):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))  # of somebody who has not trained on them
    sent = shutil.copytree(pictured / "run", tmp_path / "sent")
    private = pictured / "private"
    path, data_dir, cwd = {
        "absolute": (private, None, tmp_path),
        "relative": ("private", None, pictured),
        "climbing": ("../private", sent / "samples", tmp_path),
        "recorded": ("private", pictured, tmp_path),
    }[option]
    if option == "climbing":
        (sent / "private").symlink_to("samples")  # what the words lead to is outside all the same
        path = os.path.relpath(private, (sent / "samples").resolve())
    recipe = yaml.safe_load((sent / "recipe.yaml").read_text())
    recipe["dataset"]["path"] = str(path)
    (sent / "recipe.yaml").write_text(json.dumps(recipe))
    changed(
        sent,
        recipe_digests=[],
        data_dir=data_dir and str(data_dir),
        modality="odd" if reader == "sample" else "images",
    )
    unread = "was not started here, and its dataset 'image-folder' would read"

    def said(*more):
        again = shutil.copytree(sent, tmp_path / "again", dirs_exist_ok=True, symlinks=True)
        done = ganzoo(*(again if word == "RUN" else word for word in READERS[reader]), *more, cwd=cwd)
        return html.unescape((again / "report.html").read_text()) if reader == "report" else done.stderr

    told = said()
    assert unread in told
    assert "--allow-paths" in told
    if option == "absolute":
        assert unread in said("--data-dir", tmp_path)
        for word in (("--data-dir", pictured), ("--allow-paths",)):
            assert unread not in said(*word)


def test_ones_own_run_reads_what_it_read_without_another_word(pictured, tmp_path):
    own = shutil.copytree(pictured / "run", tmp_path / "own")
    for words in (("run", "--set", "train.images=96", "--resume", own), ("eval", own, "--samples", 10)):
        done = ganzoo(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    ganzoo("report", own, cwd=tmp_path)
    assert "was not started here" not in (own / "report.html").read_text()


@pytest.mark.parametrize("mode", [0o777, 0o700])
def test_compiled_code_is_not_taken_from_a_folder_that_others_can_write_to(mode, tmp_path, monkeypatch):
    """torch unpickles what its cache of compiled code holds."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(shared))
    told = []
    CompileEngine(torch.device("cpu"), told.append)
    assert (os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(shared)) == (mode == 0o700)
    assert any(f"others can write to {shared}" in sentence for sentence in told) == (mode == 0o777)
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    CompileEngine(torch.device("cpu"), told.append)
    assert (tmp_path / "cache" / "compiled").stat().st_mode & 0o077 == 0
