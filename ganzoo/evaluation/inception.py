"""torch-fidelity's Inception V3, the extractor of the FID that papers quote.

Grey images are tiled to RGB; the network resizes everything to 299x299 itself, as TensorFlow 1 did.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
from pathlib import Path
from typing import ClassVar
from urllib.error import URLError

import torch
from torch import Tensor

from ganzoo.errors import GanzooError
from ganzoo.extractor import Extractor

NAME = "inception-v3-compat"
LAYERS = ("2048", "logits_unbiased")
logger = logging.getLogger(__name__)


class InceptionV3(Extractor):
    """Inception V3 as ``fid@inception-v3-compat`` uses it.

    Args:
        weights: torch-fidelity's weights file.
    """

    width = 2048
    classes = 1008
    resizing: ClassVar[str] = "grey tiled to RGB, bilinear to 299x299 as TensorFlow 1"

    def __init__(self, weights: Path) -> None:
        from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

        super().__init__()
        network = FEATURE_EXTRACTORS_REGISTRY[NAME]
        try:
            # torch-fidelity unpickles without restriction: the restricted reader must accept the file first.
            torch.load(weights, weights_only=True)
            self._digest = hashlib.sha256(weights.read_bytes()).hexdigest()
            self.network = network(NAME, list(LAYERS), feature_extractor_weights_path=str(weights))
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise GanzooError(
                f"The weights of '{NAME}' at {weights} are damaged or not tensors alone ({type(error).__name__}).",
                "Delete the file and fetch it again.",
            ) from error

    @property
    def digest(self) -> str:
        """SHA-256 of the weights file."""
        return self._digest

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and class logits.

        Args:
            images: uint8 (n, 1 or 3, h, w).

        Returns:
            The last pooling layer (n, 2048) and unbiased logits (n, 1008), float32.
        """
        features, logits = self.network(images.expand(-1, 3, -1, -1))
        return features, logits


def inception_v3(shape: tuple[int, int, int]) -> Extractor:
    """The extractor for images of one shape.

    Raises:
        GanzooError: Its weights are not in torch's cache and cannot be downloaded.
    """
    wanted = shape

    class ForThisShape(InceptionV3):
        shape = wanted

    return ForThisShape(_weights())


def _weights() -> Path:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(URL_INCEPTION_V3).name
    if not path.exists():
        logger.warning("The weights of '%s' (92 MB) are downloaded to %s.", NAME, path.parent)
        _download(URL_INCEPTION_V3, path)
    return path


def _download(url: str, path: Path) -> None:
    checksum = path.stem.rpartition("-")[2]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=checksum, progress=False)
    except (URLError, OSError, RuntimeError) as error:
        raise GanzooError(
            f"The weights of '{NAME}' cannot be had ({error}).",
            f"Fetch {url} elsewhere (its SHA-256 begins with {checksum}) and put it at {path}.",
        ) from error
