"""The base of the extractors of 28x28 grey images: their weights ship with the package, and they never resample."""

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
    """An extractor of images uint8 (n, 1, 28, 28), with weights from a file.

    Attributes:
        name: Its name in error messages.
        made_by: The module that makes the weights, to run with ``python -m``.
    """

    name: ClassVar[str]
    made_by: ClassVar[str]
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
        """Raise unless images are uint8 (n, 1, 28, 28)."""
        if images.dtype != torch.uint8 or images.shape[1:] != self.shape:
            shape = "x".join(map(str, images.shape))
            raise GanzooError(
                f"The extractor '{self.name}' was given images of shape {shape} and type {images.dtype}.",
                "It judges uint8 images of shape (n, 1, 28, 28) and never resamples.",
            )
