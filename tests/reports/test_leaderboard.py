"""The files of a leaderboard, made from real records."""

import base64
import json
import re
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from ganzoo.cli import app
from ganzoo.errors import GanzooError
from ganzoo_reports.templates import between_markers
from ganzoo_studies.findings import Finding, Found
from ganzoo_studies.leaderboard import (
    BEGIN,
    END,
    MARKERS,
    html,
    read_rankings,
    rewritten,
    samples_of,
    summary,
    thumbnail,
    whole_page,
    write_leaderboard,
)
from ganzoo_studies.study import Study
from ganzoo_studies.study_report import studies_of
from ganzoo_studies.verdicts import Interval, Outcome, Verdict

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
REMEDY = "run `ganzoo leaderboard results/ --readme README.md`"
needs_records = pytest.mark.skipif(
    not (RESULTS / "runs.jsonl").is_file(), reason="results/runs.jsonl does not exist: `ganzoo bench` writes it."
)


@pytest.fixture(scope="module")
def page(results):
    return html(read_rankings(results), results)


def test_the_command_writes_its_files_and_says_so(results):
    facts = json.loads(CliRunner().invoke(app, ["leaderboard", str(results), "--json"]).stdout)
    assert facts["recipes"] == 6
    assert sorted(Path(path).name for path in facts["files"]) == ["README.md", "index.html"]
    assert all(Path(path).stat().st_size for path in facts["files"])


def test_a_tile_shows_rivals_that_are_not_trained_by_the_same_metric(results, tmp_path):
    made = read_rankings(results)
    rivals = {
        made[0].dataset: {"bicubic <b>": {made[0].tables[0].metric.name: [9.5, 0.1]}, "copy": {"kid@tiny": [1, 0]}}
    }
    (tmp_path / "translation.json").write_text(json.dumps({"rivals": rivals}))
    page = html(made, tmp_path)
    assert "; bicubic &lt;b&gt; 9.50<br>" in page
    assert "; copy" not in page


def test_nothing_of_a_strangers_markup_is_left_and_the_policy_allows_no_script_but_ours(page):
    assert page.count("<script") == 1
    assert "<img src=http" not in page
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert re.search(r"script-src 'sha256-[\w+/=]+';", policy)


def test_the_picture_on_the_page_is_the_corner_of_the_runs_own_grid(page, results):
    encoded = re.search(r'src="data:image/png;base64,([^"]*)"[^>]*alt="Samples of beta"', page).group(1)
    with Image.open(BytesIO(base64.b64decode(encoded))) as shown, Image.open(results / "samples" / "beta.png") as grid:
        assert shown.size == (4 * 30 + 2, 2 * 30 + 2)
        assert shown.tobytes() == grid.crop((0, 0, 122, 62)).tobytes()


def test_a_plot_of_points_is_shown_whole():
    assert thumbnail(Image.new("L", (384, 384))).size == (96, 96)


@pytest.mark.parametrize("where", ["../secret.png", "samples/missing.png", "samples/text.png", "."])
def test_what_is_no_picture_of_the_results_is_not_shown(where, tmp_path):
    (tmp_path / "results" / "samples").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "secret.png")
    (tmp_path / "results" / "samples" / "text.png").write_text("no picture")
    assert samples_of(tmp_path / "results", where) is None


def test_the_page_in_markdown_has_the_same_ranks_the_protocol_and_the_commands(results):
    text = whole_page(read_rankings(results))
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [(row[0].strip("| "), row[1], row[2]) for row in rows[2:6]] == [
        ("1", "gamma", "2.00 (+1.9)"),
        ("2", "beta", r"5.00 \[4.00 to 6.00\] (+4.9)"),
        ("3", "alpha", "12.0 (+11.9)"),
        ("4", "stranger", "30.0 (+29.9)"),
    ]
    assert "; 10,000 against 10,000 mnist test images, mnist-cnn fc644c26, uint8, native size. Trained in " in text
    assert "- `ganzoo run beta --seed 1`" in text
    parts = ("## What papers claim", "No registered study is complete yet", "## Leaderboard")
    order = [text.index(part) for part in parts]
    assert order == sorted(order)


