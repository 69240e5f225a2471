"""The page of a study: first its question, claims and verdicts, then the evidence."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from markupsafe import Markup

from ganzoo.errors import GanzooError
from ganzoo.evaluation.protocol import describe
from ganzoo.files import begins_like, refuse_links, refuse_to_overwrite, write_atomically
from ganzoo.formatting import NOTHING, figure
from ganzoo.registry.loading import Zoo
from ganzoo.runs.records import is_own, own_protocol
from ganzoo_reports.plots import INK, REAL, SERIES, Line, curves, drawing, logarithmic, shortened, svg
from ganzoo_reports.templates import Picture, code, markdown, markdown_table, page
from ganzoo_studies.findings import (
    CellFound,
    Found,
    TrialFound,
    Values,
    all_claims,
    by_other_views,
    curve,
    find,
    verdicts,
)
from ganzoo_studies.leaderboard import EFFECT, MEANING, Answer, Finding, grid_of, thumbnail, where
from ganzoo_studies.records import RUNS, Ledger
from ganzoo_studies.study import BASELINE, Cell, Claim, Measure, Study, Trial, load_study
from ganzoo_studies.verdicts import FEW_SEEDS, SMALLEST, Outcome, Verdict

MARK = "<title>ganzoo study: "
"""Distinguishes our pages from other files."""
INDEX = "# Studies\n\nMade by `ganzoo study report`"
Views = Sequence[tuple[str, Verdict]]
"""A claim's effect by other measures of the same kind, each with the measure's name."""
STUDIES = "studies"
"""The folder of the studies' results, within the results folder."""
FEW_TRIALS = 5
"""A search of this many trials or fewer cannot be expected to find a row's best settings; the page says so."""
MAX_PLOTTED = 4
"""Largest number of settings whose curves are drawn."""
MAX_SHADED = 5
"""With up to this many rows, every curve's range over seeds is shaded; with more, only the baseline's."""


@dataclass(frozen=True)
class StudyPage:
    """A study's page.

    Attributes:
        found: The study and its results.
        verdicts: The verdicts on its claims, in their order.
        views: For each claim, its effect by the study's other views, see ``by_other_views``.
        path: The page's path.
    """

    found: Found
    verdicts: Sequence[Verdict]
    views: Sequence[Views]
    path: Path

    def plain(self) -> dict[str, Any]:
        """JSON: the study's name and question, its claims with their verdicts, and the values behind them."""
        study = self.found.study
        claims = [
            {
                **claim.model_dump(mode="json"),
                "verdict": verdict.outcome.value,
                "why": verdict.why,
                "effect": verdict.effect,
                "at_least": verdict.at_least,
                "interval": verdict.interval,
                "p": verdict.p,
                "seeds": list(verdict.seeds),
                "by_other_views": [
                    {"on": name, "effect": other.effect, "interval": other.interval} for name, other in views
                ],
            }
            for claim, verdict, views in zip(study.claims, self.verdicts, self.views, strict=True)
        ]
        cells = [
            {
                "row": one.cell.row,
                "setting": one.cell.setting or None,
                "planned": one.planned,
                "values": {measure.name: dict(one.values(measure).by_seed) for measure in study.measures},
            }
            for one in self.found.cells
        ]
        winners = [
            {"row": row, "setting": setting or None, "changes": won.trial.changes, "validation": won.value}
            for (row, setting), won in self.found.winners.items()
        ]
        facts = {"study": study.name, "question": study.question, "page": str(self.path)}
        return {**facts, "claims": claims, "cells": cells, **({"search": winners} if study.search else {})}


def started(ledger: Ledger, zoo: Zoo, *, quick: bool = False) -> list[Study]:
    """The registered studies with runs in a results folder; runs of the baseline alone may belong to another study."""
    begun, trained = [], {run.record.recipe for run in ledger.runs}
    for entry in zoo.studies:
        try:
            study = load_study(entry.name, zoo)
            if not trained & {study.baseline, *(one.recipe for one in study.variants.values())}:
                continue  # building its recipes takes a while
            study = study.scaled_down() if quick else study
            # Rows still to be tuned are left out: their untuned runs, like the baseline's, may be another study's.
            cells = [cell for cell in study.cells(zoo) if not study.is_tuned(cell.row)]
            planned: list[Cell | Trial] = [*cells, *study.trials(zoo)]
            jobs = [job for one in planned if one.row != BASELINE for job in one.jobs]
        except GanzooError:  # `ganzoo check` reports what is wrong with it
            continue
        if any(ledger.find(job.digest, job.dataset, job.seed) is not None for job in jobs):
            begun.append(study)
    return begun


