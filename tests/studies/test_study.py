"""Studies as files: what they mean, what is refused, and how records answer them."""

import itertools
import json
import math
import sys
from collections import Counter
from pathlib import Path

import pytest
from recording import noisy, recorded

from ganzoo.errors import GanzooError
from ganzoo.registry.registry import Entry
from ganzoo_studies import cost
from ganzoo_studies.charts import forest_file
from ganzoo_studies.findings import Finding, Found, find
from ganzoo_studies.records import Ledger
from ganzoo_studies.study import Measure, load_study
from ganzoo_studies.study_report import started, studies_of, write_pages
from ganzoo_studies.verdicts import Outcome, Verdict
from ganzoo_studies.worker import Bench

STUDY = """\
question: Does a gradient penalty help?
baseline: vanilla-mnist
overrides: [train.images=64000]
settings:
  few: [dataset.count=600]
  all: []
variants:
  r1: ["regularizers=[{name: r1, weight: 1.0}]"]
  hinge: {recipe: hinge-mnist}
measures:
  - fid@mnist-cnn
  - {name: quickly, metric: fid@mnist-cnn, below: 50}
claims:
  - {says: R1 helps, paper: Someone 2018, better: r1, on: fid@mnist-cnn, at: few}
  - {says: Hinge beats R1, paper: Someone 2018, better: hinge, than: r1, on: fid@mnist-cnn}
"""


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "results")


@pytest.fixture
def study_of(tmp_path, zoo):
    """The study with this text, in a file of this name."""

    def _study_of(text, name="rates"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        return load_study(path, zoo)

    return _study_of


@pytest.fixture
def write(study_of):
    def _write(*changes):
        text = STUDY
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        return study_of(text, "penalty")

    return _write


@pytest.fixture
def judged(zoo, ledger):
    """The verdicts on a study."""

    def _judged(study):
        return [one.verdict for one in find(study, ledger, zoo).findings]

    return _judged


def test_a_study_is_rows_in_settings_with_seeds_and_everything_else_pinned(write, zoo, ledger):
    cells = write().cells(zoo)
    assert [(cell.row, cell.setting) for cell in cells] == [
        (row, setting) for setting in ("few", "all") for row in ("baseline", "r1", "hinge")
    ]
    assert [job.seed for job in cells[0].jobs] == list(range(100, 140))
    assert len({cell.jobs[0].digest for cell in cells}) == len(cells)
    for job in (job for cell in cells for job in cell.jobs[:2]):
        assert (job.recipe.train.precision, job.recipe.train.threads, job.recipe.train.images) == ("fp32", 1, 64000)
        assert job.recipe.evaluate.metrics == ("fid@mnist-cnn",)
    assert cells[0].jobs[0].recipe.dataset.count == 600
    assert cells[2].jobs[0].recipe.loss.name == "hinge"
    assert [job.picture("fp32") is None for job in cells[2].jobs[:3]] == [False, True, True]
    jobs = find(write(), ledger, zoo).next_jobs()
    assert len(jobs) == 5 * len(cells)
    assert len({job.title for job in jobs[:6]}) == 6  # every row once before any gets its second seed


def test_a_small_study_has_one_setting_and_few_seeds(write, zoo):
    small = write().scaled_down()
    cells = small.cells(zoo)
    assert [(cell.setting, len(cell.jobs)) for cell in cells] == [("few", 2)] * 3
    assert {job.recipe.train.images for cell in cells for job in cell.jobs} == {1280}
    assert len(small.claims) == 2
    # Those of other settings are left out.
    assert len(write(("at: few", "at: all")).scaled_down().claims) == 1


def test_in_a_small_study_a_row_keeps_its_changes_in_the_first_setting(write, zoo):
    study = write(("{recipe: hinge-mnist}", "{recipe: hinge-mnist, settings: {few: [train.batch_size=32]}}"))
    *_, hinge = study.scaled_down().cells(zoo)
    assert (hinge.jobs[0].recipe.train.batch_size, hinge.jobs[0].recipe.train.images) == (32, 1280)


def test_a_page_that_cannot_be_written_is_reported_before_anything_is_trained(call, write, tmp_path):
    write()
    (tmp_path / "penalty.html").write_text("mine\n")
    code, _, err = call("study", "run", tmp_path / "penalty.yaml", "--results", tmp_path, "--work", tmp_path / "work")
    assert (code, (tmp_path / "work").exists()) == (2, False)
    assert "penalty.html" in err


def test_the_command_on_a_page_names_file_and_results_as_given_but_no_path_of_this_machine(
    write, zoo, tmp_path, monkeypatch
):
    write()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "penalty.yaml").rename(tmp_path / "own" / "penalty.yaml")
    study = load_study("own/penalty.yaml", zoo)
    for folder, more in (("mine", " --results mine"), ("results/studies", "")):
        recorded(ledger := Ledger(Path(folder)), study.cells(zoo)[0].jobs[0], [9.0])
        (page,) = write_pages([study], ledger, zoo)
        assert f">ganzoo study run own/penalty.yaml{more}<" in page.read_text()


@pytest.mark.parametrize("words", [("losses", "--out", "a.txt"), ("losses", "ring", "--out", "a.csv")])
def test_a_file_for_a_paper_is_about_one_study_and_csv_tex_or_pdf(call, words):
    code, _, err = call("study", "report", *words)
    assert code == 2
    assert err.endswith("Name one study, and give --out FILE.csv, FILE.tex or FILE.pdf.\n")


