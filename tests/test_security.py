"""What untrusted files must not do: run code, write elsewhere, fill memory, or become part of a page."""

import json
import os
import shutil
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from ganzoo import Images
from ganzoo.build import assemble
from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError, one_line
from ganzoo.evaluation.evaluate import read_pictures
from ganzoo.files import parse_json, temporary_name, write_atomically
from ganzoo.registry.strict import ValidationFailed, parse
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.start import start
from ganzoo_reports.run_pages import write_report
from ganzoo_studies.leaderboard import write_leaderboard
from ganzoo_studies.records import Ledger, RunRecord, read_runs

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>[x](javascript:alert(3))"
    "\x1b[31m\x07\x9b\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
RECIPE = """
summary: Points on a ring
dataset: ring
prior: {name: gaussian, dim: 2}
networks: {generator: {name: mlp, hidden: [4]}, discriminator: {name: mlp, hidden: [4]}}
loss: non-saturating
optimizers: {default: {name: adam, lr: 1e-3}}
train: {images: 64, batch_size: 16, log_every: 16, checkpoint_seconds: 0, device: cpu, engine: eager, precision: fp32}
"""


@pytest.fixture(scope="module")
def whole(zoo, tmp_path_factory):
    """A real run of a second, which could go on."""
    folder = tmp_path_factory.mktemp("ring")
    (folder / "ring-gan.yaml").write_text(RECIPE)
    path = start(load_recipe(folder / "ring-gan.yaml", zoo), zoo, folder / "run").path
    RunFolder.open(path).update(status="interrupted")
    for newest in sorted((path / "checkpoints").iterdir())[-2:]:
        newest.unlink()
    return path


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


# Paths


@pytest.mark.parametrize("name", ["../../escaped", "/etc/passwd", "..", "a/b", "a\x00b", "x" * 5000, "~root"])
def test_names_lead_nowhere(name, zoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def read(*settings):
        recipe = load_recipe("vanilla-mnist", zoo, settings)
        # A path is the place of one's own pictures, which these are not.
        zoo.datasets.get(recipe.dataset.name).create("train", None, **recipe.dataset.options)

    for setting in (f"dataset={json.dumps(name)}", f"loss.name={json.dumps(name)}"):
        with pytest.raises(GanzooError):
            read(setting)
    with pytest.raises(GanzooError):
        load_recipe(name, zoo)
    assert list(tmp_path.iterdir()) == []


def test_a_name_in_a_run_folder_or_a_record_is_a_name_or_the_file_is_damaged(run, tmp_path):
    opened = RunFolder.open(run)
    for name in ("../../escaped", "/etc/passwd", "..", "a\x00b", "a\n", "x" * 5000, HOSTILE, "A B"):
        opened.update(recipe=name)
        with pytest.raises(GanzooError, match=r"run\.json is damaged"):
            RunFolder.open(run)
        for key in ("recipe", "dataset", "digest"):
            (tmp_path / "runs.jsonl").write_text(json.dumps(record(**{key: name})) + "\n")
            with pytest.raises(GanzooError, match="damaged"):
                read_runs(tmp_path)


def record(**facts):
    line = {
        "schema": 3, "recipe": "toy", "dataset": "mnist", "seed": 0, "digest": "0f", "plugin": None, "summary": "A toy",
        "paper": None, "loss": "hinge", "conditional": False, "status": "failed", "error": "It diverged.",
        "images": 0, "seconds": 0.0, "wall_seconds": 1.0, "images_per_second": None, "parameters": {},
        "flops_per_image": None, "engine": None, "precision": None, "threads": 1, "environment": {"cpu": "A CPU"},
        "samples": None, "finished": "2026-01-01T00:00:00+00:00", "command": "ganzoo run toy",
        "started": None, "protocol": {},
    }  # fmt: skip
    return {**line, **facts}


OUTSIDE = ["../secret.png", "/etc/passwd", "samples/../../secret.png", "a\x00b", "x" * 5000]


@pytest.mark.parametrize(("where", "shown"), [*((where, False) for where in OUTSIDE), ("samples/inside.png", True)])
def test_pictures_of_results_come_from_their_folder_alone(where, shown, tmp_path):
    results = tmp_path / "results"
    (results / "samples").mkdir(parents=True)
    for path in (tmp_path / "secret.png", results / "samples" / "inside.png"):
        Image.new("L", (66, 66), 123).save(path)
    (results / "runs.jsonl").write_text(json.dumps(record(samples=where, status="done")) + "\n")
    write_leaderboard(results)
    assert ("data:image" in (results / "index.html").read_text()) == shown


# Links


def test_neither_a_picture_nor_a_temporary_is_written_through_a_link(tmp_path, monkeypatch):
    (tmp_path / "mine").write_text("somebody's own")
    ledger = Ledger(tmp_path / "results")
    (tmp_path / "results" / "samples" / "x.png").symlink_to(tmp_path / "mine")
    (tmp_path / "grid.png").write_bytes(b"grid")
    ledger.append(RunRecord.model_validate(record(samples="samples/x.png")), (), tmp_path / "grid.png")
    temporary = temporary_name(tmp_path / "x.json")
    temporary.symlink_to(tmp_path / "mine")
    # As if a stranger could guess the name.
    monkeypatch.setattr("ganzoo.files.temporary_name", lambda path: temporary)
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "x.json", b"{}")
    assert (tmp_path / "mine").read_text() == "somebody's own"
    assert not (tmp_path / "x.json").exists()
    assert (tmp_path / "results" / "samples" / "x.png").read_bytes() == b"grid"


