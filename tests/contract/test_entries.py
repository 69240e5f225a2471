"""What `ganzoo list` shows about every registered thing."""

from __future__ import annotations

from typing import Any

import pytest

from ganzoo.checks import entries as checks
from ganzoo.checks import importing
from ganzoo.registry.loading import load_zoo
from ganzoo.registry.registry import KINDS

ENTRIES = [entry for kind in KINDS for entry in load_zoo().registry(kind)]
FROM_PAPERS = ("generator", "discriminator", "encoder", "loss", "regularizer", "augmentation")


def str_of(entry: Any) -> str:
    return f"{entry.kind}-{entry.name}"


entries = pytest.mark.parametrize("entry", ENTRIES, ids=str_of)


def test_nothing_was_refused() -> None:
    assert load_zoo().problems == []


def test_the_first_pages_are_there() -> None:
    """Guards the tests beside this one: over an empty registry they would all pass."""
    names = {(entry.kind, entry.name) for entry in ENTRIES}
    assert names >= {
        *((kind, name) for kind in ("generator", "discriminator") for name in ("mlp", "dcgan")),
        *(("loss", n) for n in ("minimax", "non-saturating", "wasserstein", "relativistic-pairing", "infogan")),
        *(("regularizer", name) for name in ("gradient-penalty", "r1", "r2")),
        *(("recipe", f"{name}-mnist") for name in ("vanilla", "dcgan", "wgan-gp", "r1", "infogan", "r3gan")),
        ("tracker", "tensorboard"),
    }


@entries
def test_it_has_a_summary_of_one_line(entry: Any) -> None:
    checks.summary(entry)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.kind in FROM_PAPERS], ids=str_of)
def test_what_comes_from_a_paper_cites_it_with_its_year(entry: Any) -> None:
    checks.paper(entry, FROM_PAPERS)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.kind != "recipe"], ids=str_of)
def test_its_factory_explains_itself(entry: Any) -> None:
    checks.docstring(entry)


@entries
def test_its_docstring_explains_every_option(entry: Any) -> None:
    checks.options_documented(entry)


@entries
def test_a_misspelt_option_is_refused(entry: Any) -> None:
    checks.unknown_option(entry)


@entries
def test_an_option_of_a_wrong_type_is_refused(entry: Any) -> None:
    checks.types(entry)


@entries
def test_its_own_defaults_pass_its_check(entry: Any) -> None:
    checks.defaults(entry)


def test_importing_any_of_ours_is_quick_and_changes_nothing() -> None:
    """Nothing trains, computes, asks the network, seeds, or pulls in what takes a second."""
    found = importing.examined(load_zoo().plugins)
    assert len(found) == len(load_zoo().plugins)
    assert {name: sentences for name, sentences in found.items() if sentences} == {}
