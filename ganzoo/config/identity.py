"""What makes two runs repetitions of each other: every requested setting that changes the weights."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from ganzoo.config.schema import Recipe

DESCRIPTIVE: Final = ("summary", "paper", "trackers")
WITHOUT_EFFECT: Final = ("seed", "device", "log_every", "checkpoint_seconds", "keep_best")
"""Keys of ``train`` outside the digest. The seed is part of a record's key instead, so that runs with the same digest
are repetitions."""
DEFAULTS: Final = {
    "sync_batch_norm": False,
    "share_fakes": False,
    "threads": "auto",
    "deterministic": False,
    "cudnn_benchmark": False,
    "init_from": None,
    "freeze": [],
}
"""Keys of ``train`` that are left out while they have these values, so that adding such a key changes no digest."""


def training_digest(recipe: Recipe) -> str:
    """SHA-256, hexadecimal, of everything in a resolved recipe that changes the weights.

    How a run is scored is not part of it: a different metric or sample count does not need a new run. The exception is
    a recipe with ``train.until``: its metric, the evaluation interval and the samples are included, since they decide
    when training ends, and so change the weights. What ``auto`` resolved to (precision, engine, threads) is not part of
    it either; a record states that alongside the digest.
    """
    requested = {key: value for key, value in recipe.plain().items() if key not in DESCRIPTIVE}
    evaluate: dict[str, Any] = requested.pop("evaluate")
    train = {key: value for key, value in requested["train"].items() if key not in WITHOUT_EFFECT}
    for key, default in DEFAULTS.items():
        if train[key] == default:
            del train[key]
    if (weights := train.get("init_from")) is not None and weights["sha256"] is not None:
        train["init_from"] = weights["sha256"]  # their location does not matter
    requested["train"] = train
    if recipe.train.until is not None:
        # until names its own metric, so only the interval and the samples of evaluate are needed.
        requested["stopping"] = {key: value for key, value in evaluate.items() if key not in ("metrics", "anyway")}
    return hashlib.sha256(json.dumps(requested, sort_keys=True).encode()).hexdigest()


def same_training(one: Recipe, other: Recipe) -> bool:
    """Whether two resolved recipes give the same weights on the same hardware: equal in digest and seed."""
    return (training_digest(one), one.train.seed) == (training_digest(other), other.train.seed)
