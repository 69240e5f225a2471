"""Seeded damage to bytes, text, values and JSON, with or without matching digests."""

from __future__ import annotations

import copy
import functools
import json
import operator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

TEXTS = (
    "",
    " ",
    "a\nb",
    "a\x00b",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.exe",
    "\ud800",
    "é" * 300,
    "../../escaped",
    "/tmp/ganzoo-fuzz-escaped",
    "x" * 5000,
    "<script>alert(1)</script>",
    "{}",
    "%s%n",
    "mnist",
    "adam",
    "auto",
    "codes",
    "fid@mnist-cnn",
    "cuda:99",
    "null",
    "1e-4",
    "٣",
)
NUMBERS = (
    0,
    -1,
    1,
    2,
    7,
    65_536,
    2**31,
    2**63,
    2**64,
    10**9,
    10**30,
    10**400,
    0.0,
    -0.0,
    1e-320,
    1e-4,
    0.5,
    1e39,
    1.7e308,
    -1.7e308,
    float("inf"),
    float("nan"),
)
SYNTAX = ("&a ", "*a", "!!python/object/apply:os.system ", "!!int ", "---\n", "[", "]", "{", "}", ": ", "- ", "\t",
          "\n", '"', "'", "|", ">", "#", "%YAML 1.1\n", "? ", "<<: ", "\x00", "\ufeff", "1e-4", "0x10", "1:30", ".nan",
          ".inf", "9" * 4400, "[" * 40, "a" * 3000, "é", "\u2028", "\x85", "null", "true", "~", "=", "\\")  # fmt: skip


def value(random: Random, depth: int = 3) -> Any:
    """A random JSON or YAML value, biased towards edge cases."""
    kind = random.randrange(9 if depth else 6)
    if kind < 2:
        return random.choice(TEXTS)
    if kind < 4:
        return random.choice(NUMBERS)
    if kind < 6:
        return random.choice((None, True, False, [], {}))
    if kind < 8:
        return [value(random, depth - 1) for _ in range(random.randrange(4))]
    return {random.choice(TEXTS): value(random, depth - 1) for _ in range(random.randrange(4))}


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to everything inside a structure."""
    found = [path] if path else []
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, inner in inside:
        found += places(inner, (*path, key))
    return found


def at(data: Any, path: Iterable[Any]) -> Any:
    """What is inside a structure at a path."""
    return functools.reduce(operator.getitem, path, data)


def structure(random: Random, data: Any) -> Any:
    """A copy with a few values replaced, removed, added, nested or swapped."""
    data = copy.deepcopy(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        paths = places(data)
        if not paths:
            return value(random)
        *parents, last = random.choice(paths)
        _change(random, data, at(data, parents), last)
    return data


def _change(random: Random, data: Any, holder: Any, last: Any) -> None:
    kind = random.randrange(8)
    if kind < 4:
        holder[last] = value(random)
    elif kind == 4:
        del holder[last]
    elif kind == 5 and isinstance(holder, dict):
        holder[random.choice(TEXTS)] = holder.pop(last)
    elif kind == 6:
        holder[last] = random.choice(([holder[last]], {"name": holder[last]}, {last: holder[last]}))
    else:
        holder[last] = copy.deepcopy(at(data, random.choice(places(data))))


def content(random: Random, whole: bytes, others: tuple[bytes, ...] = ()) -> bytes:
    """Bytes truncated, flipped, removed, repeated, overwritten or spliced."""
    changed = bytearray(whole)
    for _ in range(random.choice((1, 1, 2, 8))):
        at = random.randrange(len(changed) + 1)
        until = min(len(changed), at + random.choice((1, 2, 8, 64)))
        _damage(random, changed, at, until, others)
    return bytes(changed)


def _damage(random: Random, changed: bytearray, at: int, until: int, others: tuple[bytes, ...]) -> None:
    kind = random.randrange(7)
    if kind == 0:
        del changed[at:]
    elif kind == 1 and at < len(changed):
        changed[at] ^= 1 << random.randrange(8)
    elif kind == 2:
        del changed[at:until]
    elif kind == 3:
        changed[at:at] = changed[at:until] * random.choice((1, 3, 50))
    elif kind == 4:
        changed[at:until] = random.randbytes(until - at)
    elif kind == 5:
        changed[at:until] = random.choice((b"\xff", b"\x00", b"\x7f")) * (until - at)
    else:
        other = random.choice(others or (bytes(changed),))
        changed[at:] = other[random.randrange(len(other) + 1) :]


def text(random: Random, whole: str) -> str:
    """Text with syntax and odd characters inserted, lines swapped, and sometimes damaged bytes."""
    if random.random() < 0.2:
        return content(random, whole.encode()).decode("utf-8", "replace")
    lines = whole.splitlines(keepends=True) or [""]
    for _ in range(random.choice((1, 1, 2, 4))):
        row = random.randrange(len(lines))
        column = random.randrange(len(lines[row]) + 1)
        kind = random.randrange(4)
        if kind < 2:
            lines[row] = lines[row][:column] + random.choice(SYNTAX) + lines[row][column + kind * 3 :]
        elif kind == 2:
            lines[row] = lines[random.randrange(len(lines))]
        else:
            lines[row] = " " * random.randrange(1, 5) + lines[row]
    return "".join(lines)


def as_json(data: Any) -> bytes:
    """JSON in ASCII with escapes, and with Python's NaN and Infinity."""
    return json.dumps(data).encode()


def either(random: Random, data: Any) -> bytes:
    """JSON with changed values, or with damaged bytes."""
    if random.random() < 0.6:
        return as_json(structure(random, data))
    return content(random, as_json(data))
