"""Checkpoints: round trips, damage to each file, pruning, and other schema versions."""

import json
import shutil

import pytest
import torch

from ganzoo.errors import GanzooError
from ganzoo.runs.records import NewerError, _digest, load_latest, prune, read_checkpoint, save_checkpoint


def tensors(value):
    return {
        "networks.generator.weight": torch.full((3, 2), float(value)),
        "ema.generator.weight": torch.full((3, 2), -float(value)),
        "random.cpu": torch.arange(7, dtype=torch.uint8),
        "optimizers.generator.0.step": torch.tensor(5.0),
    }


def test_weights_that_layers_share_are_saved_under_both_names(tmp_path):
    shared = torch.arange(6.0).view(2, 3)
    save_checkpoint(
        tmp_path, {"networks.d.first": shared, "networks.d.second": shared, "part": shared[1]}, {"images": 1}
    )
    loaded = load_latest(tmp_path)[0].tensors
    assert torch.equal(loaded["networks.d.first"], shared)
    assert torch.equal(loaded["networks.d.second"], shared)
    assert torch.equal(loaded["part"], shared[1])


def test_only_the_newest_two_are_kept(tmp_path):
    for images in (128, 256, 384, 1024):
        save_checkpoint(tmp_path, tensors(images), {"images": images})
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"{i:012d}.{end}" for i in (384, 1024) for end in ("json", "safetensors")]


def test_a_user_s_copies_are_neither_removed_nor_resumed_from(tmp_path):
    save_checkpoint(tmp_path, tensors(1), {"images": 1})
    for name in ("000000000001-good", "good"):
        for end in ("json", "safetensors"):
            shutil.copy(tmp_path / f"000000000001.{end}", tmp_path / f"{name}.{end}")
    (tmp_path / "good.json").unlink()
    for images in (2, 3, 4):
        save_checkpoint(tmp_path, tensors(images), {"images": images})
    assert {path.stem for path in tmp_path.glob("*.safetensors")} == {
        "000000000001-good",
        "good",
        "000000000003",
        "000000000004",
    }
    checkpoint, damaged = load_latest(tmp_path)
    assert (checkpoint.state["images"], damaged) == (4, [])


def test_a_checkpoint_replaced_while_being_read_is_not_reported_as_damaged(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, tensors(1), {"images": 1}, keep=1)
    first, read = [True], read_checkpoint

    def replaced(path):
        if first.pop() if first else False:
            save_checkpoint(tmp_path, tensors(2), {"images": 2}, keep=1)
        return read(path)

    monkeypatch.setattr("ganzoo.runs.records.read_checkpoint", replaced)
    checkpoint, damaged = load_latest(tmp_path)
    assert (checkpoint.state["images"], damaged) == (2, [])


def truncate(path):
    path.write_bytes(path.read_bytes()[:-10])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(bytes(content))


def lose_the_digest(path):
    path.with_suffix(".json").unlink()


def break_the_digest(path):
    path.with_suffix(".json").write_text('{"schema": 1, "sha256"')


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, lose_the_digest, break_the_digest])
def test_a_damaged_checkpoint_is_reported_and_the_previous_one_loaded(tmp_path, damage):
    save_checkpoint(tmp_path, tensors(1), {"images": 128})
    damage(save_checkpoint(tmp_path, tensors(2), {"images": 256}))
    checkpoint, damaged = load_latest(tmp_path)
    assert checkpoint.state["images"] == 128
    assert len(damaged) == 1
    assert "000000000256.safetensors" in damaged[0]


def test_an_interrupted_first_checkpoint_does_not_count(tmp_path):
    lose_the_digest(save_checkpoint(tmp_path, tensors(1), {"images": 128}))
    checkpoint, messages = load_latest(tmp_path)
    assert checkpoint is None
    assert "000000000128.safetensors is incomplete" in messages[0]
    for path in [save_checkpoint(tmp_path, tensors(images), {"images": images}) for images in (256, 384)]:
        lose_the_digest(path)
    with pytest.raises(GanzooError, match="Every checkpoint in .* is damaged"):
        load_latest(tmp_path)


@pytest.mark.parametrize("change", [("128,", "129,"), ('"seconds"', '"secondz"')])
def test_an_edited_state_is_damage_too(tmp_path, change):
    path = save_checkpoint(tmp_path, tensors(1), {"images": 128, "steps": 4, "seconds": 0.5}).with_suffix(".json")
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(GanzooError, match="state does not match its digest"):
        read_checkpoint(path.with_suffix(".safetensors"))


def test_damaged_later_checkpoints_never_displace_intact_ones(tmp_path):
    for images in (128, 256, 384):
        path = save_checkpoint(tmp_path, tensors(images), {"images": images}, keep=3)
        if images > 128:
            flip_a_bit(path)
    save_checkpoint(tmp_path, tensors(200), {"images": 200})
    checkpoint, damaged = load_latest(tmp_path)
    assert (checkpoint.state["images"], damaged) == (200, [])
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == ["000000000128", "000000000200"]


def test_incomplete_checkpoints_are_removed(tmp_path):
    paths = [save_checkpoint(tmp_path, tensors(images), {"images": images}, keep=9) for images in (1, 2, 3, 4)]
    lose_the_digest(paths[0])
    prune(paths[3])
    assert sorted(tmp_path.glob("*.safetensors")) == paths[2:]


def test_damage_to_every_checkpoint_is_an_error(tmp_path):
    truncate(save_checkpoint(tmp_path, tensors(1), {"images": 128}))
    with pytest.raises(GanzooError, match="Every checkpoint in .* is damaged"):
        load_latest(tmp_path)


def test_a_newer_schema_is_rejected_rather_than_skipped(tmp_path):
    save_checkpoint(tmp_path, tensors(0), {"images": 64})
    path = save_checkpoint(tmp_path, tensors(1), {"images": 128})
    facts = path.with_suffix(".json")
    meta = json.loads(facts.read_text()) | {"schema": 99}
    del meta["meta_sha256"]
    facts.write_text(json.dumps({**meta, "meta_sha256": _digest(meta)}))
    for read, where in ((read_checkpoint, path), (load_latest, tmp_path)):
        with pytest.raises(NewerError, match="newer ganzoo .schema 99"):
            read(where)


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert load_latest(tmp_path) == (None, [])
