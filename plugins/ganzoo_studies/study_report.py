"""What a study found as a page: first its question, answer, claims and verdicts, then the evidence; and as files."""

from __future__ import annotations

import csv
import math
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from ganzoo.cli.terminal import print_json, say
from ganzoo.errors import GanzooError, writing
from ganzoo.evaluation.protocol import describe
from ganzoo.files import MADE, begins_like, refuse_links, refuse_to_overwrite, write_atomically
from ganzoo.registry import strict
from ganzoo.registry.loading import Zoo
from ganzoo_reports.templates import page, text
from ganzoo_studies.cells import CellFound, Values
from ganzoo_studies.charts import forest, forest_file
from ganzoo_studies.findings import Found, find
from ganzoo_studies.leaderboard import TEXTS, samples_of
from ganzoo_studies.records import RUNS, Ledger
from ganzoo_studies.study import BASELINE, Measure, Study, load_study
from ganzoo_studies.verdicts import LOOKS, Outcome, times

MARK = "<title>ganzoo study: "
"""Distinguishes our pages from other files."""
STUDIES = "studies"
"""The folder of the studies' results, within the results folder."""
FILES = (".csv", ".tex", ".pdf")
"""What ``write_file`` writes."""


def show_pages(pages: Mapping[Path, Found], as_json: bool) -> None:
    """Print verdicts, and where the pages are; of small versions of studies, that they answer nothing."""
    if as_json:
        print_json({"claims": [one.plain() for found in pages.values() for one in found.findings]})
        return
    for path, found in pages.items():
        say(f"{found.study.name}: {found.study.question}")
        if found.study.is_quick:
            say("  Quick version: it only shows that the study runs; it does not answer the question.")
        for one in found.findings:
            say(f"  {one.verdict.outcome.value}: {one.claim.says} {one.effect[:1].upper()}{one.effect[1:]}")
        say(f"Saved to {path}", err=True)


def started(ledger: Ledger, zoo: Zoo, *, quick: bool = False) -> list[Found]:
    """The registered studies with runs in a results folder; runs of the baseline alone may belong to another study."""
    begun, trained = [], {run.record.recipe for run in ledger.runs}
    for entry in zoo.studies:
        with suppress(GanzooError):  # `ganzoo check` reports what is wrong with it
            study = load_study(entry.name, zoo)
            # Building all its recipes takes a while.
            if trained & {study.baseline, *(one.recipe for one in study.variants.values())}:
                found = find(study.scaled_down() if quick else study, ledger, zoo)
                if any(
                    cell.runs and cell.row != BASELINE
                    for cell in (*found.cells, *(trial for one in found.tuned.values() for trial in one.trials))
                ):
                    begun.append(found)
    return begun


def write_pages(studies: Sequence[Study], ledger: Ledger, zoo: Zoo) -> dict[Path, Found]:
    """Make ``<study>.html`` of each study; returns what was found, by the page.

    Raises:
        GanzooError: A file with a page's name was not made by ganzoo, or two studies have the same name.
    """
    paths = refuse_pages(studies, ledger.folder)
    pages = {path: find(study, ledger, zoo) for path, study in zip(paths, studies, strict=True)}
    for path, found in pages.items():
        write_atomically(path, html(found, ledger.folder, zoo).encode())
    return pages


def refuse_pages(studies: Sequence[Study], folder: Path) -> list[Path]:
    """Refuse studies whose pages could not be written; to be called before they are trained. Returns the paths."""
    counts = Counter(study.name for study in studies)
    if twice := [name for name, n in counts.items() if n > 1]:
        raise GanzooError(
            f"Two of these studies are called '{twice[0]}', so they would share a page.", "Rename one of the files."
        )
    paths = [refuse_links(folder / f"{name}.html", folder) for name in counts]
    for path in paths:
        remedy = "Move it, or keep the results of studies in a separate folder."
        refuse_to_overwrite(path, ours=begins_like(path, MARK), command="study", remedy=remedy)
    return paths


def write_file(study: Study, ledger: Ledger, zoo: Zoo, out: Path) -> Found:
    """Write a study for a paper: every run's scores as CSV, its tables as LaTeX, or its forest plot as PDF.

    Raises:
        GanzooError: There is nothing to plot, or the file cannot be written.
    """
    found = find(study, ledger, zoo)
    if out.suffix == ".pdf":
        if not found.findings:
            raise GanzooError(f"The study '{found.study.name}' makes no claims to plot.", "Give FILE.csv or FILE.tex.")
        content = forest_file(found.findings, "pdf")
    elif out.suffix == ".csv":
        names = [one.name for one in study.measures]
        rows = [
            [*cell.place, seed, run.record.status]
            + [cell.value(run, one) for one in study.measures]
            + [run.record.seconds, run.record.hardware]
            for cell in found.cells
            for seed, run in sorted(cell.runs.items())
        ]
        table = StringIO()
        csv.writer(table, lineterminator="\n").writerows(
            [["row", "setting", "seed", "status", *names, "seconds", "hardware", MADE], *rows]
        )
        content = table.getvalue().encode()
    else:
        content = text(
            "study.tex.template",
            {"found": found, "made": MADE, "values": partial(_values, found, zoo)},
            _tex,
            package=__package__,
        ).encode()
    with writing(f"Could not write {out}", "Give another --out."):
        write_atomically(out, content)
    return found