def write_pages(studies: Sequence[Study], ledger: Ledger, zoo: Zoo, *, quick: bool = False) -> list[StudyPage]:
    """Make ``<study>.html`` of each study, and ``README.md``, the index of all studies with runs.

    Verdicts are corrected for all claims together, so the results of any study may change them. Existing pages of other
    studies are therefore made again too.

    Args:
        studies: The studies.
        ledger: The results folder.
        zoo: Where names are looked up.
        quick: Whether these are ``--quick`` studies; the index shows only full ones.

    Raises:
        GanzooError: A file with a page's name was not made by ganzoo, or two studies have the same name.
    """
    refuse_pages(studies, ledger.folder, quick=quick)
    names = {study.name for study in studies}
    together = [*studies, *(one for one in started(ledger, zoo, quick=quick) if one.name not in names)]
    found = [find(study, ledger, zoo) for study in together]
    judged = verdicts(found, zoo)
    claims = all_claims(together, zoo)
    pages = []
    for one, outcome in zip(found, judged, strict=True):
        path = ledger.folder / f"{one.study.name}.html"
        views = [by_other_views(one, claim, zoo) for claim in one.study.claims]
        if one.study.name in names or path.exists():
            _write(path, MARK, html(one, outcome, views, claims, ledger.folder, zoo, quick=quick))
        pages.append(StudyPage(one, outcome, views, path))
    if not quick:
        _write(ledger.folder / "README.md", INDEX, index(pages, zoo))
    return pages[: len(studies)]


def refuse_pages(studies: Sequence[Study], folder: Path, *, quick: bool = False) -> None:
    """Refuse studies whose pages could not be written; to be called before they are trained.

    Raises:
        GanzooError: A file with a page's name was not made by ganzoo, or two studies have the same name.
    """
    counts = Counter(study.name for study in studies)
    if twice := [name for name, n in counts.items() if n > 1]:
        sentence = f"Two of these studies are called '{twice[0]}', so they would share a page."
        raise GanzooError(sentence, "Rename one of the files.")
    for name in counts:
        _refuse(folder / f"{name}.html", MARK)
    if not quick:
        _refuse(folder / "README.md", INDEX)


def answers(results: Path, zoo: Zoo) -> list[Answer]:
    """The findings of the completed studies in a results folder, for its front page.

    Studies with a decided claim come first.

    Args:
        results: The folder; the studies' results are in its subfolder ``studies``.
        zoo: Where studies are looked up.
    """
    folder = results / STUDIES
    if not (folder / RUNS).is_file():
        return []
    ledger = Ledger(folder)
    found = [find(study, ledger, zoo) for study in started(ledger, zoo)]
    made = []
    for one, judged in zip(found, verdicts(found, zoo), strict=True):
        if not one.is_complete:
            continue
        path = f"{STUDIES}/{one.study.name}.html"
        findings = []
        for claim, verdict in zip(one.study.claims, judged, strict=True):
            views = by_other_views(one, claim, zoo)
            decided = verdict.outcome in (Outcome.HOLDS, Outcome.DOES_NOT_HOLD)
            decided = decided and not any(_opposed(verdict, other) for _, other in views)
            effects = _effects(verdict, views)
            than = claim.than if claim.than_on is None else f"{claim.than} by {claim.than_on}"
            compared = f"{claim.better} with {than}"
            if (means := _means(one, claim, verdict, zoo)) is not None:
                compared = f"{claim.better} {figure(means[0])}, {than} {figure(means[1])}"
            outcome = verdict.outcome.value
            findings.append(Finding(outcome, claim.says, claim.paper, claim.on, effects, compared, decided=decided))
        page_path = path if (results / path).is_file() else None
        made.append(Answer(one.study.name, one.study.question, page_path, tuple(findings)))
    return sorted(made, key=lambda answer: (not any(one.decided for one in answer.findings), answer.name))


