"""A CUDA graph's behaviour on a CPU: operators are recorded once, then replayed on the same memory and random numbers.

Whatever Python decided while the tape was recorded is fixed from then on. Each replay reads tensors again, random
numbers continue, and Python cannot read a value. The tape therefore shows whether training can be captured.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ganzoo import Dataset
from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import Zoo
from ganzoo.training import trainer as training
from ganzoo.training.engines import CAPTURING, CaptureEngine, CompileEngine
from ganzoo.training.trainer import Trainer, build_engine

SMALL = ("networks.generator.hidden=[32]", "networks.discriminator.hidden=[16]", "train.batch_size=16")
WAITS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "unique")
Call = tuple[Any, tuple[Any, ...], dict[str, Any], Any]


class Tape:
    """Captures work on the CPU.

    Args:
        generator: Source of the random numbers that the work draws, in addition to torch's own.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.captured = 0
        self.aside_calls = 0
        self.replays = 0

    def warm_up(self, work: Callable[[], None]) -> None:
        self.aside_calls += 1
        work()

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        random, own = torch.get_rng_state(), self.generator.get_state()
        note = _Note()
        try:
            with note:
                work()
        finally:
            note.undo()
            torch.set_rng_state(random)
            self.generator.set_state(own)
        self.captured += 1

        def replay() -> None:
            self.replays += 1
            with torch.no_grad():
                for call in note.calls:
                    _again(call)

        return replay


class _Note(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._made: set[int] = set()
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITS:
            raise RuntimeError(f"{name}: operation not permitted when stream is capturing")
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):
            place = _place(tensor)
            if place not in self._made and place not in self._before:
                self._before[place] = tensor, tensor.detach().clone()
        out = func(*args, **kwargs)
        self._made |= {_place(tensor) for tensor in _tensors(out)} - self._before.keys()
        self.calls.append((func, args, kwargs, out))
        return out

    def undo(self) -> None:
        """A capture has no effect: all earlier state is restored."""
        with torch.no_grad():
            for tensor, value in self._before.values():
                tensor.copy_(value)


def _again(call: Call) -> None:
    func, args, kwargs, out = call
    found = func(*args, **kwargs)
    given = {_place(tensor) for tensor in _tensors((args, kwargs))}
    for then, now in zip(_tensors(out), _tensors(found), strict=True):
        if _place(then) not in given:  # not in place, and not a view
            then.copy_(now)


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@pytest.fixture
def make_tape() -> type[Tape]:
    """Makes a tape that captures on CPUs, given the generator of latent codes."""
    return Tape


@pytest.fixture
def capture_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[torch.Generator], Any]], None]:
    """Lets engines capture with what a function makes of the generator of latent codes, instead of on a GPU."""

    def capture_with(recorder: Callable[[torch.Generator], Any]) -> None:
        def choose(name: str, device: Any, latents: Any, log: Any, processes: Any) -> Any:
            if name not in CAPTURING:
                return build_engine(name, device, latents, log, processes)
            inner = CompileEngine(device, log) if name.startswith("compile") else None
            return CaptureEngine(recorder(latents), device, latents, log, inner)

        monkeypatch.setattr(training, "build_engine", choose)

    return capture_with


@pytest.fixture
def tapes(capture_with: Any) -> list[Tape]:
    """The tapes on which engines capture."""
    made: list[Tape] = []

    def recorder(latents: torch.Generator) -> Tape:
        made.append(Tape(latents))
        return made[-1]

    capture_with(recorder)
    return made


@pytest.fixture
def few(mnist: Dataset) -> Dataset:
    """64 training images."""
    return mnist.rows(torch.arange(64))


@pytest.fixture
def told() -> list[str]:
    """What trainers log."""
    return []


@pytest.fixture
def trainer(zoo: Zoo, mnist: Dataset, told: list[str]) -> Callable[..., Trainer]:
    """Makes a trainer of small networks."""

    def trainer(*overrides: str, recipe: str = "vanilla-mnist", dataset: Dataset = mnist, **facts: Any) -> Trainer:
        settings = load_recipe(recipe, zoo, [*SMALL, *overrides])
        return Trainer(settings, zoo, dataset=dataset, log=told.append, **facts)

    return trainer


def different(one: Trainer, other: Trainer) -> list[str]:
    """The names of the tensors in which their checkpoints differ: weights, averages, optimizers, random states, ..."""
    ours, theirs = one.checkpoint()[0], other.checkpoint()[0]
    assert ours.keys() == theirs.keys()
    return [name for name, value in ours.items() if not torch.equal(value, theirs[name])]


@pytest.fixture(name="different")
def _different() -> Callable[[Trainer, Trainer], list[str]]:
    return different


@pytest.fixture
def compiler() -> None:
    """Skip where torch's compiler fails: it does not quote its own folder's name for the linker."""
    if " " in torch.__file__:
        pytest.skip("torch is below a folder with a space in its name, from where its compiler cannot link")
