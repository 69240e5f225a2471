"""Letters and digits in the fonts that matplotlib brings: DejaVu, STIX and Computer Modern.

``regular-to-bold`` and ``sans-to-serif`` are pairs of 64x64, black on white: one character in two fonts of a family, of
the same size, centred on the same baseline. Of the Latin, Greek and Cyrillic letters and the digits that both fonts
have, a sixth of the characters is in the test split and in no font in the training split.

``printed-to-handwritten`` is not paired: the images are MNIST's, and the sources are digits in ``FONTS``, white on
black too, in several sizes and shifted by up to ``SHIFT`` pixels. The column ``source_label`` has their classes.

Everything is drawn by seed. Pixels also depend on the version of FreeType that Pillow brings.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ganzoo import Dataset, Register, Split, hookimpl
from ganzoo_plugins.datasets.datasets import mnist

BOLD = (
    ("DejaVuSans", "DejaVuSans-Bold"),
    ("DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    ("DejaVuSansMono", "DejaVuSansMono-Bold"),
    ("DejaVuSerif", "DejaVuSerif-Bold"),
    ("DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    ("STIXGeneral", "STIXGeneralBol"),
    ("STIXGeneralItalic", "STIXGeneralBolIta"),
)
SERIF = (
    ("DejaVuSans", "DejaVuSerif"),
    ("DejaVuSans-Bold", "DejaVuSerif-Bold"),
    ("DejaVuSans-Oblique", "DejaVuSerif-Italic"),
    ("DejaVuSans-BoldOblique", "DejaVuSerif-BoldItalic"),
)
FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Bold"),
    *("DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "cmr10", "cmb10", "cmss10", "cmtt10"),
)
SEEDS: dict[Split, int] = {"train": 0, "test": 1}
SIDE, BASELINE, LAST = 64, 45, 0x530  # pixels, and the code point after Cyrillic
SIZES, DIGIT_SIZES = range(30, 47), range(20, 29)  # of fonts, in pixels
SHIFT = 2
Count = Annotated[int, Field(ge=1, le=1_000_000)]


@cache
def _font(name: str, size: int) -> object:
    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(Path(get_data_path(), "fonts", "ttf", f"{name}.ttf"), size)


def drawn(character: str, font: str, size: int, side: int, place: tuple[int, int], anchor: str) -> Tensor:
    """One character, white on black, as uint8 (1, side, side); ``anchor`` as Pillow names it, at ``place``."""
    from PIL import Image, ImageDraw
    from torchvision.transforms.functional import pil_to_tensor

    picture = Image.new("L", (side, side))
    ImageDraw.Draw(picture).text(place, character, 255, _font(font, size), anchor)  # type: ignore[arg-type]
    pixels: Tensor = pil_to_tensor(picture)
    return pixels


def characters(fonts: Sequence[str], split: Split) -> list[str]:
    """The letters and digits of a split that all fonts have."""
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    known = [FT2Font(str(Path(get_data_path(), "fonts", "ttf", f"{font}.ttf"))).get_charmap() for font in fonts]
    order = torch.randperm(LAST, generator=torch.Generator().manual_seed(0)).tolist()
    return [
        chr(code)
        for code, place in enumerate(order)
        if all(code in one for one in known)
        and unicodedata.category(chr(code)) in ("Lu", "Ll", "Lo", "Nd")
        and (place % 6 == 0) == (split == "test")
    ]


def _in_two_fonts(name: str, families: Sequence[tuple[str, str]], split: Split, n: int) -> Dataset:
    known = [characters(fonts, split) for fonts in families]
    generator = torch.Generator().manual_seed(SEEDS[split])
    numbers = torch.randint(2**31, (n, 3), generator=generator).tolist()
    pairs = torch.empty(2, n, 1, SIDE, SIDE, dtype=torch.uint8)
    for row, (family, letter, size) in enumerate(numbers):
        family %= len(families)
        character = known[family][letter % len(known[family])]
        for image, font in zip(pairs[:, row], families[family], strict=True):
            image.copy_(drawn(character, font, SIZES[size % len(SIZES)], SIDE, (SIDE // 2, BASELINE), "ms"))
    source, images = 255 - pairs
    return Dataset(name, split, images, columns={"source": source})


def regular_to_bold(
    split: Split, folder: Path | None, *, train_images: Count = 10_000, test_images: Count = 2_000
) -> Dataset:
    """Letters in bold, and the same in regular type.

    Args:
        split: ``"train"`` or ``"test"``.
        folder: Not needed.
        train_images: How many to draw for training.
        test_images: How many to draw as the reference.
    """
    return _in_two_fonts("regular-to-bold", BOLD, split, train_images if split == "train" else test_images)


def sans_to_serif(
    split: Split, folder: Path | None, *, train_images: Count = 10_000, test_images: Count = 2_000
) -> Dataset:
    """Letters with serifs, and the same without.

    Args:
        split: ``"train"`` or ``"test"``.
        folder: Not needed.
        train_images: How many to draw for training.
        test_images: How many to draw as the reference.
    """
    return _in_two_fonts("sans-to-serif", SERIF, split, train_images if split == "train" else test_images)


def printed_digits(split: Split, n: int) -> tuple[Tensor, Tensor]:
    """Digits uint8 (n, 1, 28, 28), white on black, and their classes int64 (n,)."""
    generator = torch.Generator().manual_seed(SEEDS[split])
    labels = torch.arange(n) % 10
    fonts, sizes = (torch.randint(len(choice), (n,), generator=generator).tolist() for choice in (FONTS, DIGIT_SIZES))
    shifts = torch.randint(-SHIFT, SHIFT + 1, (n, 2), generator=generator).tolist()
    digit = cache(lambda label, font, size: drawn(str(label), FONTS[font], DIGIT_SIZES[size], 28, (14, 14), "mm"))
    rows = zip(labels.tolist(), fonts, sizes, shifts, strict=True)
    return torch.stack([digit(*which).roll(shift, (1, 2)) for *which, shift in rows]), labels


def printed_to_handwritten(
    split: Split,
    folder: Path | None,
    *,
    reverse: bool = False,
    train_images: Count = 20_000,
    test_images: Count = 10_000,
) -> Dataset:
    """Printed digits, and MNIST's; not paired.

    Args:
        split: ``"train"`` or ``"test"``.
        folder: Where MNIST's files are, or None.
        reverse: The other way: MNIST's digits are the sources.
        train_images: How many of each to train on.
        test_images: How many of each are the reference.
    """
    digits = mnist(split, folder)
    assert digits.labels is not None
    n = train_images if split == "train" else test_images
    written, labels = digits.images[:n], digits.labels[:n]
    printed, classes = printed_digits(split, len(written))
    (source, source_label), (images, label), domain = (printed, classes), (written, labels), "mnist"
    if reverse:
        (source, source_label), (images, label), domain = (written, labels), (printed, classes), "printed-digits"
    unpaired = torch.ones(len(images), dtype=torch.bool)
    columns = {"source": source, "source_label": source_label, "unpaired": unpaired}
    return Dataset("printed-to-handwritten", split, images, label, digits.classes, columns, domain=domain)


@hookimpl
def register_datasets(register: Register[Dataset]) -> None:
    summary = "letters in bold, and in regular type as their source, 64x64 grey"
    register("regular-to-bold", regular_to_bold, summary=summary)
    summary = "letters with serifs, and without as their source, 64x64 grey"
    register("sans-to-serif", sans_to_serif, summary=summary)
    summary = "MNIST, and unpaired printed digits as sources"
    register("printed-to-handwritten", printed_to_handwritten, summary=summary)
