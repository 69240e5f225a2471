"""Diagnosis of a run: what is wrong, by how much, and what to do. docs/health.md explains the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from ganzoo.evaluation.requests import better
from ganzoo.formatting import listed

# Collapsed below these shares of real variety. Runs of before spread was measured have a distance.
MIN_VARIETY: Final = {"classes": 0.5, "spread": 0.3, "distance": 0.5, "nearest": 0.25}
MIN_MODES: Final = 0.5  # of those that real images have
# Low variety that grew by a quarter since six tenths of the images, and was never sufficient: young, not collapsed. Not
# since the previous evaluation: the variety of a collapsed run goes up and down; nor from next to nothing.
MIN_GROWTH: Final = 1.25
EARLIER: Final = 0.6
NOTHING: Final = 0.1  # of what is sufficient
GROWING: Final = "its samples vary less than real images, but more than before"
MIN_SAMPLES: Final = 25  # fewer real images can differ from others of them as much as from a collapse
MIN_LOG_POINTS: Final = 4
SATURATED_LOSS: Final = 0.02  # logistic loss of a discriminator that is 99% sure of real and fake images: -2 ln 0.99
MIN_LOGIT_GAP: Final = 0.5  # at a loss near zero, the mean real and fake logits are at least this far apart
VANISHED: Final = 1e-3  # gradient norm relative to the first log point
EXPLODED: Final = 1e3
EMA_LAG: Final = 1.25  # FID of the averaged weights relative to the raw weights
YOUNG: Final = 45.0  # a run with fewer seconds of training than this is too young to judge,
YOUNG_IMAGES: Final = 10_000  # and so is one that has seen fewer images, because its network or machine is slow
YOUNG_IN_MODES: Final = 5.0  # the same for known modes, which are found in seconds, or not at all,
YOUNG_IN_MODES_IMAGES: Final = 100_000  # on a machine that shows this many in them
# A score this many times real vs real (or, if higher is better, this share of it) is far from good; but not if real vs
# real is about 0 (kl, kid, fid-infinity), where a ratio means nothing.
FAR: Final = 100.0
FAR_BELOW: Final = 0.1
MIN_DEVIATIONS: Final = 5.0  # standard deviations within which a gap need not close, and real vs real may be 0
STILL_FALLING: Final = 0.9  # still improving: the distance to real vs real fell below this share of the previous one
ADVICE: Final[Mapping[str, str]] = {
    "diverged": "Start over with a lower learning rate, with train.precision=fp32, or with a regularizer such as r1.",
    "saturation": "Lower its learning rate, make it smaller, or add a regularizer such as r1.",
    "vanishing": "Choose a loss that does not saturate (non-saturating, hinge), or weaken the discriminator with a "
    "lower learning rate or a regularizer such as r1.",
    "exploding": "Lower the learning rate, normalise (spectral_norm: true), or add a regularizer such as r1.",
    "collapse": "If this run was short, train longer: every generator starts like this; otherwise lower the learning "
    "rates, increase the batch size, or add a regularizer such as r1.",
    "ema-lag": "Train longer (train.images), or average over fewer steps (a lower train.ema).",
    "poor": "Compare the recipe's settings with its paper, or start from one that works: `ganzoo list pretrained`.",
}
SHORTFALL: Final[Mapping[str, str]] = {
    "classes": "they cover {seen:.1f} classes and real images {real:.1f}",
    "spread": "they vary {share:.0%} as much as real images",
    "distance": "two of them differ {share:.0%} as much as two real images",
    "nearest": "the nearest neighbour is at {share:.0%} of the distance between real neighbours",
}

Events = Sequence[Mapping[str, Any]]
Found = list[tuple[str, str]]  # the kind, a key of ADVICE, and a sentence with the number


@dataclass(frozen=True)
class Finding:
    """One problem of a run."""

    kind: str  # a key of ADVICE
    sentence: str  # what is wrong, with the number
    advice: str  # what to do, in one sentence


def _divergence(events: Events) -> Found | str:
    return [
        (
            "diverged",
            f"Training stopped after {event['images']:,} images, where {listed(event['broken'])} "
            f"{'was' if len(event['broken']) == 1 else 'were'} no longer finite.",
        )
        for event in events
        if event["event"] == "diverged"
    ]


def _saturation(events: Events) -> Found | str:
    saturated = _saturated_phases(events)
    if saturated is None:
        return f"this needs {MIN_LOG_POINTS} log points of a phase that reports real_logits and fake_logits"
    return [
        (
            "saturation",
            f"The {phase} makes no mistakes: its loss fell to {loss:.2g}, and below {SATURATED_LOSS} the generator "
            "learns little from it.",
        )
        for phase, loss in saturated.items()
    ]


def _saturated_phases(events: Events) -> dict[str, float] | None:  # None if too little is logged to judge
    logged = _series(event for event in events if event["event"] == "train")
    phases = [name.removesuffix(".real_logits") for name in logged if name.endswith(".real_logits")]
    recent = {
        phase: [_recent(logged[f"{phase}.{what}"]) for what in ("loss", "real_logits", "fake_logits")]
        for phase in phases
        if {f"{phase}.fake_logits", f"{phase}.loss"} <= logged.keys()
        and len(logged[f"{phase}.real_logits"]) >= MIN_LOG_POINTS
    }
    if not recent:
        return None
    return {
        phase: loss
        for phase, (loss, real, fake) in recent.items()
        # A Wasserstein loss is near zero if the critic knows nothing, but then its logits agree.
        if 0 <= loss < SATURATED_LOSS and abs(real - fake) > MIN_LOGIT_GAP
    }


def _gradients(events: Events) -> Found | str:
    norms = _series(event["gradients"] for event in events if "gradients" in event)
    # Not a lazy regularizer's phase, such as discriminator/r1: a satisfied penalty has no gradient.
    norms = {name: values for name, values in norms.items() if "/" not in name and len(values) >= MIN_LOG_POINTS}
    if not norms:
        return f"this needs {MIN_LOG_POINTS} log points"
    saturated = _saturated_phases(events) or {}
    found = []
    for name, values in norms.items():
        first, recent = values[0], _recent(values)
        if not first and recent:
            continue  # a norm that begins at zero has no ratio to its first value, unless it stays there
        change = recent / first if first else 0.0
        phase, _, role = name.rpartition(".")
        owner = f"the {role}" if phase == role else f"the {role} in the {phase}'s phase"
        went = f"its norm went from {first:.2g} to {recent:.2g}"
        if change > EXPLODED:
            found.append(("exploding", f"The gradient of {owner} exploded: {went}."))
        # A saturated discriminator has no gradient; reporting that too would repeat the finding.
        elif change < VANISHED and phase not in saturated:
            found.append(("vanishing", f"The gradient of {owner} vanished: {went}."))
    return sorted(found, key=lambda one: one[0])


def _collapse(events: Events) -> Found | str:
    measured = _evaluations(events)
    found = _alike(measured) if measured else []
    if (not found or found == GROWING) and (missing := _missing_modes(events)):
        return [("collapse", missing)]
    if measured:
        return found
    few = next((event["variety"]["samples"] for event in events if "variety" in event), None)
    if few is None:
        return "no evaluation has measured the samples' variety yet"
    return f"{few} samples can be compared with as many real images, and that takes {MIN_SAMPLES}"


def _alike(measured: Events) -> Found | str:
    last = measured[-1]
    now, low = _shares(last), too_similar(last)
    good = _last_varied(measured)
    before = [_shares(event) for event in measured if event["images"] <= EARLIER * last["images"]]
    grew = before and all(now[what] > MIN_GROWTH * max(one.get(what, 1.0) for one in before) for what in low)
    if not low:
        return []
    if good is None and grew and all(now[what] > NOTHING * MIN_VARIETY[what] for what in low):
        return GROWING
    shortfalls = [
        SHORTFALL[what].format(seen=last["variety"][what], real=last["real_variety"][what], share=now[what])
        for what in low
    ]
    found = f"The samples are too similar: {listed(shortfalls)}."
    if good is not None:
        kept = ", and `--checkpoint good` draws from there" if good.get("good") else ""
        found += f" They were varied after {good['images']:,} images{kept}."
    return [("collapse", found)]


def too_similar(event: Mapping[str, Any]) -> list[str]:
    """The measures by which the samples of a ``health`` event with variety vary much less than real images."""
    shares = _shares(event)
    return [what for what, least in MIN_VARIETY.items() if shares.get(what, 1.0) < least]


def _evaluations(events: Events) -> list[Mapping[str, Any]]:  # that measured the variety of enough samples
    # Keyed by images, because a resumed run may repeat an interrupted evaluation.
    known = {event["images"]: event for event in events if event.get("variety", {}).get("samples", 0) >= MIN_SAMPLES}
    return list(known.values())


def _last_varied(evaluations: Events) -> Mapping[str, Any] | None:
    return next((event for event in reversed(evaluations) if not too_similar(event)), None)


def _missing_modes(events: Events) -> str:  # in a sentence; "" unless most known modes are missing, and stay so
    scores = [event for event in events if event["event"] == "score" and event["metric"].startswith("modes@")]
    weights = "ema" if any(event["weights"] == "ema" for event in scores) else "raw"
    counts = {event["images"]: event for event in scores if event["weights"] == weights and event["floor"] is not None}
    if len(counts) < 2 or max(counts) < YOUNG_IN_MODES_IMAGES:
        return ""
    *_, before, last = [event["value"] for event in counts.values()]
    real = max(event["floor"] for event in counts.values())
    # One more may be the next that samples which are all alike have moved to.
    if last >= MIN_MODES * real or last > max(MIN_GROWTH * before, before + 1):
        return ""
    return f"The samples are in {last:.0f} of {real:.0f} modes, and were in {before:.0f} at the previous evaluation."


def _shares(event: Mapping[str, Any]) -> dict[str, float]:  # relative to real images' variety; 1 if these have none
    seen, real = event["variety"], event["real_variety"]
    return {
        what: seen[what] / real[what] if real[what] else 1.0 for what in MIN_VARIETY if what in seen and what in real
    }


def _ema_lag(events: Events) -> Found | str:
    scores = [event for event in events if event["event"] == "score" and event["metric"].startswith("fid@")]
    last = {
        event["weights"]: event
        for event in scores
        if all(event[key] == scores[-1][key] for key in ("metric", "images"))
    }
    if not {"ema", "raw"} <= last.keys():
        return "no evaluation has a FID of both the averaged and the raw weights"
    ema, raw = last["ema"], last["raw"]
    if ema["value"] <= EMA_LAG * raw["value"] or ema["value"] - raw["value"] <= (ema["floor"] or 0):
        return []
    return [
        (
            "ema-lag",
            f"The averaged weights lag behind: their {ema['metric']} is {ema['value']:.2f}, but that of the raw "
            f"weights is {raw['value']:.2f}.",
        )
    ]


RULES: Mapping[str, Callable[[Events], Found | str]] = {  # each returns what it found, or why it could not judge
    "divergence": _divergence,
    # Causes before effects: no discriminator mistakes one and the same picture for a real one.
    "collapse": _collapse,
    "saturation": _saturation,
    "vanishing or exploding gradients": _gradients,
    "lagging averaged weights": _ema_lag,
}
POOR: Final = "poor samples that no longer improve"
USUAL_AT_FIRST: Final = ("collapse", "lagging averaged weights", POOR)  # every run breaks these in its first seconds


def _trends(events: Events) -> tuple[list[str], list[str], bool]:
    """Which last scores are far from real vs real, how scores came closer, and whether there were earlier ones."""
    scores = [event for event in events if event["event"] == "score" and event["floor"] is not None]
    weights = "ema" if any(event["weights"] == "ema" for event in scores) else "raw"
    far, improving, repeated = [], [], False
    for metric in dict.fromkeys(event["metric"] for event in scores):
        # Keyed by images, because a resumed run may repeat an interrupted evaluation.
        curve = {e["images"]: e for e in scores if (e["metric"], e["weights"]) == (metric, weights)}
        way = better(metric.partition("@")[0])
        if not curve or way == "neither":
            continue
        *earlier, last = curve.values()
        value, real = last["value"], last["floor"]
        if way == "lower" and real > MIN_DEVIATIONS * (last.get("sd") or 0) and value > FAR * real:
            far.append(f"its {metric} is {value:.3g}, {value / real:,.0f} times what real images score")
        elif way == "higher" and value < FAR_BELOW * real:
            far.append(f"its {metric} is {value:.3g}, and real images score {real:.3g}")
        if not earlier:
            continue
        repeated, before, sign = True, earlier[-1], 1 if way == "lower" else -1
        # The default, if it was not measured, is small compared with the scores of young generators.
        noise = last.get("sd") or abs(real) * (1.0 if way == "lower" else 0.01)
        gaps = [sign * (one["value"] - one["floor"]) for one in (before, last)]
        if gaps[1] < STILL_FALLING * gaps[0] and gaps[0] > MIN_DEVIATIONS * noise:
            improving.append(
                f"its {metric} went from {before['value']:.3g} to {value:.3g} between {before['images']:,} and "
                f"{last['images']:,} images, and real images score {real:.3g}"
            )
    return far, improving, repeated


def _series(records: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    series: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.items():
            if isinstance(value, int | float):
                series.setdefault(name, []).append(value)
    return series


def _recent(values: Sequence[float]) -> float:  # the current level without spikes
    return median(values[-max(3, len(values) // 4) :])


@dataclass(frozen=True)
class Diagnosis:
    """A run's health, judged by its events."""

    findings: tuple[Finding, ...]  # the problems, worst first
    judged: tuple[str, ...]  # rules that could judge
    unjudged: Mapping[str, str]  # rules that could not, with the reason
    improving: str = ""  # how its scores still improve, as a clause; "" if they do not, or this is unknown
    young: str = ""  # why it is too early to judge, as a clause; "" if it is not

    @property
    def verdict(self) -> str:
        """sick, young, improving, healthy; or unknown, if nothing but the absence of NaN could be judged."""
        healthy = set(self.judged) - {"divergence"}
        signs = {"sick": self.findings, "young": self.young, "improving": self.improving, "healthy": healthy}
        return next((verdict for verdict, sign in signs.items() if sign), "unknown")

    def lines(self, *, unjudged: bool = True) -> list[str]:
        """The diagnosis as text: a line per finding, or what was judged and, if requested, what was not."""
        if self.findings:
            return [f"{finding.kind}: {finding.sentence} {finding.advice}" for finding in self.findings]
        no_sign = f"no sign of {listed(self.judged, 'or')}."
        verdicts = {
            "young": f"too young to say: {self.young}. So far, {no_sign}",
            "improving": f"still improving: {self.improving}. Otherwise, {no_sign}",
            "healthy": f"healthy: {no_sign}",
        }
        lines = [verdicts[self.verdict]] if self.verdict in verdicts else []
        if unjudged:
            lines += (f"not judged: {what}, {reason}." for what, reason in self.unjudged.items())
        return lines


