"""The minibatch standard deviation against numpy's, and what it tells."""

from __future__ import annotations

import numpy
import pytest
import torch

from ganzoo.layers import MinibatchStd


def test_a_collapsed_batch_has_no_deviation() -> None:
    maps = torch.randn(1, 3, 4, 4).expand(8, -1, -1, -1)
    out = MinibatchStd()(maps)
    assert out.shape == (8, 4, 4, 4)
    assert torch.equal(out[:, :3], maps)
    assert out[:, 3].max().item() == pytest.approx(1e-4, rel=1e-3), "the square root's safety, 1e-8"


def test_it_is_the_deviation_over_a_group_averaged_over_everything_else() -> None:
    maps = torch.randn(8, 3, 4, 5)
    extra = MinibatchStd(group=4)(maps)[:, 3]
    values = maps.numpy()
    for first in (0, 1):  # images 0, 2, 4, 6 and 1, 3, 5, 7
        expected = numpy.sqrt(values[first::2].var(axis=0) + 1e-8).mean()
        assert torch.allclose(extra[first::2], torch.tensor(expected), atol=1e-6)


@pytest.mark.parametrize(("n", "group"), [(1, 1), (2, 2), (3, 3), (6, 3), (7, 7), (8, 4), (10, 2), (25, 5)])
def test_any_batch_size_is_taken(n: int, group: int) -> None:
    maps = torch.randn(n, 2, 3, 3)
    assert torch.equal(MinibatchStd(group=4)(maps), MinibatchStd(group=group)(maps))


def test_gradients_are_finite_even_where_images_agree() -> None:
    maps = torch.ones(4, 2, 3, 3, requires_grad=True)
    MinibatchStd()(maps).sum().backward()
    assert torch.isfinite(maps.grad).all()


def test_double_precision_stays_double() -> None:
    maps = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(MinibatchStd(), maps)
