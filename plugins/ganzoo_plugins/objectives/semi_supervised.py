"""Semi-supervised GAN: from a handful of labels, a discriminator learns to tell K classes and fakes apart.

Salimans, Goodfellow, Zaremba, Cheung, Radford & Chen 2016, "Improved Techniques for Training GANs", arXiv:1606.03498,
section 5. D returns K logits l_k(x); the logit of class K + 1, "generated", is fixed at 0. With s(x) = log Σ_k exp
l_k(x), an image x is real with probability D(x) = sigmoid(s(x)), and D minimises

    L_supervised   = -E log p(y | x, y < K + 1)                = E[s(x) - l_y(x)]        over labelled images
    L_unsupervised = -E log D(x) - E log(1 - D(G(z)))          = E softplus(-s(x)) + E softplus(s(G(z)))

while G minimises, with f the features of D,

    feature-matching:  ‖E f(x) - E f(G(z))‖²        non-saturating:  E softplus(-s(G(z)))

A checkpointed pool keeps the first ``labels_per_class`` images of each class seen in training; the recipe's seed
determines the order of the data and so the pool. All other labels are used only to log D's accuracy. For comparison, a
second classifier learns from the pool alone, with L_supervised as its only loss. Its role is ``alone``, for which a
recipe names D's network again. The metrics ``test-error`` and ``supervised-test-error`` are the errors of D and of that
classifier on held-out images.

The networks are those of the authors' code for MNIST: in G two layers of softplus units with batch normalisation; in D
five of ReLUs with weight normalisation (Salimans & Kingma 2016, arXiv:1602.07868) and Gaussian noise on the pixels, in
[0, 1], and on every hidden layer. The scales of D's normalised weights are fixed, otherwise D would outgrow its noise;
only those of the last layer, which the objective replaces in both classifiers by one with K logits, are learned.

Odena 2016, "Semi-Supervised Learning with Generative Adversarial Networks", arXiv:1606.01583, gives class K + 1 its own
logit, which is redundant: only differences between logits matter.

Differences from the paper:

- Feature matching, the paper's first choice, is a mean over features. Its second choice, minibatch discrimination,
  makes better images and a worse classifier; these networks do not have it.
- The scales of G's batch normalisation are learned; in the authors' code they are fixed.
- The authors compute the scales of D's weights and the initial biases from a batch, so that every layer's outputs start
  with mean 0 and variance 1. Here constants serve the same purpose, and hidden biases start at 0.
- The last layer has torch's default initialisation, smaller than the authors', so its directions turn faster at first.
- Supervised batches are drawn from the pool with replacement; with 100 labels, each batch of the authors' code has
  every labelled image once.
- D and G see the same images in each step; in the authors' code, different ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize, softplus
from torch.nn.utils.parametrizations import weight_norm

from ganzoo import (
    Batch,
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
    share_interval,
)
from ganzoo.layers import Head, Trunk, Width, as_trunk

PAPER = "Salimans et al. 2016, Improved Techniques for Training GANs, arXiv:1606.03498"
UNKNOWN = -1
Deviation = Annotated[float, Field(ge=0, le=1e3)]
PIXEL_SCALE, HIDDEN_SCALE = 2.5, 1.3
"""The norm of each output's weights, in a layer on noisy pixels and in one on noisy ReLU units, chosen so that outputs
start with a variance of about 1."""
ALONE_EVERY = 8
"""Steps of D per step of the classifier without a generator, which soon memorises its few images."""
GeneratorLoss = Literal["feature-matching", "non-saturating"]


class Noise(nn.Module):
    """Adds Gaussian noise in training mode.

    Args:
        deviation: Standard deviation of the noise.
    """

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, features: Tensor) -> Tensor:
        """From features of any shape to the same shape."""
        if not self.training:
            return features
        return torch.add(features, torch.randn_like(features), alpha=self.deviation)


class NormalisedLinear(nn.Linear):
    """A linear layer whose weights have a fixed norm (Salimans & Kingma 2016, with fixed scales).

    Args:
        inputs: Width of the input.
        outputs: Width of the output.
        scale: The norm of each output's weights.
    """

    def __init__(self, inputs: int, outputs: int, scale: float) -> None:
        super().__init__(inputs, outputs)
        self.scale = scale
        nn.init.normal_(self.weight, std=0.1)
        nn.init.zeros_(self.bias)

    def forward(self, features: Tensor) -> Tensor:
        """From (n, inputs) to (n, outputs)."""
        # Scaling the outputs is the same as scaling the weights, and much faster, since there are fewer of them.
        scales: Tensor = self.scale / torch.linalg.vector_norm(self.weight, dim=1)
        return linear(features, self.weight) * scales + self.bias


class Generator(nn.Module):
    """From codes (n, latent) to images (n, c, h, w) in [-1, 1].

    Args:
        spec: Image and latent sizes.
        hidden: Widths of the hidden layers.
    """

    def __init__(self, spec: Spec, *, hidden: Sequence[Width] = (500, 500)) -> None:
        super().__init__()
        self.shape = spec.shape
        widths = [spec.latent, *hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.Softplus()]
        self.layers = nn.Sequential(*layers, weight_norm(nn.Linear(widths[-1], spec.pixels)))

    def forward(self, z: Tensor) -> Tensor:
        """Images (n, c, h, w) from codes (n, latent)."""
        # In bfloat16, tanh is exactly ±1 from ±3.5 on, with gradient 0: a pixel that got there would stay there.
        return torch.tanh(self.layers(z).float()).view(-1, *self.shape)


class Discriminator(nn.Module):
    """From images (n, c, h, w) to logits (n,), via features that other heads can share.

    Args:
        spec: Image sizes.
        hidden: Widths of the hidden layers.
        pixel_noise: Standard deviation of the noise on pixels, which are in [0, 1].
        hidden_noise: Standard deviation of the noise on every hidden layer.
    """

    per_image = True

    def __init__(
        self,
        spec: Spec,
        *,
        hidden: Sequence[Width] = (1000, 500, 250, 250, 250),
        pixel_noise: Deviation = 0.3,
        hidden_noise: Deviation = 0.5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(pairwise([spec.pixels, *hidden])):
            noise, scale = (hidden_noise, HIDDEN_SCALE) if index else (pixel_noise, PIXEL_SCALE)
            layers += [Noise(noise), NormalisedLinear(inputs, outputs, scale), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last_noise = Noise(hidden_noise)
        self.feature_width = hidden[-1]
        self.head = Head(self.feature_width)

    def features(self, images: Tensor) -> Tensor:
        """Features (n, feature_width) of images (n, c, h, w): the last hidden layer before its noise.

        A regularizer or another objective that applies ``head`` to them skips that noise.
        """
        features: Tensor = self.layers((images.flatten(1) + 1) / 2)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n,) of images (n, c, h, w)."""
        logits: Tensor = self.head(self.last_noise(self.features(images)))
        return logits


