"""``ganzoo run RECIPE --out DIR --continue``: one command that starts, resumes, and exits with 0 if done."""

import json
import signal
import subprocess
import sys

from ganzoo.runs.folder import RunFolder

TINY = [
    "networks.generator.hidden=[8]",
    "networks.discriminator.hidden=[8]",
    "train.batch_size=16",
    "train.images=480",
    "train.checkpoint_seconds=0",
    "train.log_every=160",
    "evaluate.samples=200",
]
# Killed as its second checkpoint takes its place: the first is whole, and there are steps left.
KILLED = """
import os, signal, sys
from ganzoo.cli import main
def watch(event, details):
    if event == "os.rename" and str(details[1]).endswith("000000000320.json"):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
main()
"""


def words(folder, *overrides):
    settings = [word for override in (*TINY, *overrides) for word in ("--set", override)]
    return ["run", "vanilla-ring", *settings, "--continue", "--out", str(folder / "run")]


def test_the_same_command_starts_resumes_and_ends_well(tmp_path, call):
    killed = subprocess.run([sys.executable, "-c", KILLED, *words(tmp_path)], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    code, _, err = call(*words(tmp_path, "loss=hinge"))
    assert code == 2
    assert "was started with other settings" in err
    code, _, err = call(*words(tmp_path))
    assert code == 0, err
    run = RunFolder.open(tmp_path / "run")
    assert run.info["status"] == "done"
    assert [event["images"] for event in run.events() if event["event"] == "resume"] == [160]
    code, out, err = call(*words(tmp_path), "--json")
    assert code == 0, err
    assert json.loads(out)["status"] == "done"
    code, _, err = call(*words(tmp_path, "loss=hinge"))
    assert code == 2
    assert "was started with other settings" in err
    assert RunFolder.open(tmp_path / "run").info == run.info


def test_it_needs_a_recipe_and_a_folder(call):
    code, _, err = call("run", "vanilla-ring", "--continue")
    assert code == 2
    assert "--continue needs a recipe and --out" in err
