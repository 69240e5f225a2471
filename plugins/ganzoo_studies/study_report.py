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

from ganzoo.cli.terminal import print_json, say
from ganzoo.errors import GanzooError
from ganzoo.evaluation.protocol import describe
from ganzoo.files import begins_like, refuse_links, refuse_to_overwrite, write_atomically
from ganzoo.formatting import NOTHING
from ganzoo.registry.loading import Zoo
from ganzoo.runs.records import is_own, own_protocol
from ganzoo_reports.plots import INK, REAL, SERIES, Line, curves, drawing, logarithmic, shortened, svg
from ganzoo_reports.templates import code, markdown, page
from ganzoo_studies.findings import CellFound, Found, Values, curve, find
from ganzoo_studies.leaderboard import EFFECT, MEANING, Answer, Finding, findings_table, samples_of
from ganzoo_studies.records import RUNS, Ledger
from ganzoo_studies.study import BASELINE, Claim, Measure, Study, load_study
from ganzoo_studies.verdicts import LOOKS, WORTH_HAVING, Outcome, Verdict, in_words, times

MARK = "<title>ganzoo study: "
"""Distinguishes our pages from other files."""
INDEX = "# Studies\n\nMade by `ganzoo study report`"
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
    """A study, what was found, and where its page is."""

    found: Found
    path: Path

    def plain(self) -> list[dict[str, Any]]:
        """JSON: the study's claims with their outcomes."""
        return [
            {
                "study": self.found.study.name,
                "says": claim.says,
                "outcome": verdict.outcome.value,
                "effect": verdict.effect,
                # JSON has no infinity.
                "interval": verdict.interval and [e if math.isfinite(e) else None for e in verdict.interval.ends],
                "seeds": verdict.seeds,
            }
            for claim, verdict in self.found.claims
        ]


def show_pages(pages: Sequence[StudyPage], as_json: bool, *, quick: bool) -> None:
    """Print verdicts, and where the pages are; of ``quick`` studies, that they answer nothing."""
    if as_json:
        print_json({"claims": [claim for one in pages for claim in one.plain()]})
        return
    for one in pages:
        say(f"{one.found.study.name}: {one.found.study.question}")
        if quick:
            say("  Quick version: it only shows that the study runs; it does not answer the question.")
        for claim, verdict in one.found.claims:
            words = in_words(verdict, claim.on)
            say(f"  {verdict.outcome.value}: {claim.says} {words[:1].upper()}{words[1:]}")
        say(f"Saved to {one.path}", err=True)


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
            planned = [*cells, *study.trials(zoo)]
        except GanzooError:  # `ganzoo check` reports what is wrong with it
            continue
        if any(ledger.find(*job.key) for one in planned if one.row != BASELINE for job in one.jobs):
            begun.append(study)
    return begun


def write_pages(studies: Sequence[Study], ledger: Ledger, zoo: Zoo, *, quick: bool = False) -> list[StudyPage]:
    """Make ``<study>.html`` of each study and, if they are full studies, ``README.md``, the index of all with runs.

    Raises:
        GanzooError: A file with a page's name was not made by ganzoo, or two studies have the same name.
    """
    refuse_pages(studies, ledger.folder, quick=quick)
    pages = [page_of(study, ledger, zoo) for study in studies]
    for one in pages:
        _write(one.path, MARK, html(one, zoo, quick=quick))
    if not quick:
        names = {study.name for study in studies}
        others = [page_of(study, ledger, zoo) for study in started(ledger, zoo) if study.name not in names]
        _write(ledger.folder / "README.md", INDEX, index([*pages, *others], zoo))
    return pages


def page_of(study: Study, ledger: Ledger, zoo: Zoo) -> StudyPage:
    """What was found of a study, and the path of its page, which may not have been made."""
    return StudyPage(find(study, ledger, zoo), ledger.folder / f"{study.name}.html")