def answered(name, *outcomes, where="", **facts):
    """What a study found; claims are numbered, and their effects grow."""
    claims = [
        {"says": f"Is {i} & so <on>.", "method": f"{name} {i}{where}", "better": "a", "on": "fid@mnist-cnn"}
        for i in range(len(outcomes))
    ]
    study = Study.model_validate(
        {
            "name": name,
            "question": f"Is {name} & so <on>?",
            "baseline": "vanilla-mnist",
            "variants": {"a": ["loss=hinge"]},
            "measures": ["fid@mnist-cnn"],
            "claims": tuple(claims),
            **facts,
        }
    )
    effects = [(i + 2) ** (-1 if outcome == "hurts" else 1) for i, outcome in enumerate(outcomes)]
    verdicts = [
        Verdict(Outcome(outcome), seeds=5, effect=effect, interval=Interval(effect, effect / 1.5, effect * 1.5), runs=5)
        for outcome, effect in zip(outcomes, effects, strict=True)
    ]
    return Found(study, (), {}, findings=tuple(map(partial(Finding, study), study.claims, verdicts)))


def test_the_pages_begin_with_the_plot_of_claims_and_with_what_to_use(results):
    found = [
        answered("a", "helps", "open", "helps"),
        answered("b", "hurts", first_seed=0),
        answered("c"),
        answered("d", "open"),
    ]
    made = read_rankings(results)
    page, text, short = html(made, results, found), whole_page(made, found), summary(made, "there", found)
    order = [page.index(one) for one in (">A 2<", ">A 0<", ">B 0<", "What should I use?", ">A 1<", 'id="leaderboard"')]
    assert order == sorted(order)
    assert '<a href="studies/a.html">A</a>: Use a 0 (2.00 times better) and a 2 (4.00).' in page
    assert '<a href="studies/b.html">B</a>: Do without b 0 (2.00 times worse). (Exploratory.)' in page
    assert 'xlink:href="studies/a.html"' in page
    assert "### [Is a &amp; so &lt;on&gt;?](studies/a.html)" in text
    assert "(4.00). 1 more claim is open. `ganzoo study run a`" in text
    assert "| **helps** | Is 0 &amp; so &lt;on&gt;. |" in text
    assert "It tests no claim: its table compares the rows." in text
    assert "Of 5 [claims](there/README.md), 2 hold, 1 is reversed and 2 are open.\n" in short
    assert "[B]" not in short  # what is exploratory stands in results/ alone
    assert "All are exploratory: their seeds" in summary(made, "there", found[1:2])


def test_a_study_that_repeats_another_says_which_outcomes_differ(results):
    again = answered("again", "helps", "hurts", "helps", "open", where=" on a DCGAN", repeats="first")
    claims = [one.claim.model_copy(update={"better": f"row {i}"}) for i, one in enumerate(again.findings)]
    findings = tuple(replace(one, claim=claim) for one, claim in zip(again.findings, claims, strict=True))
    there = {f"row {i} with baseline": Outcome.HELPS for i in (0, 1, 3)}
    found = replace(again, findings=findings, there=there)
    same = "1 of 2 outcomes are those of first."
    said = f"{same} Only here: Use again 2 (4.00 times better). Do without again 1 (3.00 times worse)."
    assert found.comparison == said
    made = read_rankings(results)
    assert said in html(made, results, [found])
    assert f"**[Again](there/studies/again.html):** {said.removeprefix(same).strip()}\n" in summary(
        made, "there", [found]
    )
    assert f"1 more claim is open. {said} `ganzoo study run again`" in whole_page(made, [found])
    assert replace(found, findings=findings[:1]).comparison == same.replace("2", "1")
    assert not replace(found, there={}).comparison
    assert answered("x", "helps", where=" on D").advice == "Use x 0 on D (2.00 times better)."


def test_a_claim_that_is_tested_anew_replaces_the_exploratory_one_in_front_but_not_in_the_table(results):
    def tested(seeds):
        old, new = answered("x-exploratory", "hurts", "helps", first_seed=0), answered("x", "helps")
        same = old.findings[0].claim.model_copy(update={"method": "x 0"})
        first = replace(old.findings[0], claim=same)
        fresh = replace(new.findings[0], verdict=replace(new.findings[0].verdict, seeds=seeds))
        return [replace(old, findings=(first, old.findings[1])), replace(new, findings=(fresh,))]

    made = read_rankings(results)
    page, text = html(made, results, tested(5)), whole_page(made, tested(5))
    assert (page.count(">X 0<"), page.count(">X-exploratory 1<")) == (1, 1)
    assert "X</a>: Use x 0 (2.00 times better)." in page
    assert "X</a>: Use x-exploratory 1 (3.00 times better). (Exploratory.)" in page
    assert "Of 2 claims, 2 hold." in page
    assert text.count("| **h") == 3
    # As long as no run of the new study is there, the old one stands.
    page = html(made, results, tested(0))
    assert page.count(">X 0<") == 1
    assert "X</a>: Use x-exploratory 1 (3.00 times better). Do without x 0" in page
    assert "Of 2 claims, 1 holds and 1 is reversed." in page


