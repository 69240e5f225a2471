"""Every code block of the README and the documentation runs: here, or in the test that is named.

Commands are parsed by the command line itself, with every name looked up, and not started; the test
marked `full` runs those that train, with trainings cut short.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from PIL import Image

import ganzoo
from ganzoo.cli import app
from ganzoo.config.loading import load_recipe
from ganzoo.registry.strict import read_mapping
from ganzoo_studies.study import load_study

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "plugins" / "README.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"(?:^<!-- (?P<mark>.+?) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
IN_OTHER_TESTS = {
    ("docs/tutorial.md", "bash"): "test_tutorial.py",
    ("docs/tutorial.md", "python"): "test_tutorial.py",
    ("plugins/README.md", "python"): "contract/test_plugin_guide.py",
    ("plugins/README.md", "toml"): "contract/test_plugin_guide.py",
    ("plugins/README.md", "yaml"): "contract/test_plugin_guide.py",
    ("docs/hooks.md", "text"): "test_hooks.py",
}
OTHER_PROGRAMS = re.compile(
    r"python3 -m venv|pip install|\. \.venv/bin/activate|pre-commit install|pytest( |$)|ruff (check|format)|mypy$"
    r"|lint-imports$|\.ci/(run|full|versions)$|python docs/make_site\.py$|zensical build --strict$"
    r"|git (tag|push) |hf upload |mkdir -p |cat \S+ |cp -r |wait$|done$"
)
"""What .ci/run and .ci/full run, and the shell's own words."""
SHORT = ["train.images=512", "train.batch_size=64", "evaluate.samples=100", "evaluate.every_images=256"]

NOTEBOOKS = [ROOT / "docs" / name for name in ("first-steps.ipynb", "your-own-gan.ipynb")]
LONG = ("docs/python.md",)
"""Pages whose Python trains for more than a moment."""


@dataclass(frozen=True)
class Block:
    page: str
    mark: str
    language: str
    text: str


BLOCKS = [
    Block(page.relative_to(ROOT).as_posix(), found["mark"] or "", found["language"], found["text"])
    for page in PAGES
    for found in BLOCK.finditer(page.read_text("utf-8"))
]
HERE = [block for block in BLOCKS if (block.page, block.language) not in IN_OTHER_TESTS]


def of(language):
    found = [block for block in HERE if block.language == language]
    marks = [pytest.mark.full if language == "python" and block.page in LONG else () for block in found]
    return pytest.mark.parametrize(
        "block",
        [
            pytest.param(block, marks=mark, id=f"{block.page}-{n}")
            for n, (block, mark) in enumerate(zip(found, marks, strict=True))
        ],
    )


def test_no_block_is_of_a_language_that_no_test_knows():
    assert {block.language for block in HERE} <= {"bash", "python", "yaml", "json"}
    for test in IN_OTHER_TESTS.values():
        assert (ROOT / "tests" / test).is_file()


def test_the_documentation_stays_short():
    assert sum(len(page.read_text("utf-8").split()) for page in (ROOT / "docs").glob("*.md")) <= 12_000


def test_pages_name_recipes_that_exist(zoo):
    names = r"`(?:zoo:)?((?!tiny-|stacked-|fashion-)[a-z0-9-]+-(?:mnist|ring|grid)(?:-gpu)?)`"
    found = {name for page in (ROOT / "docs").glob("*.md") for name in re.findall(names, page.read_text("utf-8"))}
    assert "flagship-mnist" in found
    assert found <= {entry.name for entry in zoo.recipes}


@pytest.mark.parametrize("table", ["mnist", "mnist, with labels"])
def test_the_page_on_choosing_names_the_recipe_that_leads(table):
    results = (ROOT / "results" / "README.md").read_text("utf-8")
    first = re.search(rf"^## {table}\n.*?^\| 1 \| (\S+) \|", results, re.MULTILINE | re.DOTALL)[1]
    row = re.search(r"^\| \*\*the best digits.*$", (ROOT / "docs" / "which.md").read_text("utf-8"), re.MULTILINE)[0]
    assert f"{first}` is first" in row or f"{first}`: first" in row