def test_a_claim_needs_no_paper_and_ones_own_study_has_a_command_that_finds_it(write, zoo, tmp_path, ledger):
    study = write(("paper: Someone 2018, better: r1", "better: r1"))
    recorded(ledger, study.cells(zoo)[0].jobs[0], [9.0])
    (page,) = write_pages([study], ledger, zoo)
    assert page.read_text().count('<span class="paper">') == 1
    assert ">ganzoo study run penalty.yaml<" in page.read_text()


def test_a_measure_that_cannot_see_a_row_s_images_is_refused_before_anything_is_trained(call, tmp_path):
    path = tmp_path / "blind.yaml"
    path.write_text(
        "question: Does it work?\nbaseline: vanilla-mnist\nvariants: {ring: {recipe: vanilla-ring}}\n"
        "overrides: [train.images=256]\nmeasures: [fid@mnist-cnn]\n"
    )
    places = ["--results", tmp_path / "results", "--work", tmp_path / "work"]
    code, _, err = call("study", "run", path, *places)
    assert (code, (tmp_path / "work").exists(), (tmp_path / "results" / "runs.jsonl").exists()) == (2, False, False)
    assert "The study 'blind', row 'ring': Not scored by fid@mnist-cnn: " in err
    assert "Use an extractor that was fitted to it: ring." in err


def test_a_dataset_is_not_loaded_to_accept_measures_by_its_own_extractors(write, zoo, tmp_path):
    study = write(("[train.images=64000]", "[dataset=fashion-mnist]"), ("fid@mnist-cnn", "fid@fashion-mnist-cnn"))
    study.refuse_unfit(zoo, tmp_path / "no such folder")


def test_the_yaml_that_show_prints_is_a_study(call, write, zoo, tmp_path):
    before = write()
    _, out, _ = call("study", "show", tmp_path / "penalty.yaml", "--no-time")
    (tmp_path / "penalty.yaml").write_text(out)
    assert load_study(tmp_path / "penalty.yaml", zoo) == before


