"""What ``ganzoo run`` prints: on a terminal, without one, and at its end."""

import fcntl
import io
import os
import re
import shutil
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest
from rich.cells import cell_len

from ganzoo.cli import console
from ganzoo.cli.console import RunProgress
from ganzoo.config.loading import load_recipe
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.start import start


@pytest.fixture
def shown():
    """What a run without a terminal prints, into a text."""
    with RunProgress() as progress:
        progress.console.file = io.StringIO()
        yield progress


@pytest.fixture
def clock(monkeypatch):
    """The time, as the one number of a list."""
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture(scope="module")
def trained(zoo, tmp_path_factory):
    recipe = load_recipe("vanilla-ring", zoo, ["train.images=256", "evaluate.metrics=[]", "train.device=cpu"])
    return start(recipe, zoo, tmp_path_factory.mktemp("trained") / "run").path


def test_a_line_a_minute_without_a_terminal(shown, clock, zoo, tmp_path):
    shown.begin(load_recipe("vanilla-ring", zoo, ["train.images=100000"]), tmp_path)
    on_step = shown.callbacks().on_step
    for second in range(0, 181, 10):
        clock[0] = float(second)
        on_step(1_000 + 100 * second, {})
    lines = [line for line in shown.console.file.getvalue().splitlines() if " left" in line]
    # 100 images in a second: 93,000 left after a minute are 15.5 minutes.
    assert lines == [
        "7,000 of 100,000 images, about 16 min left",
        "13,000 of 100,000 images, about 14 min left",
        "19,000 of 100,000 images, about 14 min left",
    ]


def test_the_time_left_stays_after_a_long_evaluation(shown, clock, zoo, tmp_path):
    left = []
    shown.begin(load_recipe("vanilla-ring", zoo, ["train.images=20000"]), tmp_path)
    callbacks = shown.callbacks()
    for second in (0, 1, 2, 3600, 3601):
        clock[0] = float(second)
        callbacks.on_step(1_000 + min(second, 10) * 1_000, {})
        callbacks.on_scoring(500)
        left.append(shown.bars.tasks[0].fields["left"])
    # Afterwards, 9,000 images are left, and the first 10,000 took an hour with the evaluation.
    assert left == ["-:--:--", "0:00:18", "0:00:17", "0:54:00", "0:54:00"]


def test_small_scores_have_three_digits(shown, zoo, tmp_path):
    shown.begin(load_recipe("vanilla-ring", zoo), tmp_path)
    shown.callbacks().on_scoring(10_000)
    for metric, value in (("memorisation", 0.004), ("kid", 0.0003), ("fid", 12.345)):
        shown.log({"event": "score", "metric": metric, "value": value, "weights": "ema", "images": 1_000})
    assert shown.console.file.getvalue().splitlines()[2:] == [
        "Scoring 10,000 samples",
        "1,000 images: memorisation 0.00400 (ema)",
        "1,000 images: kid 3.00e-04 (ema)",
        "1,000 images: fid 12.3 (ema)",
    ]


def test_a_run_goes_on_when_nobody_reads_its_progress():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        with RunProgress() as shown:
            shown.console.file = pipe
            shown.say("Nobody reads this.")
            shown.say("Nor this.")
        pipe.write("nor what others print")


def test_the_end_names_the_samples_and_what_to_do_next(shown, trained, tmp_path):
    for name, place in (("ring", f"{tmp_path}/ring"), ("with a space", f"'{tmp_path}/with a space'")):
        shown.summarise(RunFolder.open(shutil.copytree(trained, tmp_path / name)))
        said = shown.console.file.getvalue()
        assert f"Samples: {tmp_path / name}/samples/000000000256.png\n" in said
        assert f"Next: `ganzoo report {place}`, or `ganzoo sample {place} --out samples.png`\n" in said


def test_the_end_is_one_row_the_first_metric_of_the_weights_that_sample_uses(shown, trained, tmp_path):
    run = RunFolder.open(shutil.copytree(trained, tmp_path / "run"))
    protocol = {"dataset": "ring", "split": "test", "n_real": 1_000, "n_fake": 500, "extractor": "tiny"}
    protocol |= {"extractor_digest": "12345678", "quantised": "uint8", "resizing": "none"}
    for weights, value in (("ema", 12.5), ("raw", 77.0)):
        for metric in ("fid@tiny", "coverage@tiny"):
            score = {"metric": metric, "value": value, "floor": 0.25, "weights": weights, "images": 256, "seconds": 1.0}
            run.append_score({**score, "protocol": {"metric": metric, **protocol}})
    shown.summarise(run)
    lines = shown.console.file.getvalue().splitlines()
    (row,) = [line for line in lines if "@" in line]
    assert row.split() == ["fid@tiny", "↓", "12.5", "-", "0.25", "+12.2"]
    more = f"`ganzoo report {tmp_path / 'run'}` shows all 4 scores."
    assert f"Lower is better; 500 against 1,000 ring test images, tiny 12345678, uint8, native size. {more}" in lines


def on_a_terminal(command, columns, folder):
    """What a command prints on a terminal of so many columns."""
    main, side = os.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment["TERM"] = "xterm-256color"
    with subprocess.Popen(command, stdin=side, stdout=side, stderr=side, cwd=folder, env=environment) as process:
        os.close(side)
        printed = b""
        with suppress(OSError):  # the other end was closed
            while chunk := os.read(main, 65_536):
                printed += chunk
    os.close(main)
    assert process.returncode == 0, printed.decode()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed.decode())


@pytest.mark.parametrize("columns", [80, pytest.param(60, marks=pytest.mark.full)])
def test_on_a_terminal_the_bar_loses_nothing_and_no_word_breaks(tmp_path, columns):
    settings = ["train.images=3200", "train.log_every=320", "evaluate.every_images=1600", "evaluate.samples=500"]
    settings += ["evaluate.metrics=[modes@ring]", "train.threads=1", "train.device=cpu"]
    command = [sys.executable, "-m", "ganzoo", "run", "vanilla-ring", "--out", "run"]
    printed = on_a_terminal([*command, *(word for one in settings for word in ("--set", one))], columns, tmp_path)
    lines = [line.strip() for line in re.split(r"[\r\n]+", printed) if line.strip()]
    assert max(map(cell_len, lines)) <= columns
    assert printed.index("Engine eager") < printed.index("━")  # loading data may show a bar of its own
    bars = [line for line in lines if "━" in line]
    assert all(re.match(r"[━╸╺]{12} +\d+% (\d+:\d\d:\d\d|-:--:--)($| )", bar) for bar in bars), bars
    assert any(bar.endswith("scoring 500 samples") for bar in bars)
    scored = [bar for bar in bars if "@" in bar]
    assert scored
    assert all(re.fullmatch(r"\S+ +\d+% \S+ modes@ring [\d.]+  [\d,]+ images/s", bar) for bar in scored), scored
    assert bars[-1].split()[1:4:2] == ["100%", "modes@ring"]
    # What the end says, without the line breaks, is in it word for word.
    whole = " ".join(lines)
    for sentence in (
        "Engine eager: on a CPU, compiling usually takes longer than it saves; train.engine=compile tries it.",
        "Higher is better; 500 against 10,000 ring test images, ring ",
        ", not quantised, native size, seed 0. `ganzoo report run` shows all 2 scores.",
        "Next: `ganzoo report run`, or `ganzoo sample run --out samples.png`",
    ):
        assert sentence in whole
    assert any("`ganzoo sample run --out samples.png`" in line for line in lines)
