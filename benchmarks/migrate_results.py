"""Results from before scores were rows, rewritten as ``runs.jsonl`` of schema 2 and ``scores.jsonl``.

    python benchmarks/migrate_results.py results results/flagship-search

No figure changes. In schema 1, a record held its scores, and its digest was also of how the run was scored. A digest
becomes today's where the record is of a recipe as it is registered now, or of a variant that benchmarks/variants lists;
another recipe's digest is kept. Digests in ``time-to-fid.jsonl`` become today's, too. What is migrated stays as it is.

Where keys of recipes were renamed and nothing else, records keep their runs by

    python benchmarks/migrate_results.py results --renamed-since ../checkout-of-before

which asks that checkout, with its own .venv, for the digests that the same names had there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganzoo.config.identity import DEFAULTS, training_digest
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import Recipe
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
    parser.add_argument("--renamed-since", type=Path, metavar="CHECKOUT", help="where recipes have their old keys")
    parser.add_argument("--digests", action="store_true", help="print the digests of today as JSON, and change nothing")
    args = parser.parse_args(arguments)
    try:
        zoo = load_zoo()
        for folder in args.results:
            if args.digests:
                print(json.dumps({name: training_digest(one) for name, one in recipes(zoo, folder.name).items()}))
            else:
                before = {} if args.renamed_since is None else digests_of(args.renamed_since, folder.name)
                print(f"{folder}: {migrate(folder, zoo, before)} records migrated")
    except GanzooError as error:
        sys.exit(str(error))


def migrate(folder: Path, zoo: Zoo, before: Mapping[str, str]) -> int:
    """Rewrite a results folder.

    Args:
        folder: With a ``runs.jsonl``.
        zoo: Where recipes are looked up.
        before: Digests that recipes of today had before their keys were renamed, by name.

    Returns:
        How many records became others.
    """
    digests = today(zoo, folder.name, before)
    old = sum(line.get("schema") == 1 or line.get("digest") in digests for line in read_lines(folder / RUNS))
    if curves := read_lines(folder / CURVES):
        _write(folder / CURVES, [_line_with_digest(line, digests) for line in curves])
    if old:
        runs = [_with_digest(run, digests) for run in read_runs(folder)]
        rows = [ScoreRow.of(run.record, score).plain() for run in runs for score in run.curve]
        # The scores first: were it stopped between the two, the old records would still hold theirs.
        _write(folder / SCORES, rows)
        _write(folder / RUNS, [run.record.plain() for run in runs])
    return old


def today(zoo: Zoo, variants: str, before: Mapping[str, str]) -> dict[str, str]:
    """Today's digest by the one of schema 1 and the one of before, where it is another."""
    found = {}
    for name, recipe in recipes(zoo, variants).items():
        digest = training_digest(recipe)
        found |= {old: digest for old in (digest_of_schema_1(recipe), before.get(name, digest)) if old != digest}
    return found


def recipes(zoo: Zoo, variants: str) -> dict[str, Recipe]:
    """Registered recipes by name, and those of the named file of variants, where there is one, by file and variant."""
    found = {entry.name: load_recipe(entry.name, zoo) for entry in zoo.recipes}
    file = VARIANTS / f"{variants}.yaml"
    if file.is_file():
        found |= {f"{variants}/{label}": jobs[0].recipe for label, jobs in Variants.read(file).jobs(zoo).items()}
    return found


def digests_of(checkout: Path, variants: str) -> dict[str, str]:
    """What ``recipes`` have for digests in another checkout, by name.

    Raises:
        GanzooError: It has no such command, or that fails.
    """
    python, script = checkout / ".venv" / "bin" / "python", checkout / "benchmarks" / "migrate_results.py"
    try:
        done = subprocess.run([python, script, variants, "--digests"], capture_output=True, text=True, check=True)
        found: dict[str, str] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise GanzooError(f"{checkout} cannot give its digests ({error}).", "Give a checkout with a .venv.") from error
    return found


def digest_of_schema_1(recipe: Recipe) -> str:
    """The digest that records of schema 1 have: of ``evaluate``, too."""
    plain = recipe.plain()
    for choice, default in DEFAULTS.items():
        if plain["train"][choice] == default:
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
