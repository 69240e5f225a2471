"""Records and scores: written and read back, superseded and refused."""

import json
from dataclasses import replace

import pytest
import torch

from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import training_digest
from ganzoo.errors import GanzooError
from ganzoo.runs.folder import RunFolder
from ganzoo_studies.matrix import job_of
from ganzoo_studies.records import (
    Ledger,
    RunRecord,
    ScoredRun,
    collect,
    keep_weights,
    kept_folder,
    read_runs,
    run_of,
)

SCORE = {
    "metric": "fid@mnist-cnn",
    "value": 4.5,
    "floor": 0.12,
    "weights": "ema",
    "images": 2000,
    "seconds": 1.5,
    "protocol": {"dataset": "mnist", "split": "test", "n_fake": 10_000, "sample_seed": 0, "dataset_options": {}},
}
RAW = {**SCORE, "weights": "raw", "value": 5.0, "floor": None}
OWN = {"dataset": "mnist", "split": "test", "n_fake": 10_000, "sample_seed": 0}
PLAIN = {
    "schema": 3,
    "recipe": "vanilla-mnist",
    "dataset": "mnist",
    "seed": 0,
    "digest": "ab" * 32,
    "plugin": "vanilla",
    "summary": "The classic",
    "paper": None,
    "loss": "non-saturating",
    "conditional": False,
    "status": "done",
    "error": None,
    "images": 2000,
    "seconds": 1.5,
    "wall_seconds": 9.0,
    "images_per_second": 1333.3,
    "parameters": {"generator": 100, "discriminator": 50},
    "flops_per_image": 260736.0,
    "engine": "eager",
    "precision": "fp32",
    "threads": 1,
    "environment": {"cpu": "Z80", "gpu": None, "threads": 1},
    "samples": "samples/vanilla-mnist-mnist-0.png",
    "finished": "2026-01-01T00:00:00+00:00",
    "command": "ganzoo run vanilla-mnist",
    "started": "2025-12-31T23:59:00+00:00",
    "protocol": OWN,
    "diverged": False,
    "plugins": {},
}


@pytest.fixture
def finished(zoo, tmp_path, monkeypatch):
    """Make a run folder, ``run``, of a run that is done, and return its job. Its FLOPs are not counted."""
    monkeypatch.setattr("ganzoo_studies.records.count_flops", lambda *given: None)

    def _finished(**facts):
        job = job_of("vanilla-mnist", zoo, [])
        known = {"recipe": "vanilla-mnist", "shape": [1, 28, 28], "classes": 10, "images": 2000, "seconds": 1.5}
        known |= {"status": "done", "environment": PLAIN["environment"]}
        RunFolder.create(tmp_path / "run", job.recipe, {**known, **facts})
        return job

    return _finished


def record(**changes):
    return RunRecord.model_validate({**PLAIN, **changes})


def run(*scores, **changes):
    return ScoredRun(record(**changes), scores)


def test_a_record_is_the_same_in_the_file_as_in_memory_and_its_scores_are_rows(tmp_path):
    ledger = Ledger(tmp_path / "results")
    ledger.append(record(), [SCORE, RAW])
    assert json.loads((ledger.folder / "runs.jsonl").read_text()) == PLAIN
    training = {key: PLAIN[key] for key in ("digest", "recipe", "dataset", "seed", "precision", "started")}
    rows = [json.loads(line) for line in (ledger.folder / "scores.jsonl").read_text().splitlines()]
    assert rows[0] == {"schema": 2, **training, "hardware": "Z80", **SCORE, "interval": None, "sd": None}
    # The raw weights are not those that are reported.
    assert read_runs(ledger.folder) == [run(SCORE)]
    assert Ledger(tmp_path / "results").find(*record().key[:4]) == run(SCORE)


