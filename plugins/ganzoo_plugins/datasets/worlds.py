"""Two worlds whose truth is known: cartoon faces and pixel-art characters, drawn by seed from a law that is given here.

A generator can be judged by the truth, not only by features: how often each attribute occurs and each pair of them,
which pairs never do, and whether pictures are copies. Attributes x_1, ..., x_k of a picture are drawn from

    p(x) ∝ Π_i w_i(x_i) Π_(i,j) f_ij(x_i, x_j)

with integer weights w and factors f: 1 unless listed, more for a frequent pair, 0 for a forbidden one. ``World``
computes from them any marginal, exactly. Colours are shifted by up to ``JITTER`` levels, and what is no attribute, such
as the eyes, is chosen by the picture's seed, so no two of the 12,000 pictures are equal. A picture is the same however
many are drawn.

Both styles are in the public domain (CC0 1.0) and come with DiceBear, https://www.dicebear.com: ``faces`` is a remix of
"Open Peeps" by Pablo Stanley, https://www.openpeeps.com; ``characters`` is "Pixel Art" by DiceBear.

The integers come from a torch.Generator; the rest is up to ``PACKAGES``, whose versions are fixed. ``DIGESTS`` are from
Linux on x86-64. Pictures are never rotated, so that drawing needs no sine, which differs between platforms.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from filelock import FileLock
from pydantic import Field
from torch import Tensor

from ganzoo import Dataset, GanzooError, Register, Split, cache_folder, hookimpl

logger = logging.getLogger(__name__)

PACKAGES = {"dicebear-core": "10.7.0", "dicebear-styles": "10.6.0", "resvg-py": "0.5.0"}
"""What draws the pictures. Other versions would draw other worlds."""

SEEDS: dict[Split, int] = {"train": 0, "test": 1}
JITTER = 10
"""How far each channel of a colour may be from the colour of its attribute, in levels."""

CHECKED = 200
"""How many pictures a digest covers, the first of each split."""

Count = Annotated[int, Field(ge=1, le=100_000)]
Size = Literal[32, 64]


@dataclass(frozen=True)
class Attribute:
    """Something that can be seen in a picture.

    Attributes:
        option: The part of the style that it sets, such as ``head``, or the colour, such as ``skin``.
        values: The weight of each value, and its looks in the style: names of variants, one of which is drawn, a
            colour, or "" if the part is left out.
    """

    option: str
    values: Mapping[str, tuple[int, str]]

    def options(self, value: int, shift: list[int]) -> dict[str, Any]:
        """The options that make DiceBear draw a value, given by index; ``shift`` is that of the colour's channels."""
        looks = list(self.values.values())[value][1]
        if not looks.startswith("#"):
            probability = 100 if looks else 0
            return {f"{self.option}Variant": looks.split(), f"{self.option}Probability": probability}
        channels = [min(255, max(0, old + more)) for old, more in zip(bytes.fromhex(looks[1:]), shift, strict=True)]
        return {f"{self.option}Color": f"#{bytes(channels).hex()}"}


