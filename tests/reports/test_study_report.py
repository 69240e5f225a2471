"""A study's page in a real Chromium, and its files for papers."""

import csv
import math
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ganzoo.errors import GanzooError
from ganzoo.formatting import figure
from ganzoo_studies.findings import Found
from ganzoo_studies.records import Ledger, ScoredRun
from ganzoo_studies.study import Measure, load_study
from ganzoo_studies.study_report import html, write_file, write_pages
from ganzoo_studies.verdicts import Outcome, Verdict

MARKUP = "<script>document.title = 'owned'</script> & more"
STUDY = f"""\
question: Does it help, "really"?
baseline: vanilla-mnist
settings: {{few: [dataset.count=600], all: []}}
variants:
  hinge: [loss=hinge]
  r1: ["regularizers=[{{name: r1, weight: 1.0}}]"]
measures: [fid@mnist-cnn, fid@mnist-ae]
claims:
  - {{says: "{MARKUP}", paper: Someone 2018, better: hinge, on: [fid@mnist-cnn, fid@mnist-ae], at: few}}
  - {{says: R1 helps, paper: Someone 2019, better: r1, on: fid@mnist-cnn, at: few}}
  - {{says: Hinge helps everywhere, paper: Someone 2020, better: hinge, on: fid@mnist-cnn, at: all}}
"""


@dataclass(frozen=True)
class Made:
    """A page, and what was found."""

    path: Path
    found: Found


@pytest.fixture(scope="module")
def made(zoo, record, score, write_results, tmp_path_factory):
    """The study's page: hinge better with few images by one measure alone and unclear with all, R1 the same."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "helps.yaml").write_text(STUDY)
    study = load_study(folder / "helps.yaml", zoo)
    runs, means = [], {("hinge", "few"): 20.0, ("hinge", "all"): 36.0}
    for cell in study.cells(zoo):
        for job in cell.jobs[:5]:
            noise = 0.3 if (cell.row, cell.setting) == ("hinge", "all") else 0.05
            value = means.get((cell.row, cell.setting), 40.0) * math.exp(noise * math.sin(7 * job.seed + len(cell.row)))
            facts = {"digest": job.digest, "samples": job.picture("fp32"), "started": f"{job.digest[:4]}{job.seed}"}
            points = [
                {**score(by * (3 - i), metric=metric), "images": 500 * (i + 1), "seconds": 5.0 * (i + 1)}
                for i in range(3)
                for metric, by in (("fid@mnist-cnn", value), ("fid@mnist-ae", (40 / value) ** 0.5))
            ]
            runs.append(record("vanilla-mnist", *points, seed=job.seed, **facts))
    (page,) = write_pages([study], Ledger(write_results(folder / "results", runs)), zoo).items()
    return Made(*page)


def test_verdicts_stand_first_and_a_stranger_changes_nothing(visit, made):
    page = visit(made.path).page
    assert page.title() == "ganzoo study: helps"
    assert page.locator("h1").inner_text() == 'Does it help, "really"?'
    answer = page.locator("h1 + p").inner_text()
    assert answer.startswith("The measures disagree on hinge (few). ")
    assert "Far from real images either way: r1 (few: " in answer
    assert answer.endswith("1 more claim is open.")
    assert page.locator("h2").first.inner_text() == "Claims and verdicts"
    verdicts = page.locator(".claims .verdict").all_inner_texts()
    assert verdicts == ["depends on the measure", "no difference", "open"]
    assert MARKUP in page.locator(".claims li").first.inner_text()


def test_each_setting_has_a_table_with_baseline_and_pictures(visit, made):
    page = visit(made.path).page
    tables = page.locator("section[aria-labelledby=table] table")
    assert tables.count() == 2
    rows = tables.first.locator("tbody th").all_inner_texts()
    assert [row.split("\n")[0] for row in rows] == ["baseline", "hinge", "r1"]
    assert tables.first.locator("img").count() == 3
    texts = [text for text in tables.first.locator(".range").all_inner_texts() if " times " in text]
    assert [float(text.split()[0]) for text in texts[:2]] == pytest.approx([2, 2**0.5], rel=0.1)
    assert [text.split()[-1] for text in texts[:2]] == ["better", "worse"]
    assert page.locator("table").count() == page.locator("table > caption").count()
    assert page.locator("img:not([alt])").count() == 0


def test_what_real_images_score_stands_above_a_measure_but_not_above_a_time(written, unchanged, made):
    assert unchanged.count("real vs real ") == 4
    soon = Measure(name="soon", metric="fid@mnist-cnn", below=1e9)
    assert written(restudied(made.found, measures=(*made.found.study.measures, soon))).count("real vs real ") == 4


def test_nothing_is_called_better_where_both_rows_beat_real_images(written, unchanged, made):
    cells = [
        replace(
            cell,
            runs={
                seed: replace(run, curve=tuple({**score, "floor": 1e4} for score in run.curve))
                for seed, run in cell.runs.items()
            },
        )
        for cell in made.found.cells
    ]
    told = [" times better</span>" in text for text in (unchanged, written(replace(made.found, cells=tuple(cells))))]
    assert told == [True, False]


def restudied(found, **changes):
    """What was found, with the study's file changed."""
    return replace(found, study=found.study.model_copy(update=changes))


