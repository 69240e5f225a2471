"""VQ-VAE: images as a few symbols, and a prior that learns how the symbols follow one another. No adversary at all.

van den Oord, Vinyals & Kavukcuoglu 2017, "Neural Discrete Representation Learning", arXiv:1711.00937. The encoder's
vectors z_e(x) are replaced by the nearest of K code vectors, e, and with sg for "no gradient"

    L = ‖x - Dec(z_q)‖² + ‖sg[z_e(x)] - e‖² + β ‖z_e(x) - sg[e]‖²,    z_q = z_e + sg[e - z_e]

whose last equation copies the decoder's gradient straight to the encoder. A second phase trains
p(k_1, ..., k_P) = Π p(k_i | k_1, ..., k_{i-1}) over the indices, by maximum likelihood; samples are drawn from it one
by one, then decoded.

Differences: the codes are a row of P = latent / ``code_width`` places, so that any encoder and any generator of this
zoo will do, where the paper has a grid of 32x32 and convolutions. The prior is a small causal transformer
(``torch.nn``'s) instead of a PixelCNN, and is trained along with the codes instead of after them. Squares are means
over numbers.

The latent code is where chance comes from: its first P numbers, made uniform, choose each symbol by the inverse of its
cumulative distribution. One code gives one image, and ``ganzoo sample --seed`` can be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from ganzoo import (
    Batch,
    CodesPrior,
    GanzooError,
    Losses,
    Networks,
    Objective,
    Phase,
    Register,
    RegisterRecipe,
    Spec,
    functional,
    hookimpl,
)
from ganzoo.layers import Depth, Width

PAPER = "van den Oord et al. 2017, Neural Discrete Representation Learning, arXiv:1711.00937"


class Codebook(nn.Embedding):
    """K code vectors; called with indices (n, P) it gives vectors (n, P, code_width).

    They begin close together, where a fresh encoder's vectors are too, so that no code is left out of reach.
    """

    def __init__(self, codes: int, code_width: int) -> None:
        super().__init__(codes, code_width)
        nn.init.normal_(self.weight, std=0.1)

    @torch.no_grad()
    def nearest(self, vectors: Tensor) -> Tensor:
        """Indices (n, P) of the code vectors nearest to vectors (n, P, code_width)."""
        return torch.cdist(vectors.float(), self.weight.float().expand(len(vectors), -1, -1)).argmin(2)


class CausalPrior(nn.Module):
    """p(k_i | k_1, ..., k_{i-1}) for all places at once.

    Args:
        codes: K.
        places: P.
        classes: Number of classes in a conditional recipe, 0 otherwise; each has a first token of its own.
        width: Width of the transformer, four times as wide inside, with 32 numbers for each head.
        depth: Its blocks.
    """

    def __init__(self, codes: int, places: int, classes: int, width: int, depth: int) -> None:
        super().__init__()
        self.codes, self.places = codes, places
        self.tokens = nn.Embedding(codes + max(1, classes), width)
        self.positions = nn.Parameter(torch.randn(places, width) * 0.02)
        heads = max(h for h in range(1, max(1, width // 32) + 1) if width % h == 0)
        options = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, **options)  # type: ignore[arg-type]
            for _ in range(depth)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, codes))

    def forward(self, before: Tensor, label: Tensor) -> Tensor:
        """Logits (n, i + 1, K) of the next code after each prefix of codes (n, i), given classes (n,)."""
        tokens = torch.cat([self.codes + label[:, None], before], dim=1)
        x = self.tokens(tokens) + self.positions[: tokens.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], device=x.device, dtype=x.dtype)
        for block in self.blocks:
            x = block(x, mask, is_causal=True)
        logits: Tensor = self.head(x)
        return logits.float()

    def sample(self, uniform: Tensor, label: Tensor) -> Tensor:
        """Codes (n, P), each chosen by a number in [0, 1) of ``uniform`` (n, P)."""
        chosen = uniform.new_zeros(len(uniform), 0, dtype=torch.int64)
        for place in range(self.places):
            cumulative = self(chosen, label)[:, -1].softmax(1).cumsum(1)
            index = torch.searchsorted(cumulative, uniform[:, place, None].contiguous(), right=True)
            chosen = torch.cat([chosen, index.clamp(max=self.codes - 1)], dim=1)
        return chosen


class VQVAE(Objective):
    """An autoencoder of symbols and the prior of its symbols; latent columns are P places of ``code_width`` numbers.

    Args:
        codes: K.
        code_width: Numbers in a code vector.
        commitment: β.
        prior_width: Width of the prior's transformer.
        prior_depth: Its blocks.
    """

    roles = {"encoder": "encoder", "generator": "generator"}  # noqa: RUF012
    samples_with = ("generator", "codebook", "prior")

    def __init__(
        self,
        *,
        codes: Annotated[int, Field(ge=2, le=65_536)] = 512,
        code_width: Width = 8,
        commitment: Annotated[float, Field(ge=0, le=1e6)] = 0.25,
        prior_width: Width = 128,
        prior_depth: Depth = 2,
    ) -> None:
        super().__init__()
        self.codes, self.code_width, self.commitment = codes, code_width, commitment
        self.prior_size = prior_width, prior_depth

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Adds the code vectors and their prior."""
        super().bind(spec, networks)
        if spec.latent % self.code_width or isinstance(spec.prior, CodesPrior):
            raise GanzooError(
                f"A VQ-VAE needs a gaussian or uniform prior of a multiple of {self.code_width} numbers, "
                f"and this is '{spec.prior.name}' of {spec.latent}.",
                f"Use e.g. prior: {{name: uniform, dim: {16 * self.code_width}}}, or change loss.code_width.",
            )
        places = spec.latent // self.code_width
        prior = CausalPrior(self.codes, places, spec.classes, *self.prior_size)
        return {"codebook": Codebook(self.codes, self.code_width), "prior": prior}

    def phases(self) -> list[Phase]:
        """The autoencoder's turn, and its prior's."""
        return [
            Phase("autoencoder", ("encoder", "generator", "codebook"), self.autoencoder_loss),
            Phase("prior", ("prior",), self.prior_loss),
        ]

    def encode(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """z_e (n, P, code_width) of images (n, c, h, w)."""
        vectors: Tensor = networks["encoder"](images, *self.condition(label))
        return vectors.float().view(len(vectors), -1, self.code_width)

    def decode(self, networks: Networks, vectors: Tensor, label: Tensor) -> Tensor:
        """Images (n, c, h, w) from vectors (n, P, code_width)."""
        images: Tensor = networks["generator"](vectors.flatten(1), *self.condition(label))
        return images

    def autoencoder_loss(self, networks: Networks, batch: Batch) -> Losses:
        """L, and how many codes are in use: the exponential of the entropy of their frequencies."""
        vectors, codebook = self.encode(networks, batch.real, batch.label), networks["codebook"]
        indices = codebook.nearest(vectors)  # type: ignore[operator]
        chosen = codebook(indices)
        again = self.decode(networks, vectors + (chosen - vectors).detach(), batch.label)
        error = mse_loss(again.float(), batch.real)
        moved, committed = mse_loss(chosen, vectors.detach()), mse_loss(vectors, chosen.detach())
        frequency = functional.one_hot(indices, self.codes).float().mean((0, 1))
        used = torch.special.entr(frequency).sum().exp()
        return {"loss": error + moved + self.commitment * committed, "error": error, "used_codes": used}

    def prior_loss(self, networks: Networks, batch: Batch) -> Losses:
        """-log p(k) in nats, a mean over places."""
        with torch.no_grad():
            vectors = self.encode(networks, batch.real, batch.label)
            indices = networks["codebook"].nearest(vectors)  # type: ignore[operator]
        logits = networks["prior"](indices[:, :-1], self.first(batch.label))
        return {"loss": cross_entropy(logits.flatten(0, 1), indices.flatten())}

    def first(self, label: Tensor) -> Tensor:
        """Which first token (n,) the prior begins with."""
        return label if self.spec.classes else torch.zeros_like(label)

    def generate(self, networks: Networks, z: Tensor, label: Tensor) -> Tensor:
        """Images (n, c, h, w) from codes (n, latent), whose first P numbers choose the symbols."""
        prior = networks["prior"]
        uniform = (z + 1) / 2 if self.spec.prior.name == "uniform" else torch.special.ndtr(z)
        indices = prior.sample(uniform, self.first(label))  # type: ignore[operator]
        return self.decode(networks, networks["codebook"](indices), label)


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    """The autoencoder of symbols with its prior."""
    register(
        "vq-vae",
        VQVAE,
        summary="Baseline: images as discrete codes, drawn from a learned prior",
        paper=PAPER,
        aliases=("vqvae",),
    )


@hookimpl
def register_recipes(register: RegisterRecipe) -> None:
    """Digits as sixteen symbols."""
    register(Path(__file__).with_name("vq-vae-mnist.yaml"), aliases=("vqvae-mnist",))
