"""Weight clipping, which makes the critic of the first Wasserstein GAN Lipschitz.

Arjovsky, Chintala & Bottou 2017, "Wasserstein GAN", arXiv:1701.07875. Algorithm 1, lines 6 and 7, for each step of the
critic:

    w ← w + α RMSProp(w, g_w)        w ← clip(w, -c, c),    c = 0.01

Clipping adds no term to the loss, so it has no ``weight``. All parameters are clipped, including biases and the scales
of normalisation layers, as in the authors' code. The Wasserstein loss is in the module wgan_gp.

Differences from the paper:

- The authors' code clips before each critic step, not after it.
- It takes 100 critic steps for each of G's first 25 steps and for every 500th G step; here the number is constant.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch.nn.utils.parametrize import is_parametrized

from ganzoo import GanzooError, Networks, Register, Regularizer, Spec, beside, hookimpl

PAPER = "Arjovsky, Chintala & Bottou 2017, Wasserstein GAN, arXiv:1701.07875"


class WeightClipping(Regularizer):
    """Clips every parameter of the critic to [-c, c].

    Args:
        limit: c.
    """

    def __init__(self, *, limit: Annotated[float, Field(gt=0, le=1e6)] = 0.01) -> None:
        super().__init__()
        self.limit = limit

    def bind(self, spec: Spec, networks: Networks) -> None:
        """Refuse weights that are computed from the clipped parameters."""
        if any(is_parametrized(layer) for layer in networks["discriminator"].modules()):
            raise GanzooError(
                "'weight-clipping' cannot limit weights that spectral_norm or equalised learning rates compute.",
                "Remove spectral_norm, or choose another discriminator.",
            )

    def after_step(self, networks: Networks) -> None:
        for parameter in networks["discriminator"].parameters():
            if parameter.requires_grad:  # not those that train.freeze keeps
                parameter.clamp_(-self.limit, self.limit)


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register(
        "weight-clipping",
        WeightClipping,
        summary="The critic's weights stay in [-c, c]",
        paper=PAPER,
        aliases=("clipping", "wgan"),
    )


register_recipes = beside(
    __file__,
    "weight-clipping-mnist",
    aliases={"weight-clipping-mnist": ("wasserstein-mnist", "wgan-mnist")},
)
