"""Whether images are copies of training images: authenticity, seen from the other side.

Alaa et al. 2022, How Faithful is your Synthetic Data?, arXiv:2102.08921, section 3.3: a generated image is
authentic when it is farther from its nearest training image than that one is from its own nearest
training image. Here the share of those that are not is reported.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from ganzoo.evaluation.neighbours import nearest, radii

MARGIN = 0.02
ERRORS = 5


def memorised(fake: Tensor, train: Tensor) -> float:
    """The share of fake points closer to a training point than that one is to any other.

    Args:
        fake: (n, width) float32.
        train: (m, width) float32.

    Returns:
        0 to 1; 1 for copies, also of training points that are there twice.
    """
    distances, indices = nearest(fake, train)
    found, which = torch.unique(indices, return_inverse=True)
    return float((distances <= radii(train, 1, of=found)[which]).double().mean())


def copies(value: float, floor: float, n: int, n_floor: int) -> bool:
    """Whether a share is so far above that of real images never trained on that chance does not explain it.

    Args:
        value: What the images score.
        floor: What held-out real images score.
        n: How many images there were.
        n_floor: How many held-out ones.
    """
    shared = (value * n + floor * n_floor) / (n + n_floor)
    error = sqrt(shared * (1 - shared) * (1 / n + 1 / n_floor))
    return value > floor + max(MARGIN, ERRORS * error)
