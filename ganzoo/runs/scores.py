"""Which of a run's many scores are its final ones. Reports, records, tables and ``ganzoo run --json`` all use this."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ganzoo.config.schema import Recipe
from ganzoo.evaluation.protocol import NOT_COMPARED, compared

Record = dict[str, Any]

SAMPLE_SEED = 0
"""The seed of the samples that a run scores while it trains."""

OF_SAMPLES = ("n_fake", "sample_seed")
"""Protocol keys that scores of the trained model itself lack, because they need no samples."""


def own_protocol(recipe: Recipe) -> Record:
    """The part of a protocol that the recipe decides: which samples are scored against which images."""
    return {
        "dataset": recipe.dataset.name,
        "split": recipe.dataset.scored_split,
        "n_fake": recipe.evaluate.samples,
        "sample_seed": SAMPLE_SEED,
    }


def is_own(score: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether a score was measured by the recipe's own protocol.

    Args:
        score: A score record.
        own: As returned by ``own_protocol``.
    """
    protocol = score["protocol"]
    return all(protocol.get(key) == own[key] for key in own if key in protocol or key not in OF_SAMPLES)


def final_scores(scores: Iterable[Record], own: Mapping[str, Any]) -> list[Record]:
    """The final scores of a run: at its last scored point, the newest for each metric, protocol and kind of weights.

    Args:
        scores: All scores of the run, oldest first.
        own: The recipe's own protocol; ``{}`` if it is unknown.

    Returns:
        Scores by the recipe's own protocol come first; within both groups, scores of the averaged weights, the ones to
        report, come first. Scores with another split, sample count or sample seed (``ganzoo eval RUN --split train``)
        never replace one by the recipe's own protocol.
    """
    known = list(scores)
    last = max((score["images"] for score in known), default=0)
    newest = {_identity(score): score for score in known if score["images"] == last}
    return sorted(newest.values(), key=lambda score: (not is_own(score, own), score["weights"] != "ema"))


def _identity(score: Mapping[str, Any]) -> str:
    protocol = compared(score["protocol"], NOT_COMPARED - {"sample_seed"})
    return json.dumps([score["metric"], score["weights"], protocol], sort_keys=True, default=str)
