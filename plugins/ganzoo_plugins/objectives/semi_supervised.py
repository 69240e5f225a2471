"""Semi-supervised GAN: a discriminator that tells K classes and "generated", from a handful of labels.

Salimans, Goodfellow, Zaremba, Cheung, Radford & Chen 2016, "Improved Techniques for Training GANs", arXiv:1606.03498,
section 5. D gives K logits l_k(x) and the logit of class K + 1, "generated", is fixed at 0, so that with
s(x) = log Σ_k exp l_k(x) the probability of a real image is D(x) = Z(x) / (Z(x) + 1) = sigmoid(s(x)), and D minimises

    L_supervised   = -E log p(y | x, y < K + 1)                = E[s(x) - l_y(x)]        over labelled images
    L_unsupervised = -E log D(x) - E log(1 - D(G(z)))          = E softplus(-s(x)) + E softplus(s(G(z)))

G minimises ‖E f(x) - E f(G(z))‖² on D's features (``feature-matching``, the paper's, here a mean over features), or
E softplus(-s(G(z))) (``non-saturating``), of which the paper says that it draws better and helps classifying less.
Odena 2016, "Semi-Supervised Learning with Generative Adversarial Networks", arXiv:1606.01583, gives class K + 1 a logit
of its own, which is one number too many: only differences of logits count.

Labels: the first ``labels_per_class`` images of each class that training meets are kept in a pool, a buffer that is
checkpointed, and every supervised batch is drawn from it. The order of the data, hence the pool, follows from the
recipe's seed. All other labels are looked at for one thing alone, to log how many of them D would have got right.

D's last layer is replaced by one of K logits. Not here: the paper's weight normalisation and noise in D's layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from ganzoo import (
    Batch,
    GanzooError,
    Losses,
    Networks,
    Objective,
    Phase,
    Register,
    RegisterRecipe,
    Spec,
    Weight,
    functional,
    hookimpl,
)
from ganzoo.layers import Trunk, as_trunk

PAPER = "Salimans et al. 2016, Improved Techniques for Training GANs, arXiv:1606.03498"
UNKNOWN = -1
GeneratorLoss = Literal["feature-matching", "non-saturating"]


class ClassHead(nn.Linear):
    """From features (n, feature_width) to a logit for each class (n, K), whatever the label."""

    def forward(self, features: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits (n, K)."""
        return super().forward(features)


class Pool(nn.Module):
    """The first few images of each class, with their labels; places still empty bear the label -1.

    Args:
        image_shape: (channels, height, width).
        classes: K.
        per_class: Images of each class.
    """

    images: Tensor
    labels: Tensor
    filled: Tensor

    def __init__(self, image_shape: tuple[int, int, int], classes: int, per_class: int) -> None:
        super().__init__()
        self.classes, self.per_class = classes, per_class
        # One place more than there are images: what is not wanted is written there, without asking the device.
        self.register_buffer("images", torch.zeros(classes * per_class + 1, *image_shape))
        self.register_buffer("labels", torch.full((classes * per_class + 1,), UNKNOWN))
        self.register_buffer("filled", torch.zeros(classes, dtype=torch.int64))

    @torch.no_grad()
    def offer(self, images: Tensor, labels: Tensor) -> None:
        """Keep those images (n, c, h, w) whose class (n,) still has places."""
        of_class = functional.one_hot(labels, self.classes)
        order = self.filled + of_class.cumsum(0) - of_class
        order = order.gather(1, labels[:, None]).squeeze(1)
        nowhere = self.classes * self.per_class
        place = torch.where(order < self.per_class, labels * self.per_class + order, nowhere)
        self.images.index_copy_(0, place, images)
        self.labels.index_copy_(0, place, labels)
        self.labels[nowhere].fill_(UNKNOWN)
        self.filled.add_(of_class.sum(0)).clamp_(max=self.per_class)

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        """Images (n, c, h, w) and labels (n,), drawn evenly from all places."""
        chosen = torch.randint(self.classes * self.per_class, (n,), device=self.labels.device)
        return self.images[chosen], self.labels[chosen]