def test_the_last_record_of_a_key_counts_and_other_keys_are_kept(tmp_path):
    ledger = Ledger(tmp_path)
    others = [
        {"seed": 1},
        {"digest": "cd" * 32},
        {"dataset": "rings"},
        {"environment": {"cpu": "Z80", "gpu": "H100"}},
        {"precision": "bf16"},
    ]
    failed = record(status="failed", error="Training diverged.")
    for one in (failed, *(record(**other) for other in others), record()):
        ledger.append(one)
    runs = [*(run(**other) for other in others), run()]
    assert read_runs(tmp_path) == runs
    assert all(one in runs for one in ledger.runs)
    assert len(ledger.runs) == len(runs)
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 7


def test_what_others_wrote_is_read_on_a_refresh(tmp_path):
    ours, theirs = Ledger(tmp_path), Ledger(tmp_path)
    ours.append(record(), [SCORE])
    theirs.append(record(seed=1))  # without having read ours
    for ledger in (ours, theirs):
        ledger.refresh()
        assert ledger.runs == [run(SCORE), run(seed=1)]


def test_fp32_and_bf16_runs_of_one_recipe_are_kept_with_their_own_scores(tmp_path):
    better = {**SCORE, "value": 4.0}
    ledger = Ledger(tmp_path)
    ledger.append(record(), [SCORE])
    ledger.append(record(precision="bf16"), [better])
    assert read_runs(tmp_path) == [run(SCORE), run(better, precision="bf16")]
    assert ledger.find(*record().key[:4]) == run(better, precision="bf16")  # the newest, if either will do


def test_later_scores_are_added_once_and_belong_to_their_run(tmp_path):
    ledger = Ledger(tmp_path)
    first = ledger.append(record(), [SCORE])
    recall = {**SCORE, "metric": "recall@mnist-cnn", "value": 0.5, "interval": [0.4, 0.6]}
    added = ledger.add_scores(first, [SCORE, recall])
    assert ledger.add_scores(added, [SCORE, recall]) == added == run(SCORE, recall)
    assert read_runs(tmp_path) == [added]
    assert len((tmp_path / "scores.jsonl").read_text().splitlines()) == 2
    # Trained again: the old weights' scores do not belong to the new ones.
    again = {"started": "2026-02-01T00:00:00+00:00"}
    Ledger(tmp_path).append(record(**again), [{**SCORE, "value": 4.6}])
    assert read_runs(tmp_path) == [run({**SCORE, "value": 4.6}, **again)]


def test_a_score_that_is_not_finite_has_no_row(tmp_path):
    Ledger(tmp_path).append(record(), [{**SCORE, "value": float("nan")}, RAW])
    assert read_runs(tmp_path) == [run(RAW)]


