"""What a network must fit: the shape of the samples, the latent code and the classes."""

from __future__ import annotations

from dataclasses import dataclass

from ganzoo.api.modality import Images, Modality
from ganzoo.api.priors import Prior
from ganzoo.errors import GanzooError


@dataclass(frozen=True)
class Spec:
    """Sizes that come from the dataset and the prior, never hard-coded in a network.

    Attributes:
        shape: Of one sample: (channels, height, width) for images, (1, 1, d) for points, (1, length) for sound.
        prior: Where latent codes come from.
        classes: Number of classes a conditional network is asked for; 0 where the recipe is unconditional.
        modality: What a sample is; images of ``shape`` where it is not given.
        columns: Shapes of the further columns that each row of the dataset has: ``{"source": (1, 28, 28)}``.
        dataset_classes: Number of classes of the dataset, whether or not the networks are told, 0 where it has no
            labels; None where that is unknown.
    """

    shape: tuple[int, ...]
    prior: Prior
    classes: int = 0
    modality: Modality = None  # type: ignore[assignment]  # __post_init__ fills it in
    columns: tuple[tuple[str, tuple[int, ...]], ...] = ()
    dataset_classes: int | None = None

    def __post_init__(self) -> None:
        if self.modality is None:
            object.__setattr__(self, "modality", Images(*self.shape))

    @property
    def latent(self) -> int:
        """Width of a latent code: generators take (n, latent)."""
        return self.prior.width

    @property
    def pixels(self) -> int:
        """Numbers in one sample: channels * height * width for images."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width).

        Raises:
            GanzooError: The samples are no images.
        """
        return self.channels, self.height, self.width

    @property
    def channels(self) -> int:
        """Image channels, 1 or 3."""
        return self.shape[0]

    @property
    def height(self) -> int:
        """Image height in pixels.

        Raises:
            GanzooError: The samples have no height.
        """
        self._refuse_other_than_images()
        return self.shape[1]

    @property
    def width(self) -> int:
        """Image width in pixels.

        Raises:
            GanzooError: The samples have no width.
        """
        self._refuse_other_than_images()
        return self.shape[2]

    def _refuse_other_than_images(self) -> None:
        if len(self.shape) != 3:
            raise GanzooError(
                f"This network is for images, and the dataset has {self.modality}.",
                "Choose a network for that modality; fully connected ones such as 'mlp' take any.",
            )