def test_submitted_jobs_are_json(call, monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr("ganzoo_studies.slurm.submit", lambda *what: given.append(what) or ["7_0", "7_1"])
    places = ["--results", tmp_path / "results", "--work", tmp_path / "work"]
    arguments = ["study", "run", "losses", "--launcher", "slurm", "--workers", "2", "--slurm", "partition=gpu"]
    arguments += ["--slurm", "account=00123", "--slurm=mem_gb=4", "--retry", "--json", *map(str, places)]
    monkeypatch.setattr(sys, "argv", ["ganzoo", *arguments])
    code, out, _ = call(*arguments)
    assert (code, json.loads(out)) == (0, {"jobs": ["7_0", "7_1"]})
    ((command, workers, parameters, folder),) = given
    # A worker runs the same command from any folder, without submitting others.
    assert command == ["study", "run", "losses", "--retry", "--json", *map(str, places)]
    assert (workers, folder) == (2, tmp_path / "work" / "slurm")
    assert parameters == {"partition": "gpu", "account": "00123", "mem_gb": 4}


def test_a_row_may_train_longer_in_one_setting_but_not_in_a_small_study(write, zoo):
    longer = "[train.images=128000, train.precision=bf16]"
    study = write(("{recipe: hinge-mnist}", f"{{recipe: hinge-mnist, settings: {{all: {longer}}}}}"))
    precise = {cell.jobs[0].recipe.train.precision: cell.row for cell in study.cells(zoo)}
    assert precise["bf16"] == "hinge"  # a row may set what is otherwise pinned for all
    images = {(cell.row, cell.setting): cell.jobs[0].recipe.train.images for cell in study.cells(zoo)}
    assert images.pop(("hinge", "all")) == 128_000
    assert set(images.values()) == {64_000}
    assert {cell.jobs[0].recipe.train.images for cell in study.scaled_down().cells(zoo)} == {1280}


def test_the_baseline_may_have_changes_that_no_variant_inherits(write, zoo):
    study = write(("variants:\n", "baseline_overrides: [train.batch_size=32]\nvariants:\n"))
    sizes = {cell.row: cell.jobs[0].recipe.train.batch_size for cell in study.cells(zoo)}
    assert sizes == {"baseline": 32, "r1": 128, "hinge": 128}


def test_the_cost_of_a_study_is_counted_and_timed_on_this_machine(write, zoo, monkeypatch):
    study = write()
    found = cost.cost_of(study, zoo, timed=True)
    stages = {name: (stage.runs, stage.images) for name, stage in found.stages.items() if stage.runs}
    assert stages == {"first look": (30, 30 * 64_000), "all looks, at most": (240, 240 * 64_000)}
    assert list(found.per_image) == ["baseline", "r1", "hinge"]
    assert min(found.per_image.values()) > 0
    seconds = 10 * 64_000 * sum(found.per_image.values()) + 30 * found.per_scoring
    assert found.stages["first look"].core_hours == pytest.approx(seconds / 3600)
    ticks = itertools.count()  # each look at the clock is a second later: a step of 128 images takes one
    monkeypatch.setattr(cost.time, "process_time", lambda: float(next(ticks)))
    recipe = study.cells(zoo)[0].jobs[0].recipe
    assert cost.seconds_per_image(recipe, 1, zoo, None) == pytest.approx(1 / 128)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            (
                "  - fid@mnist-cnn\n  - {name: quickly, metric: fid@mnist-cnn, below",
                "  - {name: quickly, metric: fid@mnist-cnn, belov",
            ),
            "penalty.yaml: measures.0 has no key 'belov'. Did you mean 'below'?",  # and no other mistake
        ),
        (
            ("{recipe: hinge-mnist}", "{recipe: hinge-mnist, settings: {al: []}}"),
            "variants.hinge.settings is 'al', but there is no such setting.",
        ),
        (("than: r1, on", "than: r1, than_on: fid, on"), "claims.1.than_on is 'fid', but there is no such measure"),
        (("help?", "help."), "question must be one line that ends with a question mark."),
        (("better: hinge", "better: hingd"), "'hingd', but there is no such row. Did you mean 'hinge'?"),
        (
            ("on: fid@mnist-cnn, at: few", "on: fid@mnist, at: few"),
            "'fid@mnist', but there is no such measure. Did you mean 'fid@mnist-cnn'?",
        ),
        (("at: few", "at: fwe"), "'fwe', but there is no such setting. Did you mean 'few'?"),
        (("than: r1", "than: hinge"), "compares 'hinge' with itself"),
        (("measures:\n", "collapse: 0.5\nmeasures:\n"), "collapse must be greater than 1"),
        (("- fid@mnist-cnn\n", "- fud@mnist-cnn\n"), "yaml: measures.0: Unknown metric 'fud'. Did you mean 'fid'?"),
        (
            ("- fid@mnist-cnn\n", "- fid\n"),
            "yaml: measures.0: The metric 'fid' does not name an extractor. Write <metric>@<extractor>, such as ",
        ),
        (
            ("- fid@mnist-cnn\n", "- recall@mnist-cnn\n  - fid@mnist-cn\n"),
            "yaml: measures.1: Unknown extractor 'mnist-cn'. Did you mean 'mnist-cnn'?",
        ),
        (("- fid@mnist-cnn\n", "- 3\n"), "yaml: measures.0 must be a metric or a mapping, not 3."),
        (
            ('["regularizers=[{name: r1, weight: 1.0}]"]', "regularizers=[]"),
            "variants.r1 must be a list of overrides or a mapping, not 'regularizers=[]'.",
        ),
        (
            ("measures:\n", "zzz: 3\nmeasures:\n"),
            "the study has no key 'zzz'. Known: baseline, baseline_overrides, claims, collapse, first_seed,",
        ),
        (
            ("measures:\n", "search: {train.batch_size: [32]}\nmeasures:\n"),
            "search.train.batch_size must be at least 2 long, not [32].",
        ),
        (
            ("measures:\n", "search: {train.batch_size: [0, 32, 64]}\nmeasures:\n"),
            "search.train.batch_size: Three or more numbers are a range, and must be positive and increase.",
        ),
        (("below: 50", "below: 50, above: 3"), "has both 'below' and 'above'"),
        (
            ("below: 50", "above: 50"),
            "yaml: measures.1 waits for 'fid@mnist-cnn' to rise, but higher is not better for it.",
        ),
        (
            ("metric: fid@mnist-cnn, below: 50", "metric: recall@mnist-cnn, below: 0.5"),
            "yaml: measures.1 waits for 'recall@mnist-cnn' to fall, but lower is not better for it.",
        ),
        (
            (
                "  - {name: quickly, metric: fid@mnist-cnn, below",
                "  - {name: fid@mnist-cnn, metric: recall@mnist-cnn, above",
            ),
            "two measures have the same name.",
        ),
        (
            ("measures:\n", "gates: {reference: [train.images=128000], above: {fud: 1}}\nmeasures:\n"),
            "gates.above is 'fud', but there is no such measure.",
        ),
        (("measures:\n", "repeats: loses\nmeasures:\n"), "no such study. Did you mean 'losses'?"),
        (("measures:\n", "is_quick: true\nmeasures:\n"), "penalty.yaml: the study has no key 'is_quick'. Leave it out"),
        (("measures:\n", "tried: [{overrides: [a=b], variant: {}}]\nmeasures:\n"), "has no key 'variant'."),
    ],
)
def test_a_mistake_is_named(write, change, sentence):
    with pytest.raises(GanzooError) as found:
        write(change)
    assert sentence in str(found.value)
    assert "\n" not in str(found.value)


def test_only_numbers_of_one_kind_are_compared(write):
    with pytest.raises(GanzooError, match=r"claims\.1 compares 'fid@mnist-cnn' with 'recall@mnist-cnn', which are"):
        write(
            ("than: r1, on: fid@mnist-cnn}", "than: r1, on: fid@mnist-cnn, than_on: recall@mnist-cnn}"),
            ("measures:\n", "measures:\n  - recall@mnist-cnn\n"),
        )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            ("[train.images=64000]", "[train.precision=bf16]"),
            "row 'baseline' in 'few': 'train.precision=bf16' would be lost. Use the study's key 'precision'.",
        ),
        (
            ("variants:\n", "baseline_overrides: [train.seed=7]\nvariants:\n"),
            "row 'baseline' in 'few': 'train.seed=7' would be lost. Use the study's key 'first_seed'.",
        ),
        (
            ("[train.images=64000]", "['trackers=[wandb]']"),
            "'trackers=[wandb]' names trackers, which only a recipe or a",
        ),
        (("[train.images=64000]", '["train={threads: 2}"]'), "Use the study's key 'threads'."),
        (("few: [dataset.count=600]", "few: [train.seed=7]"), "in 'few': 'train.seed=7' would be lost."),
        (
            ("[train.images=64000]", '["evaluate.metrics=[fid@mnist-cnn]"]'),
            "'evaluate.metrics=[fid@mnist-cnn]' would be lost. Use the study's key 'measures'.",
        ),
    ],
)
def test_an_override_that_the_study_would_replace_is_refused(write, zoo, change, sentence):
    with pytest.raises(GanzooError) as found:
        write(change).cells(zoo)
    assert sentence in str(found.value)


