"""ReACGAN: an auxiliary classifier whose gradients neither explode nor stall.

Kang, Shim, Cho & Park 2021, "Rebooting ACGAN: Auxiliary Classifier GANs with Stable Training", arXiv:2111.01118. The
data-to-data cross-entropy on unit features f (a linear projection of D's) and unit class proxies v:

    L = -1/N Σ_i log  exp([f_i·v_{y_i} - m_p]_- / τ)
                     / ( exp([f_i·v_{y_i} - m_p]_- / τ) + Σ_{j: y_j ≠ y_i} exp([f_i·f_j - m_n]_+ / τ) )

with [·]_- = min(·, 0) and [·]_+ = max(·, 0): an image close enough to its proxy is pulled no closer, and one far enough
from images of other classes is pushed no further. D minimises L on real images, G on fakes. As with ACGAN, D does not
get the label. The defaults are the authors' for CIFAR-10, which like MNIST has ten classes.

Differences from the paper:

- The authors' code derives m_n = 1 - m_p from m_p; here the two are separate options.
- It also subtracts each row's largest (f_i·f_j - m_n) / τ, over all other images of any class, from the exponents of
  the sum over j alone: where it is positive, images of other classes weigh less than in the equation, and more where it
  is negative.
- If D is spectrally normalised, so are the authors' projection and proxies; here they are not, which matters little
  once they are scaled to unit length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ganzoo import (
    EverySteps,
    Networks,
    Register,
    Regularizer,
    RegularizerContext,
    Spec,
    Weight,
    beside,
    hookimpl,
)
from ganzoo.layers import Width
from ganzoo_plugins.regularizers.acgan import refuse_unlabelled

PAPER = "Kang, Shim, Cho & Park 2021, Rebooting ACGAN, arXiv:2111.01118"


class Proxies(nn.Module):
    """Projects D's features to the unit sphere and holds one point on it for each class.

    Args:
        width: Number of features.
        classes: Number of classes.
        dim: Dimensions of the space that contains the sphere.
    """

    def __init__(self, width: int, classes: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, dim)
        self.proxies = nn.Embedding(classes, dim)

    def forward(self, features: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Unit embeddings (n, dim) of features (n, width), and the unit proxies (n, dim) of labels (n,); float32."""
        return normalize(self.project(features).float(), dim=1), normalize(self.proxies(label).float(), dim=1)


Cosine = Annotated[float, Field(ge=-1, le=1)]


def data_to_data_cross_entropy(
    embedded: Tensor, proxy: Tensor, label: Tensor, *, temperature: float, positive: float, negative: float
) -> Tensor:
    """The loss L in the module's docstring.

    Args:
        embedded: f, unit vectors (n, dim).
        proxy: v of each label, unit vectors (n, dim).
        label: Classes (n,).
        temperature: τ.
        positive: m_p, a cosine.
        negative: m_n, a cosine.
    """
    close = ((embedded * proxy).sum(1) - positive).clamp(max=0) / temperature
    others = (embedded @ embedded.T - negative).clamp(min=0) / temperature
    others = others.masked_fill(label.unsqueeze(1) == label, float("-inf"))
    return (torch.logsumexp(torch.cat([close.unsqueeze(1), others], dim=1), dim=1) - close).mean()


class DataToData(Regularizer):
    """Data-to-data cross-entropy on the discriminator's features.

    Args:
        weight: Factor of the cross-entropy, on both sides.
        every_steps: Steps between applications.
        dim: Dimensions of the embedding.
        temperature: τ; smaller values make the softmax sharper.
        positive: m_p, the cosine at which an image is close enough to its proxy.
        negative: m_n, the cosine below which images of two classes are far enough apart; 1 - m_p in the authors' code.
    """

    side = "both"
    reads_features = True

    def __init__(
        self,
        *,
        weight: Weight = 0.5,
        every_steps: EverySteps = 1,
        dim: Width = 512,
        temperature: Annotated[float, Field(ge=1e-3, le=1e3)] = 0.5,
        positive: Cosine = 0.98,
        negative: Cosine = 0.02,
    ) -> None:
        super().__init__(weight=weight, every_steps=every_steps)
        self.dim = dim
        self.settings = {"temperature": temperature, "positive": positive, "negative": negative}

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Add the projection and the proxies, which are trained in D's phase."""
        refuse_unlabelled(self, spec, networks["discriminator"])
        width: int = networks["discriminator"].feature_width  # type: ignore[assignment]
        return {"proxies": Proxies(width, spec.classes, self.dim)}

    def penalty(self, context: RegularizerContext) -> Tensor:
        """L over real images in D's phase, over fakes in G's."""
        images = context.fake if context.player == "generator" else context.real
        label = context.batch.label
        embedded, proxy = context.networks["proxies"](context.features(images), label)
        return data_to_data_cross_entropy(embedded, proxy, label, **self.settings)


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register(
        "d2d-ce",
        DataToData,
        summary="Images near their class's proxy, far from other classes",
        paper=PAPER,
        aliases=("reacgan",),
    )


register_recipes = beside(__file__, "reacgan-mnist")
