"""What a check is, how it is run, and what checks train: small games, on the CPU or on a device without values.

PYTEST_DONT_REWRITE: assertions carry whole messages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ganzoo import AdversarialGame, Batch, GanzooError, GaussianPrior, Networks, Objective, Phase, Spec
from ganzoo.errors import foreign_code, plugin_line
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import Entry
from ganzoo.reproducibility import GlobalState, preserved_global_state
from ganzoo.training.step import PhaseStep
from ganzoo_plugins.losses.vanilla import NonSaturating
from ganzoo_plugins.networks import mlp

CPU = torch.device("cpu")
SPEC = Spec((1, 28, 28), GaussianPrior(dim=8), classes=3)
DEVICE = torch.device("meta")
"""The stand-in for a GPU: it is not the CPU, and every build of torch has it."""
COPIES = (torch.ops.aten._to_copy, torch.ops.aten.copy_, torch.ops.aten.lift_fresh)
PUT = (torch.ops.aten.index_put, torch.ops.aten.index_put_, torch.ops.aten._index_put_impl_)
WAITING = (torch.ops.aten._linalg_svd, torch.ops.aten._linalg_eigh, torch.ops.aten.linalg_eig)
"""Decompositions that make the host wait, on a GPU, to see whether they converged."""
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., None])
Function = Callable[[Any, Zoo], None]
CHECKS: list[tuple[str, tuple[str, ...], Function]] = []
"""Each check's name, the kinds it applies to, and its function."""


def check(name: str, *kinds: str) -> Callable[[F], F]:
    """Make a function of an entry and all loaded plugins a check of these kinds.

    Its assertions say ``"predicate."``, whose subject is the entry, and on a second line what to do. Its docstring says
    what to do where they do not, such as for exceptions in the plugin's code.
    """

    def add(function: F) -> F:
        CHECKS.append((name, kinds, function))
        return function

    return add


@dataclass(frozen=True)
class Check:
    """One check of one entry, or of a whole plugin."""

    plugin: str
    thing: str  # ``loss-hinge``, or ``plugin-NAME`` for the whole plugin
    name: str  # as ``ganzoo check --json`` and pytest show it
    function: Function
    subject: Any  # the entry
    zoo: Zoo

    def run(self) -> None:
        """Run it from a fixed seed, and leave the process as it was.

        Raises:
            GanzooError: The check fails.
        """
        kind, _, name = self.thing.partition("-")
        who = f"The {kind} '{name}'"
        fails, advice = f"{who} fails in the check '{self.name}'", self.function.__doc__ or ""
        with preserved_global_state(), torch.random.fork_rng(devices=[]):
            seed(0)
            try:
                with foreign_code(fails, advice, plugin=True):
                    self.function(self.subject, self.zoo)
            except GanzooError as error:
                sentence, remedy, cause = error.sentence, error.remedy, error.__cause__
                if isinstance(cause, AssertionError) and not plugin_line(cause):
                    predicate, _, remedy = str(cause).partition("\n")
                    sentence = f"{who} {predicate}"
                elif f"'{name}'" not in sentence:
                    sentence = f"{fails}: {sentence}"
                raise GanzooError(sentence, remedy or advice) from error


def seed(number: int) -> None:
    """Seed torch's generator without ``torch.manual_seed``: a check watches whether a plugin calls that."""
    torch.default_generator.manual_seed(number)


@contextmanager
def untouched() -> Iterator[None]:
    """Fail if a block, or a function, changes what belongs to the user and affects the whole process."""
    before = GlobalState.now()
    # torch.manual_seed, under whatever name a plugin imported it, uses the generator in torch.random; checks do not.
    with patch.object(torch.random, "default_generator", wraps=torch.default_generator) as watched:
        yield
    changed = [what for what in GlobalState.now().changed_since(before) if "torch's seed" not in what]
    changed += [f"calls torch.manual_seed({call.args[0]})" for call in watched.manual_seed.call_args_list[:1]]
    assert not changed, f"{' and '.join(changed)}.\nLeave settings alone; draw with torch, and never seed it."


def create(entry: Entry[T], *supplied: Any, **options: Any) -> T:
    """What an entry registers, with these options and defaults for the rest."""
    return entry.create(*supplied, **entry.options.check(options))


