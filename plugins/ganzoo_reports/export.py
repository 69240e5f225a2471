"""Files made from runs: a trained generator as ONNX, as a page, or as a pretrained one; and animations.

A page draws samples offline, or translates what one draws on it. A pretrained generator consists of weights and their
card (docs/pretrained.md): files that a plugin can register, or a folder for the Hugging Face Hub, with pages for
people. An animation shows a run's sample grids, or a walk through its latent space.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image, ImageColor, ImageDraw, ImageFont, ImageOps
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from ganzoo.api.dataset import Images, png, to_pil
from ganzoo.api.objective import Objective
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import DESCRIPTIVE, Recipe, training_digest
from ganzoo.errors import GanzooError, RunError, foreign_code, writing
from ganzoo.evaluation.protocol import identity
from ganzoo.files import MADE, begins_like, refuse_links, refuse_to_overwrite, without_folders, write_atomically
from ganzoo.formatting import duration, figure
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import NAME
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.generator import PREFIXES, TrainedGenerator, Weights, differing
from ganzoo.runs.pretrained import CONFIG, MODEL, PARTS
from ganzoo.runs.provenance import in_words, now
from ganzoo.runs.records import CARD
from ganzoo_reports.plots import DARK
from ganzoo_reports.run_figures import (
    NOTHING,
    between,
    evenly_spaced,
    levels,
    opened,
    pictures,
    planes,
    surroundings,
)
from ganzoo_reports.templates import as_base64, code, markdown, markdown_table, page

TOLERANCE = 1e-5
"""Largest allowed difference between what ONNX Runtime and torch draw from the same codes, in [-1, 1]."""
OPSET = 18
"""The newest that torch 2.8 writes; ONNX Runtime Web, which pages carry, reads it."""
CHECKED = 16
"""Number of samples that are compared."""
CODES = 256
"""Number of latent codes in the page that samples can start from."""
DIRECTIONS, MEASURED = 6, 512
"""Number of latent directions that the page can move along, and of samples, or sources, that are looked at for it."""
EXAMPLES = 6
"""Number of sources in the page that a drawing can start from."""


class _Graph(nn.Module):
    """The exported function: from codes, and labels and sources if the recipe needs them, to samples in [-1, 1]."""

    def __init__(self, objective: Objective, networks: dict[str, nn.Module]) -> None:
        super().__init__()
        self.objective = objective
        self.networks = nn.ModuleDict(networks)

    def forward(self, z: Tensor, label: Tensor | None = None, source: Tensor | None = None) -> Tensor:
        asked = torch.zeros_like(z[:, 0], dtype=torch.int64) if label is None else label
        columns = {} if source is None else {"source": source}
        return self.objective.generate_from(dict(self.networks.items()), z, asked, columns)


def to_onnx(generator: TrainedGenerator, weights: Weights | None = None) -> bytes:
    """A generator as an ONNX graph, checked against torch.

    Its inputs are ``z`` (n, latent), float32, ``label`` (n,), int64, for a conditional recipe, and ``source``
    (n, channels, height, width), float32 in [-1, 1], for a translating one; those that the generator ignores are left
    out. Its output is ``sample`` (n, *shape) in [-1, 1].

    Raises:
        GanzooError: onnx or onnxruntime is not installed, or the generator starts from other columns.
        RunError: Its operations cannot be exported, or the graph's samples differ from torch's.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter writes graphs with it
        from onnx_ir.passes.common import ClearMetadataAndDocStringPass
    except ImportError as error:
        raise GanzooError(
            f"Exporting needs the package '{error.name}'.", "Install it: pip install 'ganzoo-bench[export]'."
        ) from error
    objective, spec = generator.assembly.objective, generator.assembly.spec
    if others := [name for name in objective.generates_from if name != "source"]:
        raise GanzooError(
            f"The recipe '{generator.recipe.name}' generates from the column '{others[0]}'.",
            "Export a run whose generator starts from codes, labels or sources.",
        )
    graph = _Graph(objective, dict(generator.model(weights).networks)).cpu().eval()
    random = torch.Generator().manual_seed(0)
    inputs = {"z": spec.prior.sample(CHECKED, random, torch.device("cpu"))}
    if spec.classes:
        inputs["label"] = torch.arange(CHECKED) % spec.classes
    if objective.generates_from:
        inputs["source"] = torch.rand(CHECKED, *generator.source_shape, generator=random) * 2 - 1
    remedy = (
        "Its networks use an operation that ONNX lacks, draw their own random numbers, or fix the batch size: "
        "x.shape[0] is exported as a variable, len(x) as a constant."
    )
    with torch.no_grad(), warnings.catch_warnings(), foreign_code("The generator cannot be exported", remedy):
        warnings.simplefilter("ignore")  # from torch's exporter: the comparison below catches what it warns about
        program: Any = torch.onnx.export(
            graph,
            kwargs=inputs,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=["sample"],
            dynamic_shapes={name: {0: torch.export.Dim("n")} for name in inputs},
            verbose=False,
        )
    described = _described(generator, weights)
    for ignored in [one for one in program.model.graph.inputs if not one.uses()]:
        program.model.graph.inputs.remove(ignored)
        described[ignored.name] = "none"
    ClearMetadataAndDocStringPass()(program.model)  # each operation names the file and line that it comes from
    program.model.metadata_props.update(described)
    program.model.producer_name = MADE
    model: bytes = program.model_proto.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # failures are reported below
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    for n in (CHECKED, 1):
        batch = {name: one[:n] for name, one in inputs.items()}
        with torch.no_grad():
            ours = graph(**batch)
        with foreign_code("The exported generator cannot be run", remedy):
            (theirs,) = session.run(None, {one.name: batch[one.name].numpy() for one in session.get_inputs()})
        apart = float((ours - torch.from_numpy(theirs)).abs().max())
        if not apart <= TOLERANCE:
            raise RunError(
                f"The exported generator differs from torch by {apart:.2g}, more than {TOLERANCE:g}.", remedy
            )
    return model


