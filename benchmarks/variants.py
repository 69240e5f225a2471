"""Variants of a recipe, side by side: the search for the flagship's settings, and the ablation of what it found.

    python benchmarks/variants.py benchmarks/variants/flagship-search.yaml --jobs 2 --threads 1

trains every variant that the file lists with every seed, as `ganzoo bench` does: in processes of their own, resumable,
leaving out what has a record. Records go to results/<file's name>/, and so does the table, README.md, that is made of
them; --summary makes the table alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated

from pydantic import Field, ValidationError

from ganzoo.config.schema import Section
from ganzoo.errors import GanzooError
from ganzoo.files import write_atomically
from ganzoo.registry import strict
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.registry.strict import issues
from ganzoo.studies.matrix import Job, Matrix
from ganzoo.studies.records import Ledger, RunRecord, Score, ScoredRun
from ganzoo.studies.worker import Bench, Settings, Watcher

METRIC = "fid@mnist-cnn"


class Variants(Section):
    """What a file of variants holds.

    Attributes:
        title: What is compared, in a line.
        recipe: Which all are variants of.
        seeds: Each is trained with all of them.
        overrides: Changes of every variant, as behind ``--set``.
        variants: Each one's own changes, by what the table calls it.
    """

    title: str
    recipe: str
    seeds: Annotated[tuple[int, ...], Field(min_length=1, strict=False)]
    overrides: Annotated[tuple[str, ...], Field(strict=False)] = ()
    variants: dict[str, Annotated[tuple[str, ...], Field(strict=False)]]

    @classmethod
    def read(cls, path: Path) -> Variants:
        """What a file says.

        Raises:
            GanzooError: It cannot be read, or says something else.
        """
        data = strict.read_mapping(path)
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise GanzooError(f"{path}: {issues(error, cls, data)[0].sentence('the file')}", "") from error

    def jobs(self, zoo: Zoo) -> dict[str, list[Job]]:
        """A variant's trainings, one for each seed, by what the table calls it."""
        return {
            label: Matrix([self.recipe], seeds=self.seeds, overrides=[*self.overrides, *changes]).jobs(zoo)
            for label, changes in self.variants.items()
        }


class Unpictured(Ledger):
    """Records alone: variants of one recipe would write their pictures over one another's."""

    def append(self, record: RunRecord, scores: Iterable[Score] = (), picture: Path | None = None) -> ScoredRun:
        """Write a record and its scores."""
        return super().append(record.model_copy(update={"samples": None}), scores)


class Sayer(Watcher):
    """Prints a line for every training that ends."""

    def __init__(self, jobs: dict[str, list[Job]]) -> None:
        self.labels = {job: label for label, several in jobs.items() for job in several}

    def ended(self, job: Job, run: ScoredRun | None) -> None:
        """The score, or what went wrong."""
        score = run and run.score(METRIC)
        outcome = f"{score['value']:.3f}" if score else (run.record.error if run else "stopped")
        print(f"{self.labels[job]}, seed {job.seed}: {outcome}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, then make the table."""
    args = parse(arguments)
    try:
        variants, zoo = Variants.read(args.file), load_zoo()
        jobs = variants.jobs(zoo)
        ledger = Unpictured(args.results / args.file.stem)
        if not args.summary:
            settings = Settings(args.work / args.file.stem, parallel=args.jobs, threads=args.threads)
            # Seed by seed, so that a search that is stopped has said something of every variant.
            queue = [job for several in zip(*jobs.values(), strict=True) for job in several]
            Bench(zoo, ledger, settings, Sayer(jobs)).run(queue)
        table = markdown(variants, jobs, ledger)
    except GanzooError as error:
        sys.exit(str(error))
    write_atomically(ledger.folder / "README.md", table.encode())
    print(table)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="which variants: see benchmarks/variants")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads of each")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--work", type=Path, default=Path("runs/variants"), help="where run folders go")
    parser.add_argument("--summary", action="store_true", help="train nothing, only make the table")
    return parser.parse_args(arguments)


def markdown(variants: Variants, jobs: dict[str, list[Job]], ledger: Ledger) -> str:
    """The table, best first; variants without a score are left out."""
    found = {(run.record.digest, run.record.seed): run for run in ledger.runs if run.score(METRIC)}
    rows = []
    for label, several in jobs.items():
        runs = [found[job.digest, job.seed] for job in several if (job.digest, job.seed) in found]
        if runs:
            rows.append(_row(label, variants.variants[label], runs))
    machines = sorted({_machine(run.record) for run in found.values()})
    return "\n".join(
        [
            f"# {variants.title}",
            "",
            f"Variants of `{variants.recipe}`{', all with ' if variants.overrides else ''}{_code(variants.overrides)}.",
            f"The score is {METRIC} of the weights that the recipe reports, mean and standard deviation over seeds.",
            "× real-vs-real: the score over that of real images. Seconds: of training alone.",
            "",
            f"Trained on: {'; '.join(machines)}.",
            "",
            f"Made by `python benchmarks/variants.py benchmarks/variants/{ledger.folder.name}.yaml`.",
            "",
            "| variant | changes | seeds | score | × real-vs-real | images/s | seconds |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
            *(row for _, row in sorted(rows)),
            "",
        ]
    )


def _row(label: str, changes: Sequence[str], runs: Sequence[ScoredRun]) -> tuple[float, str]:
    """The mean score, to sort by, and the line."""
    scores = [score for run in runs if (score := run.score(METRIC))]
    values = [score["value"] for score in scores]
    deviation = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    floors = f"{fmean(score['value'] / score['floor'] for score in scores if score['floor']):.1f}"
    speed = fmean(run.record.images_per_second or 0 for run in runs)
    seconds = fmean(run.record.seconds for run in runs)
    cells = [label, _code(changes), str(len(values)), f"{fmean(values):.2f}{deviation}", floors, f"{speed:,.0f}"]
    return fmean(values), f"| {' | '.join(cells)} | {seconds:.0f} |"


def _code(overrides: Sequence[str]) -> str:
    return " ".join(f"`{override}`" for override in overrides)


def _machine(record: RunRecord) -> str:
    versions = record.environment["versions"]
    return f"{record.hardware}, threads: {record.threads}, {record.precision}, torch {versions['torch']}"


if __name__ == "__main__":
    main()
