"""Linear probe: the share of held-out images misclassified by a linear classifier on an encoder's codes.

Alain & Bengio 2017, "Understanding intermediate layers using linear classifier probes", arXiv:1610.01644. The
classifier is a softmax regression on the training images' codes z_i, scaled to mean 0 and variance 1 in each dimension:

    min_{W, b}  -1/n Σ_i log softmax(W z_i + b)[y_i] + λ/2 ‖W‖²,    λ = 1e-4

The minimum is unique in W; L-BFGS (Liu & Nocedal 1989) finds it, starting from zero and without random numbers. The
metric needs an objective with a method ``codes(networks, images, label)``, which returns (n, width) and draws no random
numbers.

Differences from the paper:

- The paper probes the layers of a network as it trains; here the probe uses the codes of a trained encoder, as is
  common in the literature on unsupervised encoders.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ganzoo import (
    Dataset,
    GanzooError,
    Metric,
    MetricInputs,
    ModelMetric,
    Objective,
    Register,
    hookimpl,
    share_interval,
)

PAPER = "Alain & Bengio 2017, Understanding intermediate layers using linear classifier probes, arXiv:1610.01644"
PENALTY: Final = 1e-4
STEPS: Final = 200


def softmax_regression(codes: Tensor, labels: Tensor, penalty: float = PENALTY) -> tuple[Tensor, Tensor]:
    """Minimise the equation above.

    Args:
        codes: z (n, width) float64.
        labels: y (n,) int64, every class from 0 to K - 1.
        penalty: λ.

    Returns:
        W (K, width) and b (K,).
    """
    solution = torch.zeros(int(labels.max()) + 1, codes.shape[1] + 1, dtype=codes.dtype, requires_grad=True)
    solver = torch.optim.LBFGS(
        [solution], max_iter=STEPS, tolerance_grad=1e-6, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        weight, bias = solution[:, :-1], solution[:, -1]
        value = cross_entropy(codes @ weight.T + bias, labels) + penalty / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        solver.step(loss)  # type: ignore[no-untyped-call]
    return solution.detach()[:, :-1], solution.detach()[:, -1]


class LinearProbe(ModelMetric):
    """Share of held-out images that a linear classifier on their codes misclassifies."""

    better = "lower"
    range = "0 to 1"
    scale = "share"
    calls = "codes"
    does = "encodes images"
    needs_classes = True
    needs_unconditional = True
    held_out = sees_training = True

    def obstacle_in_model(self, objective: Objective | None, dataset: Dataset) -> str | None:
        """Refuse training images as the reference: the classifier is fitted to them."""
        if dataset.split == "train":
            return "its classifier is fitted to the training images, which are the reference"
        return super().obstacle_in_model(objective, dataset)

    def compute(self, inputs: MetricInputs) -> float:
        """One minus the accuracy of a classifier fitted to the training images' codes."""
        model, real, train = inputs.model, inputs.real.dataset, inputs.training_set().dataset
        assert model is not None
        assert real.labels is not None
        if train.labels is None:
            raise GanzooError(f"The training images of '{train.name}' have no labels.", "Leave out 'linear-probe'.")
        known, unseen = (model.apply(self.calls, part).flatten(1).double() for part in (train, real))
        mean, deviation = known.mean(0), known.std(0, correction=0).clamp(min=1e-12)
        weight, bias = softmax_regression((known - mean) / deviation, train.labels)
        guessed = ((unseen - mean) / deviation @ weight.T + bias).argmax(1)
        return float(guessed.ne(real.labels).double().mean())

    def interval(self, inputs: MetricInputs, value: float) -> tuple[float, float]:
        """Wilson's interval for the share."""
        n = len(inputs.real.dataset)
        return share_interval(value * n, n)

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        """The classifier, its λ, and the number of images that it was fitted to."""
        return {"probe": "softmax regression", "penalty": PENALTY, "n_probe": len(inputs.training_set().dataset)}


@hookimpl
def register_metrics(register: Register[Metric]) -> None:
    summary = "Error on held-out images of a linear classifier on the encoder's codes"
    register("linear-probe", LinearProbe, summary=summary, paper=PAPER)