def _described(generator: TrainedGenerator, weights: Weights | None) -> dict[str, str]:
    """What a program that reads the graph must know: its inputs and output, the classes, and where it comes from."""
    spec, recipe, kind = generator.assembly.spec, generator.recipe, weights or generator.weights[0]
    prior = json.dumps(recipe.prior.model_dump(mode="json"))
    source = ", ".join(map(str, dict(spec.columns).get("source", ())))
    return {
        "z": f"float32 (n, {spec.prior.width}), drawn from the prior {prior}",
        "label": f"int64 (n,), from 0 to {spec.classes - 1}" if spec.classes else "none",
        "source": f"float32 (n, {source}), pixels / 127.5 - 1" if source else "none",
        "sample": f"float32 (n, {', '.join(map(str, spec.modality.shape))}), nominally in [-1, 1]",
        "classes": json.dumps(generator.class_names, ensure_ascii=False),
        "recipe": json.dumps({"name": recipe.name, **without_folders(recipe.plain())}, ensure_ascii=False),
        "weights": f"{kind}, after {generator.checkpoint.state['images']:,} training images",
        "ganzoo": version("ganzoo-bench"),
    }


def to_html(generator: TrainedGenerator, weights: Weights | None = None) -> str:
    """A self-contained page that draws a generator's samples, or translates drawings, in the browser.

    Raises:
        GanzooError: As for ``to_onnx``, or its samples or sources are not images, or the sources cannot be read.
    """
    spec = generator.assembly.spec
    if not isinstance(spec.modality, Images):
        raise GanzooError(f"The page shows images, but this run draws {spec.modality}.", "Export FILE.onnx instead.")
    model, drawing = to_onnx(generator, weights), bool(generator.assembly.objective.generates_from)
    shown = _drawing(generator) if drawing else {"directions": _directions(generator, weights).tolist()}
    codes = spec.prior.sample(1 if drawing else CODES, torch.Generator().manual_seed(0), torch.device("cpu"))
    facts: dict[str, Any] = {
        "shape": list(spec.modality.shape),
        "latent": codes.shape[1],
        "sphere": generator.recipe.prior.name == "gaussian",
        "codes": as_base64(codes.float().numpy().tobytes()),
        "model": as_base64(model),
        "wasm": as_base64((Path(__file__).parent / "html" / "onnxruntime.wasm.gz").read_bytes()),
    }
    card = generator.run.path
    return page(
        "explorer.html",
        ("onnxruntime.js", "explorer.js", "drawing.js" if drawing else "latent.js"),
        {
            "name": card.stem if card.is_file() and card.name != CONFIG else generator.recipe.name,
            "summary": generator.recipe.summary,
            "classes": generator.class_names,
            "drawing": drawing,
            "weights": weights or generator.weights[0],
            "images": generator.checkpoint.state["images"],
            "facts": {**facts, **shown},
        },
    )