def refuse_pages(studies: Sequence[Study], folder: Path, *, quick: bool = False) -> None:
    """Refuse studies whose pages could not be written; to be called before they are trained."""
    counts = Counter(study.name for study in studies)
    if twice := [name for name, n in counts.items() if n > 1]:
        sentence = f"Two of these studies are called '{twice[0]}', so they would share a page."
        raise GanzooError(sentence, "Rename one of the files.")
    for name in counts:
        _refuse(folder / f"{name}.html", MARK)
    if not quick:
        _refuse(folder / "README.md", INDEX)


def answers(results: Path, zoo: Zoo) -> list[Answer]:
    """The findings of the studies with runs in a results folder, for its front page; those that decided most first."""
    folder = results / STUDIES
    if not (folder / RUNS).is_file():
        return []
    ledger = Ledger(folder)
    made = [
        Answer(
            one.found.study.name,
            one.found.study.question,
            f"{STUDIES}/{one.path.name}" if one.path.is_file() else None,
            tuple(_finding(*claim) for claim in one.found.claims),
            one.found.study.is_exploratory,
        )
        for one in (page_of(study, ledger, zoo) for study in started(ledger, zoo))
    ]
    return sorted(made, key=lambda answer: (not any(one.is_decided for one in answer.findings), answer.name))


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
        parts.append(f"## [{markdown(study.question)}]({study.name}.html)")
        if study.is_exploratory and study.claims:
            parts.append("Exploratory: these seeds may have been seen when the study was planned.")
        if study.claims:
            findings = [_finding(*claim) for claim in one.found.claims]
            parts.append(findings_table([(finding, finding.seeds) for finding in findings], "from"))
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


def _finding(claim: Claim, verdict: Verdict) -> Finding:
    """A claim with its verdict in words."""
    than = f"{claim.than} by {claim.than_on}" if claim.than_on else claim.than
    return Finding(
        verdict.outcome.value,
        claim.says,
        claim.paper,
        "failures" if claim.about == "failures" else " and ".join(claim.on),
        in_words(verdict, claim.on),
        f"{claim.better} with {than}{f', {claim.at}' if claim.at else ''}",
        f"{verdict.seeds} seeds" if verdict.seeds else NOTHING,
    )


def html(one: StudyPage, zoo: Zoo, *, quick: bool = False) -> str:
    """The page of a study."""
    found, folder = one.found, one.path.parent
    study, runs = found.study, found.runs
    name = study.name.removesuffix("-quick") if quick else study.name
    versions = [(run.record.where, run.record.environment.get("versions") or {}) for run in runs]
    context = {
        "study": study,
        "claims": [(claim, verdict, _finding(claim, verdict)) for claim, verdict in found.claims],
        "tone": {Outcome.HELPS: "good", Outcome.HURTS: "bad"},
        "forest": _forest(found.claims),
        "meaning": f"{MEANING} {EFFECT}",
        "level": f"{5 / len(study.claims) / len(LOOKS):.2g}%" if study.claims else "",
        "progress": found.in_words(),
        "quick": quick,
        "settings": [
            (setting, _table(found, setting, folder, zoo))
            for setting in study.setting_names
            if any(cell.runs for cell in found.cells if cell.setting == setting)
        ],
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
        "planned": len(runs) + sum(found.missing().values()),
        "seconds": sum(run.record.seconds for run in runs),
        "searched": sum(len(one.jobs) for one in found.trials if one.is_done(study.measures[0])),
        "lost": found.without_winner,
        "several_machines": len({run.record.hardware for run in runs}) > 1,
        "clocked": [measure.name for measure in study.measures if measure.is_time],
        "all_shaded": len(study.rows) <= MAX_SHADED,
        "most_plotted": MAX_PLOTTED,
        "usual_hardware": _usual_hardware(found),
        "precisions": sorted({run.record.precision for run in runs if run.record.precision}),
        "threads": sorted({run.record.threads for run in runs}),
        "machines": sorted({f"{where}, torch {known.get('torch', '?')}" for where, known in versions}),
        "protocols": _protocols(found),
        "command": f"{_command(study, folder, zoo)}{' --quick' if quick else ''}",
        "commands": [(one.row, one.setting, one.jobs[0].command) for one in found.cells],
    }
    return page("study.html", (), context, package=__package__)


