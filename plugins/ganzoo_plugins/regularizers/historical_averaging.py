"""Historical averaging: parameters are pulled towards the mean of their past values.

Salimans et al. 2016, "Improved Techniques for Training GANs", arXiv:1606.03498, section 3.3. For either player with
parameters θ:

    ‖θ - 1/t Σ_{i=1..t} θ[i]‖²

The idea comes from fictitious play, in which players that circle an equilibrium can settle in it. The mean is a buffer
as large as the network; it starts at the parameters before the first step (after it, if ``every_steps`` is above 1),
and is updated after each update of the player. The paper gives no weight. The distance is a sum over all parameters,
hence the small default of 1e-3.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

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

PAPER = "Salimans et al. 2016, Improved Techniques for Training GANs, arXiv:1606.03498"


def flat(network: nn.Module) -> Tensor:
    """All parameters as one vector."""
    return torch.cat([parameter.flatten() for parameter in network.parameters()])


class HistoricalAveraging(Regularizer):
    """Squared distance between a network's parameters and their historical mean.

    Args:
        weight: Factor of the distance in the loss.
        every_steps: Steps between applications.
        side: The player. To regularise both, list the regularizer once for each.
    """

    average: Tensor
    steps: Tensor

    def __init__(
        self,
        *,
        weight: Weight = 1e-3,
        every_steps: EverySteps = 1,
        side: Literal["discriminator", "generator"] = "generator",
    ) -> None:
        super().__init__(weight=weight, every_steps=every_steps)
        self.side = side

    def bind(self, spec: Spec, networks: Networks) -> None:
        self.register_buffer("average", torch.zeros_like(flat(networks[self.side])).detach())
        self.register_buffer("steps", torch.zeros(()))

    def penalty(self, context: RegularizerContext) -> Tensor:
        """‖θ - mean of all θ so far‖²."""
        parameters = flat(context.networks[self.side])
        # The mean starts here, not in bind(): with train.init_from, weights are loaded in between.
        first = (self.steps == 0).float()
        self.steps += first
        self.average.lerp_(parameters.detach(), first)
        return (parameters - self.average).square().sum()

    def after_step(self, networks: Networks) -> None:
        self.steps += 1
        self.average.lerp_(flat(networks[self.side]), 1 / self.steps)


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register(
        "historical-averaging",
        HistoricalAveraging,
        summary="Weights stay near the mean of their past values",
        paper=PAPER,
    )


register_recipes = beside(__file__, "historical-averaging-mnist")
