"""What every registered study must do: name recipes, settings and metrics that exist, and claims that can be tested."""

from __future__ import annotations

from typing import Any

from ganzoo.checks.entries import CheckFailed, described
from ganzoo.errors import GanzooError
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import Entry
from ganzoo.studies.study import load_study


def load(entry: Entry[Any], zoo: Zoo) -> None:
    """The study and all its trainings are valid: those of its cells and of its search, in full and with ``--quick``.

    Raises:
        CheckFailed: It names something unknown, or one of its recipes is refused.
    """
    try:
        study = load_study(entry.name, zoo)
        for one in (study, study.in_small()):
            one.cells(zoo)
            one.trials(zoo)
    except GanzooError as error:
        raise CheckFailed(f"{described(entry)} is invalid: {error.sentence}", error.remedy) from error
