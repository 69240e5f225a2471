"""Scores beside those of somebody else, where both were measured in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganzoo.errors import GanzooError
from ganzoo.evaluation.protocol import comparable
from ganzoo.files import parse_json
from ganzoo.runs.folder import RunFolder

Record = Mapping[str, Any]


def read_scores(path: Path) -> list[dict[str, Any]]:
    """The scores of a run folder, or of a file that ``ganzoo eval --out`` wrote.

    Raises:
        GanzooError: It is neither, or damaged.
    """
    if path.is_dir():
        return RunFolder.open(path).scores()
    try:
        records = [parse_json(line) for line in path.read_bytes().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise GanzooError(f"The scores in {path} cannot be read ({error}).", "Give a run or a scores file.") from error
    for record in records:
        whole = isinstance(record, dict) and isinstance(record.get("protocol"), dict)
        if not whole or not isinstance(record.get("metric"), str) or not isinstance(record.get("value"), (int, float)):
            raise GanzooError(f"{path} holds something else than scores.", "Give a run or a scores file.")
    return records


def counterparts(records: Sequence[Record], others: Sequence[Record], where: Path) -> list[float | None]:
    """For each score the newest comparable one of the same metric elsewhere.

    Args:
        records: The scores.
        others: Those to compare with, oldest first.
        where: What they are called in errors.

    Returns:
        Values; None where the other side has no such metric.

    Raises:
        GanzooError: None is there for any of them, or one was only ever measured differently.
    """
    found = [_counterpart(record, others) for record in records]
    if all(other is None for other in found):
        raise GanzooError(f"{where} has none of these scores.", "Score it first, with `ganzoo eval`.")
    return [None if other is None else float(other["value"]) for other in found]


def _counterpart(record: Record, others: Sequence[Record]) -> Record | None:
    same = [other for other in reversed(others) if other["metric"] == record["metric"]]
    # Of the same kind of weights first; where this one is of none, of those that a run reports.
    same.sort(key=lambda other: other.get("weights") != (record["weights"] or "ema"))
    refusal = None
    for other in same:
        try:
            comparable(record["protocol"], other["protocol"])
        except GanzooError as error:
            refusal = refusal or error
        else:
            return other
    if refusal is not None:
        raise refusal
    return None
