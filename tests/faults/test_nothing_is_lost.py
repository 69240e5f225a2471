"""Several writers, full disks, damaged lines, kills and foreign files, through the command line: nothing is lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError
from ganzoo.registry.loading import load_zoo
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.provenance import refuse_other_data
from ganzoo.runs.start import start

TINY = [
    "networks.generator.hidden=[8]",
    "networks.discriminator.hidden=[8]",
    "train.batch_size=16",
    "train.images=64",
    "train.log_every=32",
    "train.checkpoint_seconds=0",
    "train.device=cpu",
    "evaluate.samples=200",
]
GANZOO = [sys.executable, "-m", "ganzoo"]


@pytest.fixture(scope="module")
def trained(zoo, tmp_path_factory):
    """A finished run of a second."""
    return start(load_recipe("vanilla-ring", zoo, TINY), zoo, tmp_path_factory.mktemp("trained") / "run").path


@pytest.fixture
def run(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def ganzoo(call):
    """The command, in this process: its exit code, standard output, and standard error as one line."""

    def command(*arguments):
        code, out, err = call(*arguments)
        return code, out, " ".join(err.split())

    return command


def state(path):
    """What changes where a file is written or replaced."""
    facts = os.lstat(path)
    return facts.st_ino, facts.st_mode, facts.st_size, facts.st_mtime_ns


WRITERS = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_records import SCORE, record
from ganzoo.runs.folder import RunFolder
from ganzoo_studies.records import Ledger

WRITERS, EACH, LARGE = 6, 40, "x" * 150_000
folder, run = Path(sys.argv[1]), RunFolder.open(sys.argv[3])
Ledger(folder)
children = []
for writer in range(WRITERS):
    child = os.fork()
    if not child:
        code = 1
        try:
            ledger = Ledger(folder)
            for number in range(EACH):
                text = LARGE if number % 8 == 0 else ""
                ledger.append(record(seed=writer * EACH + number, summary=f"What {text}"), [SCORE])
                run.log({"event": "note", "images": writer * EACH + number, "text": text})
                run.append_score({**SCORE, "images": writer * EACH + number, "text": text})
            code = 0
        finally:
            os._exit(code)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * WRITERS
"""


