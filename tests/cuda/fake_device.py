"""A GPU without a card, in any build of torch: tensors on ``cuda:0`` have a shape, a type and a device, and no values.

``python tests/cuda/fake_device.py [PATTERN...] [--swap | --captured] [--plant FAULT...]`` builds the real Trainer of
each recipe there, in each precision and with each engine, takes steps, saves, restores, and prints a JSON object: the
CPU seconds it took, and for each recipe, and for each fault that was planted in one, what went wrong; it exits with 1
if anything did. It finds: a tensor left
on the CPU, a value read by the host, a copy between host and device within a step, types that clash under CUDA's own
autocast lists, and state that a step changes and no checkpoint holds.

torch's FakeTensorMode has all this, but a build for CPUs alone has no device guard for CUDA, and its autograd engine
asks for an accelerator. ``install`` provides both for as long as the process lives, so this runs in its own process.
"""

from __future__ import annotations

import argparse
import atexit
import ctypes
import fnmatch
import json
import sys
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import ganzoo
import ganzoo_plugins
from ganzoo.training.trainer import build_engine as real_engine

DEVICE = torch.device("cuda:0")
CPU = torch.device("cpu")
ROWS, BATCH = 2048, 16
"""Of the dataset: no epoch ends within the steps, for the next one's order is copied to the device, as it should be."""
WAYS, SWAPPED = (("fp32", "eager"), ("bf16", "cudagraph")), (("bf16", "eager"), ("fp32", "cudagraph"))
"""Precision and engine; ``--swap`` takes the other two, and ``--captured`` the second alone."""
PLANTED = "baseline-mlp-mnist"
"""Where faults are planted: a schedule would write, too, to what no checkpoint holds."""
Job = tuple[str, str, str | None, tuple[tuple[str, str], ...]]
"""A name for what is found, a recipe, a fault or none, and precisions with engines."""
NO_SYMBOLS = 3
"""The exit code where this build of torch has not what ``install`` needs."""
MACHINERY = ("engines.py",)
"""Writes to a graph's inputs, and undoes a try-out."""
GUARDS, GUARD_TYPES = "_ZN3c104impl26device_guard_impl_registryE", {"cuda": 1, "lazy": 17}
HOOKS, IS_BUILT, HAS_CONTEXT = "_ZN2at6detail12getCUDAHooksEv", 2, 4
"""Slots of torch's AcceleratorHooksInterface, behind its two destructors."""
_KEPT: list[Any] = []


def install() -> None:
    """Make this build believe in one GPU. Before the first backward pass: autograd counts devices once.

    Raises:
        AttributeError: This build of torch has other symbols.
        RuntimeError: It still does not believe.
    """
    if torch.backends.cuda.is_built():
        return  # FakeTensorMode brings the guard itself, and the engine knows CUDA
    library = Path(torch.__file__).parent / "lib"
    ending = ".dylib" if sys.platform == "darwin" else ".so"
    guards = (ctypes.c_void_p * 20).in_dll(ctypes.CDLL(str(library / f"libc10{ending}")), GUARDS)
    # torch sets the guard of CUDA, to one that does nothing, where there is one that counts no devices. The lazy
    # backend's is such a one.
    guards[GUARD_TYPES["cuda"]] = guards[GUARD_TYPES["lazy"]]
    torch._C._ensureCUDADeviceGuardSet()
    # The hooks say what an accelerator is: a copy of their table of functions, in which two answer yes.
    find = getattr(ctypes.CDLL(str(library / f"libtorch_cpu{ending}")), HOOKS)
    find.restype = ctypes.c_void_p
    table = ctypes.c_void_p.from_address(find())
    assert table.value is not None
    copy = (ctypes.c_void_p * 128)()
    ctypes.memmove(copy, table.value - 2 * ctypes.sizeof(ctypes.c_void_p), ctypes.sizeof(copy))
    yes = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)(lambda hooks: True)
    for slot in (IS_BUILT, HAS_CONTEXT):
        copy[2 + slot] = ctypes.cast(yes, ctypes.c_void_p)
    atexit.register(setattr, table, "value", table.value)  # the answers go before those who ask
    table.value = ctypes.addressof(copy) + 2 * ctypes.sizeof(ctypes.c_void_p)
    _KEPT.extend([copy, yes])
    if str(torch.accelerator.current_accelerator(False)) != "cuda":
        raise RuntimeError("torch does not take CUDA for its accelerator")


