"""``ganzoo bench``: train a matrix of recipes, datasets and seeds."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from ganzoo.cli.terminal import AllowCode, AllowTrackers, AsJson, print_json, warn_of_problems
from ganzoo.errors import GanzooError

T = TypeVar("T")
Jobs = Annotated[int, typer.Option(min=1, max=1024, help="Training runs at a time.")]
Shard = Annotated[
    str | None, typer.Option(help="Only the k-th of n parts of the work, as in a job array.", metavar="K/N")
]
Force = Annotated[bool, typer.Option("--force", help="Train again even if a run is done.")]
Retry = Annotated[bool, typer.Option("--retry", help="Resume runs that failed.")]
JobsDataDir = Annotated[Path | None, typer.Option(help="Folder that already holds the dataset files.")]

FOR_OTHER_HARDWARE = "*-gpu"
"""Names of recipes for which a CPU is too slow; only a pattern that contains -gpu selects them."""


def bench(
    recipes: Annotated[
        list[str] | None, typer.Argument(help="Recipes: names, patterns such as 'wgan-*', or YAML files.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every registered recipe.")] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Name patterns to leave out of --all and of other patterns. Recipes named "
            f"{FOR_OTHER_HARDWARE} are also left out, unless a pattern that contains -gpu selects them."
        ),
    ] = None,
    made_for: Annotated[
        list[str] | None, typer.Option(help="Restrict --all and patterns to recipes made for this dataset.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Train on this dataset instead of each recipe's own; may be repeated.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Train with this seed; may be repeated.", min=0, max=2**63 - 1)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a value of every recipe: --set train.images=20000", metavar="KEY=VALUE"),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Where runs.jsonl, scores.jsonl and pictures go; results by default.")
    ] = None,
    work: Annotated[Path | None, typer.Option(help="Where the run folders go; runs/bench by default.")] = None,
    jobs: Jobs = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="CPU threads of each training run; by default measured, or with --jobs, the cores divided among them.",
        ),
    ] = None,
    shard: Shard = None,
    force: Force = False,
    retry: Retry = False,
    data_dir: JobsDataDir = None,
    allow_code: AllowCode = False,
    allow_trackers: AllowTrackers = False,
    as_json: AsJson = False,
) -> None:
    """Train a matrix of recipes, datasets and seeds. Finished runs are skipped, interrupted ones resumed.

    A metric that a finished run lacks is computed from its saved weights, without training. Any number of these
    commands can share the work of one results folder.
    """
    patterns = [*(recipes or ()), *(["*"] if all_ else ())]
    if not patterns:
        raise GanzooError("`ganzoo bench` needs recipes.", "Name some, or give --all.")
    from ganzoo.cli.progress import BenchProgress
    from ganzoo.config.loading import names_trackers
    from ganzoo.files import default_folder
    from ganzoo.registry.loading import load_zoo
    from ganzoo.studies.matrix import Matrix
    from ganzoo.studies.records import Ledger
    from ganzoo.studies.worker import Bench, Settings
    from ganzoo.training.device import available_cores

    if jobs > 1 and threads is None and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, available_cores() // jobs)
    results = results or default_folder("results")
    work = work or default_folder("runs", "bench")
    zoo = load_zoo()
    gpu_patterns = [pattern for pattern in patterns if "-gpu" in pattern]
    too_slow = [
        entry.name
        for entry in zoo.recipes
        if fnmatchcase(entry.name, FOR_OTHER_HARDWARE)
        and not any(fnmatchcase(entry.name, pattern) for pattern in gpu_patterns)
    ]
    matrix = Matrix(patterns, [*(exclude or ()), *too_slow], made_for or (), dataset or (), seed or (), set_ or ())
    settings = Settings(
        work,
        parallel=jobs,
        threads=threads,
        force=force,
        retry=retry,
        extra=jobs_arguments(data_dir, allow_code, allow_trackers or names_trackers(set_ or ())),
    )
    with BenchProgress() as progress:
        warn_of_problems(zoo)
        planned = part_of(matrix.jobs(zoo), shard)
        worker = Bench(zoo, Ledger(results), settings, progress)
        runs = worker.run(planned)
        progress.summarise(planned, runs, results)
    if as_json:
        print_json({"records": [run.plain() for run in runs]})
    if len(runs) < len(planned) or worker.unscored or any(run.record.status == "failed" for run in runs):
        raise typer.Exit(1)


def jobs_arguments(data_dir: Path | None, allow_code: bool, allow_trackers: bool) -> tuple[str, ...]:
    """The options of this command that each job's ``ganzoo run`` and ``ganzoo eval`` get too."""
    allowed = {"--allow-code": allow_code, "--allow-trackers": allow_trackers}
    return (*(("--data-dir", str(data_dir)) if data_dir else ()), *(word for word in allowed if allowed[word]))


def part_of(jobs: Sequence[T], shard: str | None) -> list[T]:
    """For the shard ``k/n``, every n-th job starting with the k-th; all jobs for None.

    Raises:
        GanzooError: The shard does not have this form.
    """
    if shard is None:
        return list(jobs)
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", shard)
    first, step = map(int, match.groups()) if match else (0, 0)
    if not 1 <= first <= step:
        raise GanzooError(f"--shard {shard} must have the form k/n, with k from 1 to n.", "For example: --shard 1/4.")
    return list(jobs[first - 1 :: step])
