"""The TensorBoard tracker: what it writes where the package is there, what it says where it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from ganzoo import GanzooError
from ganzoo_plugins.trackers.tensorboard import TensorBoard


def test_a_missing_package_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(GanzooError, match=r"needs the package tensorboard.*ganzoo-bench\[tensorboard\]"):
        TensorBoard(tmp_path)


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


def test_a_resumed_run_replaces_what_followed_its_checkpoint(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (tmp_path / "events.jsonl").write_text('{"event": "start", "images": 0}\n')
    for value, steps in ((1.0, (128, 256, 300)), (2.0, (256, 384))):
        tracker = TensorBoard(tmp_path)
        for images in steps:
            tracker.log({"event": "train", "images": images, "loss": value})
        tracker.close()
        # Files are read in the order of their names, which hold only the second they were made in.
        (file,) = tmp_path.glob("tensorboard/events.out.tfevents.*.*")
        file.rename(file.with_name(f"events.out.tfevents.{value:.0f}"))
        with (tmp_path / "events.jsonl").open("a") as events:
            events.write('{"event": "resume", "images": 128}\n{"event": "train", "images"')
    written = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    written.Reload()
    assert [(e.step, e.value) for e in written.Scalars("train/loss")] == [(128, 1.0), (256, 2.0), (384, 2.0)]