def test_six_processes_that_write_each_file_of_a_run_and_of_a_bench_lose_nothing(run, tmp_path):
    before = {name: len((run / name).read_bytes().splitlines()) for name in ("events.jsonl", "scores.jsonl")}
    records = Path(__file__).parents[1] / "studies"
    command = [sys.executable, "-c", WRITERS, str(tmp_path / "results"), str(records), str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for path, key in (
        (tmp_path / "results" / "runs.jsonl", "seed"),
        (tmp_path / "results" / "scores.jsonl", "seed"),
        (run / "events.jsonl", "images"),
        (run / "scores.jsonl", "images"),
    ):
        lines = path.read_bytes().splitlines()[before.get(path.name, 0) if path.parent == run else 0 :]
        assert sorted(json.loads(line)[key] for line in lines) == list(range(240)), path
    assert len([score for score in RunFolder.open(run).scores() if "text" in score]) == 240


@pytest.mark.parametrize("lines", [0, 1000])
def test_a_full_disk_adds_no_score_and_says_so(run, tmp_path, ganzoo, lines):
    """To ``--out``, a file of a thousand lines is larger than the limit; one that has to be made has room."""
    scores, out = run / "scores.jsonl", tmp_path / "out.jsonl"
    before = scores.read_bytes()
    if lines:
        out.write_bytes(b'{"metric": "mine"}\n' * lines)
    n = len(RunFolder.open(run).scores())
    # Room for one whole score and a part of the next.
    size, most = len(before) + len(before) // n + 300, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most[1]))
    try:
        code, printed, told = ganzoo("eval", run, "--device", "cpu", "--json", "--samples", 150, "--out", out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert code == 1, told
    assert len(json.loads(printed)["scores"]) == n
    assert f"None of the {n} scores were added to {run} (File too large)" in told
    assert "Traceback" not in told
    assert scores.read_bytes() == before
    assert len(out.read_bytes().splitlines()) == (lines or n)
    assert (f"None of the {n} scores were written to {out} (File too large)" in told) == bool(lines)


def test_a_device_that_is_full_is_one_sentence_and_gets_no_lock(run, ganzoo):
    code, out, err = ganzoo("eval", run, "--device", "cpu", "--json", "--out", "/dev/full")
    assert code == 1
    assert len(json.loads(out)["scores"]) == 6
    assert err.endswith(
        "None of the 6 scores were written to /dev/full (No space left on device). "
        "They are shown above; --out FILE writes them elsewhere."
    )
    assert not Path("/dev/.full.lock").exists()


@pytest.fixture
def results(tmp_path):
    """The first two committed runs, with their scores by one metric, and pictures."""
    committed, folder = Path(__file__).parents[2] / "results", tmp_path / "results"
    runs = (committed / "runs.jsonl").read_text("utf-8").splitlines(keepends=True)[:2]
    chosen = [json.loads(line) for line in runs]
    (folder / "samples").mkdir(parents=True)
    (folder / "runs.jsonl").write_text("".join(runs), "utf-8")
    with (committed / "scores.jsonl").open(encoding="utf-8") as scores:
        lines = [line for line in scores if '"fid@mnist-cnn"' in line and any(run["digest"] in line for run in chosen)]
    (folder / "scores.jsonl").write_text("".join(lines), "utf-8")
    for run in chosen:
        shutil.copy(committed / run["samples"], folder / run["samples"])
    return folder


def test_a_damaged_line_of_a_ledger_is_named_and_kept(results, tmp_path, ganzoo):
    for name, at in (("runs.jsonl", 1), ("scores.jsonl", 2)):
        lines = (results / name).read_text().splitlines(keepends=True)
        lines.insert(at, '{"schema": 3, "recipe": "van\n')
        (results / name).write_text("".join(lines))
    before = (results / "runs.jsonl").read_bytes(), (results / "scores.jsonl").read_bytes()
    code, _, err = ganzoo("leaderboard", results, "--work", tmp_path / "none")
    assert code == 0, err
    for name, number in (("runs.jsonl", 2), ("scores.jsonl", 3)):
        sentence = f"Line {number} of {results / name} is damaged: skipped, but stays in the file."
        assert err.count(sentence) == 1
    assert ((results / "runs.jsonl").read_bytes(), (results / "scores.jsonl").read_bytes()) == before


def test_a_damaged_line_of_a_run_is_named_and_kept(run, ganzoo):
    first, second, *rest = (run / "scores.jsonl").read_text().splitlines(keepends=True)
    odd = [first.replace('"value": ', '"value": x'), second.replace('"images": 64', '"images": "many"')]
    (run / "scores.jsonl").write_text("".join([*odd, *rest]))
    with (run / "events.jsonl").open("ab") as file:
        file.write(b"\xff\xfe\n")
    events = (run / "events.jsonl").read_bytes()
    code, _, err = ganzoo("report", run, "--no-draw")
    assert code == 0, err
    assert f"Lines 1, 2 of {run / 'scores.jsonl'} are damaged" in err
    assert f"Line {len(events.splitlines())} of {run / 'events.jsonl'} is damaged" in err
    assert (run / "events.jsonl").read_bytes() == events
    assert (run / "scores.jsonl").read_text() == "".join([*odd, *rest])
    assert len(RunFolder.open(run).scores()) == len(rest)


@pytest.mark.parametrize(
    ("name", "is_pipe"),
    [("README.md", False), ("index.html", False), ("claims.svg", False), ("README.md", True), ("claims.svg", True)],
)
def test_a_leaderboard_overwrites_only_its_own_files_and_waits_for_no_pipe(results, tmp_path, ganzoo, name, is_pipe):
    if is_pipe:
        os.mkfifo(results / name)
    else:
        (results / name).write_text("My own notes: made by `ganzoo leaderboard`, some of them.\n")
    before = state(results / name)
    code, _, err = ganzoo("leaderboard", results, "--work", tmp_path / "none")
    assert (code, f"{results / name} was not made by `ganzoo leaderboard`" in err) == (2, True)
    assert state(results / name) == before
    made = {"README.md", "index.html", "claims.svg"} - {name}
    assert not any((results / other).exists() for other in made)


@pytest.mark.parametrize("what", ["notes", "pipe", "folder", "recipe.yaml", "nowhere"])
def test_a_report_overwrites_only_a_report(run, tmp_path, ganzoo, what):
    page = run / "report.html"
    if what == "notes":
        page.write_text("<title>My own report</title>")
    elif what == "pipe":
        os.mkfifo(page)
    elif what == "folder":
        page.mkdir()
    else:
        page.symlink_to(what)
    before = state(page)
    code, _, err = ganzoo("report", run, "--no-draw")
    assert (code, f"{page} was not made by `ganzoo report`, so it" in err) == (2, True)
    assert state(page) == before
    if what == "notes":  # what it made itself it makes again, whatever was there before
        page.unlink()
        for _ in range(2):
            assert ganzoo("report", run, "--no-draw")[0] == 0


def test_a_readme_with_markers_in_the_results_folder_gets_the_table_alone(results, tmp_path, ganzoo):
    readme = results / "README.md"
    readme.write_text("Mine\n<!-- leaderboard:begin -->\n<!-- leaderboard:end -->\nstays\n")
    assert ganzoo("leaderboard", results, "--readme", readme, "--work", tmp_path / "none")[0] == 0
    assert readme.read_text().startswith("Mine\n<!-- leaderboard:begin -->\n")
    assert readme.read_text().endswith("\nstays\n")


def test_an_interrupted_new_does_not_block_its_repetition(tmp_path, ganzoo, monkeypatch):
    def interrupted(self, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", interrupted)
        assert ganzoo("new", "some-gan", "--out", tmp_path / "gan")[0] == 130
    code, _, err = ganzoo("new", "some-gan", "--out", tmp_path / "gan")
    assert code == 0, err
    assert (tmp_path / "gan" / "pyproject.toml").exists()
    assert ganzoo("new", "some-gan", "--out", tmp_path / "gan")[0] == 2  # what is whole is left alone


def test_resume_says_what_is_not_as_it_was_and_goes_on(run, ganzoo):
    info = json.loads((run / "run.json").read_text())
    info["environment"]["versions"] |= {"torch": "2.0.0", "ganzoo-bench": "0.0.1"}
    info["environment"]["cpu"] = "Z80"
    (run / "run.json").write_text(json.dumps({**info, "data_digest": "0" * 64}))
    for images in (128, 192):  # said as long as it is so
        code, _, err = ganzoo("run", "--resume", run, "--set", f"train.images={images}")
        assert code == 0, err
        for sentence in (
            "; the run began with torch 2.0.0, so the weights may differ in their bits from an unbroken run's.",
            "; the run began with ganzoo-bench 0.0.1, so the weights may",
            "; the run began on Z80",
            "The training images are not those that the run began with, so from here on it is not one training run on",
        ):
            assert sentence in err


def test_resume_says_nothing_where_all_is_as_it_was(run, ganzoo):
    code, _, err = ganzoo("run", "--resume", run, "--set", "train.images=128")
    assert code == 0, err
    assert "may differ in their bits" not in err
    assert "from here on" not in err


def test_resume_says_that_a_plugin_is_of_another_version(tmp_path, monkeypatch, fresh_zoo, ganzoo):
    installed = tmp_path / "site"
    metadata = installed / "demo-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[ganzoo]\nresume-demo = resume_demo\n")
    (installed / "resume_demo.py").write_text(
        "import ganzoo\nfrom ganzoo_plugins.losses.hinge import Hinge\n\n\n@ganzoo.hookimpl\n"
        "def register_losses(register):\n    register('resume-demo', Hinge, summary='The hinge loss again')\n"
    )
    monkeypatch.syspath_prepend(installed)
    settings = [word for override in [*TINY, "loss=resume-demo"] for word in ("--set", override)]
    code, _, err = ganzoo("run", "vanilla-ring", *settings, "--out", tmp_path / "run")
    assert code == 0, err
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: demo\nVersion: 1.1\n")
    load_zoo.cache_clear()  # as in a new process
    code, _, err = ganzoo("run", "--resume", tmp_path / "run", "--set", "train.images=128")
    sys.modules.pop("resume_demo", None)
    assert code == 0, err
    assert "with the plugin 'resume-demo' of demo 1.1; the run began with demo 1.0, so its method may differ." in err
    (resumed,) = [event for event in RunFolder.open(tmp_path / "run").events() if event["event"] == "resume"]
    assert resumed["plugins"] == {"resume-demo": "demo 1.1"}


@pytest.fixture
def of_pictures(tmp_path, ganzoo):
    """A conditional run of 64 images on the folder `own`, with the classes bright and dark."""
    for name, level in (("bright", 230), ("dark", 20)):
        (tmp_path / "own" / name).mkdir(parents=True)
        for index in range(10):
            Image.new("RGB", (32, 32), (level, level, index)).save(tmp_path / "own" / name / f"{index}.png")
    settings = ("train.images=64", "train.batch_size=16", "train.ema=null", "evaluate.metrics=[]", "train.device=cpu")
    code, _, err = ganzoo(
        "run", "cgan", "--data", tmp_path / "own", "--out", tmp_path / "run",
        *(word for override in settings for word in ("--set", override)),
    )  # fmt: skip
    assert code == 0, err
    assert "Training on 18 images, 32x32 RGB in 2 classes; 2 are held out" in err
    return tmp_path / "run"


def test_resume_says_that_pictures_have_changed(of_pictures, tmp_path, ganzoo):
    Image.new("RGB", (32, 32), "red").save(tmp_path / "own" / "dark" / "1.png")
    code, _, err = ganzoo("run", "--resume", of_pictures, "--set", "train.images=128")
    assert code == 0, err
    assert "The training images are not those that the run began with, so from here on it is not one training" in err


def test_resume_refuses_renamed_classes_and_another_size(of_pictures, tmp_path, ganzoo):
    resume = ("run", "--resume", of_pictures, "--set", "train.images=128")
    (tmp_path / "own" / "bright").rename(tmp_path / "own" / "light")  # now after dark
    code, _, err = ganzoo(*resume)
    assert code == 2
    assert "'image-folder' are now dark, light; the run began with bright, dark. Restore their names" in err
    (tmp_path / "own" / "light").rename(tmp_path / "own" / "bright")
    icons = [tmp_path / "own" / "dark" / f"icon-{number}.png" for number in range(2)]
    for icon in icons:
        Image.new("RGB", (9, 9)).save(icon)
    code, _, err = ganzoo(*resume)
    assert code == 2
    assert "'image-folder' are now 8x8 RGB; the run began with 32x32 RGB. Small pictures decide" in err
    for icon in icons:
        icon.unlink()
    code, _, err = ganzoo(*resume)
    assert code == 0, err


def test_of_many_classes_those_that_changed_are_named(mnist_test):
    names = [f"person {number}" for number in range(200)]
    dataset = replace(mnist_test, classes=(*names[:150], "someone", *names[151:]))
    info = {"shape": [1, 28, 28], "class_names": names}
    with pytest.raises(
        GanzooError, match=r"now \.\.\., someone, \.\.\.; the run began with \.\.\., person 150, \.\.\.\."
    ):
        refuse_other_data(info, dataset, load_recipe("vanilla-mnist", load_zoo()))


def test_resume_finds_pictures_that_have_moved_and_no_others(of_pictures, tmp_path, ganzoo):
    resume = ("run", "--resume", of_pictures, "--set", "train.images=128")
    (tmp_path / "own").rename(tmp_path / "moved")
    code, _, err = ganzoo(*resume)
    assert code == 2
    assert "If the pictures of a run have moved, resume it with --data and their new place." in err
    shutil.copytree(tmp_path / "moved", tmp_path / "changed")
    Image.new("RGB", (32, 32), "red").save(tmp_path / "changed" / "dark" / "1.png")
    before = (of_pictures / "recipe.yaml").read_bytes()
    code, _, err = ganzoo(*resume, "--data", tmp_path / "changed")
    assert code == 2
    assert f"The pictures in {tmp_path / 'changed'} are not those that the run {of_pictures} began with." in err
    assert (of_pictures / "recipe.yaml").read_bytes() == before
    code, _, err = ganzoo(
        "run", "--resume", of_pictures, "--data", tmp_path / "moved"
    )  # it is done, and trains no more
    assert code == 0, err
    code, _, err = ganzoo(*resume)
    assert code == 0, err
    assert json.loads((of_pictures / "run.json").read_text())["images"] == 128


def test_a_run_on_a_registered_dataset_has_no_pictures_to_find(run, tmp_path, ganzoo):
    code, _, err = ganzoo("run", "--resume", run, "--data", tmp_path)
    assert code == 2
    assert "trains on 'ring', not on pictures from a folder. Leave --data out." in err
