"""Imports plugins in a process of its own, and says what each did that an import must not do.

``python -m ganzoo.checks.importing NAME=MODULE...`` prints ``{"name": [["sentence", "remedy"], ...], ...}``. No clock:
an import is slow when it trains, computes, asks the network or pulls in what takes a second, and each can be seen.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

from ganzoo.errors import GanzooError

if TYPE_CHECKING:
    from ganzoo.registry.loading import PluginInfo

HEAVY = ("torchvision", "torch_fidelity", "matplotlib", "scipy", "sklearn", "pandas", "transformers", "jax")
"""Libraries that take their time to import, and are needed by a function rather than by a module."""

MOST_OPERATIONS = 1000
"""Tensor operations that an import may take, for constants."""

Sentences = list[tuple[str, str]]


def examined(plugins: Sequence[PluginInfo]) -> dict[str, Sentences]:
    """What is wrong with importing each plugin: sentences and remedies, by the plugin's name.

    Raises:
        GanzooError: The process that imports them failed.
    """
    names = ", ".join(plugin.name for plugin in plugins)
    wanted = [f"{plugin.name}={plugin.value}" for plugin in plugins]
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "ganzoo.checks.importing", *wanted], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise GanzooError(f"The process that imports {names} ended with {done.returncode}: {last}.")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {name: [(sentence, remedy) for sentence, remedy in found] for name, found in answer.items()}


def main(wanted: Sequence[str]) -> None:
    """Import each ``name=module`` or ``name=module:attribute``, and print what was seen."""
    import torch  # noqa: F401 - not the plugin's to answer for

    import ganzoo.api.game
    import ganzoo.registry.loading  # noqa: F401

    with contextlib.redirect_stdout(sys.stderr):
        pairs = [word.partition("=") for word in wanted]
        found = {name: _examine(EntryPoint(name, value, "ganzoo")) for name, _, value in pairs}
    print(json.dumps(found))


def _examine(point: EntryPoint) -> Sentences:
    from ganzoo.registry.global_state import GlobalState

    before, loaded = GlobalState.now(), set(sys.modules)
    seen: list[str] = []
    with _watched(seen), contextlib.suppress(Exception, SystemExit):
        point.load()
    changed = GlobalState.now().changed_since(before)
    before.restore()
    who = f"The plugin '{point.name}'"
    hands_off = "That is the user's, for the whole process; leave it alone."
    heavy = sorted({name.partition(".")[0] for name in set(sys.modules) - loaded} & set(HEAVY))
    return [
        *((f"{who} {what} on import.", "Do it inside the functions that need it.") for what in dict.fromkeys(seen)),
        *((f"{who} {what} on import.", hands_off) for what in changed),
        *((f"{who} imports {name}, which is slow.", "Import it inside the functions that need it.") for name in heavy),
    ]


@contextlib.contextmanager
def _watched(seen: list[str]) -> Iterator[None]:
    """Notes training, computing and calls over the network."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
        taken = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.taken += 1
            return function(*args, **(kwargs or {}))

    def noted(what: str, function: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            seen.append(what)
            return function(*args, **kwargs)

        return wrapper

    watched = [
        (torch.autograd, "backward", "trains"),
        (torch.autograd, "grad", "trains"),
        (socket, "getaddrinfo", "asks the network"),
        (socket, "create_connection", "asks the network"),
    ]
    kept = [getattr(owner, name) for owner, name, _ in watched]
    for (owner, name, what), function in zip(watched, kept, strict=True):
        setattr(owner, name, noted(what, function))
    try:
        with Counter() as counter:  # type: ignore[no-untyped-call]
            yield
    finally:
        for (owner, name, _), function in zip(watched, kept, strict=True):
            setattr(owner, name, function)
        if counter.taken > MOST_OPERATIONS:
            seen.append(f"computes ({counter.taken:,} tensor operations)")


if __name__ == "__main__":
    main(sys.argv[1:])
