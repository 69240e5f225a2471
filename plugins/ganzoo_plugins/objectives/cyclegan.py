"""CycleGAN: translation between two sets of pictures, without any pairs.

Zhu, Park, Isola & Efros 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks",
arXiv:1703.10593. G translates sources x into targets y, F targets into sources, and each has a discriminator:

    min_{G, F}  E(D_Y(G(x)) - 1)² + E(D_X(F(y)) - 1)²
                + λ (E‖F(G(x)) - x‖₁ + E‖G(F(y)) - y‖₁)  +  λ ι (E‖G(y) - y‖₁ + E‖F(x) - x‖₁)
    min_{D}     ½ E(D_Y(y) - 1)² + ½ E D_Y(ŷ)²     for D_Y, and the same for D_X

with λ = 10 and, where colours should stay as they are, ι = 0.5 (section 5.2). ŷ comes from a pool of 50 images that G
made earlier (section 4; Shrivastava et al. 2017, arXiv:1612.07828): while the pool is filling, an image goes in and is
shown; then it is shown itself with probability ½, and otherwise takes the place of a random image, which is shown
instead. G and F are Johnson et al.'s residual network with instance normalisation, D_X and D_Y PatchGANs (section 4).

Nothing in this says which target belongs to a source. Any two translations that undo each other are as good: G may turn
every 3 into an 8, if F turns it back.

The roles ``generator`` and ``discriminator`` are G and D_Y; ``source_generator`` and ``source_discriminator`` are F and
D_X.

Differences from the paper:

- D's fakes are made from the batch of D's own step; in the authors' code, G's step has made them.
- Pool images have 256 levels, as real ones do.
- The instance normalisation of discriminators learns scales and shifts.
- Pictures of any size are padded with their border until they can be halved twice, and the result is cropped.
- A source and the target beside it are the same in all epochs; in the authors' code, the target is drawn at random. The
  loss never compares the two.
- Not implemented: pictures mirrored at random, and scaled up and cropped at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from ganzoo import (
    Batch,
    GanzooError,
    Images,
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
from ganzoo.layers import Depth, ImageTanh, Width
from ganzoo_plugins.networks.dcgan import initialise
from ganzoo_plugins.objectives.pix2pix import Translating, judged, padded, source_shape, stand_in

PAPER = (
    "Zhu et al. 2017, Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, arXiv:1703.10593"
)
LEAST = 8  # pixels: what leaves two after halving twice, which mirrored borders and instance normalisation need


class Residual(nn.Module):
    """x + f(x), with two 3x3 convolutions on mirrored borders.

    Args:
        width: Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect") for _ in range(2)]
        norms = [nn.InstanceNorm2d(width) for _ in range(2)]
        self.layers = nn.Sequential(convolutions[0], norms[0], nn.ReLU(), convolutions[1], norms[1])

    def forward(self, maps: Tensor) -> Tensor:
        """The same shape (n, c, h, w)."""
        change: Tensor = self.layers(maps)
        return maps + change


class ResNet(nn.Module):
    """From sources (n, c, h, w) to images of the same shape in [-1, 1].

    Args:
        spec: Image sizes.
        width: Channels of the first layer; both strided convolutions double them.
        blocks: Residual blocks: 6 for pictures of 128 pixels in the paper, 9 for larger ones.
    """

    def __init__(self, spec: Spec, *, width: Width = 64, blocks: Depth = 6) -> None:
        super().__init__()
        self.shape = spec.image_shape

        def normed(convolution: nn.Module, channels: int) -> list[nn.Module]:
            return [convolution, nn.InstanceNorm2d(channels), nn.ReLU()]

        def doubling(channels: int) -> nn.Module:
            return nn.ConvTranspose2d(2 * channels, channels, 3, 2, padding=1, output_padding=1)

        self.layers = nn.Sequential(
            *normed(nn.Conv2d(spec.channels, width, 7, padding=3, padding_mode="reflect"), width),
            *normed(nn.Conv2d(width, 2 * width, 3, 2, padding=1), 2 * width),
            *normed(nn.Conv2d(2 * width, 4 * width, 3, 2, padding=1), 4 * width),
            *(Residual(4 * width) for _ in range(blocks)),
            *normed(doubling(2 * width), 2 * width),
            *normed(doubling(width), width),
            nn.Conv2d(width, spec.channels, 7, padding=3, padding_mode="reflect"),
            ImageTanh(),
        )
        self.apply(initialise)

    def forward(self, z: Tensor, *, source: Tensor | None = None) -> Tensor:
        """Images for sources (n, c, h, w) in [-1, 1]; codes (n, latent) only stand in where there are none."""
        if source is None:
            source = stand_in(z, self.shape)
        whole, (rows, columns) = padded(source, 4, LEAST)
        images: Tensor = self.layers(whole)
        return images[..., rows, columns]