def test_a_line_cut_short_by_a_crash_is_skipped_and_not_appended_to(tmp_path):
    path = tmp_path / "runs.jsonl"
    Ledger(tmp_path).append(record())
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:200])
    assert read_runs(tmp_path) == [run()]
    Ledger(tmp_path).append(record(seed=1))
    assert read_runs(tmp_path) == [run(), run(seed=1)]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_missing_file_means_no_records(tmp_path):
    assert read_runs(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"schema": 2}, r"Line 1 of .* another version of ganzoo \(schema 2\)\. This one reads schema 3: give another"),
        ({"schema": 4}, r"Line 1 of .* another version of ganzoo \(schema 4\)\. This one reads schema 3: give another"),
        ({"sed": 1}, "Line 1 of .* is damaged: it has no key 'sed'. Did you mean 'seed'?"),
        ({"images": "many"}, "is damaged: images must be"),
        ({"status": "perhaps"}, "is damaged: status must be 'done' or 'failed'"),
    ],
)
def test_a_foreign_record_is_a_one_line_error(tmp_path, changes, sentence):
    (tmp_path / "runs.jsonl").write_text(json.dumps({**PLAIN, **changes}) + "\n")
    with pytest.raises(GanzooError, match=sentence) as raised:
        Ledger(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_damaged_score_is_a_one_line_error(tmp_path):
    Ledger(tmp_path).append(record(), [SCORE])
    path = tmp_path / "scores.jsonl"
    path.write_text(path.read_text().replace("mnist-cnn", "x").replace('"value": 4.5', '"value": "low"'))
    with pytest.raises(GanzooError, match="Line 1 of .* is damaged: value must be"):
        read_runs(tmp_path)


def test_the_reported_weights_scores_come_first():
    assert run(RAW, SCORE).scores == run(SCORE, RAW).scores == (SCORE, RAW)


def test_a_digest_covers_what_changes_the_weights(zoo):
    def digest(*overrides):
        return training_digest(load_recipe("vanilla-mnist", zoo, list(overrides)))

    same = [
        "train.seed=7", "train.device=cpu", "train.log_every=64", "summary=Other words", "paper=null",
        "evaluate.samples=500", "evaluate.metrics=[kid@mnist-cnn]",
    ]  # fmt: skip
    assert {digest(override) for override in same} == {digest()}
    different = ["train.images=1280", "loss=hinge", "optimizers.default.lr=1e-3", "train.precision=bf16"]
    assert len({digest(), *(digest(override) for override in different)}) == 5


def test_how_a_run_is_scored_changes_its_weights_if_a_score_ends_it(zoo):
    cadence = next(name for name in load_recipe("vanilla-mnist", zoo).plain()["evaluate"] if name.startswith("every"))

    def digest(*overrides):
        stopping = ["train.until={metric: fid@mnist-cnn, below: 5}", f"evaluate.{cadence}=6400"]
        return training_digest(load_recipe("vanilla-mnist", zoo, [*stopping, *overrides]))

    assert digest("evaluate.metrics=[fid@mnist-cnn, kid@mnist-cnn]") == digest()
    different = ["evaluate.samples=500", f"evaluate.{cadence}=12800", "train.until.below=4"]
    assert len({digest(), *(digest(override) for override in different)}) == 4


@pytest.mark.parametrize(("took", "recorded"), [(9.04, 9.0), (0.4, None)])
def test_a_process_that_found_its_run_done_records_no_time_of_its_own(zoo, tmp_path, took, recorded, finished):
    """Its worker died after training, before writing the record."""
    job = finished()
    found, *_ = collect(job, tmp_path / "run", None, took, {}, zoo)
    assert (found.status, found.seconds, found.wall_seconds) == ("done", 1.5, recorded)


def test_a_record_names_the_versions_of_other_packages_plugins(zoo, own_zoo, tmp_path, finished):
    loss = replace(zoo.losses.get("non-saturating"), plugin="duo", distribution="duo-gan 0.3.0")
    own_zoo.losses._entries["non-saturating"] = loss
    job = finished(plugins={"duo": "duo-gan 0.2.0", "other": "other 1"})
    found, *_ = collect(job, tmp_path / "run", None, 9.0, {}, own_zoo)
    assert found.plugins == {"duo": "duo-gan 0.2.0"}  # as it was trained
    Ledger(tmp_path / "results").append(found)
    assert [one.record for one in read_runs(tmp_path / "results")] == [found]
    ours, *_ = collect(job, tmp_path / "run", None, 9.0, {}, zoo)
    assert ours.plugins == {}


def test_a_run_folder_that_cannot_be_opened_makes_a_failed_record_with_the_reason(zoo, tmp_path, finished):
    job, file = finished(), tmp_path / "run" / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": 999}))
    found, scores, _ = collect(job, file.parent, None, 1.0, PLAIN["environment"] | {"threads": 1}, zoo)
    assert (found.status, list(scores)) == ("failed", [])
    assert "newer" in found.error


@pytest.mark.parametrize("reported", ["ema", "networks"])
def test_kept_weights_include_everything_that_sampling_needs(tmp_path, reported, finished):
    finished(started=PLAIN["started"])
    trained = RunFolder.open(tmp_path / "run")
    names = ("networks.generator.weight", "objective.level", "optimizers.generator.0.step", "random.cpu")
    names = (*names, "ema.generator.weight") if reported == "ema" else names
    trained.save_checkpoint({name: torch.ones(1) for name in names}, {"images": 2000, "steps": 20})
    keep_weights(trained, record(), tmp_path / "weights")
    kept = run_of(record(), kept_folder(record(), tmp_path / "weights")).checkpoint()
    assert sorted(kept.tensors) == sorted([f"{reported}.generator.weight", "objective.level"])