def _refuse(path: Path, mark: str) -> None:
    refuse_links(path, path.parent)
    remedy = "Move it, or keep the results of studies in a separate folder."
    refuse_to_overwrite(path, ours=begins_like(path, mark), command="study", remedy=remedy)


def _write(path: Path, mark: str, text: str) -> None:
    _refuse(path, mark)
    write_atomically(path, text.encode())


def index(pages: Sequence[StudyPage], zoo: Zoo) -> str:
    """``README.md``: every study's question, with the verdict on each claim."""
    parts = [
        f"{INDEX} from [runs.jsonl](runs.jsonl) and [scores.jsonl](scores.jsonl). Each study has a page with its "
        f"table, pictures and curves. {MEANING} {EFFECT}"
    ]
    for one in sorted(pages, key=lambda page: page.found.study.name):
        study = one.found.study
        rows = [
            [
                f"**{verdict.outcome.value}**",
                *map(markdown, (claim.says, claim.on, _effects(verdict, views))),
                _behind(one.found, claim, verdict) or NOTHING,
                markdown(claim.paper or NOTHING),
            ]
            for claim, verdict, views in zip(study.claims, one.verdicts, one.views, strict=True)
        ]
        headings = dict.fromkeys(("verdict", "claim", "by", "effect", "from", "paper"), "left")
        parts.append(f"## [{markdown(study.question)}]({study.name}.html)")
        parts += [markdown_table(headings, rows)] if rows else []
        parts.append(code(_command(study, one.path.parent, zoo)))
    return "\n\n".join(parts) + "\n"


def _command(study: Study, folder: Path, zoo: Zoo) -> str:
    """The command that runs a study; an unregistered study is named by its file.

    The results folder is named if it is not the default. A path that is meaningful on this machine only is left out.
    """
    name = study.name.removesuffix("-quick")
    words = ["ganzoo", "study", "run", name if name in zoo.studies else study.source]
    if folder != Path("results", STUDIES) and not folder.is_absolute() and ".." not in folder.parts:
        words += ["--results", str(folder)]
    return shlex.join(words)


def _effect(verdict: Verdict) -> str:
    if verdict.effect is None or verdict.interval is None:
        return NOTHING
    if verdict.at_least:
        return f"at least ×{figure(verdict.effect)}"
    low, high = verdict.interval
    return f"×{figure(verdict.effect)} ({figure(low)} to {figure(high)})"


def _opposed(verdict: Verdict, other: Verdict) -> bool:
    """Whether both intervals exclude 1, on opposite sides of it."""
    if verdict.interval is None or other.interval is None:
        return False
    (low, high), (other_low, other_high) = verdict.interval, other.interval
    return (low > 1 and other_high < 1) or (high < 1 and other_low > 1)


def _effects(verdict: Verdict, views: Views) -> str:
    """The effect of a claim, followed by its effects by other views."""
    others = (
        f"{_effect(other)} by {name}{', the opposite' if _opposed(verdict, other) else ''}" for name, other in views
    )
    return "; ".join([_effect(verdict), *others])


@dataclass(frozen=True)
class TableRow:
    """A row of a setting's table.

    Attributes:
        name: The row.
        changes: Its changes, as on the command line.
        picture: Samples, or None.
        cell: Its cell, with its runs.
        values: For each measure, its values, and how many times better than the baseline it is, or None.
    """

    name: str
    changes: str
    picture: Picture | None
    cell: CellFound
    values: Sequence[tuple[Values, float | None]]

    @property
    def times(self) -> dict[str, float]:
        """Mean training time of the successful runs in seconds, by hardware: the one with the most runs first."""
        by_hardware: dict[str, list[float]] = {}
        for run in self.cell.runs.values():
            if run.record.status == "done":
                by_hardware.setdefault(run.record.hardware, []).append(run.record.seconds)
        return {name: fmean(times) for name, times in sorted(by_hardware.items(), key=lambda item: -len(item[1]))}

    @property
    def errors(self) -> list[str]:
        """The errors of failed runs."""
        return [run.record.error for run in self.cell.runs.values() if run.record.error]