class ImagePool(nn.Module):
    """Images that a generator made earlier, in buffers.

    Args:
        size: Number of images; 0 for no pool.
        modality: What they are.
    """

    images: Tensor
    filled: Tensor

    def __init__(self, size: int, modality: Images) -> None:
        super().__init__()
        self.size, self.modality = size, modality
        # Not floats: several processes would average them.
        self.register_buffer("images", torch.zeros(size, *modality.shape, dtype=modality.stored))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def exchange(self, images: Tensor) -> Tensor:
        """Images (n, c, h, w) in [-1, 1], some of them exchanged for older ones, one after another."""
        if not self.size:
            return images
        shown = []
        for image in self.modality.from_network(images):
            filling = self.filled < self.size
            somewhere = torch.randint(self.size, (), device=images.device)
            place = torch.where(filling, self.filled, somewhere).view(1)
            older = self.images.index_select(0, place)[0]
            itself = filling | (torch.rand((), device=images.device) < 0.5)
            shown.append(torch.where(itself, image, older))
            enters = filling | ~itself
            self.images.index_copy_(0, place, torch.where(enters, image, older)[None])
            self.filled += filling
        return self.modality.to_network(torch.stack(shown))


class CycleGAN(Translating):
    """Two adversarial games, and cycles between them.

    Args:
        cycle: λ.
        identity: ι, the weight of the identity loss relative to λ; 0 leaves it out.
        pool: Images in each pool; 0 for no pools.
    """

    roles: ClassVar[Mapping[str, Literal["generator", "discriminator", "encoder"]]] = {
        "generator": "generator",
        "source_generator": "generator",
        "discriminator": "discriminator",
        "source_discriminator": "discriminator",
    }
    samples_with = ("generator", "source_generator")

    def __init__(
        self, *, cycle: Weight = 10.0, identity: Weight = 0.5, pool: Annotated[int, Field(ge=0, le=10_000)] = 50
    ) -> None:
        super().__init__()
        self.cycle, self.identity, self.pool = cycle, identity, pool

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Make the pools.

        Raises:
            GanzooError: Sources and images differ in shape, or a discriminator does not judge patches.
        """
        shape = spec.image_shape
        if source_shape(spec) != shape:
            raise GanzooError(
                f"CycleGAN translates both ways, but sources have the shape {source_shape(spec)} and images {shape}.",
                "Give both the same size and the same colours.",
            )
        self.targets, self.sources = (ImagePool(self.pool, Images(*shape)) for _ in range(2))
        return super().bind(spec, networks)

    def phases(self) -> list[Phase]:
        return [
            Phase("generators", ("generator", "source_generator"), self.generator_loss),
            Phase("discriminators", ("discriminator", "source_discriminator"), self.discriminator_loss),
        ]

    def to_target(self, networks: Networks, images: Tensor, batch: Batch) -> Tensor:
        """G(x), (n, c, h, w)."""
        return self.generate(networks, batch.z, batch.label, images).float()

    def to_source(self, networks: Networks, images: Tensor, batch: Batch) -> Tensor:
        """F(y), (n, c, h, w)."""
        result: Tensor = networks["source_generator"](batch.z, source=images)
        return result.float()

    def overview(self, networks: Networks, z: Tensor, label: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """Source, result and the source again, F(G(x)): (n, 3, c, h, w)."""
        source = columns["source"]
        result = self.generate(networks, z, label, source).float()
        return torch.stack([source, result, networks["source_generator"](z, source=result).float()], dim=1)

    def generator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """Both games, the cycles and, unless ι is 0, the identity loss."""
        x, y = batch.source, batch.real
        assert x is not None
        made_y, made_x = self.to_target(networks, x, batch), self.to_source(networks, y, batch)
        game = (judged(networks["discriminator"], made_y) - 1).square().mean()
        game = game + (judged(networks["source_discriminator"], made_x) - 1).square().mean()
        cycle = l1_loss(self.to_source(networks, made_y, batch), x) + l1_loss(
            self.to_target(networks, made_x, batch), y
        )
        loss = game + self.cycle * cycle
        losses = {"game": game, "cycle": cycle}
        if self.identity:
            same = l1_loss(self.to_target(networks, y, batch), y) + l1_loss(self.to_source(networks, x, batch), x)
            loss, losses["identity"] = loss + self.cycle * self.identity * same, same
        return {"loss": loss, **losses}

    def discriminator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """Least squares of both discriminators, with fakes from the pools."""
        assert batch.source is not None
        with torch.no_grad():
            made_y = self.targets.exchange(self.to_target(networks, batch.source, batch))
            made_x = self.sources.exchange(self.to_source(networks, batch.real, batch))
        target = _least_squares(networks["discriminator"], batch.real, made_y)
        source = _least_squares(networks["source_discriminator"], batch.source, made_x)
        return {"loss": target + source, "target": target, "source": source}


def _least_squares(discriminator: nn.Module, real: Tensor, made: Tensor) -> Tensor:
    return ((judged(discriminator, real) - 1).square().mean() + judged(discriminator, made).square().mean()) / 2


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    register("resnet-translator", ResNet, summary="Residual network from sources to images", paper=PAPER)


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    register("cyclegan", CycleGAN, summary="Between two sets of pictures, without pairs", paper=PAPER)


register_recipes = beside(__file__, "cyclegan-printed-to-handwritten")
