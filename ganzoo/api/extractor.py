"""What judges images: a network that turns pictures into features."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class Extractor(nn.Module):
    """A fixed feature extractor that scores are computed in.

    Attributes:
        shape: The images it takes, (channels, height, width); anything else is refused, never resampled.
        width: Number of features.
        classes: Number of classes it tells apart, 0 where it is no classifier.
        rejects: Whether it may put an image into no class at all.
    """

    shape: ClassVar[tuple[int, ...]]
    width: ClassVar[int]
    classes: ClassVar[int] = 0
    rejects: ClassVar[bool] = False

    @property
    @abstractmethod
    def digest(self) -> str:
        """Hexadecimal digest of the weights. Part of every score's protocol, and of the key of cached statistics."""

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and class logits of images.

        Args:
            images: uint8 (n, c, h, w); an extractor for points takes float32 in [-1, 1].

        Returns:
            Features (n, width) float32, and logits (n, classes) float32 or None. Logits are -inf throughout where an
            image belongs to no class.
        """