@contextmanager
def pretending(captured: bool) -> Iterator[None]:
    """FakeTensorMode, and what else the trainer asks a GPU for: generators, memory, autocast's consent."""
    import torch.cuda.amp.common

    from ganzoo import reproducibility
    from ganzoo.reproducibility import seeded_state, stream
    from ganzoo.training import engines, optim, trainer

    stand_ins: list[tuple[Any, str, Any]] = [
        (trainer, "stream", lambda seed, purpose, device: stream(seed, purpose, CPU)),
        (trainer, "build_engine", build_engine),
        # One mode is enough; the engine's own would not take tensors of this one.
        (engines, "FakeTensorMode", lambda **options: nullcontext()),
        (engines, "WARM_UP", 1),
        (torch.cuda, "mem_get_info", lambda device=None: (2**35, 2**36)),
        (reproducibility, "seeded_state", lambda seed, device: seeded_state(seed, CPU)),
        (torch.cuda, "get_rng_state", lambda device="cuda": torch.zeros(16, dtype=torch.uint8)),
        (torch.cuda, "set_rng_state", lambda state, device="cuda": None),
        (torch.cuda, "is_bf16_supported", lambda including_emulation=True: True),
        (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
        (Tensor, "pin_memory", lambda self: self),
        (Tensor, "__deepcopy__", deepcopy),
        # Fifteen rounds where a network is built, which are as good as one without values.
        (
            _SpectralNorm,
            "_power_method",
            lambda self, weight, rounds, once=_SpectralNorm._power_method: once(self, weight, 1),
        ),
        # Module.to swaps fake parameters, and refuses where FakeTensorMode itself keeps weak references to them.
        (weakref, "getweakrefs", lambda tensor: []),
    ]
    if captured:  # a fused step with a learning rate on the device has no form without values
        stand_ins.append((optim, "FUSED", ()))
    with ExitStack() as stack:
        for owner, name, stand_in in stand_ins:
            stack.enter_context(mock.patch.object(owner, name, stand_in))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        yield


def deepcopy(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """torch's own copies of fake tensors lose sight of their memory."""
    if id(tensor) not in memo:
        copy = torch.empty_like(tensor.detach())
        is_parameter = isinstance(tensor, torch.nn.Parameter)
        memo[id(tensor)] = torch.nn.Parameter(copy, tensor.requires_grad) if is_parameter else copy
    return memo[id(tensor)]


def build_engine(
    name: str, device: torch.device, latents: torch.Generator, log: Callable[[str], None], processes: int = 1
) -> Any:
    """The real engines; ``cudagraph`` with a recorder for tensors without values."""
    from ganzoo.training.engines import CaptureEngine

    if name != "cudagraph":
        return real_engine(name, device, latents, log, processes)
    return CaptureEngine(Recorder(), device, latents, log)


class Recorder:
    """Takes a capture's work once, and refuses what a graph cannot hold; there is nothing to be replayed."""

    def warm_up(self, work: Callable[[], None]) -> None:
        work()

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        work()
        return lambda: None


class Watch(TorchDispatchMode):
    """Notes copies between host and device, and tensors that were there before and are written to."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self._state = state  # kept, so that no other tensor gets its memory
        self.copies: list[str] = []
        self.written: dict[int, tuple[Any, str]] = {}
        self._known = {place(tensor) for tensor in state.values()}
        self._made: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:  # asked thousands of times in a step
            return args[0].fake_device
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name in ("_to_copy", "copy_"):
            places = {tensor.device.type for tensor in tensors((args, result))}
            if len(places) > 1:
                self.copies.append(f"{name} between {' and '.join(sorted(places))} in {line()}")
        if func._schema.is_mutable:
            for index, argument in enumerate(func._schema.arguments):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    for tensor in tensors(args[index] if index < len(args) else kwargs.get(argument.name)):
                        key = place(tensor)
                        if key not in self._made and key not in self.written:
                            self.written[key] = tensor, f"{tuple(tensor.shape)} in {line()}"
        elif not func.is_view:
            for tensor in tensors(result):
                if (key := place(tensor)) not in self._known:
                    self._made[key] = tensor.untyped_storage()  # kept, so that no other gets its number
        return result


def tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def line() -> str:
    """The innermost line of ganzoo, of a plugin, or of a fault that was planted here."""
    packages = [Path(str(package.__file__)).parent for package in (ganzoo, ganzoo_plugins)]
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        own = path == Path(__file__) and not frame.f_code.co_name.startswith(("__torch", "line", "tensors"))
        if own or any(path.is_relative_to(package) for package in packages):
            return f"{path.name}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


def fault(name: str | None, loss: Any) -> Any:
    """A loss with a fault, one of those that this device is there to find."""
    from ganzoo import AdversarialLoss

    class Faulty(AdversarialLoss):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("kept", torch.zeros(()), persistent=False)

        def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
            if name == "cpu-tensor":
                real = real * torch.ones(len(real))
            elif name == "host-read":
                real = real * real.mean().item()
            elif name == "copy":
                real = real * torch.tensor([2.0], device=real.device)
            elif name == "lost-state":
                self.kept.lerp_(real.detach().mean(), 0.1)
                real = real - self.kept
            return loss.discriminator(real, fake)

        def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
            return loss.generator(real, fake)

    return loss if name is None else Faulty().to(DEVICE)


def problems(recipe: Any, zoo: Any, dataset: Any, plant: str | None) -> list[str]:
    """What goes wrong in a recipe's training on the device."""
    from ganzoo.training.trainer import Trainer
    from ganzoo_checks.checking import hidden_state

    told: list[str] = []
    # Statistics of averaged weights are the same operations over and over.
    few = mock.patch("ganzoo.training.trainer.MEASURED_BATCHES", 1)
    with few, pretending(recipe.train.engine == "cudagraph"):
        trainer = Trainer(recipe, zoo, dataset=dataset, device=DEVICE, log=told.append)
        if plant is not None:
            trainer.objective.loss = fault(plant, trainer.objective.loss)
        lazy = any(step.phase.every_steps > 1 for group in trainer.step_groups for step in group.phases)
        captured = recipe.train.engine == "cudagraph"
        if captured:  # eagerly, so that what a step changes is there before the one that is watched
            trainer.step()
        watch = Watch(trainer.checkpoint()[0])
        with watch:
            for _ in range(2 if lazy and captured else 1):
                trainer.step()
        saved, state = trainer.checkpoint()
        held = {place(tensor) for tensor in saved.values()}
        # Set anew from the images shown, or counted since the last log point.
        groups = [group for optimizer in trainer.optimizers.values() for group in optimizer.inner.param_groups]
        passing = [*trainer.meters._sums.values(), *trainer.gradients._sums.values()]
        passing += tensors([(group["lr"], group.get("betas")) for group in groups])
        passing += trainer.objective.buffers() if trainer.schedules else []
        passing += [] if trainer.ema is None else trainer.ema.networks.buffers()
        held |= {place(tensor) for tensor in passing}
        found = [f"a step makes a copy: {copy}" for copy in dict.fromkeys(watch.copies)]
        found += [
            f"no checkpoint holds what a step changes: {where}"
            for key, (_, where) in watch.written.items()
            if key not in held and not where.partition(" in ")[2].startswith(MACHINERY)
        ]
        for part, module in (("objective", trainer.objective), ("networks", trainer.networks)):
            hidden = [name for name, value in hidden_state(module).items() if isinstance(value, Tensor)]
            found += [f"no checkpoint holds {part}.{name}" for name in hidden]
        for name, tensor in saved.items():
            # Streams and orders are the host's, and so are the step counters of optimizers that have no fused form.
            if tensor.device != DEVICE and not name.startswith(("random", "latents", "sampler.")):
                found += [] if name.endswith(".step") else [f"{name} is on {tensor.device}"]
        if recipe.train.engine == "cudagraph" and trainer.engine.name != "cudagraph":
            found += [f"not captured: {trainer.engine.name}", *told]
        # The order is the host's, which has no values either here.
        with mock.patch.object(trainer.sampler, "load_state_dict"):
            trainer.restore(saved, state)
    return found


def lazily_twice(name: str, zoo: Any) -> list[str]:
    """Overrides with which every phase runs from the first step to the last, and rare ones in every second step."""
    from ganzoo.api.adversarial import AdversarialGame
    from ganzoo.build import build_objective
    from ganzoo.config.loading import load_recipe

    recipe = load_recipe(name, zoo)
    lazy = [n for n, one in enumerate(recipe.regularizers) if one.options.get("every_steps", 1) > 1]
    changes = [f"regularizers.{n}.every_steps=2" for n in lazy]
    objective = build_objective(recipe, zoo)
    for phase in () if isinstance(objective, AdversarialGame) else objective.phases():
        if phase.every_steps > 1:
            changes.append(f"phases.{phase.name}.every_steps=2")
        if (phase.begin, phase.end) != (0, 1):
            changes += [f"phases.{phase.name}.begin=0", f"phases.{phase.name}.end=1"]
    return changes


def first_rows(recipe: Any, zoo: Any, known: dict[str, Any]) -> Any:
    """The first rows of a recipe's dataset; digits, with outlines as sources, if they are the user's own pictures."""
    key = repr(recipe.dataset)
    if key not in known:
        own = recipe.dataset.options.get("path") == ""
        name, options = ("edges-to-digits", {}) if own else (recipe.dataset.name, recipe.dataset.options)
        whole = zoo.datasets.get(name).create("train", None, **options)
        known[key] = whole.rows(torch.arange(min(ROWS, len(whole))))
    return known[key]


def examine(zoo: Any, jobs: list[Job], problems: Callable[[Any, Any, str | None], list[str]]) -> None:
    """Print what goes wrong in each recipe, with or without a fault, in each precision with its engine, and exit."""
    from ganzoo.config.loading import load_recipe

    known: dict[str, Any] = {}
    found: dict[str, dict[str, list[str]]] = {}
    for key, name, plant, ways in jobs:
        found[key] = {}
        for precision, engine in ways:
            way = [f"train.precision={precision}", f"train.engine={engine}", f"train.batch_size={BATCH}"]
            recipe = load_recipe(name, zoo, [*way, *lazily_twice(name, zoo)])
            try:
                wrong = problems(recipe, first_rows(recipe, zoo, known), plant)
            except Exception as error:
                frames = traceback.extract_tb(error.__traceback__)
                where = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "ganzoo" in f.filename][-2:]
                wrong = [f"{type(error).__name__}: {' '.join(str(error).split())[:300]} ({', '.join(where)})"]
            found[key][f"{precision} {engine}"] = wrong
    print(json.dumps({"seconds": round(time.process_time(), 1), "recipes": found}))
    sys.exit(int(any(wrong for ways in found.values() for wrong in ways.values())))


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("patterns", nargs="*", default=["*"])
    parser.add_argument("--swap", action="store_true")
    parser.add_argument("--captured", action="store_true")
    parser.add_argument("--plant", nargs="*", default=[])
    given = parser.parse_args()
    try:
        install()
        real = torch.zeros(1)
        with FakeTensorMode(allow_non_fake_inputs=True):  # a build for CUDA may ask for a driver even so
            real.to(DEVICE).requires_grad_().sum().backward()
    except (AttributeError, OSError, RuntimeError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(NO_SYMBOLS) from None
    from ganzoo.registry.loading import load_zoo

    torch.set_num_threads(1)
    zoo = load_zoo()
    ways = SWAPPED if given.swap else WAYS[1:] if given.captured else WAYS
    names = [e.name for e in zoo.recipes if any(fnmatch.fnmatch(e.name, pattern) for pattern in given.patterns)]
    jobs = [(name, name, None, ways) for name in names] + [(fault, PLANTED, fault, WAYS) for fault in given.plant]
    examine(zoo, jobs, lambda recipe, dataset, plant: problems(recipe, zoo, dataset, plant))


if __name__ == "__main__":
    main()