def test_the_plot_for_the_readme_is_black_on_white_and_the_same_each_time(results, tmp_path):
    found, path = [answered("a", "helps", "open")], tmp_path / "claims.svg"
    for _ in range(2):
        write_leaderboard(tmp_path, studies=found, work=tmp_path / "work")
        drawn = path.read_text()
        assert path.read_text() == drawn
    assert "var(--" not in drawn
    assert ">A 0<" in drawn
    assert ">A 1<" not in drawn  # which is open
    assert "#2c6a3a" not in drawn
    assert "#2c7a4b" in drawn  # what helps is green in the light theme


def test_the_front_page_names_the_best_of_a_short_and_of_any_training(record, score, write_results, tmp_path):
    def one(name, fid, minutes, **facts):
        command = f"ganzoo run {name} --set train.seed=0"
        return record(name, fid, seconds=60.0 * minutes, samples=f"samples/{name}.png", command=command, **facts)

    labelled = {"conditional": True, "precision": "bf16"}
    runs = [one("quick", 3.0, 4), one("longer", 2.0, 19), one("slow", 1.0, 90), one("beaten", 4.0, 3)]
    runs += [one("told", 0.5, 4, **labelled), one("told-longer", 0.7, 6, **labelled)]
    runs += [record("elsewhere", score(1.0, dataset="faces"), dataset="faces")]
    results, readme = write_results(tmp_path / "results", runs), tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    write_leaderboard(results, readme)
    told = readme.read_text()
    best = "without labels: `quick` (3.00 in 4.0 min), `slow` (1.00 in 1.5 h);"
    assert f"{best} with labels: `told` (0.500 in 4.0 min).\n" in told
    assert "(results/README.md)" in told


def test_the_plot_of_the_summary_is_about_fresh_seeds_and_no_repetition(results):
    fresh, old = answered("fresh", "helps"), answered("old", "hurts", first_seed=0)
    again = answered("again", "helps", repeats="losses")
    for found, drawn in (([fresh, old, again], ["Fresh 0"]), ([old], ["Old 0"])):
        write_leaderboard(results, studies=found)
        plot = (results / "claims.svg").read_text()
        assert re.findall(r">(\w+ \d)</text>", plot) == drawn
    page = html(read_rankings(results), results, [fresh, old])
    assert "hollow is exploratory" in page
    filled, hollow = (html(read_rankings(results), results, [one]).count("fill-opacity: 0;") for one in (fresh, old))
    assert hollow > filled