def test_a_row_keeps_its_recipe_s_stopping_score_and_best_checkpoint(write, zoo):
    waits = "train.until={metric: fid@mnist-cnn, below: 5}"
    kept = f'["{waits}", train.keep_best=fid@mnist-cnn, evaluate.every_images=6400]'
    row = write(("{recipe: hinge-mnist}", f"{{recipe: hinge-mnist, overrides: {kept}}}")).cells(zoo)[2]
    assert row.jobs[0].recipe.train.keep_best == "fid@mnist-cnn"
    assert row.jobs[0].recipe.train.conditions


def test_a_refused_recipe_is_named_with_its_row(write, zoo):
    with pytest.raises(GanzooError, match="The study 'penalty', row 'hinge' in 'few'.*hinge-mnits") as found:
        write(("recipe: hinge-mnist", "recipe: hinge-mnits")).cells(zoo)
    assert "Did you mean 'hinge-mnist'?" in str(found.value)


def jobs_of(study, zoo, seeds=5):
    """Jobs of a study with the first seeds, with their cells."""
    return [(cell, job) for cell in study.cells(zoo) for job in cell.jobs[:seeds]]


def fill(ledger, study, zoo, values, seeds=5, **more):
    """Record jobs of a study with the scores that a function of cell and job gives."""
    for cell, job in jobs_of(study, zoo, seeds):
        recorded(ledger, job, values(cell, job), **more)


def test_records_become_values_and_verdicts(write, zoo, ledger):
    study = write()
    means = {"baseline": 40.0, "r1": 20.0, "hinge": 40.0}
    fill(ledger, study, zoo, lambda cell, job: [100.0, noisy(means[cell.row], job)])
    found = find(study, ledger, zoo)
    assert [len(cell.runs) for cell in found.cells] == [5] * 6
    told = [one.verdict for one in found.findings]
    assert [one.outcome for one in told] == [Outcome.HELPS, Outcome.HURTS]
    assert [one.effect for one in told] == pytest.approx([2, 0.5], rel=0.05)
    assert [(one.seeds, one.runs) for one in told] == [(5, 5), (5, 10)]  # the second is about both settings
    # Two halves of 64,000 images, at one second per thousand.
    quickly = found.cells[0].values(study.measure("quickly"))
    assert set(quickly.by_seed.values()) == {64.0}
    assert found.in_words() == "2 of 2 claims decided, 0 open; nothing left to train"


def test_seeds_count_in_order_and_only_rows_of_open_claims_get_more(write, zoo, ledger, judged):
    study = write(
        ("variants:\n", "variants:\n  unclaimed: [loss=least-squares]\n"),
        ("than: r1, on: fid@mnist-cnn}", "than: r1, on: fid@mnist-cnn, at: few}"),
    )
    wild = {103: 0.01, 104: 100.0}  # so noisy that its claim stays open
    means = {"r1": 20.0, "hinge": 40.0, "baseline": 40.0, "unclaimed": 30.0}

    def scores(cell, job):
        return [noisy(means[cell.row], job) * (wild.get(job.seed, 1) if cell.row == "hinge" else 1)]

    few = [(cell, job) for cell, job in jobs_of(study, zoo, seeds=8) if cell.setting == "few"]
    for cell, job in few:
        if job.seed != 103 and (cell.row != "unclaimed" or job.seed < 103):
            recorded(ledger, job, scores(cell, job))
    assert {(one.outcome, one.seeds, one.interval) for one in judged(study)} == {(Outcome.OPEN, 3, None)}
    for cell, job in few:
        if job.seed == 103 and cell.row != "unclaimed":
            recorded(ledger, job, scores(cell, job))
    found = find(study, ledger, zoo)
    verdicts = [one.verdict for one in found.findings]
    assert [(one.outcome, one.seeds) for one in verdicts] == [(Outcome.HELPS, 5), (Outcome.OPEN, 5)]
    wanted = {cell.place: len(found.jobs(cell)) for cell in found.cells}
    assert wanted == {
        ("baseline", "few"): 5,
        ("r1", "few"): 10,
        ("hinge", "few"): 10,
        ("unclaimed", "few"): 3,
        **{(row, "all"): 3 for row in study.rows},
    }
    assert sum(found.missing().values()) == 2 * 2 + 4 * 3
    assert sum(found.missing(at_once=True).values()) == 2 * 32 + 4 * 3
    assert sum(found.missing(last=5).values()) == 4 * 3
    words = (
        "1 of 2 claims decided, 1 open; next 16 runs, about 17.1 min; until the last look at most 76 runs, about 1.4 h"
    )
    assert found.in_words() == words


