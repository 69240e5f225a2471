"""A real SLURM of one node, Debian's slurm-wlm, started for the test: a small study through submitit, to its end."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ganzoo.cli import app
from ganzoo.errors import GanzooError
from ganzoo.files import read_lines
from ganzoo_studies import slurm

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
STUDY = """\
question: Does a hinge help a tiny network?
baseline: vanilla-ring
overrides:
  - networks.generator.hidden=[8]
  - networks.discriminator.hidden=[8]
  - train.batch_size=64
  - train.images=6400
  - evaluate.samples=200
variants:
  hinge: [loss=hinge]
measures: [kl@ring]
"""


def test_without_slurm_one_sentence_says_so(tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'ganzoo-bench[cluster]'")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GanzooError, match="sbatch is not installed here"):
        slurm.submit(["study", "run", "losses"], 1, {}, tmp_path)


def test_nothing_is_submitted_through_a_link(tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    mine.mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "slurm").symlink_to(mine)
    words = ["study", "run", "ring", "--launcher", "slurm", "--work", str(tmp_path / "work")]
    ended = CliRunner().invoke(app, [*words, "--results", str(tmp_path / "results")])
    assert f"{tmp_path / 'work' / 'slurm'} is a link" in str(ended.exception)
    assert not any(mine.iterdir())


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A SLURM of this machine alone; its daemons end with the test."""
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'ganzoo-bench[cluster]'")
    missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing:
        pytest.skip(f"SLURM is not installed ({', '.join(missing)} is missing): apt-get install slurm-wlm")
    if os.geteuid() != 0:
        pytest.skip("Starting slurmd needs root.")
    place = Path("/tmp") / f"ganzoo-slurm-{os.getpid()}"
    for name in ("state", "spool", "munge"):
        (place / name).mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    controller, node = free_ports(2)
    key = place / "munge" / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    (place / "munge").chmod(0o711)
    place.chmod(0o755)
    munge = place / "munge" / "socket"
    (place / "slurm.conf").write_text(
        f"""\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={getpass.getuser()}
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={munge}
CredType=cred/munge
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
    )
    monkeypatch.setenv("SLURM_CONF", str(place / "slurm.conf"))
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")
    files = {"--key-file": key, "--socket": munge, "--pid-file": "pid", "--log-file": "log", "--seed-file": "seed"}
    options = [f"{option}={place / 'munge' / name}" for option, name in files.items()]
    daemons = []
    try:
        daemons.append(subprocess.Popen(["munged", "--foreground", "--force", *options]))
        wait(munge.exists, place)
        daemons.append(subprocess.Popen(["slurmctld", "-D"]))
        daemons.append(subprocess.Popen(["slurmd", "-D", "-N", host]))
        wait(lambda: "idle" in output("sinfo", "--noheader", "--format=%t"), place)
        yield place
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(timeout=60)
        shutil.rmtree(place, ignore_errors=True)


def output(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout


def wait(condition, place, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in place.rglob("*log"))
        assert time.monotonic() < deadline, logs
        time.sleep(0.2)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_two_workers_bring_a_study_to_its_end(cluster, tmp_path):
    (tmp_path / "tiny.yaml").write_text(STUDY)
    places = ["--results", str(tmp_path / "results"), "--work", str(tmp_path / "work")]
    command = [sys.executable, "-m", "ganzoo", "study", "run", str(tmp_path / "tiny.yaml"), *places]
    options = ["--launcher", "slurm", "--workers", "2", "--slurm", "cpus_per_task=1"]
    told = subprocess.run([*command, *options], capture_output=True, text=True, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "Submitted 2 workers" in told.stderr
    wait(lambda: not output("squeue", "--noheader").strip(), tmp_path / "work" / "slurm", seconds=800)
    logs = "\n".join(path.read_text() for path in (tmp_path / "work" / "slurm").rglob("*.err"))
    lines = read_lines(tmp_path / "results" / "runs.jsonl")
    assert len(lines) == 6, logs
    assert {line["status"] for line in lines} == {"done"}
    assert (tmp_path / "results" / "tiny.html").exists()
