"""The documentation and options of every registered entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ganzoo.registry.loading import SUMMARIES, Zoo, load_zoo
from ganzoo.registry.registry import KINDS
from ganzoo_checks import contract as checks
from ganzoo_checks import isolation

ENTRIES = [entry for kind in KINDS for entry in load_zoo().registry(kind)]
FROM_PAPERS = ("generator", "discriminator", "encoder", "loss", "regularizer", "augmentation")


def failures(check: Callable[[Any, Zoo], None], entries: Iterable[Any]) -> dict[str, str]:
    """What the check says of each entry that fails it."""
    found = {}
    for entry in entries:
        try:
            check(entry, load_zoo())
        except AssertionError as error:
            found[f"{entry.kind}-{entry.name}"] = str(error)
    return found


def numbers(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of all numbers in one."""
    inner = [*schema.get("anyOf", ()), *schema.get("prefixItems", ()), schema.get("items")]
    own = [schema] if schema.get("type") in ("integer", "number") and "enum" not in schema else []
    return [*own, *(found for part in inner if isinstance(part, dict) for found in numbers(part))]


WITH_OPTIONS = [entry for entry in ENTRIES if entry.options.types]
WITH_NUMBERS = [entry for entry in WITH_OPTIONS if any(map(numbers, entry.options.schema().values()))]


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
    assert len(WITH_NUMBERS) > 60


def test_each_summary_is_one_short_line() -> None:
    assert failures(checks.summary, ENTRIES) == {}


def test_published_methods_cite_their_paper_and_year() -> None:
    assert failures(checks.paper, (entry for entry in ENTRIES if entry.kind in FROM_PAPERS)) == {}


def test_each_factory_has_a_docstring() -> None:
    assert failures(checks.docstring, (entry for entry in ENTRIES if entry.kind not in SUMMARIES)) == {}


def test_docstrings_document_every_option() -> None:
    assert failures(checks.options_documented, WITH_OPTIONS) == {}


def test_an_option_of_the_wrong_type_is_rejected() -> None:
    assert failures(checks.options_types, WITH_OPTIONS) == {}


def test_importing_first_party_plugins_is_quick_and_changes_nothing() -> None:
    """No import uses the network, seeds, changes a setting or imports a slow library."""
    found = isolation.import_problems(load_zoo().plugins)
    assert len(found) == len(load_zoo().plugins)
    assert {name: sentences for name, sentences in found.items() if sentences} == {}


def test_every_number_has_bounds_of_its_own() -> None:
    """What a stranger's number gets by default, everything that fits into a tensor, is too wide for ours."""
    for entry in WITH_NUMBERS:
        for option, schema in entry.options.schema().items():
            for number in numbers(schema):
                assert number.keys() & {"minimum", "exclusiveMinimum"}, (entry.kind, entry.name, option)
                assert number.keys() & {"maximum", "exclusiveMaximum"}, (entry.kind, entry.name, option)
