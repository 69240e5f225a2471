"""Reading untrusted pictures and arrays, within limits on time, memory and formats. All code that reads them is here.

Pipes cannot block it, a file's content cannot choose its reader, and headers are checked before anything is decoded.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import stat
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from numpy.lib import format as npy
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ganzoo.errors import GanzooError

PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM", "TIFF")  # as Pillow names them; file names do not matter
MAX_PIXELS = 2**26  # in one picture, 67 million: more than cameras take
# A larger picture needs a byte for every 64 pixels: a blank one, compressed to a few kB, would take hundreds of MB.
MAX_FLAT_PIXELS = 2**22
PIXELS_PER_BYTE = 64
MAX_ARRAY_HEADER = 10_000  # bytes: NumPy's own limit, which NumPy checks only after reading the whole header
MAX_ZIPPED_BYTES = 2**28  # in one of these files: more than any picture of MAX_PIXELS takes uncompressed
DAMAGE = (  # the exceptions that Python's archive readers raise
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    OverflowError,
)


@cache
def max_bytes() -> int:
    """The most bytes to read into memory at once: half of this machine's memory, but at least 4 GB."""
    return max(4 * 10**9, (machine_memory() or 0) // 2)


def machine_memory(root: Path = Path("/")) -> int | None:
    """Bytes of memory that this process may use: the machine's, or less in a container. None if unknown."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    for group in control_groups(root):
        for place in (f"sys/fs/cgroup/{group}/memory.max", f"sys/fs/cgroup/memory/{group}/memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # version 1 of control groups or version 2, or no limit: "max"
                memory = min(memory, int((root / place).read_text()))
    return memory


def control_groups(root: Path = Path("/")) -> set[str]:
    """The control groups of this process and their ancestors, whose limits also apply to it; "" is the root."""
    groups = {""}  # in a container, usually the process's own
    with suppress(OSError, ValueError, IndexError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            path = Path(line.split(":", 2)[2].lstrip("/"))
            groups |= {str(path), *map(str, path.parents)}
    return groups


def check_bytes(what: object, n_bytes: int) -> None:
    """Refuse data that would take more memory than ``max_bytes``.

    Args:
        what: The file or folder, for the message.
        n_bytes: Its size according to its headers.

    Raises:
        GanzooError: It is too large.
    """
    if n_bytes > max_bytes():
        raise GanzooError(
            f"{what} claims to hold {n_bytes / 1e9:,.0f} GB.",
            f"At most {max_bytes() / 1e9:,.0f} GB are read on this machine; give fewer or smaller images.",
        )


def open_regular(path: Path, at_most: int | None = None) -> BinaryIO:
    """Open a regular file, or a link to one, for reading. Refuse pipes and devices, which could block.

    Args:
        path: The file.
        at_most: Its largest size in bytes; default: ``max_bytes()``.

    Raises:
        GanzooError: It is not a regular file, or too large.
        OSError: It cannot be opened.
    """
    at_most = max_bytes() if at_most is None else at_most
    status = path.stat()  # before it is opened: a pipe without a writer would block
    if not stat.S_ISREG(status.st_mode):
        raise GanzooError(f"{path} is not a regular file.", "Replace or remove it.")
    if status.st_size > at_most:
        raise GanzooError(f"{path} is too large: {status.st_size:,} bytes, more than {at_most:,}.")
    return path.open("rb")


class ZippedFiles(AbstractContextManager["ZippedFiles"]):
    """The files of a zip archive, open until the ``with`` block ends.

    Each is read into memory on request; nothing is unpacked to disk.

    Args:
        path: The archive.

    Attributes:
        names: Names of its files, as in the archive; folders are left out.

    Raises:
        GanzooError: It is not a zip archive, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_regular(path, at_most=sys.maxsize)
        try:
            self._archive = zipfile.ZipFile(self._file)
        except DAMAGE as error:
            self._file.close()
            raise GanzooError(f"{path} cannot be read as a zip archive ({error}).", "Pack it again.") from error
        self.names = tuple(info.filename for info in self._archive.infolist() if not info.is_dir())

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def read(self, name: str) -> tuple[BinaryIO, int]:
        """A file's content, and its compressed size in bytes.

        Raises:
            GanzooError: It is damaged, encrypted or too large.
        """
        info = self._archive.getinfo(name)
        if info.file_size > MAX_ZIPPED_BYTES:
            raise GanzooError(f"{name} in {self.path} has {info.file_size:,} bytes, too many for one picture.")
        try:
            return io.BytesIO(self._archive.read(info)), info.compress_size
        except DAMAGE as error:
            raise GanzooError(
                f"{name} in {self.path} cannot be read ({error}).", "Pack it again, without a password."
            ) from error


@dataclass(frozen=True)
class ZippedFile:
    """One file in a zip archive, accepted instead of a path."""

    archive: ZippedFiles
    name: str

    def __str__(self) -> str:
        return f"{self.archive.path}/{self.name}"


@contextmanager
def _opened(path: Path | ZippedFile) -> Iterator[tuple[BinaryIO, int]]:
    """An open file, and its size in bytes on disk or in the archive."""
    if isinstance(path, ZippedFile):
        yield path.archive.read(path.name)
    else:
        with open_regular(path) as file:
            yield file, os.fstat(file.fileno()).st_size


@contextmanager
def open_picture(path: Path | ZippedFile, formats: Collection[str] = PICTURE_FORMATS) -> Iterator[Image.Image]:
    """Open a picture after checking its size. Its pixels are decoded in the ``with`` block, on first use.

    Args:
        path: The file, or one in an archive; its name does not decide its format.
        formats: Pillow's names of the formats to try.

    Raises:
        GanzooError: It is not a regular file, has none of the formats, is too large, or is damaged. Pillow's errors in
            the block become this one too.
    """
    try:
        with _opened(path) as (file, n_bytes), warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            picture = Image.open(file, formats=tuple(formats))
            pixels, size = prod(picture.size), "x".join(map(str, picture.size))
            if pixels > MAX_PIXELS:
                raise GanzooError(
                    f"The picture {path} is {size}, but at most {MAX_PIXELS:,} pixels are read.", "Make it smaller."
                )
            if pixels > max(MAX_FLAT_PIXELS, PIXELS_PER_BYTE * n_bytes):
                raise GanzooError(
                    f"The picture {path} claims to be {size}, in a file of only {n_bytes:,} bytes.",
                    "Remove it, or make it smaller.",
                )
            yield picture
    except (GanzooError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        kinds = " or ".join(", ".join(formats).rsplit(", ", 1))
        raise GanzooError(
            f"The picture {path} cannot be read: it is not a {kinds} file.", "Remove it or write it again."
        ) from error
    except Exception as error:  # Pillow's readers let each other's exceptions through
        reason = str(error).rstrip(".") or type(error).__name__
        raise GanzooError(f"The picture {path} cannot be read ({reason}).", "Remove it or write it again.") from error


def read_npz(path: Path, names: Collection[str], remedy: str = "") -> dict[str, np.ndarray[Any, Any]]:
    """Those of the named arrays that a ``numpy.savez`` file holds, never unpickled; ``remedy`` is for errors."""
    arrays = {}
    what = str(path)
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            for name in names:
                if f"{name}.npy" not in archive.namelist():
                    continue
                what, info = f"The array '{name}' in {path}", archive.getinfo(f"{name}.npy")
                with archive.open(info) as stored:
                    head = io.BytesIO(stored.read(MAX_ARRAY_HEADER + 12))  # magic, version and length take 12 at most
                read_header = npy.read_array_header_1_0 if npy.read_magic(head) == (1, 0) else npy.read_array_header_2_0
                shape, _, dtype = read_header(head, max_header_size=MAX_ARRAY_HEADER)
                needed = prod(shape) * dtype.itemsize
                check_bytes(what, needed)
                if needed > info.file_size:
                    raise ValueError("it holds less than it claims")
                with archive.open(info) as stored:
                    arrays[name] = npy.read_array(stored, allow_pickle=False)
    # SyntaxError and TokenError, because NumPy parses the header as Python.
    except (*DAMAGE, TypeError, LookupError, SyntaxError, TokenError) as error:
        raise GanzooError(f"{what} cannot be read ({error}).", remedy) from error
    return arrays


def read_idx(path: Path) -> Tensor:
    """Read bytes in MNIST's format, from a file or, if only that exists, from its gzipped copy (``.gz`` appended).

    Args:
        path: The file, without ``.gz``.

    Returns:
        uint8, with the shape in its header.

    Raises:
        GanzooError: It cannot be read, is damaged, or too large.
    """
    packed = path if path.exists() else path.with_name(f"{path.name}.gz")
    try:
        with open_regular(packed) as file:
            stream = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if packed != path else file
            zeros, kind, n_sizes = struct.unpack(">HBB", stream.read(4))
            shape = struct.unpack(f">{n_sizes}I", stream.read(4 * n_sizes))
            if zeros != 0 or kind != 8 or 0 in shape:
                raise ValueError("not a file of bytes in MNIST's format, or empty")
            check_bytes(packed, prod(shape))
            # Before that much is reserved: at its best, deflate stores 1,032 bytes in one.
            if prod(shape) > 1_032 * packed.stat().st_size:
                raise ValueError("it holds less than it claims")
            content = bytearray(stream.read(prod(shape) + 1))
            if len(content) != prod(shape):
                raise ValueError(f"it holds {'less' if len(content) < prod(shape) else 'more'} than it claims")
    except DAMAGE as error:
        raise GanzooError(f"{packed} is damaged or cannot be read ({error}).", "Download it again.") from error
    return torch.frombuffer(content, dtype=torch.uint8).view(shape)
