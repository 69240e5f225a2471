"""``ganzoo list``, ``show`` and ``plugins``: everything that is registered."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import sys
import textwrap
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganzoo.cli.terminal import AsJson, DataDir, load_zoo_and_warn, print_json, say
from ganzoo.errors import GanzooError, nearest, one_line, unknown, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ganzoo.config.schema import Recipe
    from ganzoo.registry.loading import Zoo
    from ganzoo.registry.registry import Entry, Registry

MAX_NAME_COLUMN = 28  # columns; a longer name pushes its own summary to the right


def list_(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="A kind (losses, generators, recipes, ...) to list in full; other words are search terms.",
            metavar="[KIND] [WORD]...",
        ),
    ] = None,
    long: Annotated[
        bool, typer.Option("--long", "-l", help="Show full summaries, papers, plugins and packages.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List recipes and everything that a recipe can name; search names, summaries and papers."""
    from rich.text import Text

    from ganzoo.registry.registry import KINDS

    zoo = load_zoo_and_warn()
    registries, terms, kinds = zoo.registries(), list(words or ()), {*KINDS, *KINDS.values()}
    if terms and terms[0].lower() in kinds:
        registries = [zoo.registry(terms.pop(0))]
    matches = [entry for registry in registries for entry in registry if _matches(entry, terms)]
    if terms and not matches:
        known, aliases = _names(registries)
        hint = nearest(terms[0], {*known, *KINDS.values()}, aliases)
        if others := kinds & {term.lower() for term in terms}:
            hint = f"Name only one kind, before any other words: `ganzoo list {others.pop()}`."
        elif not hint.startswith("Did you mean"):
            kind = f" {KINDS[registries[0].kind]}" if len(registries) == 1 else ""
            hint = f"`ganzoo list{kind}` shows all {sum(map(len, registries)):,}."
        raise GanzooError(f"Nothing matches '{' '.join(terms)}'.", hint)
    if as_json:
        fields = ("name", "kind", "summary", "paper", "plugin")
        print_json([{field: getattr(entry, field) for field in fields} for entry in matches], indent=1)
        return
    for index, kind in enumerate(dict.fromkeys(entry.kind for entry in matches)):
        if len(registries) > 1:
            say(("\n" if index else "") + KINDS[kind])
        entries = [entry for entry in matches if entry.kind == kind]
        column = min(max(len(entry.name) for entry in entries), MAX_NAME_COLUMN)
        for entry in entries:
            if long:
                facts = [entry.name, entry.summary, entry.paper, f"plugin {entry.plugin} ({entry.distribution})"]
                say("\n  ".join(fact for fact in facts if fact))
            else:
                line = Text(f"{entry.name:{column}}  {visible(entry.summary)}")
                line.truncate(max(shutil.get_terminal_size().columns, len(entry.name)), overflow="ellipsis")
                say(line.plain.rstrip())


def _matches(entry: Entry[Any], terms: Sequence[str]) -> bool:
    text = " ".join([entry.name, *entry.aliases, entry.summary, entry.paper or ""]).casefold()
    return all(term.casefold() in text for term in terms)


def _names(registries: Sequence[Registry[Any]]) -> tuple[set[str], dict[str, str]]:
    aliases = {alias: name for registry in registries for alias, name in registry.aliases.items()}
    return {entry.name for registry in registries for entry in registry}, aliases


def plugins(as_json: AsJson = False) -> None:
    """List plugins and what each registered; exits with 1 if one is broken."""
    from rich.table import Table

    from ganzoo.cli.console import Console

    zoo = load_zoo_and_warn()
    if as_json:
        loaded = [
            {
                "plugin": plugin.name,
                "distribution": plugin.distribution,
                "registered": [{"kind": entry.kind, "name": entry.name} for entry in plugin.registered],
            }
            for plugin in zoo.plugins
        ]
        print_json({"plugins": loaded, "problems": [vars(problem) for problem in zoo.problems]}, indent=1)
    else:
        table = Table("plugin", "package", "registers")
        for plugin in zoo.plugins:
            offers = ", ".join(f"{entry.kind} {entry.name}" for entry in plugin.registered)
            table.add_row(plugin.name, plugin.distribution, offers)
        Console().print(table)
    if zoo.problems:
        raise typer.Exit(1)


