"""Pretrained generators: weights, and a card that says how they were trained, by which recipe, and how they score.

A plugin's are ``NAME.safetensors`` and ``NAME.json``, used as ``zoo:NAME``. A folder as the Hugging Face Hub expects it
holds the same two as ``model.safetensors`` and ``config.json``. A package may leave weights out: they are downloaded
from its release, only on request, and kept in the cache.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from urllib.request import urlopen

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from ganzoo.api.dataset import cache_folder
from ganzoo.config.loading import parse_recipe
from ganzoo.config.schema import Recipe
from ganzoo.errors import GanzooError, RunError, unknown
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
        return entry_of(name, zoo).create()
    file = Path(source) / CONFIG
    return file if file.exists() and not (Path(source) / "run.json").exists() else None


def entry_of(name: str, zoo: Zoo) -> Entry[Path]:
    """The pretrained generator of this name, whose factory returns its card."""
    if name not in zoo.pretrained:
        known = [entry.name for entry in zoo.pretrained]
        raise unknown("pretrained generator", name, known, zoo.pretrained.hint, zoo.pretrained.aliases)
    return zoo.pretrained.get(name)


def recipe_of(card: Record, zoo: Zoo) -> Recipe:
    """The recipe that a card holds."""
    return parse_recipe(strict.dump(card["recipe"]), card["run"]["recipe"], zoo)


def published(file: Path, zoo: Zoo) -> tuple[RunFolder, Recipe, Checkpoint]:
    """A pretrained generator, by its card: its run as the card describes it, the recipe, and the weights.

    Raises:
        GanzooError: A file is missing, damaged or no file, or the weights were not downloaded yet.
    """
    in_folder = file.name == CONFIG
    weights = file.with_name(MODEL) if in_folder else file.with_suffix(".safetensors")
    if in_folder:
        refuse_irregular(file.parent, (CONFIG, MODEL))
    try:
        card = read_card(file)
        if not weights.exists() and file.stem in zoo.pretrained:
            weights = _kept(file.stem, card)
            if not weights.exists():
                raise _left_out(zoo.pretrained.get(file.stem), card)
        content = weights.read_bytes()
        _refuse_other_content(content, card)
        checkpoint = Checkpoint(load_tensors(content), {"images": card["training"]["images"], "steps": 0}, weights)
        return RunFolder(file, {**card["run"], "status": "done"}), recipe_of(card, zoo), checkpoint
    except (OSError, ValueError, SafetensorError) as error:
        where = f"in {file.parent}" if in_folder else f"'{file.stem}'"
        remedy = "Download it again." if in_folder else "Reinstall the plugin that provides it."
        if weights.parent != file.parent:
            remedy = f"`ganzoo download {file.stem}` fetches it again."
        raise GanzooError(f"The pretrained generator {where} cannot be read: {error}.", remedy) from error


def download(name: str, *, zoo: Zoo | None = None) -> Path:
    """Download the weights of a pretrained generator whose package leaves them out, unless they are there already.

    Args:
        name: The generator, as in ``zoo:NAME``.
        zoo: Where the name is looked up; leave it out to use the installed plugins.

    Returns:
        The file with the weights: in the package, or in the cache.

    Raises:
        GanzooError: The name is unknown, or no address is known.
        RunError: The download failed, or is not the file that the card names.
    """
    zoo = zoo or load_zoo()
    entry = entry_of(name.removeprefix(PREFIX), zoo)
    file = entry.create()
    card = read_card(file)
    kept, address = _kept(entry.name, card), _address(entry)
    for there in (file.with_suffix(".safetensors"), kept):
        with suppress(OSError, ValueError):  # it is not there, or damaged
            _refuse_other_content(there.read_bytes(), card)
            return there
    if not address:
        raise _left_out(entry, card)
    try:
        with urlopen(address, timeout=TIMEOUT) as answer:  # noqa: S310 - the user's or an installed package's address
            content = answer.read(card["weights"]["bytes"] + 1)
        _refuse_other_content(content, card)
    except (OSError, ValueError, HTTPException) as error:
        raise RunError(
            f"{address} cannot be downloaded: {error}.", f"Get it elsewhere, and save it as {kept}."
        ) from error
    write_atomically(kept, content)
    return kept


def _refuse_other_content(content: bytes, card: Record) -> None:
    if hashlib.sha256(content).hexdigest() != card["weights"]["sha256"]:
        raise ValueError("the weights are not those that the card was made for")


def _left_out(entry: Entry[Path], card: Record) -> GanzooError:
    file, address = f"{entry.name}.safetensors", _address(entry)
    megabytes = f"{card['weights']['bytes'] / 1e6:.1f} MB"
    fetches = f"`ganzoo download {entry.name}` fetches them from {address} ({megabytes})"
    if not address:
        fetches = f"Set GANZOO_PRETRAINED_URL to the folder that holds {file}, then run `ganzoo download {entry.name}`"
    return GanzooError(
        f"The weights of {PREFIX}{entry.name} are not in the installed package.",
        f"{fetches}; or save {file} as {_kept(entry.name, card)}.",
    )


def _kept(name: str, card: Record) -> Path:
    """Where downloaded weights are kept."""
    return cache_folder("pretrained") / f"{name}-{card['weights']['sha256'][:12]}.safetensors"


def _address(entry: Entry[Path]) -> str:
    """Where an entry's weights can be downloaded: GANZOO_PRETRAINED_URL, or its package's release; "" if unknown."""
    base = os.environ.get("GANZOO_PRETRAINED_URL", "")
    package, _, version = entry.distribution.rpartition(" ")
    with suppress(PackageNotFoundError):
        urls = dict(line.split(", ", 1) for line in metadata(package).get_all("Project-URL") or ())
        if not base and "Repository" in urls:
            base = f"{urls['Repository']}/releases/download/v{version}"
    return f"{base.rstrip('/')}/{entry.name}.safetensors" if base else ""
