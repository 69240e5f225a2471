"""``ganzoo show``: one thing in full."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganzoo.errors import GanzooError, unknown

if TYPE_CHECKING:
    from ganzoo.plugins import Zoo
    from ganzoo.registry import Entry


def show(
    name: Annotated[str, typer.Argument(help="A recipe's name or file, or the name of anything that is listed.")],
    kind: Annotated[str | None, typer.Option(help="Which kind is meant, where several have the name.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a value of a recipe.", metavar="KEY=VALUE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Show a resolved recipe with its networks' sizes, or a part with its options."""
    from ganzoo.cli.problems import warn_of_problems
    from ganzoo.plugins import load_zoo

    zoo = load_zoo()
    warn_of_problems(zoo)
    registries = [zoo.registry(kind)] if kind else zoo.registries()
    found = [registry.get(name) for registry in registries if name in registry]
    is_file = name.endswith((".yaml", ".yml"))
    if not found and not is_file:
        known = {entry.name for registry in registries for entry in registry}
        raise unknown(kind or "thing", name, known, zoo.recipes.hint)
    if is_file or found[0].kind == "recipe":
        _print(_recipe(name, zoo, list(set_ or ())), as_json)
        return
    if set_:
        raise GanzooError(f"--set changes recipes, and '{name}' is a {found[0].kind}.", "Leave it out.")
    for entry in found:
        _print(_part(entry), as_json)


def _recipe(name: str, zoo: Zoo, overrides: list[str]) -> dict[str, Any]:
    from ganzoo.assembly import assemble
    from ganzoo.recipe import load_recipe

    recipe = load_recipe(name, zoo, overrides)
    dataset = zoo.datasets.get(recipe.dataset.name).create("test", None, **recipe.dataset.options)
    assembly = assemble(recipe, zoo, dataset.shape, len(dataset.classes))
    return {"name": recipe.name, "recipe": recipe.plain(), "parameters": assembly.parameter_counts()}


def _part(entry: Entry[Any]) -> dict[str, Any]:
    options = {
        name: {
            "type": inspect.formatannotation(annotation),
            **({"default": entry.options.defaults[name]} if name in entry.options.defaults else {}),
        }
        for name, annotation in entry.options.types.items()
    }
    return {
        "name": entry.name,
        "kind": entry.kind,
        "summary": entry.summary,
        "paper": entry.paper,
        "plugin": f"{entry.plugin} ({entry.distribution})",
        "options": options,
        "description": inspect.getdoc(entry.factory) or "",
    }


def _print(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=1, default=str))
        return
    from rich.console import Console
    from rich.syntax import Syntax

    from ganzoo import strict_yaml

    console = Console()
    description = facts.pop("description", "")
    facts = json.loads(json.dumps(facts, default=str))
    console.print(Syntax(strict_yaml.dump(facts), "yaml", background_color="default", word_wrap=True))
    if description:
        console.print(description, markup=False, highlight=False)