def html(
    found: Found,
    judged: Sequence[Verdict],
    views: Sequence[Views],
    claims: int,
    folder: Path,
    zoo: Zoo,
    *,
    quick: bool = False,
) -> str:
    """The page of a study.

    Args:
        found: The study and its runs.
        judged: The verdicts on its claims.
        views: The effects of its claims by the study's other views.
        claims: Number of claims that the verdicts were corrected for.
        folder: The results folder, where pictures are.
        zoo: Where names are looked up.
        quick: Whether it is a ``--quick`` study.
    """
    study, runs = found.study, found.runs
    settings = [
        (setting, _table(found, setting, folder, zoo))
        for setting in study.setting_names
        if any(cell.runs for cell in found.cells if cell.cell.setting == setting)
    ]
    name = study.name.removesuffix("-quick") if quick else study.name
    few = min([len(cell.runs) for cell in found.cells if cell.runs] or [0])
    machines = [(run.record, run.record.environment.get("versions") or {}) for run in runs]
    context = {
        "study": study,
        "claims": [
            (claim, verdict, _means(found, claim, verdict, zoo), _behind(found, claim, verdict), others)
            for claim, verdict, others in zip(study.claims, judged, views, strict=True)
        ],
        "all_claims": claims,
        "effect": _effect,
        "opposed": _opposed,
        "tone": {Outcome.HOLDS: "good", Outcome.DOES_NOT_HOLD: "bad"},
        "forest": _forest(study, judged),
        "about_effects": EFFECT,
        "smallest": f"{SMALLEST - 1:.0%}",
        "few_seeds": FEW_SEEDS,
        # With several settings, the test is over settings, so few seeds in each are enough.
        "few": 0 < few <= FEW_SEEDS
        and (len(study.setting_names) == 1 or any(claim.at is not None for claim in study.claims)),
        "asked": found.asked,
        "quick": quick,
        "settings": settings,
        "better": {measure.name: measure.better(zoo) for measure in study.measures},
        "plots": _plots(found),
        "trials": _trials(found),
        "own_trials": [(row, variant.search) for row, variant in study.variants.items() if variant.search],
        "registered": name in zoo.studies,
        "tried": list(dict.fromkeys(_tried(one) for one in found.trials)),
        "wins": Counter(map(_tried, found.winners.values())),
        "few_trials": FEW_TRIALS,
        "searches": len(found.winners),
        "is_searching": found.is_searching,
        "runs": len(runs),
        "planned": found.planned,
        "seconds": sum(run.record.seconds for run in runs),
        "searched": sum(len(one.trial.jobs) for one in found.trials if one.done),
        "lost": found.without_winner,
        "several_machines": len({run.record.hardware for run in runs}) > 1,
        "clocked": [measure.name for measure in study.measures if measure.is_clocked],
        "has_pairs": any(claim.better == claim.than for claim in study.claims),
        "all_shaded": len(study.rows) <= MAX_SHADED,
        "most_plotted": MAX_PLOTTED,
        "usual_hardware": _usual_hardware(found),
        "precisions": sorted({run.record.precision for run in runs if run.record.precision}),
        "threads": sorted({run.record.threads for run in runs}),
        "machines": sorted({f"{where(record)}, torch {versions.get('torch', '?')}" for record, versions in machines}),
        "protocols": _protocols(found),
        "command": f"{_command(study, folder, zoo)}{' --quick' if quick else ''}",
        "commands": [(one.cell.row, one.cell.setting, one.cell.jobs[0].command) for one in found.cells],
    }
    return page("study.html", (), context, package=__package__)


