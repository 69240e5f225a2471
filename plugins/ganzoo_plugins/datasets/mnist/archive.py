"""The packed IDX files, and how they are unpacked into the user's cache."""

from __future__ import annotations

import gzip
import lzma
import zlib
from hashlib import sha256
from pathlib import Path

from filelock import FileLock

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
"""A limit in bytes that none of the four files exceeds."""


def intact(path: Path, *, zipped: bool = False) -> bool:
    """Whether an IDX file exists and is MNIST's, bit for bit.

    Args:
        path: The file.
        zipped: Unzip ``path`` with ``.gz`` appended instead.
    """
    try:
        with open_regular(path.with_name(f"{path.name}.gz") if zipped else path, at_most=LARGEST) as file:
            content = gzip.GzipFile(fileobj=file).read(LARGEST) if zipped else file.read()
    except (OSError, EOFError, zlib.error, GanzooError):
        return False
    return sha256(content).hexdigest() == SHA256[path.name]


def unpack(folder: Path, packed: Path = PACKED) -> None:
    """Make sure that a folder has the four raw files. Missing and damaged ones are unpacked from the archive.

    Args:
        folder: Where they go; created if necessary.
        packed: The folder of the packed files.

    Raises:
        GanzooError: The archive itself is damaged, or the folder cannot be written.
    """
    if all(intact(folder / name) for name in SHA256):
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # One process unpacks; the others wait and then find the files.
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            for name in SHA256:
                if not intact(folder / name):
                    content = _read(packed / f"{name}.xz")
                    folder.mkdir(exist_ok=True)
                    temporary = folder / f".{name}.tmp"  # a fixed name: a killed process's file is replaced
                    temporary.write_bytes(content)
                    temporary.replace(folder / name)
    except (OSError, NotImplementedError) as error:  # the latter on a file system without locks
        raise GanzooError(
            f"MNIST cannot be unpacked into {folder} ({getattr(error, 'strerror', None) or error}).",
            "Set GANZOO_CACHE to a folder with 60 MB of free space.",
        ) from error


def _read(archive: Path) -> bytes:
    try:
        content = lzma.decompress(archive.read_bytes())
    except (OSError, lzma.LZMAError, EOFError):
        content = b""
    if sha256(content).hexdigest() != SHA256[archive.stem]:
        raise GanzooError(f"The packed MNIST file {archive} is damaged.", "Install ganzoo-bench again.")
    return content
