"""Overfitting of the discriminator: how well its logits tell training images from held-out ones.

Of a training image x and a held-out image y, both drawn at random, it is the probability

    P(D(x) > D(y)) + P(D(x) = D(y)) / 2,

the statistic of Mann & Whitney 1947, divided by the number of pairs: 0.5 if D treats both alike, 1 if it knows its
training images. It has no unit, unlike the gap between the logits that adaptive augmentation was made to close (Karras
et al. 2020, arXiv:2006.06676).

Differences from the paper:

- The paper compares means, (E D(x) - E D(y)) / (E D(x) - E D(G(z))), which depends on the fakes too.
"""

from __future__ import annotations

import torch

from ganzoo import Dataset, GanzooError, Metric, MetricInputs, ModelMetric, Objective, Register, hookimpl

PAPER = "Karras et al. 2020, Training Generative Adversarial Networks with Limited Data, arXiv:2006.06676"


class Overfitting(ModelMetric):
    """The probability that D gives a training image a higher logit than a held-out one."""

    better = "lower"
    range = "0 to 1"
    scale = "share"
    calls = "logits"
    does = "judges images"
    held_out = sees_training = True

    def obstacle_in_model(self, objective: Objective | None, dataset: Dataset) -> str | None:
        """Refuse training images as the reference: they are what it is compared with."""
        if dataset.split == "train":
            return "it compares held-out images with the training images, which are the reference"
        return super().obstacle_in_model(objective, dataset)

    def compute(self, inputs: MetricInputs) -> float:
        """The share of pairs in which D prefers the training image, ties counted half."""
        model = inputs.model
        assert model is not None
        if "discriminator" not in model.networks:
            raise GanzooError(
                "'overfitting' needs the discriminator, which is not kept for scoring afterwards.",
                "Name it in the recipe: evaluate.metrics.",
            )
        known, unseen = (
            model.apply(self.calls, part).flatten().double()
            for part in (inputs.training_set().dataset, inputs.real.dataset)
        )
        unseen = unseen.sort().values
        below = torch.searchsorted(unseen, known) + torch.searchsorted(unseen, known, right=True)
        return float(below.double().mean() / (2 * len(unseen)))


@hookimpl
def register_metrics(register: Register[Metric]) -> None:
    summary = "How well D tells its training images from held-out ones"
    register("overfitting", Overfitting, summary=summary, paper=PAPER)
