"""Run folders: two processes in one folder, kills during creation, damage to each file, and other versions."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ganzoo import Tracker
from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError, RunError
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.loop import Callbacks
from ganzoo.runs.records import NewerError
from ganzoo.runs.start import resume, start
from ganzoo.training.device import VARIABLES, available_cores
from ganzoo_reports.run_pages import write_report

TINY = [
    "networks.generator.hidden=[8]",
    "networks.discriminator.hidden=[8]",
    "train.batch_size=16",
    "train.images=64",
    "train.log_every=32",
    "train.checkpoint_seconds=0",
    "train.device=cpu",
    "evaluate.every_images=32",
    "evaluate.samples=200",
]
INFO = {"recipe": "vanilla-ring", "shape": [1, 1, 2], "classes": 8, "status": "running"}


@pytest.fixture(scope="module")
def recipe(zoo):
    return load_recipe("vanilla-ring", zoo, TINY)


@pytest.fixture(scope="module")
def trained(recipe, zoo, tmp_path_factory):
    return start(recipe, zoo, tmp_path_factory.mktemp("trained") / "run").path


@pytest.fixture
def run(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_a_second_process_learns_who_holds_the_lock_and_a_kill_releases_it(run, zoo):
    hold = (
        "import sys, time\nfrom ganzoo.runs.folder import RunFolder\n"
        "with RunFolder.open(sys.argv[1]).claimed():\n"
        "    RunFolder.open(sys.argv[1]).update(status='running')\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", hold, run], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(GanzooError, match=rf"\(process {holder.pid}\) is training in"):
                resume(run, zoo, overrides=["train.images=128"])
            assert RunFolder.open(run).checkpoint().state["images"] == 64  # reading goes on
            assert RunFolder.open(run).info["status"] == "running"
        finally:
            holder.kill()
    assert RunFolder.open(run).info["status"] == "killed"
    assert "Killed; can be resumed" in write_report(run, zoo, draw=False).read_text()
    resumed = resume(run, zoo, overrides=["train.images=128"]).info
    assert (resumed["images"], resumed["status"]) == (128, "done")


def test_a_new_folder_appears_complete_and_an_unfinished_one_counts_as_empty(recipe, tmp_path):
    RunFolder.create(tmp_path / "new", recipe, INFO)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    begun = tmp_path / "begun"
    (begun / "samples").mkdir(parents=True)
    for name in (".lock", "recipe.yaml", ".run.json.0123456789ab.tmp"):
        (begun / name).write_text("")
    RunFolder.create(begun, recipe, INFO)
    assert RunFolder.open(begun).info["recipe"] == "vanilla-ring"


def test_temporary_files_of_dead_processes_are_removed(run, zoo):
    name = "0123456789ab.tmp"
    stale = [run / f".report.html.{name}", run / "checkpoints" / f".x.json.{name}", run / f".run.json.{name}"]
    for path in stale:
        path.write_text("")
    with RunFolder.open(run).claimed():
        assert not any(path.exists() for path in stale)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["run.json", "events.jsonl", "checkpoints/pipe"])
def test_a_pipe_is_rejected_without_waiting(run, name):
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    with pytest.raises(GanzooError, match="is a link, pipe or device"):
        RunFolder.open(run)


def test_a_run_may_rename_and_remove_files_while_its_folder_is_opened(run, monkeypatch):
    """What is there at the first look may be gone at the second: a temporary file, an older checkpoint."""
    first_look = Path.lstat

    def gone_afterwards(path, **options):
        found = first_look(path, **options)
        if path.name.startswith(".passing"):
            path.unlink(missing_ok=True)
        return found

    for folder in ("", "checkpoints"):
        (run / folder / ".passing.tmp").write_text("")
    monkeypatch.setattr(Path, "lstat", gone_afterwards)
    assert RunFolder.open(run).info["status"] == "done"


def test_a_run_that_ends_while_it_is_looked_at_was_not_killed(run, monkeypatch):
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "status": "running"}))
    assert RunFolder.open(run).info["status"] == "killed"

    def ends(path):
        (run / "run.json").write_text(json.dumps(info))
        return False

    monkeypatch.setattr("ganzoo.runs.folder.is_locked", ends)
    assert RunFolder.open(run).info["status"] == "done"


def test_a_run_json_without_a_status_is_of_a_running_run(run):
    info = json.loads((run / "run.json").read_text())
    del info["status"]
    (run / "run.json").write_text(json.dumps(info))
    assert RunFolder.open(run).info["status"] == "killed"


def test_an_unreadable_run_json_is_not_called_missing(run, monkeypatch):
    def forbidden(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(GanzooError, match=r"run\.json cannot be read \(Permission denied\)"):
        RunFolder.open(run)


def test_no_command_takes_an_edited_or_missing_recipe_for_the_run_s_own(run, zoo, call):
    own, scores = (run / "recipe.yaml").read_text(), len(RunFolder.open(run).scores())
    best = RunFolder.open(run).final_scores()
    (run / "recipe.yaml").write_text(own.replace("samples: 200", "samples: 100"))
    for command in (
        "run --resume {run} --set train.images=128",
        "sample {run} --out {run}/a.png",
        "eval {run}",
        "animate {run} --walk --out {run}/a.gif",
    ):
        code, _, err = call(*command.format(run=run).split(), "--device", "cpu")
        assert (code, "recipe.yaml is not as ganzoo wrote it" in err) == (2, True)
    assert len(RunFolder.open(run).scores()) == scores
    assert RunFolder.open(run).final_scores() == best
    assert "recipe.yaml is not as ganzoo wrote it" in call("doctor", run)[2]
    assert "recipe.yaml is not as ganzoo wrote it" in write_report(run, zoo, draw=False).read_text()
    (run / "recipe.yaml").write_text("")
    with pytest.raises(GanzooError, match="damaged or edited"):
        RunFolder.open(run).recipe(zoo)
    (run / "recipe.yaml").unlink()
    with pytest.raises(GanzooError, match=r"recipe\.yaml is missing\. Restore it from a copy"):
        RunFolder.open(run).recipe(zoo)


def test_a_reader_accepts_a_recipe_that_another_process_changes_on_resume(run, zoo):
    reader, writer = RunFolder.open(run), RunFolder.open(run)
    writer.replace_recipe(writer.recipe(zoo, ["train.images=128"]))
    assert reader.recipe(zoo).train.images == 128


def test_a_run_whose_checkpoints_are_gone_does_not_start_over(run, zoo):
    shutil.rmtree(run / "checkpoints")
    before = (run / "events.jsonl").read_bytes()
    with pytest.raises(GanzooError, match=r"no checkpoint any more, though it had saved one after 64 images\. Restore"):
        resume(run, zoo, overrides=["train.images=128"])
    assert (run / "events.jsonl").read_bytes() == before
    # A run that was killed before its first checkpoint has logged losses, but no scores.
    RunFolder.open(run).update(saved_images=None, status="running")
    (run / "scores.jsonl").unlink()
    assert resume(run, zoo).info["status"] == "done"


def test_old_checkpoints_that_a_kill_left_to_remove_go_when_the_run_is_finished(run, zoo):
    folder = run / "checkpoints"
    kept = sorted(path.name for path in folder.iterdir())
    for name in ("json", "safetensors"):  # the last checkpoint is complete, but the kill came before the older one went
        shutil.copy(folder / f"000000000032.{name}", folder / f"000000000016.{name}")
    RunFolder.open(run).update(status="running")
    assert resume(run, zoo).info["status"] == "done"
    assert sorted(path.name for path in folder.iterdir()) == kept


def test_a_name_that_is_too_long_is_one_message(tmp_path, call):
    code, _, err = call("run", "vanilla-ring", *(f"--set={one}" for one in TINY), "--out", tmp_path / ("a" * 300))
    assert (code, err.strip().endswith("run.json: File name too long.")) == (2, True), err


def test_a_folder_in_use_is_refused_before_anything_else_is_printed(run, call):
    code, _, err = call("run", "vanilla-ring", "--out", run)
    assert code == 2
    assert err == (
        f"{run} already holds a run. Resume it with `ganzoo run --resume {run}` (in Python resume_from=...), or give "
        "another --out (in Python out=...).\n"
    )


@pytest.mark.parametrize(
    "command", ["sample {run} --out {run}/a.npz", "animate {run} --out {run}/a.gif", "compare {run} {run}/../b"]
)
def test_a_full_disk_is_no_reason_for_another_out(run, call, monkeypatch, command):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    shutil.copytree(run, run.parent / "b")
    monkeypatch.chdir(run.parent)
    monkeypatch.setattr(os, "fsync", full)
    code, _, err = call(*command.format(run=run).split())
    assert (code, err) == (1, "The disk is full. Free some space, and try again.\n")


@pytest.mark.parametrize(
    ("schema", "kind", "sentence"),
    [
        (0, GanzooError, r"made by an earlier ganzoo \(schema 0; this one reads schema 2\)\. Use the ganzoo that"),
        (1, GanzooError, r"made by an earlier ganzoo \(schema 1; this one reads schema 2\)\. Use the ganzoo that"),
        (99, NewerError, "newer ganzoo"),
    ],
)
def test_a_folder_from_another_ganzoo_is_rejected(run, schema, kind, sentence):
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "schema": schema}))
    with pytest.raises(kind, match=sentence):
        RunFolder.open(run)


def test_one_run_leaves_the_number_of_threads_as_it_was(zoo, tmp_path, monkeypatch):
    for variable in VARIABLES:  # which would be the user's own choice
        monkeypatch.delenv(variable, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        done = start(load_recipe("vanilla-ring", zoo, [*TINY, "train.threads=1"]), zoo, tmp_path / "run")
        assert done.info["environment"]["threads"] == 1
        assert torch.get_num_threads() == min(2, available_cores())
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("method", "error", "cause"),
    [
        ("log", BrokenPipeError("no\nconnection"), "BrokenPipeError: no connection"),
        ("picture", TimeoutError(), "TimeoutError"),
        ("close", OSError("no connection"), "OSError: no connection"),
    ],
)
def test_a_tracker_that_fails_is_named_once_and_gets_nothing_more_while_the_run_goes_on(
    recipe, zoo, tmp_path, method, error, cause
):
    told, said = [], []

    class Notes(Tracker):
        def log(self, record):
            self.called("log")

        def picture(self, images, path):
            self.called("picture")

        def close(self):
            assert RunFolder.open(tmp_path / "run").info["status"] == "done"
            self.called("close")

        def called(self, name):
            told.append((self, name))
            if self is failing and name in (method, "close"):
                raise error

    failing, other = Notes(), Notes()
    callbacks = Callbacks(trackers=[failing, other], log=said.append)
    run = start(recipe, zoo, tmp_path / "run", callbacks=callbacks)
    assert run.info["status"] == "done"
    assert [sentence for sentence in said if "tracker" in sentence] == [
        f"The tracker 'Notes' failed ({cause}). It receives nothing more; the run itself is not affected."
    ]
    calls = [call for tracker, call in told if tracker is failing]
    assert calls[calls.index(method) + 1 :] == ([] if method == "close" else ["close"])
    assert told.count((other, "log")) == len(run.events()) - 1  # all but the start
    assert told[-1] == (other, "close")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 bytes")])
def test_out_of_memory_says_what_to_lower(recipe, zoo, tmp_path, error):
    def tick(images, losses):
        raise error

    with pytest.raises(RunError, match=r"(?i)memory.*Lower train\.batch_size"):
        start(recipe, zoo, tmp_path / "run", callbacks=Callbacks(on_step=tick))
    assert RunFolder.open(tmp_path / "run").info["status"] == "failed"
