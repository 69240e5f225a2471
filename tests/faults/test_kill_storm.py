"""A short run of the kill test; ``python tests/faults/kill_storm.py --kills 200`` is a long one."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("kill_storm.py")


def test_six_kills_change_nothing(tmp_path):
    command = [sys.executable, SCRIPT, "--kills", "6", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    result = json.loads(done.stdout)
    assert result["failures"] == [], done.stderr
    assert result["kills"] >= 6
    assert result["kills"] == result["kills_by_clock"] + result["kills_by_file_operation"]
    assert done.returncode == 0
