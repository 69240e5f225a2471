"""``results/runs.jsonl`` and ``scores.jsonl``, and the pages made from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mutations
from PIL import Image

from ganzoo_studies.leaderboard import whole_page, write_leaderboard
from ganzoo_studies.ranking import rankings
from ganzoo_studies.records import read_runs
from targets import Target

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

PROTOCOL = {
    "metric": "fid",
    "extractor": "mnist-cnn",
    "extractor_digest": "fc644c26bbd6efc9",
    "dataset": "mnist",
    "split": "test",
    "n_real": 10_000,
    "n_fake": 10_000,
    "resizing": "none",
    "quantised": "uint8",
    "sample_seed": 0,
}
SCORE = {"metric": "fid@mnist-cnn", "value": 4.0, "floor": 0.1, "weights": "ema", "images": 1000, "seconds": 10.0}
RECORD: dict[str, Any] = {
    "schema": 3,
    "recipe": "toy-gan",
    "dataset": "mnist",
    "seed": 0,
    "digest": "0f" * 32,
    "plugin": "toy",
    "summary": "A toy",
    "paper": "Nobody 2020",
    "loss": "hinge",
    "conditional": False,
    "status": "done",
    "error": None,
    "images": 1000,
    "seconds": 10.0,
    "wall_seconds": 12.0,
    "images_per_second": 100.0,
    "parameters": {"generator": 1000, "discriminator": 500},
    "flops_per_image": 2e6,
    "engine": "eager",
    "precision": "fp32",
    "threads": 1,
    "environment": {"cpu": "A CPU", "gpu": None, "versions": {}},
    "samples": "samples/toy.png",
    "finished": "2026-01-01T00:00:00+00:00",
    "command": "ganzoo run toy-gan --seed 0",
    "started": "2026-01-01T00:00:00+00:00",
    "protocol": {"dataset": "mnist", "split": "test", "n_fake": 10_000, "sample_seed": 0},
}
ROW: dict[str, Any] = {
    **{key: RECORD[key] for key in ("digest", "recipe", "dataset", "seed", "precision", "started")},
    **SCORE,
    "schema": 2,
    "hardware": "A CPU",
    "interval": [3.9, 4.1],
    "protocol": PROTOCOL,
}
FAILED = {**RECORD, "recipe": "other", "digest": "1e" * 32, "status": "failed", "error": "It diverged."}


class Targets:
    """Records and their scores, damaged."""

    def all(self) -> dict[str, Target]:
        """By name."""
        return {"results": Target(self.results, 5), "leaderboard": Target(self.leaderboard, 1)}

    def results(self, random: Random, folder: Path) -> None:
        """The records and the tables generated from them."""
        self._write(random, folder)
        shown = whole_page(rankings(read_runs(folder))).encode().decode()
        told = [line for line in shown.splitlines() if not line.startswith("- `")]  # commands are shown as code
        assert "<script>alert" not in "\n".join(told), "markup of a stranger's is markup in Markdown"

    def leaderboard(self, random: Random, folder: Path) -> None:
        """All pages, with pictures."""
        (folder / "samples").mkdir()
        picture = folder / "samples" / "toy.png"
        Image.new("L", (66, 66)).save(picture)
        if random.random() < 0.3:
            picture.write_bytes(mutations.content(random, picture.read_bytes()))
        self._write(random, folder)
        for file in write_leaderboard(folder)[0]:
            assert file.suffix != ".html" or b"<script>alert" not in file.read_bytes(), (
                "untrusted markup reaches the page"
            )

    def _write(self, random: Random, folder: Path) -> None:
        records = [
            mutations.either(random, RECORD),
            mutations.as_json({**RECORD, "seed": 1}),
            mutations.as_json(FAILED),
        ]
        if random.random() < 0.2:
            records.append(mutations.either(random, {**FAILED, "seed": 2}))
        rows = [mutations.as_json(ROW), mutations.either(random, {**ROW, "weights": "raw"})]
        (folder / "runs.jsonl").write_bytes(b"\n".join(records) + b"\n")
        (folder / "scores.jsonl").write_bytes(b"\n".join(rows) + b"\n")