@dataclass(frozen=True)
class World:
    """A dataset of drawn pictures, and the law of their attributes.

    Attributes:
        name: The registered name of the dataset.
        style: The style's name in DiceBear.
        attributes: What is drawn, by name; the first is the label, the others are columns of the dataset.
        factors: By how much a pair ``(attribute, value, attribute, value)`` is more frequent; 0 forbids it.
        fixed: DiceBear's options for everything else: a list is chosen from by each picture's seed.
    """

    name: str
    style: str
    attributes: Mapping[str, Attribute]
    factors: Mapping[tuple[str, str, str, str], int]
    fixed: Mapping[str, Any]

    @property
    def weights(self) -> Tensor:
        """The law, not normalised: int64, one dimension per attribute and one entry per combination of values."""
        weights = torch.ones([len(attribute.values) for attribute in self.attributes.values()], dtype=torch.int64)
        for axis, attribute in enumerate(self.attributes.values()):
            own = torch.tensor([weight for weight, _ in attribute.values.values()])
            weights *= own.view(-1, *[1] * (weights.dim() - axis - 1))
        for (one, first, other, second), factor in self.factors.items():
            pair = [slice(None)] * weights.dim()
            for name, value in ((one, first), (other, second)):
                index = list(self.attributes[name].values).index(value)
                pair[list(self.attributes).index(name)] = slice(index, index + 1)
            weights[tuple(pair)] *= factor
        return weights

    @property
    def forbidden(self) -> list[tuple[str, str, str, str]]:
        """The pairs ``(attribute, value, attribute, value)`` that never occur."""
        return [pair for pair, factor in self.factors.items() if factor == 0]

    def probabilities(self, *names: str) -> Tensor:
        """The exact joint law of some attributes, float64 with one dimension each, in the order of ``attributes``."""
        weights = self.weights
        others = [axis for axis, name in enumerate(self.attributes) if name not in names]
        return (weights.sum(others) if others else weights).double() / weights.sum()

    def draw_attributes(self, split: Split, n: int) -> tuple[Tensor, Tensor]:
        """The values of n pictures, int64 (n, attributes), and how their colours are shifted (n, attributes, 3)."""
        weights = self.weights
        generator = torch.Generator().manual_seed(SEEDS[split])
        numbers = torch.randint(2**62, (n, 1 + 3 * weights.dim()), generator=generator)
        upto = weights.flatten().cumsum(0)
        cells = torch.searchsorted(upto, numbers[:, 0] % upto[-1], right=True)
        shifts = numbers[:, 1:].reshape(n, -1, 3) % (2 * JITTER + 1) - JITTER
        return torch.stack(torch.unravel_index(cells, weights.shape), 1), shifts

    def draw(self, split: Split, n: int, size: Size) -> Tensor:
        """The first n pictures of a split, uint8 (n, 3, size, size).

        Raises:
            GanzooError: The packages that draw are missing, or have other versions.
        """
        remedy = "pip install 'ganzoo-bench[worlds]'"
        try:
            import resvg_py
            from dicebear import Avatar, Style

            found = {package: version(package) for package in PACKAGES}
            definition = files("dicebear_styles").joinpath(f"{self.style}.json").read_text("utf-8")
        except ImportError as error:
            needed = f"Dataset '{self.name}' is drawn by {_named(PACKAGES)}"
            raise GanzooError(f"{needed}; {error.name} is not installed.", remedy) from error
        if found != PACKAGES:
            sentence = f"Dataset '{self.name}' is drawn by {_named(PACKAGES)}, but {_named(found)} are installed."
            raise GanzooError(f"{sentence} Other versions draw other pictures.", remedy)
        from PIL import Image
        from rich.console import Console  # noqa: TID251 - for the bar, which prints no text but ours
        from rich.progress import track
        from torchvision.transforms.functional import pil_to_tensor

        style = Style(json.loads(definition))
        values, shifts = (drawn.tolist() for drawn in self.draw_attributes(split, n))
        pictures = torch.empty(n, 3, size, size, dtype=torch.uint8)
        console = Console(stderr=True)
        hidden = not console.is_terminal or sys.stderr is not sys.__stderr__  # a run's bar may already be there
        for row in track(range(n), f"drawing {self.name} ({split})", console=console, disable=hidden):
            options = {**self.fixed, "seed": f"{split} {row}"}
            for attribute, value, shift in zip(self.attributes.values(), values[row], shifts[row], strict=True):
                options |= attribute.options(value, shift)
            svg = Avatar(style, options).to_string()
            drawn = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
            pictures[row] = pil_to_tensor(Image.open(BytesIO(drawn)).convert("RGB"))
        return pictures

    def load(self, split: Split, n: int, size: Size) -> Dataset:
        """The first n pictures of a split, from the cache or drawn; one process draws, and others wait for it.

        Raises:
            GanzooError: It can be neither read nor drawn, or the cache cannot be written.
        """
        expected = DIGESTS[self.name, split, size]
        path = cache_folder("worlds") / f"{self.name}-{split}-{n}-{size}-{expected[:12]}.rgb"
        images = _read(path, size)
        if images is None:
            try:
                with FileLock(path.with_suffix(".lock")):
                    images = _read(path, size)
                    if images is None:
                        images = self.draw(split, max(n, CHECKED), size)
                        content = images.numpy().tobytes()
                        temporary = path.with_suffix(".tmp")  # a fixed name: a killed process's file is replaced
                        temporary.write_bytes(sha256(content).digest() + content)
                        temporary.replace(path)
            except (OSError, NotImplementedError) as error:  # the latter on a file system without locks
                reason = getattr(error, "strerror", None) or error
                sentence = f"Dataset '{self.name}' cannot be stored in {path.parent} ({reason})."
                raise GanzooError(sentence, "Set GANZOO_CACHE to a folder with 150 MB of free space.") from error
        if sha256(images[:CHECKED].numpy().tobytes()).hexdigest() != expected:
            logger.warning(
                "This machine draws dataset '%s' (%s, %s pixels) differently from the one it was published on: compare "
                "its scores only with each other.",
                *(self.name, split, size),
            )
        label, *others = self.attributes
        labels, *columns = self.draw_attributes(split, n)[0].unbind(1)
        classes = tuple(self.attributes[label].values)
        return Dataset(self.name, split, images[:n], labels, classes, dict(zip(others, columns, strict=True)))


