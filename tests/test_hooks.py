"""Every hook is documented, and every hook is tested: something is registered through it and made."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ganzoo.api import hookspecs
from ganzoo.config.checking import OWN
from ganzoo.registry.loading import HOOKS, Zoo, load_zoo

DOCS = Path(__file__).parents[1] / "docs"
FILE = "summary: A recipe\nquestion: A study?\npaper: Someone 2020\n"
REGISTERS = dict.fromkeys(HOOKS, 'register("probe", make, summary="A probe")')
FILES = dict.fromkeys(
    ("register_recipes", "register_studies", "register_pretrained"), 'register(Path(__file__).with_name("probe.yaml"))'
)
REGISTERS |= FILES
BEGINNING = """\
from pathlib import Path

from ganzoo import hookimpl

def make():
    return "made"
"""
PLUGIN = BEGINNING + "".join(f"\n@hookimpl\ndef {hook}(register):\n    {line}\n" for hook, line in REGISTERS.items())


def maker(name: str) -> ModuleType:
    """A script of docs/ that writes a page."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def specified() -> set[str]:
    """The names that are marked as hooks, asked of the module and of nobody's table."""
    return {name for name, found in vars(hookspecs).items() if hasattr(found, "ganzoo_spec")}


def test_every_hook_is_documented_with_its_exact_signature() -> None:
    signature = maker("make_hooks").signature
    page = (DOCS / "hooks.md").read_text(encoding="utf-8")
    assert specified()
    for name in specified():
        assert f"\n## `{signature(name)}`\n" in page, name


@pytest.mark.parametrize("name", ["hooks", "keys"])
def test_the_page_matches_the_command_that_writes_it(name: str) -> None:
    written = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert written == maker(f"make_{name}").page(), f"run python docs/make_{name}.py"


def test_the_keys_that_components_share_are_documented() -> None:
    page = (DOCS / "keys.md").read_text(encoding="utf-8")
    for key in ("dim", "lr", *OWN, "weight", "every_steps"):
        assert f"\n- `{key}` (" in page, key


def test_every_hook_is_tested() -> None:
    assert set(REGISTERS) == specified()


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Zoo]]:
    """A folder with a plugin that implements every hook, and the zoo with what it registers."""
    site = tmp_path_factory.mktemp("site")
    (site / "every_hook_probe.py").write_text(PLUGIN, encoding="utf-8")
    (site / "probe.yaml").write_text(FILE, encoding="utf-8")
    metadata = site / "probe-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: probe\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[ganzoo]\nprobe = every_hook_probe\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(site))
        yield site, load_zoo.__wrapped__()
    sys.modules.pop("every_hook_probe", None)


@pytest.mark.parametrize("hook", sorted(REGISTERS))
def test_what_is_registered_through_it_is_found_and_made(hook: str, probed: tuple[Path, Zoo]) -> None:
    site, zoo = probed
    entry = zoo.registry(HOOKS[hook]).get("probe")
    assert (entry.kind, entry.plugin, entry.distribution) == (HOOKS[hook], "probe", "probe 1.0")
    assert entry.factory() == (site / "probe.yaml" if hook in FILES else "made")
