"""Deep convolutional GAN.

Radford, Metz & Chintala 2015, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", arXiv:1511.06434. Section 3's guidelines: strided convolutions instead of pooling, batch normalisation in all
layers but G's output and D's input, no hidden fully connected layers, ReLU in G and LeakyReLU in D, tanh at G's output.
Section 4 adds the LeakyReLU's slope of 0.2 and weights from N(0, 0.02²).

Differences from the paper:

- The paper doubles 4x4 four times, with 1024, 512, 256, 128 channels. Here the grid doubles as often as leaves a start
  of at least 4x4; halving rounds up: 28x28 is 4 -> 7 -> 14 -> 28, and 32x32 is 4 -> 8 -> 16 -> 32.
- If a side is odd, D pads its maps with a row or a column of zeros and G crops; images are not resampled.
- Kernels are 4x4 instead of 5x5: a multiple of the stride avoids the uneven overlap that causes checkerboard artifacts
  (Odena et al. 2016), and costs a third less.
- The output of G's linear layer is normalised per map; in the authors' code, per unit.
- G's last layer and D's first and last have biases; the authors' have none.
- There is no weight decay; the authors' is 1e-5.
"""

from __future__ import annotations

from torch import Tensor, nn

from ganzoo import Register, Spec, beside, hookimpl
from ganzoo.layers import (
    ConditionalBatchNorm,
    Conditioning,
    Crop,
    GeneratorConditioning,
    Head,
    ImageTanh,
    LabelSequential,
    MinibatchStd,
    Norm,
    PadToEven,
    Slope,
    Trunk,
    UpConv2d,
    Width,
    image_norm,
    label_inputs,
    pyramid_sizes,
    with_label,
)

PAPER = "Radford, Metz & Chintala 2015, Unsupervised Representation Learning with DCGANs, arXiv:1511.06434"


def initialise(module: nn.Module) -> None:
    """Weights from N(0, 0.02²), scales of 2D batch normalisation from N(1, 0.02²), biases zero."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d) and module.affine:
        nn.init.normal_(module.weight, 1.0, 0.02)
    if isinstance(getattr(module, "bias", None), nn.Parameter):
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]


class Generator(nn.Module):
    """From codes (n, latent) to images (n, c, h, w) in [-1, 1].

    Args:
        spec: Image, latent and class sizes.
        width: Channels of the last hidden layer (128 in the paper); each earlier layer has twice as many as the next.
        norm: Normalisation of every layer but the last.
        conditioning: How labels enter the network in a conditional recipe; ``batch-norm`` replaces ``norm``.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        width: Width = 64,
        norm: Norm = "batch",
        conditioning: GeneratorConditioning = "concat",
    ) -> None:
        super().__init__()
        by_norm = spec.classes if conditioning == "batch-norm" else 0
        self.label_inputs = spec.classes - by_norm

        def normalised(channels: int) -> list[nn.Module]:
            return [ConditionalBatchNorm(channels, by_norm)] if by_norm else image_norm(norm, channels)

        (height, columns), *sizes = pyramid_sizes(spec)
        channels = width * 2 ** (len(sizes) - 1)
        bias = norm != "batch"
        layers: list[nn.Module] = [
            nn.Linear(spec.latent + self.label_inputs, channels * height * columns, bias=bias),
            nn.Unflatten(1, (channels, height, columns)),
            *normalised(channels),
            nn.ReLU(),
        ]
        for size in sizes[:-1]:
            layers += [UpConv2d(channels, channels // 2, bias=bias), Crop(size)]
            channels //= 2
            layers += [*normalised(channels), nn.ReLU()]
        self.layers = LabelSequential(*layers, UpConv2d(channels, spec.channels), Crop(sizes[-1]), ImageTanh())
        self.apply(initialise)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Images (n, c, h, w) from codes (n, latent) and, in a conditional recipe, labels (n,)."""
        images: Tensor = self.layers(with_label(z, label, self.label_inputs), label)
        return images


class Discriminator(Trunk):
    """From images (n, c, h, w) to logits (n,), via features that other heads can share.

    Args:
        spec: Image and class sizes.
        width: Channels of the first layer; each later layer has twice as many as the one before.
        norm: Normalisation of every layer but the first. With a gradient penalty, ``none`` or ``layer``.
        slope: Negative slope of the LeakyReLUs.
        minibatch_std: Append a feature map that shows the head how much the images of a batch differ (Karras et al.
            2018).
        conditioning: How labels enter the network in a conditional recipe.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        width: Width = 64,
        norm: Norm = "batch",
        slope: Slope = 0.2,
        minibatch_std: bool = False,
        conditioning: Conditioning = "concat",
    ) -> None:
        super().__init__()
        self.label_inputs = label_inputs(spec, conditioning)
        self.per_image = norm != "batch" and not minibatch_std
        (height, columns), *sizes = pyramid_sizes(spec)
        layers: list[nn.Module] = []
        channels = spec.channels + self.label_inputs
        for index in range(len(sizes)):
            # Not the first layer: it sees the image itself, whose brightness carries information.
            applied: Norm = norm if index else "none"
            wider = width * 2**index
            layers += [
                PadToEven(),
                nn.Conv2d(channels, wider, 4, 2, 1, bias=applied != "batch"),
                *image_norm(applied, wider),
                nn.LeakyReLU(slope),
            ]
            channels = wider
        if minibatch_std:
            layers.append(MinibatchStd())
            channels += 1
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.feature_width = channels * height * columns
        self.head = Head(self.feature_width, spec.classes, conditioning)
        self.apply(initialise)


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    register("dcgan", Generator, summary="Transposed convolutions, native 28x28 and 32x32", paper=PAPER)


@hookimpl
def register_discriminators(register: Register[nn.Module]) -> None:
    register("dcgan", Discriminator, summary="Strided convolutions, native 28x28 and 32x32", paper=PAPER)


register_recipes = beside(__file__, "dcgan-mnist", "minibatch-stddev-mnist")
