"""The rules of health, on the events of runs that collapsed and of runs that did not."""

from ganzoo.files import read_lines
from ganzoo.runs.diagnosis import diagnose
from health import COLLAPSED, FIXED_ON, KEPT

RUNS = sorted(KEPT.glob("*.jsonl"))


def verdicts():
    return {file.stem: diagnose(read_lines(file)) for file in RUNS}


def test_enough_runs_are_kept_that_the_rules_were_not_fixed_on():
    counted = [file.stem for file in RUNS if not file.stem.startswith(FIXED_ON)]
    assert len(counted) >= 36
    assert len(COLLAPSED & {*counted}) >= 10


def test_no_collapsed_run_is_called_healthy_and_nearly_all_are_called_collapsed():
    found = {name: one for name, one in verdicts().items() if name in COLLAPSED}
    assert "healthy" not in {one.verdict for one in found.values()}
    missed = [name for name, one in found.items() if "collapse" not in [finding.kind for finding in one.findings]]
    assert len(missed) <= 1, missed


def test_at_most_one_in_twenty_of_the_others_is_called_collapsed():
    others = {name: one for name, one in verdicts().items() if name not in COLLAPSED}
    alarms = [name for name, one in others.items() if "collapse" in [finding.kind for finding in one.findings]]
    assert len(alarms) <= len(RUNS) / 20, alarms
