"""InfoGAN: meaningful latent codes, learned without labels.

Chen et al. 2016, "InfoGAN: Interpretable Representation Learning by Information Maximizing Generative Adversarial
Nets", arXiv:1606.03657. Equation 6, with equation 5's lower bound on the mutual information between codes c and images:

    min_{G, Q} max_D  V(D, G) - λ L_I(G, Q),    L_I = E_{c, x = G(z, c)}[log Q(c | x)] + H(c) ≤ I(c; G(z, c))

Q(c | x) is a softmax for each categorical code and a Gaussian of standard deviation 1 for each continuous one. Q shares
D's trunk and adds a small head. In G's phase, G and the head learn from L_I while all of D is frozen; in D's phase, the
shared layers learn from V and from L_I, as in the authors' code. As there, G's part of V is non-saturating.

The authors' MNIST code fixes the deviation, too: a learned one would let the bound, which contains a differential
entropy, grow without limit. A Gaussian that wide never tells anything: its bound on a code from U(-1, 1) stays below
zero. So the logged bound on the continuous codes, which has no part in the losses, is that of the best deviation for
the batch.

The networks are those of appendix C.1 for MNIST; Lucic et al. 2018, "Are GANs Created Equal?", arXiv:1711.10337, use
them to compare all of their GAN losses except BEGAN's. ``width``, 64 in the paper, scales every layer of G and D, but
not the 128 hidden units of Q. Weights start as in DCGAN, much as in the authors' code, and Q's own layers as in torch.

Differences from the paper:

- The noise that accompanies the codes is Gaussian instead of uniform.
- λ is two options, one for each kind of code.
- The head learns in both phases; in the authors' code, only in D's, at D's rate.
- The head's LeakyReLU has a slope of 0.2, in the paper 0.1; in the authors' code, every LeakyReLU has 0.01.
- G ends in a tanh instead of a sigmoid, because images here are in [-1, 1].
- The output of G's second linear layer is normalised per map; in the authors' code, per unit.
- Images of other sizes are halved twice as well; D pads them with zeros to a multiple of four.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log, pi
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, pad, softplus

from ganzoo import (
    Batch,
    CodesPrior,
    GanzooError,
    Losses,
    Networks,
    Objective,
    Phase,
    Register,
    Spec,
    Weight,
    beside,
    hookimpl,
)
from ganzoo.layers import (
    ConditionalBatchNorm,
    Conditioning,
    Crop,
    GeneratorConditioning,
    Head,
    ImageTanh,
    LabelSequential,
    Norm,
    Slope,
    Trunk,
    UpConv2d,
    Width,
    as_trunk,
    image_norm,
    label_inputs,
    own_statistics,
    vector_norm,
    with_label,
)
from ganzoo_plugins.networks.dcgan import initialise
from ganzoo_plugins.networks.encoders import Encoder

PAPER = "Chen et al. 2016, InfoGAN: Interpretable Representation Learning, arXiv:1606.03657"
HIDDEN = 16
"""Units of the fully connected layer, as a multiple of ``width``: 1024 for a width of 64."""


def quarters(spec: Spec) -> tuple[int, int]:
    """A quarter of an image's height and width, rounded up."""
    return -(-spec.height // 4), -(-spec.width // 4)


class Generator(nn.Module):
    """From codes (n, latent) to images (n, c, h, w) in [-1, 1].

    Args:
        spec: Image, latent and class sizes.
        width: Channels of the last hidden layer, 64 in the paper; all others are multiples of it.
        conditioning: How labels enter the network in a conditional recipe.
    """

    def __init__(self, spec: Spec, *, width: Width = 64, conditioning: GeneratorConditioning = "concat") -> None:
        super().__init__()
        by_norm = spec.classes if conditioning == "batch-norm" else 0
        self.label_inputs = spec.classes - by_norm

        def normalised(channels: int, plain: type[nn.Module] = nn.BatchNorm2d) -> list[nn.Module]:
            return [ConditionalBatchNorm(channels, by_norm) if by_norm else plain(channels), nn.ReLU()]

        rows, columns = quarters(spec)
        self.layers = LabelSequential(
            nn.Linear(spec.latent + self.label_inputs, width * HIDDEN, bias=False),
            *normalised(width * HIDDEN, nn.BatchNorm1d),
            nn.Linear(width * HIDDEN, 2 * width * rows * columns, bias=False),
            nn.Unflatten(1, (2 * width, rows, columns)),
            *normalised(2 * width),
            UpConv2d(2 * width, width, bias=False),
            *normalised(width),
            UpConv2d(width, spec.channels),
            Crop((spec.height, spec.width)),
            ImageTanh(),
        )
        self.apply(initialise)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Images (n, c, h, w) from codes (n, latent) and, in a conditional recipe, labels (n,)."""
        images: Tensor = self.layers(with_label(z, label, self.label_inputs), label)
        return images


class Discriminator(Trunk):
    """From images (n, c, h, w) to logits (n,), via features that other heads can share.

    Args:
        spec: Image and class sizes.
        width: Channels of the first layer, 64 in the paper; all others are multiples of it.
        norm: Normalisation of every layer but the first. With a gradient penalty, ``none`` or ``layer``.
        slope: Negative slope of the LeakyReLUs.
        conditioning: How labels enter the network in a conditional recipe.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        width: Width = 64,
        norm: Norm = "batch",
        slope: Slope = 0.1,
        conditioning: Conditioning = "concat",
    ) -> None:
        super().__init__()
        self.label_inputs = label_inputs(spec, conditioning)
        self.per_image = norm != "batch"
        self.padding = (0, -spec.width % 4, 0, -spec.height % 4)
        self.feature_width = width * HIDDEN
        rows, columns = quarters(spec)
        self.layers = nn.Sequential(
            nn.Conv2d(spec.channels + self.label_inputs, width, 4, 2, 1),
            nn.LeakyReLU(slope),
            nn.Conv2d(width, 2 * width, 4, 2, 1, bias=norm == "none"),
            *image_norm(norm, 2 * width),
            nn.LeakyReLU(slope),
            nn.Flatten(),
            nn.Linear(2 * width * rows * columns, self.feature_width, bias=norm == "none"),
            *vector_norm(norm, self.feature_width),
            nn.LeakyReLU(slope),
        )
        self.head = Head(self.feature_width, spec.classes, conditioning)
        self.apply(initialise)

    def features(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Features (n, feature_width) of images (n, c, h, w)."""
        return super().features(pad(images, self.padding), label)


def encoder(spec: Spec, *, width: Width = 64, norm: Norm = "batch", slope: Slope = 0.1) -> Encoder:
    """The discriminator's layers up to its features, and a linear layer to the code.

    Args:
        spec: Image, latent and class sizes.
        width: Channels of the first layer; all others are multiples of it.
        norm: Normalisation of every layer but the first.
        slope: Negative slope of the LeakyReLUs.
    """
    return Encoder(spec, Discriminator(spec, width=width, norm=norm, slope=slope))


class Recognition(nn.Sequential):
    """Q's own layers: from D's features (n, feature_width) to parameters of Q(c | x), (n, code columns)."""

    def __init__(self, feature_width: int, code_width: int) -> None:
        hidden = [nn.Linear(feature_width, 128, bias=False), nn.BatchNorm1d(128), nn.LeakyReLU(0.2)]
        super().__init__(*hidden, nn.Linear(128, code_width))


def information(prior: CodesPrior, predicted: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """L_I as it is maximised: a lower bound on the mutual information between codes and images, in nats.

    Args:
        prior: Which columns of z are codes.
        predicted: Parameters of Q(c | x), (n, code columns): logits of each categorical code, then means.
        z: The latent codes (n, latent) that the images were generated from.

    Returns:
        The categorical codes' part and, for Gaussians of standard deviation 1, the continuous codes' part, scalars.
    """
    columns = [*prior.categorical, prior.continuous]
    *chosen, drawn = torch.split(z[:, prior.dim :], columns, dim=1)
    *logits, means = torch.split(predicted, columns, dim=1)
    categorical = predicted.new_zeros(())
    for one_hot, logit in zip(chosen, logits, strict=True):
        categorical = categorical + log(logit.shape[1]) + (one_hot * log_softmax(logit, dim=1)).sum(1).mean()
    log_density = -((drawn - means).square() + log(2 * pi)) / 2
    return categorical, (log_density + log(2)).sum(1).mean()


def continuous_bound(prior: CodesPrior, predicted: Tensor, z: Tensor) -> Tensor:
    """The continuous codes' part of L_I, in nats, if each Gaussian has the deviation that fits the batch best.

    With s² the mean squared error of a code's means, it is log 2 - log(2πe s²) / 2: positive if s < √(2 / πe), which is
    0.84 of the code's own deviation, and unlimited as s falls.
    """
    first = z.shape[1] - prior.continuous
    error = (z[:, first:] - predicted[:, first - prior.dim :]).square().mean(0)
    return (log(2) - (log(2 * pi) + 1 + error.clamp(min=1e-12).log()) / 2).sum()


class InfoGAN(Objective):
    """The adversarial game with a recognition head. The recipe's prior must be ``codes``.

    Args:
        categorical_weight: λ for categorical codes.
        continuous_weight: λ for continuous codes.
    """

    samples_with = ("generator", "discriminator", "recognition")

    def __init__(self, *, categorical_weight: Weight = 1.0, continuous_weight: Weight = 1.0) -> None:
        super().__init__()
        self.weights = categorical_weight, continuous_weight

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Add the recognition head on the discriminator's features."""
        super().bind(spec, networks)
        if not isinstance(spec.prior, CodesPrior) or spec.prior.width == spec.prior.dim:
            raise GanzooError(
                f"InfoGAN finds no codes to recognise in the prior '{spec.prior.name}'.",
                "Use e.g. prior: {name: codes, dim: 62, categorical: [10], continuous: 2}.",
            )
        self.prior = spec.prior
        trunk = as_trunk(networks["discriminator"], "discriminator", "InfoGAN")
        return {"recognition": Recognition(trunk.feature_width, spec.prior.width - spec.prior.dim)}

    def phases(self) -> list[Phase]:
        return [
            Phase("discriminator", ("discriminator", "recognition"), self.discriminator_loss),
            Phase("generator", ("generator", "recognition"), self.generator_loss),
        ]

    def discriminator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """-V - λ L_I; fakes carry no graph."""
        with torch.no_grad():
            images = self.generate(networks, batch.z, batch.label)
        trunk, condition = cast("Trunk", networks["discriminator"]), self.condition(batch.label)
        real = trunk.head(trunk.features(batch.real, *condition), *condition).float()
        fake, gained, _ = self.judge(networks, images, batch)
        loss = softplus(-real).mean() + softplus(fake).mean() - gained
        return {"loss": loss, "real_logits": real.mean(), "fake_logits": fake.mean()}

    def generator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """-E[log D(G(z, c))] - λ L_I."""
        fake, gained, bounds = self.judge(networks, self.generate(networks, batch.z, batch.label), batch)
        return {"loss": softplus(-fake).mean() - gained, **bounds}

    def judge(self, networks: Networks, images: Tensor, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Logits (n,) of fakes; λ L_I; the lower bounds, in nats, on the information in either kind of code."""
        trunk = cast("Trunk", networks["discriminator"])
        condition = self.condition(batch.label)
        features = trunk.features(images, *condition)
        predicted = networks["recognition"](features).float()
        categorical, continuous = information(self.prior, predicted, batch.z)
        gained = self.weights[0] * categorical + self.weights[1] * continuous
        bound = continuous_bound(self.prior, predicted.detach(), batch.z)
        bounds = {"categorical_bound": categorical, "continuous_bound": bound}
        return trunk.head(features, *condition).float(), gained, bounds

    def codes(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """Q's outputs for images (n, c, h, w): logits of the categorical codes, then means of the continuous ones.

        Batch normalisation uses the statistics of these images: its running statistics alternate between real images
        and fakes, and suit neither.
        """
        trunk, recognition = networks["discriminator"], networks["recognition"]
        with own_statistics(trunk, recognition):
            predicted: Tensor = recognition(cast("Trunk", trunk).features(images, *self.condition(label)))
        return predicted.float()

    def cluster(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """Q's logits (n, K) of the first categorical code, for images (n, c, h, w).

        Raises:
            GanzooError: The prior has no categorical code.
        """
        if not self.prior.categorical:
            raise GanzooError("Clustering needs a categorical code, but this prior has none.", "Leave the metric out.")
        return self.codes(networks, images, label)[:, : self.prior.categorical[0]]


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    register("infogan", Generator, summary="Two wide layers and transposed convolutions, 4x4", paper=PAPER)


@hookimpl
def register_discriminators(register: Register[nn.Module]) -> None:
    register("infogan", Discriminator, summary="Strided convolutions, 4x4, and a wide layer", paper=PAPER)


@hookimpl
def register_encoders(register: Register[nn.Module]) -> None:
    register("infogan", encoder, summary="Strided convolutions, 4x4, and a wide layer", paper=PAPER)


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    register("infogan", InfoGAN, summary="Adversarial game that maximises information in latent codes", paper=PAPER)


register_recipes = beside(__file__, "infogan-mnist")
