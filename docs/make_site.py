"""Writes the documentation site's pages to build/pages, from which `zensical build --strict` makes the site.

Run python docs/make_site.py before `zensical build` or `zensical serve`, and again after a change.

Commands come from typer, modules, kinds, recipes and studies from the registry, the Python API from ``ganzoo.__all__``,
remedies from the diagnosis: nothing is written twice. README.md, SECURITY.md, the plugin guide and the tables in
results/ become pages as they are. A link that leads out of the site becomes plain text.
"""

from __future__ import annotations

import inspect
import json
import os.path
import re
import shutil
import sys
from collections.abc import Collection
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import torch
import typer
import yaml

import ganzoo
from ganzoo.cli import app
from ganzoo.cli.listing import in_words
from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import PluginInfo, load_zoo
from ganzoo.registry.registry import KINDS, Entry
from ganzoo.runs.diagnosis import ADVICE
from ganzoo_reports.export import to_html
from ganzoo_reports.templates import markdown as plain

ROOT = Path(__file__).parents[1]
OUT = ROOT / "build" / "pages"
PAGES = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "plugins/README.md": "plugin-guide.md",
    "tests/third_party/ganzoo-sound-plugin/README.md": "sound.md",
    "docs/first-steps.ipynb": "first-steps.md",
    "docs/your-own-gan.ipynb": "your-own-gan.md",
    "results/README.md": "results/tables.md",
    **{
        f"results/{name}.md": f"results/{name}.md"
        for name in (
            "costs",
            "peers",
            "profile",
            "time-to-fid",
            "translation",
            "truth",
            "ruler/mnist",
            "ruler/fashion-mnist",
        )
    },
}
"""Files of the repository that are pages of the site, besides those in docs/."""
EXPLORED = ("flagship-mnist", "faces", "characters")
"""The pretrained generators whose interactive pages are part of the site; each takes some ten megabytes."""
PUBLISHED = "../../deployments"
"""In README: a page on GitHub that leads to this site, whoever owns the repository. After a #: the page of the site."""
COMMANDS = {"recipe": "run {}", "study": "study run {}", "pretrained": "sample zoo:{} --out samples.png"}
"""By kind of those that are files, the command that uses one."""
INTRODUCTIONS = {
    "generators": "From latent codes to images.",
    "discriminators": "From images to one logit each.",
    "encoders": "From images to codes.",
    "losses": "What is minimised: functions of logits, or objectives with phases of their own.",
    "regularizers": "Terms that are added to a loss.",
    "augmentations": "Changes to what the discriminator sees, real and generated alike.",
    "datasets": "What is trained on.",
    "priors": "What latent codes are drawn from.",
    "extractors": "Networks in whose features images are compared.",
    "metrics": "Scores, named `metric@extractor`.",
    "trackers": "Where a run's losses, scores and grids are sent besides its folder.",
    "recipes": "Each trains with `ganzoo run NAME`. Pictures are samples of committed runs, where there are any.",
    "pretrained": "Generators that are ready to draw, as `zoo:NAME`: [what a card says](../pretrained.md).",
    "studies": "Questions put to several recipes: [how studies work](../studies.md).",
}
ARXIV = re.compile(r"(?<![\w/[])arXiv:((?:[a-z-]+/\d{7}|\d{4}\.\d{4,5})(?:v\d+)?)")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
BOLD_OR_STAR = re.compile(r"(?<![\w)])(\*\*\S[^*]*\S\*\*)(?!\w)|\*")
FENCED = re.compile(r"(^```.*?^```$|``.+?``|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Write everything that the site consists of, and the menus of the folders that mkdocs.yml names."""
    zoo = load_zoo()
    if zoo.problems:
        sys.exit("\n".join(problem.sentence for problem in zoo.problems))
    shutil.rmtree(OUT, ignore_errors=True)
    texts, others = pages(), files()
    for target, text in texts.items():
        _write(target, linked(text, target, {*texts, *others}).encode())
    for target, content in others.items():
        _write(target, content if isinstance(content, bytes) else content.read_bytes())
    for folder, entries in menus().items():
        _write(f"{folder}/SUMMARY.md", "".join(f"* [{title}]({path})\n" for title, path in entries.items()).encode())
    menu = yaml.safe_dump(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"])
    generated = tuple(f"{folder}/" for folder in menus())
    if forgotten := [page for page in texts if not page.startswith(generated) and page not in menu]:
        sys.exit(f"{', '.join(forgotten)}: a new page needs a line in mkdocs.yml.")
    if missing := set(re.findall(r"[\w/-]+\.(?:md|html)", menu)) - {*texts, *others}:
        sys.exit(f"{', '.join(missing)}: mkdocs.yml names a page that nothing makes.")


def _write(target: str, content: bytes) -> None:
    path = OUT / target
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def pages() -> dict[str, str]:
    """Every page as Markdown, by its path in the site: those in docs/, the repository's own, the generated ones."""
    texts = {path.name: path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md")}
    for source, target in PAGES.items():
        path = ROOT / source
        texts[target] = notebook(path) if path.suffix == ".ipynb" else path.read_text("utf-8")
    texts |= {f"commands/{name.replace(' ', '-')}.md": command_page(name) for name in commands()}
    texts |= {f"zoo/{plural}.md": kind_page(kind) for kind, plural in KINDS.items()}
    texts |= {_module_page(plugin.name): module_page(plugin) for plugin in ours()}
    return texts | {f"api/{home}.md": api_page(home) for home in api()}


def files() -> dict[str, Path | bytes]:
    """Everything else, by its path in the site: the style, pictures, and pages that are HTML already."""
    found: dict[str, Path | bytes] = {
        path.name: path for path in (ROOT / "docs").iterdir() if path.suffix in (".css", ".gif", ".png", ".svg")
    }
    for pattern in ("results/*.svg", "results/*.webp", "results/samples/*.png", "results/ruler/*.svg"):
        found |= {path.relative_to(ROOT).as_posix(): path for path in ROOT.glob(pattern)}
    found["leaderboard.html"] = ROOT / "results" / "index.html"
    found |= {f"studies/{path.name}": path for path in ROOT.glob("results/studies/*.html")}  # which it links to
    for name in EXPLORED:
        page = to_html(ganzoo.load(f"zoo:{name}", device=torch.device("cpu")))
        found[f"explore/{name}.html"] = page.encode()
    return found


def menus() -> dict[str, dict[str, str]]:
    """Titles and paths of what is in each folder of generated pages, in order."""
    return {
        "commands": {name: f"{name.replace(' ', '-')}.md" for name in commands()},
        "zoo": {**{plural.capitalize(): f"{plural}.md" for plural in KINDS.values()}, "Modules": "modules/"},
        "zoo/modules": {plugin.name: f"{plugin.name}.md" for plugin in ours()},
        "api": {_title(home): f"{home}.md" for home in api()},
    }


def linked(markdown: str, here: str, there: Collection[str]) -> str:
    """Point the repository's links at the site's pages, link arXiv numbers, and insert the generated remedies.

    ``here`` is the page, and ``there`` everything that it can link to, by paths in the site.
    """
    own = {target: source for source, target in PAGES.items()}
    origin = own.get(here) or (f"docs/{here}" if (ROOT / "docs" / here).is_file() else None)
    markdown = markdown.replace("<!-- generated: remedies -->", remedies())
    parts = FENCED.split(markdown)
    for index in range(0, len(parts), 2):
        if origin is not None:
            parts[index] = LINK.sub(lambda match: _relinked(match, origin, here, there), parts[index])
        parts[index] = ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", parts[index])
    return "".join(parts)


def _relinked(match: re.Match[str], origin: str, here: str, known: Collection[str]) -> str:
    """A link of the repository as a link of the site."""
    bang, text, address = match.groups()
    path, _, anchor = address.partition("#")
    if "://" in address or not path:
        return match[0]
    target = os.path.normpath((PurePosixPath(origin).parent / path).as_posix())
    modules = {(ROOT / "plugins" / f"{plugin.value.replace('.', '/')}.py"): plugin.name for plugin in ours()}
    if target in ("results", "plugins"):
        target = f"{target}/README.md"
    elif path == PUBLISHED:
        target, anchor = anchor or "index.md", ""
    elif target == "results/index.html":
        target = "leaderboard.html"
    elif target.startswith("results/studies/"):
        target = target.removeprefix("results/")
    module = modules.get(ROOT / target)
    there = _module_page(module) if module else PAGES.get(target, target.removeprefix("docs/"))
    if there not in known:
        return text  # in the repository only
    where = os.path.relpath(there, PurePosixPath(here).parent)
    return f"{bang}[{text}]({where}{f'#{anchor}' if anchor else ''})"


# Commands.


@cache
def commands() -> dict[str, Any]:
    """Every command by the words typed after `ganzoo`, including those of groups."""
    by_words = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        by_words |= {f"{name} {sub}": one for sub, one in getattr(command, "commands", {}).items()} or {name: command}
    return by_words


def command_page(name: str) -> str:
    """A command's `--help`, as a page."""
    command = commands()[name]
    context = command.context_class(command, info_name=f"ganzoo {name}")
    usage = " ".join([f"ganzoo {name}", *command.collect_usage_pieces(context)])
    lines = [f"# ganzoo {name}", "", inspect.cleandoc(command.help or ""), "", "```text", usage, "```", ""]
    for title, kind in (("Arguments", "argument"), ("Options", "option")):
        records = [one.get_help_record(context) for one in command.params if one.param_type_name == kind]
        if rows := [(names, about) for names, about in filter(None, records)]:
            lines += [f"## {title}", "", "| | |", "| --- | --- |"]
            lines += [
                f"| {_code_cell(names)} | {_cell(about.replace('<=9223372036854775807]', '<2^63]'))} |"
                for names, about in rows
            ]
            lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text in a table, backticks being code."""
    parts = re.split(r"(`[^`]+`)", " ".join(str(text).split()))
    return "".join(part.replace("|", "&#124;") if index % 2 else plain(part) for index, part in enumerate(parts))


def _code_cell(text: str) -> str:
    return f"<code>{text.strip().replace('|', '&#124;').replace('<', '&lt;').replace('[', '&#91;')}</code>"


# The zoo.


@cache
def ours() -> tuple[PluginInfo, ...]:
    """The plugins of this repository, by name."""
    plugins = [plugin for plugin in load_zoo().plugins if plugin.distribution.startswith("ganzoo-bench ")]
    return tuple(sorted(plugins, key=lambda plugin: plugin.name))


def _module_page(name: str) -> str:
    return f"zoo/modules/{name}.md"


@cache
def uses() -> dict[tuple[str, str], list[str]]:
    """The recipes that use each entry, by its kind and name."""
    zoo, recipes = load_zoo(), {}
    for entry in zoo.recipes:
        recipe = load_recipe(entry.name, zoo)
        parts = [("loss", recipe.loss.name), ("dataset", recipe.dataset.name), ("prior", recipe.prior.name)]
        parts += [("regularizer", term.name) for term in recipe.regularizers]
        parts += [("augmentation", recipe.augmentation.name)] if recipe.augmentation else []
        for role, network in recipe.networks.items():
            kinds = [kind for kind in ("generator", "discriminator", "encoder") if kind in role] or [
                kind for kind in ("generator", "discriminator", "encoder") if network.name in zoo.registry(kind)
            ]
            parts += [(kind, network.name) for kind in kinds[:1]]
        for part in dict.fromkeys(parts):
            recipes.setdefault(part, []).append(entry.name)
    return recipes


def picture_of(recipe: str) -> str | None:
    """Samples of a committed run of a recipe with seed 0, relative to the site."""
    for path in sorted((ROOT / "results" / "samples").glob(f"{recipe}-*.png")):
        # Newer names end with digests of the training and of its hardware, see ``Job.picture``.
        match = re.fullmatch(rf"{recipe}-(.+)-0(-[0-9a-f]{{8}}-[0-9a-f]{{6}})?", path.stem)
        if match and match[1] in load_zoo().datasets:
            return path.relative_to(ROOT).as_posix()
    return None


def _picture_with(entry: Entry[Any]) -> tuple[str, str] | None:
    """A recipe that uses an entry, preferably of the same module, and its picture; None if there is no such picture."""
    if entry.kind in ("dataset", "prior", "extractor", "metric", "tracker", "study"):
        return None
    plugins = {one.name: one.plugin for one in load_zoo().recipes}
    used = sorted(uses().get((entry.kind, entry.name), []), key=lambda name: plugins[name] != entry.plugin)
    return next(((name, picture) for name in used if (picture := picture_of(name))), None)


def _anchor(entry: Entry[Any]) -> str:
    return f"{entry.kind}-{entry.name}"


def kind_page(kind: str) -> str:
    """Everything of one kind: a table, or recipes with their pictures."""
    plural = KINDS[kind]
    entries = [entry for entry in load_zoo().registry(plural) if entry.plugin in {plugin.name for plugin in ours()}]
    lines = [f"# {plural.capitalize()}", "", INTRODUCTIONS.get(plural, ""), ""]
    if kind == "recipe":
        lines += ['<div class="gallery" markdown>', ""]
        for entry in entries:
            link = f"modules/{entry.plugin}.md#{_anchor(entry)}"
            picture = picture_of(entry.name)
            shown = f"[![Samples of {entry.name}](../{picture}){{ loading=lazy }}]({link})<br>" if picture else ""
            lines.append(f"- {shown}**[{entry.name}]({link})**<br>{_cell(entry.summary)}")
        return "\n".join([*lines, "", "</div>", ""])
    pictures = {entry.name: _picture_with(entry) for entry in entries}
    shown = any(pictures.values())
    lines += [
        f"{'| ' if shown else ''}| name | what it is | paper |",
        f"{'| --- ' if shown else ''}| --- | --- | --- |",
    ]
    for entry in entries:
        link = f"[{entry.name}](modules/{entry.plugin}.md#{_anchor(entry)})"
        example = pictures[entry.name]
        picture = f"![Samples of {example[0]}](../{example[1]}){{ .thumb loading=lazy }}" if example else ""
        cells = [*([picture] if shown else []), link, _cell(entry.summary), _cell(entry.paper or "")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def module_page(plugin: PluginInfo) -> str:
    """A module: its docstring, what it registers with all options, and its recipes with pictures."""
    module = sys.modules[plugin.value.partition(":")[0]]
    lines = [f"# {plugin.name}", "", f"`{plugin.value}`", "", _prose(inspect.getdoc(module) or ""), ""]
    for entry in plugin.registered:
        lines += [f"## {entry.kind.capitalize()}: {entry.name} {{ #{_anchor(entry)} }}", ""]
        lines += [_cell(entry.summary) + ".", ""]
        if entry.paper:
            lines += [_cell(entry.paper) + ".", ""]
        lines += _of_file(entry) if entry.kind in COMMANDS else _of_factory(entry)
    return "\n".join(lines)


def _of_file(entry: Entry[Any]) -> list[str]:
    file: Path = entry.factory()
    lines = ["```bash", f"ganzoo {COMMANDS[entry.kind].format(entry.name)}", "```", ""]
    if picture := picture_of(entry.name):
        lines += [f"![Samples of {entry.name}](../../{picture}){{ .samples loading=lazy }}", ""]
    if entry.name in EXPLORED:
        page = f"../../explore/{entry.name}.html"
        frame = f'<iframe class="explore" loading="lazy" src="{page}" title="Draw with {entry.name}"></iframe>'
        lines += [f"[Draw with it]({page}) here, or on a page of its own:", "", frame, ""]
    return [*lines, f"```{file.suffix[1:]}", file.read_text("utf-8").rstrip(), "```", ""]


def _of_factory(entry: Entry[Any]) -> list[str]:
    factory = entry.factory
    while hasattr(factory, "func"):
        factory = factory.func
    about, described = _described(factory)
    lines = [_prose(about), ""] if about else []
    if entry.options.types:
        schema = entry.options.schema()
        lines += ["| option | type | default | |", "| --- | --- | --- | --- |"]
        for name in entry.options.types:
            default = repr(entry.options.defaults[name]) if name in entry.options.defaults else "required"
            cells = (_code_cell(name), _code_cell(in_words(schema[name])), _code_cell(default))
            lines.append(f"| {' | '.join(cells)} | {_cell(described.get(name, ''))} |")
        lines.append("")
    if used := uses().get((entry.kind, entry.name)):
        owner = {one.name: one.plugin for one in load_zoo().recipes}
        named = [f"[{name}]({owner[name]}.md#recipe-{name})" for name in used]
        lines += [f"Used by {', '.join(named)}.", ""]
    return lines


def _described(factory: Any) -> tuple[str, dict[str, str]]:
    """A docstring without its sections, and the descriptions of its Args, including those of base classes."""
    texts = [factory] if not isinstance(factory, type) else [one for one in factory.__mro__ if one.__doc__]
    described: dict[str, str] = {}
    for text in reversed(texts):
        section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)+)", inspect.cleandoc(text.__doc__ or ""), re.MULTILINE)
        items = re.findall(
            r"^    \**(\w+)(?: \([^)]*\))?: (.*(?:\n {6,}.*)*)", section[1] if section else "", re.MULTILINE
        )
        described |= dict(items)
    about = (
        inspect.cleandoc(vars(factory).get("__doc__") or "") if isinstance(factory, type) else inspect.getdoc(factory)
    )
    return re.split(r"^(?:Args|Returns|Raises|Attributes):$", about or "", flags=re.MULTILINE)[0].strip(), described


def _prose(text: str) -> str:
    """A docstring as Markdown: indented equations are code; single stars and angles outside of code are text."""
    paragraphs = text.split("\n\n")
    done = []
    for paragraph in paragraphs:
        if paragraph.startswith("    "):
            done.append(f"```text\n{inspect.cleandoc(paragraph)}\n```")
            continue
        parts = re.split(r"(``.+?``|`[^`]+`)", paragraph)
        texts = [part.replace("<", "&lt;").replace("|", r"\|") for part in parts[::2]]
        parts[::2] = [BOLD_OR_STAR.sub(lambda match: match[1] or r"\*", text) for text in texts]
        done.append("".join(parts))
    return "\n\n".join(done)


# The Python API, remedies, the notebook.


@cache
def api() -> dict[str, list[str]]:
    """The public names by the page they are on."""
    titles = {
        "runs": "running",
        "config": "running",
        "evaluation": "running",
        "errors": "running",
        "adversarial": "losses-and-regularizers",
        "objective": "objectives",
        "dataset": "datasets",
        "reading": "datasets",
        "metric": "metrics",
        "bounds": "options",
        "hookspecs": "hooks",
        "registry": "hooks",
        "tracker": "trackers",
    }
    names: dict[str, list[str]] = {"running": []}
    for name in ganzoo.__all__:
        home = ganzoo._HOME.get(name, f"ganzoo.{name}").split(".")
        key = home[2] if home[1] == "api" else home[1]
        names.setdefault(titles.get(key, key), []).append(
            ".".join([*home, name]) if name in ganzoo._HOME else ".".join(home)
        )
    return names


def _title(name: str) -> str:
    return name.replace("-", " ").capitalize()


def api_page(home: str) -> str:
    """Public names with their signatures and docstrings, for mkdocstrings."""
    lines = [f"# {_title(home)}", ""]
    for path in api()[home]:
        module = sys.modules.get(path)
        names = [f"{vars(module)[name].__module__}.{name}" for name in _public_names(module)] if module else [path]
        if module:
            lines += [f"`{path}`: {(inspect.getdoc(module) or '').splitlines()[0]}", ""]
        lines += [f"::: {name}\n" for name in names]
    return "\n".join(lines)


def _public_names(module: Any) -> list[str]:
    """A module's public names: its ``__all__``, or its own functions."""
    named = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    return [
        name
        for name in named
        if isinstance(value := getattr(module, name), type) or inspect.isfunction(value)
        if value.__module__.startswith("ganzoo.")
    ]


def remedies() -> str:
    """The diagnosis's findings as a table, each with what to do."""
    rows = [f"| `{kind}` | {_cell(advice)} |" for kind, advice in ADVICE.items()]
    return "\n".join(["| finding | what to do |", "| --- | --- |", *rows])


def notebook(path: Path) -> str:
    """A notebook's cells as Markdown, each with what it shows."""
    parts = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})  # what is printed has none
            picture, words = data.get("image/png"), data.get("text/plain") or output["text"]
            if picture:
                parts.append(f'<img alt="What the cell shows" src="data:image/png;base64,{picture.strip()}">')
            else:
                parts.append(f"```text\n{''.join(words)}\n```")
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