def show(
    name: Annotated[
        str, typer.Argument(help="A recipe's name or file, zoo:NAME, or any name that `ganzoo list` shows.")
    ],
    kind: Annotated[str | None, typer.Option(help="The kind, if the name exists in several.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a value of a recipe.", metavar="KEY=VALUE")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show a resolved recipe with its networks' sizes, or a component with its options; and the module's equation."""
    from ganzoo.runs.pretrained import zoo_name

    zoo = load_zoo_and_warn()
    pretrained = zoo_name(name)
    registries = [zoo.registry(kind)] if kind else zoo.registries()
    entries = [registry.get(name) for registry in registries if name in registry]
    recipes = [entry for entry in entries if entry.kind == "recipe"]
    # As in `run`, which also suggests a file whose suffix was left out.
    is_file = name.endswith((".yaml", ".yml")) or any(os.path.isfile(name + end) for end in ("", ".yaml", ".yml"))  # noqa: PTH113
    if set_ and (pretrained is not None or (entries and not recipes)):
        raise GanzooError(f"--set only changes recipes, not {name}.", "Leave it out.")
    if pretrained is not None:
        _show_pretrained(pretrained, zoo, as_json)
    elif not entries and not is_file:
        known, aliases = _names(registries)
        raise unknown(registries[0].kind if kind else "name", name, known, registries[0].hint, aliases)
    elif recipes or not entries:
        for other in entries:  # a pretrained generator has its recipe's name
            if other not in recipes:
                there = f"zoo:{name}" if other.kind == "pretrained" else f"{name} --kind {other.kind}"
                say(f"This is the recipe; see also `ganzoo show {there}`.", err=True)
        _show_recipe(name, _equation(recipes[0], zoo) if recipes else "", zoo, list(set_ or ()), data_dir, as_json)
    elif as_json and len(entries) > 1:
        raise GanzooError(
            f"Several kinds have the name '{name}': {', '.join(entry.kind for entry in entries)}.",
            "Choose with --kind.",
        )
    else:
        shown = ""
        for entry in entries:
            equation = _equation(entry, zoo)
            _show_component(entry, "" if equation == shown else equation, as_json)
            shown = equation


def _equation(entry: Entry[Any], zoo: Zoo) -> str:  # its module's docstring up to the last equation
    modules = [sys.modules.get(one.value.partition(":")[0]) for one in zoo.plugins if entry in one.registered]
    described = "".join(inspect.getdoc(module) or "" for module in modules if module is not None)
    parts = re.split(r"\n\n+", described.partition("\n\nDifferences")[0])
    last = max((index for index, part in enumerate(parts) if part.startswith("    ")), default=-1)
    width = shutil.get_terminal_size().columns - len("# ")
    prose = partial(textwrap.fill, width=width, break_long_words=False, break_on_hyphens=False)
    return "\n\n".join(part if part.startswith("    ") else prose(part) for part in parts[: last + 1])


def _show_pretrained(name: str, zoo: Zoo, as_json: bool) -> None:
    from ganzoo.cli.console import arrowed
    from ganzoo.formatting import duration, figure
    from ganzoo.runs.pretrained import PREFIX, recipe_of
    from ganzoo.runs.records import read_card

    title = f"{PREFIX}{name}"
    card = read_card(zoo.pretrained.get(name).create())
    training, recipe, counts = card["training"], recipe_of(card, zoo), card["run"].get("parameters")
    hardware = f" ({training['hardware']})" if training["hardware"] else ""
    how = f"trained on {training['images']:,} images in {duration(training['seconds'])}{hardware}"
    scores = [f"{arrowed(one)} {figure(one['value'])}, real vs real {figure(one['floor'])}" for one in card["scores"]]
    about = [one_line(fact) for fact in (f"{title}: {how}", *scores)]
    _print_recipe(title, recipe, counts, about, as_json, training=training, scores=card["scores"])


def _show_recipe(
    name: str, equation: str, zoo: Zoo, overrides: list[str], data_dir: Path | None, as_json: bool
) -> None:
    from ganzoo.build import assemble
    from ganzoo.config.loading import load_recipe
    from ganzoo.training.optim import refuse_other_roles
    from ganzoo.training.step import phase_groups

    recipe = load_recipe(name, zoo, overrides)
    counts: dict[str, int] | None = None
    try:  # the sizes of networks depend on the shape of the dataset, which may be unavailable
        dataset = zoo.datasets.get(recipe.dataset.name).create("test", data_dir, **recipe.dataset.options)
    except GanzooError as error:
        say(f"No parameter counts: {error}", err=True, colour="yellow")
    else:
        assembly = assemble(recipe, zoo, dataset.modality, len(dataset.classes), dataset.column_shapes)
        # As before a training run: all networks and phases are known only now, since a loss may add some.
        refuse_other_roles(recipe, assembly.networks)
        phase_groups(assembly.objective.phases(), recipe, assembly.networks)
        counts = assembly.parameter_counts()
    about = [recipe.name, *(["", *equation.splitlines(), ""] if equation else [])]
    _print_recipe(recipe.name, recipe, counts, about, as_json, equation=equation)


def _print_recipe(
    name: str, recipe: Recipe, counts: Mapping[str, int] | None, about: list[str], as_json: bool, **facts: Any
) -> None:
    """Print a recipe below comments, so that the output can be saved and run; or, with more facts, as JSON."""
    if as_json:
        print_json({"name": name, "recipe": recipe.plain(), "parameters": counts, **facts}, indent=1)
    else:
        sizes = [f"{role}: {count:,} parameters" for role, count in (counts or {}).items()]
        show_yaml(recipe.plain(), "\n".join(f"# {line}".rstrip() for line in [*about, *sizes]))


def _show_component(entry: Entry[Any], equation: str, as_json: bool) -> None:
    from pydantic_core import to_jsonable_python

    from ganzoo.cli.console import Console

    schema = entry.options.schema()
    options = {option: {"type": in_words(schema[option])} for option in entry.options.types}
    for option, default in entry.options.defaults.items():
        options[option]["default"] = to_jsonable_python(default)
    fields = ("name", "kind", "summary", "paper", "plugin", "distribution")
    facts = {**{field: getattr(entry, field) for field in fields}, "options": options}
    description = inspect.getdoc(entry.factory) or ""
    if as_json:
        print_json({**facts, "description": description, "equation": equation}, indent=1)
        return
    show_yaml(facts)
    if entry.kind == "study":
        say(f"`ganzoo study show {entry.name}` shows its rows and claims.", err=True)
    if equation:
        say(f"\n{equation}")
    if description:
        Console().print(f"\n{description}\n")


def in_words(schema: dict[str, Any]) -> str:
    """A JSON schema in words: ``list of int >= 1``."""
    if "enum" in schema or "const" in schema:
        return " | ".join(map(str, schema.get("enum", [schema.get("const")])))
    if "anyOf" in schema:
        return " | ".join(in_words(choice) for choice in schema["anyOf"])
    if "prefixItems" in schema:
        return f"[{', '.join(in_words(item) for item in schema['prefixItems'])}]"
    if schema.get("type") == "array":
        return f"list of {in_words(schema.get('items', {}))}"
    words = {"integer": "int", "number": "float", "string": "text", "boolean": "true | false", "object": "mapping"}
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    kind = schema.get("type", "anything")
    return " ".join(
        [words.get(kind, kind), *(f"{sign} {schema[key]:.10g}" for key, sign in signs.items() if key in schema)]
    )


def show_yaml(facts: dict[str, Any], comment: str = "") -> None:
    """Print facts below a comment: in colour on a terminal; unchanged to a file, where wrapped lines are not YAML."""
    from rich.syntax import Syntax

    from ganzoo.cli.console import Console
    from ganzoo.registry import strict

    text = "\n".join(filter(None, [comment, strict.dump(facts).rstrip()]))
    if sys.stdout.isatty():  # with FORCE_COLOR, rich would take a file for a terminal
        Console().print(Syntax(text, "yaml", background_color="default", word_wrap=True))
    else:
        say(text)
