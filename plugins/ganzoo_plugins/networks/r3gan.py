"""R3GAN: a relativistic loss, which converges with R1 and R2, and residual networks without normalisation.

Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern GAN Baseline", arXiv:2501.05441. The relativistic
pairing loss of its section 2 (Jolicoeur-Martineau 2018, arXiv:1807.00734), with D the logit, large on real images:

    min_G max_D  E_{x, z}[f(D(x) - D(G(z)))],    f(t) = -log(1 + e^(-t)) = -softplus(-t)

As in the authors' code, G has the same loss with the roles exchanged, and each fake is paired with one real image:

    D minimises E[softplus(D(G(z)) - D(x))]        G minimises E[softplus(D(x) - D(G(z)))]

The penalties R1 and R2 (module r1) complete the objective. D is G mirrored. Each resolution has residual blocks,
inverted bottlenecks with a grouped 3x3 convolution:

    x + W₃ a(W₂ * a(W₁ x)),        a(x) = LeakyReLU(x + bias),    W₁ and W₃ 1x1, W₂ 3x3 in groups, twice as wide

As in Fixup (Zhang, Dauphin & Ma 2019, arXiv:1901.09321), W₃ starts at zero, so each block starts as the identity; W₁
and W₂ start with He's standard deviation times L^(-1/4), with L blocks. Between resolutions, maps are upsampled
bilinearly or downsampled with the filter [1, 3, 3, 1], and a 1x1 convolution on the coarser side changes their number.
G starts from learned maps at the coarsest resolution, weighted by the latent code; D ends with a learned weight for
each pixel and map.

Differences from the paper:

- The paper writes D with the opposite sign.
- G's fakes are paired with the real images of D's step; the authors draw new ones.
- Halving rounds up (28x28 is 28, 14, 7, 4).
- G ends in a tanh; the authors' has no activation there.
- Upsampling repeats edge pixels; the authors pad with zeros.
- D's first and last layers have biases.
- G gets labels one-hot; the authors embed them.
- D adds a projection on the label to an unconditional logit (Miyato & Koyama 2018); the authors' is the projection
  alone.
- Only ``r3gan-mnist-gpu`` has the paper's augmentation, as far as the module ada goes, and its schedules of p, γ, the
  learning rate and the EMA, but not of β2.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ganzoo import AdversarialLoss, Register, Spec, beside, hookimpl
from ganzoo.layers import (
    Blur,
    Conditioning,
    Crop,
    Depth,
    GroupedConv2d,
    Head,
    ImageTanh,
    PadToEven,
    Trunk,
    Width,
    channel_pyramid,
    label_inputs,
    pyramid_sizes,
    with_label,
)

PAPER = "Huang et al. 2024, The GAN is dead; long live the GAN! A Modern GAN Baseline, arXiv:2501.05441"
SLOPE = 0.2


def linear_scale(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Conv2d | nn.Linear:
    """The layer with weights from N(0, gain² / fan_in) and biases of zero."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Residual(nn.Module):
    """An inverted bottleneck that starts as the identity.

    Args:
        channels: Maps in and out; twice as many in between.
        group: Maps in a group of the 3x3 convolution, lowered to its greatest common divisor with the number of maps.
        blocks: L, the number of blocks in the network.
    """

    def __init__(self, channels: int, group: int, blocks: int) -> None:
        super().__init__()
        inner = 2 * channels
        gain = nn.init.calculate_gain("leaky_relu", SLOPE) * blocks**-0.25
        self.layers = nn.Sequential(
            linear_scale(nn.Conv2d(channels, inner, 1), gain),
            nn.LeakyReLU(SLOPE),
            linear_scale(GroupedConv2d(inner, inner, 3, padding=1, groups=inner // math.gcd(inner, group)), gain),
            nn.LeakyReLU(SLOPE),
            linear_scale(nn.Conv2d(inner, channels, 1, bias=False), gain=0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        """From maps (n, channels, h, w) to maps of the same shape."""
        return cast("Tensor", x + self.layers(x))


def fewer_or_more(inputs: int, outputs: int) -> list[nn.Module]:
    """A 1x1 convolution if the number of maps changes, otherwise nothing."""
    return [] if inputs == outputs else [linear_scale(nn.Conv2d(inputs, outputs, 1, bias=False))]


class Generator(nn.Module):
    """From codes (n, latent) to images (n, c, h, w) in [-1, 1].

    Args:
        spec: Image, latent and class sizes.
        width: Maps at the image's resolution; each halving doubles them.
        widest: Largest number of maps (768 in the authors' code for CIFAR-10 and FFHQ).
        group: Maps in a group of the 3x3 convolutions.
        blocks: Residual blocks at each resolution (2 in the paper).
    """

    def __init__(
        self, spec: Spec, *, width: Width = 32, widest: Width = 768, group: Width = 16, blocks: Depth = 2
    ) -> None:
        super().__init__()
        self.classes = spec.classes
        channels, sizes = channel_pyramid(spec, width, widest), pyramid_sizes(spec)
        self.code = linear_scale(nn.Linear(spec.latent + spec.classes, channels[0], bias=False))
        self.basis = nn.Parameter(torch.randn(channels[0], *sizes[0]))
        layers: list[nn.Module] = []
        for level, maps in enumerate(channels):
            if level:
                double = nn.Upsample(scale_factor=2, mode="bilinear")
                layers += [*fewer_or_more(channels[level - 1], maps), double, Crop(sizes[level])]
            layers += [Residual(maps, group, blocks * len(channels)) for _ in range(blocks)]
        self.layers = nn.Sequential(
            *layers, linear_scale(nn.Conv2d(channels[-1], spec.channels, 1, bias=False)), ImageTanh()
        )

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Images (n, c, h, w) from codes (n, latent) and, in a conditional recipe, labels (n,)."""
        weights = self.code(with_label(z, label, self.classes))
        images: Tensor = self.layers(weights[:, :, None, None] * self.basis.to(weights.dtype))
        return images


class Discriminator(Trunk):
    """From images (n, c, h, w) to logits (n,), via features that other heads can share.

    Args:
        spec: Image and class sizes.
        width: Maps at the image's resolution; each halving doubles them.
        widest: Largest number of maps (768 in the authors' code for CIFAR-10 and FFHQ).
        group: Maps in a group of the 3x3 convolutions.
        blocks: Residual blocks at each resolution (2 in the paper).
        conditioning: How labels enter the network in a conditional recipe.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        width: Width = 32,
        widest: Width = 768,
        group: Width = 16,
        blocks: Depth = 2,
        conditioning: Conditioning = "projection",
    ) -> None:
        super().__init__()
        self.label_inputs = label_inputs(spec, conditioning)
        self.per_image = True
        channels = channel_pyramid(spec, width, widest)[::-1]
        layers: list[nn.Module] = [linear_scale(nn.Conv2d(spec.channels + self.label_inputs, channels[0], 1))]
        for level, maps in enumerate(channels):
            if level:
                layers += [PadToEven(), Blur(padding=1, step=2), *fewer_or_more(channels[level - 1], maps)]
            layers += [Residual(maps, group, blocks * len(channels)) for _ in range(blocks)]
        self.feature_width = channels[-1]
        pixels = linear_scale(
            GroupedConv2d(channels[-1], channels[-1], pyramid_sizes(spec)[0], groups=channels[-1], bias=False)
        )
        self.layers = nn.Sequential(*layers, pixels, nn.Flatten())
        self.head = Head(self.feature_width, spec.classes, conditioning)
        linear_scale(self.head.linear)


class RelativisticPairing(AdversarialLoss):
    """Each fake is compared with a real image, so that the generator is drawn to every mode of the data."""

    pairs = True

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """E[softplus(fake - real)]: real images should score higher than fakes."""
        return softplus(fake - real).mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """E[softplus(real - fake)]: fakes should score higher than real images."""
        assert real is not None, "pairs is set, so the real logits are always given"
        return softplus(real - fake).mean()


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    register("r3gan", Generator, summary="Residual network without normalisation, grouped convolutions", paper=PAPER)


@hookimpl
def register_discriminators(register: Register[nn.Module]) -> None:
    register("r3gan", Discriminator, summary="The generator's network, mirrored", paper=PAPER)


@hookimpl
def register_losses(register: Register[AdversarialLoss]) -> None:
    register(
        "relativistic-pairing",
        RelativisticPairing,
        summary="Each fake against a real image; R3GAN combines it with R1 and R2",
        paper=PAPER,
        aliases=("r3gan", "relativistic", "rpgan", "rsgan"),
    )


register_recipes = beside(__file__, "r3gan-mnist", "r3gan-resnet-mnist", "r3gan-mnist-gpu")
