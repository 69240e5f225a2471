"""``ganzoo run RECIPE --out DIR --continue``: one line that starts, resumes, and ends well where nothing is left."""

import json
import signal
import subprocess
import sys
import time

import pytest

from ganzoo.runs.folder import RunFolder

TINY = [
    "networks.generator.hidden=[8]",
    "networks.discriminator.hidden=[8]",
    "train.batch_size=16",
    "train.images=1600",
    "train.checkpoint_seconds=0",
    "train.log_every=160",
    "evaluate.samples=200",
]


def command(folder, *options, overrides=TINY):
    words = [word for override in overrides for word in ("--set", override)]
    return [sys.executable, "-m", "ganzoo", "run", "vanilla-ring", *words, *options, "--out", str(folder / "run")]


@pytest.mark.slow
def test_the_same_command_starts_resumes_and_ends_well(tmp_path):
    line = command(tmp_path, "--continue")
    process = subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "run" / "checkpoints").glob("*.json")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    other = subprocess.run(
        command(tmp_path, "--continue", overrides=[*TINY, "loss=hinge"]), capture_output=True, text=True, cwd=tmp_path
    )
    assert other.returncode == 2
    assert "was started with other settings" in other.stderr
    again = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    run = RunFolder.open(tmp_path / "run")
    assert run.info["status"] == "done"
    assert "resume" in [event["event"] for event in run.events()]
    done = subprocess.run([*line, "--json"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "done"
    assert RunFolder.open(tmp_path / "run").info == run.info


def test_it_needs_a_recipe_and_a_folder(tmp_path):
    line = [sys.executable, "-m", "ganzoo", "run", "vanilla-ring", "--continue"]
    refused = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)
    assert refused.returncode == 2
    assert "--continue needs a recipe and --out" in refused.stderr
