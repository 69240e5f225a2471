"""Pretrained generators made from runs: weights, and their card.

A plugin registers ``NAME.safetensors``, in half precision, and ``NAME.json`` (docs/pretrained.md). A folder for the
Hugging Face Hub holds the weights as they are, ``model.safetensors``, the card, ``config.json``, and for people
``README.md`` and ``samples.png``.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save as save_tensors
from torch import Tensor

from ganzoo.api.dataset import Images, png
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import DESCRIPTIVE, Recipe, training_digest
from ganzoo.errors import GanzooError, writing
from ganzoo.evaluation.protocol import identity
from ganzoo.files import MADE, begins_like, refuse_links, refuse_to_overwrite, without_folders, write_atomically
from ganzoo.formatting import duration, figure
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import NAME
from ganzoo.runs.generator import PREFIXES, TrainedGenerator, Weights, differing
from ganzoo.runs.pretrained import CONFIG, MODEL
from ganzoo.runs.provenance import in_words, now
from ganzoo.runs.records import CARD, read_card
from ganzoo_reports.templates import code, markdown, markdown_table

COMPARED = 64
"""Samples drawn with original and with half-precision weights, to compare them."""
RECORDED = (
    "recipe",
    "seed",
    "started",
    "shape",
    "modality",
    "modality_options",
    "classes",
    "class_names",
    "columns",
    "parameters",
)
"""The keys of run.json that a card repeats."""
SCORED = ("metric", "value", "floor", "sd", "interval", "weights", "protocol")
TASK = "unconditional-image-generation"
"""The Hub's name for what a GAN does; it has none for generators that are told a class."""
ROWS, COLUMNS = 8, 10
"""Grid of samples in a folder for the Hub; a conditional generator has one class in each column, up to ten."""


def publish(generator: TrainedGenerator, out: Path, zoo: Zoo, weights: Weights | None = None) -> dict[str, Any]:
    """Write ``NAME.safetensors`` to ``out`` and beside it its card ``NAME.json``, which is returned.

    Raises:
        GanzooError: The name cannot be registered, the run has no such weights, or the card would replace another file.
    """
    if not NAME.fullmatch(out.stem):
        raise GanzooError(
            f"'{out.stem}' cannot be the name of a pretrained generator.",
            "Use lower-case words and digits, joined by hyphens.",
        )
    file = out.with_suffix(".json")
    ours = begins_like(file, '"schema": ', '"weights": {', '"samples_compared": ')
    refuse_to_overwrite(file, ours=ours, command="export", remedy="Give another --out, or move that file away.")
    kind = weights or generator.weights[0]
    kept = {name: _halved(tensor) for name, tensor in _drawn_with(generator, kind).items()}
    drawn = generator.sample(COMPARED, weights=kind).float()
    halved = replace(generator, checkpoint=replace(generator.checkpoint, tensors=kept))
    apart = (halved.sample(COMPARED, weights=kind).float() - drawn).abs()
    content, card = _content_and_card(
        generator,
        kind,
        kept,
        zoo,
        samples_compared=COMPARED,
        largest_difference_of_half_precision=float(apart.max()),
        mean_difference_of_half_precision=float(apart.mean()),
    )
    with writing(f"Could not write {out}", "Give another --out."):
        write_atomically(out, content)
        write_atomically(file, _as_json(card))
    return card


def publish_folder(
    generator: TrainedGenerator, folder: Path, zoo: Zoo, weights: Weights | None = None, *, force: bool = False
) -> int:
    """Write a folder for the Hub, which ``ganzoo.load`` reads and which draws the same; returns its weights' bytes.

    Raises:
        GanzooError: The run has no such weights, or the folder holds something else, unless ``force`` is given.
    """
    is_empty = folder.is_dir() and not any(folder.iterdir())
    ours = force or is_empty or begins_like(folder / CONFIG, '"schema": ', '"weights": {')
    refuse_to_overwrite(folder, ours=ours, command="export", remedy="Give another --out, or add --force.")
    kind = weights or generator.weights[0]
    modality, columns = generator.assembly.spec.modality, min(generator.classes, COLUMNS) or COLUMNS
    grid = png(modality.picture(generator.sample(ROWS * columns, weights=kind), columns))
    if generator.run.path.is_file():  # it is a pretrained one
        content, card = generator.checkpoint.path.read_bytes(), read_card(generator.run.path)
    else:
        content, card = _content_and_card(generator, kind, _drawn_with(generator, kind), zoo)
    readme = _readme(generator, card).encode()
    files = {MODEL: content, "samples.png": grid, "README.md": readme, CONFIG: _as_json(card)}
    with writing(f"Could not write {folder}", "Give another --out."):
        folder.mkdir(exist_ok=True)
        for name, data in files.items():
            write_atomically(refuse_links(folder / name, folder), data)
    return len(content)