def _drawing(generator: TrainedGenerator) -> dict[str, Any]:
    """What one draws on: a blank sheet, which has each pixel's commonest level, and examples after it."""
    sources = generator.sources()["source"]
    if sources.dtype != torch.uint8 or sources.dim() != 4 or sources.shape[1] not in (1, 3):
        raise GanzooError(
            "The page translates pictures, but this run starts from something else.", "Export FILE.onnx instead."
        )
    blank = sources[:MEASURED].mode(0).values
    black, white = (0, 255) if len(blank) == 1 else ("#000000", "#ffffff")
    return {
        "source": list(blank.shape),
        "pictures": as_base64(torch.cat([blank[None], sources[:EXAMPLES]]).numpy().tobytes()),
        "examples": len(sources[:EXAMPLES]),
        "ink": white if blank.float().mean() < 128 else black,
    }


def _directions(generator: TrainedGenerator, weights: Weights | None) -> Tensor:
    """Unit directions (k, latent) that change samples the most: principal components, regressed on the codes."""
    spec = generator.assembly.spec
    codes = spec.prior.sample(MEASURED, torch.Generator().manual_seed(1), torch.device("cpu"))
    drawn = generator.decode(codes, weights=weights).flatten(1).float()  # cycles through the classes
    for label in range(spec.classes):  # remove the class, which has its own buttons
        drawn[label :: spec.classes] -= drawn[label :: spec.classes].mean(0)
    drawn -= drawn.mean(0)
    components = torch.linalg.svd(drawn, full_matrices=False)[0][:, :DIRECTIONS]
    coefficients = torch.linalg.lstsq(codes - codes.mean(0), components).solution
    basis: Tensor = torch.linalg.qr(coefficients)[0].T
    return basis


def save(files: Mapping[Path, bytes]) -> None:
    """Write files; their folder is made, if the one above it exists.

    Raises:
        GanzooError: One of them cannot be written.
    """
    for path, content in files.items():
        with writing(f"Could not write {path}", "Give another --out."):
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, content)


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
TASKS = ("unconditional-image-generation", "image-to-image")
"""The Hub's names for what a GAN does, and one that translates; it has none for generators that are told a class."""


def publish(generator: TrainedGenerator, out: Path, zoo: Zoo, weights: Weights | None = None) -> dict[str, Any]:
    """Write ``NAME.safetensors`` to ``out``, and beside it its card ``NAME.json``, which is returned.

    A discriminator, which only training starts from, is written to ``NAME-discriminator.safetensors``.

    Raises:
        GanzooError: The name cannot be registered, the run has no such weights, or a file beside it would replace
            another one.
    """
    if not NAME.fullmatch(out.stem):
        raise GanzooError(
            f"'{out.stem}' cannot be the name of a pretrained generator.",
            "Use lower-case words and digits, joined by hyphens.",
        )
    file, beside = out.with_suffix(".json"), out.with_name(f"{out.stem}{PARTS['discriminator']}.safetensors")
    ours = begins_like(file, '"schema": ', '"weights": {', '"samples_compared": ')
    remedy = "Give another --out, or move that file away."
    refuse_to_overwrite(file, ours=ours, command="export", remedy=remedy)
    refuse_to_overwrite(beside, ours=begins_like(beside, MADE), command="export", remedy=remedy)
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
    discriminator = {
        name: _halved(tensor)
        for name, tensor in generator.checkpoint.tensors.items()
        if name.startswith(f"{PREFIXES['raw']}.discriminator.")
    }
    files = {out: content}
    if discriminator:
        files[beside], card["discriminator"] = _stored(discriminator)
    save({**files, file: _as_json(card)})
    return card


def publish_folder(
    generator: TrainedGenerator, folder: Path, zoo: Zoo, weights: Weights | None = None, *, force: bool = False
) -> int:
    """Write a folder for the Hub, which ``ganzoo.load`` reads and which draws the same; returns its weights' bytes.

    Raises:
        GanzooError: The run has no such weights, or the folder holds something else, unless ``force`` is given.
    """
    ours = (
        force
        or (folder.is_dir() and not any(folder.iterdir()))
        or begins_like(folder / CONFIG, '"schema": ', '"weights": {')
    )
    target = folder / "README.md" if ours else folder
    ours = force or begins_like(target, "license: unknown")  # once it has a licence, it is the user's own
    refuse_to_overwrite(target, ours=ours, command="export", remedy="Give another --out, or add --force.")
    kind = weights or generator.weights[0]
    modality, columns = generator.assembly.spec.modality, min(generator.classes, MAX_COLUMNS) or COLUMNS
    grid = png(modality.picture(generator.sample(COLUMNS * columns, weights=kind), columns))
    content, card = _content_and_card(generator, kind, _drawn_with(generator, kind), zoo)
    files = {
        MODEL: content,
        "samples.png": grid,
        "README.md": _readme(generator, card).encode(),
        CONFIG: _as_json(card),
    }
    save({refuse_links(folder / name, folder): data for name, data in files.items()})
    return len(content)


