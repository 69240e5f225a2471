"""Pretrained generators: weights, and a card that says how they were trained, by which recipe, and how they score.

A plugin's are ``NAME.safetensors`` and ``NAME.json``, used as ``zoo:NAME``. A folder as the Hugging Face Hub expects it
holds the same two as ``model.safetensors`` and ``config.json``. A package may leave weights out: they are downloaded
from its release, only on request, and kept in the cache.
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
    return file if file.exists() and not (Path(source) / "run.json").exists() else None


def recipe_of(card: Record, zoo: Zoo) -> Recipe:
    """The recipe that a card holds."""
    return parse_recipe(strict.dump(card["recipe"]), card["run"]["recipe"], zoo)


def published(file: Path, zoo: Zoo) -> tuple[RunFolder, Recipe, Checkpoint]:
    """A pretrained generator, by its card: its run as the card describes it, the recipe, and the weights.

    Raises:
        GanzooError: A file is missing, damaged or no file, or the weights were not downloaded yet.
    """
    where, weights = f"'{file.stem}'", file.with_suffix(".safetensors")
    remedy = "Reinstall the plugin that provides it."
    if file.name == CONFIG:
        where, weights = f"in {file.parent}", file.with_name(MODEL)
        remedy = "`ganzoo.load` reads folders that `ganzoo export --format hub` made: download all files of one."
        refuse_irregular(file.parent, (CONFIG, MODEL))
    try:
        card = read_card(file)
        if not weights.exists() and file.stem in zoo.pretrained:
            remedy, weights = f"`ganzoo download {file.stem}` fetches it again.", _kept(file.stem, card)
            if not weights.exists():
                raise _left_out(zoo.pretrained.get(file.stem), card)
        tensors = load_tensors(_checked(weights.read_bytes(), card))
        checkpoint = Checkpoint(tensors, {"images": card["training"]["images"], "steps": 0}, weights)
        return RunFolder(file, {**card["run"], "status": "done"}), recipe_of(card, zoo), checkpoint
    except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
        raise GanzooError(f"The pretrained generator {where} cannot be read: {error}.", remedy) from error


def download(name: str, *, zoo: Zoo | None = None) -> Path:
    """Download the weights of a pretrained generator whose package leaves them out.

    Args:
        name: The generator, as in ``zoo:NAME``.
        zoo: Where the name is looked up; leave it out to use the installed plugins.

    Returns:
        The file with the weights: in the package, or in the cache.

    Raises:
        GanzooError: The name is unknown, or no address is known.
        RunError: The download failed, or is not the file that the card names.
    """
    entry = (zoo or load_zoo()).pretrained.get(name.removeprefix(PREFIX))
    file = entry.create()
    card = read_card(file)
    installed, kept, address = file.with_suffix(".safetensors"), _kept(entry.name, card), _address(entry)
    if installed.exists():
        return installed
    if not address:
        raise _left_out(entry, card)
    try:
        with urlopen(address, timeout=TIMEOUT) as answer:  # noqa: S310 - the user's or an installed package's address
            content = _checked(answer.read(card["weights"]["bytes"] + 1), card)
    except (OSError, ValueError, HTTPException) as error:
        raise RunError(
            f"{address} cannot be downloaded: {error}.", f"Get it elsewhere, and save it as {kept}."
        ) from error
    write_atomically(kept, content)
    return kept


def _checked(content: bytes, card: Record) -> bytes:
    if hashlib.sha256(content).hexdigest() != card["weights"]["sha256"]:
        raise ValueError("the weights are not those that the card was made for")
    return content


def _left_out(entry: Entry[Path], card: Record) -> GanzooError:
    where = _address(entry) or "the release, once GANZOO_PRETRAINED_URL is the address of its files"
    return GanzooError(
        f"The weights of {PREFIX}{entry.name} are not in the installed package.",
        f"`ganzoo download {entry.name}` fetches them from {where} ({card['weights']['bytes'] / 1e6:.1f} MB); or save "
        f"{entry.name}.safetensors as {_kept(entry.name, card)}.",
    )


def _kept(name: str, card: Record) -> Path:
    """Where downloaded weights are kept."""
    return cache_folder("pretrained") / f"{name}-{card['weights']['sha256'][:12]}.safetensors"


def _address(entry: Entry[Path]) -> str:
    """Where an entry's weights can be downloaded: GANZOO_PRETRAINED_URL, or its package's release; "" if unknown."""
    package, _, version = entry.distribution.rpartition(" ")
    urls = dict(line.split(", ", 1) for line in metadata(package).get_all("Project-URL") or ())
    release = f"{urls['Repository']}/releases/download/v{version}" if "Repository" in urls else ""
    base = os.environ.get("GANZOO_PRETRAINED_URL", release)
    return f"{base.rstrip('/')}/{entry.name}.safetensors" if base else ""