class SemiSupervised(Objective):
    """The game of K + 1 classes.

    Args:
        labels_per_class: Labelled images of each class; no other label is learned from.
        classes: K, the number of classes of the dataset.
        generator: What G minimises.
        weight: Factor of the supervised loss, 1 in the paper.
    """

    def __init__(
        self,
        *,
        labels_per_class: Annotated[int, Field(ge=1, le=10_000)] = 10,
        classes: Annotated[int, Field(ge=2, le=10_000)] = 10,
        generator: GeneratorLoss = "feature-matching",
        weight: Weight = 1.0,
    ) -> None:
        super().__init__()
        self.labels_per_class, self.classes = labels_per_class, classes
        self.generator, self.weight = generator, weight

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Gives D its class logits, and makes room for the labelled images."""
        trunk = as_trunk(networks["discriminator"], "discriminator", "A semi-supervised GAN")
        if spec.classes:
            raise GanzooError(
                "A semi-supervised GAN finds classes out, and this recipe tells its networks every label.",
                "Set conditional: false.",
            )
        if spec.dataset_classes not in (None, self.classes):
            raise GanzooError(
                f"The loss 'semi-supervised' is set to {self.classes} classes, and the dataset has "
                f"{spec.dataset_classes or 'no labels'}.",
                f"Set loss.classes: {spec.dataset_classes}." if spec.dataset_classes else "Choose one with labels.",
            )
        trunk.head = ClassHead(trunk.feature_width, self.classes)
        self.pool = Pool(spec.image_shape, self.classes, self.labels_per_class)
        return super().bind(spec, networks)

    def phases(self) -> list[Phase]:
        """The discriminator's turn and the generator's."""
        loss = self.match_features if self.generator == "feature-matching" else self.fool
        return [
            Phase("discriminator", ("discriminator",), self.discriminator_loss),
            Phase("generator", ("generator",), loss),
        ]

    def discriminator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """``weight`` · L_supervised + L_unsupervised."""
        self.pool.offer(batch.real, batch.label)
        with torch.no_grad():
            fake = self.generate(networks, batch.z, batch.label)
        images, labels = self.pool.draw(len(batch.real))
        classify = networks["discriminator"]
        guessed = classify(batch.real).float()
        real, judged = guessed.logsumexp(1), classify(fake).float().logsumexp(1)
        wrong = cross_entropy(classify(images).float(), labels, ignore_index=UNKNOWN, reduction="sum")
        supervised = wrong / (labels != UNKNOWN).sum().clamp(min=1)
        unsupervised = softplus(-real).mean() + softplus(judged).mean()
        return {
            "loss": self.weight * supervised + unsupervised,
            "supervised": supervised,
            "accuracy": (guessed.argmax(1) == batch.label).float().mean(),
        }

    def match_features(self, networks: Networks, batch: Batch) -> Losses:
        """‖E f(x) - E f(G(z))‖², a mean over features."""
        trunk = cast("Trunk", networks["discriminator"])
        with torch.no_grad():
            wanted = trunk.features(batch.real).float().mean(0)
        found = trunk.features(self.generate(networks, batch.z, batch.label)).float().mean(0)
        return {"loss": (wanted - found).square().mean()}

    def fool(self, networks: Networks, batch: Batch) -> Losses:
        """-E log D(G(z))."""
        logits: Tensor = networks["discriminator"](self.generate(networks, batch.z, batch.label))
        return {"loss": softplus(-logits.float().logsumexp(1)).mean()}


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    """The game of K + 1 classes."""
    register(
        "semi-supervised",
        SemiSupervised,
        summary="D tells K classes and fakes, from few labels",
        paper=PAPER,
        aliases=("sgan", "ssgan"),
    )


@hookimpl
def register_recipes(register: RegisterRecipe) -> None:
    """Digits from ten labels of each."""
    register(Path(__file__).with_name("semi-supervised-mnist.yaml"), aliases=("sgan-mnist",))
