"""WaveGAN: waves from latent codes, by convolutions over time.

Donahue, McAuley & Puckette 2019, "Adversarial Audio Synthesis", arXiv:1802.04208. DCGAN in one dimension (appendix D):
kernels of 25 samples instead of 5x5 and strides of 4 instead of 2x2, no batch normalisation, and a discriminator that
shifts its maps at random, so that it cannot tell real sounds by the phase of the artifacts of strided convolutions
(phase shuffle, section 3.3):

    maps of D's layers but the last: x[t] becomes x[t + k], k uniform in {-n, ..., n}, with the ends reflected

Differences from the paper:

- The paper's sounds have 16,384 samples at 16 kHz, from 16 by five layers. Here the number of layers follows from the
  length: 4,096 are 16 by four.
- The width is an option; 64 in the paper. So is G's batch normalisation, as in the authors' code; the paper has none.
- Phase shuffle shifts each sound by its own k; in the authors' code, a batch shares one. Like dropout, it does nothing
  in evaluation mode.
- In a conditional recipe the label is appended to the code, and D's features are projected onto it (Miyato & Koyama
  2018); the paper has no labels.
- The post-processing filter of section 3.4 is left out.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ganzoo import GanzooError, Register, Spec, beside, hookimpl
from ganzoo.layers import Head, ImageTanh, Slope, Trunk, Width, with_label

PAPER = "Donahue, McAuley & Puckette 2019, Adversarial Audio Synthesis, arXiv:1802.04208"
KERNEL, STRIDE, START = 25, 4, 16


def lengths(spec: Spec) -> list[int]:
    """The lengths of a network's maps, from the shortest, at least 16, to the sound's: each is four times the last.

    Raises:
        GanzooError: The samples are not mono sound of such a length.
    """
    sizes = [spec.shape[-1]]
    while sizes[0] % STRIDE == 0 and sizes[0] // STRIDE >= START:
        sizes.insert(0, sizes[0] // STRIDE)
    if len(spec.shape) != 2 or spec.shape[0] != 1 or len(sizes) == 1:
        raise GanzooError(
            f"WaveGAN is for mono sound of a length such as 4,096, not for {spec.modality}.",
            f"Give a dataset of shape (1, length), with a length that {STRIDE} divides, of at least {START * STRIDE}.",
        )
    return sizes


class Generator(nn.Module):
    """From codes (n, latent) to waves (n, 1, length) in [-1, 1].

    Args:
        spec: Lengths, latent and class sizes.
        width: Channels of the last hidden layer; each earlier layer has twice as many as the next.
        batch_norm: Whether to normalise every layer but the last.
    """

    def __init__(self, spec: Spec, *, width: Width = 64, batch_norm: bool = False) -> None:
        super().__init__()
        self.label_inputs = spec.classes
        start, *sizes = lengths(spec)
        channels = width * 2 ** (len(sizes) - 1)
        layers: list[nn.Module] = [
            nn.Linear(spec.latent + spec.classes, channels * start),
            nn.Unflatten(1, (channels, start)),
        ]
        for size in sizes:
            fewer = channels // 2 if size < sizes[-1] else 1
            layers += [nn.BatchNorm1d(channels)] if batch_norm else []
            layers += [nn.ReLU(), nn.ConvTranspose1d(channels, fewer, KERNEL, STRIDE, padding=11, output_padding=1)]
            channels = fewer
        self.layers = nn.Sequential(*layers, ImageTanh())

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Waves (n, 1, length) from codes (n, latent) and, in a conditional recipe, labels (n,)."""
        waves: Tensor = self.layers(with_label(z, label, self.label_inputs))
        return waves


class PhaseShuffle(nn.Module):
    """Shifts each sound's maps by up to ``most`` steps, in training."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, maps: Tensor) -> Tensor:
        """(n, channels, length)."""
        if not self.training or not self.most:
            return maps
        n, channels, length = maps.shape
        shift = torch.randint(-self.most, self.most + 1, (n, 1), device=maps.device)
        from_start = (torch.arange(length, device=maps.device) + shift).abs()  # reflected at the start
        places = length - 1 - (length - 1 - from_start).abs()  # and at the end
        return maps.gather(2, places[:, None].expand(-1, channels, -1))


class Discriminator(Trunk):
    """From waves (n, 1, length) to logits (n,).

    Args:
        spec: Lengths and class sizes.
        width: Channels of the first layer; each later layer has twice as many as the one before.
        shuffle: Phase shuffle's largest shift, 0 for none.
        slope: Negative slope of the LeakyReLUs.
    """

    per_image = True

    def __init__(
        self, spec: Spec, *, width: Width = 64, shuffle: Annotated[int, Field(ge=0, le=8)] = 2, slope: Slope = 0.2
    ) -> None:
        super().__init__()
        start, *sizes = lengths(spec)
        channels, layers = 1, []
        for index, size in enumerate(sizes):
            wider = width * 2**index
            layers += [nn.Conv1d(channels, wider, KERNEL, STRIDE, padding=11), nn.LeakyReLU(slope)]
            if size < sizes[-1]:
                layers.append(PhaseShuffle(shuffle))
            channels = wider
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.feature_width = channels * start
        self.head = Head(self.feature_width, spec.classes, "projection")


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    register("wavegan", Generator, summary="Transposed convolutions over time", paper=PAPER)


@hookimpl
def register_discriminators(register: Register[nn.Module]) -> None:
    register("wavegan", Discriminator, summary="Strided convolutions over time, with phase shuffle", paper=PAPER)


register_recipes = beside(__file__, "wavegan-tones")
