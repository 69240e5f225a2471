"""Pretrained generators: weights, and a card that says how they were trained, by which recipe, and how they score.

A plugin's are ``NAME.safetensors`` and ``NAME.json``, used as ``zoo:NAME``, and ``NAME-discriminator.safetensors``,
which only training starts from. A folder as the Hugging Face Hub expects it holds the first two as
``model.safetensors`` and ``config.json``. A package may leave weights out: they are downloaded from its release, only
on request, and kept in the cache.
"""

from __future__ import annotations

import hashlib
import os
from http.client import HTTPException
from importlib.metadata import metadata
from pathlib import Path
from urllib.request import urlopen

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from ganzoo.api.dataset import cache_folder
from ganzoo.config.loading import parse_recipe
from ganzoo.config.schema import Recipe
from ganzoo.errors import GanzooError, RunError
from ganzoo.files import write_atomically
from ganzoo.registry import strict
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.registry.registry import Entry
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.records import Checkpoint, Record, read_card, refuse_irregular

PREFIX = "zoo:"
CONFIG, MODEL = "config.json", "model.safetensors"  # a card and its weights, as the Hub names them
PARTS = {"weights": "", "discriminator": "-discriminator"}
"""A card's keys that describe a file of weights, and what follows the generator's name in the name of the file."""
TIMEOUT = 60  # seconds without an answer


def zoo_name(source: str | Path) -> str | None:
    """The name in ``zoo:NAME``; None for anything else."""
    text = str(source)
    return text.removeprefix(PREFIX) if text.startswith(PREFIX) else None


def card_of(source: str | Path, zoo: Zoo) -> Path | None:
    """The card of ``zoo:NAME`` or of a folder for the Hub; None for anything else."""
    if (name := zoo_name(source)) is not None:
        return zoo.pretrained.get(name).create()
    file = Path(source) / CONFIG
    # Other programs' files may have that name too; ours begins with its schema.
    is_card = file.is_file() and not (Path(source) / "run.json").exists() and b'"schema"' in file.read_bytes()
    return file if is_card else None


def recipe_of(card: Record, zoo: Zoo) -> Recipe:
    """The recipe that a card holds."""
    return parse_recipe(strict.dump(card["recipe"]), card["run"]["recipe"], zoo)


def published(file: Path, zoo: Zoo, *, with_discriminator: bool = False) -> tuple[RunFolder, Recipe, Checkpoint]:
    """A pretrained generator, by its card: its run as the card describes it, the recipe, and the weights.

    Args:
        file: The card.
        zoo: Where its recipe is looked up.
        with_discriminator: Whether the weights include the discriminator's, if the card names them.

    Raises:
        GanzooError: A file is missing, damaged or no file, or the weights were not downloaded yet.
    """
    where, remedy, in_plugin = f"'{file.stem}'", "Reinstall the plugin that provides it.", file.name != CONFIG
    if not in_plugin:
        where = f"in {file.parent}"
        remedy = "`ganzoo.load` reads folders that `ganzoo export --format hub` made: download all files of one."
        refuse_irregular(file.parent, (CONFIG, MODEL))
    try:
        card = read_card(file)
        parts = ["weights"]
        if with_discriminator and in_plugin and "discriminator" in card:
            parts.append("discriminator")
        tensors: dict[str, Tensor] = {}
        for part in parts:
            stored = _beside(file, part) if in_plugin else file.with_name(MODEL)
            if not stored.exists() and file.stem in zoo.pretrained:
                remedy, stored = f"`ganzoo download {file.stem}` fetches it again.", _kept(file.stem, card, part)
                if not stored.exists():
                    raise _left_out(zoo.pretrained.get(file.stem), card, part)
            tensors |= load_tensors(_checked(stored.read_bytes(), card, part))
        checkpoint = Checkpoint(tensors, {**card["training"], "steps": 0}, stored)
        return RunFolder(file, {**card["run"], "status": "done"}), recipe_of(card, zoo), checkpoint
    except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
        raise GanzooError(f"The pretrained generator {where} cannot be read: {error}.", remedy) from error


def download(name: str, *, zoo: Zoo | None = None) -> Path:
    """Download the weights of a pretrained generator, and of its discriminator, if its package leaves them out.

    Args:
        name: The generator, as in ``zoo:NAME``.
        zoo: Where the name is looked up; leave it out to use the installed plugins.

    Returns:
        The file with the generator's weights: in the package, or in the cache.

    Raises:
        GanzooError: The name is unknown, or no address is known.
        RunError: The download failed, or is not the file that the card names.
    """
    entry = (zoo or load_zoo()).pretrained.get(name.removeprefix(PREFIX))
    card = read_card(entry.create())
    weights, *_ = [_downloaded(entry, card, part) for part in PARTS if part in card]
    return weights


def _downloaded(entry: Entry[Path], card: Record, part: str) -> Path:
    installed, address = _beside(entry.create(), part), _address(entry, part)
    if installed.exists():
        return installed
    kept = _kept(entry.name, card, part)
    if not address:
        raise _left_out(entry, card, part)
    try:
        with urlopen(address, timeout=TIMEOUT) as answer:  # noqa: S310 - the user's or an installed package's address
            content = _checked(answer.read(card[part]["bytes"] + 1), card, part)
    except (OSError, ValueError, HTTPException) as error:
        raise RunError(
            f"{address} cannot be downloaded: {error}.", f"Get it elsewhere, and save it as {kept}."
        ) from error
    write_atomically(kept, content)
    return kept


def _checked(content: bytes, card: Record, part: str) -> bytes:
    if hashlib.sha256(content).hexdigest() != card[part]["sha256"]:
        raise ValueError(f"the file of the {part} is not the one that the card was made for")
    return content


def _left_out(entry: Entry[Path], card: Record, part: str) -> GanzooError:
    where = _address(entry, part) or "the release, once GANZOO_PRETRAINED_URL is the address of its files"
    return GanzooError(
        f"The installed package leaves out the {part} of {PREFIX}{entry.name}.",
        f"`ganzoo download {entry.name}` gets the file from {where} ({card[part]['bytes'] / 1e6:.1f} MB); or save "
        f"{entry.name}{PARTS[part]}.safetensors as {_kept(entry.name, card, part)}.",
    )


def _beside(file: Path, part: str) -> Path:
    """Where a package has a part's weights: next to the card."""
    return file.with_name(f"{file.stem}{PARTS[part]}.safetensors")


def _kept(name: str, card: Record, part: str) -> Path:
    """Where downloaded weights are kept."""
    return cache_folder("pretrained") / f"{name}{PARTS[part]}-{card[part]['sha256'][:12]}.safetensors"


def _address(entry: Entry[Path], part: str) -> str:
    """Where a part's weights can be downloaded: GANZOO_PRETRAINED_URL, or its package's release; "" if unknown."""
    package, _, version = entry.distribution.rpartition(" ")
    urls = dict(line.split(", ", 1) for line in metadata(package).get_all("Project-URL") or ())
    release = f"{urls['Repository']}/releases/download/v{version}" if "Repository" in urls else ""
    base = os.environ.get("GANZOO_PRETRAINED_URL", release)
    return f"{base.rstrip('/')}/{entry.name}{PARTS[part]}.safetensors" if base else ""
