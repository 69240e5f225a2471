"""Extractors that torch-fidelity provides: Inception V3, DINOv2 and CLIP, whose weights are downloaded.

Grey images are tiled to RGB; each network resizes images to the size that it was trained on, as TensorFlow 1 did.
Papers quote scores from this Inception. DINOv2's and CLIP's scores are torch-fidelity's own; those in papers may come
from other layers or another resizing. Scores from different extractors never share a column.

Two of them are more than weights: DINOv2 comes with code, and CLIP's file is a TorchScript program. Naming one, as an
untrusted recipe might, runs no code but CLIP's published program: everything else needs ``allow_code``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor, nn

from ganzoo.api.metric import Extractor
from ganzoo.api.reading import open_regular
from ganzoo.errors import GanzooError, is_out_of_memory

BROKEN = (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError)
"""Exceptions from reading a weights file that is damaged or another network's."""
logger = logging.getLogger(__name__)

DINOV2_COMMIT = "e1277af2ba9496fbadf7aec6eba56e8d882d1e35"
DINOV2_URL = f"https://github.com/facebookresearch/dinov2/archive/{DINOV2_COMMIT}.zip"
DINOV2_DIGEST = "3cdc0eeb21ab2a9e9ce372d8af424aab4b3f908622ee4226488cd66fcd911b7f"
"""SHA-256 of that commit's ``hubconf.py`` and ``dinov2/``, as printed in a checkout by:

    git ls-files -z hubconf.py dinov2 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum
"""
MAX_CODE_BYTES = 2**20
"""The most bytes in a file of code; DINOv2's longest has 41,364."""
_code_is_allowed = ContextVar("code_is_allowed", default=False)


@contextmanager
def allow_code(allowed: bool = True) -> Iterator[None]:
    """Let extractors run downloaded code in this block. Only the user may decide this, never a file."""
    token = _code_is_allowed.set(allowed or _code_is_allowed.get())
    try:
        yield
    finally:
        _code_is_allowed.reset(token)


def _refuse_code(name: str, what: str) -> None:
    if not _code_is_allowed.get():
        raise GanzooError(
            f"The extractor '{name}' runs code that is not part of ganzoo: {what}.",
            "If you trust it, add --allow-code (in Python: allow_code=True).",
        )


@dataclass(frozen=True)
class Row:
    """One of torch-fidelity's extractors.

    Attributes:
        name: Its name, in torch-fidelity and here.
        layers: The layers of its features and, if it has them, its logits.
        width: Number of features; None if it is read from the weights file.
        classes: Number of logits.
        size: How it resizes images, and to what size.
        url: Where torch-fidelity downloads the weights from.
        file: Their file name in torch's cache.
        checksum: The first digits of the published file's SHA-256; "" if none is published.
        load: Returns the network, given the row and a weights file; nothing is unpickled afterwards.
    """

    name: str
    layers: tuple[str, ...]
    width: int | None
    classes: int
    size: str
    url: str
    file: str
    checksum: str
    load: Callable[[Row, Path], nn.Module]

    @property
    def cached(self) -> Path:
        """Where the weights are looked for, and downloaded to."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.file


class Pretrained(Extractor):
    """One of torch-fidelity's extractors, for images of one shape.

    Args:
        row: Describes the extractor.
        weights: Its weights file.
        shape: The shape of the images, (1 or 3, height, width).

    Raises:
        GanzooError: The file is damaged, another network's, holds more than tensors, or is a program that is not
            allowed; or the code that it needs is not what it should be.
    """

    batch_size = 50  # of 299x299 pixels each: larger batches' feature maps would fill a small GPU

    def __init__(self, row: Row, weights: Path, shape: tuple[int, ...]) -> None:
        super().__init__()
        try:
            digest = hashlib.sha256()
            with open_regular(weights) as file:
                while block := file.read(2**20):  # the largest weights take gigabytes
                    digest.update(block)
            self._digest = digest.hexdigest()
            if row.load is _clip and self._digest != row.checksum:
                _refuse_code(row.name, f"{weights} is a TorchScript program other than the published one")
            self.network = row.load(row, weights)
        except ImportError as error:
            raise GanzooError(
                f"The extractor '{row.name}' cannot be imported ({error}).", "Install the package that it requires."
            ) from error
        except BROKEN as error:
            if is_out_of_memory(error):
                raise
            raise GanzooError(
                f"The weights of '{row.name}' at {weights} are damaged, belong to another network, or hold more than "
                f"tensors ({type(error).__name__}).",
                "Delete the file and download it again.",
            ) from error
        if not self._digest.startswith(row.checksum):
            logger.warning("%s is not the published file of '%s': its SHA-256 differs.", weights, row.name)
        # Class attributes of other extractors; here they depend on the row and on the images.
        self.shape = shape  # type: ignore[misc]
        self.width = row.width or int(self.network.model.visual.output_dim)  # type: ignore[misc, union-attr, arg-type]
        self.classes = row.classes  # type: ignore[misc]
        self.resizing = f"grey tiled to RGB, {row.size}" if shape[0] == 1 else row.size

    @property
    def digest(self) -> str:
        """SHA-256 of the weights file."""
        return self._digest

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features, and class logits if the network has them.

        Args:
            images: uint8 (n, 1 or 3, h, w).

        Returns:
            Features (n, width) and logits (n, classes), both float32; or None instead of logits.
        """
        outputs = self.network(images.expand(-1, 3, -1, -1))
        return outputs[0], outputs[1] if self.classes else None


