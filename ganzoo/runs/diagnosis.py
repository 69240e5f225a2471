"""A run's diagnosis: what is wrong with it, by how much, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ganzoo.errors import GanzooError
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.symptoms import CHECKS, Events, Finding, listed


@dataclass(frozen=True)
class Diagnosis:
    """What a run's events tell about its health.

    Attributes:
        findings: What is wrong, the gravest first.
        judged: What could be judged.
        unjudged: What could not, each with the reason.
    """

    findings: tuple[Finding, ...]
    judged: tuple[str, ...]
    unjudged: Mapping[str, str]

    @property
    def verdict(self) -> Literal["sick", "healthy", "unknown"]:
        """``unknown`` where nothing was found and nothing but the absence of NaN could be judged."""
        if self.findings:
            return "sick"
        return "healthy" if set(self.judged) - {"divergence"} else "unknown"

    def lines(self) -> list[str]:
        """It all, for a person: a line for each finding, or one that says what was looked at and what was not."""
        if self.findings:
            return [f"{found.kind}: {found.sentence} {found.advice}" for found in self.findings]
        lines = [f"healthy: no sign of {listed(self.judged)}."] if self.verdict == "healthy" else []
        return [*lines, *(f"not judged: {what}, {reason}." for what, reason in self.unjudged.items())]


def examine(run: RunFolder) -> Diagnosis:
    """Diagnose a run, whether it goes on, has ended or was cut off."""
    events = run.events()
    diagnosis = diagnose(events)
    told = [
        replace(found, sentence=f"{found.sentence} {_kept(run)}") if found.kind == "diverged" else found
        for found in diagnosis.findings
    ]
    return replace(diagnosis, findings=tuple(told))


def diagnose(events: Events) -> Diagnosis:
    """Diagnose from a run's events alone, in their order, without those that a resumption made void."""
    findings: list[Finding] = []
    unjudged: dict[str, str] = {}
    for what, check in CHECKS.items():
        found = check(events)
        if isinstance(found, str):
            unjudged[what] = found
        else:
            findings += found
    return Diagnosis(tuple(findings), tuple(what for what in CHECKS if what not in unjudged), unjudged)


def _kept(run: RunFolder) -> str:
    try:
        checkpoint, _ = run.find_checkpoint()
    except GanzooError:
        checkpoint = None
    if checkpoint is None:
        return "It had no checkpoint yet."
    return f"The last good checkpoint, of {checkpoint.state['images']:,} images, is kept."
