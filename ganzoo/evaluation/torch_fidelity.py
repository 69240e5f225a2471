"""The bridge to torch-fidelity: its formulas on our features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from ganzoo.api.metric import Statistics

SEED = 2020
"""torch-fidelity's own seed, for all random choices inside its metrics."""
KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
IS_SPLITS = 10


def version() -> str:
    """torch-fidelity's version: part of every protocol."""
    import torch_fidelity

    return str(torch_fidelity.__version__)


def frechet_distance(fake: Statistics, real: Statistics) -> float:
    """The Fréchet distance between two Gaussians (Heusel et al. 2017, arXiv:1706.08500, equation 6).

    Returns:
        At least 0 up to rounding; 0 for equal statistics. Squared units of the features.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    return float(fid_statistics_to_metric(fake, real, verbose=False)[KEY_METRIC_FID])


def kernel_distance(fake: Tensor, real: Tensor) -> tuple[float, float]:
    """Kernel distance: the mean squared MMD of seeded subsets (Bińkowski et al. 2018, arXiv:1801.01401).

    Args:
        fake: (n, width).
        real: (m, width).

    Returns:
        An unbiased estimate, which is about zero for equal distributions, also slightly below, and larger for others;
        and the standard deviation over the subsets.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    size = kernel_subset(len(fake), len(real))
    result = kid_features_to_metric(
        fake, real, kid_subsets=KID_SUBSETS, kid_subset_size=size, rng_seed=SEED, verbose=False
    )
    return float(result[KEY_METRIC_KID_MEAN]), float(result[KEY_METRIC_KID_STD])


def kernel_subset(n_fake: int, n_real: int) -> int:
    """The number of images in a subset of the kernel distance: 1,000 if there are as many."""
    return min(KID_SUBSET_SIZE, n_fake, n_real)


def classifier_score(logits: Tensor) -> tuple[float, float]:
    """Inception Score with the extractor's own classes (Salimans et al. 2016, arXiv:1606.03498).

    Args:
        logits: (n, classes).

    Returns:
        1 to the number of classes, and the standard deviation over the splits.
    """
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    result = isc_features_to_metric(logits, splits=score_splits(len(logits)), rng_seed=SEED)
    return float(result[KEY_METRIC_ISC_MEAN]), float(result[KEY_METRIC_ISC_STD])


def score_splits(n: int) -> int:
    """The number of parts that the classifier score splits images into: up to 10, of at least two images each."""
    return max(1, min(IS_SPLITS, n // 2))
