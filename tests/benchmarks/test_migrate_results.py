"""Results of schema 1 become those of today, and no figure changes."""

import json
import sys

import pytest

from ganzoo.config.identity import training_digest
from ganzoo.config.loading import load_recipe
from ganzoo.files import read_lines
from ganzoo.studies.records import read_runs
from migrate_results import digest_of_schema_1, main

PROTOCOL = {"dataset": "mnist", "split": "test", "n_fake": 10_000, "sample_seed": 0, "extractor_digest": "fc64"}
SCORE = {"metric": "fid@mnist-cnn", "value": 4.5, "floor": 0.1, "weights": "ema", "images": 2000, "seconds": 1.5}
POINT = {"images": 1000, "seconds": 0.7, "metric": "fid@mnist-cnn", "weights": "ema", "value": 9.5}
RECORD = {
    "schema": 1, "recipe": "vanilla-mnist", "dataset": "mnist", "seed": 0, "digest": "0f", "plugin": "vanilla",
    "summary": "The classic", "paper": None, "loss": "non-saturating", "conditional": False, "status": "done",
    "error": None, "scores": [{**SCORE, "protocol": PROTOCOL}], "curve": [POINT, {**POINT, "images": 2000}],
    "images": 2000, "seconds": 1.5, "wall_seconds": 9.0, "images_per_second": 1333.3, "parameters": {"generator": 100},
    "flops_per_image": 1e6, "engine": "eager", "precision": "fp32", "threads": 1, "environment": {"cpu": "Z80"},
    "samples": None, "finished": "2026-01-01T00:00:00+00:00", "command": "ganzoo run vanilla-mnist",
}  # fmt: skip


def test_scores_become_rows_and_the_digest_of_a_registered_recipe_todays(zoo, tmp_path, capsys):
    recipe = load_recipe("vanilla-mnist", zoo)
    registered = {**RECORD, "digest": digest_of_schema_1(recipe)}
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (registered, RECORD)))
    before = read_runs(tmp_path)
    main([str(tmp_path)])
    assert capsys.readouterr().out == f"{tmp_path}: 2 records migrated\n"
    after = read_runs(tmp_path)
    assert [run.record.digest for run in after] == [training_digest(recipe), "0f"]
    assert [run.curve for run in after] == [run.curve for run in before]
    assert [score["value"] for score in after[0].curve] == [9.5, 4.5]
    assert all("scores" not in line and line["schema"] == 2 for line in read_lines(tmp_path / "runs.jsonl"))
    files = [(tmp_path / name).read_bytes() for name in ("runs.jsonl", "scores.jsonl")]
    main([str(tmp_path)])
    assert [(tmp_path / name).read_bytes() for name in ("runs.jsonl", "scores.jsonl")] == files


def test_digests_of_times_to_fid_become_todays(zoo, tmp_path):
    recipe = load_recipe("dcgan-mnist", zoo)
    line = {"contender": "dcgan-mnist", "facts": {"batch": 64, "digest": digest_of_schema_1(recipe)}, "curve": []}
    tutorial = {"contender": "tutorial", "facts": {"batch": 128}}
    (tmp_path / "time-to-fid.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (line, tutorial)))
    main([str(tmp_path)])
    first, second = read_lines(tmp_path / "time-to-fid.jsonl")
    assert first == {**line, "facts": {"batch": 64, "digest": training_digest(recipe)}}
    assert second == tutorial


def test_records_keep_their_runs_where_keys_of_recipes_were_renamed(zoo, tmp_path):
    recipe = load_recipe("vanilla-mnist", zoo)
    (tmp_path / "runs.jsonl").write_text(json.dumps(RECORD) + "\n")
    main([str(tmp_path)])
    assert [run.record.digest for run in read_runs(tmp_path)] == ["0f"]
    # A checkout of before, whose vanilla-mnist had that digest.
    script = tmp_path / "before" / "benchmarks" / "migrate_results.py"
    script.parent.mkdir(parents=True)
    script.write_text("import sys\nassert sys.argv[2] == '--digests'\nprint('{\"vanilla-mnist\": \"0f\"}')\n")
    python = tmp_path / "before" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    main([str(tmp_path), "--renamed-since", str(tmp_path / "before")])
    (run,) = read_runs(tmp_path)
    assert run.record.digest == training_digest(recipe)
    assert len(run.curve) == 2
    with pytest.raises(SystemExit, match="cannot give its digests"):
        main([str(tmp_path), "--renamed-since", str(tmp_path / "nowhere")])
