"""Toy networks and training steps for checks, so that no check depends on another plugin."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ganzoo.api.adversarial import AdversarialGame, AdversarialLoss, Augmentation, Regularizer
from ganzoo.api.dataset import Audio, Modality, Points
from ganzoo.api.objective import Batch, Objective, Phase, Spec
from ganzoo.api.priors import GaussianPrior
from ganzoo.registry.registry import Entry
from ganzoo_checks.entries import CheckFailed, described, plugin_code, require

CPU = torch.device("cpu")
Shape = tuple[int, int, int]
GREY: Shape = (1, 28, 28)
COLOUR: Shape = (3, 32, 32)
ODD: Shape = (3, 21, 34)
SHAPES = (GREY, COLOUR)
OTHER_THAN_IMAGES: Mapping[Shape, tuple[Modality, ...]] = {
    GREY: (Audio(1, 4096), Points(1, 1, 2)),
    COLOUR: (Audio(1, 16384), Points(1, 1, 3)),
}
"""Modalities to use instead of images of a shape, for networks that refuse images."""
SEEDED = "Draw with torch's default generator, which ganzoo seeds."
SPEC = Spec((1, 28, 28), GaussianPrior(dim=8), classes=3)
AS_BUFFER = "Keep it with self.register_buffer(...) and change it in place, so that checkpoints hold it."
ON_DEVICE = (
    "Stay on the device: no .item(), float(), bool() or `if` on a tensor, no boolean masks. Use torch.where instead of "
    "`if`, and create tensors on the device of the inputs."
)
MISTAKES = (AttributeError, LookupError, NameError, TypeError, ValueError)
"""Exceptions that have nothing to do with the device, unless they name it."""
DEVICE = torch.device("meta")
"""The stand-in for a GPU: it is not the CPU, and every build of torch has it."""
COPIES = (torch.ops.aten._to_copy, torch.ops.aten.copy_, torch.ops.aten.lift_fresh)
PUT = (torch.ops.aten.index_put, torch.ops.aten.index_put_, torch.ops.aten._index_put_impl_)
WAITING = (torch.ops.aten._linalg_svd, torch.ops.aten._linalg_eigh, torch.ops.aten.linalg_eig)
"""Decompositions that make the host wait, on a GPU, to see whether they converged."""


class ToyGenerator(nn.Module):
    """A conditional generator for ``SPEC``: images (n, c, h, w) in [-1, 1] from codes (n, latent) and labels (n,)."""

    def __init__(self) -> None:
        super().__init__()
        self.label = nn.Embedding(SPEC.classes, 8)
        self.hidden = nn.Linear(SPEC.latent + 8, 16)
        self.image = nn.Linear(16, SPEC.pixels)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """Images from codes and labels."""
        hidden = self.hidden(torch.cat([z, self.label(label)], 1)).relu()
        images: Tensor = self.image(hidden).tanh().view(-1, *SPEC.image_shape)
        return images


class LinearHead(nn.Module):
    """Logits (n,) from features (n, width); ignores labels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, features: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits from features."""
        logits: Tensor = self.linear(features)
        return logits.squeeze(1)


class ToyDiscriminator(nn.Module):
    """A discriminator for ``SPEC`` that shares its features: logits (n,) from images (n, c, h, w) and labels (n,)."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_width = 16
        self.label = nn.Embedding(SPEC.classes, 16)
        self.hidden = nn.Linear(SPEC.pixels, 16)
        self.head = LinearHead(16)

    def features(self, images: Tensor, label: Tensor) -> Tensor:
        """Features (n, 16) from images and labels."""
        return nn.functional.leaky_relu(self.hidden(images.flatten(1)) + self.label(label), 0.2)

    def forward(self, images: Tensor, label: Tensor) -> Tensor:
        """Logits from images and labels."""
        logits: Tensor = self.head(self.features(images, label), label)
        return logits


class NonSaturating(AdversarialLoss):
    """The default loss of a toy game (Goodfellow et al. 2014)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """-log D(x) - log(1 - D(G(z))), with D the sigmoid of a logit."""
        return nn.functional.softplus(-real).mean() + nn.functional.softplus(fake).mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """-log D(G(z)), with D the sigmoid of a logit."""
        return nn.functional.softplus(-fake).mean()


def seed(number: int) -> None:
    """Seed torch's generator without ``torch.manual_seed``: a check watches whether a plugin calls that."""
    torch.default_generator.manual_seed(number)