class ClassHead(nn.Linear):
    """From features (n, feature_width) to a logit for each class (n, K); the label is ignored.

    The norm of each class's weights is a learned parameter (Salimans & Kingma 2016). In a plain layer, all weights can
    grow together, and D becomes certain long before G can keep up.

    Args:
        feature_width: Number of features.
        classes: K.
    """

    def __init__(self, feature_width: int, classes: int) -> None:
        super().__init__(feature_width, classes)
        self.scale = nn.Parameter(torch.full((classes, 1), HIDDEN_SCALE))

    def forward(self, features: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits (n, K)."""
        return linear(features, self.scale * normalize(self.weight, dim=1), self.bias)


class Pool(nn.Module):
    """The first few images of each class, with their labels; empty places have the label -1.

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
        # Unwanted images are written to one extra place, so that no step waits for the device.
        self.register_buffer("images", torch.zeros(classes * per_class + 1, *image_shape))
        self.register_buffer("labels", torch.full((classes * per_class + 1,), UNKNOWN))
        self.register_buffer("filled", torch.zeros(classes, dtype=torch.int64))

    @torch.no_grad()
    def offer(self, images: Tensor, labels: Tensor) -> None:
        """Keep those images (n, c, h, w) whose class, in labels (n,), still has empty places."""
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
        """Images (n, c, h, w) and labels (n,), drawn uniformly from all places."""
        chosen = torch.randint(self.classes * self.per_class, (n,), device=self.labels.device)
        return self.images[chosen], self.labels[chosen]


class SemiSupervised(Objective):
    """The game with K + 1 classes.

    Args:
        labels_per_class: Labelled images of each class; training uses no other labels.
        classes: K, the number of classes of the dataset.
        generator: What G minimises.
        weight: Factor of the supervised loss, 1 in the paper.
    """

    roles = {"generator": "generator", "discriminator": "discriminator", "alone": "discriminator"}  # noqa: RUF012
    samples_with = ("generator", "discriminator", "alone")

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
        """Give both classifiers a head with class logits, and create the pool of labelled images."""
        trunk = as_trunk(networks["discriminator"], "discriminator", "A semi-supervised GAN")
        if spec.classes:
            raise GanzooError(
                "A semi-supervised GAN learns the classes itself, but this recipe gives all labels to its networks.",
                "Set conditional: false.",
            )
        if spec.dataset_classes not in (None, self.classes):
            raise GanzooError(
                f"The loss 'semi-supervised' is set to {self.classes} classes, but the dataset has "
                f"{spec.dataset_classes or 'no labels'}.",
                f"Set loss.classes: {spec.dataset_classes}." if spec.dataset_classes else "Choose one with labels.",
            )
        for network in (trunk, as_trunk(networks["alone"], "classifier", "A semi-supervised GAN")):
            head = network.head = ClassHead(network.feature_width, self.classes)
            if network.head is not head:  # a property, such as that of a discriminator of packs
                kind = type(network)
                raise GanzooError(
                    f"The head of {kind.__module__}.{kind.__name__} cannot be replaced by one with class logits.",
                    "Choose another discriminator, such as 'mlp' or 'dcgan'.",
                )
        self.pool = Pool(spec.image_shape, self.classes, self.labels_per_class)
        return super().bind(spec, networks)

    def phases(self) -> list[Phase]:
        if self.processes > 1:  # each process would keep different images
            raise GanzooError("A semi-supervised GAN trains in a single process.", "Start it without torchrun.")
        loss = self.match_features if self.generator == "feature-matching" else self.fool
        return [
            Phase("discriminator", ("discriminator",), self.discriminator_loss),
            Phase("generator", ("generator",), loss),
            Phase("alone", ("alone",), self.alone_loss, every_steps=ALONE_EVERY),
        ]

    def discriminator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """``weight`` · L_supervised + L_unsupervised."""
        self.pool.offer(batch.real, batch.label)
        with torch.no_grad():
            fake = self.generate(networks, batch.z, batch.label)
        classify = networks["discriminator"]
        images, labels = self.pool.draw(len(batch.real))
        judged = (batch.real, fake, images)
        if getattr(classify, "per_image", False):  # one pass is faster than three
            real, generated, labelled = classify(torch.cat(judged)).float().chunk(3)
        else:
            real, generated, labelled = (classify(one).float() for one in judged)
        supervised = self.supervised_loss(labelled, labels)
        unsupervised = softplus(-real.logsumexp(1)).mean() + softplus(generated.logsumexp(1)).mean()
        return {
            "loss": self.weight * supervised + unsupervised,
            "supervised": supervised,
            "accuracy": (real.argmax(1) == batch.label).float().mean(),
        }

    def supervised_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """-E log p(y | x, y < K + 1), from logits (n, K) and labels (n,); 0 while the pool is empty."""
        total = cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="sum")
        return total / (labels != UNKNOWN).sum().clamp(min=1)

    def alone_loss(self, networks: Networks, batch: Batch) -> Losses:
        images, labels = self.pool.draw(len(batch.real))
        return {"loss": self.supervised_loss(networks["alone"](images).float(), labels)}

    def classify(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """Logits (n, K) of images (n, c, h, w); the label is ignored."""
        logits: Tensor = networks["discriminator"](images)
        return logits.float()

    def classify_alone(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """Logits (n, K) by the classifier that learned from the labelled images alone."""
        logits: Tensor = networks["alone"](images)
        return logits.float()

    def match_features(self, networks: Networks, batch: Batch) -> Losses:
        """‖E f(x) - E f(G(z))‖², averaged over features."""
        trunk = cast("Trunk", networks["discriminator"])
        with torch.no_grad():
            real = trunk.features(batch.real).float().mean(0)
        fake = trunk.features(self.generate(networks, batch.z, batch.label)).float().mean(0)
        return {"loss": (real - fake).square().mean()}

    def fool(self, networks: Networks, batch: Batch) -> Losses:
        """-E log D(G(z))."""
        logits: Tensor = networks["discriminator"](self.generate(networks, batch.z, batch.label))
        return {"loss": softplus(-logits.float().logsumexp(1)).mean()}


class TestError(ModelMetric):
    """Share of held-out images that the model misclassifies."""

    better = "lower"
    range = "0 to 1"
    scale = "share"
    calls = "classify"
    does = "classifies images"
    needs_classes = True

    def compute(self, inputs: MetricInputs) -> float:
        return float(self.wrong(inputs).double().mean())

    def interval(self, inputs: MetricInputs, value: float) -> tuple[float, float]:
        """Wilson's interval for the share."""
        wrong = self.wrong(inputs)
        return share_interval(int(wrong.sum()), len(wrong))

    def wrong(self, inputs: MetricInputs) -> Tensor:
        """Which images are misclassified, (n,)."""
        labels = inputs.real.dataset.labels
        assert labels is not None
        return self.outputs(inputs).argmax(1).ne(labels)


class SupervisedTestError(TestError):
    """The test error of the same network, trained on the labelled images alone, for comparison."""

    calls = "classify_alone"
    does = "trains a classifier on a few labels alone"


@hookimpl
def register_metrics(register: Register[Metric]) -> None:
    register("test-error", TestError, summary="Share of held-out images that the model misclassifies", paper=PAPER)
    summary = "Test error of the same network, trained on the labelled images alone"
    register("supervised-test-error", SupervisedTestError, summary=summary, paper=PAPER)


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    register("semi-supervised", Generator, summary="Fully connected layers of 500 softplus units", paper=PAPER)


@hookimpl
def register_discriminators(register: Register[nn.Module]) -> None:
    register("semi-supervised", Discriminator, summary="Five fully connected layers with noise", paper=PAPER)


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    register(
        "semi-supervised",
        SemiSupervised,
        summary="D tells K classes and fakes apart, from a few labels",
        paper=PAPER,
        aliases=("sgan", "ssgan"),
    )


register_recipes = beside(__file__, "semi-supervised-mnist", aliases={"semi-supervised-mnist": ("sgan-mnist",)})
