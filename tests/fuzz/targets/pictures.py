"""Pictures that ``ganzoo eval`` reads: .npz files and folders of PNGs."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

import mutations
import numpy as np
from PIL import Image

from ganzoo.evaluation.evaluate import read_pictures
from targets import Target

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

DESCRIPTIONS = ("|u1", "<f4", "<f8", "|O", "<U9", "|V999999999", "<M8[ns]", "|b1", "<i8", "[('a', '|u1')]",
                "<f4, <f4", ">u2", "|S0", "é", "", "('|u1', (2, 2))")  # fmt: skip
SHAPES = ("(4, 8, 8)", "(4, 8, 8, 3)", "(4, 1, 2)", "(0, 8, 8)", "(-1, 8, 8)", "(10**9, 10**9)", "()", "(4,)", "4",
          f"({10**12}, 8, 8)", f"({10**30}, 0)", f"({2**62}, 4)", "(4, 8, 8, 1, 1)", "(True, 8, 8)", "(" * 150,
          "-" * 3000 + "1", "(4, 8, 8), 'x': 1", "(4.0, 8, 8)", "(50000, 200, 200)")  # fmt: skip
METHODS = (*[zipfile.ZIP_STORED] * 4, *[zipfile.ZIP_DEFLATED] * 4, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def _bomb(mode: str) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (12_000, 12_000)).save(file, "PNG")
    return file.getvalue()


BOMBS = {mode: _bomb(mode) for mode in ("1", "L")}
"""A hundred million pixels in a few kilobytes."""
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


class Targets:
    """Small pictures, damaged."""

    def all(self) -> dict[str, Target]:
        """By name."""
        return {"npz": Target(self.npz, 5), "pngs": Target(self.pngs, 3)}

    def npz(self, random: Random, folder: Path) -> None:
        """An archive of damaged arrays, or a damaged archive."""
        path = folder / random.choice(("x.npz", "x.npz", "x.NPZ", "a\nb.npz", "é.npz"))
        whole = _archive(random)
        path.write_bytes(mutations.content(random, whole) if random.random() < 0.3 else whole)
        _prepare(random, read_pictures(path))

    def pngs(self, random: Random, folder: Path) -> None:
        """Damaged files among intact ones."""
        for number in range(random.randrange(1, 4)):
            mode = random.choice(("L", "L", "L", "L", "L", "L", "RGB", random.choice(("P", "RGBA", "1", "I;16"))))
            whole = io.BytesIO()
            Image.new(mode, random.choice(((8, 8), (8, 8), (1, 1), (30, 7)))).save(whole, "PNG")
            name = str(number) + random.choice((".png",) * 8 + (".PNG", "\n.png", ".jpg"))
            content = whole.getvalue()
            if random.random() < 0.3:
                content = odd_png(random) if random.random() < 0.4 else mutations.content(random, content)
            (folder / name).write_bytes(content)
        for chance, make in ((0.2, (folder / "folder.png").mkdir), (0.05, partial(os.mkfifo, folder / "pipe.png"))):
            if random.random() < chance:
                make()
        if random.random() < 0.05:
            (folder / "0.png").write_bytes(BOMBS[random.choice(("1", "L"))])
        _prepare(random, read_pictures(folder))


def _prepare(random: Random, pictures: Any) -> None:
    pictures.fitted(random.choice(((1, 8, 8), (3, 8, 8), (1, 4, 4))), crop=random.random() < 0.5).at_most(2, 0)


def _archive(random: Random) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", random.choice(METHODS)) as archive:
        archive.writestr("images.npy", _array(random, (4, 8, 8)))
        if random.random() < 0.5:
            archive.writestr("labels.npy", _array(random, (4,)))
        if random.random() < 0.2:
            archive.writestr(random.choice(("../../escaped.npy", "/tmp/ganzoo-fuzz-escaped", "images.npy")), b"x" * 99)
    return file.getvalue()


def _array(random: Random, shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(shape, random.choice(("uint8",) * 6 + ("int64", "float32", "bool"))))
    kind = random.randrange(8)
    if kind == 0:
        return mutations.content(random, file.getvalue())
    if kind < 6:
        return file.getvalue()
    described = f"{{'descr': {random.choice(DESCRIPTIONS)!r}, 'fortran_order': {random.choice((True, False, 3))}, "
    header = f"{described}'shape': {random.choice(SHAPES)}}}".encode("latin-1", "replace")
    version = random.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    if version[0] > 1 and random.random() < 0.2:
        header += b" " * random.choice((9_000, 20_000, 20_000_000))
    length = struct.pack("<H" if version[0] == 1 else "<I", len(header))
    return b"\x93NUMPY" + version + length + header + bytes(random.choice((0, 32, 256)))


def odd_png(random: Random) -> bytes:
    """A PNG of odd chunks with valid checksums, such as a huge or zero size."""
    side = random.choice((0, 1, 8, 60_000, 2**31 - 1, 2**32 - 1))
    bits, colour = random.choice((1, 8, 16, 3)), random.choice((0, 2, 3, 4, 6, 9))
    header = struct.pack(">IIBBBBB", side, random.choice((side, 8)), bits, colour, 0, 0, random.choice((0, 1)))
    odd = random.choice((b"tRNS", b"PLTE", b"iCCP", b"eXIf", b"zTXt", b"iTXt", b"acTL", b"fdAT", b"gAMA", b"pHYs"))
    noise = random.choice((b"", b"\x00", random.randbytes(20), zlib.compress(bytes(2_000_000)), b"x\x00\x00"))
    pixels = zlib.compress(bytes(random.choice((0, 72, 10_000))))
    chunks = ((b"IHDR", header), (odd, noise), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