def changed(found, at, **facts):
    """What was found, with the facts of one cell's first run changed, and its curve if that is among them."""
    cells = list(found.cells)
    run = cells[at].runs[100]
    curve = facts.pop("curve", run.curve)
    first = ScoredRun(run.record.model_copy(update=facts), curve)
    cells[at] = replace(cells[at], runs={**cells[at].runs, 100: first})
    return replace(found, cells=tuple(cells))


@pytest.fixture(scope="module")
def written(made, zoo):
    """The page of what was found, with some of it changed."""

    def _written(found):
        return html(found, made.path.parent, zoo)

    return _written


@pytest.fixture(scope="module")
def unchanged(written, made):
    """The page of what was found."""
    return written(made.found)


def test_notes_are_about_the_whole_study_and_the_pinned_settings_are_shown(written, made):
    noted, quick = (restudied(made.found, notes=("Runs are short.",), is_quick=one) for one in (False, True))
    assert ["<p>Runs are short.</p>" in written(one) for one in (noted, quick)] == [True, False]
    assert "train.precision=fp32 train.threads=1</code>" in written(noted)


def test_old_seeds_are_called_exploratory(written, unchanged, made):
    told = "Exploratory: these seeds may have been seen"
    assert [told in page for page in (unchanged, written(restudied(made.found, first_seed=0)))] == [False, True]


def test_times_of_one_kind_of_machine_alone_are_in_the_table(written, made):
    soon = Measure(name="soon", metric="fid@mnist-cnn", below=1e9)
    timed = restudied(made.found, measures=(*made.found.study.measures, soon))
    run = made.found.cells[1].runs[100]
    elsewhere = {**run.record.environment, "cpu": "Another CPU"}
    late = tuple({**score, "seconds": 100 * score["seconds"]} for score in run.curve)
    text = written(changed(timed, 1, environment=elsewhere, curve=late))
    assert text.count("For soon, only the runs on Test CPU count") == 2
    assert text.count('<td class="number">5.00 ± 0') == 6
    assert "For soon" not in written(timed)


def test_a_claim_that_waits_is_told_without_scores_and_numbers_of_seeds(made, zoo):
    findings = tuple(replace(one, verdict=Verdict(Outcome.OPEN, "It waits.")) for one in made.found.findings)
    waits = html(replace(made.found, findings=findings), made.path.parent, zoo)
    assert "r1 with baseline, few, by fid@mnist-cnn: It waits. <span" in waits
    assert "None of its 3 claims is decided yet." in waits
    assert "r1 with baseline, few, by fid@mnist-cnn, 5 seeds of each: " in made.path.read_text()


def test_where_both_rows_are_far_from_real_the_page_says_so_in_red(visit, made):
    page = visit(made.path).page
    told = page.locator(".claims li", has=page.locator(".bad", has_text="Both rows are far from real images."))
    # FIDs by mnist-cnn are 200 to 400 times real vs real, those by mnist-ae 10 to 14 times.
    assert told.locator(".verdict").all_inner_texts() == ["no difference", "open"]
    red = "e => getComputedStyle(e).color"
    assert told.locator(".bad").first.evaluate(red) == "rgb(156, 42, 31)"


def test_a_claim_is_a_line_of_the_plot_with_its_effect_and_its_two_views(visit, made):
    page = visit(made.path, width=390).page
    texts = page.locator(".effects svg text").all_text_contents()
    effect = texts[texts.index("Hinge, few") + 1]
    assert effect == f"{figure(made.found.findings[0].verdict.effect)} times better"
    assert "R1, few" in texts
    box = page.locator(".effects svg").bounding_box()
    assert 300 < box["width"] <= 390
    assert page.locator(".effects svg text").first.evaluate("e => e.getBoundingClientRect().height") > 10