def test_the_readme_is_changed_between_its_markers_alone(results, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    write_leaderboard(results, readme)
    once = readme.read_text()
    before, between, after = re.split(f"{re.escape(BEGIN)}|{re.escape(END)}", once)
    assert (before, after) == ("before\n\n", "\n\nafter\n")
    assert "old" not in between
    assert " `gamma` (2.00 in 1.5 min)." in between
    assert "beta" not in between
    assert f"]({Path('..') / results.parent.name / 'results'}/README.md)" in between.replace("../../", "../")
    write_leaderboard(results, readme)
    assert readme.read_text() == once


@pytest.mark.parametrize("text", ["none", f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}", BEGIN])
def test_a_readme_without_its_markers_is_left_alone(text):
    with pytest.raises(GanzooError, match="once each and in this order"):
        between_markers(text, MARKERS, "new", "README.md")


def test_results_without_records_are_one_sentence(tmp_path):
    for _ in range(2):
        with pytest.raises(GanzooError, match="has no runs of `ganzoo bench`, and .*studies none of a study"):
            write_leaderboard(tmp_path)
        (tmp_path / "runs.jsonl").touch()


def test_recipes_of_one_name_are_told_apart_by_their_settings_or_digest(record, write_results, tmp_path):
    command = "ganzoo run a --set train.images=1000 --set train.precision=fp32"
    records = [
        record("a", 4.0, digest="1" * 64, command=command),
        record("a", 5.0, digest="2" * 64, command=f"{command} --set loss=hinge"),
        record("b", 6.0, digest="3" * 64, command="ganzoo run b.yaml"),
        record("b", 7.0, digest="4" * 64, command="ganzoo run b.yaml"),
    ]
    (ranking,) = read_rankings(write_results(tmp_path / "results", records))
    assert [one.name for one in ranking.contenders] == ["a", "a (loss=hinge)", "b (33333333)", "b (44444444)"]
    assert "a (loss=hinge)" in whole_page([ranking])
    assert "<b>a (loss=hinge)</b>" in html([ranking], tmp_path)


def test_verdicts_need_no_table(tmp_path):
    write_leaderboard(tmp_path, studies=[answered("a", "helps")], work=tmp_path / "work")
    assert '<a href="studies/a.html">A</a>: Use a 0' in (tmp_path / "index.html").read_text()
    assert "No recipe has been trained with `ganzoo bench` here yet." in (tmp_path / "README.md").read_text()


def test_a_board_without_scores_and_pictures_has_a_page_all_the_same(failed, write_results, tmp_path):
    files, _ = write_leaderboard(write_results(tmp_path / "results", [failed("a", "It broke.")]))
    assert [path.name for path in files] == ["index.html", "README.md"]
    assert "It broke." in (tmp_path / "results" / "index.html").read_text()


@needs_records
def test_the_committed_tables_are_those_of_the_committed_records():
    committed = (RESULTS / "README.md").read_text("utf-8").partition("## Leaderboard")[2]
    assert committed
    assert whole_page(read_rankings(RESULTS)).partition("## Leaderboard")[2] == committed, REMEDY


@needs_records
@pytest.mark.full  # the studies' verdicts are computed from more than a thousand runs
def test_the_committed_pages_are_those_of_the_committed_records(zoo):
    made, found = read_rankings(RESULTS), studies_of(RESULTS, zoo)
    assert (RESULTS / "README.md").read_text("utf-8") == whole_page(made, found), REMEDY
    readme = ROOT / "README.md"
    assert readme.read_text("utf-8") == rewritten(readme, made, RESULTS, found), REMEDY


def test_the_wheel_ships_the_templates():
    builder = pytest.importorskip("hatchling.builders.wheel").WheelBuilder(str(ROOT))
    with builder.config.set_build_data({"artifacts": [], "force_include": {}, "build_hooks": ()}):
        shipped = {file.distribution_path for file in builder.recurse_included_files()}
    for package in ("ganzoo_reports", "ganzoo_studies"):
        templates = ROOT / "plugins" / package / "html"
        assert {f"{package}/html/{path.name}" for path in templates.iterdir()} <= shipped


def test_views_stand_side_by_side_with_their_excess_marks_and_a_plot(record, score, write_results, tmp_path):
    def seen(fid, recall):
        deviation = {"sd": 0.004}
        return {**score(fid), **deviation}, {**score(recall, metric="recall@mnist-cnn", floor=0.86), **deviation}

    runs = [record(f"r{n}", *seen(n + 1.0, 0.8 - n / 10 if n else 0.05)) for n in range(6)]
    results = write_results(tmp_path / "results", [*runs, record("told", *seen(0.5, 0.5), conditional=True)])
    assert CliRunner().invoke(app, ["leaderboard", "--results", str(results)]).exit_code == 0
    with pytest.raises(GanzooError, match="Two folders of results are given"):
        CliRunner().invoke(app, ["leaderboard", str(results), "--results", str(results)], catch_exceptions=False)
    text, page = (results / "README.md").read_text(), (results / "index.html").read_text()
    for sentence in (
        "| 1 | r0 | 1.00 (+0.9 ± 0.004) | 0.0500 (-0.81 ± 0.004) ▼ | 10.0 s |",
        "| 2 | r1 | 2.00 (+1.9 ± 0.004) | 0.700 (-0.16 ± 0.004) | 10.0 s |",
        ". Trained in ",
        "mark where views disagree: by this metric, the recipe ranks higher or lower",
        "mnist, with labels",
        "| 1 | told | 0.500 (+0.4 ± 0.004) |",
    ):
        assert sentence in text
    assert "Times marked with different numbers" not in text
    assert "×" not in text
    assert "0.0500 ▼" in page


def test_times_of_several_machines_and_number_formats_are_told_apart(record, score, write_results, tmp_path):
    recall = score(0.5, metric="recall@mnist-cnn")
    runs = [record(name, score(fid), recall, precision=name) for name, fid in (("fp32", 1.0), ("bf16", 2.0))]
    text = whole_page(read_rankings(write_results(tmp_path / "results", runs)))
    assert re.search(r"^\| 1 \| fp32 \| .* \| 10\.0 s \(1\) \|$", text, re.MULTILINE)
    assert re.search(r"^\| 2 \| bf16 \| .* \| 10\.0 s \(2\) \|$", text, re.MULTILINE)
    assert re.search(r" Trained in \(1\) fp32, .*; \(2\) bf16, .*\. Times marked with different numbers", text)
