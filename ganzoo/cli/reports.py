"""``ganzoo report``, ``compare``, ``leaderboard`` and ``doctor``: pages and diagnoses of training runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ganzoo.cli.terminal import (
    AllowCode,
    AllowPaths,
    AsJson,
    DataDir,
    print_json,
    refuse_missing_folder,
    say,
    warn_of_problems,
)
from ganzoo.errors import GanzooError, one_line


def doctor(
    run: Annotated[Path, typer.Argument(help="A run folder, finished or not.")],
    as_json: AsJson = False,
) -> None:
    """Report what is wrong with a run, and what to do about it."""
    from ganzoo.runs.diagnosis import examine
    from ganzoo.runs.folder import RunFolder

    folder = RunFolder.open(run)
    diagnosis = examine(folder)
    try:
        folder.refuse_another_recipe()
    except GanzooError as error:  # the diagnosis needs no recipe
        say(str(error), err=True, colour="yellow")
    recipe, status = folder.info["recipe"], folder.info["status"]
    images = max((event.get("images", 0) for event in folder.events()), default=0)
    if as_json:
        facts = {"run": str(folder.path), "recipe": recipe, "status": status, "images": images}
        print_json({**facts, "verdict": diagnosis.verdict, **asdict(diagnosis)})
        return
    for line in (f"{recipe}: {status} after {images:,} images", *diagnosis.lines()):
        say(one_line(line))


def report(
    run: Annotated[Path, typer.Argument(help="A run folder, finished or not.")],
    device: Annotated[str, typer.Option(help="Device that draws the samples: auto, cpu, cuda, cuda:1, ...")] = "auto",
    draw: Annotated[
        bool, typer.Option(help="Draw samples from the checkpoint for nearest neighbours and interpolation.")
    ] = True,
    data_dir: DataDir = None,
    allow_code: AllowCode = False,
    allow_paths: AllowPaths = False,
    as_json: AsJson = False,
) -> None:
    """Make report.html in a run folder: curves, training progress, scores, health and the recipe."""
    from ganzoo.registry.loading import load_zoo
    from ganzoo.reports.run_report import write_report
    from ganzoo.reproducibility import resolve_device

    zoo = load_zoo()
    warn_of_problems(zoo)
    path = write_report(run, zoo, device=resolve_device(device), draw=draw)
    if as_json:
        print_json({"report": str(path)})
    else:
        say(f"Saved to {path}", err=True)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two to twelve run folders.")],
    out: Annotated[Path, typer.Option(help="The HTML page to write.")] = Path("compare.html"),
    as_json: AsJson = False,
) -> None:
    """Make a page that compares several runs: samples, scores by protocol, curves, settings that differ."""
    from ganzoo.reports.comparison import write_comparison

    refuse_missing_folder(out)
    path = write_comparison(runs, out)
    if as_json:
        print_json({"page": str(path)})
    else:
        say(f"Saved to {path}", err=True)


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
    """Make the front page of results: verdicts of studies, samples, and the leaderboard of `ganzoo bench`."""
    from ganzoo.files import default_folder
    from ganzoo.registry.loading import load_zoo
    from ganzoo.reports.leaderboard import write_leaderboard
    from ganzoo.reports.study_report import STUDIES, answers
    from ganzoo.studies.records import RUNS

    if results is not None and named is not None:
        raise GanzooError(f"Two folders of results are given: {results} and {named}.", "Leave out --results.")
    results = results or named or default_folder("results")
    work = work or default_folder("runs", "bench")
    verdicts = []
    if (results / STUDIES / RUNS).is_file():
        zoo = load_zoo()
        warn_of_problems(zoo)  # their studies would be missing from the page
        verdicts = answers(results, zoo)
    written = write_leaderboard(results, readme, work, verdicts)
    files = [str(path) for path in written.files]
    if as_json:
        print_json({"files": files, "recipes": written.recipes})
    else:
        say(f"{written.recipes} recipes. Saved to {', '.join(files)}", err=True)
