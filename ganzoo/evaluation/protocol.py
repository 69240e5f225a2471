"""Protocols: what a score depends on, and which scores may be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Protocol = Mapping[str, Any]

NOT_COMPARED = frozenset({"sample_seed", "weights", "n_floor"})  # may differ between comparable scores
OPTIONS: Mapping[str, str] = {"split": "--split", "n_fake": "--samples"}  # keys that `ganzoo eval` can set


@dataclass(frozen=True)
class Score:
    """A score with everything it depends on.

    Attributes:
        metric: ``fid@mnist-cnn``.
        value: The score.
        floor: Real vs real: the score of real images under the same protocol, as many of them as samples if there are
            enough; None if real images have no such score.
        protocol: JSON: metric, extractor and its digest, dataset, split, counts, resizing, seed, weights, ...
        interval: 95% confidence interval of the mean score of other sets of as many samples; None if not computed.
        sd: The standard deviation of ``floor`` over draws of real images; None if unknown.
    """

    metric: str
    value: float
    floor: float | None
    protocol: dict[str, Any]
    interval: tuple[float, float] | None = None
    sd: float | None = None

    def record(self, images: int | None = None, seconds: float | None = None) -> dict[str, Any]:
        """A line of scores.jsonl.

        Args:
            images: Real images that the generator was trained on so far; None if unknown.
            seconds: Its training time so far, evaluation excluded; None if unknown.
        """
        return {
            "metric": self.metric,
            "value": self.value,
            "floor": self.floor,
            **({} if self.sd is None else {"sd": self.sd}),
            **({} if self.interval is None else {"interval": list(self.interval)}),
            "weights": self.protocol["weights"],
            "images": images,
            "seconds": seconds,
            "protocol": self.protocol,
        }


def excess(value: float, floor: float | None, sd: float | None) -> str:
    """How far a score is above real vs real, ± the standard deviation of real vs real: ``+0.19 ± 0.004``."""
    if floor is None:
        return "-"
    return f"{value - floor:+.3g}" if sd is None else f"{value - floor:+.3g} ± {sd:.2g}"


def identity(protocol: Protocol) -> str:
    """Canonical JSON, equal for scores measured in exactly the same way, including seed, weights and counts."""
    return json.dumps(protocol, sort_keys=True, separators=(",", ":"), default=str)


def describe(protocol: Protocol) -> str:
    """A protocol in one line, for tables; if it lacks something, its keys and values are listed unchanged."""
    try:
        reference = f"{protocol['n_real']:,} {protocol['dataset']} {protocol['split']} images"
        if "n_fake" not in protocol and "extractor" not in protocol:
            return reference
        parts = [
            f"{protocol['n_fake']:,} against {reference}" if "n_fake" in protocol else reference,
            *([f"{protocol['extractor']} {protocol['extractor_digest'][:8]}"] if "extractor" in protocol else []),
            "not quantised" if protocol["quantised"] == "none" else protocol["quantised"],
            "native size" if protocol.get("resizing", "none") == "none" else protocol["resizing"],
        ]
        if protocol.get("anyway"):
            parts.append("in an extractor of another dataset")
        if protocol.get("sample_seed") is not None:
            parts.append(f"seed {protocol['sample_seed']}")
        return ", ".join(parts)
    except (KeyError, TypeError, ValueError):
        return ", ".join(f"{key} {value}" for key, value in protocol.items()) or "not stated"


def compared(protocol: Protocol, ignored: Set[str] = NOT_COMPARED) -> dict[str, Any]:
    """The part of a protocol that must be equal for scores to be compared.

    The dataset's options, such as the path of a folder that was moved, may differ if a digest identifies the reference
    images, but not for a metric of the trained model, which may use the training images too.
    """
    if protocol.get("reference_digest") is not None and "n_fake" in protocol:
        ignored = ignored | {"dataset_options"}
    return {key: value for key, value in protocol.items() if key not in ignored}


def counterparts(
    coming: Sequence[tuple[str, Protocol]], others: Sequence[Mapping[str, Any]], where: Path
) -> tuple[list[float | None], list[str]]:
    """For each score, the newest comparable one in ``others`` (oldest first), or None; called before they are computed.

    Also messages: one for all scores that were measured differently in the same way, and one for all metrics that the
    others lack. ``where`` is their run or file.
    """
    values: list[float | None] = []
    refused: dict[str, dict[str, None]] = {}
    missing: list[str] = []
    for metric, protocol in coming:
        same = [other for other in reversed(others) if other["metric"] == metric]
        # Those of the same kind of weights first; if this protocol's weights are unknown, those that a run reports.
        same.sort(key=lambda other: other.get("weights") != (protocol.get("weights") or "ema"))
        differences = [differing(protocol, other["protocol"]) for other in same]
        if {} in differences:
            values.append(float(same[differences.index({})]["value"]))
            continue
        values.append(None)
        if same:
            different = differences[0]
            how = "; ".join(f"{k}: {_short(one)} here, {_short(its)} there" for k, (one, its) in different.items())
            remedy = "Score both with `ganzoo eval`, with the same metric, dataset and number of samples."
            if different.keys() <= OPTIONS.keys() and all(its is not None for _, its in different.values()):
                options = " ".join(f"{OPTIONS[key]} {_short(its)}" for key, (_, its) in different.items())
                remedy = f"Add {options} to measure as there."
            sentence = f"measured differently in {where}, so not compared ({how}). {remedy}"
            refused.setdefault(sentence, {})[metric] = None
        else:
            missing.append(metric)
    sentences = [f"{', '.join(metrics)}: {sentence}" for sentence, metrics in refused.items()]
    if missing:
        sentences.append(
            f"{where} has no score by {', '.join(dict.fromkeys(missing))}. Score it first with `ganzoo eval`."
        )
    return values, sentences


def differing(a: Protocol, b: Protocol) -> dict[str, tuple[Any, Any]]:
    """The keys and values that keep two scores from being compared, without those that follow from others."""
    one, other = compared(a), compared(b)
    if one.get("reference_digest") != other.get("reference_digest"):  # different options may explain it
        one, other = ({key: value for key, value in p.items() if key not in NOT_COMPARED} for p in (a, b))
    found: dict[str, tuple[Any, Any]] = {}
    for key in dict.fromkeys([*one, *other]):
        here, there = one.get(key), other.get(key)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            inner = {name: (here.get(name), there.get(name)) for name in dict.fromkeys([*here, *there])}
            found |= {f"{key}.{name}": pair for name, pair in inner.items() if pair[0] != pair[1]}
        elif here != there:
            found[key] = here, there
    choice = {key for key in found if key.partition(".")[0] in ("dataset", "dataset_options", "split", "validation")}
    if "split" in choice:
        found.pop("validation", None)
    if choice:
        found.pop("n_real", None)
    if choice or "n_real" in found:
        found.pop("reference_digest", None)
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}…{text[-20:]}"  # digests differ everywhere, paths near the end
