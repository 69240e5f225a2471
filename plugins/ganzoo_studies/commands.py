"""``ganzoo bench``, ``study`` and ``leaderboard``: many training runs, what they say, and their pages."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ganzoo.cli.listing import list_, show_yaml
from ganzoo.cli.terminal import AllowCode, AllowTrackers, AsJson, Force, load_zoo_and_warn, print_json, refuse_out, say
from ganzoo.errors import GanzooError, RunError
from ganzoo.files import default_folder, refuse_links

Jobs = Annotated[int, typer.Option(min=1, max=1024, help="Training runs at a time.")]
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
    force: Annotated[bool, typer.Option("--force", help="Train again even if a run is done.")] = False,
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
    from ganzoo.config.loading import names_trackers
    from ganzoo.training.device import available_cores
    from ganzoo_studies import matrix, progress, records, worker

    if jobs > 1 and threads is None and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, available_cores() // jobs)
    results = results or default_folder("results")
    work = work or default_folder("runs", "bench")
    zoo = load_zoo_and_warn()
    too_slow = [
        entry.name
        for entry in zoo.recipes
        if fnmatchcase(entry.name, FOR_OTHER_HARDWARE)
        and not any("-gpu" in pattern and fnmatchcase(entry.name, pattern) for pattern in patterns)
    ]
    settings = worker.Settings(
        work,
        parallel=jobs,
        threads=threads,
        force=force,
        retry=retry,
        extra=jobs_arguments(data_dir, allow_code, allow_trackers or names_trackers(set_ or ())),
    )
    with progress.BenchProgress() as shown:
        planned = matrix.jobs_of(
            zoo,
            patterns,
            exclude=[*(exclude or ()), *too_slow],
            made_for=made_for or (),
            datasets=dataset or (),
            seeds=seed or (),
            overrides=set_ or (),
        )
        running = worker.Bench(zoo, records.Ledger(results), settings, shown)
        runs = running.run(planned)
        shown.summarise(planned, runs, results)
    if as_json:
        print_json({"records": [run.plain() for run in runs]})
    if len(runs) < len(planned) or running.unscored or any(run.record.status == "failed" for run in runs):
        raise typer.Exit(1)


def jobs_arguments(data_dir: Path | None, allow_code: bool, allow_trackers: bool) -> tuple[str, ...]:
    """The options of this command that each job's ``ganzoo run`` and ``ganzoo eval`` get too."""
    allowed = {"--allow-code": allow_code, "--allow-trackers": allow_trackers}
    return (*(("--data-dir", str(data_dir)) if data_dir else ()), *(word for word in allowed if allowed[word]))


