"""Scores beside others that were measured in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganzoo.errors import GanzooError
from ganzoo.evaluation.protocol import Protocol, comparable
from ganzoo.files import parse_json
from ganzoo.runs.folder import RunFolder

Record = Mapping[str, Any]


def read_scores(path: Path) -> list[dict[str, Any]]:
    """The scores of a run folder, or of a file that ``ganzoo eval --out`` wrote.

    Raises:
        GanzooError: It is neither, or it is damaged.
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
            raise GanzooError(f"{path} holds something other than scores.", "Give a run or a scores file.")
    return records


def counterparts(
    coming: Sequence[tuple[str, Protocol]], others: Sequence[Record], where: Path
) -> tuple[list[float | None], list[str]]:
    """For each score the newest comparable one of the same metric elsewhere; asked for before they are computed.

    Args:
        coming: Metric and protocol of each score.
        others: Those to compare with, oldest first.
        where: What they are called in errors.

    Returns:
        Values, None where a score has no counterpart; and a sentence for each that was only measured differently.

    Raises:
        GanzooError: None of the scores can be compared.
    """
    values: list[float | None] = []
    refused: list[GanzooError] = []
    sentences = []
    for metric, protocol in coming:
        try:
            other = _counterpart(metric, protocol, others)
        except GanzooError as error:
            other = None
            refused.append(error)
            sentences.append(f"{metric}: {error.sentence}")
        values.append(None if other is None else float(other["value"]))
    if all(value is None for value in values):
        if refused:
            raise refused[0]
        raise GanzooError(f"{where} has none of these scores.", "Score it first, with `ganzoo eval`.")
    return values, list(dict.fromkeys(sentences))


def _counterpart(metric: str, protocol: Protocol, others: Sequence[Record]) -> Record | None:
    same = [other for other in reversed(others) if other["metric"] == metric]
    # Of the same kind of weights first; where this one is of none, of those that a run reports.
    same.sort(key=lambda other: other.get("weights") != (protocol.get("weights") or "ema"))
    refusal = None
    for other in same:
        try:
            comparable(protocol, other["protocol"])
        except GanzooError as error:
            refusal = refusal or error
        else:
            return other
    if refusal is not None:
        raise refusal
    return None
