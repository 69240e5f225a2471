"""Folders for the Hugging Face Hub, and weights that a package leaves out."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from email.message import Message
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import yaml

import ganzoo
from ganzoo.api.dataset import cache_folder
from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError, RunError
from ganzoo.registry.loading import load_zoo
from ganzoo.registry.registry import Entry
from ganzoo.runs.generator import load
from ganzoo.runs.pretrained import card_of, published
from ganzoo.runs.records import read_card
from ganzoo.runs.start import start
from ganzoo_reports.export import publish, publish_folder

SMALL = ["train.images=256", "train.device=cpu", "train.engine=eager", "train.threads=1", "evaluate.samples=50"]
SMALL += ["evaluate.metrics=[quality@ring]", "evaluate.every_images=null", "train.checkpoint_seconds=0"]


@pytest.fixture(scope="module")
def source(zoo, tmp_path_factory):
    return start(load_recipe("vanilla-ring", zoo, SMALL), zoo, tmp_path_factory.mktemp("source") / "run")


@pytest.fixture(scope="module")
def made(source, zoo, tmp_path_factory):
    """A folder for the Hub."""
    folder = tmp_path_factory.mktemp("hub") / "my ring"
    publish_folder(load(source.path), folder, zoo)
    return folder


@pytest.fixture
def hub(made, tmp_path):
    """A copy of it to change."""
    return Path(shutil.copytree(made, tmp_path / "hub"))


def test_a_folder_for_the_hub_draws_the_same_bit_for_bit_in_another_process(source, tmp_path, call):
    out = tmp_path / "my ring"
    code, _, said = call("export", source.path, "--format", "hub", "--out", out)
    assert (code, {file.name for file in out.iterdir()}) == (
        0,
        {"README.md", "config.json", "model.safetensors", "samples.png"},
    )
    assert f"then upload it: hf upload USER/NAME '{out}'" in said
    script = (
        "import sys, ganzoo; sys.stdout.buffer.write(ganzoo.load(sys.argv[1]).sample(50, seed=7).numpy().tobytes())"
    )
    drawn = subprocess.run([sys.executable, "-c", script, out], cwd=tmp_path, capture_output=True, check=True).stdout
    assert drawn == load(source.path).sample(50, seed=7).numpy().tobytes()
    for what, file in ((source.path, "run.npz"), (out, "hub.npz")):
        assert call("sample", what, "--out", tmp_path / file)[0] == 0
    assert (tmp_path / "run.npz").read_bytes() == (tmp_path / "hub.npz").read_bytes()


def test_its_page_says_what_the_run_recorded(made, source):
    _, facts, text = (made / "README.md").read_text("utf-8").split("---\n", 2)
    facts = yaml.safe_load(facts)
    (score,) = [one for one in source.final_scores() if one["weights"] == "ema"]
    assert (facts["library_name"], facts["datasets"], facts["metrics"]) == ("ganzoo", ["ring"], ["quality"])
    (result,) = facts["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "quality", "name": "quality@ring", "value": score["value"]}]
    assert "![Samples](samples.png)" in text
    assert 'ganzoo.load("FOLDER").sample(64, seed=0)' in text
    assert "| quality@ring |" in text


def test_commands_and_recipes_use_it_as_they_use_a_run(made, zoo, tmp_path, call):
    before = {file: file.read_bytes() for file in made.iterdir()}
    assert json.loads(call("eval", made, "--samples", 50, "--no-interval", "--json")[1])["scores"][0]["value"] >= 0
    for arguments in (["--out", tmp_path / "mine.safetensors"], ["--out", tmp_path / "again", "--format", "hub"]):
        assert "is already a pretrained generator" in call("export", made, *arguments)[2]
    begun = start(load_recipe("vanilla-ring", zoo, [*SMALL, f"train.init_from={made}"]), zoo, tmp_path / "run")
    assert begun.info["status"] == "done"
    assert {file: file.read_bytes() for file in made.iterdir()} == before


def test_only_a_folder_of_its_own_is_written_again(source, hub, zoo, tmp_path):
    publish_folder(load(source.path), hub, zoo)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "config.json").write_text("{}")
    with pytest.raises(GanzooError, match=r"photos was not made by `ganzoo export`.*add --force"):
        publish_folder(load(source.path), tmp_path / "photos", zoo)
    page = (hub / "README.md").read_text("utf-8").replace("license: unknown", "license: mit")
    (hub / "README.md").write_text(page, "utf-8")
    with pytest.raises(GanzooError, match=r"README\.md was not made by `ganzoo export`.*add --force"):
        publish_folder(load(source.path), hub, zoo)
    assert (hub / "README.md").read_text("utf-8") == page
    (hub / "README.md").unlink()
    (hub / "README.md").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GanzooError, match=r"README\.md is a link, and ganzoo does not write through links"):
        publish_folder(load(source.path), hub, zoo, force=True)
    assert not (tmp_path / "elsewhere").exists()


def changed(hub, **changes):
    card = json.loads((hub / "config.json").read_text("utf-8"))
    for key, value in changes.items():
        inside, _, last = key.rpartition("__")
        (card[inside] if inside else card)[last] = value
    (hub / "config.json").write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"schema": 2}, r"config\.json was made by a newer ganzoo"),
        (
            {"weights__sha256": "0" * 64},
            "the file of the weights is not the one that the card was made for. `ganzoo.load` reads folders",
        ),
        ({"weights": []}, "list indices must be integers"),
        ({"run__recipe": "../up"}, "cannot be read: recipe: String should match pattern"),
        ({"run__code": [["lossy", "mine", None]]}, r"cannot be read: code\.0\.0: String should match pattern"),
        ({"run__shape": [1 << 40]}, r"shape\.0: Input should be less than"),
        ({"training": {}}, "images: Field required"),
        ({"recipe": {"dataset": "ring"}}, "summary"),
    ],
)
def test_a_strangers_folder_is_checked_like_a_strangers_run(hub, changes, sentence):
    changed(hub, **changes)
    with pytest.raises(GanzooError, match=sentence):
        load(hub)


def test_the_score_of_a_pretrained_generator_says_how_long_it_trained(zoo):
    card = zoo.pretrained.get("cgan-mnist").create()
    _, _, checkpoint = published(card, zoo)
    assert checkpoint.state["seconds"] == read_card(card)["training"]["seconds"] > 0


def test_a_folder_with_a_config_of_another_program_is_none_of_ours(tmp_path, zoo):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert card_of(tmp_path, zoo) is None


def test_a_strangers_folder_leads_nowhere(hub, tmp_path):
    (hub / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(GanzooError, match=r"hub is not a run folder \(no run\.json\)"):
        load(hub)
    (hub / "config.json").write_text('{"schema": 1}')
    with pytest.raises(GanzooError, match=r"hub/config\.json cannot be read: it is not a card that ganzoo wrote"):
        load(hub)
    (hub / "model.safetensors").rename(tmp_path / "kept")
    (hub / "model.safetensors").symlink_to(tmp_path / "kept")
    with pytest.raises(GanzooError, match=r"model\.safetensors is a link, pipe or device"):
        load(hub)
    (hub / "model.safetensors").unlink()
    os.mkfifo(hub / "model.safetensors")
    with pytest.raises(GanzooError, match=r"model\.safetensors is a link, pipe or device"):
        load(hub)


class Files(SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(self.path)
        with suppress(ConnectionError):  # what is too large is not read to its end
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def release(tmp_path, monkeypatch):
    """A server of a release's files, and its address."""
    (tmp_path / "release").mkdir()
    monkeypatch.setattr(Files, "asked", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(tmp_path / "release")))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield tmp_path / "release", f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def left_out(source, zoo, tmp_path, monkeypatch):
    """A pretrained generator whose package holds only its card; the weights."""
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    publish(load(source.path), tmp_path / "far-ring.safetensors", zoo)
    (tmp_path / "package").mkdir()
    card = Path(shutil.move(tmp_path / "far-ring.json", tmp_path / "package"))
    zoo = load_zoo()
    zoo.pretrained.add(Entry("pretrained", "far-ring", lambda: card, "Far", None, "tests", "ganzoo-bench 0.1.0"))
    yield tmp_path / "far-ring.safetensors"
    zoo.pretrained.discard("far-ring")


