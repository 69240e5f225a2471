"""What ``ganzoo run`` prints without a terminal, and at its end."""

import io
import os

import pytest

from ganzoo.cli import console
from ganzoo.cli.console import RunProgress
from ganzoo.config.loading import load_recipe


def test_a_line_a_minute_without_a_terminal(zoo, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    with RunProgress() as shown:
        shown.console.file = io.StringIO()
        shown.begin(load_recipe("vanilla-ring", zoo, ["train.images=100000"]), tmp_path)
        on_step = shown.callbacks().on_step
        for second in range(0, 181, 10):
            clock[0] = float(second)
            on_step(1_000 + 100 * second)
    lines = [line for line in shown.console.file.getvalue().splitlines() if " left" in line]
    # 100 images in a second: 93,000 left after a minute are 15.5 minutes.
    assert lines == [
        "7,000 of 100,000 images, about 16 min left",
        "13,000 of 100,000 images, about 14 min left",
        "19,000 of 100,000 images, about 14 min left",
    ]


def test_small_scores_have_three_digits(zoo, tmp_path):
    with RunProgress() as shown:
        shown.console.file = io.StringIO()
        shown.begin(load_recipe("vanilla-ring", zoo), tmp_path)
        for metric, value in (("memorisation", 0.004), ("kid", 0.0003), ("fid", 12.345)):
            shown.log({"event": "score", "metric": metric, "value": value, "weights": "ema", "images": 1_000})
    assert [line for line in shown.console.file.getvalue().splitlines() if "(ema)" in line] == [
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


@pytest.mark.parametrize("name", ["ring", "with a space"])
def test_the_end_names_the_samples_and_what_to_do_next(zoo, tmp_path, name):
    from ganzoo.runs.start import start

    recipe = load_recipe("vanilla-ring", zoo, ["train.images=256", "evaluate.metrics=[]", "train.device=cpu"])
    with RunProgress() as shown:
        shown.console.file = io.StringIO()
        shown.summarise(start(recipe, zoo, tmp_path / name))
    said = shown.console.file.getvalue()
    assert f"Samples: {tmp_path / name}/samples/000000000256.png\n" in said
    place = f"'{tmp_path / name}'" if " " in name else str(tmp_path / name)
    assert f"Next: `ganzoo report {place}`, or `ganzoo sample {place} --out samples.png`\n" in said


def test_the_end_says_which_metrics_were_measured_in_which_way(zoo, tmp_path):
    from ganzoo.runs.start import start

    recipe = load_recipe("vanilla-ring", zoo, ["train.images=256", "evaluate.metrics=[]", "train.device=cpu"])
    run = start(recipe, zoo, tmp_path / "run")
    on = {"dataset": "ring", "split": "test", "n_real": 1_000}

    def said(*metrics):
        for metric in metrics:
            protocol = {"metric": metric, **on, **({} if metric.startswith("reconstruction") else {"n_fake": 500})}
            score = {"metric": metric, "value": 1.0, "floor": None, "weights": "ema", "images": 256, "seconds": 1.0}
            run.append_score({**score, "protocol": protocol})
        with RunProgress() as shown:
            shown.console.file = io.StringIO()
            shown.summarise(run)
        return shown.console.file.getvalue()

    assert "\n500 samples vs 1,000 ring test\n" in said("fid@tiny", "kid@tiny")
    both = said("reconstruction-fid@tiny")
    assert "\nfid@tiny, kid@tiny: 500 samples vs 1,000 ring test\n" in both
    assert "\nreconstruction-fid@tiny: 1,000 ring test images\n" in both
