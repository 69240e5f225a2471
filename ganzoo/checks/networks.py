"""What every registered network must do: the shape and range of its kind, at any size, with gradients everywhere."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.api.priors import GaussianPrior
from ganzoo.api.spec import Spec
from ganzoo.checks.steps import AS_BUFFER, hidden_state, require_no_hidden_state, without_values
from ganzoo.checks.toys import seed
from ganzoo.checks.verdict import FROM_SPEC, Broken, blaming, called, require
from ganzoo.registry.registry import Entry

Shape = tuple[int, int, int]
Network = Entry[nn.Module]
GREY, COLOUR = (1, 28, 28), (3, 32, 32)
SHAPES: tuple[Shape, ...] = (GREY, COLOUR)
USE_EVERY_LAYER = "Use every parameter in forward, or do not make it; a layer that must stay fixed belongs in buffers."


def built(entry: Network, shape: Shape, classes: int = 0) -> tuple[nn.Module, Spec]:
    """The network with its default options, and the spec it was built for.

    Raises:
        Broken: It cannot be built.
    """
    spec = Spec(shape, GaussianPrior(dim=16), classes)
    with blaming(entry, f"to be built for {_written(shape)}", FROM_SPEC):
        network = entry.create(spec, **entry.check({}))
    require(
        isinstance(network, nn.Module),
        f"{called(entry)} is no torch module, but {type(network).__name__}.",
        "The factory returns a torch.nn.Module.",
    )
    return network, spec


def inputs(entry: Network, spec: Spec, n: int = 2) -> Tensor:
    """What a network of its kind is given: codes (n, latent), or images (n, c, h, w) in [-1, 1]."""
    return torch.randn(n, spec.latent) if entry.kind == "generator" else torch.rand(n, *spec.image_shape) * 2 - 1


def outputs(entry: Network, network: nn.Module, given: Tensor, *label: Tensor) -> Tensor:
    """What the network makes of it.

    Raises:
        Broken: It raises instead.
    """
    doing = f"on {'codes' if entry.kind == 'generator' else 'images'} of shape {tuple(given.shape)}"
    with blaming(entry, doing, FROM_SPEC):
        out: Tensor = network(given, *label)
    require(
        isinstance(out, Tensor),
        f"{called(entry)} returns {type(out).__name__} and no tensor.",
        "forward returns one tensor.",
    )
    return out


def output(entry: Network, shape: Shape = GREY) -> None:
    """The output has the shape and range of its kind, for any image size."""
    network, spec = built(entry, shape)
    out = outputs(entry, network, inputs(entry, spec))
    _require_shape(entry, out, spec, 2)
    require(
        out.dtype == torch.float32,
        f"{called(entry)} returns {out.dtype} and not float32.",
        "Leave precision to the trainer, and change no dtype.",
    )
    finite = bool(out.isfinite().all())
    require(finite, f"{called(entry)} returns numbers that are not finite.", "Look for 0/0 or log 0.")
    require(
        entry.kind != "generator" or bool((out.abs() <= 1).all()),
        f"{called(entry)} paints values outside of [-1, 1].",
        "End it with nn.Tanh().",
    )


def gradients(entry: Network, shape: Shape = GREY) -> None:
    """Every parameter gets a finite gradient."""
    network, spec = built(entry, shape)
    out = outputs(entry, network, inputs(entry, spec))
    with blaming(entry, "to be differentiated", USE_EVERY_LAYER):
        (out * torch.randn_like(out)).sum().backward()  # type: ignore[no-untyped-call]
    require_gradients(entry, network)
    total = sum(float(p.grad.abs().sum()) for p in network.parameters() if p.grad is not None)
    require(total > 0, f"{called(entry)} gets gradients that are all zero.", "Do not detach, and do not saturate.")


def require_gradients(entry: Network, network: nn.Module) -> None:
    """Raise for parameters without a gradient, or with one that is not finite.

    Raises:
        Broken: There are some.
    """
    without = [name for name, p in network.named_parameters() if p.grad is None]
    require(not without, f"{called(entry)} has parameters that get no gradient: {', '.join(without)}.", USE_EVERY_LAYER)
    broken = [name for name, p in network.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    require(
        not broken,
        f"{called(entry)} has parameters whose gradient is not finite: {', '.join(broken)}.",
        "Look for square roots and divisions at zero.",
    )


def input_gradients(entry: Network) -> None:
    """Gradients reach the input of each sample."""
    network, spec = built(entry, GREY)
    given = inputs(entry, spec).requires_grad_()
    out = outputs(entry, network, given)
    (out * torch.randn_like(out)).sum().backward()  # type: ignore[no-untyped-call]
    require(
        given.grad is not None and bool((given.grad.abs().flatten(1).sum(1) > 0).all()),
        f"{called(entry)} lets no gradient through to its input.",
        "Do not detach or round what comes in.",
    )


def takes_label(network: nn.Module) -> bool:
    """Whether its forward has a place for labels."""
    return len(inspect.signature(network.forward).parameters) >= 2


def labels(entry: Network) -> None:
    """A network that takes labels heeds them. Without a place for them a conditional recipe refuses it."""
    network, spec = built(entry, GREY, classes=10)
    if not takes_label(network):
        return
    network.eval()
    same = inputs(entry, spec, 1)
    out = outputs(entry, network, same.repeat(10, *[1] * (same.dim() - 1)), torch.arange(10))
    _require_shape(entry, out, spec, 10)
    require(
        not torch.allclose(out[0], out[1], atol=1e-7),
        f"{called(entry)} takes labels, but they change nothing.",
        "Use the label, or take it out of forward's parameters.",
    )


def round_trip(entry: Network) -> None:
    """What it learned survives a checkpoint."""
    (first, spec), (second, _) = built(entry, GREY), built(entry, GREY)
    before = hidden_state(first)
    given = inputs(entry, spec, 4)
    outputs(entry, first, given)  # moves the running averages, where there are any
    require_no_hidden_state(entry, before, first)
    first.eval(), second.eval()
    require(
        not torch.equal(outputs(entry, first, given), outputs(entry, second, given)),
        f"{called(entry)} is the same network each time it is built.",
        "Leave seeding to ganzoo, and draw the weights at random.",
    )
    with blaming(entry, "to load its own state_dict", AS_BUFFER):
        second.load_state_dict(first.state_dict())
    require(
        torch.equal(outputs(entry, first, given), outputs(entry, second, given)),
        f"{called(entry)} is another network after its state was saved and loaded.",
        AS_BUFFER,
    )


def deterministic(entry: Network) -> None:
    """One seed gives one network."""
    states = []
    for _ in range(2):
        seed(3)
        states.append(built(entry, GREY)[0].state_dict())
    differing = [name for name, tensor in states[0].items() if not torch.equal(tensor, states[1][name])]
    require(
        not differing,
        f"{called(entry)} differs between two constructions from one seed: {', '.join(differing)}.",
        "Draw weights with torch's own generator, which ganzoo seeds.",
    )


def half_precision(entry: Network) -> None:
    """It works under bfloat16 autocast."""
    network, spec = built(entry, GREY)
    given = inputs(entry, spec)
    with blaming(entry, "in bfloat16", "Create tensors with the dtype of those given."):
        with torch.autocast("cpu", torch.bfloat16):
            out = network(given)
        out.float().sum().backward()
    require(bool(out.isfinite().all()), f"{called(entry)} overflows in bfloat16.", "Compute sensitive sums in float().")
    require_gradients(entry, network)


def capturable(entry: Network) -> None:
    """Two steps never wait for the device."""
    with without_values(entry):
        spec = Spec(GREY, GaussianPrior(dim=16))
        network = entry.create(spec, **entry.check({}))
        for _ in range(2):
            network(inputs(entry, spec, 4)).sum().backward()


def shared_features(entry: Network) -> None:
    """A discriminator that shares features is its head on them, with labels and without."""
    for classes in (0, 10):
        shared_features_for(entry, classes)


def shared_features_for(entry: Network, classes: int) -> None:
    """``shared_features`` in a recipe of so many classes; 0 where it is unconditional."""
    network, spec = built(entry, GREY, classes)
    if not hasattr(network, "features") or (classes and not takes_label(network)):
        return
    network.eval()
    images = inputs(entry, spec)
    label = (torch.tensor([3, 7]),) if classes else ()
    with blaming(entry, "to share its features", "It needs features(images), feature_width and head(features)."):
        features = network.features(images, *label)  # type: ignore[operator]
        logits = network.head(features, *label)  # type: ignore[operator]
        width = network.feature_width
    require(
        tuple(features.shape) == (2, width),
        f"{called(entry)} shares features of shape {tuple(features.shape)} where (2, {width}) is declared.",
        "Make feature_width their number.",
    )
    if not torch.equal(logits, outputs(entry, network, images, *label)):
        raise Broken(f"{called(entry)} is not its head on its features.", "Let forward be self.head(self.features(x)).")


def per_image(entry: Network) -> None:
    """A discriminator that says it looks at each image alone does."""
    per_image_with(entry, {})


def per_image_with(entry: Network, options: Mapping[str, Any]) -> None:
    """``per_image`` with options of its own."""
    spec = Spec(GREY, GaussianPrior(dim=16))
    network = entry.create(spec, **entry.check(dict(options)))
    if not getattr(network, "per_image", False):
        return
    images = inputs(entry, spec, 4).requires_grad_()
    # In training mode, where batch normalisation looks at all of them; by gradients, since dropout is random there.
    (gradient,) = torch.autograd.grad(outputs(entry, network, images)[0], images)
    require(
        not gradient[1:].any(),
        f"{called(entry)} says per_image, and its logit of one image depends on the others.",
        "Set per_image only where nothing looks at the batch, such as batch normalisation.",
    )


def _require_shape(entry: Network, out: Tensor, spec: Spec, n: int) -> None:
    wanted = {"generator": (n, *spec.image_shape), "discriminator": (n,), "encoder": (n, spec.latent)}[entry.kind]
    require(
        tuple(out.shape) == wanted,
        f"{called(entry)} returns shape {tuple(out.shape)} where {wanted} is needed ({_written(spec.image_shape)}).",
        FROM_SPEC,
    )


def _written(shape: Shape) -> str:
    return "x".join(map(str, shape)) + " images"
