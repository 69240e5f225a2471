"""``ganzoo animate``: what moves in the pictures, and where it starts and ends."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from ganzoo.cli import app
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.generator import load
from ganzoo_reports import export

LABELLED = ["conditional=true", "train.images=16", "evaluate.metrics=[]", "evaluate.every_images=null"]


def grid(path):
    with Image.open(path) as picture:
        return np.array(picture.convert("L"))


def test_a_training_is_its_grids_in_order_each_with_its_images(copy, zoo):
    said = CliRunner().invoke(app, ["animate", str(copy)]).stderr
    assert said.startswith(f"Saved to {copy}/training.gif (3 frames, ")
    paths = sorted((copy / "samples").glob("*.png"))
    first = grid(paths[0])
    with Image.open(copy / "training.gif") as gif:
        assert (gif.n_frames, gif.info["loop"]) == (3, 0)
        factor = gif.width // first.shape[1]
        assert gif.height == factor * first.shape[0] + export.BAR + export.STRIP
        for index, path in enumerate(paths):
            gif.seek(index)
            shown = np.array(gif.convert("L"))[: factor * first.shape[0] : factor, ::factor]
            assert np.abs(shown.astype(int) - grid(path)).max() <= 2  # of 256 colours, some are the caption's
            durations = gif.info["duration"]
        assert durations == 1900  # the last one stays
    frames, seconds = export.training(RunFolder.open(copy), zoo)
    assert frames[0].tobytes() != frames[1].tobytes()
    assert (len(seconds), seconds[-1]) == (3, 1.9)


def test_what_a_crash_left_is_passed_over_and_one_grid_does_not_move(copy, call, zoo):
    paths = sorted((copy / "samples").glob("*.png"))
    paths[1].write_bytes(paths[1].read_bytes()[:40])
    assert len(export.training(RunFolder.open(copy), zoo)[0]) == 2
    paths[0].unlink()
    assert "only one grid of samples, so nothing moves. Set evaluate.every_images" in call("animate", copy)[2]


def test_grids_of_no_images_are_frames_too(copy, zoo):
    first, *rest = sorted((copy / "samples").glob("*.png"))
    for path in rest:
        path.unlink()
    shutil.copy(first, copy / "samples" / "00.png")
    first.rename(copy / "samples" / "0.png")
    assert len(export.training(RunFolder.open(copy), zoo)[0]) == 2


def test_a_walk_comes_back_to_its_beginning_with_a_class_in_each_column(train, toy_zoo, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "STEPS", 4)
    generator = load(train(tmp_path, *LABELLED), zoo=toy_zoo)
    frames, seconds = export.walk(generator, seed=3)
    assert len(frames) == len(seconds) == export.STOPS * export.STEPS
    codes = generator.assembly.spec.prior.sample(
        export.STOPS * 16, torch.Generator().manual_seed(3), torch.device("cpu")
    ).view(export.STOPS, 16, -1)
    labels = torch.arange(4).repeat(4)
    for stop in (0, 2):
        picture = generator.assembly.spec.modality.picture(generator.decode(codes[stop], labels), 4)[0].numpy()
        shown = np.array(frames[stop * export.STEPS].convert("L"))
        factor = shown.shape[1] // picture.shape[1]
        assert (shown[export.STRIP :: factor, ::factor] == picture).all()
    assert np.array(frames[0])[: export.STRIP].any()  # the classes' names
    near, far = (np.abs(np.array(frames[0], float) - np.array(frames[at], float)).mean() for at in (-1, 3 * 4))
    assert near < far
    (tmp_path / "walk.webp").write_bytes(export.encoded(frames, seconds, ".webp"))
    with Image.open(tmp_path / "walk.webp") as webp:
        assert webp.n_frames == len(frames)
        assert (np.array(webp.convert("RGB")) == np.array(frames[0])).all()


def test_other_endings_are_refused_before_anything_is_drawn(tmp_path, call):
    sentence = "Cannot write an animation to a.mp4. Give --out FILE.gif or FILE.webp.\n"
    assert call("animate", tmp_path, "--out", tmp_path / "a.mp4") == (2, "", sentence)
    code, _, err = call("animate", tmp_path, "--out", tmp_path / "nowhere" / "a.gif")
    assert (code, "No such folder: " in err) == (2, True)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--seed", ["0"]),
        ("--weights", ["raw"]),
        ("--checkpoint", ["last"]),
        ("--device", ["auto"]),
    ],
)
def test_what_only_a_walk_heeds_is_refused_without_one(tmp_path, call, option, value):
    sentence = f"{option} only applies to a walk through latent space. Leave it out, or add --walk.\n"
    assert call("animate", tmp_path, option, *value) == (2, "", sentence)
