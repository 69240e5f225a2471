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


def numbers(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of all numbers in one."""
    inner = [*schema.get("anyOf", ()), *schema.get("prefixItems", ()), schema.get("items")]
    own = [schema] if schema.get("type") in ("integer", "number") and "enum" not in schema else []
    return [*own, *(found for part in inner if isinstance(part, dict) for found in numbers(part))]


WITH_OPTIONS = [entry for entry in ENTRIES if entry.options.types]
WITH_DEFAULTS = [entry for entry in WITH_OPTIONS if entry.options.types.keys() == entry.options.defaults.keys()]
WITH_NUMBERS = [entry for entry in WITH_OPTIONS if any(map(numbers, entry.options.schema().values()))]
entries = pytest.mark.parametrize("entry", ENTRIES, ids=entry_id)
with_options = pytest.mark.parametrize("entry", WITH_OPTIONS, ids=entry_id)


def test_every_plugin_loads() -> None:
    assert load_zoo().problems == []


def test_the_first_methods_are_registered() -> None:
    """The other tests would all pass on an empty registry, or where nothing had options."""
    names = {(entry.kind, entry.name) for entry in ENTRIES}
    assert names >= {
        *((kind, name) for kind in ("generator", "discriminator") for name in ("mlp", "dcgan")),
        *(("loss", n) for n in ("minimax", "non-saturating", "wasserstein", "relativistic-pairing", "infogan")),
        *(("regularizer", name) for name in ("gradient-penalty", "r1", "r2")),
        *(("recipe", f"{name}-mnist") for name in ("vanilla", "dcgan", "wgan-gp", "r1", "infogan", "r3gan")),
        ("tracker", "tensorboard"),
    }
    assert len(WITH_OPTIONS) > 70
    assert len(WITH_DEFAULTS) > 70
    assert len(WITH_NUMBERS) > 60


@entries
def test_the_summary_is_one_short_line(entry: Any) -> None:
    checks.summary(entry)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.kind in FROM_PAPERS], ids=entry_id)
def test_published_methods_cite_their_paper_and_year(entry: Any) -> None:
    checks.paper(entry)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.kind not in ("recipe", "study", "pretrained")], ids=entry_id)
def test_the_factory_has_a_docstring(entry: Any) -> None:
    checks.docstring(entry)


@with_options
def test_the_docstring_documents_every_option(entry: Any) -> None:
    checks.options_documented(entry)


@entries
def test_a_misspelt_option_is_rejected(entry: Any) -> None:
    checks.unknown_option(entry)


@with_options
def test_an_option_of_the_wrong_type_is_rejected(entry: Any) -> None:
    checks.types(entry)


@pytest.mark.parametrize("entry", WITH_DEFAULTS, ids=entry_id)
def test_the_defaults_are_valid(entry: Any) -> None:
    checks.defaults(entry)


def test_importing_first_party_plugins_is_quick_and_changes_nothing() -> None:
    """No import trains, computes, uses the network, seeds, or imports a slow library."""
    found = isolation.import_problems(load_zoo().plugins)
    assert len(found) == len(load_zoo().plugins)
    assert {name: sentences for name, sentences in found.items() if sentences} == {}


@pytest.mark.parametrize("entry", WITH_NUMBERS, ids=entry_id)
def test_every_number_has_bounds_of_its_own(entry: Any) -> None:
    """What a stranger's number gets by default, everything that fits into a tensor, is too wide for ours."""
    for option, schema in entry.options.schema().items():
        for number in numbers(schema):
            assert number.keys() & {"minimum", "exclusiveMinimum"}, option
            assert number.keys() & {"maximum", "exclusiveMaximum"}, option
