"""Multilayer perceptrons, which the original GAN paper and most introductory tutorials use for MNIST.

Goodfellow et al. 2014, "Generative Adversarial Nets", arXiv:1406.2661, section 5:

    G(z) = tanh(W_k a(... a(W_1 z)))        D(x) = w · a(... a(W_1 x))

The sizes 100-128-256-512-1024-784 and 784-512-256-1 come from the tutorials that most people read first.

Differences from the paper:

- a = LeakyReLU(0.2) by default; the paper uses ReLUs in G and maxout with dropout in D.
- G ends in a tanh, because images here are in [-1, 1].
- All of G's hidden layers but the first use batch normalisation by default, which was invented a year later
  (``norm: none`` turns it off).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ganzoo import GanzooError, Register, Spec, hookimpl
from ganzoo.layers import (
    ConditionalBatchNorm,
    Conditioning,
    GeneratorConditioning,
    Head,
    ImageTanh,
    LabelSequential,
    Norm,
    Slope,
    Trunk,
    Width,
    label_inputs,
    vector_norm,
    with_label,
)

PAPER = "Goodfellow et al. 2014, Generative Adversarial Nets, arXiv:1406.2661"


def hidden_layers(
    width: int, hidden: Sequence[int], norm: Norm, slope: float, classes: int = 0
) -> tuple[LabelSequential, int]:
    """Linear layers with LeakyReLUs, normalised from the second on, and the width of their output.

    With ``classes``, batch normalisation conditional on the label replaces ``norm``.
    """
    layers: list[nn.Module] = []
    for index, size in enumerate(hidden):
        # Not the first layer: it sees the latent code or the image itself, whose scale carries information.
        by_label = index > 0 and classes > 0
        applied: Norm = ("batch" if by_label else norm) if index else "none"
        layers += [
            nn.Linear(width, size, bias=applied != "batch"),
            *([ConditionalBatchNorm(size, classes)] if by_label else vector_norm(applied, size)),
            nn.LeakyReLU(slope),
        ]
        width = size
    return LabelSequential(*layers), width


class Generator(nn.Module):
    """From codes (n, latent) to images (n, c, h, w) in [-1, 1].

    Args:
        spec: Image, latent and class sizes.
        hidden: Widths of the hidden layers.
        norm: Normalisation of every hidden layer but the first; ``conditioning: batch-norm`` replaces it.
        slope: Negative slope of the LeakyReLUs.
        conditioning: How labels enter the network in a conditional recipe.

    Raises:
        GanzooError: ``conditioning`` is ``batch-norm``, but there is no second hidden layer to normalise.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        hidden: Sequence[Width] = (128, 256, 512, 1024),
        norm: Norm = "batch",
        slope: Slope = 0.2,
        conditioning: GeneratorConditioning = "concat",
    ) -> None:
        super().__init__()
        self.spec = spec
        by_norm = spec.classes if conditioning == "batch-norm" else 0
        if by_norm and len(hidden) < 2:
            raise GanzooError(
                "'mlp' with `conditioning: batch-norm` needs a second hidden layer: the first is not normalised.",
                "Give `hidden` two widths or more, or use `conditioning: concat`.",
            )
        self.label_inputs = spec.classes - by_norm
        self.trunk, width = hidden_layers(spec.latent + self.label_inputs, hidden, norm, slope, by_norm)
        self.head = nn.Linear(width, spec.pixels)
        self.tanh = ImageTanh()

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Images (n, c, h, w) from codes (n, latent) and, in a conditional recipe, labels (n,)."""
        pixels = self.head(self.trunk(with_label(z, label, self.label_inputs), label))
        images: Tensor = self.tanh(pixels).view(-1, *self.spec.shape)
        return images


class Discriminator(Trunk):
    """From images (n, c, h, w) to logits (n,), via features that other heads can share.

    Args:
        spec: Image and class sizes.
        hidden: Widths of the hidden layers.
        norm: Normalisation of every hidden layer but the first.
        slope: Negative slope of the LeakyReLUs.
        conditioning: How labels enter the network in a conditional recipe.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        hidden: Sequence[Width] = (512, 256),
        norm: Norm = "none",
        slope: Slope = 0.2,
        conditioning: Conditioning = "concat",
    ) -> None:
        super().__init__()
        self.label_inputs = label_inputs(spec, conditioning)
        self.per_image = norm != "batch"
        self.trunk, self.feature_width = hidden_layers(spec.pixels + self.label_inputs, hidden, norm, slope)
        self.head = Head(self.feature_width, spec.classes, conditioning)

    def features(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Features (n, feature_width) of images (n, c, h, w)."""
        features: Tensor = self.trunk(with_label(images.flatten(1), label, self.label_inputs))
        return features


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    register("mlp", Generator, summary="Fully connected layers, 100-128-256-512-1024-784 on MNIST", paper=PAPER)


@hookimpl
def register_discriminators(register: Register[nn.Module]) -> None:
    register("mlp", Discriminator, summary="Fully connected layers, 784-512-256-1 on MNIST", paper=PAPER)