def build(name: str, shape: tuple[int, ...], weights: Path | None = None) -> Extractor:
    """The extractor with the given name, for images of one shape.

    Args:
        name: One of ``FOREIGN_EXTRACTORS``.
        shape: (1 or 3, height, width).
        weights: Its weights file; None means torch-fidelity's in torch's cache, which is downloaded if necessary.

    Raises:
        GanzooError: The weights could not be downloaded, are not what they should be, or come with code that the user
            has not allowed.
    """
    row = _rows()[name]
    if row.load is _dinov2:
        _refuse_code(name, f"github.com/facebookresearch/dinov2 at commit {DINOV2_COMMIT}")
    if weights is None:
        weights = row.cached
        if not weights.exists():
            _download(row)
    elif not weights.is_file():
        raise GanzooError(f"No such file: {weights}.", f"'{name}' is published at {row.url}.")
    elif row.load is _dinov2 and weights.resolve() != row.cached.resolve():
        raise GanzooError(
            f"The weights of '{name}' are read only from torch's cache, not from {weights}.",
            f"Put the file at {row.cached}.",
        )
    return Pretrained(row, weights, shape)


def _download(row: Row) -> None:
    logger.warning("Downloading the weights of '%s' to %s.", row.name, row.cached.parent)
    try:
        row.cached.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(row.url, str(row.cached), hash_prefix=row.checksum or None, progress=False)
    except (URLError, OSError, RuntimeError) as error:
        checksum = f"its SHA-256 begins with {row.checksum}" if row.checksum else "no checksum is published"
        raise GanzooError(
            f"The weights of '{row.name}' could not be downloaded ({error}).",
            f"Download {row.url} elsewhere ({checksum}) and put it at {row.cached}.",
        ) from error


def _inception(row: Row, weights: Path) -> nn.Module:
    # torch-fidelity unpickles without restrictions, so the restricted reader must accept the file first.
    torch.load(weights, weights_only=True)
    return _network(row, feature_extractor_weights_path=str(weights))


def _clip(row: Row, weights: Path) -> nn.Module:
    # TorchScript has its own reader: it creates no Python objects, but programs may call operators that write files.
    return _network(row, feature_extractor_weights_path=str(weights))