def _means(found: Found, claim: Claim, verdict: Verdict, zoo: Zoo) -> tuple[float, float] | None:
    """The geometric means that a claim compares.

    None if it is untested, covers several settings, or a row has none, or if it compares times on different machines.

    For a row with a score at its measure's limit, which the claim replaces, it is the arithmetic mean.
    """
    settings = (claim.at,) if claim.at is not None else found.study.setting_names
    if len(settings) > 1 or verdict.outcome is Outcome.WAITS:
        return None
    sides = (claim.better, claim.on), (claim.than, claim.than_on or claim.on)
    cells = [(found.cell(row, settings[0]), found.study.measure(on)) for row, on in sides]
    hardware = {run.record.hardware for cell, _ in cells if cell is not None for run in cell.runs.values()}
    if len(hardware) > 1 and any(measure.is_clocked for _, measure in cells):
        return None
    values = (None if cell is None else _values(cell, measure, found, zoo) for cell, measure in cells)
    ours, theirs = (None if one is None else one.mean if one.is_limited else one.middle for one in values)
    return None if ours is None or theirs is None else (ours, theirs)


def _behind(found: Found, claim: Claim, verdict: Verdict) -> str:
    """The number of settings or seeds behind a verdict, in words; empty if the claim is untested."""
    if verdict.outcome is Outcome.WAITS:
        return ""
    settings = found.study.setting_names
    if claim.at is None and len(settings) > 1:
        return f"{verdict.seeds[0]} of {len(settings)} settings"
    return f"{verdict.seeds[0]} and {verdict.seeds[1]} seeds"


def _table(found: Found, setting: str, folder: Path, zoo: Zoo) -> list[TableRow]:
    study, baseline = found.study, found.cell(BASELINE, setting)
    rows = []
    for name, variant in study.rows.items():
        cell = found.cell(name, setting)
        if cell is None:
            continue
        won = found.winners.get((name, setting))
        changes = [*variant.overrides, *variant.settings.get(setting, ()), *(won.trial.changes if won else ())]
        words = [*([variant.recipe or study.baseline] if variant.recipe or name == BASELINE else []), *changes]
        values = []
        for one in study.measures:
            ours = _values(cell, one, found, zoo)
            than = None if name == BASELINE or baseline is None else _values(baseline, one, found, zoo)
            values.append((ours, None if than is None else _times_better(ours, than, one.better(zoo))))
        image = grid_of(next((run.record.samples for run in cell.runs.values() if run.record.samples), None), folder)
        picture = None if image is None else Picture.of(thumbnail(image))
        rows.append(TableRow(name, " ".join(words), picture, cell, values))
    return rows


def _values(cell: CellFound, measure: Measure, found: Found, zoo: Zoo) -> Values:
    """A measure's values for a cell; for times, those of one kind of machine, since others must not be averaged."""
    return cell.values(measure, zoo, _usual_hardware(found) if measure.is_clocked else None)


def _times_better(ours: Values, theirs: Values, better: str) -> float | None:
    """The ratio of the geometric means (of odds, if they are shares), above 1 if ours are better; or None."""
    if not ours.logs or not theirs.logs or better == "neither":
        return None
    difference = fmean(ours.logs.values()) - fmean(theirs.logs.values())
    return math.exp(difference if better == "higher" else -difference)


def _plots(found: Found) -> list[tuple[str, list[Markup]]]:
    """The first measure's curves over images and over seconds, one pair of plots for each setting."""
    metric = found.study.measures[0].metric
    hardware = _usual_hardware(found)
    drawn = []
    for number, setting in enumerate(found.study.setting_names[:MAX_PLOTTED]):
        lines: dict[str, list[Line]] = {"images": [], "seconds": []}
        for one in found.cells:
            if one.cell.setting != setting:
                continue
            own = own_protocol(one.cell.jobs[0].recipe)
            done = [run for run in one.runs.values() if run.record.status == "done"]
            for along, some in lines.items():
                # Seconds on different machines must not be averaged.
                runs = [run for run in done if along == "images" or run.record.hardware == hardware]
                points = [curve(run, metric, own) for run in runs]
                shared = min(map(len, points), default=0)
                if shared < 2:
                    continue
                values = [[float(of[i]["value"]) for of in points] for i in range(shared)]
                x = [fmean(float(of[i][along]) for of in points) for i in range(shared)]
                is_shaded = one.cell.row == BASELINE or len(found.study.rows) <= MAX_SHADED
                edges = ([min(of) for of in values], [max(of) for of in values]) if is_shaded else ((), ())
                some.append(Line(one.cell.row, x, [_geometric_mean(of) for of in values], *edges))
        pair = [
            curves(
                some,
                title=f"{metric} over {along}{f', {setting}' if setting else ''}",
                x="images shown" if along == "images" else "seconds of training",
                y=metric,
                name=f"curve-{number}-{along}",
                log=True,
            )
            for along, some in lines.items()
            if some
        ]
        if pair:
            drawn.append((setting, pair))
    return drawn


