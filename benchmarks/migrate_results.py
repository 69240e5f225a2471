"""Results from before scores were rows, rewritten as ``runs.jsonl`` of schema 2 and ``scores.jsonl``.

    python benchmarks/migrate_results.py results results/flagship-search

No figure changes. In schema 1, a record held its scores, and its digest was also of how the run was scored. A digest
becomes today's where the record is of a recipe as it is registered now, or of a variant that benchmarks/variants lists;
another recipe's digest is kept. Digests in ``time-to-fid.jsonl`` become today's, too. What is migrated stays as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ganzoo.config.identity import training_digest
from ganzoo.config.loading import Recipe, load_recipe
from ganzoo.errors import GanzooError
from ganzoo.files import read_lines, write_atomically
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.studies.records import RUNS, SCORES, ScoredRun, ScoreRow, read_runs
from variants import Variants

VARIANTS = Path(__file__).parent / "variants"
CURVES = "time-to-fid.jsonl"


def main(arguments: Sequence[str] | None = None) -> None:
    """Migrate each folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="folders with a runs.jsonl")
    args = parser.parse_args(arguments)
    try:
        zoo = load_zoo()
        for folder in args.results:
            print(f"{folder}: {migrate(folder, zoo)} records migrated")
    except GanzooError as error:
        sys.exit(str(error))


def migrate(folder: Path, zoo: Zoo) -> int:
    """Rewrite a results folder, and return how many records of schema 1 it had."""
    old = sum(line.get("schema") == 1 for line in read_lines(folder / RUNS))
    digests = today(zoo, folder.name)
    if curves := read_lines(folder / CURVES):
        _write(folder / CURVES, [_line_with_digest(line, digests) for line in curves])
    if old:
        runs = [_with_digest(run, digests) for run in read_runs(folder)]
        rows = [ScoreRow.of(run.record, score).plain() for run in runs for score in run.curve]
        # The scores first: were it stopped between the two, the old records would still hold theirs.
        _write(folder / SCORES, rows)
        _write(folder / RUNS, [run.record.plain() for run in runs])
    return old


def today(zoo: Zoo, variants: str) -> dict[str, str]:
    """Today's digest by the one of schema 1, of registered recipes and of the named file of variants."""
    return {digest_of_schema_1(recipe): training_digest(recipe) for recipe in _recipes(zoo, variants)}


def _recipes(zoo: Zoo, variants: str) -> Iterator[Recipe]:
    for entry in zoo.recipes:
        yield load_recipe(entry.name, zoo)
    file = VARIANTS / f"{variants}.yaml"
    if file.is_file():
        for jobs in Variants.read(file).jobs(zoo).values():
            yield from (job.recipe for job in jobs)


def digest_of_schema_1(recipe: Recipe) -> str:
    """The digest that records of schema 1 have: of ``evaluate``, too."""
    plain = recipe.plain()
    for choice in ("sync_batch_norm", "share_fakes"):
        if not plain["train"][choice]:
            del plain["train"][choice]
    for key in ("seed", "device", "log_every", "checkpoint_seconds"):
        del plain["train"][key]
    for key in ("summary", "paper", "trackers"):
        del plain[key]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _with_digest(run: ScoredRun, digests: Mapping[str, str]) -> ScoredRun:
    digest = digests.get(run.record.digest, run.record.digest)
    return ScoredRun(run.record.model_copy(update={"digest": digest}), run.curve)


def _line_with_digest(line: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    digest = line["facts"].get("digest")
    return {**line, "facts": {**line["facts"], "digest": digests[digest]}} if digest in digests else dict(line)


def _write(path: Path, lines: Sequence[Mapping[str, object]]) -> None:
    write_atomically(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())


if __name__ == "__main__":
    main()
