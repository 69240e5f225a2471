"""Names, provenance, and options checked against a factory's own annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import Field
from torch import nn

from ganzoo.api.adversarial import AdversarialLoss
from ganzoo.api.metric import Extractor, Metric
from ganzoo.api.objective import Objective
from ganzoo.errors import GanzooError, StopAtOnce
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import KINDS, Entry, Registry

if TYPE_CHECKING:
    from fractions import Fraction


def entry(factory=dict, *, kind="loss", name="thing", summary="A thing", paper=None, plugin="mine"):
    return Entry(kind, name, factory, summary, paper, plugin, f"{plugin}-package 1.0")


def registered(*entries, kind="loss"):
    registry: Registry[Any] = Registry(kind)
    for one in entries:
        registry.add(one)
    return registry


def refusal(action, *arguments):
    with pytest.raises(GanzooError) as caught:
        action(*arguments)
    return str(caught.value)


def test_entries_come_in_the_order_of_their_names():
    registry = registered(*(entry(name=name) for name in ("wasserstein", "hinge", "minimax")))
    assert [one.name for one in registry] == ["hinge", "minimax", "wasserstein"]
    assert len(registry) == 3
    assert "hinge" in registry
    assert "hing" not in registry
    assert registry.get("hinge").name == "hinge"


def test_a_misspelt_name_leads_to_the_nearest():
    registry = registered(entry(name="hinge"), entry(name="minimax"))
    assert refusal(registry.get, "hinged") == "Unknown loss 'hinged'. Did you mean 'hinge'?"
    assert refusal(registry.get, "zzz") == "Unknown loss 'zzz'. Known: hinge, minimax."
    registry.hint = "See elsewhere."
    assert refusal(registry.get, "hinged").endswith("Did you mean 'hinge'? See elsewhere.")


def test_an_alias_leads_to_the_name_and_is_not_accepted():
    least_squares = Entry("loss", "least-squares", dict, "A thing", None, "mine", "mine 1.0", ("lsgan", "ls"))
    registry = registered(least_squares, entry(name="clusters"))
    assert refusal(registry.get, "lsgan") == "Unknown loss 'lsgan'. Did you mean 'least-squares'?"
    assert refusal(registry.get, "LSGANs") == "Unknown loss 'LSGANs'. Did you mean 'least-squares'?"
    assert "lsgan" not in registry


@pytest.mark.parametrize("name", ["", "Hinge", "two words", "-a", "a-", "a--b", "a_b", "a\n", "é", 3, None])
def test_malformed_names(name):
    assert "malformed" in refusal(registered().add, entry(name=name))


@pytest.mark.parametrize("name", ["a", "r1", "wgan-gp", "3-d"])
def test_good_names(name):
    assert name in registered(entry(name=name))


@pytest.mark.parametrize("domains", ["fashion-mnist", None, ["mnist"]])
def test_the_domains_of_an_extractor_are_a_tuple_of_names(domains):
    made = entry(type("Made", (), {"domains": domains}), kind="extractor")
    sentence = refusal(lambda: made.domains)
    assert f"extractor 'thing' has domains = {domains!r}. Make it a tuple" in sentence


@pytest.mark.parametrize("summary", ["", "  ", None, "two\nlines"])
def test_a_summary_is_one_line(summary):
    assert "one-line summary" in refusal(registered().add, entry(summary=summary))


def test_texts_are_listed_on_one_line():
    (listed,) = registered(entry(summary="\n A thing\n", paper="Nobody 2020,\nA paper\n"))
    assert (listed.summary, listed.paper) == ("A thing", "Nobody 2020, A paper")


@pytest.mark.parametrize(("thing", "name"), [(nn.Linear(2, 2), "Linear"), (3, "int")])
def test_a_factory_is_not_what_it_should_make(thing, name):
    sentence = refusal(registered(kind="generator").add, entry(thing, kind="generator"))
    assert sentence == (
        f"The generator 'thing' was registered with an instance of {name}. "
        f"Register the class {name}, or a function that returns a new one on each call."
    )


@pytest.mark.parametrize("name", ["all", "headline"])
def test_names_of_ganzoo_s_own_are_refused(name):
    sentence = refusal(registered(kind="metric").add, entry(kind="metric", name=name))
    assert sentence == f"The metric '{name}' has a name that ganzoo reserves. Rename it."
    assert name in registered(entry(name=name))  # means nothing elsewhere


@pytest.mark.parametrize(("base", "kind", "lacks"), [(Extractor, "extractor", "width"), (Metric, "metric", "range")])
def test_what_is_made_has_the_attributes_of_its_kind(base, kind, lacks):
    made = type("Made", (base,), {"shape": (1, 8, 8), "better": "lower", "compute": lambda self, inputs: 0.0})
    for factory in (made, lambda: made()):
        sentence = refusal(entry(factory, kind=kind).create)
        assert sentence.endswith(f"has no attribute '{lacks}'. Set it in its class.")
    complete = type("Complete", (made,), {"width": 3, "range": "0 and up"})
    assert isinstance(entry(lambda: complete(), kind=kind).create(), complete)


@pytest.mark.parametrize(
    ("base", "own", "missing"),
    [
        (AdversarialLoss, ("discriminatr", "generator"), "discriminator"),
        (Objective, ("phase",), "phases"),
        (Metric, ("generate",), "compute"),
    ],
)
def test_a_method_that_is_missing_is_named(base, own, missing):
    made = type("Made", (base,), dict.fromkeys(own, lambda self, *arguments: None))
    sentence = refusal(entry(made).create)
    assert sentence.startswith("The loss 'thing' of plugin 'mine' (mine-package 1.0) could not be created: TypeError")
    assert f" {missing}" in sentence.replace("'", " ")


def test_an_attribute_that_fails_is_the_plugin_s_fault():
    torn = property(lambda self: {}["x"])
    made = type("Made", (Metric,), {"better": "lower", "range": torn, "compute": lambda self, inputs: 0.0})
    sentence = refusal(entry(made, kind="metric").create)
    expected = (
        "The metric 'thing' of plugin 'mine' (mine-package 1.0) could not be created: KeyError: 'x' (test_registry"
    )
    assert sentence.startswith(expected)


def test_a_metric_has_one_of_three_directions():
    made = type("Made", (Metric,), {"better": "lowest", "range": "0 to 1", "compute": lambda self, inputs: 0.0})
    assert "has better = 'lowest'. Did you mean 'lower'?" in refusal(entry(made, kind="metric").create)


def test_kinds_are_known_in_singular_and_plural():
    zoo = Zoo()
    for kind, plural in KINDS.items():
        assert zoo.registry(kind) is zoo.registry(plural) is zoo.registry(plural.upper())
        assert zoo.registry(kind).kind == kind
    assert refusal(zoo.registry, "lossses") == "Unknown kind 'lossses'. Did you mean 'losses'?"


def sizes(
    spec: Fraction,
    /,
    *,
    hidden: tuple[int, ...] = (8, 4),
    pair: tuple[float, float] = (0.5, 0.999),
    norm: Literal["none", "batch"] = "none",
    slope: float = 0.2,
    width: Annotated[int, Field(ge=1, le=64)] = 16,
    widths: list[Annotated[int, Field(ge=1)]] | None = None,
    bias: bool = True,
    label: str = "x",
    many: Sequence[int] = (1,),
    folder: Path | None = None,
) -> dict[str, Any]:
    """What it was called with. The type of ``spec`` exists for type checkers alone."""
    return dict(locals())


def test_defaults_are_filled_in():
    checked = entry(sizes).options.check({})
    assert checked["hidden"] == (8, 4)
    assert checked["widths"] is None
    assert "spec" not in checked
    assert entry(sizes).factory("spec", **checked) == {"spec": "spec", **checked}


@pytest.mark.parametrize(
    ("option", "given", "checked"),
    [
        ("hidden", [1, 2, 3], (1, 2, 3)),
        ("hidden", [], ()),
        ("pair", [0, 0.9], (0.0, 0.9)),
        ("slope", 1, 1.0),
        ("norm", "batch", "batch"),
        ("width", 64, 64),
        ("widths", [3], [3]),
        ("widths", None, None),
        ("bias", False, False),
        ("label", "1", "1"),
        ("many", [4, 5], [4, 5]),
        ("folder", "a/b", Path("a/b")),
    ],
)
def test_values_of_the_right_type(option, given, checked):
    found = entry(sizes).options.check({option: given})[option]
    assert found == checked
    assert type(found) is type(checked)


@pytest.mark.parametrize(
    ("option", "given", "expected"),
    [
        ("slope", "0.2", "slope must be a number, not '0.2'"),
        ("slope", True, "slope must be a number, not true"),
        ("slope", float("inf"), "slope must be finite, not inf"),
        ("slope", None, "slope must be a number, not null"),
        ("width", 2.0, "width must be a whole number, not 2.0"),
        ("width", "2", "width must be a whole number, not '2'"),
        ("width", True, "width must be a whole number, not true"),
        ("width", 0, "width must be at least 1, not 0"),
        ("width", 65, "width must be at most 64, not 65"),
        ("widths", [3, 0], "widths.1 must be at least 1, not 0"),
        ("hidden", [1, "a"], "hidden.1 must be a whole number, not 'a'"),
        ("hidden", 3, "hidden must be a list, not 3"),
        ("pair", [1.0], "pair"),
        ("bias", 1, "bias must be true or false, not 1"),
        ("bias", "yes", "bias must be true or false, not 'yes'"),
        ("label", 1, "label must be text, not 1"),
        ("norm", "bach", "norm must be 'none' or 'batch', not 'bach'"),
    ],
)
def test_values_of_another_type_are_refused(option, given, expected):
    sentence = refusal(entry(sizes).options.check, {option: given})
    assert sentence.startswith("The loss 'thing': ")
    assert expected in sentence


def test_an_unknown_option_leads_to_the_nearest():
    expected = "The loss 'thing' has no option 'hiden'. Did you mean 'hidden'?"
    assert refusal(entry(sizes).options.check, {"hiden": [1]}) == expected


@dataclass
class Positional:
    margin: float = 1.0


@pytest.mark.parametrize(
    ("factory", "kind", "positional"),
    [
        (Positional, "loss", ("margin",)),
        (lambda split, folder=None, size=3: size, "dataset", ("size",)),
        (lambda spec, width=3: width, "generator", ("width",)),
        (lambda spec, *layers, **options: spec, "generator", ()),
        (sizes, "generator", ()),
        (dict, "loss", ()),
    ],
)
def test_what_was_probably_meant_as_an_option_is_known(factory, kind, positional):
    assert entry(factory, kind=kind).options.positional == positional


def test_a_positional_parameter_is_told_from_a_misspelt_option():
    sentence = refusal(entry(Positional).options.check, {"margin": 2.0})
    assert sentence == (
        "The loss 'thing' has no option 'margin'. It is a positional parameter, which no recipe can set. "
        "Put `*` before it (in a dataclass: kw_only=True)."
    )


def test_every_mistake_is_told_at_once():
    sentences = refusal(entry(sizes).options.check, {"hiden": [1], "width": "2", "bias": 1}).splitlines()
    assert len(sentences) == 3
    assert all(any(word in sentence for sentence in sentences) for word in ("hiden", "width", "bias"))


def test_an_option_without_a_default_is_needed():
    def needy(*, path: str) -> str:
        return path

    assert refusal(entry(needy).options.check, {}) == "The loss 'thing' needs the option 'path'."
    assert entry(needy).factory(**entry(needy).options.check({"path": "x"})) == "x"


class Base:
    def __init__(self, *, weight: float = 1.0, every: int = 1) -> None:
        self.weight, self.every = weight, every


class Inherits(Base):
    pass


class PassesOn(Base):
    def __init__(self, *, target: float = 0.0, **others: Any) -> None:
        super().__init__(**others)
        self.target = target


class Hides(Base):
    def __init__(self, *, target: float = 0.0) -> None:
        super().__init__(weight=2.0)
        self.target = target


class Bounded:
    """Its annotation has names of this module."""

    def __init__(self, *, share: Annotated[float, Field(ge=0, le=1)] = 0.0) -> None: ...


@dataclass(kw_only=True)
class Record:
    size: int = 3


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        (Base, {"weight": 1.0, "every": 1}),
        (Inherits, {"weight": 1.0, "every": 1}),
        (PassesOn, {"target": 0.0, "weight": 1.0, "every": 1}),
        (Hides, {"target": 0.0}),
        (Record, {"size": 3}),
        (partial(Base, every=4), {"weight": 1.0, "every": 4}),
        (partial(Bounded, share=0.5), {"share": 0.5}),
        (object, {}),
        (dict, {}),
        (lambda: 1, {}),
    ],
)
def test_options_of_all_sorts_of_factories(factory, options):
    assert entry(factory).options.check({}) == options


def test_inherited_options_are_checked_too():
    made = entry(PassesOn).factory(**entry(PassesOn).options.check({"weight": 3}))
    assert (made.weight, made.every, made.target) == (3.0, 1, 0.0)
    assert "weight must be a number" in refusal(entry(PassesOn).options.check, {"weight": "3"})


def test_options_may_bear_any_name_that_pydantic_uses():
    def shadows(*, copy: int = 1, json: int = 2, model_config: int = 3, schema: int = 4) -> tuple[int, ...]:
        return copy, json, model_config, schema

    assert entry(shadows).factory(**entry(shadows).options.check({"json": 5})) == (1, 5, 3, 4)


class Panic(BaseException):
    pass


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            KeyError("a"),
            [
                "could not be created: KeyError: 'a' (test_registry.py, line ",
                "`raise error`). Check its options with `ganzoo show`.",
            ],
        ),
        (Panic("gone"), ["could not be created: Panic: gone (test_registry.py"]),
        (SystemExit(1), ["could not be created: SystemExit: 1 (test_registry.py"]),
        (
            RuntimeError("CUDA error: no kernel image"),
            ["could not be created: RuntimeError: CUDA error: no kernel image"],
        ),
        (RuntimeError("CUDA out of memory. Tried 2 GiB."), ["CUDA out of memory. Tried 2 GiB", "). Free some memory"]),
        (
            MemoryError(),
            ["created: MemoryError (test_registry.py", "Free some memory, or reduce its sizes."],
        ),
    ],
)
def test_what_a_factory_raises_is_a_sentence_that_names_its_plugin(error, words):
    def failing(*, size: int = 3) -> None:
        raise error

    with pytest.raises(GanzooError) as caught:
        entry(failing).create(size=3)
    sentence = str(caught.value)
    assert sentence.startswith("The loss 'thing' of plugin 'mine' (mine-package 1.0) could not be created: ")
    assert all(word in sentence for word in words), sentence
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [GanzooError("No."), KeyboardInterrupt(), StopAtOnce(), SystemExit(143)])
def test_what_is_a_sentence_or_a_request_to_stop_passes_as_it_is(error):
    def failing():
        raise error

    with pytest.raises(type(error)) as caught:
        entry(failing).create()
    assert caught.value is error


def bare(*, size=3):
    return size


def hidden_type(*, size: Fraction | None = None) -> None:
    """Its type is imported for type checkers alone."""


def wrong_default(*, size: int = 2.5) -> None:  # type: ignore[assignment]
    """Its default would be refused in a recipe."""


NOTHING = object()


def no_default_of_yaml(*, size: Any = NOTHING) -> None:
    """Its default cannot be written down."""


def unchecked(*, width: int = 3, size: Base | None = None) -> None:
    """Its type is a class that nobody can check."""


def called_name(*, name: str = "x") -> str:
    """A component's name is ganzoo's."""
    return name


def normalised(*, spectral_norm: bool = False) -> bool:
    """In a network, the word is ganzoo's."""
    return spectral_norm


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (bare, ["'size'", "Annotate"]),
        (hidden_type, ["'size'", "Fraction", "TYPE_CHECKING"]),
        (wrong_default, ["size", "whole number", "2.5"]),
        (no_default_of_yaml, ["an option that no recipe can hold: Object of type object"]),
        (
            unchecked,
            ["option that no recipe can hold", "Base'>. Use int, float, bool, str, Literal or Sequence,"],
        ),
        (called_name, ["'name'"]),
    ],
)
def test_options_that_cannot_be_checked_are_refused_when_registered(factory, words):
    registry = registered()
    sentence = refusal(registry.add, entry(factory))
    assert all(word in sentence for word in ["loss 'thing'", *words]), sentence
    assert "thing" not in registry


def test_spectral_norm_is_reserved_in_networks_alone():
    assert "'spectral_norm'" in refusal(registered(kind="encoder").add, entry(normalised, kind="encoder"))
    assert entry(normalised).options.check({}) == {"spectral_norm": False}


@pytest.mark.parametrize(("kind", "key"), [("recipe", "summary"), ("study", "question")])
def test_a_file_without_its_line_is_told_which_key_to_write(kind, key) -> None:
    message = refusal(registered, entry(kind=kind, summary=""))
    assert message.endswith(f"has no one-line summary. Add `{key}: ...` to its file.")
