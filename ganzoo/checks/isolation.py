"""What a thing changes around it while it works: settings of the process, seeds, generators no checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from ganzoo.checks import data_checks as surroundings
from ganzoo.checks import losses, networks, recipes
from ganzoo.checks.verdict import Broken, called
from ganzoo.errors import GanzooError
from ganzoo.registry.global_state import GlobalState
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import NETWORK_KINDS, Entry

HANDS_OFF = "That is the user's, for the whole process; draw with torch, and leave its seed and settings alone."

EXERCISES: dict[str, Callable[[Entry[Any], Zoo], Any]] = {
    **dict.fromkeys(NETWORK_KINDS, lambda entry, zoo: networks.gradients(entry)),
    **dict.fromkeys(("loss", "regularizer", "augmentation"), lambda entry, zoo: losses.deterministic(entry)),
    "recipe": recipes.gradients,
    "dataset": lambda entry, zoo: surroundings.without_files(entry),
    "extractor": lambda entry, zoo: surroundings.extractor(entry),
}
"""What makes a thing of each kind do its work once."""


def global_state(entry: Entry[Any], zoo: Zoo) -> None:
    """Doing its work changes nothing for the rest of the process.

    Raises:
        Broken: It does.
    """
    seeds: list[Any] = []
    before = GlobalState.now()
    with _seeding(seeds), suppress(GanzooError):  # a failure is another check's to report
        EXERCISES[entry.kind](entry, zoo)
    changed = [what for what in GlobalState.now().changed_since(before) if "torch's seed" not in what]
    if seeds:
        changed.append(f"calls torch.manual_seed({seeds[0]})")
    if changed:
        raise Broken(f"{called(entry)} {' and '.join(changed)}.", HANDS_OFF)


@contextmanager
def _seeding(seeds: list[Any]) -> Iterator[None]:
    """Notes each call of torch.manual_seed; the checks themselves seed in another way."""
    original = torch.manual_seed

    def noted(seed: Any) -> torch.Generator:
        seeds.append(seed)
        return original(seed)

    torch.manual_seed = noted
    try:
        yield
    finally:
        torch.manual_seed = original