@pytest.mark.parametrize(
    ("verdict", "claim"),
    [
        ("helps", "An auxiliary classifier makes samples' classes easier to recognise than concatenated labels do"),
        ("open", "Adaptive augmentation helps a narrow D in a short training run with 6,000 images"),
        ("helps", "On its paper's ring, with layers like the paper's, a generator that looks ahead"),
        ("helps", "Adaptive augmentation helps a narrow D in a short training run with 600 images"),
        ("open", "Packing samples together helps even a GAN that already finds nine modes in ten"),
        ("open", "The deviation within a batch as a feature of D makes a GAN cover the modes better"),
    ],
)
def test_the_page_on_choosing_agrees_with_the_verdicts(verdict, claim):
    assert f"| **{verdict}** | {claim}" in (ROOT / "results" / "README.md").read_text("utf-8")


@of("json")
def test_json_is_json(block):
    decoder, text = json.JSONDecoder(), block.text.strip()
    while text:
        found, end = decoder.raw_decode(text)
        assert isinstance(found, dict)
        text = text[end:].strip()


@of("yaml")
def test_recipes_and_studies_are_accepted_and_parts_of_them_where_they_belong(block, zoo, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(block.text)
    found = read_mapping(file)
    if "question" in found or "search" in found:
        study = {"question": "Q?", "baseline": "dcgan-mnist", "variants": {"hinge": ["loss=hinge"]}}
        study |= {"measures": ["fid@mnist-cnn", "overfitting"]}
        study |= {"claims": [{"says": "It helps.", "better": "hinge", "on": "fid@mnist-cnn"}]}
        file.write_text(json.dumps({**study, **found}))
        assert load_study(file, zoo).name == "mine"
    elif "dataset" in found:
        assert load_recipe(file, zoo).name == "mine"
    else:
        overrides = [f"{key}={json.dumps(value)}" for key, value in flat(found)]
        recipe = load_recipe("vanilla-mnist", zoo, ["evaluate.every_images=1000", *overrides])
        assert recipe.name == "vanilla-mnist"


def flat(mapping, prefix=""):
    """Dotted keys with their values; components, which have a name, stay whole."""
    for key, value in mapping.items():
        if isinstance(value, dict) and not {"name", "metric"} & set(value):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@of("python")
def test_python_runs_as_it_stands(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = {name: getattr(ganzoo, name) for name in ganzoo.__all__}
    known |= {"Path": Path, "__name__": "documentation", "nn": __import__("torch").nn}
    exec(compile(block.text, block.page, "exec", dont_inherit=True), known)
    if "ganzoo.train" in block.text:
        assert len([*tmp_path.glob("runs/*/scores.jsonl")]) == 1


def commands(text):
    """Each command of a block, as words, without what only starts it."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|;| & |&$", line):
            words = shlex.split(part, comments=True)
            while words and (words[0] in ("do", "done", "srun") or words[0] == "for"):
                words = [] if words[0] == "for" else words[1:]
            if words and words[0] == "torchrun":
                words = ["ganzoo", *words[words.index("ganzoo") + 1 :]]
            if words:
                words[0] = words[0].removeprefix(".venv/bin/")
                yield words


@of("bash")
def test_commands_are_what_the_command_line_takes(block, zoo):
    for words in commands(block.text):
        if words[0] != "ganzoo":
            assert OTHER_PROGRAMS.match(" ".join(words)), words
            continue
        command, (name, *rest) = typer.main.get_command(app), words[1:]
        command = command.commands[name]
        if name == "study":
            name, *rest = rest
            command = command.commands[name]
            name = f"study {name}"
        given = command.make_context(name, rest).params
        if name == "run" and given["recipe"] and not given["data"]:
            load_recipe(given["recipe"], zoo, given["set_"] or [])
        if name in ("study run", "study show"):
            asked = given["names"] if "names" in given else [given["name"]]
            assert set(asked) <= {entry.name for entry in zoo.studies}


def test_the_site_shows_what_is_a_file_with_its_command_and_its_picture(zoo, tmp_path, monkeypatch):
    site = runpy.run_path(str(ROOT / "docs" / "make_site.py"))
    monkeypatch.setitem(site["picture_of"].__globals__, "ROOT", tmp_path)
    pictures = tmp_path / "results" / "samples"
    pictures.mkdir(parents=True)
    (pictures / "cgan-mnist-mnist-0-0123abcd-456def.png").touch()  # as `ganzoo bench` names it today
    (pictures / "cgan-mnist-mnist-1.png").touch()
    assert site["picture_of"]("cgan-mnist") == "results/samples/cgan-mnist-mnist-0-0123abcd-456def.png"
    assert site["picture_of"]("dcgan-mnist") is None
    shown = {entry.kind: site["_of_file"](entry) for entry in (zoo.recipes.get("cgan-mnist"), zoo.studies.get("ring"))}
    shown["pretrained"] = site["_of_file"](zoo.pretrained.get("cgan-mnist"))
    assert {kind: (lines[1], lines[-4]) for kind, lines in shown.items()} == {
        "recipe": ("ganzoo run cgan-mnist", "```yaml"),
        "study": ("ganzoo study run ring", "```yaml"),
        "pretrained": ("ganzoo sample zoo:cgan-mnist --out samples.png", "```json"),
    }


def test_the_readmes_links_to_the_site_are_pages_of_it_on_the_site():
    site = runpy.run_path(str(ROOT / "docs" / "make_site.py"))
    explored = [f"explore/{name}.html" for name in site["EXPLORED"]]
    text = site["linked"]((ROOT / "README.md").read_text("utf-8"), "index.md", {"index.md", *explored})
    assert all(f"]({page})" in text for page in explored)
    assert "[the site](index.md)" in text
    assert "deployments" not in text


WRAPPER = """\
#!/bin/sh
command=$1
case "$*" in
  *--resume*) exec "{python}" -m ganzoo "$@" ;;
  run*) exec "{python}" -m ganzoo "$@" {short} ;;
  *) exec "{python}" -m ganzoo "$@" ;;