def test_run_goes_from_look_to_look_and_says_what_the_rest_costs(call, write, tmp_path, monkeypatch):
    write()
    rounds = []

    def run(self, jobs):
        rounds.append(Counter(job.recipe.loss.name for job in jobs))
        for job in jobs:
            hinge = 80.0 if job.seed % 2 else 5.0  # so noisy that its claim stays open
            values = {"hinge": hinge, "non-saturating": 20.0 if job.recipe.regularizers else 40.0}
            recorded(self.ledger, job, [noisy(values[job.recipe.loss.name], job)])
        return [self.ledger.find(*job.key) for job in jobs]

    monkeypatch.setattr(Bench, "run", run)
    places = ["--results", tmp_path / "results", "--work", tmp_path / "work"]
    code, out, err = call("study", "run", tmp_path / "penalty.yaml", "--seeds", "10", *places)
    assert code == 0
    assert rounds == [{"non-saturating": 20, "hinge": 10}, {"non-saturating": 10, "hinge": 10}]
    assert "penalty: 0 of 2 claims decided, 2 open; next 30 runs; until the last look at most 55 runs" in err
    assert "penalty: 1 of 2 claims decided, 1 open; next 20 runs, about 21.3 min; until" in err
    assert "penalty: 1 of 2 claims decided, 1 open; nothing left to train" in err
    assert "  helps: R1 helps 1.99 times better (1.91 to 2.09 times better)." in out
    assert "  open: Hinge beats R1" in out
    assert "After 10 seeds, the noise between seeds hides the answer." in out


def test_a_claim_by_two_measures_shows_both_and_needs_both(write, zoo, ledger, judged):
    study = write(
        ("- fid@mnist-cnn\n", "- fid@mnist-cnn\n  - fid@mnist-ae\n"),
        ("better: r1, on: fid@mnist-cnn, at", "better: r1, on: [fid@mnist-cnn, fid@mnist-ae], at"),
    )
    fill(ledger, study, zoo, lambda cell, job: [noisy(20.0 if cell.row == "r1" else 40.0, job)])
    assert judged(study)[0].why == "A score is missing; `ganzoo study run` adds it."
    for cell, job in jobs_of(study, zoo):
        run = ledger.find(*job.key)
        other = {**run.curve[-1], "metric": "fid@mnist-ae", "value": noisy(48.0 if cell.row == "r1" else 40.0, job)}
        ledger.add_scores(run, [other])
    ledger.refresh()
    told, _ = judged(study)
    assert told.outcome is Outcome.DEPENDS
    assert told.effect == pytest.approx(math.sqrt(2 * 40 / 48), rel=0.05)
    assert [view.effect for view in told.views] == pytest.approx([2, 40 / 48], rel=0.05)


def test_a_claim_may_be_about_failures_or_be_withdrawn(write, zoo, ledger, judged):
    about = ("better: r1, on: fid@mnist-cnn, at: few", "better: r1, on: fid@mnist-cnn, at: few, about: failures")
    gone = ("than: r1, on: fid@mnist-cnn}", "than: r1, on: fid@mnist-cnn, withdrawn: It tests nothing.}")
    study = write(about, gone)
    lost = 40 * 6.0  # beyond the bar
    fill(ledger, study, zoo, lambda cell, job: [noisy(40.0 if cell.row == "r1" or job.seed % 5 < 3 else lost, job)], 20)
    failures, withdrawn = judged(study)
    assert (failures.outcome, failures.failed, failures.seeds) == (Outcome.HELPS, (0, 8), 20)
    assert find(study, ledger, zoo).advice.endswith(": r1 (few: 0 failures to 8).")
    assert b"0 failures to 8" in forest_file(find(study, ledger, zoo).findings, "svg")
    assert (withdrawn.outcome, withdrawn.why, withdrawn.effect) == (Outcome.OPEN, "Withdrawn: It tests nothing.", None)
    without_bar = write(("measures:\n", "collapse: null\nmeasures:\n"))
    assert judged(without_bar)[0].failed == (0, 0)


def test_a_verdict_waits_for_scores_of_an_added_measure(write, zoo, ledger, judged):
    later = ("  - fid@mnist-cnn\n", "  - fid@mnist-cnn\n  - recall@mnist-cnn\n")
    claimed = ("better: r1, on: fid@mnist-cnn, at", "better: r1, on: recall@mnist-cnn, at")
    study = write(later, claimed)
    jobs = [(job, cell.row == "r1" and job.seed == 100) for cell, job in jobs_of(study, zoo)]
    runs = [recorded(ledger, job, [noisy(40.0, job)], error="It diverged." if failed else None) for job, failed in jobs]
    r1, hinge = judged(study)
    assert (r1.seeds, r1.why) == (0, "A score is missing; `ganzoo study run` adds it.")
    assert hinge.outcome is not Outcome.OPEN
    for run in runs:
        if run.record.status == "done":
            ledger.add_scores(run, [{**run.curve[-1], "metric": "recall@mnist-cnn", "value": 0.5}])
    ledger.refresh()
    r1, _ = judged(study)
    assert (r1.seeds, r1.failed, r1.interval) == (5, (1, 0), None)
    assert "do not vary" in r1.why