def _readme(generator: TrainedGenerator, card: Mapping[str, Any]) -> str:
    """The Hub's model card: facts for machines above, for people below."""
    recipe, training = generator.recipe, card["training"]
    known = [score for score in card["scores"] if {"dataset", "metric"} <= score["protocol"].keys()]
    results = [
        {
            "task": {"type": TASK},
            "dataset": {"type": score["protocol"]["dataset"], "name": score["protocol"]["dataset"]},
            "metrics": [{"type": score["protocol"]["metric"], "name": score["metric"], "value": score["value"]}],
        }
        for score in known
    ]
    facts: dict[str, Any] = {"license": "unknown", "library_name": "ganzoo", "tags": ["gan", "ganzoo", recipe.name]}
    if isinstance(generator.assembly.spec.modality, Images):
        facts["pipeline_tag"] = TASK
    if "path" not in recipe.dataset.options:  # one that others can have
        facts["datasets"] = [recipe.dataset.name]
    if known:
        facts["metrics"] = sorted({score["protocol"]["metric"] for score in known})
        facts["model-index"] = [{"name": recipe.name, "results": results}]
    about = " ".join(markdown(text) for text in (f"{recipe.summary}.", recipe.paper and f"{recipe.paper}.") if text)
    hardware = f" ({markdown(training['hardware'])})" if training["hardware"] else ""
    rows = [
        [markdown(score["metric"]), figure(score["value"]), figure(score.get("floor")), score["weights"]]
        for score in card["scores"]
    ]
    headings = {"metric": "left", "value": "right", "real vs real": "right", "weights": "left"}
    scores = f"""
## Scores

{markdown_table(headings, rows)}

Real vs real is what real images score. `{CONFIG}` holds each score's protocol.
"""
    return f"""---
{yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)}---

# {markdown(recipe.name)}

{about}

![Samples](samples.png)

## Use

```bash
pip install ganzoo-bench
hf download REPOSITORY --local-dir FOLDER
ganzoo sample FOLDER --out samples.png
```

```python
import ganzoo

samples = ganzoo.load("FOLDER").sample(64, seed=0)
```
{scores if rows else ""}
## Training

On {training["images"]:,} images, in {duration(training["seconds"])}{hardware}: {code(training["command"])}.
`{CONFIG}` holds the recipe. The page and the weights were {MADE}.
"""


def _drawn_with(generator: TrainedGenerator, kind: Weights) -> dict[str, Tensor]:
    """The tensors of the networks that draw samples."""
    return {
        name: tensor
        for role in generator.assembly.objective.samples_with
        for name, tensor in generator.checkpoint.tensors.items()
        if name.startswith(f"{PREFIXES[kind]}.{role}.")
    }


def _content_and_card(
    generator: TrainedGenerator, kind: Weights, kept: Mapping[str, Tensor], zoo: Zoo, **compared: float
) -> tuple[bytes, dict[str, Any]]:
    """The weights as a file, and the card that belongs to them."""
    content = save_tensors({name: tensor.contiguous() for name, tensor in kept.items()}, {"made": MADE})
    run, recipe, state = generator.run, generator.recipe, generator.checkpoint.state
    scores = {
        (score["metric"], identity(score["protocol"])): {
            key: without_folders(score[key]) for key in SCORED if key in score
        }
        for score in run.scores()
        if score["images"] == state["images"] and score["weights"] == kind
    }
    environment = run.info.get("began_with") or run.info.get("environment")
    return content, {
        "schema": CARD,
        "summary": recipe.summary,
        "paper": recipe.paper,
        "weights": {
            "kind": kind,
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "numbers": sum(tensor.numel() for tensor in kept.values()),
            **compared,
        },
        "training": {
            "images": state["images"],
            "seconds": round(float(state.get("seconds", 0.0)), 1),
            "command": _command(recipe, zoo),
            "hardware": in_words(environment) if environment else None,
            "precision": run.info.get("precision"),
            "engine": run.info.get("engine"),
            "versions": (environment or {}).get("versions"),
        },
        "scores": list(scores.values()),
        "run": {key: run.info[key] for key in RECORDED if key in run.info},
        "recipe": without_folders(recipe.plain()),
        "made": now(),
    }


def _as_json(card: Mapping[str, Any]) -> bytes:
    return (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode()


def _halved(tensor: Tensor) -> Tensor:
    """Matrices in half precision; vectors, such as running variances, take little space and stay unchanged."""
    if not tensor.is_floating_point() or tensor.dim() < 2 or tensor.abs().max() > torch.finfo(torch.float16).max:
        return tensor
    return tensor.half()


def _command(recipe: Recipe, zoo: Zoo) -> str:
    """The command that trains these weights again: from the registered recipe or from the card's recipe."""
    seed = ("--seed", str(recipe.train.seed))
    if recipe.name in zoo.recipes:
        changed = [
            f"{key}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'), ensure_ascii=False)}"
            for key, value in differing(load_recipe(recipe.name, zoo).plain(), without_folders(recipe.plain()))
            if key.partition(".")[0] not in (*DESCRIPTIVE, "evaluate") and key != "train.seed"
        ]
        with suppress(GanzooError):  # the registered recipe may no longer accept such a change
            if training_digest(load_recipe(recipe.name, zoo, changed)) == training_digest(recipe):
                return shlex.join(
                    ["ganzoo", "run", recipe.name, *(word for one in changed for word in ("--set", one)), *seed]
                )
    return f"ganzoo run FILE.yaml {shlex.join(seed)}, with the recipe of this card as the file"
