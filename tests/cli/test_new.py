"""``ganzoo new``: which names are valid, and what it writes. tests/test_tutorial.py installs and trains the result."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganzoo import GanzooError
from ganzoo.config.schema import Recipe
from ganzoo.registry.loading import Zoo
from ganzoo.registry.strict import read_mapping
from ganzoo_checks.scaffold import check_name, rendered, write


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("My-GAN", "lower-case"),
        ("my_gan", "lower-case"),
        ("3d-gan", "starting with a letter"),
        ("../escape", "lower-case"),
        ("", "lower-case"),
        ("class", "Python"),
        ("json", "module 'json' is already installed"),
        ("null", "YAML"),
        ("ganzoo", "already installed"),
        ("vanilla", "taken"),
        ("ganzoo-bench", "taken"),
        ("numpy", "module 'numpy' is already installed"),
    ],
)
def test_an_invalid_name_is_rejected_with_the_reason(zoo: Zoo, name: str, words: str) -> None:
    with pytest.raises(GanzooError, match=words):
        check_name(name, zoo)


@pytest.mark.parametrize("name", ["demo", "my-new-thing", "x2"])
def test_valid_names_pass(zoo: Zoo, name: str) -> None:
    check_name(name, zoo)


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(GanzooError, match="already exists"):
        write("demo", tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []


def test_every_file_carries_the_name_and_is_well_formed(tmp_path: Path) -> None:
    plugin = tmp_path / "new" / "plugin"
    names = {path.relative_to(plugin).as_posix() for path in write("my-new-thing", plugin)}
    assert names >= {
        ".github/workflows/test.yml",
        "README.md",
        "pyproject.toml",
        "src/my_new_thing/__init__.py",
        "src/my_new_thing/my-new-thing-mnist.yaml",
        "tests/test_my_new_thing.py",
    }
    assert '[project.entry-points.ganzoo]\nmy-new-thing = "my_new_thing"\n' in (plugin / "pyproject.toml").read_text()
    recipe = read_mapping(plugin / "src" / "my_new_thing" / "my-new-thing-mnist.yaml")
    assert Recipe.model_validate({**recipe, "name": "my-new-thing-mnist"}).loss.name == "my-new-thing"


def test_no_placeholder_is_left() -> None:
    files = dict(rendered("demo"))
    for placeholder in ("PACKAGE", "$name", "$package"):
        assert not [path for path, text in files.items() if placeholder in f"{path}\n{text}"]
    assert "${{ matrix.python }}" in files[Path(".github/workflows/test.yml")]
