"""What a network must fit: the shape of the images, the latent code and the classes."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo.api.priors import Prior


@dataclass(frozen=True)
class Spec:
    """Sizes that come from the dataset and the prior, never hard-coded in a network.

    Attributes:
        channels: Image channels, 1 or 3.
        height: Image height in pixels.
        width: Image width in pixels.
        prior: Where latent codes come from.
        classes: Number of classes a conditional network is asked for; 0 where the recipe is unconditional.
        quantised: Whether samples are pictures, which are drawn with 256 levels; points stay float32.
    """

    channels: int
    height: int
    width: int
    prior: Prior
    classes: int = 0
    quantised: bool = True

    @property
    def latent(self) -> int:
        """Width of a latent code: generators take (n, latent)."""
        return self.prior.width

    @property
    def pixels(self) -> int:
        """Numbers in one image, channels * height * width."""
        return self.channels * self.height * self.width

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width