def test_papers_get_every_score_the_tables_and_the_plot(made, zoo, tmp_path):
    study, ledger = made.found.study, Ledger(made.path.parent)
    for suffix in ("csv", "tex", "pdf"):
        write_file(study, ledger, zoo, tmp_path / f"a.{suffix}")
    first, *_ = lines = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert len(lines) == 6 * 5
    run = made.found.cells[0].runs[100]
    assert (first["row"], first["setting"], first["seed"], first["status"]) == ("baseline", "few", "100", "done")
    assert float(first["fid@mnist-cnn"]) == run.scores[-2]["value"]
    tex = (tmp_path / "a.tex").read_text()
    effect = figure(made.found.findings[0].verdict.effect)
    assert f"hinge, few & depends on the measure & {effect} (" in tex
    assert re.search(r"^baseline & few & 5 & [34]\d\.\d \$\\pm\$ [\d.]+ & ", tex, re.MULTILINE)
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    again = tmp_path / "b.pdf"
    write_file(study, ledger, zoo, again)
    assert again.read_bytes() == (tmp_path / "a.pdf").read_bytes()
    claimless = study.model_copy(update={"claims": ()})
    with pytest.raises(GanzooError, match="makes no claims to plot"):
        write_file(claimless, ledger, zoo, again)


def test_latex_takes_the_tables_whatever_the_names_hold(made, zoo, tmp_path):
    if (
        shutil.which("pdflatex") is None
        or subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True).returncode
    ):
        pytest.skip("No LaTeX with booktabs is installed.")
    study = made.found.study
    named = study.claims[0].model_copy(update={"method": r"50% of $1 & a_b #2 {x} ~^ \x"})
    write_file(study.model_copy(update={"claims": (named,)}), Ledger(made.path.parent), zoo, tmp_path / "tables.tex")
    lines = (
        r"\documentclass{article}",
        r"\usepackage{booktabs}",
        r"\begin{document}",
        r"\input{tables}",
        r"\end{document}",
    )
    (tmp_path / "paper.tex").write_text("\n".join(lines))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


def test_training_times_are_those_of_runs_that_ended_well(written, unchanged, made):
    assert unchanged.count('<td class="number">10.0 s</td>') == 6
    lost = written(changed(made.found, 1, status="failed", error="Diverged.", seconds=1.0))
    assert lost.count('<td class="number">10.0 s</td>') == 6


def test_the_cost_is_told_with_the_threads_that_runs_had(written, unchanged, made):
    assert "each run with 1 CPU thread." in unchanged
    assert "each run with 1 or 4 CPU threads." in written(changed(made.found, 1, threads=4))
    (first, *_) = made.found.cells
    alone = replace(made.found, cells=(replace(first, runs={100: first.runs[100]}),))
    assert "<p>1 run took 10.0 s of training" in written(alone)


def test_a_machine_is_told_without_what_is_not_known_of_it(written, made):
    text = written(changed(made.found, 1, precision=None, engine=None))
    assert ">1 thread, Test CPU, torch ?<" in text
    assert "None" not in text


def test_both_views_stand_beside_the_verdict_in_words(made):
    text = made.path.read_text()
    first, second, _ = [one.verdict for one in made.found.findings]
    cnn, ae = first.views
    assert cnn.low > 1 > ae.high
    interval = f"({figure(cnn.low)} to {figure(cnn.high)} times better)"
    assert f"by fid@mnist-cnn alone, {figure(cnn.effect)} times better {interval}" in text
    assert f"by fid@mnist-ae alone, {figure(1 / ae.effect)} times worse" in text
    assert second.views == ()
    assert "2 of 3 claims decided, 1 open; next 10 runs" in text


def test_the_outcomes_are_json(made):
    verdict = made.found.findings[0].verdict
    assert made.found.findings[0].plain() == {
        "study": "helps",
        "says": MARKUP,
        "outcome": "depends on the measure",
        "effect": verdict.effect,
        "interval": [verdict.interval.low, verdict.interval.high],
        "seeds": 5,
    }


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_only_tables_scroll_sideways(visit, made, width, scheme):
    visit(made.path, width=width, scheme=scheme).fits(width)


def test_somebody_elses_file_is_left_alone(made, zoo, tmp_path):
    results = shutil.copytree(made.path.parent, tmp_path / "results")
    page = results / made.path.name
    page.write_text("mine")
    with pytest.raises(GanzooError, match="was not made by `ganzoo study`"):
        write_pages([made.found.study], Ledger(results), zoo)
    assert page.read_text() == "mine"
