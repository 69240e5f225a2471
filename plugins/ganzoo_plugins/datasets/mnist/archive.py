"""The packed IDX files, and their way into the user's cache."""

from __future__ import annotations

import glob
import lzma
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

from ganzoo import GanzooError, open_regular

PACKED = Path(__file__).parent

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Digests of the four raw files, by name."""

LARGEST = 50_000_000
"""Bytes; none of the four has more."""


def intact(path: Path) -> bool:
    """Whether an IDX file is there and is MNIST's, bit for bit."""
    try:
        with open_regular(path, at_most=LARGEST) as file:
            return sha256(file.read()).hexdigest() == SHA256[path.name]
    except (OSError, GanzooError):
        return False


def unpack(folder: Path, packed: Path = PACKED) -> None:
    """Make a folder hold the four raw files. Whatever is missing or damaged is taken from the archive again.

    Args:
        folder: Where they go; made if need be.
        packed: Where the archive lies.

    Raises:
        GanzooError: The archive itself is damaged, or the folder cannot be written.
    """
    for name in SHA256:
        if not intact(folder / name):
            _write(folder / name, _read(packed / f"{name}.xz"))


def _read(archive: Path) -> bytes:
    try:
        content = lzma.decompress(archive.read_bytes())
    except (OSError, lzma.LZMAError, EOFError):
        content = b""
    if sha256(content).hexdigest() != SHA256[archive.stem]:
        raise GanzooError(f"The packed MNIST file {archive} is damaged.", "Install ganzoo-bench again.")
    return content


def _write(path: Path, content: bytes) -> None:
    """All of the file or none of it. Where two processes unpack at once, the first to be done has done it for both."""
    prefix = f".{path.name}."
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=prefix, delete=False) as file:
            file.write(content)
        Path(file.name).replace(path)
    except OSError as error:
        if intact(path):
            return
        raise GanzooError(
            f"MNIST cannot be unpacked into {path.parent} ({error.strerror}).",
            "Point GANZOO_CACHE to a folder with 60 MB to spare.",
        ) from error
    finally:
        # This one's where the disk was full, and what killed processes left.
        for left in path.parent.glob(f"{glob.escape(prefix)}*"):
            with suppress(OSError):
                left.unlink()
