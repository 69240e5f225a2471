"""A small storm; ``python tests/faults/kill_storm.py --kills 200`` is the large one."""

import json
import subprocess
import sys
from pathlib import Path

STORM = Path(__file__).with_name("kill_storm.py")


def test_six_kills_change_nothing(tmp_path):
    command = [sys.executable, STORM, "--kills", "6", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    verdict = json.loads(done.stdout)
    assert verdict["failures"] == [], done.stderr
    assert verdict["kills"] >= 6
    assert verdict["kills"] == verdict["kills_by_clock"] + verdict["kills_by_file_operation"]
    assert done.returncode == 0