def diagnose(events: Events) -> Diagnosis:
    """Diagnose a run, finished or not, from its events in order, without those that a resumed run replaced."""
    far, improving, repeated = _trends(events)
    results = {name: rule(events) for name, rule in RULES.items()}
    results[POOR] = "this needs two evaluations by a metric that has real vs real"
    if repeated:
        sentence = "The samples are far from real ones, and no closer than at the previous evaluation"
        results[POOR] = [("poor", f"{sentence}: {far[0]}.")] if far and not improving else []
    seconds = max((event["seconds"] for event in events if event.get("seconds") is not None), default=None)
    images = max((event["images"] for event in events), default=0)
    modes, young = bool(_missing_modes(events)), ""
    if seconds is not None and seconds < (YOUNG_IN_MODES if modes else YOUNG):
        young = f"it has trained for {seconds:.0f} s"
    elif 0 < images < YOUNG_IMAGES and not modes:
        young = f"it has seen {images:,} images"
    excused = set(USUAL_AT_FIRST) if young else set()
    measured = _evaluations(events)
    if _last_varied(measured) is not None:
        excused.discard("collapse")  # no run begins by losing the variety that it had
    elif len(measured) == 1 and not any(event["event"] == "end" for event in events):
        excused.add("collapse")
    findings: list[Finding] = []
    unjudged: dict[str, str] = {}
    for name, result in results.items():
        if result and name in excused and not isinstance(result, str):
            first = result[0][1].removesuffix(".")
            result = f"as every run begins like this: {first[0].lower()}{first[1:]}"
        if isinstance(result, str):
            unjudged[name] = result
        else:
            findings += (Finding(kind, sentence, ADVICE[kind]) for kind, sentence in result)
    if not young and far and not improving and not repeated:
        young = f"there is one evaluation, and {far[0]}"
    elif not young and "collapse" in excused & unjudged.keys():
        young = "there is one evaluation"
    elif not young and unjudged.get("collapse") == GROWING:
        young = GROWING
    return Diagnosis(
        findings=tuple(findings),
        judged=tuple(name for name in results if name not in unjudged),
        unjudged=unjudged,
        improving=improving[0] if improving else "",
        young=young,
    )
