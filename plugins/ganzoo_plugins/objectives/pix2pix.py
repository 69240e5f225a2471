"""pix2pix: from a picture x to its counterpart y, learned from pairs.

Isola, Zhu, Zhou & Efros 2017, "Image-to-Image Translation with Conditional Adversarial Networks", arXiv:1611.07004.
Equations 1, 3 and 4:

    min_G max_D  E[log D(x, y)] + E[log(1 - D(x, G(x)))] + λ E‖y - G(x)‖₁,    λ = 100

G's loss is non-saturating and D's is halved (section 3.3). G is a U-Net (section 3.2.1): an encoder that halves the
picture until a single position is left, or eight times, and a decoder that doubles it again and sees the encoder's maps
of the same size. D, a PatchGAN (section 3.2.2), sees source and target on top of one another and returns a logit for
each patch; losses are means over patches. With ``layers`` strided convolutions, a patch has 16, 34 or 70 pixels a side
for 1, 2, 3.

Without the game (``adversarial: 0``), this is regression by L1, the baseline of the paper's section 4.2.

Differences from the paper:

- Pictures of any size are padded with their border until they can be halved, and the result is cropped. Patches reach
  beyond a picture that is smaller than they are.
- A source may be smaller than its target by a whole factor; each of its pixels is then repeated first.
- Samples are drawn like those of all generators here: dropout, the paper's only noise, is off, and batch normalisation
  uses its running statistics. A picture's result then depends on nothing else.
- Not implemented: pictures mirrored at random, and scaled up and cropped at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, l1_loss, pad, softplus

from ganzoo import (
    Batch,
    GanzooError,
    Losses,
    Networks,
    Objective,
    Phase,
    Register,
    Share,
    Spec,
    Weight,
    beside,
    hookimpl,
)
from ganzoo.layers import Depth, ImageTanh, Norm, Width, image_norm
from ganzoo_plugins.networks.dcgan import initialise

PAPER = "Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks, arXiv:1611.07004"
MAX_DEPTH = 8


def source_shape(spec: Spec) -> tuple[int, int, int]:
    """(channels, height, width) of the dataset's sources; those of its images if it has none.

    Raises:
        GanzooError: The images are not the same whole number of times as high and as wide as their sources.
    """
    channels, height, width = dict(spec.columns).get("source", spec.image_shape)
    factor = spec.height // height
    if (height * factor, width * factor) != spec.image_shape[1:]:
        raise GanzooError(
            f"The sources are {height}x{width} and the images {spec.height}x{spec.width}.",
            "Give images that are a whole number of times as large as their sources.",
        )
    return channels, height, width


def stand_in(z: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Pictures (n, *shape) of the numbers of codes (n, latent), in turn: where there is no source."""
    pixels = prod(shape)
    return z.repeat(1, -(-pixels // z.shape[1]))[:, :pixels].view(-1, *shape)


def repeated(images: Tensor, factor: int) -> Tensor:
    """Images (n, c, h, w) with each pixel ``factor`` times in both directions."""
    return interpolate(images, scale_factor=factor) if factor > 1 else images


def padded(images: Tensor, multiple: int, least: int = 1) -> tuple[Tensor, tuple[slice, slice]]:
    """Images (n, c, h, w) with their border repeated, until sides are multiples of a number and at least another.

    Also where the images then are: slices of rows and of columns.
    """
    height, width = images.shape[2:]
    down, right = (max(-side % multiple, least - side) for side in (height, width))
    top, left = down // 2, right // 2
    inside = slice(top, top + height), slice(left, left + width)
    if not down and not right:
        return images, inside
    return pad(images, (left, right - left, top, down - top), mode="replicate"), inside


class UNet(nn.Module):
    """From sources (n, c, h, w) to images of the same size, or a whole number of times as large, in [-1, 1].

    Args:
        spec: Image sizes, and those of the column ``source``.
        width: Channels of the first layer; each later layer has twice as many as the one before, at most ``8 * width``.
        dropout: Probability in the first three layers of the decoder.
        norm: Normalisation of all layers but the first, the innermost and the last.
    """

    def __init__(self, spec: Spec, *, width: Width = 64, dropout: Share = 0.5, norm: Norm = "batch") -> None:
        super().__init__()
        self.shape = source_shape(spec)
        self.factor = spec.height // self.shape[1]
        depth = min(MAX_DEPTH, max(1, (max(spec.image_shape[1:]) - 1).bit_length()))
        self.multiple = 2**depth
        widths = [width * min(8, 2**level) for level in range(depth)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (channels, wider) in enumerate(zip([self.shape[0], *widths], widths, strict=False)):
            activation = [nn.LeakyReLU(0.2)] if level else []
            normed = image_norm(norm, wider) if 0 < level < depth - 1 else []
            convolution = nn.Conv2d(channels, wider, 4, 2, 1, bias=norm != "batch")
            self.down.append(nn.Sequential(*activation, convolution, *normed))
        for level in reversed(range(depth)):
            inputs = widths[level] * (
                1 if level == depth - 1 else 2
            )  # all but the innermost also get a skip connection
            outputs = widths[level - 1] if level else spec.channels
            finish: list[nn.Module] = [ImageTanh()]
            if level:
                finish = [*image_norm(norm, outputs), *([nn.Dropout(dropout)] if level >= depth - 3 else [])]
            doubling = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=norm != "batch" or not level)
            self.up.append(nn.Sequential(nn.ReLU(), doubling, *finish))
        self.apply(initialise)

    def forward(self, z: Tensor, *, source: Tensor | None = None) -> Tensor:
        """Images for sources (n, c, h, w) in [-1, 1]; codes (n, latent) only stand in where there are none."""
        if source is None:
            source = stand_in(z, self.shape)
        maps, (rows, columns) = padded(repeated(source, self.factor), self.multiple)
        skipped: list[Tensor] = []
        for down in self.down:
            maps = down(maps)
            skipped.append(maps)
        maps = skipped.pop()
        for up in self.up:
            maps = up(maps)
            if skipped:
                maps = torch.cat([skipped.pop(), maps], dim=1)
        return maps[..., rows, columns]


class PatchGAN(nn.Module):
    """Judges patches of images (n, c, h, w), each beside its source; returns the mean logit (n,) of an image's.

    Args:
        spec: Image sizes, and those of the column ``source``.
        width: Channels of the first layer; each later layer has twice as many as the one before, at most ``8 * width``.
        layers: Strided convolutions.
        sees_source: Whether it also sees the source.
        norm: Normalisation of every layer but the first and the last.
    """

    def __init__(
        self, spec: Spec, *, width: Width = 64, layers: Depth = 3, sees_source: bool = True, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        self.shape = source_shape(spec) if sees_source else None
        self.least = 3 * 2**layers  # what leaves a patch
        self.per_image = norm != "batch"
        widths = [width * min(8, 2**level) for level in range(layers + 1)]
        inputs = spec.channels + (self.shape[0] if self.shape else 0)
        modules: list[nn.Module] = [nn.Conv2d(inputs, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for level in range(1, layers + 1):
            stride = 2 if level < layers else 1
            modules.append(nn.Conv2d(widths[level - 1], widths[level], 4, stride, 1, bias=norm != "batch"))
            modules += [*image_norm(norm, widths[level]), nn.LeakyReLU(0.2)]
        self.judge = nn.Sequential(*modules, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.apply(initialise)

    def patches(self, images: Tensor, source: Tensor | None = None) -> Tensor:
        """Logits (n, patches) of images (n, c, h, w) and their sources, grey if None."""
        if self.shape is not None:
            if source is None:
                source = images.new_zeros(len(images), *self.shape)
            images = torch.cat([repeated(source, images.shape[2] // source.shape[2]), images], dim=1)
        logits: Tensor = self.judge(padded(images, 1, self.least)[0])
        return logits.flatten(1)

    def forward(self, images: Tensor, *, source: Tensor | None = None) -> Tensor:
        """The mean logit (n,) of each image's patches."""
        return self.patches(images, source).mean(1)


def judged(discriminator: nn.Module, images: Tensor, source: Tensor | None = None) -> Tensor:
    """Float32 logits of all patches of all images."""
    logits: Tensor = discriminator.patches(images, source)  # type: ignore[operator]
    return logits.float()


class Translating(Objective):
    """The base of objectives whose generator starts from a source."""

    generates_from = ("source",)
    views = 3

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Refuse discriminators that do not judge patches."""
        for role, kind in self.roles.items():
            if kind == "discriminator" and not hasattr(networks[role], "patches"):
                raise GanzooError(
                    f"The {role} judges whole images, and this loss needs logits of patches.", "Choose 'patchgan'."
                )
        return super().bind(spec, networks)

    def generate(self, networks: Networks, z: Tensor, label: Tensor, source: Tensor | None = None) -> Tensor:
        """Images (n, c, h, w) for sources."""
        images: Tensor = networks["generator"](z, source=source)
        return images

    def translate(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """The results (n, c, h, w) for sources alone, which metrics compare with targets."""
        return self.generate(networks, images.new_zeros(len(images), self.spec.latent), label, images)

    def pictured(self, source: Tensor) -> Tensor:
        """Sources (n, ...) in the size and channels of images."""
        channels, height, _ = self.spec.image_shape
        same = source if source.shape[1] == channels else source.mean(1, keepdim=True).expand(-1, channels, -1, -1)
        return repeated(same, height // source.shape[2])


class Pix2Pix(Translating):
    """An adversarial game over pairs, and the L1 distance to the target.

    Args:
        l1: λ.
        adversarial: Weight of the game in G's loss; with 0, there is none, and D is not trained.
    """

    shows = ("image",)

    def __init__(self, *, l1: Weight = 100.0, adversarial: Weight = 1.0) -> None:
        super().__init__()
        self.l1, self.adversarial = l1, adversarial

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Refuse sources without targets."""
        if "unpaired" in dict(spec.columns):
            raise GanzooError(
                "pix2pix learns from pairs, and these sources have no targets.", "Use cyclegan's recipes."
            )
        return super().bind(spec, networks)

    def phases(self) -> list[Phase]:
        generator = Phase("generator", ("generator",), self.generator_loss)
        if not self.adversarial:
            return [generator]
        return [Phase("discriminator", ("discriminator",), self.discriminator_loss), generator]

    def overview(self, networks: Networks, z: Tensor, label: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """Source, result and target: (n, 3, c, h, w)."""
        result = self.generate(networks, z, label, columns["source"])
        return torch.stack([self.pictured(columns["source"]), result.float(), columns["image"]], dim=1)

    def discriminator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """Half of -E log D(x, y) - E log(1 - D(x, G(x)))."""
        with torch.no_grad():
            fake = self.fakes(networks, batch)
        real_logits, fake_logits = (
            judged(networks["discriminator"], images, batch.source) for images in (batch.real, fake)
        )
        loss = (softplus(-real_logits).mean() + softplus(fake_logits).mean()) / 2
        return {"loss": loss, "real_logits": real_logits.mean(), "fake_logits": fake_logits.mean()}

    def generator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """-E log D(x, G(x)) + λ E‖y - G(x)‖₁, with a mean over pixels in [-1, 1]."""
        fake = self.fakes(networks, batch)
        distance = l1_loss(fake.float(), batch.real)
        loss = self.l1 * distance
        if self.adversarial:
            loss = loss + self.adversarial * softplus(-judged(networks["discriminator"], fake, batch.source)).mean()
        return {"loss": loss, "l1": distance}


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    register("unet", UNet, summary="Encoder and decoder with skip connections, from sources to images", paper=PAPER)


@hookimpl
def register_discriminators(register: Register[nn.Module]) -> None:
    register("patchgan", PatchGAN, summary="Judges patches, each beside its source", paper=PAPER)


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    register("pix2pix", Pix2Pix, summary="From a source to its target, learned from pairs", paper=PAPER)


RECIPES = ("edges-to-digits", "half-to-whole", "small-to-large", "regular-to-bold", "sans-to-serif")

register_recipes = beside(__file__, *(f"pix2pix-{dataset}" for dataset in RECIPES))
