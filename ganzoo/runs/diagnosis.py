"""A run's diagnosis: what is wrong with it, by how much, and what to do. docs/health.md gives the reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final, Literal

from ganzoo.errors import GanzooError
from ganzoo.runs.folder import RunFolder

LEAST_VARIETY: Final = {"classes": 0.5, "distance": 0.5, "nearest": 0.25}
"""Shares of the real images' variety below which samples have collapsed."""
GROWING: Final = 1.25
"""Variety that grew by this factor since the last evaluation is that of a young generator, not of a collapsed one."""
FEWEST_SAMPLES: Final = 100
FEWEST_LOGS: Final = 4
SURE_LOSS: Final = 0.02
"""A discriminator's loss when it is right about real and fake with a probability of 99% each: -2 ln 0.99."""
SURE_GAP: Final = 0.5
"""Distance between the mean real and fake logits that a loss which has reached its floor of zero implies at least."""
VANISHED: Final = 1e-3
EXPLODED: Final = 1e3
LAGGING: Final = 1.25

Events = Sequence[Mapping[str, Any]]
Series = Mapping[str, Sequence[float]]
"""Values by name, in the order they were logged."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a run.

    Attributes:
        kind: ``diverged``, ``collapse``, ``saturation``, ``vanishing``, ``exploding`` or ``ema-lag``.
        sentence: What was seen, with the figure.
        advice: What to do, in one sentence.
    """

    kind: str
    sentence: str
    advice: str


def _divergence(events: Events) -> list[Finding] | str:
    return [
        Finding(
            "diverged",
            f"Training stopped after {event['images']:,} images, where {listed(event['broken'])} "
            f"{'was' if len(event['broken']) == 1 else 'were'} no longer finite.",
            "Start anew with a lower learning rate, with train.precision=fp32, or with a regularizer such as r1.",
        )
        for event in events
        if event["event"] == "diverged"
    ]


def _collapse(events: Events) -> list[Finding] | str:
    # By images, because a resumed run may repeat the evaluation it was cut off in.
    measured = {event["images"]: event for event in events if _is_enough(event)}
    if not measured:
        return f"no evaluation has drawn {FEWEST_SAMPLES} samples yet"
    *_, last = measured.values()
    *earlier, now = map(_shares, measured.values())
    low = [what for what, least in LEAST_VARIETY.items() if now.get(what, 1.0) < least]
    if not low or (earlier and all(now[what] > GROWING * earlier[-1].get(what, 1.0) for what in low)):
        return []
    return [
        Finding(
            "collapse",
            f"The samples are too much alike: {listed([_in_words(what, last, now) for what in low])}.",
            "Train longer if this run was short, for every generator begins like that; else lower the learning "
            "rates, enlarge the batch, or add a regularizer such as r1.",
        )
    ]


def _is_enough(event: Mapping[str, Any]) -> bool:
    return "variety" in event and event["variety"]["samples"] >= FEWEST_SAMPLES


def _shares(event: Mapping[str, Any]) -> dict[str, float]:
    """Variety as shares of the real images'; 1 where even those have none."""
    seen, real = event["variety"], event["real_variety"]
    return {
        what: seen[what] / real[what] if real[what] else 1.0 for what in LEAST_VARIETY if what in seen and what in real
    }


def _in_words(what: str, event: Mapping[str, Any], shares: Mapping[str, float]) -> str:
    if what == "classes":
        return (
            f"they show {event['variety'][what]:.1f} classes where real images show {event['real_variety'][what]:.1f}"
        )
    if what == "distance":
        return f"two of them differ {shares[what]:.0%} as much as two real images"
    return f"each has a neighbour at {shares[what]:.0%} of the distance that real images have theirs"


def _saturation(events: Events) -> list[Finding] | str:
    logged = _series(event for event in events if event["event"] == "train")
    if not _with_logits(logged):
        return f"it takes {FEWEST_LOGS} log points of a phase that reports real_logits and fake_logits"
    return [
        Finding(
            "saturation",
            f"The {phase} is sure of everything: its loss came down to {_now(logged[f'{phase}.loss']):.2g}, and below "
            f"{SURE_LOSS} it tells the generator little that it could learn from.",
            f"Lower the {phase}'s learning rate, make it smaller, or add a regularizer such as r1.",
        )
        for phase in _sure_phases(logged)
    ]