def test_weights_are_downloaded_only_on_request_and_only_those_of_the_card(left_out, release, monkeypatch, call):
    folder, address = release
    monkeypatch.setenv("GANZOO_PRETRAINED_URL", f"{address}/")
    code, _, said = call("sample", "zoo:far-ring", "--out", left_out.parent / "a.png")
    kept = cache_folder("pretrained") / f"far-ring-{hashlib.sha256(left_out.read_bytes()).hexdigest()[:12]}.safetensors"
    assert code == 2
    assert said.startswith("The installed package leaves out the weights of zoo:far-ring. `ganzoo download far-ring`")
    assert f"from {address}/far-ring.safetensors (0.0 MB); or save far-ring.safetensors as {kept}.\n" in said
    assert json.loads(call("show", "zoo:far-ring", "--json")[1])["training"]["images"] == 256
    assert Files.asked == []
    code, _, said = call("download", "far-ring")
    assert (code, "cannot be downloaded: HTTP Error 404" in said) == (1, True)
    for wrong in (left_out.read_bytes()[:-1], left_out.read_bytes() + b" " * 10**6):
        (folder / left_out.name).write_bytes(wrong)
        code, _, said = call("download", "far-ring")
        assert (code, "the file of the weights is not the one that the card was made for" in said) == (1, True)
        assert list(kept.parent.iterdir()) == []
    shutil.copy(left_out, folder)
    judge = left_out.with_name("far-ring-discriminator.safetensors")
    assert f"{address}/{judge.name} cannot be downloaded: HTTP Error 404" in call("download", "far-ring")[2]
    recipe = load_recipe("vanilla-ring", load_zoo(), [*SMALL, "train.init_from=zoo:far-ring"])
    with pytest.raises(
        GanzooError, match=r"leaves out the discriminator of zoo:far-ring\. `ganzoo download far-ring` gets"
    ):
        start(recipe, load_zoo(), left_out.parent / "run")
    shutil.copy(judge, folder)
    assert call("download", "far-ring") == (0, "", f"The weights of far-ring are at {kept}.\n")
    assert start(recipe, load_zoo(), left_out.parent / "run").info["status"] == "done"
    monkeypatch.delenv("GANZOO_PRETRAINED_URL")
    asked = len(Files.asked)
    for file in (left_out, judge):
        shutil.copy(file, left_out.parent / "package")
    there = load("zoo:far-ring").sample(9)
    assert ganzoo.download("zoo:far-ring") == left_out.parent / "package" / left_out.name
    (left_out.parent / "package" / left_out.name).unlink()
    assert torch.equal(load("zoo:far-ring").sample(9), there)
    assert len(Files.asked) == asked
    kept.write_bytes(b"damaged")
    with pytest.raises(
        GanzooError, match="the file of the weights is not .* `ganzoo download far-ring` fetches it again"
    ):
        load("zoo:far-ring")
    monkeypatch.setenv("GANZOO_PRETRAINED_URL", address)
    ganzoo.download("far-ring")
    assert torch.equal(load("zoo:far-ring").sample(9), there)


def test_the_address_is_that_of_the_packages_release(left_out, monkeypatch):
    described = Message()
    monkeypatch.setattr("ganzoo.runs.pretrained.metadata", lambda name: described)
    with pytest.raises(GanzooError, match=r"from the release, once GANZOO_PRETRAINED_URL is the address"):
        ganzoo.download("far-ring")
    described["Project-URL"] = "Repository, http://127.0.0.1:9/them/theirs"
    address = r"http://127\.0\.0\.1:9/them/theirs/releases/download/v0\.1\.0/far-ring\.safetensors"
    with pytest.raises(GanzooError, match=f"gets the file from {address}"):
        load("zoo:far-ring")
    with pytest.raises(RunError, match=f"{address} cannot be downloaded: .*refused"):
        ganzoo.download("far-ring")
