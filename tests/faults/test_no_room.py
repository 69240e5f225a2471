"""A full disk, a file size limit and a read-only folder: real ones, in real processes."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

RUN = [sys.executable, "-m", "ganzoo", "run"]
SMALL = [
    f"--set={override}"
    for override in (
        "networks.generator.hidden=[256,256]",
        "networks.discriminator.hidden=[256]",
        "train.images=256",
        "train.batch_size=16",
        "train.log_every=64",
        "train.checkpoint_seconds=0",
        "train.device=cpu",
        "evaluate.every_images=128",
        "evaluate.samples=200",
    )
]


def last_error_line(result: subprocess.CompletedProcess[str]) -> str:
    """The last line on standard error, which must contain no traceback."""
    assert "Traceback" not in result.stderr, result.stderr
    return result.stderr.strip().splitlines()[-1]


@pytest.mark.full  # the same as a full disk, by another error
def test_a_file_size_limit_ends_a_run_with_one_message_and_the_run_resumes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (200_000, 200_000))
    command = [*RUN, "vanilla-ring", *SMALL, "--out", str(run)]
    stopped = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert stopped.returncode == 1
    assert "exceed the size limit of this shell or disk. Everything saved is intact" in last_error_line(stopped)
    resumed = subprocess.run([*RUN, "--resume", str(run)], capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert not [path for path in run.rglob("*") if path.suffix == ".tmp" or path.name.startswith(".tmp")]


def can_mount(folder: Path) -> bool:
    """Whether this process may mount a file system."""
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return False
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def test_a_full_disk_ends_a_run_with_one_message_and_the_run_resumes(
    tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not can_mount(disk):
        pytest.skip("needs the right to mount a file system")
    script = f"""
mount -t tmpfs -o size=900k tmpfs {disk}
"$@" vanilla-ring {" ".join(f"'{option}'" for option in SMALL)} --out {disk}/run
code=$?
cp -r {disk}/run {tmp_path}/run
exit $code
"""
    command = ["unshare", "-m", "sh", "-c", script, "sh", *RUN]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in result.stderr
    assert "The disk is full. Everything saved is intact" in " ".join(result.stderr.split())
    assert result.returncode == 1
    code, _, err = call("run", "--resume", tmp_path / "run")
    assert code == 0, err


def test_a_file_in_place_of_the_folder_is_one_message(
    tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    (tmp_path / "file").write_text("in the way")
    code, _, err = call("run", "vanilla-ring", *SMALL, "--out", tmp_path / "file" / "run")
    assert code == 2
    assert "Cannot create the run folder" in err.strip().splitlines()[-1]


COMMANDS = """
import contextlib, sys
from ganzoo.cli import main
for line in sys.stdin:
    sys.argv = ["ganzoo", *line.split()]
    with contextlib.suppress(SystemExit):
        main()
"""


def test_a_read_only_folder_names_the_file_that_was_asked_for(
    tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    closed, run = tmp_path / "closed", tmp_path / "run"
    closed.mkdir()
    if not can_mount(closed):
        pytest.skip("needs the right to mount a file system")
    assert call("run", "vanilla-ring", *SMALL, "--out", run)[0] == 0
    script = 'mount -t tmpfs tmpfs "$1"; cp -r "$2" "$1/run"; mount -o remount,ro "$1"; shift 2; exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", closed, run, sys.executable, "-c", COMMANDS]
    lines = f"sample {run} --n 2 --out {closed}/x.npz\nreport {closed}/run --no-draw\n"
    done = subprocess.run([*map(str, command)], input=lines, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    for sentence, file in zip(done.stderr.strip().splitlines(), ("x.npz", "run/report.html"), strict=True):
        assert ".tmp" not in sentence
        assert str(closed / file) in sentence
        assert "Read-only file system" in sentence


@pytest.mark.full  # one signal to a real process is in tests/runs/test_loop.py
def test_further_signals_during_saving_do_no_harm(tmp_path: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    run = tmp_path / "run"
    endless = [option.replace("train.images=256", "train.images=100000000") for option in SMALL]
    command = [*RUN, "vanilla-ring", *endless, "--out", str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not list(run.glob("checkpoints/*.safetensors")):
                assert process.poll() is None, process.communicate()
                time.sleep(0.05)
            # Apart from each other, as signals that are pending together count as one.
            while process.poll() is None:
                process.send_signal(signal.SIGTERM)
                time.sleep(0.005)
            process.communicate()
        finally:
            process.kill()  # nothing else would end it after a timeout of this test
    # The last of them may come when Python no longer handles signals.
    assert process.returncode in (143, -signal.SIGTERM)
    shown = max(int(checkpoint.stem) for checkpoint in run.glob("checkpoints/*.safetensors"))
    code, _, err = call("run", "--resume", run, "--set", f"train.images={shown}")
    assert code == 0, err
    assert "Traceback" not in err
