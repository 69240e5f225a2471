"""The lines of events.jsonl and scores.jsonl: which of them are whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ganzoo.runs.files import examine_lines
from ganzoo.runs.schema import SCORE, refuse_newer
from ganzoo.runs.shapes import is_event, is_score

Record = dict[str, Any]


def read_events(path: Path) -> list[Record]:
    """The events in order, without those that a crash made void or that are damaged.

    A resumed run goes back to its checkpoint; what was logged beyond it is shown again by the resumed run.
    """
    kept: list[Record] = []
    for record in filter(is_event, examine_lines(path)[0]):
        if record["event"] == "resume":
            kept = [old for old in kept if old["images"] <= record["images"]]
        kept.append(record)
    return kept


def sealed(score: Mapping[str, Any]) -> Record:
    """A score as it is written: with the number of its form, and a digest of its content."""
    numbered = {**score, "schema": SCORE}
    return {**numbered, "digest": _digest(numbered)}


def read_scores(path: Path) -> list[Record]:
    """The scores in order, as they were before they were sealed, without damaged ones.

    Raises:
        NewerError: A newer ganzoo wrote one of them.
    """
    scores = []
    for record in filter(_is_score, examine_lines(path)[0]):
        refuse_newer(record.get("schema", 0), SCORE, f"A score in {path}")
        scores.append({key: value for key, value in record.items() if key not in ("schema", "digest")})
    return scores


def damage(folder: Path) -> list[str]:
    """A sentence for each of a run's two files that holds lines which are no records."""
    sentences = []
    kinds: dict[str, Callable[[Mapping[str, Any]], bool]] = {"events.jsonl": is_event, "scores.jsonl": _is_score}
    for name, whole in kinds.items():
        records, damaged = examine_lines(folder / name)
        damaged += sum(not whole(record) for record in records)
        if damaged:
            sentences.append(f"Left out, because damaged: {damaged} of the lines in {folder / name}.")
    return sentences


def _is_score(record: Mapping[str, Any]) -> bool:
    if not is_score(record):
        return False
    if "schema" not in record:  # from before there were seals
        return True
    return record.get("digest") == _digest({key: value for key, value in record.items() if key != "digest"})


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
