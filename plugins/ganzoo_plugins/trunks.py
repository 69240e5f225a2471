"""Networks that share their features, so that other pages can put layers of their own on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from torch import Tensor, nn

from ganzoo import GanzooError


class Trunk(Protocol):
    """A network whose ``forward`` is its head on its features.

    Attributes:
        feature_width: Number of features.
        features: From images (n, c, h, w), and labels (n,) in a conditional recipe, to (n, feature_width).
        head: From features (n, feature_width) to what the network is for.
    """

    feature_width: int
    features: Callable[..., Tensor]
    head: Callable[..., Tensor]


def shared(network: nn.Module, role: str, reader: str) -> Trunk:
    """The network, if it shares its features.

    Args:
        network: The network.
        role: What it is in the recipe.
        reader: Who asks, as the start of a sentence.

    Raises:
        GanzooError: It does not share them.
    """
    for name in ("features", "feature_width", "head"):
        if not hasattr(network, name):
            kind = type(network)
            raise GanzooError(
                f"{reader} shares the {role}'s layers, but {kind.__module__}.{kind.__name__} has no '{name}'.",
                f"Use the {role} 'mlp' or 'dcgan', or another with features(), feature_width and head.",
            )
    return cast("Trunk", network)
