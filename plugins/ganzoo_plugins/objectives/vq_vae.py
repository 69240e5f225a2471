"""VQ-VAE: images as a grid of symbols, and a learned prior over the symbols, without an adversary.

van den Oord, Vinyals & Kavukcuoglu 2017, "Neural Discrete Representation Learning", arXiv:1711.00937. Each of the
encoder's vectors z_e(x), one for each position of a grid, is replaced by the nearest of K code vectors, e. With sg for
"stop gradient", the loss is

    L = ‖x - Dec(z_q)‖² + ‖sg[z_e(x)] - e‖² + β ‖z_e(x) - sg[e]‖²,    z_q = z_e + sg[e - z_e]

where the last equation copies the decoder's gradient straight to the encoder. Once the codes have settled, a PixelCNN
learns the indices row by row, by maximum likelihood:

    p(k_1, ..., k_P) = Π p(k_i | k_1, ..., k_{i-1})

To generate an image, its symbols are drawn from the prior one by one, then decoded. By default, the first half of
training updates the autoencoder and the second half the prior:
``phases: {autoencoder: {end: 0.5}, prior: {begin: 0.5}}``.

The networks are those of section 4.1: two strided 4x4 convolutions and two residual blocks, mirrored in the decoder, so
28x28 pixels become 7x7 positions. As in the authors' example, a 3x3 convolution precedes the decoder's blocks. Any
other encoder and generator work, too: with another generator, P = latent / ``code_width`` positions form one row. The
prior is a gated PixelCNN (van den Oord et al. 2016, "Conditional Image Generation with PixelCNN Decoders",
arXiv:1606.05328).

Differences from the paper:

- Squared norms are means; the authors' example also divides the first by the data's variance, and can learn the codes
  as moving averages.
- Dec ends in a tanh.
- The encoder ends in batch normalisation (Łańcucki et al. 2020, "Robust Training of Vector Quantized Bottleneck
  Models", arXiv:2005.08520): without it, an untrained encoder's vectors hardly differ, so a few codes would capture
  them all (codebook collapse).
- The prior has one stack of masked convolutions. Its paper needs two to see every position above; here a wide first
  kernel and the blocks after it see nearly all of a small grid.
- It also has a learned vector for each position, and layer normalisation before the logits.
- It is sampled by inverse transform: the first P latent variables, transformed to U(0, 1), choose the symbols, so a
  latent code determines its image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy, linear, mse_loss, pad

from ganzoo import (
    Batch,
    GanzooError,
    GaussianPrior,
    Losses,
    Networks,
    Objective,
    Phase,
    Register,
    Spec,
    UniformPrior,
    beside,
    hookimpl,
)
from ganzoo.layers import Crop, Depth, ImageTanh, UpConv2d, Width, own_statistics, with_label

PAPER = "van den Oord et al. 2017, Neural Discrete Representation Learning, arXiv:1711.00937"
FIRST_KERNEL = 7
"""Kernel width of the PixelCNN's first layer."""