def test_a_crash_says_nothing_about_a_method_and_waits_to_be_resumed(write, zoo, ledger, judged):
    study = write()
    jobs = jobs_of(study, zoo)
    for cell, job in jobs:
        crashed = "Out of memory." if (cell.row, cell.setting, job.seed) == ("r1", "few", 100) else None
        recorded(ledger, job, [noisy(20.0 if cell.row == "r1" else 40.0, job)], error=crashed)
    r1, _ = judged(study)
    assert (r1.seeds, r1.outcome) == (0, Outcome.OPEN)
    assert r1.why == "A run failed without diverging: Out of memory. `--retry` resumes it."
    (again,) = [job for cell, job in jobs if (cell.row, cell.setting, job.seed) == ("r1", "few", 100)]
    recorded(ledger, again, [noisy(20.0, again)])
    r1, _ = judged(study)
    assert r1.outcome is Outcome.HELPS


GRID = """\
question: Which needs no tuning?
baseline: vanilla-mnist
settings: {a: [train.batch_size=16], b: [train.batch_size=32], c: [train.batch_size=64], d: [train.batch_size=128]}
variants: {hinge: {recipe: hinge-mnist}}
measures: [fid@mnist-cnn]
claims: [{says: It does, paper: Nobody, better: hinge, on: fid@mnist-cnn}]
"""


@pytest.mark.parametrize(
    ("lost", "outcome"),
    [
        ([], Outcome.HELPS),
        ([("baseline", "a", 100), ("hinge", "b", 101)], Outcome.HELPS),  # losing one run loses no other
        ([("hinge", "b", 101)], Outcome.OPEN),  # it collapses more often
    ],
)
def test_a_claim_over_settings_compares_their_mean(zoo, lost, outcome, ledger, study_of, judged):
    study = study_of(GRID)
    # Scores differ far more between settings than between rows.
    at = {"a": 2.0, "b": 20.0, "c": 200.0, "d": 2000.0}
    for cell, job in jobs_of(study, zoo):
        score = noisy(at[cell.setting] * (0.5 if cell.row == "hinge" else 1), job)
        diverged = "It diverged." if (cell.row, cell.setting, job.seed) in lost else None
        recorded(ledger, job, [score], error=diverged)
    (told,) = judged(study)
    assert (told.outcome, told.runs) == (outcome, 20)
    assert told.effect == pytest.approx(2, rel=0.1)
    assert told.failed == tuple(sum(row == one for row, *_ in lost) for one in ("hinge", "baseline"))


def test_a_baseline_that_another_study_trained_does_not_start_a_study(zoo, tmp_path):
    ledger = Ledger(tmp_path / "studies")
    baseline, *_, variant = load_study("ring", zoo).cells(zoo)
    for job in baseline.jobs:
        recorded(ledger, job, [8], metric="modes@ring")
    assert started(ledger, zoo) == []
    recorded(ledger, variant.jobs[0], [8], metric="modes@ring")
    assert [found.study.name for found in started(ledger, zoo)] == ["ring"]


def test_a_measure_that_a_row_does_not_support_does_not_apply(write, zoo, ledger):
    study = write(
        ("- fid@mnist-cnn\n", "- fid@mnist-cnn\n  - accuracy@mnist-cnn\n"),
        ("{recipe: hinge-mnist}", "{recipe: hinge-mnist, overrides: [conditional=true]}"),
        ("better: r1, on: fid@mnist-cnn, at", "better: hinge, on: accuracy@mnist-cnn, at"),
    )
    accuracy = study.measure("accuracy@mnist-cnn")
    for _, job in jobs_of(study, zoo):
        run = recorded(ledger, job, [noisy(40.0, job)])
        if job.recipe.conditional:
            ledger.add_scores(run, [{**run.curve[-1], "metric": "accuracy@mnist-cnn", "value": 0.9}])
    ledger.refresh()
    found = find(study, ledger, zoo)
    baseline, _, hinge = (one.values(accuracy) for one in found.cells[:3])
    assert (baseline.applies, baseline.failed, hinge.applies, hinge.failed) == (False, 0, True, 0)
    told, _ = [one.verdict for one in found.findings]
    assert (told.outcome, "no such score" in told.why) == (Outcome.OPEN, True)


def test_a_function_that_makes_an_objective_supports_the_objective_s_metrics(write, own_zoo):
    made = own_zoo.losses.get("bigan").factory
    own_zoo.losses.add(Entry("loss", "coder", lambda: made(), "Codes", None, "tests", "tests 1.0"))
    study = write(
        ("- fid@mnist-cnn\n", "- fid@mnist-cnn\n  - linear-probe\n"),
        ("{recipe: hinge-mnist}", "{recipe: bigan-mnist, overrides: [loss=coder]}"),
    )
    asked = {cell.row: "linear-probe" in cell.jobs[0].recipe.evaluate.metrics for cell in study.cells(own_zoo)}
    assert asked == {"baseline": False, "r1": False, "hinge": True}


def test_times_on_different_machines_are_not_compared(write, zoo, ledger, judged):
    study = write(("better: r1, on: fid@mnist-cnn, at", "better: r1, on: quickly, at"))
    for _, job in jobs_of(study, zoo):
        recorded(ledger, job, [noisy(40.0, job)], cpu="A CPU" if job.seed > 100 else "Another")
    r1, hinge = judged(study)
    assert "different machines" in r1.why
    assert hinge.effect is not None  # scores do not depend on the machine
    (page,) = write_pages([study], ledger, zoo)
    assert "r1 with baseline, few, by quickly: Its runs were made on different machines" in page.read_text()


