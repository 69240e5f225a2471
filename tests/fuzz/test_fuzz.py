"""A short run of the fuzzer, as its command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")


def run(*arguments):
    return subprocess.run([sys.executable, str(FUZZ), *arguments], capture_output=True, text=True, timeout=280)


@pytest.mark.slow
def test_bad_input_is_a_sentence_at_every_door():
    done = run("--inputs", "800", "--seed", "7", "--json")
    assert done.returncode == 0, done.stderr
    doors = json.loads(done.stdout)["doors"]
    assert sum(sum(counts.values()) for counts in doors.values()) == 800
    # An input that is damaged in vain looks at nothing, and so does one that never gets beyond the first check.
    assert all(counts.get("refused") and counts.get("accepted") for counts in doors.values()), doors


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("raise KeyError('x')", "KeyError"),
        ("(folder.parent / 'beside').write_text('x')", "outside of the input's folder"),
        ("while True: pass", "Hang"),
        ("bytearray(2**40)", "MemoryError"),
        ("raise GanzooError.__new__(GanzooError, 'two\\nlines\\x1b')", "no sentence"),
    ],
)
def test_a_finding_is_found_and_said_how_to_repeat(code, what):
    script = f"""
import sys
sys.argv = ["fuzz.py", "--door", "bad", "--seed", "3", "--index", "5"]
sys.path.insert(0, {str(FUZZ.parent)!r})
import doors, fuzz, guard
from ganzoo.errors import GanzooError
guard.CPU_SECONDS = 0.2
def enter(random, folder):
    {code}
doors.open_doors = lambda models: {{"bad": doors.Door(enter, 1)}}
sys.exit(fuzz.main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=280)
    assert done.returncode == 1, done.stderr
    assert what in done.stderr
    assert "python tests/fuzz/fuzz.py --seed 3 --door bad --index 5" in done.stderr