class Residual(nn.Module):
    """x + conv(relu(conv(relu(x)))); the inner convolution is 3x3, the outer 1x1.

    Args:
        width: Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, width, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """Feature maps (n, width, h, w) to the same shape."""
        added: Tensor = self.layers(maps)
        return maps + added


class OnGrid(nn.Module):
    """A network with a code vector for each position of a grid, whose sides are a quarter of the image's, rounded up.

    If the latent code does not divide evenly over the positions, it is padded with zeros.

    Args:
        spec: Image, latent and class sizes.

    Attributes:
        grid: Rows and columns.
        numbers: Length of the vector at each position.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.grid = rows, columns = -(-spec.height // 4), -(-spec.width // 4)
        self.numbers = -(-spec.latent // (rows * columns))


class Encoder(OnGrid):
    """From images (n, c, h, w) to codes (n, latent): a vector for each position of the grid, row by row.

    Args:
        spec: Image, latent and class sizes.
        width: Channels of the hidden layers, 256 in the paper.
    """

    def __init__(self, spec: Spec, *, width: Width = 256) -> None:
        super().__init__(spec)
        rows, columns = self.grid
        self.padding = (0, 4 * columns - spec.width, 0, 4 * rows - spec.height)
        self.layers = nn.Sequential(
            nn.Conv2d(spec.channels + spec.classes, width, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 4, 2, 1),
            Residual(width),
            Residual(width),
            nn.ReLU(),
            nn.Conv2d(width, self.numbers, 1),
            nn.BatchNorm2d(self.numbers, affine=False),
        )

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Codes (n, latent) of images (n, c, h, w) and, in a conditional recipe, labels (n,)."""
        maps: Tensor = self.layers(with_label(pad(images, self.padding), label, self.spec.classes))
        return maps.permute(0, 2, 3, 1).flatten(1)[:, : self.spec.latent]


class Generator(OnGrid):
    """From codes (n, latent), a vector for each position of the grid, to images (n, c, h, w) in [-1, 1].

    Args:
        spec: Image, latent and class sizes.
        width: Channels of the hidden layers, 256 in the paper.
    """

    def __init__(self, spec: Spec, *, width: Width = 256) -> None:
        super().__init__(spec)
        self.layers = nn.Sequential(
            nn.Conv2d(self.numbers + spec.classes, width, 3, 1, 1),
            Residual(width),
            Residual(width),
            nn.ReLU(),
            UpConv2d(width, width),
            nn.ReLU(),
            UpConv2d(width, spec.channels),
            Crop((spec.height, spec.width)),
            ImageTanh(),
        )

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Images (n, c, h, w) from codes (n, latent) and, in a conditional recipe, labels (n,)."""
        rows, columns = self.grid
        filled = pad(z, (0, rows * columns * self.numbers - z.shape[1]))
        maps = filled.view(len(z), rows, columns, self.numbers).permute(0, 3, 1, 2)
        images: Tensor = self.layers(with_label(maps, label, self.spec.classes))
        return images


class Codebook(nn.Embedding):
    """K code vectors; called with indices (n, P), it returns vectors (n, P, code_width).

    They start close together, in the middle of the encoder's vectors, so no code starts out of reach.
    """

    def __init__(self, codes: int, code_width: int) -> None:
        super().__init__(codes, code_width)
        nn.init.normal_(self.weight, std=0.1)

    @torch.no_grad()
    def nearest(self, vectors: Tensor) -> Tensor:
        """Indices (n, P) of the code vectors nearest to vectors (n, P, code_width)."""
        distances = torch.cdist(vectors.float().flatten(0, 1), self.weight.float())
        return distances.argmin(1).view(vectors.shape[:2])


class CausalConv2d(nn.Module):
    """A convolution that sees the rows above a position and the positions to its left.

    Args:
        channels: Channels of the input.
        wider: Channels of the output.
        kernel: Width of the kernel, odd; it covers the middle row and those above.
        itself: Whether it also sees the position itself (a PixelCNN's mask B) or not (mask A).
    """

    mask: Tensor

    def __init__(self, channels: int, wider: int, kernel: int, *, itself: bool) -> None:
        super().__init__()
        self.beside, self.above = kernel // 2, kernel // 2
        whole = nn.Conv2d(channels, wider, (self.above + 1, kernel))
        self.weight, self.bias = whole.weight, whole.bias
        mask = torch.ones(self.above + 1, kernel)
        mask[-1, self.beside + itself :] = 0
        self.register_buffer("mask", mask, persistent=False)

    def padded(self, maps: Tensor) -> Tensor:
        """Maps (n, channels, h, w) with zeros where a kernel reaches beyond the first row and the sides."""
        return pad(maps, (self.beside, self.beside, self.above, 0))

    def forward(self, maps: Tensor) -> Tensor:
        """(n, channels, h, w) to (n, wider, h, w)."""
        return conv2d(self.padded(maps), self.weight * self.mask, self.bias)

    def at(self, padded: Tensor, row: int, column: int) -> Tensor:
        """One position (n, wider) of ``forward``, from the output of ``padded``."""
        window = padded[:, :, row : row + self.above + 1, column : column + 2 * self.beside + 1]
        return linear(window.flatten(1), (self.weight * self.mask).flatten(1), self.bias)


class GatedBlock(nn.Module):
    """x + W (tanh(a) · sigmoid(b)): a and b are convolutions of x plus, in a conditional recipe, class embeddings.

    Args:
        width: Channels.
        classes: Number of classes in a conditional recipe, 0 otherwise.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.conv = CausalConv2d(width, 2 * width, 3, itself=True)
        self.of_class = nn.Embedding(classes, 2 * width) if classes else None
        self.out = nn.Linear(width, width)

    def gate(self, seen: Tensor, label: Tensor) -> Tensor:
        """The term added to x, (..., width), from the convolution's output (..., 2 · width)."""
        if self.of_class is not None:
            vectors: Tensor = self.of_class(label)
            seen = seen + vectors.view(len(label), *(1,) * (seen.dim() - 2), -1)
        a, b = seen.chunk(2, dim=-1)
        added: Tensor = self.out(a.tanh() * b.sigmoid())
        return added

    def forward(self, maps: Tensor, label: Tensor) -> Tensor:
        """(n, width, h, w) and classes (n,) to (n, width, h, w)."""
        return maps + self.gate(self.conv(maps).permute(0, 2, 3, 1), label).permute(0, 3, 1, 2)


class PixelCNN(nn.Module):
    """p(k_i | k_1, ..., k_{i-1}) for all positions of a grid, row by row.

    Args:
        codes: K.
        grid: Rows and columns.
        classes: Number of classes in a conditional recipe, 0 otherwise.
        width: Channels.
        depth: Gated blocks.
    """

    def __init__(self, codes: int, grid: tuple[int, int], classes: int, width: int, depth: int) -> None:
        super().__init__()
        self.codes, self.grid, self.width = codes, grid, width
        self.embedding = nn.Embedding(codes, width)
        self.first = CausalConv2d(width, width, FIRST_KERNEL, itself=False)
        self.places = nn.Parameter(torch.randn(width, *grid) * 0.02)
        self.blocks = nn.ModuleList(GatedBlock(width, classes) for _ in range(depth))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, codes))

    def forward(self, indices: Tensor, label: Tensor) -> Tensor:
        """Logits (n, P, K) of every code (n, P) from those before it, given classes (n,)."""
        maps = self.first(self.embedding(indices.view(-1, *self.grid)).permute(0, 3, 1, 2)) + self.places
        for block in self.blocks:
            maps = block(maps, label)
        logits: Tensor = self.head(maps.permute(0, 2, 3, 1).flatten(1, 2))
        return logits.float()

    def sample(self, uniform: Tensor, label: Tensor) -> Tensor:
        """Codes (n, P), each chosen by a number in [0, 1) from ``uniform`` (n, P).

        Every layer caches its inputs so far, so sampling all positions costs as much as one call of ``forward``.
        """
        empty = uniform.new_zeros(len(uniform), self.width, *self.grid)
        blocks = [cast("GatedBlock", block) for block in self.blocks]
        seen = [conv.padded(empty) for conv in (self.first, *(block.conv for block in blocks))]
        chosen = torch.empty_like(uniform, dtype=torch.int64)
        for place in range(uniform.shape[1]):
            row, column = divmod(place, self.grid[1])
            x = self.first.at(seen[0], row, column) + self.places[:, row, column]
            for block, maps in zip(blocks, seen[1:], strict=True):
                maps[:, :, block.conv.above + row, block.conv.beside + column] = x
                x = x + block.gate(block.conv.at(maps, row, column), label)
            cumulative = self.head(x).float().softmax(1).cumsum(1)
            index = torch.searchsorted(cumulative, uniform[:, place, None].contiguous(), right=True)
            chosen[:, place] = index.squeeze(1).clamp(max=self.codes - 1)
            seen[0][:, :, self.first.above + row, self.first.beside + column] = self.embedding(chosen[:, place])
        return chosen


