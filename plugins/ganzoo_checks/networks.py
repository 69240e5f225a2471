"""What every registered network must do: outputs of the right shape and range at any size, gradients everywhere.

Networks are built for images. A network that refuses images of every size is checked with audio or points, if it
accepts those. One that takes labels is also checked with labels, and one that needs them only with labels.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.api.dataset import Images, Modality
from ganzoo.api.objective import Spec
from ganzoo.api.priors import GaussianPrior
from ganzoo.build import needs_label, takes_label
from ganzoo.errors import GanzooError
from ganzoo.registry.registry import Entry
from ganzoo.training.optim import COPYABLE
from ganzoo_checks.entries import CheckFailed, described, made, plugin_code, require
from ganzoo_checks.toys import (
    AS_BUFFER,
    CPU,
    GREY,
    ODD,
    OTHER_THAN_IMAGES,
    SHAPES,
    Shape,
    fake_device,
    hidden_words,
    on_device,
    require_no_hidden_state,
    seed,
)

Network = Entry[nn.Module]
FROM_SPEC = (
    "Take every size from the spec: spec.image_shape, spec.pixels, spec.latent, spec.classes. A network for anything "
    "other than images must refuse images with a GanzooError when it is built."
)
CLASSES = 10
USE_EVERY_LAYER = "Use every parameter in forward, or remove it; keep fixed tensors in buffers."


def build(
    entry: Network, shape: Shape, classes: int = 0, options: Mapping[str, Any] | None = None
) -> tuple[nn.Module, Spec]:
    """The network and its spec, for images of one shape or, if it refuses images, for another modality.

    Raises:
        CheckFailed: The network does not build.
    """
    try:
        return _build(entry, Images(*shape), classes, options or {})
    except CheckFailed:
        modality = _instead_of_images(entry, shape, classes, options or {})
        if modality is None:
            raise
    return _build(entry, modality, classes, options or {})


def _build(entry: Network, modality: Modality, classes: int, options: Mapping[str, Any]) -> tuple[nn.Module, Spec]:
    spec = Spec(modality.shape, GaussianPrior(dim=16), classes, modality)
    return made(entry, f"to build for {sized(modality)}", FROM_SPEC, spec, **options), spec


def _instead_of_images(entry: Network, shape: Shape, classes: int, options: Mapping[str, Any]) -> Modality | None:
    """The modality of a network that refuses images of every shape; None if it accepts some, or no modality fits."""
    with torch.random.fork_rng(devices=[]):
        for images in SHAPES:
            with suppress(CheckFailed):
                _build(entry, Images(*images), classes, options)
                return None
        for modality in OTHER_THAN_IMAGES[shape]:
            with suppress(CheckFailed):
                network, spec = _build(entry, modality, classes, options)
                arguments = inputs(entry, spec)
                out = forward(entry, network, *(arguments if takes_label(network) else arguments[:1]))
                _require_shape(entry, out, spec, 2)
                return modality
    return None


def class_counts(entry: Network) -> tuple[int, ...]:
    """The numbers of classes that it is checked with: 0, unless it needs labels, and ``CLASSES`` if it takes labels.

    Raises:
        CheckFailed: The network does not build.
    """
    with torch.random.fork_rng(devices=[]):
        network, _ = build(entry, GREY, CLASSES)
    if needs_label(network):
        return (CLASSES,)
    return (0, CLASSES) if takes_label(network) else (0,)


def cases(
    entry: Network, shape: Shape = GREY, n: int = 2, options: Mapping[str, Any] | None = None
) -> Iterator[tuple[nn.Module, Spec, tuple[Tensor, ...]]]:
    """For each of ``class_counts``, the network, its spec, and inputs of n rows."""
    for classes in class_counts(entry):
        network, spec = build(entry, shape, classes, options)
        yield network, spec, inputs(entry, spec, n)


def inputs(entry: Network, spec: Spec, n: int = 2, device: torch.device = CPU) -> tuple[Tensor, ...]:
    """Inputs for its kind, and labels (n,) if the spec has classes.

    Generators take codes (n, latent), the others samples (n, *shape) in [-1, 1]; images are (n, c, h, w).
    """
    is_generator = entry.kind == "generator"
    shape = (n, spec.latent) if is_generator else (n, *spec.shape)
    x = torch.randn(shape, device=device) if is_generator else torch.rand(shape, device=device) * 2 - 1
    return (x, torch.arange(n, device=device) % spec.classes) if spec.classes else (x,)


def forward(entry: Network, network: nn.Module, x: Tensor, *label: Tensor) -> Tensor:
    """The network's output.

    Raises:
        CheckFailed: The network raises an exception, or does not return a tensor.
    """
    doing = f"on {'codes' if entry.kind == 'generator' else 'samples'} of shape {tuple(x.shape)}"
    with plugin_code(entry, doing, FROM_SPEC):
        out: Tensor = network(x, *label)
    require(
        isinstance(out, Tensor),
        f"{described(entry)} returns a {type(out).__name__}, not a tensor.",
        "Return one tensor from forward.",
    )
    return out


def output_shape(entry: Network, shape: Shape = GREY) -> None:
    """The output has the right shape and range at any image size."""
    for network, spec, arguments in cases(entry, shape):
        out = forward(entry, network, *arguments)
        _require_shape(entry, out, spec, 2)
        require(
            out.dtype == torch.float32,
            f"{described(entry)} returns {out.dtype}, not float32.",
            "Do not change dtypes; the trainer sets the precision.",
        )
        finite = bool(out.isfinite().all())
        require(finite, f"{described(entry)} returns values that are not finite.", "Look for 0/0 and log 0.")
        network.eval()  # batch normalisation may refuse a single image in training
        _require_shape(entry, forward(entry, network, *(x[:1] for x in arguments)), spec, 1)
        if entry.kind == "generator":
            _require_range(entry, network, arguments, out)


def odd_shape(entry: Network) -> None:
    """Images with odd sides of different lengths have the right shape too, if the network accepts them at all."""
    for classes in class_counts(entry):
        try:
            network, spec = _build(entry, Images(*ODD), classes, {})
        except CheckFailed as error:
            if isinstance(error.__cause__, GanzooError):
                return
            raise
        _require_shape(entry, forward(entry, network, *inputs(entry, spec)), spec, 2)


@torch.no_grad()
def _perturb(network: nn.Module) -> None:
    """Move every parameter a little: some networks start from zeros, or from the same values for all labels."""
    for parameter in network.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))


@torch.no_grad()
def _require_range(entry: Network, network: nn.Module, arguments: tuple[Tensor, ...], out: Tensor) -> None:
    """Fail unless images stay in [-1, 1] as weights grow: those of an untrained generator are small anyway."""
    outs = [out]
    with suppress(CheckFailed):  # a network may refuse weights so large
        for _ in range(3):
            for parameter in network.parameters():
                parameter.mul_(4)
            outs.append(forward(entry, network, *arguments).nan_to_num())
    first = next((index for index, one in enumerate(outs) if bool((one.abs() > 1).any())), None)
    sentence = f"{described(entry)} returns values outside [-1, 1]{' once its weights grow' if first else ''}."
    require(first is None, sentence, "End it with ganzoo.layers.ImageTanh().")


def gradients(entry: Network, shape: Shape = GREY) -> None:
    """Every parameter gets a finite gradient."""
    for network, _, arguments in cases(entry, shape):
        out = forward(entry, network, *arguments)
        with plugin_code(entry, "in the backward pass", USE_EVERY_LAYER):
            (out * torch.randn_like(out)).sum().backward()  # type: ignore[no-untyped-call]
        require_gradients(entry, network)
        total = sum(float(p.grad.abs().sum()) for p in network.parameters() if p.grad is not None)
        require(total > 0, f"{described(entry)} gets only zero gradients.", "Do not detach or saturate.")


def require_gradients(entry: Network, network: nn.Module) -> None:
    """Fail unless every parameter has a finite gradient.

    Raises:
        CheckFailed: Some parameter has no gradient, or one that is not finite.
    """
    without = [name for name, p in network.named_parameters() if p.grad is None]
    require(
        not without, f"{described(entry)} has parameters that get no gradient: {', '.join(without)}.", USE_EVERY_LAYER
    )
    infinite = [name for name, p in network.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    require(
        not infinite,
        f"{described(entry)} has parameters whose gradient is not finite: {', '.join(infinite)}.",
        "Look for square roots and divisions at zero.",
    )


def input_gradients(entry: Network) -> None:
    """Each input gets a gradient."""
    remedy = "Do not detach or round the input."
    for network, _, (x, *label) in cases(entry):
        _perturb(network)
        out = forward(entry, network, x.requires_grad_(), *label)
        with plugin_code(entry, "in the backward pass", remedy):
            (out * torch.randn_like(out)).sum().backward()  # type: ignore[no-untyped-call]
        require(
            x.grad is not None and bool((x.grad.abs().flatten(1).sum(1) > 0).all()),
            f"{described(entry)} passes no gradient on to its input.",
            remedy,
        )


def labels(entry: Network) -> None:
    """A network that takes labels uses them; conditional recipes reject one that takes none."""
    network, spec = build(entry, GREY, CLASSES)
    if not takes_label(network):
        return
    network.eval()
    _perturb(network)
    x, label = inputs(entry, spec, CLASSES)
    repeated = torch.cat([x[:1]] * CLASSES)
    # Seeded, so that noise within the network is the same. A deep network may hardly react to labels at first, so any
    # difference in the outputs is enough.
    seed(0)
    out = forward(entry, network, repeated, label)
    seed(0)
    others = forward(entry, network, repeated, label.roll(1))
    _require_shape(entry, out, spec, CLASSES)
    require(
        not torch.equal(out, others),
        f"{described(entry)} takes labels but ignores them.",
        "Use the label, or remove it from forward's parameters.",
    )


def round_trip(entry: Network) -> None:
    """A checkpoint restores everything it learned."""
    for first, spec, arguments in cases(entry, n=4):
        second, _ = build(entry, GREY, spec.classes)
        before = hidden_words(first)
        forward(entry, first, *arguments)  # updates any running averages
        require_no_hidden_state(entry, before, first)
        first.eval(), second.eval()
        pairs = list(zip(first.parameters(), second.parameters(), strict=True))
        require(
            not pairs or not all(torch.equal(one, other) for one, other in pairs),
            f"{described(entry)} has the same weights each time.",
            "Draw the weights at random, and leave seeding to ganzoo.",
        )
        _perturb(first)
        with plugin_code(entry, "to load its own state_dict", AS_BUFFER):
            second.load_state_dict(first.state_dict())
        seed(0)  # for noise within the network
        out = forward(entry, first, *arguments)
        seed(0)
        require(
            torch.equal(out, forward(entry, second, *arguments)),
            f"{described(entry)} gives different outputs after its state_dict is saved and loaded.",
            AS_BUFFER,
        )


def deterministic(entry: Network) -> None:
    """The same seed gives the same weights."""
    for classes in class_counts(entry):
        states = []
        for _ in range(2):
            seed(3)
            states.append(build(entry, GREY, classes)[0].state_dict())
        different = [name for name, tensor in states[0].items() if not torch.equal(tensor, states[1][name])]
        require(
            not different,
            f"{described(entry)} builds differently from the same seed: {', '.join(different)}.",
            "Draw weights with torch's default generator, which ganzoo seeds.",
        )


def half_precision(entry: Network) -> None:
    """Outputs and gradients are finite under bfloat16 autocast."""
    for network, _, arguments in cases(entry):
        with plugin_code(entry, "in bfloat16", "Create tensors with the dtype of the input."):
            with torch.autocast("cpu", torch.bfloat16):
                out = network(*arguments)
            out.float().sum().backward()
        finite = bool(out.isfinite().all())
        require(finite, f"{described(entry)} overflows in bfloat16.", "Compute sensitive sums in .float().")
        require_gradients(entry, network)


def capturable(entry: Network) -> None:
    """Two passes stay on the device, and never wait for it."""
    for network, spec, _ in cases(entry):
        with fake_device(entry) as device:
            on_device(network, device)
            for _ in range(2):
                network(*inputs(entry, spec, 4, device)).sum().backward()


def copyable(entry: Network) -> None:
    """It can be copied, as the moving average of its weights needs."""
    for network, _, _ in cases(entry):
        with plugin_code(entry, "to be copied", COPYABLE):
            copy.deepcopy(network)


def shared_features(entry: Network) -> None:
    """With shared features, forward is the head of the features, with labels and without."""
    for classes in class_counts(entry):
        shared_features_for(entry, classes)


def shared_features_for(entry: Network, classes: int) -> None:
    """``shared_features`` for a number of classes; 0 is unconditional."""
    network, spec = build(entry, GREY, classes)
    if not hasattr(network, "features") or (classes and not takes_label(network)):
        return
    network.eval()
    images, *label = inputs(entry, spec)
    more = ", label" if classes else ""
    remedy = f"Define features(images{more}), feature_width and head(features{more})."
    with plugin_code(entry, "to share its features", remedy):
        features = network.features(images, *label)  # type: ignore[operator]
        logits = network.head(features, *label)  # type: ignore[operator]
        width = network.feature_width
    for what, value in (("features", features), ("logits of its head", logits)):
        sentence = f"{described(entry)} returns a {type(value).__name__} as {what}."
        require(isinstance(value, Tensor), sentence, "Return a tensor.")
    require(
        tuple(features.shape) == (2, width),
        f"{described(entry)} returns features of shape {tuple(features.shape)} and declares (2, {width}).",
        "Set feature_width to their width.",
    )
    if not torch.equal(logits, forward(entry, network, images, *label)):
        raise CheckFailed(
            f"{described(entry)} computes logits that differ from those of its head.",
            "Return self.head(self.features(x)).",
        )


def per_image(entry: Network, options: Mapping[str, Any] | None = None) -> None:
    """With ``per_image``, the logit of an image depends on that image alone."""
    for network, _, (images, *label) in cases(entry, n=4, options=options):
        if not getattr(network, "per_image", False):
            continue
        # In training mode, where batch normalisation uses batch statistics; by gradients, because dropout is random.
        logits = forward(entry, network, images.requires_grad_(), *label)
        with plugin_code(entry, "in the backward pass", "Return logits (n,), and do not detach them."):
            (gradient,) = torch.autograd.grad(logits[0], images, allow_unused=True, materialize_grads=True)
        require(
            not gradient[1:].any(),
            f"{described(entry)} sets per_image, but its logit of one image depends on the others.",
            "Set per_image only if nothing mixes images, as batch normalisation does.",
        )


def _require_shape(entry: Network, out: Tensor, spec: Spec, n: int) -> None:
    expected = {"generator": (n, *spec.shape), "discriminator": (n,), "encoder": (n, spec.latent)}[entry.kind]
    require(
        tuple(out.shape) == expected,
        f"{described(entry)} returns shape {tuple(out.shape)}, not {expected} ({sized(spec.modality)}).",
        FROM_SPEC,
    )


def sized(modality: Modality) -> str:
    """``3x32x32 images``."""
    return f"{'x'.join(map(str, modality.shape))} {modality.name}"
