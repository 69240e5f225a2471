"""A short run of the fuzzer, and findings of each kind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")


def run(*arguments):
    return subprocess.run([sys.executable, str(FUZZ), *arguments], capture_output=True, text=True, timeout=280)


@pytest.mark.slow
def test_every_target_rejects_bad_input_with_a_message():
    done = run("--inputs", "150", "--seed", "12", "--json")
    assert done.returncode == 0, done.stderr
    targets = json.loads(done.stdout)["targets"]
    assert sum(sum(counts.values()) for counts in targets.values()) >= 150
    assert all(counts.get("rejected") and counts.get("accepted") for counts in targets.values()), targets


FINDINGS = {
    "raise KeyError('x')": "KeyError",
    "(folder.parent / 'beside').write_text('x')": "outside the input's folder",
    "while True: pass": "Hang",
    "bytearray(2**40)": "MemoryError",
    "raise GanzooError.__new__(GanzooError, 'two\\nlines\\x1b')": "unreadable error message",
}
"""What an input does, and how it is reported."""


def test_each_finding_is_reported_with_the_command_that_repeats_it():
    script = f"""
import sys
sys.path.insert(0, {str(FUZZ.parent)!r})
import targets, fuzz
from ganzoo.errors import GanzooError
fuzz.CPU_SECONDS = 0.2
for code in {list(FINDINGS)!r}:
    sys.argv = ["fuzz.py", "--target", "bad", "--seed", "3", "--index", "5"]
    targets.all_targets = lambda models: {{"bad": targets.Target(lambda random, folder: exec(code), 1)}}
    print("NEXT", fuzz.main(), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    *reports, rest = done.stderr.split("NEXT 1\n")
    assert (len(reports), rest) == (len(FINDINGS), "")
    for report, what in zip(reports, FINDINGS.values(), strict=True):
        assert what in report
        assert "python tests/fuzz/fuzz.py --seed 3 --target bad --index 5" in report