def _usual_hardware(found: Found) -> str:
    """The hardware that the most runs used."""
    counted = Counter(run.record.hardware for run in found.runs)
    return counted.most_common(1)[0][0] if counted else ""


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(fmean(map(math.log, values))) if min(values) > 0 else fmean(values)


def _forest(study: Study, judged: Sequence[Verdict]) -> Markup | None:
    """A forest plot: every claim's effect with its interval, with lines at no effect and at ``SMALLEST``."""
    shown = [
        (claim, verdict, verdict.effect, verdict.interval)
        for claim, verdict in zip(study.claims, judged, strict=True)
        if verdict.effect is not None and verdict.interval is not None
    ]
    if not shown:
        return None
    styles = {
        Outcome.HOLDS: (SERIES[2], "o"),
        Outcome.DOES_NOT_HOLD: (SERIES[5], "X"),
        Outcome.CANNOT_TELL: (REAL, "D"),
    }
    with drawing(5.2, 1.0 + 0.3 * len(shown)) as (figure, axes):
        labelled = set()
        for at, (_, verdict, effect, (low, high)) in enumerate(shown):
            colour, marker = styles[verdict.outcome]
            label = verdict.outcome.value if verdict.outcome not in labelled else None
            labelled.add(verdict.outcome)
            if not verdict.at_least:  # a bound has no interval
                axes.plot([low, high], [at, at], color=colour, linewidth=1.6)
            axes.plot([effect], [at], color=colour, marker=marker, markersize=5, linestyle="", label=label)
        axes.axvline(1, color=INK, linewidth=0.8)
        axes.axvline(SMALLEST, color=INK, linewidth=0.8, linestyle=":")
        several = len({claim.on for claim in study.claims}) > 1
        axes.set_yticks(range(len(shown)), [_short(claim, says_measure=several) for claim, *_ in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        logarithmic(axes, "x")
        axes.set_xlabel("times better, 95% interval of each claim alone (dotted: 10% better)")
        figure.legend(loc="outside upper left", ncols=3, handletextpad=0.2)
        return svg(figure, "The effect of each claim, with its 95% interval", "effects")


def _short(claim: Claim, *, says_measure: bool) -> str:
    than = claim.than_on or claim.than
    over = "" if than == BASELINE else f" over {than}"
    at = f", {claim.at}" if claim.at else ""
    on = f", {claim.on}" if says_measure else ""
    return shortened(f"{claim.better}{over}{at}{on}", 64)


def _tried(one: TrialFound) -> str:
    return " ".join(one.trial.changes) or "the unchanged row"


def _trials(found: Found) -> list[Mapping[str, Any]]:
    """Rows of a search's table, the best trial of each row and setting first."""
    rows = []
    for one in found.trials:
        won = found.winners.get((one.trial.row, one.trial.setting))
        rows.append(
            {
                "row": one.trial.row,
                "setting": one.trial.setting,
                "number": one.trial.number,
                "changes": _tried(one),
                "value": one.value,
                "state": "won" if won is one else "" if one.value is not None else "failed" if one.done else "to do",
            }
        )
    return sorted(rows, key=lambda row: (row["row"], row["setting"], row["state"] != "won", row["number"]))


def _protocols(found: Found) -> list[str]:
    """The protocols of the study's own final scores."""
    names, lines = {measure.metric for measure in found.study.measures}, set()
    for one in found.cells:
        own = own_protocol(one.cell.jobs[0].recipe)
        own_scores = [score for run in one.runs.values() for score in run.scores if is_own(score, own)]
        lines |= {f"{s['metric']}: {describe(s['protocol'])}" for s in own_scores if s["metric"] in names}
    return sorted(lines)
