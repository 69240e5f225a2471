"""The software, data and hardware of a run: recorded when it begins, and compared when it is resumed."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ganzoo.api.dataset import Dataset
from ganzoo.config.schema import Recipe
from ganzoo.errors import GanzooError
from ganzoo.evaluation.requests import written
from ganzoo.registry.loading import Zoo
from ganzoo.registry.packages import OURS, distribution_name, distribution_of, installed, normal
from ganzoo.registry.registry import HANDED_OVER, NETWORK_KINDS, Entry
from ganzoo.registry.sources import whole
from ganzoo.reproducibility import tensors_digest

VERSIONED = ("ganzoo-bench", "torchvision", "torch-fidelity", "numpy")
MAX_NAMED = 10  # of more classes than this, only those that have changed are named


def changes(info: Mapping[str, Any], found: Mapping[str, Any], recipe: Recipe, zoo: Zoo, digest: str) -> Iterator[str]:
    """A sentence for each thing that is not as in run.json, given today's ``environment`` and ``data_digest``."""
    differ = "so the weights may differ in their bits from an unbroken run's."
    before = info.get("began_with") or info.get("environment") or {}
    old, new = before.get("versions") or {}, found["versions"]
    for package in ("torch", OURS):
        if old.get(package) not in (None, new[package]):
            yield f"Resuming with {package} {new[package]}; the run began with {package} {old[package]}, {differ}"
    for name, distribution in changed_plugins(info, recipe, zoo).items():
        known = info["plugins"]
        then = f"with {known[name]}" if name in known else "without it"
        yield f"Resuming with the plugin '{name}' of {distribution}; the run began {then}, so its method may differ."
    if info.get("data_digest") not in (None, digest):
        yield (
            "The training images are not those that the run began with, so from here on it is not one training run on "
            "one dataset."
        )
    for place, verb in ((before, "the run began"), (info.get("environment") or {}, "it last trained")):
        if place and hardware_in_words(place) != hardware_in_words(found):
            yield f"Resuming on {hardware_in_words(found)}; {verb} on {hardware_in_words(place)}, {differ}"
            break
    if info.get("precision") not in (None, recipe.train.precision):
        yield f"Resuming in {recipe.train.precision}; the run began in {info['precision']}, {differ}"


def refuse_other_data(info: Mapping[str, Any], dataset: Dataset, recipe: Recipe) -> None:
    """Refuse to resume with data of another shape, or with other classes: labels are positions in their list."""
    began_with = tuple(info["shape"])
    if dataset.shape != began_with:
        automatic = recipe.dataset.options.get("size") == "auto"
        raise GanzooError(
            f"The samples of '{dataset.name}' are now {written(dataset.shape)}; the run began with "
            f"{written(began_with)}.",
            f"{'Small pictures decide, so remove those' if automatic else 'Remove what was'} added since then, "
            "or start a new run.",
        )
    now = list(dataset.classes)
    before = info.get("class_names", now)
    if before != now:
        lists = []
        for names, others in ((now, before), (before, now)):
            if len(names) > MAX_NAMED:
                names = ["...", *[one for one in names if one not in others][:MAX_NAMED], "..."]
            lists.append(", ".join(names) or "none")
        raise GanzooError(
            f"The classes of '{dataset.name}' are now {lists[0]}; the run began with {lists[1]}.",
            "Restore their names (in a folder of pictures, those of its subfolders), or start a new run.",
        )


def _trained_with(recipe: Recipe, zoo: Zoo) -> list[Entry[Any]]:
    entries = [zoo.registry(kind).get(part.name) for _, kind, part in recipe.components() if kind != "tracker"]
    names = {network.name for network in recipe.networks.values()}
    return entries + [entry for kind in NETWORK_KINDS for entry in zoo.registry(kind) if entry.name in names]