def test_a_decided_claim_stays_as_it_is_while_its_rows_go_on(write, zoo, ledger, judged):
    study = write(("better: r1, on: fid@mnist-cnn, at", "better: r1, on: quickly, at"))

    def run(cell, job):
        return [noisy(60.0, job), noisy(20.0, job)] if cell.row == "r1" else [60.0, 55.0, noisy(20.0, job)]

    fill(ledger, study, zoo, run)
    early, _ = judged(study)
    assert early.seeds == 5
    for cell, job in jobs_of(study, zoo, seeds=7):
        if job.seed > 104:  # trained for another claim, on another machine and scored by another extractor
            recorded(ledger, job, run(cell, job), cpu="Another", digest="new")
    assert judged(study)[0] == early


def test_the_front_page_has_every_study_with_runs(zoo, tmp_path):
    ledger = Ledger(tmp_path / "studies")
    for _, job in jobs_of(load_study("ring", zoo), zoo, seeds=1):
        recorded(ledger, job, [8], metric="modes@ring")
    (found,) = studies_of(tmp_path, zoo)
    assert (found.topic, found.study.is_exploratory) == ("Ring", True)
    assert found.answer == "None of its 2 claims is decided yet."
    assert found.advice == ""


def test_a_rival_that_wins_is_what_to_use(write, zoo, ledger):
    study = write(("- {says: R1", "- {method: R1, says: R1"), ("than: r1,", "than: r1, rival: a penalty,"))
    means = {"baseline": 4.0, "r1": 2.0, "hinge": 4.0}
    fill(ledger, study, zoo, lambda cell, job: [100.0, noisy(means[cell.row], job)])
    found = find(study, ledger, zoo)
    assert [one.label for one in found.findings] == ["R1", "hinge over a penalty"]
    r1, hinge = [one.verdict.effect for one in found.findings]
    assert found.answer == f"Use R1 ({r1:.2f} times better) and a penalty rather than hinge ({1 / hinge:.2f})."


def test_a_row_may_be_compared_with_itself_on_another_measure(write, zoo, ledger, judged):
    study = write(
        (
            "better: hinge, than: r1, on: fid@mnist-cnn",
            "better: r1, than: r1, on: fid@mnist-cnn, at: few, than_on: quickly",
        )
    )
    fill(ledger, study, zoo, lambda cell, job: [100.0, noisy(20.0, job)])
    _, itself = judged(study)
    assert itself.outcome is Outcome.HELPS
    assert itself.effect == pytest.approx(64 / 20, rel=0.05)  # a score of 20 against 64 seconds


@pytest.mark.parametrize(
    ("kept", "lost", "outcome", "effect"),
    [
        (8, 0, Outcome.HELPS, 8),
        (8, 1, Outcome.HELPS, 8),
        (8, 8, Outcome.OPEN, 1),
        (1, 0, Outcome.OPEN, 1),
    ],
)
def test_seeds_with_equal_counts_differ_by_what_is_rounded_away(
    zoo, kept, lost, outcome, effect, ledger, study_of, judged
):
    study = study_of(
        "question: Which keeps all?\nbaseline: vanilla-ring\nvariants: {pacgan: {recipe: pacgan-ring}}\n"
        "measures: [modes@ring]\nclaims: [{says: It helps, paper: Nobody, better: pacgan, on: modes@ring}]\n",
        "ring",
    )
    fill(ledger, study, zoo, lambda cell, job: [kept if cell.row == "pacgan" else lost], metric="modes@ring")
    (told,) = judged(study)
    assert told.outcome is outcome
    assert told.effect == pytest.approx(effect)
    assert ("do not vary" in told.why) == (told.effect == 1)


def test_shares_are_compared_by_their_odds(write, zoo, ledger):
    """0.95 cannot increase by 10%, but its odds can more than double."""
    study = write(
        ("measures:\n  - fid@mnist-cnn\n", "measures:\n  - recall@mnist-cnn\n"),
        ("on: fid@mnist-cnn, at", "on: recall@mnist-cnn, at"),
        ("than: r1, on: fid@mnist-cnn}", "than: r1, on: recall@mnist-cnn}"),
    )
    missed = {"baseline": 0.05, "r1": 0.025, "hinge": 0.0}
    fill(ledger, study, zoo, lambda cell, job: [1 - noisy(missed[cell.row], job)], metric="recall@mnist-cnn")
    found = find(study, ledger, zoo)
    better, perfect = [one.verdict for one in found.findings]
    assert better.outcome is Outcome.HELPS
    assert better.effect == pytest.approx((0.975 / 0.025) / (0.95 / 0.05), rel=0.05)
    # 10,000 of 10,000 correct counts as all but one.
    assert perfect.effect == pytest.approx(9_999 / (0.975 / 0.025), rel=0.05)


@pytest.mark.parametrize(
    ("metric", "n"), [("quality@ring", 500), ("precision@ring", 500), ("recall@ring", 4000), ("coverage@ring", 4000)]
)
def test_a_share_of_one_counts_as_all_but_one_of_what_it_is_a_share_of(metric, n, zoo, ledger, study_of, judged):
    """500 of 500 samples is hardly better than 499 of them, however many real images there are."""
    study = study_of(
        "question: Which is closer?\nbaseline: vanilla-ring\nvariants: {pacgan: {recipe: pacgan-ring}}\n"
        f"overrides: [evaluate.samples=500]\nmeasures: [{metric}]\n"
        f"claims: [{{says: It helps, better: pacgan, on: {metric}, paper: Nobody}}]\n",
        "ring",
    )

    def scores(cell, job):
        return [1.0 if cell.row == "pacgan" else (498 + job.seed % 2) / 500]

    fill(ledger, study, zoo, scores, metric=metric, n_real=4000)
    (told,) = judged(study)
    others = [math.log(good / (500 - good)) for good in (498, 499, 498, 499, 498)]
    assert told.effect == pytest.approx((n - 1) / math.exp(sum(others) / 5))


