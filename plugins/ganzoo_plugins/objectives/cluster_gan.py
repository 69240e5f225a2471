"""ClusterGAN: a clustered latent space, and an encoder that recovers the clusters.

Mukherjee, Asnani, Lin & Kannan 2019, "ClusterGAN: Latent Space Clustering in Generative Adversarial Networks",
arXiv:1809.03627. z = (z_n, z_c) with z_n ~ N(0, σ² I), σ small, and z_c one-hot, so the clusters do not touch. With
q(x) = x for the Wasserstein game, the objective is

    min_{G, E} max_D  E q(D(x)) + E q(1 - D(G(z))) + β_n E‖z_n - E(G(z_n))‖² + β_c E H(z_c, E(G(z_c)))

with H the cross-entropy. The gradient penalty of the module wgan_gp, λ E[(‖∇D(x̂)‖ - 1)²], keeps D Lipschitz; its
gradient is by pixels in [0, 1], the authors' range, so that λ and both β balance the losses as theirs do. D usually
takes five steps per G step: ``phases: {discriminator: {repeat: 5}}``.

Any encoder works: its first columns are z_n, the others logits of z_c, in the order of the prior ``codes``. The largest
logit is an image's cluster. The prior's noise is multiplied by σ, an option, before G sees it.

Differences from the paper:

- ``game: non-saturating`` plays the original GAN's game instead, without a penalty. The recipe ``cluster-gan-mnist``
  does so, because it needs fewer steps; ``cluster-gan-wgan-gp-mnist`` plays the paper's.
- ‖z_n - E(G(z))‖² is a mean over the columns of z_n.
- The position of x̂ is drawn for each image; the authors' code draws one for the whole batch.
- The authors' code finds clusters by K-means on the encoder's whole output, with a softmax of its logits, and scores
  purity instead of a one-to-one assignment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import log_softmax, softplus

from ganzoo import (
    Batch,
    CodesPrior,
    Dataset,
    GanzooError,
    Losses,
    Metric,
    MetricInputs,
    ModelMetric,
    Networks,
    Objective,
    Phase,
    Register,
    Spec,
    Weight,
    beside,
    functional,
    hookimpl,
)

PAPER = "Mukherjee et al. 2019, ClusterGAN: Latent Space Clustering in GANs, arXiv:1809.03627"


def recovered(prior: CodesPrior, found: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """How badly an encoder recovers codes.

    Args:
        prior: Which columns are noise and which are codes.
        found: The encoder's outputs for the images, (n, latent).
        z: The codes that the images were generated from, (n, latent), with the noise as the generator saw it.

    Returns:
        The mean squared error of the noise and the cross-entropy of the codes in nats, scalars.
    """
    columns = [prior.dim, *prior.categorical]
    (noise, *chosen), (guess, *logits) = torch.split(z, columns, dim=1), torch.split(found, columns, dim=1)
    entropies = [-(code * log_softmax(logit, dim=1)).sum(1).mean() for code, logit in zip(chosen, logits, strict=True)]
    return (noise - guess).square().mean(), torch.stack(entropies).sum()


class ClusterGAN(Objective):
    """The adversarial game with an encoder of fakes. The recipe's prior must be ``codes`` without continuous codes.

    Args:
        noise_scale: σ, the standard deviation of the noise that accompanies the codes.
        noise_weight: β_n.
        code_weight: β_c.
        penalty_weight: λ of the gradient penalty; only the Wasserstein game has one.
        game: The losses of D and G.
    """

    roles = {"generator": "generator", "discriminator": "discriminator", "encoder": "encoder"}  # noqa: RUF012
    samples_with = ("generator", "encoder")

    def __init__(
        self,
        *,
        noise_scale: Annotated[float, Field(ge=1e-6, le=1e6)] = 0.1,
        noise_weight: Weight = 10.0,
        code_weight: Weight = 10.0,
        penalty_weight: Weight = 10.0,
        game: Literal["wasserstein", "non-saturating"] = "wasserstein",
    ) -> None:
        super().__init__()
        self.noise_scale = noise_scale
        self.weights = noise_weight, code_weight
        self.penalty_weight = penalty_weight
        self.wasserstein = game == "wasserstein"

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Refuse a prior that has no categorical codes, or that has continuous ones."""
        prior = spec.prior
        if not isinstance(prior, CodesPrior) or not prior.categorical or prior.continuous:
            raise GanzooError(
                f"ClusterGAN needs a prior of noise and categorical codes, but this recipe's is '{prior.name}'.",
                "Use e.g. prior: {name: codes, dim: 30, categorical: [10], continuous: 0}.",
            )
        self.prior = prior
        return super().bind(spec, networks)

    def phases(self) -> list[Phase]:
        return [
            Phase("discriminator", ("discriminator",), self.discriminator_loss),
            Phase("generator", ("generator", "encoder"), self.generator_loss),
        ]

    def scaled(self, z: Tensor) -> Tensor:
        """Codes (n, latent) whose noise has standard deviation σ."""
        noise, codes = z[:, : self.prior.dim], z[:, self.prior.dim :]
        return torch.cat([self.noise_scale * noise, codes], dim=1)

    def generate(self, networks: Networks, z: Tensor, label: Tensor) -> Tensor:
        """Images (n, c, h, w) from codes (n, latent) as the prior draws them, unscaled."""
        return super().generate(networks, self.scaled(z), label)

    def judge(self, networks: Networks, images: Tensor, batch: Batch) -> Tensor:
        """Logits (n,) of images (n, c, h, w)."""
        logits: Tensor = networks["discriminator"](images, *self.condition(batch.label))
        return logits.float()

    def discriminator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """D's loss, including any gradient penalty."""
        with torch.no_grad():
            images = self.generate(networks, batch.z, batch.label)
        real, fake = self.judge(networks, batch.real, batch), self.judge(networks, images, batch)
        logged = {"real_logits": real.mean(), "fake_logits": fake.mean()}
        if not self.wasserstein:
            return {"loss": softplus(-real).mean() + softplus(fake).mean(), **logged}
        between = functional.interpolate(batch.real, images)
        gradient = functional.input_gradient(lambda x: self.judge(networks, x, batch), between)
        penalty = (2 * functional.norm(gradient) - 1).square().mean()  # twice: by pixels in [0, 1]
        return {"loss": fake.mean() - real.mean() + self.penalty_weight * penalty, "penalty": penalty, **logged}

    def generator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """G's part of the game, and how badly E recovers the codes of fakes."""
        images = self.generate(networks, batch.z, batch.label)
        fake = self.judge(networks, images, batch)
        found = self.codes(networks, images, batch.label)
        noise, code = recovered(self.prior, found, self.scaled(batch.z))
        game = -fake.mean() if self.wasserstein else softplus(-fake).mean()
        return {"loss": game + self.weights[0] * noise + self.weights[1] * code, "noise": noise, "code": code}

    def codes(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """E(x) (n, latent) of images (n, c, h, w): the noise, then logits of each categorical code."""
        codes: Tensor = networks["encoder"](images, *self.condition(label))
        return codes.float()

    def cluster(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """Logits (n, K) of the first categorical code of images (n, c, h, w)."""
        return self.codes(networks, images, label)[:, self.prior.dim : self.prior.dim + self.prior.categorical[0]]


def contingency(clusters: Tensor, classes: Tensor) -> Tensor:
    """How many images (n,) fall into each cluster and class, (clusters, classes) int64."""
    width = int(classes.max()) + 1
    counts = (clusters * width + classes).bincount(minlength=(int(clusters.max()) + 1) * width)
    return counts.view(-1, width)


def clustering_accuracy(table: Tensor) -> float:
    """The largest share of images whose cluster is assigned to their class, over all one-to-one assignments.

    Args:
        table: Number of images by cluster and class, (clusters, classes).
    """
    # scipy comes with torch-fidelity. Importing it at the top would slow down every command that loads plugins.
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
    return int(table[rows, columns].sum()) / int(table.sum())


def normalised_information(table: Tensor) -> float:
    """Mutual information between clusters and classes, divided by the mean of their entropies: 0 to 1.

    The mean is the arithmetic one, today's default of scikit-learn.

    Args:
        table: Number of images by cluster and class, (clusters, classes).
    """
    joint = table.double() / table.sum()
    clusters, classes, both = (torch.special.entr(p).sum() for p in (joint.sum(1), joint.sum(0), joint))
    return float((clusters + classes - both) / ((clusters + classes) / 2).clamp(min=1e-12))


class ClusteringAccuracy(ModelMetric):
    """Share of held-out images whose class is that of their cluster, under the best one-to-one assignment."""

    better = "higher"
    range = "0 to 1"
    scale = "share"
    calls = "cluster"
    does = "finds clusters"
    needs_classes = True
    needs_unconditional = True

    def obstacle_in_model(self, objective: Objective | None, dataset: Dataset) -> str | None:
        """Refuse a loss whose prior has no categorical code for the clusters."""
        obstacle = super().obstacle_in_model(objective, dataset)
        if obstacle is None and objective is not None and not getattr(objective.spec.prior, "categorical", True):
            return "the prior has no categorical code"
        return obstacle

    def compute(self, inputs: MetricInputs) -> float:
        return clustering_accuracy(self.table(inputs))

    def table(self, inputs: MetricInputs) -> Tensor:
        labels = inputs.real.dataset.labels
        assert labels is not None
        return contingency(self.outputs(inputs).argmax(1), labels)


class ClusteringInformation(ClusteringAccuracy):
    """Normalised mutual information between held-out images' clusters and classes."""

    def compute(self, inputs: MetricInputs) -> float:
        return normalised_information(self.table(inputs))


@hookimpl
def register_metrics(register: Register[Metric]) -> None:
    summary = "Share of held-out images whose cluster is assigned to their class"
    register("clustering-accuracy", ClusteringAccuracy, summary=summary, paper=PAPER)
    summary = "Normalised mutual information between held-out images' clusters and classes"
    register("clustering-nmi", ClusteringInformation, summary=summary, paper=PAPER)


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    register(
        "cluster-gan",
        ClusterGAN,
        summary="Clusters in latent space, and an encoder that finds them",
        paper=PAPER,
        aliases=("clustergan",),
    )


register_recipes = beside(
    __file__, "cluster-gan-mnist", "cluster-gan-wgan-gp-mnist", aliases={"cluster-gan-mnist": ("clustergan-mnist",)}
)