def assert_scalar(value: Any, what: str) -> None:
    """Assert that a loss is a finite float32 scalar; ``what`` begins the sentence: "gives the generator"."""
    assert isinstance(value, Tensor), f"{what} a loss of type {type(value).__name__}.\nReturn a tensor."
    assert value.shape == (), f"{what} a loss of shape {tuple(value.shape)}.\n{AVERAGE}"
    assert value.dtype == torch.float32, f"{what} a loss of type {value.dtype}.\nLogits are float32; keep the dtype."
    assert value.isfinite(), f"{what} a loss of {value.item():g}.\n{STABLE_FORM}"


AVERAGE = "Average over the batch with .mean(); do not sum."
STABLE_FORM = "Use a numerically stable form, such as softplus or logsigmoid, and average over the batch."


class Alone(Objective):
    """For a single network: the mean of its outputs, each times a random number."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self.role = role

    def phases(self) -> list[Phase]:
        """The only one."""
        return [Phase(self.role, (self.role,), self.loss)]

    def loss(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        """The mean."""
        inputs = batch.z if self.role == "generator" else batch.real
        out = networks[self.role](inputs, *self.condition(batch.label))
        return {"loss": (out.float() * torch.randn_like(out, dtype=torch.float32)).mean()}


class Game(nn.Module):
    """An objective, bound to its networks, and the networks by role."""

    def __init__(self, objective: Objective, networks: dict[str, nn.Module], spec: Spec) -> None:
        super().__init__()
        if not hasattr(objective, "spec"):
            networks = {**networks, **objective.bind(spec, networks)}
        self.objective, self.networks, self.spec = objective, nn.ModuleDict(networks), spec
        self.by_role = networks


def toy_game(loss: Any = None, regularizer: Any = None, augmentation: Any = None) -> Game:
    """A conditional game of two perceptrons, always from the same seed."""
    seed(5)
    networks = {
        "generator": mlp.Generator(SPEC, hidden=(16,)),
        # Without conditioning: some penalties predict its classes.
        "discriminator": mlp.Discriminator(SPEC, hidden=(16,), conditioning="none"),
    }
    regularizers = [] if regularizer is None else [regularizer]
    return Game(AdversarialGame(loss or NonSaturating(), regularizers, augmentation), networks, SPEC)


def toy_batch(n: int = 8, spec: Spec = SPEC, device: torch.device = CPU) -> Batch:
    """Random images, latent codes from the prior, and labels 0, 1, 2, ... in turn."""
    label = torch.arange(n, device=device) % max(1, spec.classes)
    z = spec.prior.sample(n, torch.Generator().manual_seed(0), device)
    shapes = {"image": spec.shape, **dict(spec.columns)}
    columns = {name: torch.rand(n, *shape, device=device) * 2 - 1 for name, shape in shapes.items()}
    return Batch.of({**columns, "label": label}, z)


def take_steps(
    game: Game,
    steps: int = 2,
    device: torch.device = CPU,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Iterator[tuple[Phase, Mapping[str, Tensor]]]:
    """Train for a few steps: each phase sees its own batch, and all roles that it does not train are frozen.

    Yields:
        Each phase and its losses, after the backward pass and before the optimizer step.
    """
    optimizer = torch.optim.Adam(game.networks.parameters(), lr=1e-4)  # leaves alone what has no gradient
    for phase in [*game.objective.phases()] * steps:
        batch = toy_batch(4, game.spec, device)
        optimizer.zero_grad()
        if phase.shares_fakes:  # with their graph, as in a training run
            game.networks.requires_grad_(True)
            with autocast():
                batch = replace(batch, fake=game.objective.fakes(game.by_role, batch))
        step = PhaseStep(phase, game.networks, (), autocast)
        step.begin()
        losses = step.loss(batch)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        yield phase, losses
        optimizer.step()
        step.after()


@contextmanager
def fake_device() -> Iterator[torch.device]:
    """Run a block on tensors without values, on a device that stands in for a GPU.

    Code fails there if it reads a value or branches on one, combines a tensor on the CPU with one on the device, or
    copies from one to the other. Modules are built before, on the CPU, where a constructor may read values, and moved
    by ``to_empty``. The block ends at an operator that this torch cannot run without values: that does not mean that
    the code is wrong.
    """
    original = torch.autocast.__init__

    def autocast(self: torch.autocast, device_type: str, *args: Any, **options: Any) -> None:
        """Plugins turn autocast off for the device of their tensors; torch has none for ``meta``."""
        original(self, "cpu" if device_type == DEVICE.type else device_type, *args, **options)

    try:
        with (
            patch.object(torch.autocast, "__init__", autocast),
            patch.object(logging.getLogger(torch._subclasses.fake_tensor.__name__), "disabled", True),
            # A tensor in a plain attribute stays on the CPU; mixed with those on the device, it is refused as on a GPU.
            FakeTensorMode(allow_non_fake_inputs=True),
            _NoCopies(),  # type: ignore[no-untyped-call]
        ):
            yield DEVICE
    except NotImplementedError as error:
        if "no fake impl or Meta kernel" not in str(error):
            raise


class _NoCopies(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses copies between the CPU and the device: on a GPU each waits, and none can be captured."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operator = function.overloadpacket
        assert operator not in WAITING, f"{operator.__name__} waits for the device"
        if operator in PUT:
            masks = [leaf for leaf in tree_leaves(args[1]) if isinstance(leaf, Tensor) and leaf.dtype == torch.bool]
            # One number to write would be masked_fill.
            assert not masks or (len(masks) == 1 and args[2].numel() == 1), (
                "a boolean mask chooses where to write, so shapes depend on values"
            )
        result = function(*args, **(kwargs or {}))
        # Up to torch 2.14, torch.tensor(number, device=...) is seen only where its result is used, which is not fake.
        for leaf in tree_leaves((args, kwargs)):
            assert not isinstance(leaf, Tensor) or isinstance(leaf, FakeTensor) or leaf.device != DEVICE, (
                "a number is copied from the CPU to the device"
            )
        if operator in COPIES:
            places = {leaf.device.type for leaf in tree_leaves((args, result)) if isinstance(leaf, Tensor)}
            # Since torch 2.15, torch.tensor(number, device=...) does not copy, but lifts a tensor copied before.
            is_copy = len(places) != 1 or (operator is torch.ops.aten.lift_fresh and places != {"cpu"})
            assert not is_copy, "a tensor is copied between the CPU and the device"
        return result


def hidden_state(module: nn.Module) -> dict[str, Any]:
    """Plain attributes that no checkpoint saves: tensors, numbers, and collections, by dotted attribute."""
    own = {*nn.Module().__dict__, "training"}
    return {
        f"{prefix}.{name}".lstrip("."): value
        for prefix, part in module.named_modules()
        for name, value in vars(part).items()
        if name not in own and isinstance(value, (Tensor, bool, int, float, list, dict, tuple))
    }


def hidden_words(module: nn.Module) -> dict[str, str]:
    """``hidden_state`` as text, to find out later whether training changed it.

    Not as copies: copies of objects that print their address would always differ. Without tensors, which
    ``assert_nothing_hidden`` refuses anyway, and modules, since these may print their buffers.
    """
    return {
        name: repr(value)
        for name, value in hidden_state(module).items()
        if not any(isinstance(part, (nn.Module, Tensor)) for part in tree_leaves(value))
    }


def assert_nothing_hidden(module: nn.Module, before: Mapping[str, str]) -> None:
    """Fail if a module keeps a tensor outside its buffers, or if an attribute is no longer as ``hidden_words`` said."""
    saved = set(map(id, module.parameters()))  # recurrent layers list theirs in an attribute
    remedy = "Keep it with self.register_buffer(...) and change it in place, so that checkpoints hold it."
    for name, value in hidden_state(module).items():
        tensors = [part for part in tree_leaves(value) if isinstance(part, Tensor)]
        assert all(id(one) in saved for one in tensors), (
            f"keeps a tensor in the plain attribute '{name}', which checkpoints do not save.\n{remedy}"
        )
        assert before.get(name) in (None, repr(value)), (
            f"changes the plain attribute '{name}', which checkpoints do not save, in training.\n{remedy}"
        )
