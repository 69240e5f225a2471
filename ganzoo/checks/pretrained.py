"""What every pretrained generator must do: fit its card and the installed networks, and draw."""

from __future__ import annotations

from typing import Any

import torch

from ganzoo.checks.entries import CheckFailed, described
from ganzoo.errors import GanzooError
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import Entry
from ganzoo.runs.generator import load


def draws(entry: Entry[Any], zoo: Zoo) -> None:
    """Its files belong together, and samples can be drawn with them.

    Raises:
        CheckFailed: Something does not fit.
    """
    try:
        load(f"zoo:{entry.name}", zoo=zoo, device=torch.device("cpu")).sample(2)
    except GanzooError as error:
        raise CheckFailed(f"{described(entry)} cannot be used: {error.sentence}", error.remedy) from error