def toy_game(
    loss: AdversarialLoss | None = None,
    regularizers: tuple[Regularizer, ...] = (),
    augmentation: Augmentation | None = None,
) -> tuple[AdversarialGame, nn.ModuleDict]:
    """A conditional game of the toy networks, bound, always from the same seed."""
    seed(5)
    networks = nn.ModuleDict({"generator": ToyGenerator(), "discriminator": ToyDiscriminator()})
    game = AdversarialGame(loss or NonSaturating(), regularizers, augmentation)
    networks.update(game.bind(SPEC, dict(networks.items())))
    return game, networks


def toy_batch(n: int = 8, spec: Spec = SPEC, device: torch.device = CPU) -> Batch:
    """Random images, latent codes from the prior, and labels 0, 1, 2, ... in turn."""
    label = torch.arange(n, device=device) % max(1, spec.classes)
    z = spec.prior.sample(n, torch.Generator().manual_seed(0), device)
    columns = {name: torch.rand(n, *shape, device=device) * 2 - 1 for name, shape in spec.columns}
    return Batch.of({"image": torch.rand(n, *spec.shape, device=device) * 2 - 1, "label": label, **columns}, z)


def take_steps(
    objective: Objective, networks: nn.ModuleDict, spec: Spec, steps: int = 2, device: torch.device = CPU
) -> Iterator[tuple[Phase, Mapping[str, Tensor]]]:
    """Train for a few steps: each phase sees its own batch, and all roles that it does not train are frozen.

    Args:
        objective: Bound to ``networks``.
        networks: By role.
        spec: The sizes both were built for.
        steps: How many times to run all phases.
        device: Where the networks are.

    Yields:
        Each phase and its losses, after the backward pass and before the optimizer step.
    """
    by_role, phases = dict(networks.items()), objective.phases()
    optimizers = {role: torch.optim.Adam(network.parameters(), lr=1e-4) for role, network in by_role.items()}
    for _ in range(steps):
        for phase in phases:
            batch = toy_batch(4, spec, device)
            networks.zero_grad(set_to_none=True)
            if phase.shares_fakes:  # with their graph, as in a training run
                networks.requires_grad_(True)
                batch = replace(batch, fake=objective.fakes(by_role, batch))
            for role, network in by_role.items():
                network.requires_grad_(role in phase.trains)
            losses = phase.loss(by_role, batch)
            losses["loss"].backward()  # type: ignore[no-untyped-call]
            yield phase, losses
            for role in phase.trains:
                optimizers[role].step()
            if phase.after is not None:
                with torch.no_grad():
                    phase.after(by_role)


@contextmanager
def fake_device(entry: Entry[Any]) -> Iterator[torch.device]:
    """Run a block on tensors without values, on a device that stands in for a GPU.

    Code fails there if it reads a value or branches on one, combines a tensor on the CPU with one on the device, or
    copies from one to the other. Modules are built before, on the CPU, where a constructor may read values, and moved
    to the device by ``on_device``.

    Yields:
        The device.

    Raises:
        CheckFailed: The block raised an exception.
    """
    original = torch.autocast.__init__

    def autocast(self: torch.autocast, device_type: str, *args: Any, **options: Any) -> None:
        """Plugins turn autocast off for the device of their tensors; torch has none for ``meta``."""
        original(self, "cpu" if device_type == DEVICE.type else device_type, *args, **options)

    # A tensor in a plain attribute stays on the CPU; mixed with those on the device, it is refused as on a GPU.
    fake, copies = FakeTensorMode(allow_non_fake_inputs=True), _NoCopies()  # type: ignore[no-untyped-call]
    doing = "on a device without values to read, such as a GPU that captures a graph"
    try:
        with (
            patch.object(torch.autocast, "__init__", autocast),
            patch.object(logging.getLogger(torch._subclasses.fake_tensor.__name__), "disabled", True),
            plugin_code(entry, doing, ON_DEVICE),
            _known_operators(),
            fake,
            copies,
        ):
            yield DEVICE
    except CheckFailed as error:
        cause = error.__cause__
        if isinstance(cause, MISTAKES) and DEVICE.type not in str(cause):
            raise CheckFailed(error.sentence, "The device is not to blame: it fails anywhere.") from cause
        raise


