"""Records: written and read back, superseded, refused."""

import json

import pytest

from ganzoo.errors import GanzooError
from ganzoo.recipes.loading import load_recipe
from ganzoo.studies.records import Ledger, RunRecord, ScoreRecord, read_records, recipe_digest

SCORE = {
    "metric": "fid@mnist-cnn",
    "value": 4.5,
    "floor": 0.12,
    "weights": "ema",
    "images": 2000,
    "seconds": 1.5,
    "protocol": {"n_fake": 10_000, "dataset_options": {}},
}
PLAIN = {
    "schema": 1,
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
    "scores": [SCORE, {**SCORE, "weights": "raw", "value": 5.0, "floor": None}],
    "curve": [{"images": 2000, "seconds": 1.5, "metric": "fid@mnist-cnn", "weights": "ema", "value": 4.5}],
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
}


def record(**changes):
    return RunRecord.model_validate({**PLAIN, **changes})


def test_a_record_is_in_the_file_what_it_is_in_memory(tmp_path):
    ledger = Ledger(tmp_path / "results")
    ledger.append(record())
    assert json.loads(ledger.path.read_text()) == PLAIN
    assert read_records(ledger.path) == [record()]
    assert Ledger(tmp_path / "results").find(record().key) == record()


def test_the_last_record_of_a_key_holds_and_other_keys_stand_beside_it(tmp_path):
    ledger = Ledger(tmp_path)
    others = [{"seed": 1}, {"digest": "cd" * 32}, {"dataset": "rings"}, {"environment": {"cpu": "Z80", "gpu": "H100"}}]
    failed = record(status="failed", error="Training diverged.")
    for one in (failed, *(record(**other) for other in others), record()):
        ledger.append(one)
    assert read_records(ledger.path) == [*(record(**other) for other in others), record()]
    assert len(ledger.path.read_text().splitlines()) == 6


def test_a_line_that_a_crash_cut_short_is_survived_and_not_glued_to(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.append(record())
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole + whole[:200])
    assert read_records(ledger.path) == [record()]
    Ledger(tmp_path).append(record(seed=1))
    assert read_records(ledger.path) == [record(), record(seed=1)]
    assert all(json.loads(line) for line in ledger.path.read_text().splitlines())


def test_no_file_is_no_records(tmp_path):
    assert read_records(tmp_path / "runs.jsonl") == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"schema": 2}, r"Record 1 of .* another version of ganzoo \(schema 2\)\. This one reads schema 1"),
        ({"sed": 1}, "Record 1 of .* is damaged: it has no key 'sed'. Did you mean 'seed'?"),
        ({"images": "many"}, "is damaged: images must be"),
        ({"status": "perhaps"}, "is damaged: status must be 'done' or 'failed'"),
    ],
)
def test_what_is_no_record_of_ours_is_one_sentence(tmp_path, changes, sentence):
    (tmp_path / "runs.jsonl").write_text(json.dumps({**PLAIN, **changes}) + "\n")
    with pytest.raises(GanzooError, match=sentence) as raised:
        Ledger(tmp_path)
    assert "\n" not in str(raised.value)


def test_scores_are_found_by_metric_and_weights_the_reported_ones_first():
    assert record().score("fid@mnist-cnn") == ScoreRecord.model_validate(SCORE)
    assert record().score("fid@mnist-cnn", "raw").value == 5.0
    assert record().score("kid@mnist-cnn") is None


def test_a_digest_is_of_what_matters(zoo):
    def digest(*overrides):
        return recipe_digest(load_recipe("vanilla-mnist", zoo, list(overrides)))

    same = ["train.seed=7", "train.device=cpu", "train.log_every=64", "summary=Other words", "paper=null"]
    assert {digest(override) for override in same} == {digest()}
    different = ["train.images=1280", "evaluate.samples=500", "loss=hinge", "optimizers.default.lr=1e-3"]
    assert len({digest(), *(digest(override) for override in different)}) == 5
