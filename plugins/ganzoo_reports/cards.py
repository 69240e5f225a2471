"""Cards: a run's generator as a pretrained one, in two files that a plugin can register (docs/pretrained.md)."""

from __future__ import annotations

import hashlib
import json
import shlex
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import DESCRIPTIVE, Recipe, training_digest
from ganzoo.errors import GanzooError, writing
from ganzoo.evaluation.protocol import identity
from ganzoo.files import MADE, parse_json, without_folders, write_atomically
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import NAME
from ganzoo.runs.generator import PREFIXES, TrainedGenerator, Weights, differing
from ganzoo.runs.provenance import in_words, now

CARD = 1
"""The schema of cards."""
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


def publish(generator: TrainedGenerator, out: Path, zoo: Zoo, weights: Weights | None = None) -> dict[str, Any]:
    """Write ``NAME.safetensors`` and its card ``NAME.json``.

    Args:
        generator: A run's generator.
        out: The path of ``NAME.safetensors``.
        zoo: Where the run's recipe is looked up, for the command that repeats it.
        weights: ``ema`` or ``raw``; None means ``ema`` if the run has it.

    Returns:
        The card.

    Raises:
        GanzooError: The name cannot be registered, the run has no such weights, or the card would replace another file.
    """
    if not NAME.fullmatch(out.stem):
        raise GanzooError(
            f"'{out.stem}' cannot be the name of a pretrained generator.",
            "Use lower-case words and digits, joined by hyphens.",
        )
    _refuse_unless_card(out.with_suffix(".json"))
    kind = weights or generator.weights[0]
    kept = {
        name: _halved(tensor)
        for role in generator.assembly.objective.samples_with
        for name, tensor in generator.checkpoint.tensors.items()
        if name.startswith(f"{PREFIXES[kind]}.{role}.")
    }
    drawn = generator.sample(COMPARED, weights=kind).float()
    halved = replace(generator, checkpoint=replace(generator.checkpoint, tensors=kept))
    apart = (halved.sample(COMPARED, weights=kind).float() - drawn).abs()
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
    card = {
        "schema": CARD,
        "summary": recipe.summary,
        "paper": recipe.paper,
        "weights": {
            "kind": kind,
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "numbers": sum(tensor.numel() for tensor in kept.values()),
            "samples_compared": COMPARED,
            "largest_difference_of_half_precision": float(apart.max()),
            "mean_difference_of_half_precision": float(apart.mean()),
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
    with writing(f"Could not write {out}", "Give another --out."):
        write_atomically(out, content)
        write_atomically(out.with_suffix(".json"), (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode())
    return card


def _refuse_unless_card(file: Path) -> None:
    """Refuse to overwrite a file that is not a card."""
    if not file.exists():
        return
    card = None
    with suppress(OSError, ValueError):
        card = parse_json(file.read_bytes())
    if not (isinstance(card, dict) and {"schema", "weights", "training", "run"} <= card.keys()):
        raise GanzooError(
            f"The card would replace {file}, which is not the card of a pretrained generator.",
            "Give another --out, or move that file away.",
        )


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