esac
"""
TRAINING = [block for block in HERE if block.language == "bash" and re.search(r"(?<!-m )ganzoo run", block.text)]


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", TRAINING, ids=[f"{block.page}-{n}" for n, block in enumerate(TRAINING)])
def test_commands_that_train_do_so(block, tmp_path):
    """In a folder with pictures, by a `ganzoo` that cuts trainings short."""
    if "newcomer" in block.mark:
        pytest.skip(".ci/run and a newcomer run it")
    for number in range(80):
        (tmp_path / "photos" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (number, 2 * number, 0)).save(
            tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        )
    Image.new("L", (28, 28)).save(tmp_path / "drawing.png")
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    short = " ".join(f"--set {setting}" for setting in SHORT)
    (programs / "ganzoo").write_text(WRAPPER.format(python=sys.executable, short=short))
    (programs / "srun").write_text('#!/bin/sh\nexec "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    text = block.text.replace("/shared/", f"{tmp_path}/")
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("runs/*/run.json"))


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_a_notebook_runs(page, tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="Jupyter is not installed: pip install 'ganzoo-bench[docs]'.")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(page, as_version=4)
    before = shown(notebook), printed(notebook)
    nbclient.NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    kinds = [kinds & {"image/png", "text/plain"} for kinds in shown(notebook)]
    assert (kinds, printed(notebook)) == before


def shown(notebook):
    """What each cell shows, as media types."""
    return [{kind for one in cell.get("outputs", []) for kind in one.get("data", ())} for cell in notebook["cells"]]


def printed(notebook):
    """What all cells print."""
    return "".join("".join(one.get("text", "")) for cell in notebook["cells"] for one in cell.get("outputs", []))


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_a_notebook_is_committed_as_run_and_holds_nothing_of_the_machine(page):
    text = page.read_text("utf-8")
    notebook = json.loads(text)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    remedy = f"python docs/make_notebook.py {page.stem}"
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), remedy
    assert sum("image/png" in kinds for kinds in shown(notebook)) == 2
    assert set().union(*shown(notebook)) == {"image/png", "text/plain"}
    assert not any(cell["metadata"] for cell in notebook["cells"])
    assert not re.search(r"/(home|root|tmp|Users|var|work)/", text)
    assert len(text) < 300_000


def test_the_notebook_of_ones_own_gan_shows_what_it_says():
    said = printed(json.loads(NOTEBOOKS[1].read_text("utf-8")))
    assert "was trained with the loss 'margin', which is in no package. Hand it over again" in said
    assert said.count("Saved 64 images to samples.png") == 2  # with --allow-code, and with the plugin
    assert "torch.Size([8, 1, 28, 28])" in said  # with the class
    assert re.search(r"All \d+ checks passed", said)


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "plugins" / "README.md"]
PAGES += [*(ROOT / "docs").glob("*.md"), *(ROOT / "results").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_within_the_repository_lead_to_files(page):
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    missing = {link for link in links if "deployments" not in link and not (page.parent / link).exists()}
    assert not missing
