"""Time to FID: the clock, the marks, what is not measured twice, and the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fid_table import first_below, markdown, spread
from ganzoo import Dataset
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.registry.loading import Zoo
from ganzoo.runs.provenance import environment
from time_to_fid import METRIC, Entrant, follow, main, parse, settles, train_for

SHORT = ["--seeds", "0", "--seconds", "0.02", "--every", "0.01", "--samples", "300", "--device", "cpu"]


class Metronome:
    """Takes a quarter of a second a step by its own clock; draws noise before its fourth step, then real digits.

    Args:
        digits: uint8 (n, 1, 28, 28).
        steps_left: Until its schedule ends; None where it has none.
    """

    name = "metronome"
    weights = "raw"
    images_per_step = 10

    def __init__(self, digits: Tensor | None = None, steps_left: int | None = None) -> None:
        self.digits = digits
        self.steps_left = steps_left
        self.steps = 0
        self.facts: dict[str, Any] = {}

    def train(self, steps: int) -> float:
        self.steps += steps
        if self.steps_left is not None:
            self.steps_left -= steps
        return steps / 4

    def sample(self, n: int, seed: int) -> Tensor:
        assert self.digits is not None
        noise = torch.randint(0, 256, (n, 1, 28, 28), generator=torch.Generator().manual_seed(seed))
        return noise.to(torch.uint8) if self.steps < 4 else self.digits[:n]

    def flops_per_image(self) -> float:
        return 0.0

    def close(self) -> None:
        pass


def test_training_stops_at_its_time_or_at_the_end_of_its_schedule() -> None:
    assert train_for(Metronome(), 5.0) == (20, 5.0)
    assert train_for(Metronome(), 0.1) == (1, 0.25)
    assert train_for(Metronome(steps_left=3), 5.0) == (3, 0.75)


@pytest.mark.full
def test_a_mark_is_passed_at_the_first_score_below_it(zoo: Zoo, mnist: Dataset) -> None:
    evaluator = Evaluator([METRIC], zoo.datasets.get("mnist"), {}, None, zoo, torch.device("cpu"))
    args = parse(["--seconds", "9", "--every", "0.5", "--samples", "500", "--marks", "50", "1e9"])
    curve: list[dict[str, Any]] = []
    assert follow(Metronome(mnist.images), evaluator, args, curve) == "marks"
    assert [(point["seconds"], point["images"]) for point in curve] == [(0.5, 20), (1.0, 40)]
    assert first_below(curve, 1e9) == {"seconds": 0.5, "images": 20}
    assert first_below(curve, 50) == {"seconds": 1.0, "images": 40}
    args.seconds = 0.5
    assert follow(Metronome(mnist.images), evaluator, args, []) == "time"
    args.seconds = 9
    assert follow(Metronome(mnist.images, steps_left=3), evaluator, args, []) == "schedule"


def test_a_training_that_ended_at_an_easy_mark_does_not_answer_for_a_harder_one() -> None:
    entrant = Entrant("recipe", "vanilla-mnist", 0, Metronome, "d")
    args = parse(["--seconds", "9", "--marks", "50"])
    there = environment(torch.device("cpu"))
    known = {**line("vanilla-mnist", 0, (1.0, 40, 49.0)), "environment": there, "every": 20.0, "samples": 10_000}
    known |= {"facts": {"digest": "d"}, "kind": "recipe", "limit": 9.0, "ended": "marks"}
    assert settles(known, entrant, args, torch.device("cpu"))
    args.marks = [50, 10]
    assert not settles(known, entrant, args, torch.device("cpu"))
    assert settles({**known, "ended": "time"}, entrant, args, torch.device("cpu"))
    assert settles({**known, "ended": "schedule"}, entrant, args, torch.device("cpu"))
    args.seconds = 10
    assert not settles({**known, "ended": "time"}, entrant, args, torch.device("cpu"))


@pytest.mark.full
def test_real_contenders_are_measured_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results" / "curves.jsonl"
    ask = ["--tutorial", "--recipe", "vanilla-mnist", *SHORT, "--out", str(out)]
    main([*ask, "--marks", "1e9", "0.001"])
    ours, tutorial = (json.loads(line) for line in out.read_text(encoding="utf-8").splitlines())
    assert (ours["contender"], ours["kind"], ours["weights"]) == ("vanilla-mnist", "recipe", "ema")
    assert (tutorial["contender"], tutorial["kind"], tutorial["weights"]) == ("tutorial", "tutorial", "raw")
    for line in (ours, tutorial):
        assert line["curve"][-1]["seconds"] >= 0.02
        assert line["curve"][0]["images"] % line["facts"]["batch"] == 0
        assert line["marks"]["0.001"] is None
        assert line["marks"]["1e+09"]["images"] == line["curve"][0]["images"]
        assert line["environment"]["versions"]["torch"] == torch.__version__
        assert line["ended"] == "time"
    table = out.with_suffix(".md").read_text(encoding="utf-8")
    assert f"| vanilla-mnist | {ours['facts']['precision']} | ema | 128 |" in table
    before = out.read_bytes()
    main([*ask, "--marks", "5"])
    assert out.read_bytes() == before
    assert capsys.readouterr().out.count("already measured") == 2
    # A longer time is another question.
    main([*ask, "--seconds", "0.03", "--marks", "5"])
    assert out.read_text(encoding="utf-8").count('"limit": 0.03') == 2


def test_what_cannot_be_measured_is_refused_before_anything_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time_to_fid.Evaluator.prepare", lambda self: None)
    out = ["--out", str(tmp_path / "curves.jsonl")]
    with pytest.raises(SystemExit, match="vanilla-ring.*does not train on plain MNIST"):
        main(["--tutorial", "--recipe", "vanilla-ring", *SHORT, *out])
    with pytest.raises(SystemExit, match="no-such-recipe"):
        main(["--recipe", "no-such-recipe", *SHORT, *out])
    assert not (tmp_path / "curves.jsonl").exists()
    with pytest.raises(SystemExit):
        parse(["--every", "0"])  # which would never end


def line(contender: str, seed: int, *points: tuple[float, int, float]) -> dict[str, Any]:
    """A measured line with this curve of (seconds, images, value)."""
    return {
        "schema": 1,
        "contender": contender,
        "kind": "peer",
        "seed": seed,
        "metric": METRIC,
        "weights": "raw",
        "samples": 1000,
        "every": 10.0,
        "limit": 100.0,
        "ended": "time",
        "curve": [dict(zip(("seconds", "images", "value"), point, strict=True)) for point in points],
        "facts": {"batch": 64, "version": "1.0"},
        "environment": {"cpu": "a processor", "gpu": None, "threads": 2, "versions": {"torch": "9.9"}},
    }


def test_the_table_has_means_and_deviations_over_seeds() -> None:
    lines = [
        line("other", 0, (10, 1000, 99.0)),  # measured again below
        line("other", 0, (10, 1000, 30.0), (20, 2000, 15.0), (30, 3000, 4.0)),
        line("other", 1, (10, 2000, 12.0), (20, 4000, 11.0)),
    ]
    (found,) = [row for row in markdown(lines, [5, 20, 1]).splitlines() if row.startswith("| other")]
    assert found == "| other 1.0 | – | raw | 64 | 150 ± 71 | 15 ± 7 s (2k) | 30 s (3k, 1 of 2) | – | 7.50 ± 4.95 |"
    elsewhere = {**lines[1], "environment": {**lines[1]["environment"], "cpu": "another"}}
    assert [row for row in markdown([*lines, elsewhere], [5]).splitlines() if row.startswith("##")] == [
        "## a processor",
        "## another",
    ]


def test_trainings_of_other_limits_are_not_in_one_table() -> None:
    lines = [line("short", 0, (10, 1000, 9.0)), {**line("long", 0, (10, 1000, 9.0)), "limit": 600.0}]
    short, long = markdown(lines, [5]).split("## a processor")[1:]
    assert ("100 s at most" in short, "| short" in short, "| long" in short) == (True, True, False)
    assert ("600 s at most" in long, "| long" in long) == (True, True)


def test_two_number_formats_and_two_recipes_of_one_name_are_not_averaged() -> None:
    facts = [{"precision": "fp32", "digest": "a" * 64}, {"precision": "bf16", "digest": "a" * 64}]
    facts += [{"precision": "bf16", "digest": "b" * 64}]
    lines = [
        {**line("dcgan", seed, (10, 1000, 9.0)), "facts": {"batch": 64, **fact}} for fact in facts for seed in (0, 1)
    ]
    rows = [row.split(" | ")[:2] for row in markdown(lines, [5]).splitlines() if row.startswith("| dcgan")]
    assert rows == [["| dcgan aaaaaaaa", "fp32"], ["| dcgan aaaaaaaa", "bf16"], ["| dcgan bbbbbbbb", "bf16"]]
    (alone,) = [row for row in markdown(lines[:2], [5]).splitlines() if row.startswith("| dcgan")]
    assert alone.startswith("| dcgan | fp32 | raw |")


def test_a_mark_that_a_training_ended_before_was_not_missed() -> None:
    early = [{**line("other", seed, (10, 1000, 4.0)), "ended": "marks"} for seed in (0, 1)]
    (row,) = [row for row in markdown(early, [5, 1]).splitlines() if row.startswith("| other")]
    assert "| 10 ± 0 s (1k) | not tried |" in row
    late = line("other", 2, (10, 1000, 4.0), (20, 2000, 0.5))
    (row,) = [row for row in markdown([*early, late], [5, 1]).splitlines() if row.startswith("| other")]
    assert "| 10 ± 0 s (1k) | 20 s (2k) |" in row


def test_one_value_has_no_deviation() -> None:
    assert spread([3.0], "{:.1f}") == "3.0"
    assert spread([], "{:.1f}") == "–"