def _table(found: Found, setting: str, folder: Path, zoo: Zoo) -> list[Mapping[str, Any]]:
    """A row for each cell of a setting: its changes, samples, values, errors and training times."""
    study, baseline, lacking = found.study, found.cell(BASELINE, setting), found.missing()
    rows: list[Mapping[str, Any]] = []
    for name, variant in study.rows.items():
        cell, won = found.cell(name, setting), found.winners.get((name, setting))
        if cell is None:
            continue
        changes = [*variant.overrides, *variant.settings.get(setting, ()), *(won.changes if won else ())]
        words = [*([variant.recipe or study.baseline] if variant.recipe or name == BASELINE else []), *changes]
        values = []
        for one in study.measures:
            ours = _values(cell, one, found, zoo)
            than = None if name == BASELINE or baseline is None else _values(baseline, one, found, zoo)
            values.append((ours, None if than is None else _compared(ours, than, one.better(zoo))))
        records = [run.record for run in cell.runs.values()]
        took: dict[str, list[float]] = {}
        for record in records:
            if record.status == "done":
                took.setdefault(record.hardware, []).append(record.seconds)
        row = {
            "name": name,
            "changes": " ".join(words),
            "picture": samples_of(next((record.samples for record in records if record.samples), None), folder),
            "cell": cell,
            "lacking": lacking[cell],
            "values": values,
            "errors": [record.error for record in records if record.error],
            # Means by hardware, the one with the most runs first.
            "times": {where: fmean(some) for where, some in sorted(took.items(), key=lambda item: -len(item[1]))},
        }
        rows.append(row)
    return rows


def _values(cell: CellFound, measure: Measure, found: Found, zoo: Zoo) -> Values:
    """A measure's values for a cell; for times, those of one kind of machine, since others must not be averaged."""
    return cell.values(measure, zoo, _usual_hardware(found) if measure.is_time else None)


def _compared(ours: Values, theirs: Values, better: str) -> str | None:
    """How many times better the geometric mean is (of odds, if they are shares), in words; or None."""
    if not ours.logs or not theirs.logs or better == "neither":
        return None
    difference = fmean(ours.logs.values()) - fmean(theirs.logs.values())
    return times(math.exp(difference if better == "higher" else -difference))


def _plots(found: Found) -> list[tuple[str, list[Markup]]]:
    """The first measure's curves over images and over seconds, one pair of plots for each setting."""
    metric = found.study.measures[0].metric
    drawn = []
    for number, setting in enumerate(found.study.setting_names[:MAX_PLOTTED]):
        pair = []
        for along, x in (("images", "images shown"), ("seconds", "seconds of training")):
            title = f"{metric} over {along}{f', {setting}' if setting else ''}"
            lines = [_line(one, along, found) for one in found.cells if one.setting == setting]
            if some := [line for line in lines if line is not None]:
                pair.append(curves(some, title=title, x=x, y=metric, name=f"curve-{number}-{along}", log=True))
        if pair:
            drawn.append((setting, pair))
    return drawn


def _line(one: CellFound, along: str, found: Found) -> Line | None:
    """A row's mean curve, up to the end of its shortest run; None if that leaves fewer than two points."""
    # Seconds on different machines must not be averaged.
    machines = None if along == "images" else _usual_hardware(found)
    done = [run for run in one.runs.values() if run.record.status == "done"]
    own = own_protocol(one.jobs[0].recipe)
    metric = found.study.measures[0].metric
    points = [curve(run, metric, own) for run in done if machines in (None, run.record.hardware)]
    steps = list(zip(*points, strict=False))
    if len(steps) < 2:
        return None
    values = [[float(score["value"]) for score in step] for step in steps]
    x = [fmean(float(score[along]) for score in step) for step in steps]
    y = [math.exp(fmean(map(math.log, some))) if min(some) > 0 else fmean(some) for some in values]
    is_shaded = one.row == BASELINE or len(found.study.rows) <= MAX_SHADED
    edges = ([min(some) for some in values], [max(some) for some in values]) if is_shaded else ((), ())
    return Line(one.row, x, y, *edges)