def _named(versions: Mapping[str, str]) -> str:
    *first, last = (f"{package} {number}" for package, number in versions.items())
    return f"{', '.join(first)} and {last}"


def _read(path: Path, size: Size) -> Tensor | None:
    """The pictures in a file, which begins with their SHA-256; None if they are missing or damaged."""
    if not path.is_file():
        return None
    content = bytearray(path.read_bytes())
    if len(content) <= 32 or sha256(memoryview(content)[32:]).digest() != content[:32]:
        return None
    return torch.frombuffer(content, dtype=torch.uint8, offset=32).view(-1, 3, size, size)


FACES = World(
    "faces",
    "open-peeps",
    attributes={
        "hair": Attribute(
            "head",
            {
                "bald": (4, "noHair1 noHair2"),
                "short": (9, "short1 short5"),
                "flat top": (5, "flatTop flatTopLong"),
                "mohawk": (3, "mohawk mohawk2"),
                "fringe": (7, "bangs bangs2"),
                "bun": (5, "bun2 grayBun"),
                "afro": (6, "afro dreads1"),
                "long": (8, "long longCurly"),
            },
        ),
        "expression": Attribute(
            "expression",
            {
                "calm": (8, "blank calm smile"),
                "grin": (5, "smileBig smileTeethGap lovingGrin2"),
                "gasp": (3, "concerned concernedFear explaining"),
                "stare": (2, "awe fear hectic"),
            },
        ),
        "eyewear": Attribute(
            "accessories",
            {"none": (8, ""), "glasses": (4, "glasses3 glasses5"), "sunglasses": (2, "sunglasses sunglasses2")},
        ),
        "beard": Attribute(
            "facialHair",
            {"none": (8, ""), "moustache": (2, "moustache5 moustache6"), "full": (3, "full full2")},
        ),
        "skin": Attribute(
            "skin", {"light": (4, "#ffdbb4"), "tan": (5, "#e0a06c"), "brown": (4, "#b5703f"), "dark": (3, "#7d5540")}
        ),
        "clothes": Attribute(
            "clothing",
            {"red": (4, "#d94a4a"), "green": (5, "#4fb36a"), "yellow": (3, "#f2c94c"), "blue": (5, "#4a78d0")},
        ),
        "background": Attribute(
            "background",
            {"white": (5, "#f0f0ea"), "sky": (6, "#a9cdea"), "pink": (3, "#f3b0c4"), "dusk": (2, "#5b5f7d")},
        ),
    },
    factors={
        ("expression", "gasp", "beard", "moustache"): 0,  # the beard would hide the mouth
        ("expression", "gasp", "beard", "full"): 0,
        ("expression", "stare", "eyewear", "sunglasses"): 0,  # the glasses would hide the eyes
        ("hair", "mohawk", "beard", "moustache"): 0,
        ("hair", "afro", "background", "dusk"): 0,
        ("clothes", "red", "background", "pink"): 0,
        ("clothes", "blue", "background", "sky"): 0,
        ("hair", "bald", "beard", "full"): 6,
        ("hair", "mohawk", "eyewear", "sunglasses"): 8,
        ("hair", "bun", "eyewear", "glasses"): 4,
        ("expression", "grin", "background", "sky"): 3,
        ("clothes", "yellow", "background", "dusk"): 6,
    },
    fixed={
        "maskProbability": 0,
        "headContrastColor": ["#b58143", "#d6b370", "#a55728", "#724133"],
        "translateX": [-4, 4],  # percent
        "translateY": [-3, 3],
    },
)

