"""The README's commands are timed in a fresh clone, and the README says what was measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from first_command import MARKERS, sentence
from ganzoo.files import read_lines

ROOT = Path(__file__).parents[2]
README = f"""\
<!-- newcomer: run -->
```bash
test ! -e ~/.cache && mkdir -p .venv/bin && cp ganzoo.sh .venv/bin/ganzoo && .venv/bin/ganzoo run vanilla-mnist
```
<!-- newcomer: test -->
```bash
test ! -e .venv && touch installed && test -e installed
```
{MARKERS[0]}
{MARKERS[1]}
"""
SHORT = "train.images=64 train.batch_size=64 evaluate.every_images=64 evaluate.metrics=[]"
GANZOO = f"""\
#!/bin/sh
case $1 in
  run) exec "{sys.executable}" -m ganzoo "$@" {" ".join(f"--set {setting}" for setting in SHORT.split())} ;;
  eval) exec "{sys.executable}" -m ganzoo "$@" --samples 50 --no-interval ;;
esac
"""


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_both_blocks_are_timed_and_revisions_take_turns(tmp_path):
    for name, text in (("README.md", README), ("ganzoo.sh", GANZOO), ("results/kept", "")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "ganzoo.sh").chmod(0o755)
    (tmp_path / "benchmarks").mkdir()
    script = tmp_path / "benchmarks" / "first_command.py"
    script.write_bytes((ROOT / "benchmarks" / "first_command.py").read_bytes())
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "1"], ["commit", "-qm", "2", "--allow-empty"]):
        subprocess.run([*git, *words], check=True)

    def measured(*arguments):
        done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    lines = measured("--revisions", "HEAD~1", "HEAD", "--seeds", "2")
    assert [line["seed"] for line in lines] == [0, 0, 1, 1]
    assert lines[0]["revision"] == lines[2]["revision"] != lines[1]["revision"]
    assert lines[0]["fid@mnist-ae"] == lines[1]["fid@mnist-ae"] != lines[2]["fid@mnist-ae"]  # the seed is passed on
    assert all(0 < line["training"] < line["after_install"] and line["fid@mnist-cnn"] > 0 for line in lines)
    assert not (tmp_path / "results" / "first-command.jsonl").exists()

    measured()
    run, test = read_lines(tmp_path / "results" / "first-command.jsonl")
    assert (run["command"], test["command"]) == ("run", "test")
    assert f"{MARKERS[0]}\n{sentence(run, test)}\n{MARKERS[1]}" in (tmp_path / "README.md").read_text()


def test_the_sentence_says_how_long_each_part_takes():
    machine = {"cores": 2, "cpu": "Test CPU", "instructions": ["AVX2"]}
    run, test = (
        {"install": 88.0, "after_install": 150.0, "environment": machine},
        {"install": 9.0, "after_install": 300},
    )
    assert sentence(run, test) == (
        "On 2 cores of Test CPU (AVX2), training takes 2.5 min after 1.5 min of installing, "
        "the tests 5.0 min after 9.0 s."
    )


def test_the_readme_says_what_was_measured_last():
    file = ROOT / "results" / "first-command.jsonl"
    said = (ROOT / "README.md").read_text("utf-8").partition(MARKERS[0])[2].partition(MARKERS[1])[0].strip()
    assert said == (sentence(*read_lines(file)[-2:]) if file.exists() else "")
