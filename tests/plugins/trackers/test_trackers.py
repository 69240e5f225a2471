"""Trackers: what they write, offline and with the real packages, and what they say where there is none."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from ganzoo import GanzooError
from ganzoo_plugins.trackers.tensorboard import TensorBoard
from ganzoo_plugins.trackers.wandb import WeightsAndBiases


def test_a_missing_package_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(GanzooError, match=r"needs the package tensorboard.*ganzoo-bench\[tensorboard\]"):
        TensorBoard(tmp_path)


def test_event_files_of_tensorboard_hold_what_was_logged(tmp_path: Path) -> None:
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


TINY = (
    "networks.generator.hidden=[8]",
    "networks.discriminator.hidden=[8]",
    "train.batch_size=16",
    "train.images=64",
    "train.log_every=16",
    "evaluate.metrics=[]",
)


@pytest.mark.parametrize(("library", "remedy"), [("wandb", r"ganzoo-bench\[wandb\]"), ("trackio", "install trackio")])
def test_a_missing_library_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library, remedy) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(GanzooError, match=f"needs the package {library}, which is not installed.*{remedy}"):
        WeightsAndBiases(tmp_path, library=library)


def log_a_run(tracker: WeightsAndBiases, folder: Path) -> None:
    grid = folder / "grid.png"
    Image.new("L", (8, 4)).save(grid)
    tracker.log({"event": "start", "images": 0})
    tracker.log({"event": "train", "images": 128, "losses": {"generator": 0.5}})
    tracker.log({"event": "score", "images": 256, "metric": "fid@mnist-cnn", "weights": "ema", "value": 3.0})
    tracker.picture(256, grid)
    tracker.close()


def records(content: bytes):
    """The records of a .wandb file: a header of 7 bytes, then LevelDB's log format, in blocks of 32 KiB."""
    at, parts = 7, b""
    while at + 7 <= len(content):
        if 32_768 - at % 32_768 < 7:
            at += 32_768 - at % 32_768
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_offline_files_of_wandb_hold_what_was_logged(tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb", reason="wandb is not installed: pip install 'ganzoo-bench[wandb]'.")
    from wandb.proto import wandb_internal_pb2

    (tmp_path / "recipe.yaml").write_text("dataset: ring\ntrain: {images: 256}\n")
    (tmp_path / "run.json").write_text(json.dumps({"recipe": "vanilla-ring", "seed": 0, "id": "today"}))
    tracker = WeightsAndBiases(tmp_path, mode="offline")
    log_a_run(tracker, tmp_path)
    wandb.teardown()  # its service writes the last records when it ends
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    rows, config = [], {}
    for data in records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            rows.append(
                {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            )
        if record.HasField("run"):
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
    assert [(row["images"], row.get("train/losses/generator")) for row in rows] == [
        (128, 0.5),
        (256, None),
        (256, None),
    ]
    assert rows[1]["score/fid@mnist-cnn/ema"] == 3.0
    assert rows[2]["samples/width"] == 8
    assert config["train"] == {"images": 256}
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/images/*.png"))
    again = WeightsAndBiases(tmp_path, mode="offline")
    assert again.run.id == tracker.run.id
    again.close()


def test_a_run_that_wandb_has_logged_can_be_opened_again(tmp_path, call) -> None:
    wandb = pytest.importorskip("wandb", reason="wandb is not installed: pip install 'ganzoo-bench[wandb]'.")
    run, tracked = tmp_path / "run", "trackers=[{name: wandb, mode: offline}]"
    settings = [word for setting in (*TINY, tracked) for word in ("--set", setting)]
    code, _, err = call("run", "vanilla-ring", *settings, "--out", run)
    assert code == 0, err
    wandb.teardown()
    assert any(not path.resolve().is_relative_to(tmp_path) for path in run.rglob("*")), "wandb links no log any more"
    for words in (
        ("report", run),
        ("sample", run, "--out", tmp_path / "samples.png"),
        ("doctor", run),
        ("run", "--resume", run, "--set", "train.images=128", "--allow-trackers"),
    ):
        code, _, err = call(*words)
        assert code == 0, err
    wandb.teardown()
    assert len(list(run.glob("wandb/offline-run-*"))) == 2


def test_trackio_keeps_runs_of_one_name_apart_and_a_resumed_one_together(tmp_path, monkeypatch) -> None:
    """trackio knows runs by name."""
    given: list[dict[str, Any]] = []
    fake = SimpleNamespace(init=lambda **options: given.append(options))
    monkeypatch.setitem(sys.modules, "trackio", fake)
    for place in ("a", "b"):
        folder = tmp_path / place / "run"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"recipe": "vanilla-ring", "seed": 0, "id": place}))
    for place in ("a", "b", "a"):
        WeightsAndBiases(tmp_path / place / "run", library="trackio")
    first, other, resumed = [options["name"] for options in given]
    assert first.startswith("run-")
    assert first == resumed
    assert first != other


def test_trackio_takes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="trackio is not installed: pip install trackio.")
    log_a_run(WeightsAndBiases(tmp_path, library="trackio"), tmp_path)
    assert list((tmp_path / "trackio").glob("ganzoo*.db"))