CHARACTERS = World(
    "characters",
    "pixel-art",
    attributes={
        "hair": Attribute(
            "hair",
            {
                "receding": (3, "short18 short24"),
                "short": (9, "short15 short17 short22"),
                "spiky": (4, "short11 short13 long15"),
                "mohawk": (3, "short05 short21"),
                "bob": (6, "long04 long16"),
                "pigtails": (4, "long06 long18 long19"),
                "long": (8, "long09 long12 long13"),
            },
        ),
        "hair_colour": Attribute(
            "hair", {"brown": (8, "#5a3216"), "blond": (5, "#e8c34a"), "red": (3, "#bd2010"), "blue": (2, "#1f78c8")}
        ),
        "hat": Attribute("hat", {"none": (5, ""), "cap": (2, "variant02 variant06 variant07")}),
        "mouth": Attribute(
            "mouth", {"smile": (5, "happy09 happy11"), "open": (3, "happy12 happy13"), "sad": (3, "sad01 sad09")}
        ),
        "eyewear": Attribute(
            "glasses",
            {"none": (8, ""), "glasses": (4, "light05 light06 light07"), "sunglasses": (2, "dark05 dark06 dark07")},
        ),
        "skin": Attribute("skin", {"light": (5, "#ffdbac"), "tan": (4, "#c68f5c"), "dark": (4, "#6f4521")}),
        "clothes": Attribute(
            "clothing",
            {"green": (5, "#1f9a55"), "orange": (3, "#f08a24"), "pink": (4, "#e279c7"), "navy": (4, "#26407a")},
        ),
        "background": Attribute(
            "background",
            {"white": (5, "#eeeeea"), "mint": (4, "#9fe0c0"), "lilac": (4, "#b9a6e0"), "night": (2, "#2b2f4a")},
        ),
    },
    factors={
        ("hair", "receding", "hat", "cap"): 0,
        ("hair", "spiky", "hat", "cap"): 0,
        ("hair", "mohawk", "hat", "cap"): 0,
        ("hair_colour", "brown", "background", "night"): 0,
        ("clothes", "green", "background", "mint"): 0,
        ("clothes", "navy", "background", "night"): 0,
        ("mouth", "sad", "eyewear", "sunglasses"): 0,
        ("hair", "mohawk", "hair_colour", "red"): 6,
        ("hair", "spiky", "hair_colour", "blue"): 6,
        ("hair", "short", "hat", "cap"): 3,
        ("mouth", "open", "background", "lilac"): 3,
        ("clothes", "orange", "background", "night"): 6,
    },
    fixed={
        "accessoriesProbability": 0,
        "beardProbability": 0,
        "clothesVariant": ["variant01", "variant03", "variant05", "variant08", "variant12"],
        "eyesVariant": ["variant01", "variant06", "variant07", "variant09", "variant11"],
        "glassesColor": "#191919",
        "hatColor": "#7a7a80",
        "mouthColor": "#c0211f",
    },
)

DIGESTS: dict[tuple[str, Split, int], str] = {
    ("faces", "train", 32): "46736ca20a6037b1c524b8193f94e41917cde69e1790b830b1bca79925abaa86",
    ("faces", "test", 32): "737a20c02de72171d183024fdacca581ca199b89b0d6307d17b364e5fadbcf20",
    ("characters", "train", 32): "b6d1b4d2567e7079dd347d8f86beb9cd238eabb69afb4a3f479394ffdfd8e9c3",
    ("characters", "test", 32): "dfebaa399f68cf68be9762e66e4901eb8c043b7eec9aac7b8a90da461609b5f8",
    ("faces", "train", 64): "8c32fe48b563185b0bcd30c02d94e46900d31f0b6fd16d0470a0fcd5cb69df7e",
    ("faces", "test", 64): "aa6b55fdabe797241d6a7775f76527d3de7bf9597da51395828bb97664b9602d",
    ("characters", "train", 64): "15d55227d11c0053ee0042e6ec94ef949a5d4d445664d91043019e10c077dd2f",
    ("characters", "test", 64): "db22cb589d6684cad73db6c7aac9e2382cc37383d3d71dbb9b21a4b95e1513ea",
}
"""SHA-256 of the first ``CHECKED`` pictures, by world, split and size."""


def faces(
    split: Split, folder: Path | None, *, size: Size = 32, train_images: Count = 10_000, test_images: Count = 2_000
) -> Dataset:
    """Cartoon faces, labelled by hair; columns expression, eyewear, beard, skin, clothes and background.

    Args:
        split: ``"train"`` or ``"test"``.
        folder: Not needed.
        size: Width and height in pixels.
        train_images: How many to draw for training.
        test_images: How many to draw as the reference.
    """
    return FACES.load(split, train_images if split == "train" else test_images, size)


def characters(
    split: Split, folder: Path | None, *, size: Size = 32, train_images: Count = 10_000, test_images: Count = 2_000
) -> Dataset:
    """Pixel-art characters, labelled by hair; columns hair_colour, hat, mouth, eyewear, skin, clothes and background.

    Args:
        split: ``"train"`` or ``"test"``.
        folder: Not needed.
        size: Width and height in pixels.
        train_images: How many to draw for training.
        test_images: How many to draw as the reference.
    """
    return CHARACTERS.load(split, train_images if split == "train" else test_images, size)


@hookimpl
def register_datasets(register: Register[Dataset]) -> None:
    register("faces", faces, summary="cartoon faces, 32x32 or 64x64 colour, 8 classes, attributes of a known law")
    register("characters", characters, summary="pixel art, 32x32 or 64x64 colour, 7 classes, attributes of a known law")