def leaderboard(
    results: Annotated[
        Path | None, typer.Argument(help="The folder with runs.jsonl and scores.jsonl; results by default.")
    ] = None,
    readme: Annotated[
        Path | None,
        typer.Option(
            help="Also rewrite the tables of this file, between `<!-- leaderboard:begin -->` and "
            "`<!-- leaderboard:end -->`."
        ),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            help="Run folders of `ganzoo bench`, where `ganzoo eval` may have added scores; runs/bench by default."
        ),
    ] = None,
    named: Annotated[
        Path | None, typer.Option("--results", help="The same folder, named as in `ganzoo bench` and `ganzoo study`.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the front page of results: what studies say, samples, and the leaderboard of `ganzoo bench`."""
    from ganzoo_studies.leaderboard import write_leaderboard
    from ganzoo_studies.study_report import studies_of

    if results is not None and named is not None:
        raise GanzooError(f"Two folders of results are given: {results} and {named}.", "Leave out --results.")
    results = results or named or default_folder("results")
    work = work or default_folder("runs", "bench")
    paths, recipes = write_leaderboard(results, readme, work, studies_of(results, load_zoo_and_warn()))
    files = [str(path) for path in paths]
    if as_json:
        print_json({"files": files, "recipes": recipes})
    else:
        say(f"{recipes} recipes. Saved to {', '.join(files)}", err=True)


study = typer.Typer(help="Test papers' claims: a baseline, variants, seeds, verdicts.", no_args_is_help=True)

Results = Annotated[
    Path | None, typer.Option(help="Where runs.jsonl, scores.jsonl and pages go; results/studies by default.")
]
Quick = Annotated[
    bool, typer.Option("--quick", help="Use a small version of the study, which takes minutes, to check that it works.")
]


@study.command("list")
def list_studies(as_json: AsJson = False) -> None:
    """List the studies of all plugins."""
    list_(["studies"], as_json=as_json)


@study.command("show")
def show_study(
    name: Annotated[str, typer.Argument(help="A name or a YAML file.")],
    quick: Quick = False,
    timed: Annotated[
        bool, typer.Option("--time/--no-time", help="Time a few steps of each row, to estimate the study's cost.")
    ] = True,
    data_dir: JobsDataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show a study: its question, its rows, its claims, and the core-hours that it takes on this machine.

    With `--json`, every row includes the command of its first run.
    """
    from ganzoo_studies.cost import cost_of
    from ganzoo_studies.study import load_studies

    zoo = load_zoo_and_warn()
    (study,) = load_studies([name], zoo, quick=quick)
    cost = cost_of(study, zoo, timed=timed, data_dir=data_dir)
    plain = study.model_dump(mode="json", exclude_defaults=True)
    if as_json:
        commands = [
            {"row": c.row, "setting": c.setting or None, "command": c.jobs[0].command} for c in study.cells(zoo)
        ]
        print_json({**plain, "cost": asdict(cost), "cells": commands}, indent=1)
    else:
        del plain["name"]  # a study takes its name from its file
        show_yaml(plain, "\n".join(f"# {line}" for line in (study.name, *cost.in_words())))


@study.command("run")
def run_studies(
    names: Annotated[list[str], typer.Argument(help="Studies: names (`ganzoo study list`) or YAML files.")],
    seeds: Annotated[
        int,
        typer.Option(
            min=5,
            max=40,
            help="Stop after the look at this many seeds: 5, 10, 20 or 40. What is undecided then stays open.",
        ),
    ] = 40,
    quick: Quick = False,
    results: Results = None,
    work: Annotated[Path | None, typer.Option(help="Where the run folders go; runs/studies by default.")] = None,
    weights_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where each run's generator is kept, so that metrics added later need no retraining; "
            "a cache folder by default."
        ),
    ] = None,
    jobs: Jobs = 1,
    force: Annotated[
        bool, typer.Option("--force", help="Train every run again, those for tuning and gates included.")
    ] = False,
    retry: Retry = False,
    data_dir: JobsDataDir = None,
    launcher: Annotated[
        Literal["slurm"] | None, typer.Option(help="slurm: submit workers to a cluster instead of working here.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="With --launcher: how many workers; 1 by default.")
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            help="With --launcher: a SLURM parameter as in submitit, such as partition=gpu.", metavar="KEY=VALUE"
        ),
    ] = None,
    allow_code: AllowCode = False,
    allow_trackers: AllowTrackers = False,
    as_json: AsJson = False,
) -> None:
    """Tune a study's rows, measure its gates, train look by look until its claims are decided, and make its page.

    Any number of these commands can share the work of one results folder, on one machine or on many.
    """
    from ganzoo.api.dataset import cache_folder
    from ganzoo_studies import findings, matrix, progress, records, study_report, worker
    from ganzoo_studies.study import load_studies

    if launcher is None and (workers is not None or slurm):
        raise GanzooError(
            "--workers and --slurm need --launcher slurm.",
            "Add that, or start the command several times to share its work.",
        )
    results, work = results or default_folder("results", "studies"), work or default_folder("runs", "studies")
    zoo = load_zoo_and_warn()
    studies = load_studies(names, zoo, quick=quick)
    study_report.refuse_pages(studies, results)
    if launcher is not None:
        numbers = _launch(workers or 1, slurm or [], results, work, weights_dir)
        if as_json:
            print_json({"jobs": numbers})
        return
    settings = worker.Settings(
        work,
        parallel=jobs,
        force=force,
        retry=retry,
        extra=jobs_arguments(data_dir, allow_code, allow_trackers),
        any_hardware=True,
        weights=weights_dir or cache_folder("weights"),
    )
    for study in studies:
        study.refuse_unfit(zoo, data_dir)
    with progress.BenchProgress() as shown:
        ledger = records.Ledger(results)
        bench = worker.Bench(zoo, ledger, settings, shown)
        mine: dict[tuple[Any, ...], matrix.Job] = {}
        runs: list[records.ScoredRun] = []
        for study in studies:
            while True:
                ledger.refresh()
                found = findings.find(study, ledger, zoo)
                shown.say(f"{study.name}: {found.in_words(seeds)}")
                # All workers of a results folder come to the same next step: none goes on before it is complete.
                planned = {(*job.key, job.recipe.evaluate.samples): job for job in found.next_jobs(seeds)}
                further = {key: job for key, job in planned.items() if key not in mine}
                if not further:
                    break
                mine |= further
                runs += bench.run(list(further.values()))
            if found.preparations:
                raise RunError(
                    f"A run that '{study.name}' needs for tuning or gates was stopped, crashed or lacks a score.",
                    "Run the same command again, with --retry for crashed runs.",
                )
        shown.summarise(list(mine.values()), runs, results)
    study_report.show_pages(study_report.write_pages(studies, records.Ledger(results), zoo), as_json)
    if len(runs) < len(mine) or bench.unscored or any(run.record.has_crashed for run in runs):
        raise typer.Exit(1)


@study.command("report")
def report_studies(
    names: Annotated[
        list[str] | None, typer.Argument(help="Studies: names or YAML files; by default, all that have runs.")
    ] = None,
    quick: Quick = False,
    results: Results = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write one study for a paper instead: FILE.csv, every run's scores; FILE.tex, tables of claims and "
            "scores; FILE.pdf, a plot of its claims."
        ),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Make the pages of studies from existing records: answer, verdicts, tuning, gates, table, pictures."""
    from ganzoo_studies import records, study_report
    from ganzoo_studies.study import load_studies

    if out is not None:
        if out.suffix not in study_report.FILES or len(names or ()) != 1:
            raise GanzooError(
                f"Cannot write {out.name}.", "Name one study, and give --out FILE.csv, FILE.tex or FILE.pdf."
            )
        refuse_out(out, "study report", force=force)
    results = results or default_folder("results", "studies")
    if not (results / "runs.jsonl").is_file():
        raise GanzooError(f"{results / 'runs.jsonl'} does not exist.", "`ganzoo study run` writes it.")
    zoo = load_zoo_and_warn()
    ledger = records.Ledger(results)
    studies = (
        load_studies(names, zoo, quick=quick)
        if names
        else [one.study for one in study_report.started(ledger, zoo, quick=quick)]
    )
    if not studies:
        raise GanzooError(
            f"{results} has no run of any installed study.",
            "Name your own YAML file, or see `ganzoo study list` and `ganzoo study run`.",
        )
    pages = (
        study_report.write_pages(studies, ledger, zoo)
        if out is None
        else {out: study_report.write_file(studies[0], ledger, zoo, out)}
    )
    study_report.show_pages(pages, as_json)


def _launch(workers: int, parameters: list[str], results: Path, work: Path, weights_dir: Path | None) -> list[str]:
    """Submit workers that run this command without ``--launcher``; returns the jobs' IDs."""
    from ganzoo_studies.slurm import submit

    places = {"--results": results, "--work": work, "--weights-dir": weights_dir}
    replaced = ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--launcher", "--workers", "--slurm", *places):
        replaced.add_argument(name)
    _, command = replaced.parse_known_args(sys.argv[1:])
    for name, place in places.items():
        command += [name, str(place.resolve())] if place is not None else []
    if wrong := [one for one in parameters if "=" not in one]:
        raise GanzooError(f"--slurm {wrong[0]} must have the form KEY=VALUE.", "For example: --slurm partition=gpu.")
    pairs = [one.split("=", 1) for one in parameters]
    # A value with a leading zero is a name, such as an account's.
    settings = {key: int(text) if text.isdecimal() and str(int(text)) == text else text for key, text in pairs}
    numbers = submit(command, workers, settings, refuse_links(work / "slurm", work))
    say(f"Submitted {workers} worker{'' if workers == 1 else 's'}: {', '.join(numbers)}. See `squeue`.", err=True)
    say(f"When they are done: ganzoo study report --results {results}", err=True)
    return numbers
