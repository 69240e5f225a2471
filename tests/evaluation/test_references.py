"""The cache of references: hits, misses, damage, and a disk that cannot be written to."""

import hashlib
import logging

import pytest
import torch

from ganzoo.evaluation import features

KEY = {"dataset": "toy", "extractor": "tiny", "count": 3}


class Counted:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"values": torch.arange(6, dtype=torch.float32).reshape(3, 2)}


def test_a_remembered_result_is_not_computed_again(cache):
    compute = Counted()
    first = features.remembered("features", KEY, compute)
    second = features.remembered("features", KEY, compute)
    assert compute.calls == 1
    assert torch.equal(first["values"], second["values"])
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]


@pytest.mark.parametrize("change", [{"count": 4}, {"more": 1}])
def test_another_key_is_another_result(change):
    compute = Counted()
    features.remembered("features", KEY, compute)
    features.remembered("features", {**KEY, **change}, compute)
    features.remembered("floor", KEY, compute)
    assert compute.calls == 3


def truncate(path):
    path.write_bytes(path.read_bytes()[:-5])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def put_another_entry_in_its_place(path):
    features.remembered("features", {**KEY, "count": 99}, Counted())
    (other,) = [p for p in path.parent.iterdir() if p != path]
    other.replace(path)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, put_another_entry_in_its_place])
def test_a_damaged_file_is_computed_again_with_a_note(cache, caplog, damage):
    compute = Counted()
    good = features.remembered("features", KEY, compute)
    (path,) = cache.iterdir()
    damage(path)
    with caplog.at_level(logging.WARNING):
        again = features.remembered("features", KEY, compute)
    assert compute.calls == 2
    assert torch.equal(again["values"], good["values"])
    assert "damaged" in caplog.text
    caplog.clear()
    features.remembered("features", KEY, compute)
    assert compute.calls == 2
    assert not caplog.text


def test_a_cache_that_cannot_be_written_costs_only_time(cache, caplog, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(features, "write_atomically", full)
    compute = Counted()
    assert features.remembered("features", KEY, compute)["values"].shape == (3, 2)
    assert "Could not cache the reference" in caplog.text
    assert not list(cache.iterdir())


def test_a_cache_whose_folder_cannot_be_created_costs_only_time(tmp_path, caplog, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "file"))
    assert features.remembered("features", KEY, Counted())["values"].shape == (3, 2)
    assert "Could not cache the reference" in caplog.text
    assert "cannot be created" in caplog.text


def test_a_number_survives_exactly():
    for number in (0.1, 7.0):
        kept = features.remembered("floor", KEY, lambda n=number: {"value": torch.tensor([n], dtype=torch.float64)})
        assert float(kept["value"]) == 0.1


def test_the_digest_of_images_is_the_one_in_committed_protocols():
    """Written out with copies, which the real one avoids."""
    images = torch.arange(48).to(torch.uint8).reshape(3, 1, 4, 4)
    expected = hashlib.sha256(b"(3, 1, 4, 4)" + images.numpy().tobytes()).hexdigest()
    assert features.content_digest(images) == expected
    assert (
        features.content_digest(images.float())
        == hashlib.sha256(b"(3, 1, 4, 4)" + images.float().numpy().tobytes()).hexdigest()
    )
    assert features.content_digest(images.permute(0, 2, 3, 1)[..., 0][:, None]) == expected
