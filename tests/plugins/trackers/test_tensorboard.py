"""The TensorBoard tracker: what it writes where the package is there, what it says where it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from ganzoo import GanzooError
from ganzoo_plugins.trackers.tensorboard import TensorBoard, numbers


def test_a_missing_package_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(GanzooError, match=r"needs the package tensorboard.*ganzoo-bench\[tensorboard\]"):
        TensorBoard(tmp_path)


def test_every_number_of_a_record_has_its_path() -> None:
    record = {
        "event": "train",
        "images": 128,
        "ok": True,
        "phases": {"generator": {"loss": 1.5}},
        "seconds": 2,
    }
    assert dict(numbers("train", record)) == {"train/phases/generator/loss": 1.5, "train/seconds": 2}


def test_event_files_hold_what_was_logged(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    grid = tmp_path / "grid.png"
    Image.new("L", (8, 4)).save(grid)
    tracker = TensorBoard(tmp_path)
    tracker.log({"event": "train", "images": 128, "losses": {"generator": 0.5}})
    tracker.log({"event": "score", "images": 256, "metric": "fid@mnist-cnn", "weights": "ema", "value": 3.0})
    tracker.picture(256, grid)
    tracker.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/losses/generator")] == [(128, 0.5)]
    assert [(e.step, e.value) for e in events.Scalars("score/fid@mnist-cnn/ema")] == [(256, 3.0)]
    assert [(e.step, e.width, e.height) for e in events.Images("samples")] == [(256, 8, 4)]
