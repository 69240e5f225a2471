"""``ganzoo export``: a trained generator as ONNX, or as one HTML page that draws samples offline."""

from __future__ import annotations

import base64
import json
import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from markupsafe import Markup
from torch import Tensor, nn

from ganzoo.api.dataset import Images
from ganzoo.errors import GanzooError, RunError, foreign_code, visible, writing
from ganzoo.files import MADE, write_atomically
from ganzoo_reports.templates import page

if TYPE_CHECKING:
    from ganzoo.api.objective import Objective
    from ganzoo.runs.generator import TrainedGenerator, Weights

TOLERANCE = 1e-5
"""Largest allowed difference between what ONNX Runtime and torch draw from the same codes, in [-1, 1]."""
OPSET = 17
CHECKED = 16
"""Number of samples that are compared."""
CODES = 256
"""Number of latent codes in the page that samples can start from."""
DIRECTIONS, MEASURED = 6, 512
"""Number of latent directions that the page can move along, and of samples that they are computed from."""


class _Graph(nn.Module):
    """The exported function: from codes, and labels if the recipe is conditional, to samples in [-1, 1]."""

    def __init__(self, objective: Objective, networks: dict[str, nn.Module]) -> None:
        super().__init__()
        self.objective = objective
        self.networks = nn.ModuleDict(networks)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        asked = torch.zeros_like(z[:, 0], dtype=torch.int64) if label is None else label
        return self.objective.generate_from(dict(self.networks.items()), z, asked, {})


def to_onnx(generator: TrainedGenerator, weights: Weights | None = None) -> bytes:
    """A generator as an ONNX graph, checked against torch.

    Its inputs are ``z`` (n, latent), float32, and ``label`` (n,), int64, for a conditional recipe; its output is
    ``sample`` (n, *shape) in [-1, 1].

    Args:
        generator: A run's generator.
        weights: ``ema`` or ``raw``; None is ``ema`` if the run kept it.

    Raises:
        GanzooError: onnx or onnxruntime is not installed, or the generator starts from images.
        RunError: Its operations cannot be exported, or the graph's samples differ from torch's.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise GanzooError(
            f"Exporting needs the package '{error.name}'.", "Install it: pip install 'ganzoo-bench[export]'."
        ) from error
    objective, spec = generator.assembly.objective, generator.assembly.spec
    if objective.generates_from:
        raise GanzooError(
            f"The recipe '{generator.recipe.name}' generates from images, not from codes alone.",
            "Export a run whose generator starts from codes.",
        )
    graph = _Graph(objective, dict(generator.model(weights).networks)).cpu().eval()
    codes = spec.prior.sample(CHECKED, torch.Generator().manual_seed(0), torch.device("cpu"))
    labels = torch.arange(CHECKED) % spec.classes if spec.classes else None
    inputs = (codes,) if labels is None else (codes, labels)
    names = ["z", "label"][: len(inputs)]
    buffer = BytesIO()
    remedy = (
        "Its networks use an operation that ONNX lacks, draw their own random numbers, or fix the batch size: "
        "x.shape[0] is exported as a variable, len(x) as a constant."
    )
    with torch.no_grad(), warnings.catch_warnings(), foreign_code("The generator cannot be exported", remedy):
        warnings.simplefilter("ignore")  # from the tracer: the comparison below catches what it warns about
        torch.onnx.export(
            graph,
            inputs,
            cast("str", buffer),  # it also accepts files, which its annotation leaves out
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=["sample"],
            dynamic_axes={name: {0: "n"} for name in [*names, "sample"]},
        )
    described = onnx.load_model_from_string(buffer.getvalue())
    described.producer_name = MADE
    model: bytes = described.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # failures are reported below
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    for n in (CHECKED, 1):
        batch = [one[:n] for one in inputs]
        with torch.no_grad():
            ours = graph(*batch)
        with foreign_code("The exported generator cannot be run", remedy):
            (theirs,) = session.run(None, {name: one.numpy() for name, one in zip(names, batch, strict=True)})
        apart = float((ours - torch.from_numpy(theirs)).abs().max())
        if not apart <= TOLERANCE:
            raise RunError(
                f"The exported generator differs from torch by {apart:.2g}, more than {TOLERANCE:g}.", remedy
            )
    return model


def to_html(generator: TrainedGenerator, weights: Weights | None = None) -> str:
    """A self-contained page that draws a generator's samples in the browser.

    Raises:
        GanzooError: As for ``to_onnx``, or its samples are not images.
    """
    spec = generator.assembly.spec
    if not isinstance(spec.modality, Images):
        raise GanzooError(f"The page shows images, but this run draws {spec.modality}.", "Export FILE.onnx instead.")
    model = to_onnx(generator, weights)
    codes = spec.prior.sample(CODES, torch.Generator().manual_seed(0), torch.device("cpu"))
    facts: dict[str, Any] = {
        "shape": list(spec.modality.shape),
        "latent": codes.shape[1],
        "classes": [*map(visible, generator.class_names)],  # JSON would escape them for the script alone
        "sphere": generator.recipe.prior.name == "gaussian",
        "codes": _base64(codes.float().numpy().tobytes()),
        "directions": _directions(generator, weights).tolist(),
        "model": _base64(model),
        "wasm": _base64((Path(__file__).parent / "html" / "onnxruntime.wasm.gz").read_bytes()),
    }
    images = generator.checkpoint.state["images"]
    kind = "Averaged" if (weights or generator.weights[0]) == "ema" else "Raw"
    context = {
        "name": generator.recipe.name,
        "summary": generator.recipe.summary,
        "about": f"{kind} weights after {images:,} training images",
        "facts": Markup(json.dumps(facts).replace("<", "\\u003c")),  # noqa: S704 - no tag can begin in it
    }
    return page("explorer.html", ("onnxruntime.js", "explorer.js"), context, style="explorer.css")


def _directions(generator: TrainedGenerator, weights: Weights | None) -> Tensor:
    """Unit directions (k, latent) that change samples the most: principal components, regressed on the codes."""
    spec = generator.assembly.spec
    codes = spec.prior.sample(MEASURED, torch.Generator().manual_seed(1), torch.device("cpu"))
    labels = torch.arange(MEASURED) % spec.classes if spec.classes else None
    drawn = generator.decode(codes, labels, weights).flatten(1).float()
    for label in range(spec.classes):  # remove the class, which has its own buttons
        drawn[label :: spec.classes] -= drawn[label :: spec.classes].mean(0)
    drawn -= drawn.mean(0)
    k = min(DIRECTIONS, codes.shape[1], drawn.shape[1])
    components = torch.pca_lowrank(drawn, q=k, center=False)[0]
    coefficients = torch.linalg.lstsq(codes - codes.mean(0), components).solution
    basis: Tensor = torch.linalg.qr(coefficients)[0].T
    return basis


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def export(generator: TrainedGenerator, out: Path, weights: Weights | None = None) -> int:
    """Write an ONNX file if ``out`` ends in .onnx, otherwise a page; returns its size in bytes."""
    content = to_onnx(generator, weights) if out.suffix == ".onnx" else to_html(generator, weights).encode()
    with writing(f"Could not write {out}", "Give another --out."):
        write_atomically(out, content)
    return len(content)
