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
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.error import URLError
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor, nn

from ganzoo import Extractor, GanzooError, Register, check_code_allowed, foreign_code, hookimpl, open_regular

logger = logging.getLogger(__name__)

DINOV2_COMMIT = "e1277af2ba9496fbadf7aec6eba56e8d882d1e35"
DINOV2_URL = f"https://github.com/facebookresearch/dinov2/archive/{DINOV2_COMMIT}.zip"
DINOV2_DIGEST = "3cdc0eeb21ab2a9e9ce372d8af424aab4b3f908622ee4226488cd66fcd911b7f"
"""SHA-256 of that commit's ``hubconf.py`` and ``dinov2/``, as printed in a checkout by:

    git ls-files -z hubconf.py dinov2 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum
"""
MAX_CODE_BYTES = 2**20
"""The most bytes in a file of code; DINOv2's longest has 41,364."""


class TorchFidelity(Extractor):
    """One of torch-fidelity's extractors, for grey and RGB images of any size.

    Args:
        weights: Its weights file; None means torch-fidelity's in torch's cache, which is downloaded if necessary.

    Raises:
        GanzooError: The weights could not be downloaded, are damaged, another network's, hold more than tensors, or are
            a program that is not allowed; or the code that they need is not allowed, or not what it should be.
    """

    name: ClassVar[str]
    layers: ClassVar[tuple[str, ...]]  # of its features and, if it has them, its logits
    shape = (3, 224, 224)
    downloads = True
    batch_size = 50  # larger batches' feature maps would fill a small GPU

    def __init__(self, *, weights: Path | None = None) -> None:
        super().__init__()
        url, file, checksum = self.published()
        cached = Path(torch.hub.get_dir()) / "checkpoints" / file
        if weights is None:
            weights = cached
            if not weights.exists():
                self.download(url, cached, checksum)
        elif not weights.is_file():
            raise GanzooError(f"No such file: {weights}.", f"'{self.name}' is published at {url}.")
        self._digest = _sha256(weights)
        published = self._digest.startswith(checksum)
        try:
            with foreign_code(
                f"The weights of '{self.name}' at {weights} are damaged, belong to another network, or hold more than "
                "tensors",
                "Delete the file and download it again.",
            ):
                self.network = self.read(weights, published=published)
        except GanzooError as error:
            if not isinstance(error.__cause__, ImportError):
                raise
            sentence = f"The extractor '{self.name}' cannot be imported ({error.__cause__})."
            raise GanzooError(sentence, "Install the package that it requires.") from error
        if not published:
            logger.warning("%s is not the published file of '%s': its SHA-256 differs.", weights, self.name)

    def published(self) -> tuple[str, str, str]:
        """Where torch-fidelity downloads the weights from, their file's name in torch's cache, and how its SHA-256
        begins; "" if that is not published.
        """
        raise NotImplementedError

    def read(self, weights: Path, *, published: bool) -> nn.Module:
        """The network; nothing is unpickled."""
        # torch-fidelity unpickles without restrictions, so the restricted reader must accept the file first.
        torch.load(weights, weights_only=True)
        return self.build(feature_extractor_weights_path=str(weights))

    def build(self, **options: Any) -> nn.Module:
        """torch-fidelity's network."""
        from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

        network: nn.Module = FEATURE_EXTRACTORS_REGISTRY[self.name](self.name, list(self.layers), **options)
        return network

    def download(self, url: str, file: Path, checksum: str) -> None:
        """Download the weights into torch's cache."""
        logger.warning("Downloading the weights of '%s' to %s.", self.name, file.parent)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), hash_prefix=checksum or None, progress=False)
        except (URLError, OSError, RuntimeError) as error:
            expected = f"its SHA-256 begins with {checksum}" if checksum else "no checksum is published"
            raise GanzooError(
                f"The weights of '{self.name}' could not be downloaded ({error}).",
                f"Download {url} elsewhere ({expected}) and put it at {file}.",
            ) from error

    @property
    def digest(self) -> str:
        """SHA-256 of the weights file."""
        return self._digest

    @property
    def versions(self) -> Mapping[str, str]:
        """torch-fidelity's."""
        import torch_fidelity

        return {"torch_fidelity": str(torch_fidelity.__version__)}

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Grey and RGB images."""
        return len(shape) == 3 and shape[0] in (1, 3)

    def resizing_of(self, shape: tuple[int, ...]) -> str:
        """How images are resized, and that grey ones are tiled."""
        return f"grey tiled to RGB, {self.resizing}" if shape[0] == 1 else self.resizing

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features, and class logits if the network has them.

        Args:
            images: uint8 (n, 1 or 3, h, w).

        Returns:
            Features (n, width) and logits (n, classes), both float32; or None instead of logits.
        """
        outputs = self.network(images.expand(-1, 3, -1, -1))
        return outputs[0], outputs[1] if self.classes else None


class Inception(TorchFidelity):
    """Inception V3 as TensorFlow 1 published it."""

    name = "inception-v3-compat"
    layers = ("2048", "logits_unbiased")
    width, classes = 2048, 1008
    shape = (3, 299, 299)
    resizing = "bilinear to 299x299 as TensorFlow 1"

    def published(self) -> tuple[str, str, str]:
        """The checksum is part of the file's name."""
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

        file = Path(URL_INCEPTION_V3)
        return URL_INCEPTION_V3, file.name, file.stem.rpartition("-")[2]