def _tex(value: Any) -> str:
    """Text escaped for LaTeX."""
    plain = re.sub(r"([#$%&_{}])", r"\\\1", str(value).replace("\\", "/"))
    return plain.replace("~", r"\textasciitilde{}").replace("^", r"\textasciicircum{}").replace("–", "--")


def studies_of(results: Path, zoo: Zoo) -> list[Found]:
    """What the studies with runs in a results folder found, for its front page; those that decided a claim first."""
    folder = results / STUDIES
    if not (folder / RUNS).is_file():
        return []
    return sorted(
        started(Ledger(folder), zoo),
        key=lambda one: (not any(claim.is_decided for claim in one.findings), one.study.name),
    )


def _command(study: Study, folder: Path, zoo: Zoo) -> str:
    """The command that runs a study; an unregistered study is named by its file.

    The results folder is named if it is not the default. A path that is meaningful on this machine only is left out.
    """
    name = study.name.removesuffix("-quick")
    words = ["ganzoo", "study", "run", name if name in zoo.studies else study.source]
    if folder != Path("results", STUDIES) and not folder.is_absolute() and ".." not in folder.parts:
        words += ["--results", str(folder)]
    if study.is_quick:
        words.append("--quick")
    return shlex.join(words)


def html(found: Found, folder: Path, zoo: Zoo) -> str:
    """The page of a study whose results are in ``folder``."""
    study, runs, missing = found.study, found.runs, found.missing()
    versions = [(run.record.where, run.record.environment.get("versions") or {}) for run in runs]
    scored = [
        (cell, cell.final_score(run, one.metric))
        for cell in found.cells
        for run in cell.runs.values()
        for one in study.measures
    ]
    context = {
        "study": study,
        "found": found,
        "tone": {Outcome.HELPS: "good", Outcome.HURTS: "bad"},
        "forest": forest,
        **TEXTS,
        "level": f"{5 / len(study.claims) / len(LOOKS):.2g}%" if study.claims else "",
        "settings": [
            (setting, [cell for cell in found.cells if cell.setting == setting])
            for setting in study.setting_names
            if any(cell.runs for cell in found.cells if cell.setting == setting)
        ],
        "values": partial(_values, found, zoo),
        "samples_of": partial(samples_of, folder),
        "better": {measure.name: measure.better(zoo) for measure in study.measures},
        "regimes": [(strict.dump(former), one) for former, one in zip(study.tried, found.regimes, strict=True)],
        "runs": len(runs),
        "missing": missing,
        "seconds": sum(run.record.seconds for run in runs),
        "prepared": sum(run.record.seconds for run in found.prepared),
        "several_machines": len({run.record.hardware for run in runs}) > 1,
        "clocked": [measure.name for measure in study.measures if measure.is_time],
        "precisions": sorted({run.record.precision for run in runs if run.record.precision}),
        "threads": sorted({run.record.threads for run in runs}),
        "machines": sorted({f"{where}, torch {known.get('torch', '?')}" for where, known in versions}),
        "protocols": sorted({f"{score['metric']}: {describe(score['protocol'])}" for _, score in scored if score}),
        "floors": {(cell.setting, score["metric"]): score["floor"] for cell, score in scored if score},
        "command": _command(study, folder, zoo),
        "commands": [(one.row, one.setting, one.jobs[0].command) for one in found.cells],
    }
    return page("study.html", (), context, package=__package__)


def _values(found: Found, zoo: Zoo, cell: CellFound, measure: Measure) -> tuple[Values, str | None]:
    """A measure's values for a cell and, in words, how many times better than the baseline's their geometric mean is.

    Of shares, their odds are compared. Times count on one kind of machine alone, since others must not be averaged.
    Nothing is said of rows that both do better than real images, as memorisation does where nothing is copied.
    """
    hardware, better = found.usual_hardware if measure.is_time else None, measure.better(zoo)
    rows = [one for one in found.cells if one.place in ((BASELINE, cell.setting), cell.place)]
    values = {one.row: one.values(measure, zoo, hardware) for one in rows}
    theirs, ours = (values[row].mean_log if row in values else None for row in (BASELINE, cell.row))
    is_beyond = max(one.from_real([measure], zoo) or 0.0 for one in rows) < 0
    if cell.row == BASELINE or ours is None or theirs is None or better == "neither" or is_beyond:
        return values[cell.row], None
    return values[cell.row], times(math.exp(ours - theirs if better == "higher" else theirs - ours))
