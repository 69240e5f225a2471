"""The documentation and options of every registered entry."""

from __future__ import annotations

from typing import Any

import pytest

from ganzoo.checks import entries as checks
from ganzoo.checks import isolation
from ganzoo.registry.loading import load_zoo
from ganzoo.registry.registry import KINDS

ENTRIES = [entry for kind in KINDS for entry in load_zoo().registry(kind)]
FROM_PAPERS = ("generator", "discriminator", "encoder", "loss", "regularizer", "augmentation")


def entry_id(entry: Any) -> str:
    return f"{entry.kind}-{entry.name}"


entries = pytest.mark.parametrize("entry", ENTRIES, ids=entry_id)


def test_every_plugin_loads() -> None:
    assert load_zoo().problems == []


def test_the_first_methods_are_registered() -> None:
    """The other tests would all pass on an empty registry."""
    names = {(entry.kind, entry.name) for entry in ENTRIES}
    assert names >= {
        *((kind, name) for kind in ("generator", "discriminator") for name in ("mlp", "dcgan")),
        *(("loss", n) for n in ("minimax", "non-saturating", "wasserstein", "relativistic-pairing", "infogan")),
        *(("regularizer", name) for name in ("gradient-penalty", "r1", "r2")),
        *(("recipe", f"{name}-mnist") for name in ("vanilla", "dcgan", "wgan-gp", "r1", "infogan", "r3gan")),
        ("tracker", "tensorboard"),
    }


@entries
def test_the_summary_is_one_short_line(entry: Any) -> None:
    checks.summary(entry)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.kind in FROM_PAPERS], ids=entry_id)
def test_published_methods_cite_their_paper_and_year(entry: Any) -> None:
    checks.paper(entry, FROM_PAPERS)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.kind not in ("recipe", "study", "pretrained")], ids=entry_id)
def test_the_factory_has_a_docstring(entry: Any) -> None:
    checks.docstring(entry)


@entries
def test_the_docstring_documents_every_option(entry: Any) -> None:
    checks.options_documented(entry)


@entries
def test_a_misspelt_option_is_rejected(entry: Any) -> None:
    checks.unknown_option(entry)


@entries
def test_an_option_of_the_wrong_type_is_rejected(entry: Any) -> None:
    checks.types(entry)


@entries
def test_the_defaults_are_valid(entry: Any) -> None:
    checks.defaults(entry)


def test_importing_first_party_plugins_is_quick_and_changes_nothing() -> None:
    """No import trains, computes, uses the network, seeds, or imports a slow library."""
    found = isolation.import_problems(load_zoo().plugins)
    assert len(found) == len(load_zoo().plugins)
    assert {name: sentences for name, sentences in found.items() if sentences} == {}


def numbers(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of all numbers in one."""
    inner = [*schema.get("anyOf", ()), *schema.get("prefixItems", ()), schema.get("items")]
    own = [schema] if schema.get("type") in ("integer", "number") and "enum" not in schema else []
    return [*own, *(found for part in inner if isinstance(part, dict) for found in numbers(part))]


@entries
def test_every_number_has_bounds_of_its_own(entry: Any) -> None:
    """What a stranger's number gets by default, everything that fits into a tensor, is too wide for ours."""
    for option, schema in entry.options.schema().items():
        for number in numbers(schema):
            assert number.keys() & {"minimum", "exclusiveMinimum"}, option
            assert number.keys() & {"maximum", "exclusiveMaximum"}, option