def _readme(generator: TrainedGenerator, card: Mapping[str, Any]) -> str:
    """The Hub's model card: facts for machines above, for people below."""
    recipe, training = generator.recipe, card["training"]
    task = TASKS[bool(generator.assembly.objective.generates_from)]
    results = [
        {
            "task": {"type": task},
            "dataset": dict.fromkeys(("type", "name"), score["protocol"].get("dataset", recipe.dataset.name)),
            "metrics": [{"type": score["metric"].partition("@")[0], "name": score["metric"], "value": score["value"]}],
        }
        for score in card["scores"]
    ]
    facts: dict[str, Any] = {"license": "unknown", "library_name": "ganzoo", "tags": ["gan", "ganzoo", recipe.name]}
    if isinstance(generator.assembly.spec.modality, Images):
        facts["pipeline_tag"] = task
    if "path" not in recipe.dataset.options:  # one that others can have
        facts["datasets"] = [recipe.dataset.name]
    if results:
        facts["metrics"] = sorted({score["metric"].partition("@")[0] for score in card["scores"]})
        facts["model-index"] = [{"name": recipe.name, "results": results}]
    about = " ".join(markdown(text) for text in (f"{recipe.summary}.", recipe.paper and f"{recipe.paper}.") if text)
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

On {training["images"]:,} images, in {duration(training["seconds"])}: {code(training["command"])}.
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
    content, facts = _stored(kept)
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
        "weights": {"kind": kind, **facts, **compared},
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