# Code and memory


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a]\nc: [*b, *b, *b, *b, *b, *b, *b]",
        "a: !!python/object/apply:os.system ['touch escaped']",
        "a: !!python/object:ganzoo.errors.GanzooError {}",
        "!!python/module:os",
    ],
)
def test_bombs_and_objects_of_yaml_are_refused(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GanzooError, match="not allowed"):
        parse(text, "here")
    assert list(tmp_path.iterdir()) == []


def npy(description, shape):
    header = f"{{'descr': {description!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ("(6000000000, 28, 28)", "4,704 GB"),
        ("(1000000, 60, 60)", "'images'"),
        ("(4, 28, 28)", "'images'"),
        (f"({10**30}, 0)", "'images'"),
        ("(-4, -28, 28)", "'images'"),
        ("(4,", "'images'"),
        (f"({2**63}, 2)", "'images'"),
    ],
)
def test_an_archive_of_pictures_that_says_more_than_it_holds_takes_no_memory(tmp_path, shape, sentence):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", npy("|u1", shape) + bytes(1000))
    with pytest.raises(GanzooError, match=sentence) as caught:
        read_pictures(path)
    assert "\n" not in str(caught.value)


class Touch:
    """Would write a file where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("escaped",)


@pytest.mark.parametrize("name", ["images", "labels"])
def test_pickles_are_never_loaded(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    arrays = {"images": np.zeros((2, 8, 8), "uint8"), name: np.array([Touch(), Touch()], dtype=object)}
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(GanzooError, match="allow_pickle=False"):
        read_pictures(tmp_path / "x.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


@pytest.mark.parametrize("setting", [f"{[65_536] * 200}", f"{[1] * 6_000}"])
def test_giant_layers_are_refused_before_they_are_built(setting, zoo, monkeypatch):
    monkeypatch.setattr("ganzoo.build.machine_memory", lambda: 2**32)  # else a large machine builds the first of them
    recipe = load_recipe("vanilla-mnist", zoo, [f"networks.generator.hidden={setting}"])
    with pytest.raises(GanzooError, match=r"generator 'mlp'"):
        assemble(recipe, zoo, Images(1, 28, 28), 10)


def test_deep_and_giant_things_are_refused():
    for odd in (b"[" * 100_000, b'{"a":' * 100_000, b"9" * 10_000, b'"\\ud800"'):
        with pytest.raises(ValueError, match=r"."):
            parse_json(odd)


def test_a_setting_of_a_thousand_levels_is_refused(zoo):
    for override in (f"{'.'.join('a' * 4000)}=1", f"regularizers.{'9' * 5000}.weight=1"):
        with pytest.raises(GanzooError, match="--set"):
            load_recipe("vanilla-mnist", zoo, [override])


# Records


@pytest.mark.parametrize(
    "line",
    [
        {"event": "health", "images": 1, "variety": {"samples": 500}},
        {"event": "health", "images": 1, "gradients": ["x"]},
        {"event": "train", "images": 1, "discriminator.loss": "<b>"},
        {"event": "train", "images": 10**17},
        {"event": "train", "images": True},
        {"event": "score", "images": 1, "metric": 3, "value": 1.0, "weights": "ema", "floor": None},
        {"event": "score", "images": 1, "metric": "fid@x"},
        {"event": "diverged", "images": 1, "broken": []},
        {"event": "train", "images": 1, "name": "\ud800"},
    ],
)
def test_events_of_an_odd_form_are_left_out_and_named(run, zoo, line, caplog):
    whole = RunFolder.open(run).events()
    with (run / "events.jsonl").open("ab") as file:
        file.write(json.dumps(line).encode() + b"\n")
    assert RunFolder.open(run).events() == whole
    number = len((run / "events.jsonl").read_bytes().splitlines())
    assert f"Line {number} of {run / 'events.jsonl'} is damaged" in caplog.text


@pytest.mark.parametrize(
    "facts",
    [
        {"shape": [1, 10**9, 10**9]},
        {"shape": [1, True, 2]},
        {"classes": 10**12},
        {"seconds": "long"},
        {"environment": {"versions": ["torch"]}},
        {"parameters": {"generator": "many"}},
        {"recipe": "\ud800"},
        *("{", "[]", '{"schema": 2}', '{"schema": 2, "recipe": 3}', "[" * 100_000),
    ],
    ids=lambda facts: ascii(facts)[:40],
)
def test_descriptions_of_an_odd_form_are_refused(run, facts):
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(facts if isinstance(facts, str) else json.dumps({**info, **facts}))
    with pytest.raises(GanzooError, match=r"run\.json is damaged"):
        RunFolder.open(run)


@pytest.mark.parametrize("facts", [{"images": 10**17}, {"seconds": 1e300}, {"parameters": {"g": -1}}])
def test_records_with_numbers_out_of_bounds_are_no_records(tmp_path, facts):
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps(record(**facts)) + "\n")
    with pytest.raises(GanzooError, match="damaged"):
        read_runs(tmp_path)


# Terminals and pages


def test_sentences_cannot_steer_a_terminal():
    odd = "\x1b[31mred\x07 \u202egnp.exe \ud800 two\r\nlines\ttab"
    told = one_line(odd)
    assert told == "\\x1b[31mred\\x07 \\u202egnp.exe \\ud800 two lines\\ttab"
    assert str(GanzooError(odd, odd)) == f"{told} {told}"
    assert str(ValidationFailed((), [odd, odd])) == f"{told}\n{told}"
    assert one_line("Größe 28×28, “ema” – done…") == "Größe 28×28, “ema” – done…"


def inert(page):
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "\\u202e" in page.replace("\\\\", "\\")
    assert not {one for one in page if not one.isprintable()} - {"\n"}


def test_nothing_in_a_run_becomes_part_of_its_report(run, zoo):
    folder = RunFolder.open(run)
    folder.update(
        reason=HOSTILE, status=HOSTILE, engine=HOSTILE, plugins={HOSTILE: HOSTILE},
        environment={"gpu": HOSTILE, "versions": {HOSTILE: HOSTILE}}, parameters={HOSTILE: 3},
    )  # fmt: skip
    for images in (64, 128):
        folder.log({"event": "train", "images": images, "seconds": 1.0, f"{HOSTILE}.loss": 0.5})
        folder.log({"event": "health", "images": images, "gradients": {f"{HOSTILE}.{HOSTILE}": 0.5}})
        score = {"metric": HOSTILE, "value": 1.5, "floor": 0.5, "weights": HOSTILE, "seconds": 1.0}
        folder.append_score({**score, "images": images, "protocol": {HOSTILE: HOSTILE}})
    folder.log({"event": "diverged", "images": 128, "broken": [HOSTILE]})
    (run / "recipe.yaml").write_text(f"summary: {json.dumps(HOSTILE)}\n")
    folder.update(recipe_digests=[])
    inert(write_report(run, zoo, draw=False).read_text())


def test_nothing_in_a_record_becomes_part_of_the_leaderboard(tmp_path):
    score = {"metric": HOSTILE, "value": 1.5, "floor": 0.5, "weights": HOSTILE, "images": 1, "seconds": 1.0}
    score["protocol"] = {HOSTILE: HOSTILE}
    facts = dict.fromkeys(("summary", "paper", "loss", "plugin", "error", "engine"), HOSTILE)
    hostile = record(**facts, status="done", environment={"cpu": HOSTILE}, protocol={HOSTILE: HOSTILE})
    failed = record(**facts, digest="1e")
    ledger = Ledger(tmp_path)
    ledger.append(RunRecord.model_validate(hostile), [score])
    ledger.append(RunRecord.model_validate(failed))
    write_leaderboard(tmp_path)
    inert((tmp_path / "index.html").read_text())
    markdown = (tmp_path / "README.md").read_text()
    inert(markdown)
    assert "](javascript:" not in markdown.replace("\\]", "")
