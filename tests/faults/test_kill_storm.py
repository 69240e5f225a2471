"""Short runs of the kill test; ``python tests/faults/kill_storm.py --kills 500`` is a long one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill_storm.py")


@pytest.mark.full
@pytest.mark.parametrize(
    ("chosen", "kills"),
    [(("run", "new"), 4), (("ranks",), 6), (("report", "bench", "leaderboard"), 5)],
    ids=["quick", "ranks", "pages"],
)
def test_kills_change_nothing(chosen, kills):
    command = [sys.executable, SCRIPT, "--kills", str(kills), "--seed", "1"]
    command += [word for name in chosen for word in ("--only", name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    result = json.loads(done.stdout)
    assert result["failures"] == [], done.stderr
    assert result["kills"] >= kills
    assert all(result["of"][name]["kills"] > 0 for name in chosen)
    assert done.returncode == 0
