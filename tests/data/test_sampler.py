"""Batches from a dataset on the device, and from one that is streamed to it: the same ones."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from ganzoo.api.dataset import Dataset
from ganzoo.data import SHARE, Sampler
from ganzoo.errors import GanzooError

ResidentSampler, StreamedSampler = (partial(Sampler, streamed=streamed) for streamed in (False, True))


@pytest.fixture(params=[ResidentSampler, StreamedSampler], ids=["resident", "streamed"])
def sampler_of(request):
    return request.param


def numbered(count: int, labelled: bool = True) -> Dataset:
    """Images whose every pixel is the image's own number, labelled with ten times that number."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    return Dataset("numbered", "train", images, torch.arange(count) * 10 if labelled else None)


def numbers(real: torch.Tensor) -> list[int]:
    return ((real[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


@pytest.mark.parametrize("batch_size", [1, 7, 10, 50])
def test_every_epoch_shows_each_image_exactly_once(sampler_of, batch_size):
    sampler = sampler_of(numbered(50), batch_size, seed=3, device="cpu")
    shown = []
    while len(shown) < 150:
        shown += numbers(sampler.next()["image"])
    epochs = [shown[0:50], shown[50:100], shown[100:150]]
    for epoch in epochs:
        assert sorted(epoch) == list(range(50))
    assert epochs[0] != epochs[1] != epochs[2]


def test_labels_stay_with_their_images(sampler_of):
    sampler = sampler_of(numbered(50), 8, seed=0, device="cpu")
    for _ in range(20):
        real, label = sampler.next().values()
        assert label.tolist() == [10 * number for number in numbers(real)]


def test_batches_are_float_in_minus_one_to_one_with_both_ends_exact(sampler_of):
    images = torch.tensor([0, 51, 204, 255], dtype=torch.uint8).view(1, 1, 2, 2)
    real = sampler_of(Dataset("x", "train", images), 1, seed=0, device="cpu").next()["image"]
    assert (real[0, 0, 0, 0], real[0, 0, 1, 1]) == (-1, 1)
    torch.testing.assert_close(real, torch.tensor([-1.0, -0.6, 0.6, 1.0]).view(1, 1, 2, 2))


def test_labels_are_zeros_where_the_dataset_has_none(sampler_of):
    label = sampler_of(numbered(9, labelled=False), 4, seed=0, device="cpu").next()["label"]
    assert label.dtype == torch.int64
    assert label.tolist() == [0, 0, 0, 0]


def test_the_seed_alone_decides_the_order(sampler_of):
    def shown(seed, others):
        """Six batches, before each of which somebody else seeds and draws."""
        sampler = sampler_of(numbered(40), 16, seed=seed, device="cpu")
        batches = []
        for _ in range(6):
            torch.manual_seed(others)
            batches += numbers(sampler.next()["image"])
        return batches

    assert shown(1, others=99) == shown(1, others=98)
    assert shown(1, others=99) != shown(2, others=99)


@pytest.mark.parametrize("taken", [0, 3, 4, 11])
def test_a_resumed_sampler_continues_with_the_same_batches(sampler_of, taken):
    dataset = numbered(50)
    first = sampler_of(dataset, 12, seed=5, device="cpu")
    for _ in range(taken):
        first.next()
    state = first.state_dict()
    expected = [first.next() for _ in range(10)]

    resumed = sampler_of(dataset, 12, seed=6, device="cpu")
    resumed.load_state_dict(state)
    for batch in expected:
        real, label = batch.values()
        again, same_label = resumed.next().values()
        assert torch.equal(again, real)
        assert torch.equal(same_label, label)


def test_a_batch_is_the_callers_own_memory(sampler_of):
    sampler = sampler_of(numbered(4), 4, seed=0, device="cpu")
    real, label = sampler.next().values()
    real.fill_(7)
    label.fill_(7)
    again, labels = sampler.next().values()
    assert sorted(numbers(again)) == [0, 1, 2, 3]
    assert sorted(labels.tolist()) == [0, 10, 20, 30]


def test_a_batch_of_few_images_is_several_epochs(sampler_of):
    sampler = sampler_of(numbered(5), 12, seed=0, device="cpu")
    shown = numbers(sampler.next()["image"]) + numbers(sampler.next()["image"])
    for epoch in (shown[0:5], shown[5:10], shown[10:15], shown[15:20]):
        assert sorted(epoch) == list(range(5))
    resumed = sampler_of(numbered(5), 12, seed=1, device="cpu")
    resumed.load_state_dict(sampler.state_dict())
    assert numbers(resumed.next()["image"]) == numbers(sampler.next()["image"])


def test_the_state_of_another_dataset_is_refused(sampler_of):
    state = sampler_of(numbered(50), 5, seed=0, device="cpu").state_dict()
    with pytest.raises(GanzooError, match="50 images, but the dataset has 40"):
        sampler_of(numbered(40), 5, seed=0, device="cpu").load_state_dict(state)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_are_made_on_the_device_without_waiting_for_it():
    sampler = ResidentSampler(numbered(50), 12, seed=0, device="cuda")
    sampler.next()
    torch.cuda.set_sync_debug_mode("error")
    try:
        batches = [sampler.next() for _ in range(10)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(column.is_cuda for batch in batches for column in batch.values())


@pytest.mark.parametrize("rows", [slice(0, 6), slice(6, 12)])
def test_only_the_rows_of_this_process_are_gathered(sampler_of, rows):
    whole = sampler_of(numbered(50), 12, seed=5, device="cpu")
    part = sampler_of(numbered(50), 12, seed=5, device="cpu", rows=rows)
    for _ in range(10):
        for ours, all_of_them in zip(part.next().values(), whole.next().values(), strict=True):
            assert torch.equal(ours, all_of_them[rows])
            assert ours.untyped_storage().nbytes() == ours.nbytes  # and not a view of the others'


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_on_a_gpu_are_those_on_the_cpu_whole_and_in_order(sampler_of):
    found = sampler_of(numbered(50), 12, seed=4, device="cuda")
    wanted = ResidentSampler(numbered(50), 12, seed=4, device="cpu")
    for _ in range(200):
        for ours, theirs in zip(found.next().values(), wanted.next().values(), strict=True):
            assert torch.equal(ours.cpu(), theirs)


def test_streamed_batches_are_the_resident_ones():
    resident, streamed = (kind(numbered(50), 12, seed=4, device="cpu") for kind in (ResidentSampler, StreamedSampler))
    for _ in range(30):
        for ours, theirs in zip(streamed.next().values(), resident.next().values(), strict=True):
            assert torch.equal(ours, theirs)
        assert all(
            torch.equal(torch.as_tensor(value), torch.as_tensor(resident.state_dict()[name]))
            for name, value in streamed.state_dict().items()
        )


@pytest.mark.parametrize("room", [True, False])
def test_a_dataset_is_streamed_where_a_gpu_has_no_room_for_it(monkeypatch, room):
    dataset, told = replace(numbered(50), columns={"source": torch.zeros(50, 4)}), []
    size = dataset.images.nbytes + dataset.labels.nbytes + 50 * 4 * 4
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(size / SHARE) + (1 if room else -8), 2**30))
    monkeypatch.setattr(Sampler, "_use", lambda self, order: None)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *given, **options: self)  # there may be no GPU
    assert Sampler(dataset, 5, seed=0, device="cuda", log=told.append).streamed is not room
    assert len(told) == (0 if room else 1)


def test_on_a_cpu_nothing_is_streamed():
    assert not Sampler(numbered(50), 5, seed=0, device="cpu", log=pytest.fail).streamed


def test_points_come_as_they_are_to_the_last_bit():
    points = torch.rand(40, 1, 1, 2) * 2 - 1
    sampler = ResidentSampler(Dataset("points", "train", points), 10, seed=0, device="cpu")
    shown = torch.cat([sampler.next()["image"] for _ in range(4)])
    assert shown.dtype == torch.float32
    assert sorted(shown.flatten(1).tolist()) == sorted(points.flatten(1).tolist())
