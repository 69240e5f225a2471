"""Pretrained generators, and the initial weights of runs that start from other weights.

A pretrained generator consists of two files side by side, which a plugin registers: ``NAME.safetensors``, the weights
that samples are drawn with, with matrices in half precision; and ``NAME.json``, its card, made from the run's own
record. Users refer to it as ``zoo:NAME``.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ganzoo.config.identity import DESCRIPTIVE, training_digest
from ganzoo.config.loading import load_recipe, parse_recipe
from ganzoo.config.schema import InitFrom, Recipe
from ganzoo.errors import GanzooError, unknown, writing
from ganzoo.evaluation.protocol import identity
from ganzoo.files import MADE, parse_json, without_folders, write_atomically
from ganzoo.registry import strict
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import NAME
from ganzoo.reproducibility import tensors_digest
from ganzoo.runs.checkpoint import Checkpoint, below
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.provenance import in_words, now

if TYPE_CHECKING:
    from ganzoo.runs.generator import TrainedGenerator, Weights
    from ganzoo.training.trainer import Trainer

PREFIX = "zoo:"
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
PREFIXES: Mapping[str, str] = {"ema": "ema", "raw": "networks"}
"""What the names of a checkpoint's tensors begin with, by kind of weights."""


def zoo_name(source: str | Path) -> str | None:
    """The name in ``zoo:NAME``; None for anything else."""
    text = str(source)
    return text.removeprefix(PREFIX) if text.startswith(PREFIX) else None


def published(name: str, zoo: Zoo) -> tuple[RunFolder, Recipe, Checkpoint]:
    """A pretrained generator: its run as the card describes it, the recipe, and the weights.

    Raises:
        GanzooError: There is no generator of that name, or its files do not match.
    """
    if name not in zoo.pretrained:
        known = [entry.name for entry in zoo.pretrained]
        raise unknown("pretrained generator", name, known, zoo.pretrained.hint, zoo.pretrained.aliases)
    file: Path = zoo.pretrained.get(name).create()
    weights = file.with_suffix(".safetensors")
    try:
        card = parse_json(file.read_bytes())
        content = weights.read_bytes()
        if hashlib.sha256(content).hexdigest() != card["weights"]["sha256"]:
            raise ValueError("the weights are not those that the card was made for")
        checkpoint = Checkpoint(load_tensors(content), {"images": card["training"]["images"], "steps": 0}, weights)
        recipe = parse_recipe(strict.dump(card["recipe"]), card["run"]["recipe"], zoo)
        return RunFolder(weights, {**card["run"], "status": "done"}), recipe, checkpoint
    except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
        raise GanzooError(
            f"The pretrained generator '{name}' cannot be read: {error}.", "Reinstall the plugin that provides it."
        ) from error


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


def differing(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of ``after`` that differ from ``before``, by their dotted keys."""
    for key, value in after.items():
        known = before.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping) and known.get("name") == value.get("name"):
            yield from differing(known, value, f"{prefix}{key}.")
        elif value != known:
            yield f"{prefix}{key}", value


def pinned(recipe: Recipe, zoo: Zoo) -> tuple[Recipe, dict[str, Tensor]]:
    """The recipe with the digest of the weights that it starts from, and those weights; ``{}`` if it starts from none.

    Raises:
        GanzooError: The weights are not found, or do not match the digest in the recipe.
    """
    start = recipe.train.init_from
    if start is None:
        return recipe, {}
    name = zoo_name(start.source)
    checkpoint = RunFolder.open(start.source).checkpoint() if name is None else published(name, zoo)[2]
    tensors = {key: value for key, value in checkpoint.tensors.items() if key.startswith(("networks.", "ema."))}
    digest = tensors_digest(sorted(tensors.items()))
    if start.sha256 not in (None, digest):
        raise GanzooError(
            f"The weights of {start.source} are not those that train.init_from.sha256 names.",
            "Remove sha256 to start from the current weights.",
        )
    return recipe.with_train(init_from=InitFrom(source=start.source, sha256=digest)), tensors


def pinned_as_recorded(asked: Recipe, begun: Recipe, zoo: Zoo) -> Recipe:
    """A recipe with the digest of the weights that it starts from: the one of a run's recipe if both name one source.

    The run no longer needs its source, which may be gone or have trained further.

    Raises:
        GanzooError: The weights of another source are not found, or do not match the digest in the recipe.
    """
    start, recorded = asked.train.init_from, begun.train.init_from
    if start and recorded and start.source == recorded.source and start.sha256 in (None, recorded.sha256):
        return asked.with_train(init_from=recorded)
    return pinned(asked, zoo)[0]


def initialise(trainer: Trainer, tensors: Mapping[str, Tensor], source: str, log: Callable[[str], None]) -> None:
    """Give a trainer's networks, and their averages, the weights of another run; optimizers start from scratch.

    Args:
        trainer: At its first step.
        tensors: ``networks.<role>.*`` and ``ema.<role>.*``; if one of the two is missing, the other is used for both.
        source: What messages call the weights.
        log: Called with a message about networks that are missing.

    Raises:
        GanzooError: All networks are missing, or one has different sizes.
    """
    averaged = dict(trainer.ema.networks.items()) if trainer.ema is not None else {}
    anew = []
    for role, network in trainer.networks.items():
        raw, ema = below(f"networks.{role}", tensors), below(f"ema.{role}", tensors)
        trained, average = raw or ema, ema or raw
        if not trained:
            anew.append(role)
            continue
        try:
            network.load_state_dict(trained)
            if role in averaged:
                averaged[role].load_state_dict(average)
        except RuntimeError as error:
            reason = _difference(trained, network.state_dict()) or " ".join(str(error).split())[:300].rstrip(".")
            raise GanzooError(
                f"The {role} of {source} does not fit the recipe '{trainer.recipe.name}': {reason}.",
                "Start from a run with the same networks.",
            ) from error
    if len(anew) == len(trainer.networks):
        raise GanzooError(
            f"{source} has none of the networks of the recipe '{trainer.recipe.name}'.",
            f"It needs one of: {', '.join(trainer.networks)}.",
        )
    if anew:
        they_start = "it starts" if len(anew) == 1 else "they start"
        log(f"{source} has no {' and no '.join(anew)}, so {they_start} from random weights.")


def _difference(saved: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """The first difference between saved weights and those of a network; empty if they fit."""
    if not saved.keys() & expected.keys():
        return "it has none of this network's parameters"
    for name in expected:
        if name in saved and saved[name].shape != expected[name].shape:
            return f"its {name} has the shape {list(saved[name].shape)}, not {list(expected[name].shape)}"
    for name in (*expected, *saved):
        if name not in saved or name not in expected:
            return f"it has no {name}" if name in expected else f"it has {name}, which this network lacks"
    return ""
