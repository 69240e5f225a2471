"""Installed packages with odd names, odd entry points and odd modules."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import mutations

from ganzoo.registry.loading import load_zoo
from targets import Target

if TYPE_CHECKING:
    from random import Random

METADATA = b"Metadata-Version: 2.1\nName: fuzz-plugin\nVersion: 1.0\n"
POINTS = b"[console_scripts]\nfuzz = fuzz:main\n\n[ganzoo]\nfuzz = ganzoo_fuzzed_{0}\n"
NAMES = ("fuzz", "a b", "é", "../../x", "", "x" * 300, "[x]", "a=b", "#", "\x1b[31m", "ganzoo", "mnist")
VALUES = ("ganzoo_fuzzed_{0}", "os", "os:path", "nowhere", "..", "a:b:c", "os:system", "é", "x [extra]", "1", "/etc:x",
          "os.path:join.x", "ganzoo.errors", "sys:exit")  # fmt: skip
MODULES = (
    "1 / 0",
    "raise SystemExit(3)",
    "(",
    "",
    "def register_losses(register): pass",
    "register('x', int, summary='y')",
    "register('../x', int, summary='y')",
    "register('x', 3, summary='y')",
    "register('x', int, summary='a\\nb')",
    "register('x', lambda *, n: n, summary='y')",
    "register('x\\x1b[31m', int, summary='y')",
    "raise ValueError('a\\nb\\x1b[31m\\ud800')",
    "register(None, None, summary=None)",
    "register('name', (lambda *, name='a': name), summary='y')",
)


class Targets:
    """Packages on a separate path."""

    def __init__(self) -> None:
        self.number = 0
        self.standard = [path for path in sys.path if path.endswith((".zip", "lib-dynload")) or _is_standard(path)]

    def all(self) -> dict[str, Target]:
        """By name."""
        return {"plugins": Target(self.plugins, 4)}

    def plugins(self, random: Random, folder: Path) -> None:
        """Install, list, filter and load packages; each rejected one is a problem with a message."""
        self.number += 1
        for number in range(random.randrange(1, 3)):
            self._install(random, folder, f"fuzz_plugin_{number}-1.0.dist-info")
        path, environment = sys.path, dict(os.environ)
        sys.path = [str(folder), *self.standard]
        importlib.invalidate_caches()
        if random.random() < 0.3:
            os.environ["GANZOO_PLUGINS"] = random.choice(
                ("", "fuzz", "fuzz-plugin", ",,", "é", "\x1b", "a\nb", "nobody")
            )
        try:
            zoo = load_zoo.__wrapped__()
            assert all(problem.sentence.isprintable() for problem in zoo.problems), zoo.problems
        finally:
            sys.path = path
            os.environ.clear()
            os.environ.update(environment)
            sys.modules.pop(f"ganzoo_fuzzed_{self.number}", None)

    def _install(self, random: Random, folder: Path, name: str) -> None:
        info = folder / name
        info.mkdir()
        (info / "METADATA").write_bytes(mutations.content(random, METADATA) if random.random() < 0.4 else METADATA)
        (info / "entry_points.txt").write_bytes(self._points(random))
        if random.random() < 0.1:
            (info / random.choice(("METADATA", "entry_points.txt"))).unlink()
        body = random.choice(MODULES)
        code = f"from ganzoo import hookimpl\n@hookimpl\ndef register_losses(register):\n    {body}\n"
        module = folder / f"ganzoo_fuzzed_{self.number}.py"
        module.write_bytes((code if "register" in body and "def" not in body else body).encode())

    def _points(self, random: Random) -> bytes:
        whole = POINTS.replace(b"{0}", str(self.number).encode())
        kind = random.randrange(4)
        if kind == 0:
            return mutations.content(random, whole)
        if kind == 1:
            return mutations.text(random, whole.decode()).encode("utf-8", "surrogatepass")
        pairs = [(random.choice(NAMES), random.choice(VALUES)) for _ in range(random.randrange(1, 4))]
        lines = [f"{name} = {value}" for name, value in pairs]
        return "\n".join(["[ganzoo]", *lines]).replace("{0}", str(self.number)).encode()


def _is_standard(path: str) -> bool:
    return Path(path, "importlib", "metadata", "__init__.py").is_file()
