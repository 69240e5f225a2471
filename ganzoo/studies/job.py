"""The process of one job: ``ganzoo run`` on a leash.

``python -m ganzoo.studies.job FOLDER ARGUMENT...`` starts the run ``ganzoo run ARGUMENT... --out FOLDER``, or goes on
with it where the folder has begun. Standard input is the leash: when it ends, whoever started the job is gone, and the
job saves and ends too. A lock beside the folder keeps a second process out of it until then.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import sys
import threading
from pathlib import Path

from filelock import FileLock


def main() -> None:
    """Run the job that the command line describes."""
    folder, *arguments = sys.argv[1:]
    threading.Thread(target=_follow, daemon=True).start()
    path = Path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path):
        status = _status(path)
        if status == "done":
            return
        if status is None:
            # What a process left that was killed before there was a run.
            shutil.rmtree(path, ignore_errors=True)
        how = [*arguments, "--out", folder] if status is None else ["--resume", folder]
        sys.argv = ["ganzoo", "run", *how]
        runpy.run_module("ganzoo", run_name="__main__", alter_sys=True)


def lock(folder: Path) -> FileLock:
    """Held by the process that works on a run folder."""
    return FileLock(folder.with_name(f"{folder.name}.lock"))


def _status(folder: Path) -> str | None:
    """The status that ``run.json`` tells; None where there is no run."""
    try:
        return str(json.loads((folder / "run.json").read_text("utf-8"))["status"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError):
        return "damaged"


def _follow() -> None:
    # Not through sys.stdin, whose lock a thread that waits would keep from the interpreter when it ends.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