def handed_over(recipe: Recipe, zoo: Zoo) -> tuple[str, list[tuple[str, str, str | None]]]:
    """What the recipe trains with that is in no package: its source as one module, and its parts, each one's kind and
    name, with its name in that module; None if its source cannot be had.
    """
    entries = [entry for entry in _trained_with(recipe, zoo) if entry.distribution == HANDED_OVER]
    sources = {entry: entry.source for entry in entries if entry.source}
    text = whole(["import ganzoo", *sources.values()], ["ganzoo", *(entry.factory.__name__ for entry in sources)])
    # Two modules may give a name different meanings; the source that is stored is one of the two.
    known = [entry for entry, source in sources.items() if whole([text], [entry.factory.__name__]) == source]
    parts = [(entry.kind, entry.name, entry.factory.__name__ if entry in known else None) for entry in entries]
    calls = "".join(f'    ganzoo.register_{kind}("{name}", {made_by})\n' for kind, name, made_by in parts if made_by)
    return f'{text}\n\nif __name__ == "__main__":\n{calls}' if calls else "", parts


def external_plugins(recipe: Recipe, zoo: Zoo) -> dict[str, str]:
    """The plugins of other packages that the recipe trains with, each with its package and version."""
    plugins = {
        entry.plugin: entry.distribution
        for entry in _trained_with(recipe, zoo)
        if entry.distribution.partition(" ")[0] != OURS
    }
    return dict(sorted(plugins.items()))


def changed_plugins(info: Mapping[str, Any], recipe: Recipe, zoo: Zoo) -> dict[str, str]:
    """The ``external_plugins`` that have another version than in run.json, or were not installed when the run began."""
    plugins = external_plugins(recipe, zoo)
    known = info.get("plugins") or plugins
    return {name: distribution for name, distribution in plugins.items() if known.get(name) != distribution}


def package_changes(info: Mapping[str, Any]) -> list[str]:
    """A sentence for each package of plugins that is missing, or has another version, since the run began."""
    current = {distribution_name(point): distribution_of(point) for point in installed()}
    sentences = []
    for package in sorted(set((info.get("plugins") or {}).values())):
        name, _, version = package.rpartition(" ")
        if not re.fullmatch(r"[\w.-]+ [\w.+!-]+", package) or normal(name) == OURS:  # run.json may come from a stranger
            continue
        found = current.get(normal(name))
        if found is None:
            sentences.append(
                f"The run was made with {package}, which is not installed: `pip install {name}=={version}`."
            )
        elif found != package:
            sentences.append(f"The run was made with {package}; {found} is installed.")
    return sentences


def data_digest(dataset: Dataset) -> str:
    """SHA-256, hexadecimal, of everything in a dataset that is trained on: images, labels and additional columns."""
    columns = {"image": dataset.images, "label": dataset.labels, **dataset.columns}
    return tensors_digest((name, column) for name, column in columns.items() if column is not None)


def environment(device: torch.device) -> dict[str, Any]:
    """Hardware and versions, as JSON. CPUs of one name can differ tenfold in bfloat16, so their instructions are named;
    ``torch.__version__`` names the build (``+cu130``), which the package metadata may omit.
    """
    info = Path("/proc/cpuinfo")
    named = re.search(r"^model name.*?:(.*)", info.read_text(errors="replace"), re.M) if info.exists() else None
    instructions = {
        "AVX2": torch.cpu._is_avx2_supported(),
        "AVX512": torch.cpu._is_avx512_supported(),
        "AVX512-BF16": torch.cpu._is_avx512_bf16_supported(),
        "AMX": torch.cpu._is_amx_tile_supported(),
    }
    return {
        "device": str(device),
        "cpu": named[1].strip() if named else platform.processor() or platform.machine(),
        "instructions": [name for name, supported in instructions.items() if supported],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            **{name: _version(name) for name in VERSIONED},
        },
    }


def in_words(found: Mapping[str, Any]) -> str:
    """An environment as text: hardware, threads and torch; an untrusted run.json may lack the last two."""
    threads, torch_version = found.get("threads"), (found.get("versions") or {}).get("torch")
    return f"{hardware_in_words(found)}, threads: {threads or 'unknown'}, torch {torch_version or 'unknown'}"


def hardware_in_words(found: Mapping[str, Any]) -> str:
    """The GPU, or else the CPU with its instruction sets: results are comparable only on the same hardware."""
    if found.get("gpu"):
        return str(found["gpu"])
    cpu, listed = found.get("cpu"), found.get("instructions")
    # An untrusted file may contain anything here.
    instructions = ", ".join(map(str, listed)) if isinstance(listed, list) else ""
    return f"{cpu} ({instructions})" if instructions else str(cpu)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def now() -> str:
    """UTC, to the second, as ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