@contextmanager
def _known_operators() -> Iterator[None]:
    """End a block at an operator that this torch cannot run without values: that does not mean the code is wrong."""
    try:
        yield
    except NotImplementedError as error:
        if "no fake impl or Meta kernel" not in str(error):
            raise


class _NoCopies(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses copies between the CPU and the device: on a GPU each waits, and none can be captured."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.overloadpacket in WAITING:
            raise RuntimeError(f"{function.overloadpacket.__name__} waits for the device")
        if function.overloadpacket in PUT:
            masks = [leaf for leaf in tree_leaves(args[1]) if isinstance(leaf, Tensor) and leaf.dtype == torch.bool]
            if masks and not (len(masks) == 1 and args[2].numel() == 1):  # which would be masked_fill
                raise RuntimeError("a boolean mask chooses where to write, so shapes depend on values")
        result = function(*args, **(kwargs or {}))
        # Up to torch 2.14, torch.tensor(number, device=...) is seen only where its result is used, which is not fake.
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor) and leaf.device == DEVICE and not isinstance(leaf, FakeTensor):
                raise RuntimeError("a number is copied from the CPU to the device")
        if function.overloadpacket in COPIES:
            places = {leaf.device.type for leaf in tree_leaves((args, result)) if isinstance(leaf, Tensor)}
            # Since torch 2.15, torch.tensor(number, device=...) does not copy, but lifts a tensor copied before.
            lifted = function.overloadpacket is torch.ops.aten.lift_fresh and places != {"cpu"}
            if len(places) > 1 or lifted:
                raise RuntimeError("a tensor is copied between the CPU and the device")
        return result


def on_device(module: nn.Module, device: torch.device) -> None:
    """Put a module's parameters and buffers on a device, without values. Tensors kept elsewhere stay on the CPU."""
    placed: dict[int, Any] = {}  # tensors that modules share stay shared
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, old in tensors.items():
                if old is not None and id(old) not in placed:
                    new = torch.empty_strided(old.shape, old.stride(), dtype=old.dtype, device=device)
                    is_parameter = isinstance(old, nn.Parameter)
                    placed[id(old)] = placed[id(new)] = nn.Parameter(new, old.requires_grad) if is_parameter else new
                if old is not None:
                    setattr(part, name, placed[id(old)])  # recurrent layers update their list of weights on this


def hidden_state(module: nn.Module) -> dict[str, Any]:
    """Plain attributes that no checkpoint saves: tensors, numbers, and collections, by dotted attribute."""
    state: dict[str, Any] = {}
    for prefix, part in module.named_modules():
        for name, value in vars(part).items():
            if (name.startswith("_") and name in nn.Module().__dict__) or name == "training":
                continue
            if isinstance(value, (Tensor, bool, int, float, list, dict, tuple)):
                state[f"{prefix}.{name}".lstrip(".")] = value
    return state


def hidden_words(module: nn.Module) -> dict[str, str]:
    """``hidden_state`` as text, to find out later whether training changed it.

    Not as copies: copies of objects that print their address would always differ, and a graph cannot be copied.
    Collections of modules are left out, since a module may print its buffers.
    """
    return {
        name: repr(value)
        for name, value in hidden_state(module).items()
        if not any(isinstance(part, nn.Module) for part in _parts(value))
    }


def require_no_hidden_state(entry: Entry[Any], before: Mapping[str, str], module: nn.Module) -> None:
    """Fail if a module keeps a tensor outside its buffers, or if training changed one of its plain attributes.

    Args:
        entry: The entry that the module belongs to.
        before: ``hidden_words`` before training.
        module: The same module after a few steps.

    Raises:
        CheckFailed: The module has state that a checkpoint loses.
    """
    saved = {id(parameter) for parameter in module.parameters()}  # recurrent layers list theirs in an attribute
    for name, value in hidden_state(module).items():
        require(
            all(id(part) in saved for part in _parts(value) if isinstance(part, Tensor)),
            f"{described(entry)} keeps a tensor in the plain attribute '{name}'; checkpoints do not save it, and .to() "
            "does not move it.",
            AS_BUFFER,
        )
        require(
            before.get(name) in (None, repr(value)),
            f"{described(entry)} changes its plain attribute '{name}' during training, and checkpoints do not save it.",
            AS_BUFFER,
        )


def _parts(value: Any) -> Iterator[Any]:
    """The items of nested collections, keys included; only the value itself if it is not a collection."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _parts(item)
    else:
        yield value
