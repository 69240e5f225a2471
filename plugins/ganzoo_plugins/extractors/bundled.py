"""The base of the extractors whose weights ship with the package."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from ganzoo import Extractor, GanzooError


class Bundled(Extractor):
    """An extractor with weights from a file, by default of images uint8 (n, 1, 28, 28), which it never resamples.

    Attributes:
        name: Its name in error messages.
        made_by: The module that makes the weights, to run with ``python -m``.
        judges: Which images it accepts, in words.
    """

    name: ClassVar[str]
    made_by: ClassVar[str]
    judges: ClassVar[str] = "of shape (n, 1, 28, 28) and never resamples"
    shape = (1, 28, 28)

    def read_weights(self, weights: Path) -> None:
        """Load the weights of a safetensors file, for evaluation only.

        Raises:
            GanzooError: The file is missing or not this network's.
        """
        try:
            content = weights.read_bytes()
            self.load_state_dict(load(content))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise GanzooError(
                f"The weights of '{self.name}' in {weights} cannot be read.",
                f"Install ganzoo-bench again, or train them: `python -m {self.made_by}`.",
            ) from error
        self._digest = sha256(content).hexdigest()
        # Twice as fast on a CPU, where this runs during training.
        convert_conv2d_weight_memory_format(self.eval().requires_grad_(False), torch.channels_last)

    @property
    def digest(self) -> str:
        """SHA-256 of the weights file."""
        return self._digest

    def refuse_unfit(self, images: Tensor) -> None:
        """Raise unless images are uint8 and of a shape that it accepts."""
        if images.dtype != torch.uint8 or not self.accepts(tuple(images.shape[1:])):
            shape = "x".join(map(str, images.shape))
            raise GanzooError(
                f"The extractor '{self.name}' was given images of shape {shape} and type {images.dtype}.",
                f"It judges uint8 images {self.judges}.",
            )
