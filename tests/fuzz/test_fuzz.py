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
    done = run("--inputs", "400", "--seed", "12", "--json")
    assert done.returncode == 0, done.stderr
    targets = json.loads(done.stdout)["targets"]
    assert sum(sum(counts.values()) for counts in targets.values()) >= 400
    assert all(counts.get("rejected") and counts.get("accepted") for counts in targets.values()), targets


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("raise KeyError('x')", "KeyError"),
        ("(folder.parent / 'beside').write_text('x')", "outside the input's folder"),
        ("while True: pass", "Hang"),
        ("bytearray(2**40)", "MemoryError"),
        ("raise GanzooError.__new__(GanzooError, 'two\\nlines\\x1b')", "unreadable error message"),
    ],
)
def test_a_finding_is_reported_with_the_command_that_repeats_it(code, what):
    script = f"""
import sys
sys.argv = ["fuzz.py", "--target", "bad", "--seed", "3", "--index", "5"]
sys.path.insert(0, {str(FUZZ.parent)!r})
import targets, fuzz, limits
from ganzoo.errors import GanzooError
limits.CPU_SECONDS = 0.2
def enter(random, folder):
    {code}
targets.all_targets = lambda models: {{"bad": targets.Target(enter, 1)}}
sys.exit(fuzz.main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=280)
    assert done.returncode == 1, done.stderr
    assert what in done.stderr
    assert "python tests/fuzz/fuzz.py --seed 3 --target bad --index 5" in done.stderr
