"""What `ganzoo list` shows about every registered thing."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ganzoo import GanzooError
from ganzoo.plugins import load_zoo
from ganzoo.registry import KINDS

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
    assert entry.summary.strip() == entry.summary != ""
    assert "\n" not in entry.summary
    assert len(entry.summary) <= 80
    assert not entry.summary.endswith(".")


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.kind in FROM_PAPERS], ids=str_of)
def test_what_comes_from_a_paper_cites_it_with_its_year(entry: Any) -> None:
    assert entry.paper is not None
    assert re.search(r"\b(19|20)\d\d\b", entry.paper)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.kind != "recipe"], ids=str_of)
def test_its_factory_explains_itself(entry: Any) -> None:
    assert (entry.factory.__doc__ or "").strip()


@entries
def test_a_misspelt_option_is_refused(entry: Any) -> None:
    with pytest.raises(GanzooError, match="no_such_option"):
        entry.check({"no_such_option": 1})


@entries
def test_its_own_defaults_pass_its_check(entry: Any) -> None:
    required = {name: "needed" for name in entry.options.types if name not in entry.options.defaults}
    if required:
        pytest.skip("has options without a default")
    assert set(entry.check(entry.options.defaults)) == set(entry.options.types)
