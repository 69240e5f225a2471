"""A generator that replays training images is distinguished from one that draws new images."""

import pytest
import torch

from ganzoo.evaluation.features import extract
from ganzoo.evaluation.metrics import copies, memorised

CPU = torch.device("cpu")
N = 1000


@pytest.fixture(scope="module")
def seen(zoo, mnist, mnist_test):
    """Features of 2,500 training digits and of 2,000 test digits, and a function that computes others."""
    extractor = zoo.extractors.get("mnist-cnn").create()

    def look(images):
        return extract("mnist-cnn", extractor, images, CPU).values

    return look(mnist.images[:2500]), look(mnist_test.images[5000 : 5000 + 2 * N]), look


@pytest.fixture(scope="module")
def share(seen):
    return lambda features: float(memorised(features, seen[0]).double().mean())


def test_points_on_a_line_have_a_closed_form():
    train = torch.tensor([[0.0], [1.0], [10.0], [10.0]])
    fake = torch.tensor([[0.9], [2.5], [1.5], [10.0], [10.5], [-1.0]])
    # 0.9 is near 1, and 2.5 is too far from it; the duplicates at 10 leave room only for exact copies;
    # -1.0 is exactly as far from 0 as 0 is from 1.
    assert memorised(fake, train).double().mean() == 4 / 6


def test_replayed_training_digits_are_all_copies(seen, share):
    assert share(seen[0][:N]) == 1.0


def test_held_out_digits_are_not_flagged(seen, share):
    one, other = share(seen[1][:N]), share(seen[1][N:])
    assert one < 0.5
    assert abs(one - other) < 0.04
    assert not copies(one, other, N, N)
    assert not copies(other, one, N, N)


def test_a_fifth_of_copies_is_enough_to_be_flagged(seen, share):
    mixed = torch.cat([seen[0][: N // 5], seen[1][: N - N // 5]])
    assert copies(share(mixed), share(seen[1][N:]), N, N)


def test_copies_with_a_little_noise_are_flagged_too(seen, share, mnist):
    noise = torch.randint(-12, 13, (500, 1, 28, 28))
    noisy = (mnist.images[:500].int() + noise).clamp(0, 255).to(torch.uint8)
    value = share(seen[2](noisy))
    assert value > 0.8
    assert copies(value, share(seen[1][N:]), 500, N)


def test_noise_and_blur_are_not_taken_for_copies(seen, share, mnist_test):
    noise = torch.randint(0, 256, (500, 1, 28, 28)).to(torch.uint8)
    assert share(seen[2](noise)) == 0
    blurred = torch.nn.functional.avg_pool2d(mnist_test.images[:500].float(), 5, stride=1, padding=2)
    assert not copies(share(seen[2](blurred.to(torch.uint8))), share(seen[1][N:]), 500, N)


@pytest.mark.parametrize(
    ("value", "floor", "n", "n_floor", "flagged"),
    [
        (0.30, 0.30, 10_000, 10_000, False),
        (0.31, 0.30, 10_000_000, 10_000_000, False),  # certain, but too small to call it copying
        (0.40, 0.30, 10_000, 10_000, True),
        (0.40, 0.30, 50, 50, False),  # chance explains it
        (1.00, 0.30, 50, 50, True),
        (0.10, 0.30, 10_000, 10_000, False),
        (0.00, 0.00, 100, 100, False),
        # Pooled share 0.2625, so 5 errors are 5 sqrt(0.2625 * 0.7375 / 75) = 0.2540.
        (0.45, 0.20, 100, 300, False),
        # Pooled share 0.2650, and 5 errors are 5 sqrt(0.2650 * 0.7350 / 75) = 0.2548.
        (0.46, 0.20, 100, 300, True),
        # The same numbers of images, the other way round: pooled shares 0.3900 and 0.3975, 5 errors 0.2816 and 0.2825.
        (0.46, 0.18, 300, 100, False),
        (0.47, 0.18, 300, 100, True),
        # Chance plays no part among so many: only the margin is left, and a difference equal to it is not above it.
        (0.02, 0.0, 10**12, 10**12, False),
        (0.0201, 0.0, 10**12, 10**12, True),
    ],
)
def test_what_is_flagged(value, floor, n, n_floor, flagged):
    assert copies(value, floor, n, n_floor) is flagged