def _stored(tensors: Mapping[str, Tensor]) -> tuple[bytes, dict[str, Any]]:
    """Tensors as a file, and what a card says about the file."""
    content = save_tensors({name: tensor.contiguous() for name, tensor in tensors.items()}, {"made": MADE})
    return content, {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "numbers": sum(tensor.numel() for tensor in tensors.values()),
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


FORMATS: Mapping[str, Mapping[str, Any]] = {
    ".gif": {"optimize": True, "comment": MADE},
    ".webp": {"lossless": True, "method": 4, "xmp": MADE.encode()},
}
"""By suffix, Pillow's options."""
MAX_FRAMES = 120
SECONDS, SLOWEST, FASTEST, PAUSE = 6.0, 0.4, 0.05, 1.5
"""Seconds of a training animation: in total, for one frame at most and at least, and extra for the last frame."""
ROWS, COLUMNS, MAX_COLUMNS = 4, 8, 10
"""Grid of a walk; a conditional generator has one class in each column."""
STOPS, STEPS, STEP_SECONDS = 5, 14, 0.06
"""Random codes on each walk, which ends where it begins; frames from one code to the next, and seconds per frame."""
SMALL = 480
"""Pictures are enlarged by an integer factor, to about this width or height."""
STRIP, BAR, INK, LINE = 22, 3, (200, 200, 200), (90, 150, 210)


def training(run: RunFolder, zoo: Zoo) -> tuple[list[Image.Image], list[float]]:
    """A run's sample grids in order, captioned with the images shown so far, and the seconds for which to show each.

    For a run that trains on points in the plane, the frames show what its report replays, in its dark colours.

    Raises:
        GanzooError: The run has fewer than two grids.
    """
    grids = list(_planes(run, zoo))
    if not grids:
        opening = opened(evenly_spaced(pictures(run.path / "samples"), MAX_FRAMES))
        grids = [(int(path.stem), image.convert("L" if image.mode == "L" else "RGB")) for path, image in opening]
    # A grid of another size would be cut off; a run normally has none.
    grids = [(images, picture) for images, picture in grids if picture.size == grids[-1][1].size]
    if len(grids) < 2:
        raise GanzooError(
            f"The run {run.path} has {'only one grid' if grids else 'no grid'} of samples, so nothing moves.",
            "Set evaluate.every_images to keep a grid at each evaluation, or use --walk.",
        )
    last = max(1, grids[-1][0])  # a folder may hold only 0.png and 00.png
    frames = [_captioned(_enlarged(picture), f"{images:,} images", images / last) for images, picture in grids]
    each = min(SLOWEST, max(FASTEST, SECONDS / len(frames)))
    return frames, [each] * (len(frames) - 1) + [each + PAUSE]


def _planes(run: RunFolder, zoo: Zoo) -> Iterator[tuple[int, Image.Image]]:
    """The plane [-1, 1] x [-1, 1] as html/replay.js draws it: the field, real points, their modes, and samples."""
    moments = planes(run)
    real, modes = surroundings(run, zoo) if moments else NOTHING
    paper, fake_side, real_side = (
        np.array(ImageColor.getrgb(DARK[name])) for name in ("paper", "series-2", "series-1")
    )
    green, ink = DARK["series-3"], DARK["ink"]
    for images, kept in moments:
        picture = Image.new("RGB", (SMALL, SMALL), DARK["paper"])
        if "field" in kept:  # orange where points are judged fake, blue where real
            sure = levels(kept["field"])[..., None] / 127.5 - 1
            shades = paper + 0.6 * abs(sure) * (np.where(sure < 0, fake_side, real_side) - paper)
            shaded = Image.fromarray(shades.round().astype(np.uint8))
            picture = shaded.resize(picture.size, Image.Resampling.BILINEAR)
        draw = ImageDraw.Draw(picture)
        for points, radius, outline, fill in (
            (real, 1, green, green),
            (modes, 9, green, None),
            (kept["samples"], 2, ink, ink),
        ):
            for x, y in points.float().clamp(-1, 1).tolist():
                across, down = (x + 1) / 2 * (SMALL - 1), (1 - y) / 2 * (SMALL - 1)
                draw.ellipse((across - radius, down - radius, across + radius, down + radius), fill, outline)
        yield images, picture


def walk(
    generator: TrainedGenerator, weights: Weights | None = None, *, seed: int = 0
) -> tuple[list[Image.Image], list[float]]:
    """Samples that each move through latent space, from code to code and back to the first.

    Between Gaussian codes, the path follows the sphere, see ``run_figures.between``. Returns the frames, and the
    seconds for which to show each.

    Raises:
        GanzooError: The generator draws no images, or translates them.
    """
    spec = generator.assembly.spec
    translates = bool(generator.assembly.objective.generates_from)
    if translates or not isinstance(spec.modality, Images):
        does = "translates pictures" if translates else f"draws {spec.modality}"
        raise GanzooError(f"A walk shows images of latent codes, but this run {does}.", "Leave --walk out.")
    columns = min(spec.classes, MAX_COLUMNS) or COLUMNS
    random = torch.Generator().manual_seed(seed)
    stops = spec.prior.sample(STOPS * ROWS * columns, random, torch.device("cpu")).view(STOPS, ROWS * columns, -1)
    ways = [
        torch.stack([between(spec.prior, a, b, STEPS + 1)[:-1] for a, b in zip(start, end, strict=True)], 1)
        for start, end in zip(stops, stops.roll(-1, 0), strict=True)
    ]
    labels = torch.arange(columns).repeat(ROWS) if spec.classes else None
    grids = (spec.modality.picture(generator.decode(moment, labels, weights), columns) for moment in torch.cat(ways))
    frames = [_headed(_enlarged(to_pil(grid)), generator.class_names[:columns]) for grid in grids]
    return frames, [STEP_SECONDS] * len(frames)


def encoded(frames: Sequence[Image.Image], seconds: Sequence[float], suffix: str) -> bytes:
    """Encode frames of one size, grey or RGB, as an endlessly looping GIF or lossless WebP."""
    buffer, times = BytesIO(), [round(1000 * one) for one in seconds]
    first, *rest = frames
    first.save(buffer, suffix[1:], save_all=True, append_images=rest, duration=times, loop=0, **FORMATS[suffix])
    return buffer.getvalue()


def _enlarged(picture: Image.Image) -> Image.Image:
    return ImageOps.scale(picture, max(1, round(SMALL / max(picture.size))), Image.Resampling.NEAREST)


def _captioned(picture: Image.Image, caption: str, share: float) -> Image.Image:
    """A picture above a caption and a progress bar that fills a share of its width."""
    canvas = ImageOps.expand(picture.convert("RGB"), (0, 0, 0, BAR + STRIP))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, picture.height, max(0, round(share * picture.width) - 1), picture.height + BAR - 1), fill=LINE)
    draw.text((4, picture.height + BAR + 2), caption, fill=INK, font=ImageFont.load_default(14))
    return canvas


def _headed(picture: Image.Image, names: Sequence[str]) -> Image.Image:
    """A picture with the names of its columns above it, cut to fit."""
    if not names:
        return picture
    canvas = ImageOps.expand(picture.convert("RGB"), (0, STRIP, 0, 0))
    draw, font, width = ImageDraw.Draw(canvas), ImageFont.load_default(14), picture.width / len(names)
    for index, name in enumerate(names):
        while len(name) > 1 and draw.textlength(name, font) > width - 4:
            name = name[:-1]
        draw.text(((index + 0.5) * width, STRIP / 2), name, fill=INK, font=font, anchor="mm")
    return canvas
