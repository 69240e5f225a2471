"""`ganzoo translate`, on a real run of a moment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganzoo import GanzooError, load
from ganzoo_reports.run_figures import interpolation

SHORT = ["train.images=64", "train.batch_size=16", "train.threads=1", "evaluate.every_images=null"]
SMALL = ["networks.generator.width=4", "networks.discriminator.width=4", "dataset.validation=200", "dataset.count=64"]
METRICS = ["evaluate.metrics=[fid@mnist-ae, target-distance, kept-class@mnist-cnn]", "evaluate.samples=200"]


def words(*settings: str) -> list[str]:
    return ["--device", "cpu", *(word for setting in (*SHORT, *settings) for word in ("--set", setting))]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    command = [sys.executable, "-m", "ganzoo", "run", "pix2pix-edges-to-digits", "--out", folder]
    done = subprocess.run([*command, *words(*SMALL, *METRICS)], capture_output=True, text=True, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return folder


def picture(path: Path, size: tuple[int, int], mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def test_a_run_shows_source_result_and_target_and_is_scored(run: Path, call) -> None:
    scores = {one["metric"]: one for one in map(json.loads, (run / "scores.jsonl").read_text().splitlines())}
    assert {"fid@mnist-ae", "target-distance", "kept-class@mnist-cnn"} <= scores.keys()
    assert 0 < scores["target-distance"]["value"] < 1
    assert 0 <= scores["kept-class@mnist-cnn"]["value"] < 0.5
    assert scores["target-distance"]["floor"] is None
    shown = pixels(sorted((run / "samples").glob("*.png"))[-1])
    assert shown.shape == (8 * 30 + 2, 6 * 30 + 2)
    tiles = [shown[2:30, 2 + 30 * column : 30 + 30 * column] for column in range(3)]
    assert set(np.unique(tiles[0])) == {0, 255}
    first = load(run, device="cpu").sources()["source"][0, 0].numpy()
    assert np.array_equal(tiles[0], first)
    assert (tiles[2] > 200).any()  # a digit of the test split
    assert "translates pictures" in interpolation(load(run, device="cpu")).why  # a report has no rows of codes
    code, out, err = call("eval", run, "--metric", "target-distance", "--weights", "raw", "--json", "--device", "cpu")
    assert code == 0, err
    assert json.loads(out)["scores"][0]["value"] == pytest.approx(scores["target-distance"]["value"])


def test_pictures_of_any_size_are_translated(run: Path, call, tmp_path: Path) -> None:
    drawing = picture(tmp_path / "drawing.png", (28, 28), "1")
    rectangle = picture(tmp_path / "photo" / "wide.jpg", (61, 34), "RGB")
    out = tmp_path / "results"
    code, told, err = call("translate", run, drawing, rectangle, "--out", out, "--json", "--device", "cpu")
    assert code == 0, err
    assert json.loads(told)["out"] == [str(out / "drawing.png"), str(out / "wide.png")]
    assert pixels(out / "wide.png").shape == (34, 61)
    source = torch.from_numpy(pixels(drawing).astype(np.uint8) * 255)[None, None]
    generator = load(run, device="cpu")
    result = generator.translate(source)
    assert np.array_equal(result[0, 0].numpy(), pixels(out / "drawing.png"))
    assert torch.equal(generator.translate(source.repeat(3, 1, 1, 1))[2:], result)
    assert torch.equal(generator.sample(1, source=source), result)
    assert call("translate", run, drawing, "--out", out, "--invert", "--device", "cpu")[0] == 0
    assert np.array_equal(generator.translate(255 - source)[0, 0].numpy(), pixels(out / "drawing.png"))


def test_mistakes_are_told_in_a_sentence(run: Path, call, tmp_path: Path) -> None:
    drawing, out = picture(tmp_path / "a.png", (28, 28)), tmp_path / "out"

    def refused(words: str, *arguments: object) -> None:
        code, _, err = call("translate", run, *arguments, "--out", out, "--device", "cpu")
        assert code == 2
        assert words in err.replace("\n", " ")

    refused("There is no picture", tmp_path / "none.png")
    refused("The results of two pictures would have the same name.", drawing, picture(tmp_path / "b" / "a.jpg", (9, 9)))
    (tmp_path / "text.png").write_text("no picture")
    refused("is not a PNG", tmp_path / "text.png")
    picture(out / "a.png", (3, 3))
    refused("a.png was not made by `ganzoo translate`, so it is not overwritten.", drawing)
    generator = load(run, device="cpu")
    with pytest.raises(GanzooError, match=r"Give uint8 \(n, 1, height, width\)"):
        generator.translate(torch.zeros(1, 3, 28, 28, dtype=torch.uint8))
    with pytest.raises(GanzooError, match=r"type float32 and shape \(1, 1, 28, 28\) cannot be translated"):
        generator.translate(torch.zeros(1, 1, 28, 28))


def test_a_run_that_draws_from_codes_translates_nothing(call, tmp_path: Path) -> None:
    drawing = picture(tmp_path / "a.png", (28, 28))
    code, _, err = call("translate", "zoo:dcgan-mnist", drawing, "--out", tmp_path / "out", "--device", "cpu")
    assert code == 2
    assert "does not start from a source" in err.replace("\n", " ")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    for number in range(12):
        for side in "AB":
            picture(tmp_path / "mine" / side / f"{number}.png", (20, 16), "RGB")
    return tmp_path / "mine"


@pytest.mark.parametrize(
    ("recipe", "roles"),
    [
        ("pix2pix", ("generator", "discriminator")),
        ("cyclegan", ("generator", "discriminator", "source_generator", "source_discriminator")),
    ],
)
def test_own_pictures_train_by_data_alone(
    mine: Path, call, tmp_path: Path, recipe: str, roles: tuple[str, ...]
) -> None:
    small = [f"networks.{role}.width=4" for role in roles]
    run, photo = tmp_path / "run", picture(tmp_path / "photo.png", (33, 21), "RGB")
    settings = words(*small, "train.batch_size=4", "train.images=16", "evaluate.metrics=[]")
    code, _, err = call("run", recipe, "--data", mine, "--out", run, *settings)
    assert code == 0, err
    assert "Training on 10 images, 16x20 RGB; 2 are held out." in err
    assert call("translate", run, photo, "--out", tmp_path / "out", "--device", "cpu")[0] == 0
    assert pixels(tmp_path / "out" / "photo.png").shape == (21, 33, 3)
    if recipe == "cyclegan":
        assert load(run, device="cpu").checkpoint.tensors["objective.targets.filled"] == 16
