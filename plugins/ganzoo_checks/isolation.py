"""What importing a plugin does to the process: settings, seeds, the network, slow imports.

``python -P -m ganzoo_checks.isolation NAME=MODULE...`` imports plugins in a fresh process and prints what each did:
``{"name": [...], ...}``, predicates with what to do in a second line. It measures no time: what makes an import slow,
the network and slow libraries, can be seen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint

from ganzoo.files import child_python
from ganzoo.registry.loading import PluginInfo
from ganzoo.reproducibility import GlobalState

SLOW_LIBRARIES = {"torchvision", "torch_fidelity", "matplotlib", "scipy", "sklearn", "pandas", "transformers", "jax"}


def import_problems(plugins: Sequence[PluginInfo]) -> dict[str, list[str]]:
    """The problems with importing each plugin, by name. The imports run in a child process.

    Raises:
        CalledProcessError: A plugin ended the child process.
    """
    command = child_python("ganzoo_checks.isolation", *(f"{plugin.name}={plugin.value}" for plugin in plugins))
    child = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own module
    problems: dict[str, list[str]] = json.loads(child.stdout)
    return problems


def _import(point: EntryPoint, events: Sequence[str]) -> list[str]:
    before, loaded, began = GlobalState.now(), set(sys.modules), len(events)
    with suppress(Exception, SystemExit):  # loading reports these
        point.load()
    changes = GlobalState.now().changed_since(before)
    before.restore()
    problems = [f"{change} on import.\nThese settings belong to the user; leave them alone." for change in changes]
    if "socket.getaddrinfo" in events[began:] or "socket.connect" in events[began:]:
        problems.append("uses the network on import.\nDo it inside the functions that need it.")
    for name in sorted({module.partition(".")[0] for module in sys.modules.keys() - loaded} & SLOW_LIBRARIES):
        problems.append(f"imports {name}, which is slow.\nImport it inside the functions that need it.")
    return problems


if __name__ == "__main__":
    watched: list[str] = []
    sys.addaudithook(lambda event, _: watched.append(event) if event.startswith("socket.") else None)
    # Redirected permanently, because a plugin may print at exit, and by descriptor, because C code may print too.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(2, 1)
        pairs = [argument.partition("=") for argument in sys.argv[1:]]
        json.dump({name: _import(EntryPoint(name, value, "ganzoo"), watched) for name, _, value in pairs}, answer)