class VQVAE(Objective):
    """An autoencoder with discrete codes, and a prior over them; the latent code splits evenly over P positions.

    Args:
        codes: K.
        code_width: Length of a code vector. With this module's generator, the latent code is divided over its grid
            instead.
        commitment: β.
        prior_width: Channels of the PixelCNN.
        prior_depth: Number of gated blocks in the PixelCNN.
    """

    roles = {"encoder": "encoder", "generator": "generator"}  # noqa: RUF012
    samples_with = ("generator", "codebook", "prior", "encoder")

    def __init__(
        self,
        *,
        codes: Annotated[int, Field(ge=2, le=65_536)] = 512,
        code_width: Width = 8,
        commitment: Annotated[float, Field(ge=0, le=1e6)] = 0.25,
        prior_width: Width = 64,
        prior_depth: Depth = 4,
    ) -> None:
        super().__init__()
        self.n_codes, self.code_width, self.commitment = codes, code_width, commitment
        self.prior_size = prior_width, prior_depth

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        super().bind(spec, networks)
        generator = networks["generator"]
        grid = generator.grid if isinstance(generator, OnGrid) else None
        known = isinstance(spec.prior, (GaussianPrior, UniformPrior))
        if (grid is None and spec.latent % self.code_width) or not known:
            raise GanzooError(
                f"A VQ-VAE needs a gaussian or uniform prior whose dimension is a multiple of {self.code_width}, "
                f"but this one is '{spec.prior.name}' with {spec.latent} dimensions.",
                f"Use e.g. prior: {{name: uniform, dim: {16 * self.code_width}}}, or change loss.code_width.",
            )
        rows, columns = grid or (1, spec.latent // self.code_width)
        self.places = rows * columns
        self.code_width = -(-spec.latent // self.places)
        prior = PixelCNN(self.n_codes, (rows, columns), spec.classes, *self.prior_size)
        return {"codebook": Codebook(self.n_codes, self.code_width), "prior": prior}

    def phases(self) -> list[Phase]:
        return [
            Phase("autoencoder", ("encoder", "generator", "codebook"), self.autoencoder_loss, end=0.5),
            Phase("prior", ("prior",), self.prior_loss, begin=0.5),
        ]

    def encode(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """z_e (n, P, code_width) of images (n, c, h, w)."""
        vectors: Tensor = networks["encoder"](images, *self.condition(label))
        filled = pad(vectors.float(), (0, self.places * self.code_width - self.spec.latent))
        return filled.view(len(vectors), self.places, self.code_width)

    def decode(self, networks: Networks, vectors: Tensor, label: Tensor) -> Tensor:
        """Images (n, c, h, w) from vectors (n, P, code_width)."""
        images: Tensor = networks["generator"](vectors.flatten(1)[:, : self.spec.latent], *self.condition(label))
        return images

    def autoencoder_loss(self, networks: Networks, batch: Batch) -> Losses:
        """L, and the number of codes in use: the exponential of the entropy of their frequencies."""
        vectors, codebook = self.encode(networks, batch.real, batch.label), networks["codebook"]
        indices = codebook.nearest(vectors)  # type: ignore[operator]
        chosen = codebook(indices)
        again = self.decode(networks, vectors + (chosen - vectors).detach(), batch.label)
        error = mse_loss(again.float(), batch.real)
        moved, committed = mse_loss(chosen, vectors.detach()), mse_loss(vectors, chosen.detach())
        shares = error.new_full((indices.numel(),), 1 / indices.numel())
        frequency = error.new_zeros(self.n_codes).index_add(0, indices.flatten(), shares)
        used = torch.special.entr(frequency).sum().exp()
        return {"loss": error + moved + self.commitment * committed, "error": error, "used_codes": used}

    def prior_loss(self, networks: Networks, batch: Batch) -> Losses:
        """-log p(k) in nats, averaged over positions."""
        with torch.no_grad():
            vectors = self.encode(networks, batch.real, batch.label)
            indices = networks["codebook"].nearest(vectors)  # type: ignore[operator]
        logits = networks["prior"](indices, batch.label)
        return {"loss": cross_entropy(logits.flatten(0, 1), indices.flatten())}

    def reconstruct(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """Images (n, c, h, w) reconstructed from their codes."""
        codebook = networks["codebook"]
        vectors = codebook(codebook.nearest(self.encode(networks, images, label)))  # type: ignore[operator]
        # Any batch normalisation in the decoder uses the statistics of these codes, not of the prior's.
        with own_statistics(networks["generator"]):
            return self.decode(networks, vectors, label)

    def generate(self, networks: Networks, z: Tensor, label: Tensor) -> Tensor:
        """Images (n, c, h, w) from codes (n, latent), whose first P numbers choose the symbols."""
        uniform = (z + 1) / 2 if isinstance(self.spec.prior, UniformPrior) else torch.special.ndtr(z)
        indices = networks["prior"].sample(uniform[:, : self.places], label)  # type: ignore[operator]
        return self.decode(networks, networks["codebook"](indices), label)


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    register(
        "vq-vae", Generator, summary="Residual blocks and transposed convolutions, from a grid of codes", paper=PAPER
    )


@hookimpl
def register_encoders(register: Register[nn.Module]) -> None:
    register("vq-vae", Encoder, summary="Strided convolutions and residual blocks, to a grid of codes", paper=PAPER)


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    register(
        "vq-vae",
        VQVAE,
        summary="Baseline: images as discrete codes, drawn from a learned prior",
        paper=PAPER,
        aliases=("vqvae",),
    )


register_recipes = beside(__file__, "vq-vae-mnist", aliases={"vq-vae-mnist": ("vqvae-mnist",)})