def test_a_run_that_failed_or_missed_its_threshold_counts_as_failed(write, zoo, ledger):
    study = write()
    baseline, r1, _ = (cell.jobs[:3] for cell in study.cells(zoo)[:3])
    for job in baseline:
        recorded(ledger, job, [100.0, noisy(40.0, job)])
    for job in r1:
        recorded(ledger, job, [90.0, noisy(60.0, job)], error="Training diverged." if job.seed == 100 else None)
    cell = find(study, ledger, zoo).cells[1]
    final, quickly = (cell.values(study.measure(name)) for name in ("fid@mnist-cnn", "quickly"))
    assert (len(final.known), final.failed) == (2, 1)
    assert (len(quickly.known), quickly.failed) == (0, 3)


def test_a_curve_with_fewer_samples_does_not_answer_a_study_with_more(write, zoo, ledger):
    measure = ("below: 50", "below: 65")
    every = "overrides: [train.images=64000, evaluate.every_images=16000]"
    many = write(measure, ("overrides: [train.images=64000]", every))
    few = write(measure, ("overrides: [train.images=64000]", every.replace("]", ", evaluate.samples=1000]")))
    (job, same), asked = (study.cells(zoo)[0].jobs[0] for study in (few, many)), few.measure("quickly")
    assert job.digest == same.digest
    recorded(ledger, job, [90, 60, 45, 30])
    cells = [find(study, ledger, zoo).cells[0] for study in (few, many)]
    assert [next(iter(cell.values(asked).by_seed.values())) is None for cell in cells] == [False, True]
    assert [cell.is_unscored(cell.runs[100], asked) for cell in cells] == [False, True]


def test_a_measure_is_a_final_score_or_the_time_until_a_score(write, zoo, ledger):
    study = write()
    run = recorded(ledger, study.cells(zoo)[0].jobs[0], [90.0, 60.0, 45.0, 30.0])
    cell = find(study, ledger, zoo).cells[0]
    assert [score["value"] for score in cell.curve(run, "fid@mnist-cnn")] == [90, 60, 45, 30]
    values = {measure.name: cell.value(run, measure) for measure in study.measures}
    assert values == {"fid@mnist-cnn": 30.0, "quickly": 48.0}
    rising = Measure.model_validate({"name": "high", "metric": "fid@mnist-cnn", "above": 50})
    assert cell.value(run, rising) == 16


def test_scores_by_two_versions_of_an_extractor_are_not_compared_until_scored_again(write, zoo, ledger, judged):
    study = write()
    jobs = [(cell.row, job) for cell, job in jobs_of(study, zoo)]
    for row, job in jobs:
        recorded(ledger, job, [100.0, noisy(20.0 if row == "r1" else 40.0, job)], digest=row)
    told = judged(study)
    assert [one.outcome for one in told] == [Outcome.OPEN] * 2
    assert "scored by different versions of an extractor" in told[0].why
    for row, job in jobs:
        run = ledger.find(job.digest, job.dataset, job.seed)
        score = run.scores[0]
        again = {**score, "value": noisy(20.0 if row == "r1" else 60.0, job)}
        ledger.add_scores(run, [{**again, "protocol": {**score["protocol"], "extractor_digest": "new"}}])
    told = judged(study)
    assert told[0].outcome is Outcome.HELPS
    assert told[0].effect == pytest.approx(3, rel=0.05)


def test_the_answer_says_each_outcome_in_plain_words(zoo):
    """What was no better is named with its rival, if it has one."""
    study = load_study("labels", zoo)
    alone = study.claims[0].model_copy(update={"method": "label smoothing", "rival": None})
    outcomes = [Outcome.NO_DIFFERENCE, Outcome.HURTS, Outcome.HELPS, Outcome.OPEN]
    verdicts = [Verdict(outcome, effect=2.0 if outcome is Outcome.HELPS else 0.5) for outcome in outcomes]
    claims = [*zip(study.claims, verdicts, strict=True), (alone, verdicts[0])]
    found = Found(study, (), {}, findings=tuple(Finding(study, claim, verdict) for claim, verdict in claims))
    assert found.answer == (
        "Use an auxiliary classifier for FID rather than a projection (2.00 times better) and an auxiliary classifier "
        "for clarity over variety (2.00). No difference worth having: a projection or "
        "concatenated labels for FID; label smoothing. 1 more claim is open."
    )
    thrice = study.model_copy(update={"claims": [alone.model_copy(update={"at": at}) for at in ("1%", "2%", "3%")]})
    hurts = Verdict(Outcome.HURTS, effect=0.5)
    found = Found(thrice, (), {}, findings=tuple(Finding(thrice, claim, hurts) for claim in thrice.claims))
    assert found.answer == "Do without label smoothing (1%: 2.00 times worse, 2%: 2.00, 3%: 2.00)."
