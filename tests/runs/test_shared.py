"""What is meant for sharing names neither its maker's folders nor the maker's machine."""

import json
import shutil
import socket
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import ganzoo
from ganzoo import load
from ganzoo.config.loading import load_recipe
from ganzoo.files import without_folders
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.start import resume, start
from ganzoo_reports.export import publish, publish_folder, to_onnx
from ganzoo_reports.run_pages import write_comparison, write_report
from ganzoo_studies.matrix import jobs_of
from ganzoo_studies.records import shared

RECIPE = """
summary: Photos
dataset: {name: image-folder, path: PLACE}
prior: {name: gaussian, dim: 4}
networks: {generator: {name: mlp, hidden: [8]}, discriminator: {name: mlp, hidden: [8]}}
loss: non-saturating
optimizers: {default: {name: adam, lr: 1e-3}}
train: {images: 64, batch_size: 16, log_every: 32, checkpoint_seconds: 0, device: cpu, engine: eager, precision: fp32}
"""
HOME = "home-of-the-maker"


@pytest.fixture(scope="module")
def own(tmp_path_factory, zoo):
    """A recipe for one's own pictures, and a run of it on a machine with a telling name."""
    folder = tmp_path_factory.mktemp("own")
    pictures = folder / HOME / "my photos"
    pictures.mkdir(parents=True)
    for level in range(20):
        Image.new("L", (8, 8), 10 * level).save(pictures / f"{level}.png")
    (folder / "photos.yaml").write_text(RECIPE.replace("PLACE", json.dumps(str(pictures))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "machine-of-the-maker")
        return folder / "photos.yaml", start(load_recipe(folder / "photos.yaml", zoo), zoo, folder / "run").path


def test_only_the_last_name_of_an_absolute_path_is_kept():
    assert without_folders({"path": "/home/ada/photos", "size": 8, "deep": [["/a/b", "c/d", None]]}) == {
        "path": "photos",
        "size": 8,
        "deep": [["b", "c/d", None]],
    }


def test_a_run_folder_does_not_name_the_machine(own):
    for file in own[1].rglob("*"):
        assert file.is_dir() or b"machine-of-the-maker" not in file.read_bytes()


def test_pages_and_cards_do_not_name_the_folder_of_the_pictures(own, zoo, tmp_path):
    run = own[1]
    publish(load(run), tmp_path / "photos.safetensors", zoo)
    written = [write_report(run, zoo, draw=False), tmp_path / "photos.safetensors", tmp_path / "photos.json"]
    publish_folder(load(run), tmp_path / "hub", zoo)
    written += (tmp_path / "hub").iterdir()
    (tmp_path / "photos.onnx").write_bytes(to_onnx(load(run)))
    written.append(tmp_path / "photos.onnx")
    other = shutil.copytree(run, tmp_path / "other")
    written.append(write_comparison([run, other], tmp_path / "compare.html"))
    for file in written:
        content = file.read_bytes().decode(errors="replace")
        for telling in (HOME, "machine-of-the-maker", str(Path(ganzoo.__file__).parents[1]), sys.prefix):
            assert telling not in content, file
    assert torch.equal(load(tmp_path / "hub").sample(3), load(run).sample(3))
    assert "path: my photos" in written[0].read_text()
    assert json.loads(written[2].read_text())["recipe"]["dataset"]["path"] == "my photos"
    assert HOME in (run / "recipe.yaml").read_text()  # without it, the run could not be resumed
    resume(run, zoo, overrides=["train.images=128"])


def test_a_report_of_pictures_that_moved_does_not_name_their_folder(own, zoo, tmp_path):
    run = shutil.copytree(own[1], tmp_path / "run")
    folder = RunFolder.open(run)
    gone = f"/nowhere/{HOME}/photos"
    (run / "recipe.yaml").write_text(own[0].read_text().replace(str(own[0].parent / HOME / "my photos"), gone))
    folder.update(recipe_digests=[])
    page = write_report(run, zoo).read_text()
    assert HOME not in page
    assert "photos" in page


def test_a_record_does_not_name_the_folder_of_the_pictures(own, zoo):
    (job,) = jobs_of(zoo, [str(own[0])], overrides=[f"dataset.path={own[0].parent / HOME / 'my photos'}"])
    assert job.command == "ganzoo run photos.yaml --set 'dataset.path=\"my photos\"'"
    assert HOME in " ".join(job.arguments)
    assert "path: my photos" in shared(job.recipe)
    assert HOME not in shared(job.recipe)