class Clip(TorchFidelity):
    """The image side of a CLIP network."""

    layers = ("clip",)
    resizing = "bilinear to the network's own size as TensorFlow 1"

    def published(self) -> tuple[str, str, str]:
        """As torch-fidelity lists it."""
        from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS

        checksum = MODEL_METADATA[self.name]["hash"]
        return MODEL_URLS[self.name], f"{self.name}-{checksum}.pt", checksum

    def read(self, weights: Path, *, published: bool) -> nn.Module:
        """TorchScript has its own reader: it creates no Python objects, but programs may call operators that write."""
        if not published:
            check_code_allowed(self.name, f"{weights} is a TorchScript program other than the published one")
        network: Any = self.build(feature_extractor_weights_path=str(weights))
        self.width = int(network.model.visual.output_dim)  # type: ignore[misc]
        return network  # type: ignore[no-any-return]


class DinoV2(TorchFidelity):
    """A DINOv2 network, built by downloaded code, which reads the weights from torch's cache."""

    layers = ("dinov2",)
    resizing = "bilinear to 224x224 as TensorFlow 1"

    def __init__(self) -> None:
        check_code_allowed(self.name, f"github.com/facebookresearch/dinov2 at commit {DINOV2_COMMIT}")
        super().__init__()

    def published(self) -> tuple[str, str, str]:
        """No checksum is published."""
        model = self.name.replace("-vit-", "_vit").replace("-", "")
        file = f"{model}_pretrain.pth"
        return f"https://dl.fbaipublicfiles.com/dinov2/{model}/{file}", file, ""

    def read(self, weights: Path, *, published: bool) -> nn.Module:
        """Run exactly the files that were checked, even if the cache changes meanwhile, and none of its bytecode."""
        torch.load(weights, weights_only=True)
        with tempfile.TemporaryDirectory(prefix="ganzoo-dinov2-") as folder:
            for name, code in self.code().items():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / name).write_bytes(code)
            # torch-fidelity would request the current state of the repository from torch.hub.
            hub: Any = torch.hub
            load = hub.load
            hub.load = lambda _repository, model: load(folder, model, source="local")
            try:
                return self.build()
            finally:
                hub.load = load

    def code(self) -> dict[str, bytes]:
        """The files of the pinned commit's ``hubconf.py`` and ``dinov2/``, by path, from torch.hub's cache."""
        where = Path(torch.hub.get_dir()) / f"facebookresearch_dinov2_{DINOV2_COMMIT}"
        if not where.exists():
            self.download_code(where)
        files = {}
        for path in (where / "hubconf.py", *(where / "dinov2").rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                with open_regular(path, MAX_CODE_BYTES) as file:
                    files[path.relative_to(where).as_posix()] = file.read()
        listed = "".join(f"{hashlib.sha256(code).hexdigest()}  {name}\n" for name, code in sorted(files.items()))
        if hashlib.sha256(listed.encode(errors="surrogateescape")).hexdigest() != DINOV2_DIGEST:
            raise GanzooError(
                f"The code in {where} is not DINOv2's at commit {DINOV2_COMMIT}, so it is not run.",
                "Delete the folder to download the code again.",
            )
        return files

    def download_code(self, where: Path) -> None:
        """Download the pinned commit into torch.hub's cache."""
        logger.warning("Downloading the code of '%s' to %s.", self.name, where)
        where.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(prefix=".ganzoo-", dir=where.parent) as folder:
                torch.hub.download_url_to_file(DINOV2_URL, f"{folder}/code.zip", progress=False)
                with ZipFile(f"{folder}/code.zip") as archive:
                    archive.extractall(folder)
                (Path(folder) / f"dinov2-{DINOV2_COMMIT}").rename(where)
        except (URLError, OSError, BadZipFile) as error:
            raise GanzooError(
                f"The code of '{self.name}' could not be downloaded ({error}).",
                f"Unpack {DINOV2_URL} and move the folder in it to {where}.",
            ) from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(2**20):  # the largest weights take gigabytes
            digest.update(block)
    return digest.hexdigest()


DINOV2 = {"dinov2-vit-s-14": 384, "dinov2-vit-b-14": 768, "dinov2-vit-l-14": 1024, "dinov2-vit-g-14": 1536}
"""Their numbers of features."""
CLIP = {
    "clip-rn50": 1024,
    "clip-rn101": 512,
    "clip-rn50x4": 640,
    "clip-rn50x16": 768,
    "clip-rn50x64": 1024,
    "clip-vit-b-32": 512,
    "clip-vit-b-16": 512,
    "clip-vit-l-14": 768,
    "clip-vit-l-14-336px": 768,
}
"""Their numbers of features; what counts is the file's."""


@hookimpl
def register_extractors(register: Register[Extractor]) -> None:
    """Add them by torch-fidelity's names."""
    szegedy = "Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision, arXiv:1512.00567"
    oquab = "Oquab et al. 2023, DINOv2: Learning Robust Visual Features without Supervision, arXiv:2304.07193"
    radford = "Radford et al. 2021, Learning Transferable Visual Models From Natural Language Supervision, "
    summary = "2048 features and 1008 logits of the Inception V3 that papers quote, downloaded"
    register("inception-v3-compat", Inception, summary=summary, paper=szegedy)
    for base, widths, kind, paper in (
        (DinoV2, DINOV2, "DINOv2, downloaded with its code", oquab),
        (Clip, CLIP, "CLIP's image side, downloaded", f"{radford}arXiv:2103.00020"),
    ):
        for name, width in widths.items():
            extractor = type(base.__name__, (base,), {"__doc__": base.__doc__, "name": name, "width": width})
            register(name, extractor, summary=f"{width} features of {kind}", paper=paper)