def _usual_hardware(found: Found) -> str:
    """The hardware that the most runs used."""
    counted = Counter(run.record.hardware for run in found.runs)
    return counted.most_common(1)[0][0] if counted else ""


def _forest(claims: Sequence[tuple[Claim, Verdict]]) -> Markup | None:
    """A forest plot: every claim's effect with the interval that decides, and lines at 1 and ``WORTH_HAVING``."""
    shown = [(claim, verdict, verdict.interval) for claim, verdict in claims if verdict.effect and verdict.interval]
    if not shown:
        return None
    styles = {
        Outcome.HELPS: (SERIES[2], "o"),
        Outcome.HURTS: (SERIES[5], "X"),
        Outcome.NO_DIFFERENCE: (SERIES[0], "s"),
        Outcome.DEPENDS: (SERIES[1], "P"),
        Outcome.OPEN: (REAL, "D"),
    }
    several = len({claim.on for claim, *_ in shown}) > 1
    with drawing(5.2, 1.0 + 0.3 * len(shown)) as (figure, axes):
        labelled = set()
        for at, (_, verdict, interval) in enumerate(shown):
            colour, marker = styles[verdict.outcome]
            label = verdict.outcome.value if verdict.outcome not in labelled else None
            labelled.add(verdict.outcome)
            axes.plot([interval.low, interval.high], [at, at], color=colour, linewidth=1.6)
            axes.plot([interval.effect], [at], color=colour, marker=marker, markersize=5, linestyle="", label=label)
        axes.axvline(1, color=INK, linewidth=0.8)
        for edge in (WORTH_HAVING, 1 / WORTH_HAVING):
            axes.axvline(edge, color=INK, linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(shown)), [_short(claim, says_measure=several) for claim, *_ in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        logarithmic(axes, "x")
        axes.set_xlabel("times better, with the interval that decides (dotted: 20%)")
        figure.legend(loc="outside upper left", ncols=3, handletextpad=0.2)
        return svg(figure, "The effect of each claim, with the interval that decides", "effects")


def _short(claim: Claim, *, says_measure: bool) -> str:
    than = claim.than_on or claim.than
    over = "" if than == BASELINE else f" over {than}"
    at = f", {claim.at}" if claim.at else ""
    on = f", {' and '.join(claim.on)}" if says_measure else ""
    return shortened(f"{claim.better}{over}{at}{on}", 64)


def _tried(one: CellFound) -> str:
    return " ".join(one.changes) or "the unchanged row"


def _trials(found: Found) -> list[Mapping[str, Any]]:
    """Rows of a search's table, the best trial of each row and setting first."""
    deciding = found.study.measures[0]
    rows = []
    for one in found.trials:
        facts = {"row": one.row, "setting": one.setting, "number": one.number, "changes": _tried(one)}
        value, won = one.result(deciding), found.winners.get(one.place) is one
        state = "failed" if one.is_done(deciding) else "to do"
        rows.append({**facts, "value": value, "state": "won" if won else "" if value is not None else state})
    return sorted(rows, key=lambda row: (row["row"], row["setting"], row["state"] != "won", row["number"]))


def _protocols(found: Found) -> list[str]:
    """The protocols of the study's own final scores."""
    names, lines = {measure.metric for measure in found.study.measures}, set()
    for one in found.cells:
        own = own_protocol(one.jobs[0].recipe)
        own_scores = [score for run in one.runs.values() for score in run.scores if is_own(score, own)]
        lines |= {f"{s['metric']}: {describe(s['protocol'])}" for s in own_scores if s["metric"] in names}
    return sorted(lines)
