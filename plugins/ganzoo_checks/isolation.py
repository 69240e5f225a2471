"""A plugin leaves the process alone, on import and in use: settings, seeds, the network, slow imports.

``python -P -m ganzoo_checks.isolation NAME=MODULE...`` imports plugins in a fresh process and prints what each did,
``{"name": [["sentence", "remedy"], ...], ...}``. It measures no time: an import is slow because it trains,
computes, uses the network or imports a slow library, and each of these can be seen.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import EntryPoint
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ganzoo.errors import GanzooError
from ganzoo.files import child_python
from ganzoo.registry.loading import PluginInfo, Zoo
from ganzoo.registry.registry import NETWORK_KINDS, Entry
from ganzoo.reproducibility import GlobalState
from ganzoo_checks import data_checks, losses, networks, recipes
from ganzoo_checks.entries import CheckFailed, described, plugin_code

SLOW_LIBRARIES = ("torchvision", "torch_fidelity", "matplotlib", "scipy", "sklearn", "pandas", "transformers", "jax")
"""Libraries that are slow to import, so functions should import them rather than modules."""

MAX_OPERATIONS = 1000
"""Tensor operations that an import may spend on constants."""

INSIDE_FUNCTIONS = "Do it inside the functions that need it."
USER_SETTINGS = "These settings belong to the user and affect the whole process; leave them alone."
USER_SEED = "These settings belong to the user and affect the whole process; draw with torch, and never seed it."

EXERCISES: dict[str, Callable[[Entry[Any], Zoo], Any]] = {
    **dict.fromkeys(NETWORK_KINDS, lambda entry, zoo: networks.gradients(entry)),
    **dict.fromkeys(("loss", "regularizer", "augmentation"), lambda entry, zoo: losses.deterministic(entry)),
    "recipe": recipes.gradients,
    "dataset": lambda entry, zoo: data_checks.without_files(entry),
    "extractor": lambda entry, zoo: data_checks.extractor(entry),
    "metric": lambda entry, zoo: data_checks.score(entry),
    "prior": lambda entry, zoo: data_checks.prior(entry),
}
"""By kind, a check that makes an entry do its work once."""

Problems = list[tuple[str, str]]
"""Sentences and remedies."""


def global_state(entry: Entry[Any], zoo: Zoo) -> None:
    """Using an entry leaves the process as it was.

    Raises:
        CheckFailed: It changes a setting, or seeds or advances a random number generator that checkpoints do not save.
    """
    seeds: list[Any] = []
    before = GlobalState.now()
    # The check that failed reports that itself.
    with _recorded_seeds(seeds), suppress(GanzooError), plugin_code(entry, "at work", ""):
        EXERCISES[entry.kind](entry, zoo)
    changed = [what for what in GlobalState.now().changed_since(before) if "torch's seed" not in what]
    if seeds:
        changed.append(f"calls torch.manual_seed({seeds[0]})")
    if changed:
        raise CheckFailed(f"{described(entry)} {' and '.join(changed)}.", USER_SEED)


@contextmanager
def _recorded_seeds(seeds: list[Any]) -> Iterator[None]:
    """Record each seed that is given to ``torch.manual_seed``, under whatever name a plugin imported it.

    All its names refer to one function, which uses the generator in ``torch.random``; the checks themselves use the one
    in ``torch``.
    """

    class Recording:
        def manual_seed(self, seed: int) -> torch.Generator:
            seeds.append(seed)
            return torch.default_generator.manual_seed(seed)

        def __getattr__(self, name: str) -> Any:
            return getattr(torch.default_generator, name)

    with patch.object(torch.random, "default_generator", Recording()):
        yield


def import_problems(plugins: Sequence[PluginInfo]) -> dict[str, Problems]:
    """The problems with importing each plugin, by name. The imports run in a child process.

    Raises:
        GanzooError: The child process failed.
    """
    arguments = [f"{plugin.name}={plugin.value}" for plugin in plugins]
    child = subprocess.run(  # noqa: S603 - our own interpreter and module
        child_python("ganzoo_checks.isolation", *arguments), capture_output=True, text=True, check=False
    )
    if child.returncode != 0 or not child.stdout:
        last = (child.stderr.strip().splitlines() or ["no output"])[-1]
        names = ", ".join(plugin.name for plugin in plugins)
        raise GanzooError(f"Importing {names} in a child process failed ({child.returncode}): {last}.")
    answer: dict[str, Any] = json.loads(child.stdout)
    return {name: [(sentence, remedy) for sentence, remedy in problems] for name, problems in answer.items()}


def main(plugins: Sequence[str]) -> None:
    """The child process: import each ``name=module`` or ``name=module:attribute``, then print what it did."""
    # Redirected permanently, because a plugin may print at exit, and by descriptor, because C code may print too.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(2, 1)
        pairs = [plugin.partition("=") for plugin in plugins]
        json.dump({name: _import(EntryPoint(name, value, "ganzoo")) for name, _, value in pairs}, answer)


def _import(point: EntryPoint) -> Problems:
    before, loaded = GlobalState.now(), set(sys.modules)
    actions: list[str] = []
    with _recorded_actions(actions), suppress(Exception, SystemExit):  # loading reports these
        point.load()
    changed = GlobalState.now().changed_since(before)
    before.restore()
    plugin = f"The plugin '{point.name}'"
    slow = sorted({name.partition(".")[0] for name in set(sys.modules) - loaded} & set(SLOW_LIBRARIES))
    return [
        *((f"{plugin} {action} on import.", INSIDE_FUNCTIONS) for action in dict.fromkeys(actions)),
        *((f"{plugin} {change} on import.", USER_SETTINGS) for change in changed),
        *(
            (f"{plugin} imports {name}, which is slow.", "Import it inside the functions that need it.")
            for name in slow
        ),
    ]


class _OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    operations = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        return function(*args, **(kwargs or {}))


@contextmanager
def _recorded_actions(actions: list[str]) -> Iterator[None]:
    """Record training, computation and use of the network."""

    def recording(action: str, function: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            actions.append(action)
            return function(*args, **kwargs)

        return wrapper

    watched = (
        (torch.autograd, "backward", "trains"),
        (torch.autograd, "grad", "trains"),
        (socket, "getaddrinfo", "uses the network"),
        (socket, "create_connection", "uses the network"),
    )
    with ExitStack() as stack:
        for owner, name, action in watched:
            stack.enter_context(patch.object(owner, name, recording(action, getattr(owner, name))))
        counter = stack.enter_context(_OperationCounter())  # type: ignore[no-untyped-call]
        yield
    if counter.operations > MAX_OPERATIONS:
        actions.append(f"computes ({counter.operations:,} tensor operations)")


if __name__ == "__main__":
    main(sys.argv[1:])
