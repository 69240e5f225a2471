"""Files of datasets."""

from __future__ import annotations

import gzip
import io
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import mutations
from PIL import Image

from targets import Target
from targets.pictures import BOMBS, EPS, odd_png

if TYPE_CHECKING:
    from random import Random

    from ganzoo.registry.loading import Zoo

PATHS = ("pictures", "pictures", "pictures", ".", "..", "\x00", "x" * 5000, "~nobody", "/dev/null", "a\nb")
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")


class Targets:
    """Small datasets, damaged.

    Args:
        zoo: Their registry.
    """

    def __init__(self, zoo: Zoo) -> None:
        self.zoo = zoo
        self.images = struct.pack(">HBBIII", 0, 8, 3, 5, 28, 28) + bytes(5 * 784)
        self.labels = struct.pack(">HBBI", 0, 8, 1, 5) + bytes(range(5))

    def all(self) -> dict[str, Target]:
        """By name."""
        return {
            "idx": Target(self.idx, 3),
            "image-folder": Target(self.image_folder, 4),
            "cifar10": Target(self.cifar10, 1),
        }

    def idx(self, random: Random, folder: Path) -> None:
        """IDX files of Fashion-MNIST, KMNIST and EMNIST in a user's folder."""
        name = random.choice(("fashion-mnist", "kmnist", "emnist"))
        prefix = "emnist-balanced-test" if name == "emnist" else "t10k"
        for kind, whole in (("images-idx3", self.images), ("labels-idx1", self.labels)):
            content = _idx(random, whole)
            file = folder / f"{prefix}-{kind}-ubyte"
            if random.random() < 0.3:
                packed = gzip.compress(content, 1)
                packed = mutations.content(random, packed) if random.random() < 0.3 else packed
                file.with_name(f"{file.name}.gz").write_bytes(packed)
            elif random.random() < 0.03:
                os.mkfifo(file)
            else:
                file.write_bytes(content)
        self.zoo.datasets.get(name).factory("test", folder)

    def cifar10(self, random: Random, folder: Path) -> None:
        """Records of the binary version."""
        (folder / "test_batch.bin").write_bytes(mutations.content(random, bytes(2 * 3073)))
        self.zoo.datasets.get("cifar10").factory("test", folder)

    def image_folder(self, random: Random, folder: Path) -> None:
        """A folder of pictures, with or without classes and splits."""
        root = folder / "pictures"
        places = random.choice((("",), ("a", "b"), ("train/a", "test/a"), ("train/a", "test/b"), ("train", "test")))
        for place in places:
            (root / place).mkdir(parents=True, exist_ok=True)
            for number in range(random.choice((0, 1, 3, 10))):
                _picture(random, root / place / f"{number}")
            _trap(random, root / place)
        path = str(Path(random.choice(PATHS)))
        entry = self.zoo.datasets.get("image-folder")
        options = {"path": path, "size": random.choice((None, None, 8)), "channels": random.choice((1, 3))}
        entry.factory(
            random.choice(("train", "test")), random.choice((folder, folder, None)), **entry.options.check(options)
        )


def _trap(random: Random, folder: Path) -> None:
    """Now and then: a link in a circle, a pipe, a program, or a picture of next to nothing."""
    kind = random.randrange(30)
    if kind == 0:
        for name in ("one", "two"):
            (folder / name).symlink_to(random.choice((".", "..", "/", folder)))
    elif kind == 1:
        os.mkfifo(folder / "pipe.png")
    elif kind == 2:
        (folder / "program.png").write_bytes(EPS)
    elif kind == 3:
        for number in range(3):
            (folder / f"bomb{number}.png").write_bytes(BOMBS[random.choice(("1", "L"))])


def _idx(random: Random, whole: bytes) -> bytes:
    kind = random.randrange(4)
    if kind == 0:
        return whole
    if kind == 1:
        return mutations.content(random, whole)
    sizes = [random.choice((0, 1, 5, 28, 2**31, 2**32 - 1)) for _ in range(random.randrange(5))]
    head = struct.pack(">HBB", random.choice((0, 1)), random.choice((8, 9, 11, 12, 13, 14, 99)), len(sizes))
    return head + struct.pack(f">{len(sizes)}I", *sizes) + whole[16:]


def _picture(random: Random, path: Path) -> None:
    form, content = random.choice(FORMATS), io.BytesIO()
    Image.new("RGB", random.choice(((8, 8), (8, 8), (8, 8), (3, 9)))).save(content, form)
    whole = content.getvalue()
    kind = random.randrange(5)
    damaged = mutations.content(random, whole) if kind == 0 else odd_png(random) if kind == 1 else whole
    path.with_suffix(f".{form.lower()}").write_bytes(damaged)