def _with_logits(logged: Series) -> list[str]:
    phases = [name.removesuffix(".real_logits") for name in logged if name.endswith(".real_logits")]
    complete = [phase for phase in phases if {f"{phase}.fake_logits", f"{phase}.loss"} <= logged.keys()]
    return [phase for phase in complete if len(logged[f"{phase}.real_logits"]) >= FEWEST_LOGS]


def _sure_phases(logged: Series) -> list[str]:
    return [
        phase
        for phase in _with_logits(logged)
        if 0 <= _now(logged[f"{phase}.loss"]) < SURE_LOSS
        # A Wasserstein loss is near zero where the critic knows nothing, and then its logits agree.
        and abs(_now(logged[f"{phase}.real_logits"]) - _now(logged[f"{phase}.fake_logits"])) > SURE_GAP
    ]


def _gradients(events: Events) -> list[Finding] | str:
    norms = _series(event["gradients"] for event in events if "gradients" in event)
    # A regularizer's own turn, discriminator/r1, is not judged: a penalty that is obeyed has no gradient left.
    norms = {name: values for name, values in norms.items() if "/" not in name and len(values) >= FEWEST_LOGS}
    if not norms:
        return f"it takes {FEWEST_LOGS} log points"
    sure = _sure_phases(_series(event for event in events if event["event"] == "train"))
    changes = {name: _now(values) / values[0] if values[0] else 0.0 for name, values in norms.items()}
    exploding = [_exploding(name, norms[name]) for name, change in changes.items() if change > EXPLODED]
    vanishing = [
        _vanishing(name, norms[name])
        for name, change in changes.items()
        # That a discriminator without errors has no gradient is the same finding once more.
        if change < VANISHED and name.rpartition(".")[0] not in sure
    ]
    return [*exploding, *vanishing]


def _exploding(name: str, norms: Sequence[float]) -> Finding:
    return Finding(
        "exploding",
        f"The gradient of {_owner(name)} exploded: its norm went from {norms[0]:.2g} to {_now(norms):.2g}.",
        "Lower the learning rate, normalise (spectral_norm: true), or add a regularizer such as r1.",
    )


def _vanishing(name: str, norms: Sequence[float]) -> Finding:
    return Finding(
        "vanishing",
        f"The gradient of {_owner(name)} vanished: its norm went from {norms[0]:.2g} to {_now(norms):.2g}.",
        "Choose a loss that does not saturate (non-saturating, hinge), or weaken what it learns from with a lower "
        "learning rate or a regularizer such as r1.",
    )


def _owner(name: str) -> str:
    """The network, and the phase where that is not its own."""
    phase, _, role = name.rpartition(".")
    return f"the {role}" if phase == role else f"the {role} in the {phase}'s turn"


def _ema_lag(events: Events) -> list[Finding] | str:
    scores = [event for event in events if event["event"] == "score" and event["metric"].startswith("fid@")]
    last = {event["weights"]: event for event in scores if event["images"] == scores[-1]["images"]}
    if not {"ema", "raw"} <= last.keys():
        return "no evaluation gave both the averaged and the raw weights a fid"
    ema, raw = last["ema"], last["raw"]
    if ema["value"] <= LAGGING * raw["value"] or ema["value"] - raw["value"] <= (ema["floor"] or 0):
        return []
    return [
        Finding(
            "ema-lag",
            f"The averaged weights lag behind: their {ema['metric']} is {ema['value']:.2f}, "
            f"and that of the raw weights {raw['value']:.2f}.",
            "Train longer (train.images), or average over fewer steps (a lower train.ema).",
        )
    ]


CHECKS: Mapping[str, Callable[[Events], list[Finding] | str]] = {
    "divergence": _divergence,
    # Causes before effects.
    "saturation": _saturation,
    "vanishing or exploding gradients": _gradients,
    "collapse": _collapse,
    "averaged weights that lag": _ema_lag,
}
"""What is looked for; each check gives its findings, or the reason why it could not look."""


def _series(records: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    series: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.items():
            if isinstance(value, int | float):
                series.setdefault(name, []).append(value)
    return series


def _now(values: Sequence[float]) -> float:
    """The median of the last quarter, and of three values at least: where a run has arrived, without its spikes."""
    return median(values[-max(3, len(values) // 4) :])


def listed(words: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


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