def _dinov2(row: Row, weights: Path) -> nn.Module:
    torch.load(weights, weights_only=True)
    where = Path(torch.hub.get_dir()) / f"facebookresearch_dinov2_{DINOV2_COMMIT}"
    if not where.exists():
        _download_dinov2(row.name, where)
    # ``hubconf.py`` and the files below ``dinov2/``, by path, without bytecode; none if they cannot be such code.
    paths = [where / "hubconf.py"]
    for place, folders, names in os.walk(where / "dinov2"):
        folders[:] = [name for name in folders if name != "__pycache__"]
        paths += [Path(place, name) for name in names]
    plausible = all(path.is_file() and path.stat().st_size <= MAX_CODE_BYTES for path in paths)
    files = {path.relative_to(where).as_posix(): path.read_bytes() for path in paths} if plausible else {}
    listed = "".join(f"{hashlib.sha256(code).hexdigest()}  {name}\n" for name, code in sorted(files.items()))
    if hashlib.sha256(listed.encode(errors="surrogateescape")).hexdigest() != DINOV2_DIGEST:
        raise GanzooError(
            f"The code in {where} is not DINOv2's at commit {DINOV2_COMMIT}, so it is not run.",
            "Delete the folder to download the code again.",
        )
    # Run exactly the files that were checked, even if the cache changes meanwhile, and none of its bytecode files.
    with tempfile.TemporaryDirectory(prefix="ganzoo-dinov2-") as folder:
        for name, code in files.items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_bytes(code)
        # torch-fidelity would request the current state of the repository from torch.hub.
        hub: Any = torch.hub
        load = hub.load
        hub.load = lambda _repository, model: load(folder, model, source="local")
        try:
            return _network(row)
        finally:
            hub.load = load


def _download_dinov2(name: str, where: Path) -> None:
    logger.warning("Downloading the code of '%s' to %s.", name, where)
    where.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".ganzoo-", dir=where.parent) as folder:
            torch.hub.download_url_to_file(DINOV2_URL, f"{folder}/code.zip", progress=False)
            with ZipFile(f"{folder}/code.zip") as archive:
                archive.extractall(folder)
            (Path(folder) / f"dinov2-{DINOV2_COMMIT}").rename(where)
    except (URLError, OSError, BadZipFile) as error:
        raise GanzooError(
            f"The code of '{name}' could not be downloaded ({error}).",
            f"Unpack {DINOV2_URL} and move the folder in it to {where}.",
        ) from error


def _network(row: Row, **options: Any) -> nn.Module:
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    network: nn.Module = FEATURE_EXTRACTORS_REGISTRY[row.name](row.name, list(row.layers), **options)
    return network


DINOV2 = {"dinov2-vit-s-14": 384, "dinov2-vit-b-14": 768, "dinov2-vit-l-14": 1024, "dinov2-vit-g-14": 1536}
"""Widths of the DINOv2 networks."""


def _rows() -> dict[str, Row]:
    from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    file = Path(URL_INCEPTION_V3).name
    checksum = Path(file).stem.rpartition("-")[2]
    layers, size = ("2048", "logits_unbiased"), "bilinear to 299x299 as TensorFlow 1"
    rows = [Row("inception-v3-compat", layers, 2048, 1008, size, URL_INCEPTION_V3, file, checksum, _inception)]
    size = "bilinear to 224x224 as TensorFlow 1"
    for name, width in DINOV2.items():
        model = name.replace("-vit-", "_vit").replace("-", "")
        file = f"{model}_pretrain.pth"
        url = f"https://dl.fbaipublicfiles.com/dinov2/{model}/{file}"
        rows.append(Row(name, ("dinov2",), width, 0, size, url, file, "", _dinov2))
    size = "bilinear to the network's own size as TensorFlow 1"
    for name, metadata in MODEL_METADATA.items():
        file, checksum = f"{name}-{metadata['hash']}.pt", metadata["hash"]
        rows.append(Row(name, ("clip",), None, 0, size, MODEL_URLS[name], file, checksum, _clip))
    return {row.name: row for row in rows}
