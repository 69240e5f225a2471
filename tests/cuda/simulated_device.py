"""A CUDA device with values and without a card, for a build of torch that has none.

``python tests/cuda/simulated_device.py LIBRARY zoo [PATTERN] [--swap] [--plant FAULT]`` trains recipes on it with the
real Trainer, in each precision and with each engine, counts what the host waits for and what it copies in a step,
restores, and compares bits; it prints a JSON object like ``fake_device.py``. ``LIBRARY ganzoo WORDS...`` is the command
line there. The library is ``simulated_device.cpp``, built by ``build``; it has to come before torch. ``build FOLDER``
builds it and prints where it is.

Graphs are captured on the tape of ``tests/training/conftest.py``, by the class that captures them on a card.
"""

from __future__ import annotations

import argparse
import ctypes
import fnmatch
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

HERE = Path(__file__).parent
FLAGS = ("-std=c++20", "-O0", "-shared", "-fPIC")
STEPS = 3
FREE, BREAK = "SIMULATED_FREE_BYTES", "SIMULATED_CAPTURES_BREAK"
"""Environment variables: the device's free memory; where it is set, no capture ends well."""


def build(folder: Path) -> Path:
    """Compile the device for the torch of this Python; some ten seconds.

    Raises:
        CalledProcessError: g++ refuses; its output says why.
    """
    import torch

    root, library = Path(torch.__file__).parent, folder / "simulated_device.so"
    includes = (f"-I{root}/include", f"-I{root}/include/torch/csrc/api/include")
    links = (f"-L{root}/lib", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{root}/lib")
    source = str(HERE / "simulated_device.cpp")
    subprocess.run(["g++", *FLAGS, source, "-o", str(library), *includes, *links], check=True, capture_output=True)
    return library


def install(library: str) -> Any:
    """Load the device, then torch, then what torch's Python asks a card for."""
    device = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    for count in (device.count_waits, device.count_uploads):
        count.restype = ctypes.c_longlong
    import torch
    import torch.cuda.amp.common

    device.install()
    sys.path.insert(0, str(HERE.parent / "training"))
    generator = torch.Generator("cuda:0")
    replaced = {
        torch.cuda: {
            "_lazy_init": lambda: None,
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "is_bf16_supported": lambda including_emulation=True: True,
            "device_count": lambda: 1,
            "current_device": lambda: 0,
            "set_device": lambda device: None,
            "synchronize": lambda device=None: None,
            "empty_cache": lambda: None,
            "get_device_name": lambda device=None: "a simulated GPU",
            "mem_get_info": lambda device=None: (int(os.environ.get(FREE, 2**35)), 2**36),
            "default_generators": (generator,),
            "get_rng_state": lambda device="cuda": generator.get_state(),
            "set_rng_state": lambda state, device="cuda": generator.set_state(state),
            "manual_seed": lambda seed: generator.manual_seed(seed),
            "manual_seed_all": lambda seed: generator.manual_seed(seed),
            "device": lambda device: nullcontext(),
            "Event": Event,
            "Stream": Stream,
            "stream": Current,
            "current_stream": lambda device=None: Current.stream,
            "set_stream": lambda stream: setattr(Current, "stream", stream),
            "CUDAGraph": Graph,
            "graph": Capturing,
        },
        torch.cuda.random: {"manual_seed_all": lambda seed: generator.manual_seed(seed)},
        torch.cuda.amp.common: {"amp_definitely_not_available": lambda: False},
        torch.Tensor: {"__deepcopy__": deepcopy(torch.Tensor.__deepcopy__)},
    }
    for owner, names in replaced.items():
        for name, stand_in in names.items():
            setattr(owner, name, stand_in)
    Graph.default_generator = generator
    return device


def deepcopy(original: Any) -> Any:
    """A copy of a tensor: torch's own makes a storage of the kind of its device, which this build has no class for."""

    def copied(self: Any, memo: dict[int, Any]) -> Any:
        if self.device.type != "cuda":
            return original(self, memo)
        if id(self) not in memo:
            copy = self.detach().clone()
            parameter = type(self)(copy, self.requires_grad) if type(self).__name__ == "Parameter" else copy
            memo[id(self)] = parameter
        return memo[id(self)]

    return copied


class Event:
    """Nothing is ever late."""

    def record(self, stream: Any = None) -> None: ...
    def synchronize(self) -> None: ...


class Stream:
    def __init__(self, device: Any = None) -> None: ...
    def wait_stream(self, other: Any) -> None: ...


class Current:
    """``torch.cuda.stream``: which stream is the current one."""

    default = stream = Stream()

    def __init__(self, stream: Stream) -> None:
        self.to = stream

    def __enter__(self) -> None:
        self.before, Current.stream = Current.stream, self.to

    def __exit__(self, *raised: Any) -> None:
        Current.stream = self.before


class Graph:
    """``torch.cuda.CUDAGraph``: a tape's calls, and the generators whose numbers they draw."""

    default_generator: ClassVar[Any] = None
    pools: ClassVar[list[Any]] = []

    def __init__(self) -> None:
        self.generators = [self.default_generator]
        self.calls: list[Any] = []

    def register_generator_state(self, generator: Any) -> None:
        self.generators.append(generator)

    def replay(self) -> None:
        import torch

        from conftest import _again

        with torch.no_grad():
            for call in self.calls:
                _again(call)


class Capturing:
    """``torch.cuda.graph``. A capture that breaks off raises again on its way out, and leaves its stream current."""

    def __init__(self, graph: Graph, pool: Any = None, stream: Any = None) -> None:
        self.graph, self.stream = graph, stream
        Graph.pools.append(pool)

    def __enter__(self) -> None:
        import torch

        from conftest import _Note

        self.before, Current.stream = Current.stream, self.stream
        self.states = torch.get_rng_state(), [generator.get_state() for generator in self.graph.generators]
        self.note = _Note()
        self.note.__enter__()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        import torch

        self.note.__exit__(kind, error, trace)
        if error is not None or BREAK in os.environ:
            raise RuntimeError("capture_end() called on an invalidated capture")
        self.note.undo()
        torch.set_rng_state(self.states[0])
        for generator, state in zip(self.graph.generators, self.states[1], strict=True):
            generator.set_state(state)
        self.graph.calls = self.note.calls
        Current.stream = self.before


def problems(device: Any, recipe: Any, zoo: Any, dataset: Any, plant: str | None) -> list[str]:
    """What goes wrong in a recipe's training on the device."""
    import torch
    from fake_device import fault

    from ganzoo.training.trainer import Trainer

    told: list[str] = []
    trainer = Trainer(recipe, zoo, dataset=dataset, log=told.append)
    if plant is not None:
        trainer.objective.loss = fault(plant, trainer.objective.loss)
    captured = recipe.train.engine == "cudagraph"
    for _ in range(4 if captured else 1):
        trainer.step()
    waits, uploads = device.count_waits(), device.count_uploads()
    for _ in range(STEPS):
        trainer.step()
    found = []
    for what, now, before in (
        ("waits for the device", device.count_waits(), waits),
        ("copies to it", device.count_uploads(), uploads),
    ):
        if now != before:
            found.append(f"a step {what}: {now - before} times in {STEPS} steps")
    found += [f"{name} is {value}" for name, value in trainer.flush().items() if not abs(value) < 1e30]
    if captured and trainer.engine.name != "cudagraph":
        found += [f"not captured: {trainer.engine.name}", *told]
    if any(pool is not None for pool in Graph.pools) or trainer.sampler.streamed:
        found.append("graphs share memory, or the dataset is streamed")
    saved, state = trainer.checkpoint()
    saved = {name: value.clone() for name, value in saved.items()}
    runs = []
    for again in (False, True):
        if again:
            trainer.restore(saved, state)
        for _ in range(STEPS):
            trainer.step()
        runs.append({name: value.cpu().clone() for name, value in trainer.checkpoint()[0].items()})
    differ = [name for name, value in runs[0].items() if not torch.equal(value, runs[1][name])]
    return [*found, *([f"other bits after a restore: {', '.join(differ[:4])}"] if differ else [])]


def zoo(device: Any, words: list[str]) -> None:
    """Trains recipes, and prints what went wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--swap", action="store_true")
    parser.add_argument("--plant")
    given = parser.parse_args(words)
    import torch

    sys.path.insert(0, str(HERE))
    from fake_device import SWAPPED, WAYS, examine

    from ganzoo.registry.loading import load_zoo

    torch.set_num_threads(1)
    registered, ways = load_zoo(), SWAPPED if given.swap else WAYS
    names = [entry.name for entry in registered.recipes if fnmatch.fnmatch(entry.name, given.pattern)]
    if (
        given.pattern == "*"
    ):  # recipes for GPUs are too large for a CPU's kernels; the device without values trains them
        names = [name for name in names if not name.endswith("-gpu")]
    jobs = [(name, name, given.plant, ways) for name in names]
    examine(registered, jobs, lambda recipe, dataset, plant: problems(device, recipe, registered, dataset, plant))


def main() -> None:
    """See the module's docstring."""
    library, task, *words = sys.argv[1:]
    if library == "build":
        print(build(Path(task)))
        return
    device = install(library)
    if task == "zoo":
        zoo(device, words)
        return
    sys.argv = ["ganzoo", *words]
    from ganzoo.cli import main as command

    try:
        command()
    finally:
        print(f"current stream: {'default' if Current.stream is Current.default else 'capturing'}", file=sys.stderr)


if __name__ == "__main__":
    main()
