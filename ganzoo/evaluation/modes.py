"""How many modes of a world samples reach, how evenly, and how many samples reach one.

A mode is a class of the extractor. Most extractors put every image into a class; one that ``rejects`` gives logits of
-inf throughout for an image that belongs to none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def assigned(logits: Tensor) -> Tensor:
    """The mode of each sample that belongs to one.

    Args:
        logits: (n, modes).

    Returns:
        int64 (m,), m at most n: the samples that belong to no mode are left out.
    """
    return logits[logits.amax(1) > -math.inf].argmax(1)


def modes_found(logits: Tensor) -> int:
    """The number of modes that at least one sample belongs to (Srivastava et al. 2017, VEEGAN, section 4).

    Args:
        logits: (n, modes).
    """
    return int((_counts(logits) > 0).sum())


def kl_to_uniform(logits: Tensor) -> float:
    """KL(samples' modes || uniform) in nats (Metz et al. 2017, Unrolled GAN, section 3.3.1).

    Even an ideal generator's is not 0: n samples give about (modes - 1) / (2 n) by chance.

    Args:
        logits: (n, modes). Samples that belong to no mode do not count.

    Returns:
        0 for modes that are equally often, log(modes) where there is but one, and also where no sample belongs to any.
    """
    counts = _counts(logits)
    share = counts.double() / counts.sum().clamp(min=1)
    return math.log(len(counts)) - float(torch.special.entr(share).sum())


def quality(logits: Tensor) -> float:
    """The share of samples that belong to a mode (Srivastava et al. 2017, VEEGAN, section 4: high-quality samples).

    Args:
        logits: (n, modes).
    """
    return len(assigned(logits)) / len(logits)


def _counts(logits: Tensor) -> Tensor:
    """How many samples belong to each mode."""
    return assigned(logits).bincount(minlength=logits.shape[1])
