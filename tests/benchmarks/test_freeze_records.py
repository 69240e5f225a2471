"""Records and their recipes: what is committed repeats each run, and records follow when digests change."""

import shlex
from hashlib import sha256
from pathlib import Path

import pytest

from freeze_records import freeze
from ganzoo.config.schema import Component
from ganzoo.files import read_lines
from ganzoo_studies.matrix import job_of
from ganzoo_studies.records import RECIPES, Ledger, RunRecord, read_runs

RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize("folder", [RESULTS, RESULTS / "studies"], ids=["bench", "studies"])
def test_the_command_and_the_frozen_recipe_of_every_committed_record_give_its_digest(zoo, folder):
    """If not, `python benchmarks/freeze_records.py results results/studies` mends the records."""
    newest = {line["digest"]: RunRecord.model_validate(line) for line in read_lines(folder / "runs.jsonl")}
    for digest, record in newest.items():
        _, _, source, *overrides = shlex.split(record.command)
        named = job_of(str(folder / source) if source.startswith(RECIPES) else source, zoo, overrides[1::2])
        assert (named.digest, named.seed) == (digest, record.seed)
        assert job_of(str(folder / record.frozen), zoo, []).digest == digest
    assert {path.name for path in (folder / RECIPES).iterdir()} == {Path(one.frozen).name for one in newest.values()}


def test_records_follow_when_digests_change(zoo, tmp_path, monkeypatch):
    ledger, picture = Ledger(tmp_path), tmp_path / "grid.png"
    picture.write_bytes(b"a picture")
    committed = read_runs(RESULTS)[0].record
    score = {"metric": "fid", "value": 2.0, "weights": "ema", "images": 64, "protocol": {}}
    for seed, named in enumerate(("vanilla-ring", "vanilla-ring", "hinge-mnist")):
        job = job_of("vanilla-ring", zoo, [f"train.seed={seed}"])
        changes = {"recipe": "vanilla-ring", "dataset": "ring", "seed": seed, "digest": job.digest}
        changes |= {"command": f"ganzoo run {named} --set train.seed={seed}", "samples": job.picture("Z80")}
        recipe = job.recipe.model_copy(update={"trackers": (Component(name="wandb"),)})
        ledger.append(committed.model_copy(update=changes), [score], picture, recipe)
    assert freeze(tmp_path, zoo) == 0  # but the last command is not its run's
    before = read_runs(tmp_path)
    frozen = before[0].record.frozen
    assert [run.record.command for run in before] == [
        "ganzoo run vanilla-ring --set train.seed=0",
        "ganzoo run vanilla-ring --set train.seed=1",
        f"ganzoo run {frozen} --set train.seed=2",
    ]
    text = (tmp_path / frozen).read_text("utf-8")
    assert "wandb" not in text
    digest = sha256(b"by another rule").hexdigest()
    monkeypatch.setattr("ganzoo_studies.matrix.training_digest", lambda recipe: digest)
    assert freeze(tmp_path, zoo) == 1
    after = read_runs(tmp_path)
    assert {run.record.digest for run in after} == {digest}
    assert [run.curve for run in after] == [run.curve for run in before]
    assert after[2].record.command == f"ganzoo run {RECIPES}/vanilla-ring-{digest[:8]}.yaml --set train.seed=2"
    assert [path.name for path in (tmp_path / RECIPES).iterdir()] == [f"vanilla-ring-{digest[:8]}.yaml"]
    assert (tmp_path / after[0].record.frozen).read_text("utf-8") == text
    assert all((tmp_path / run.record.samples).read_bytes() == b"a picture" for run in after)
    assert len(list((tmp_path / "samples").iterdir())) == 3
