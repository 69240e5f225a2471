"""What do recipes that translate or remove noise cost? Memory, minutes, and pictures a second in torch and in a page.

    python benchmarks/costs.py [RECIPE ...]

trains recipes, by default those that have no figures yet, for a few steps and scores them, each in a process of its own
whose largest memory is measured; then it times the run's generator, one picture at a time on one core, in torch and on
the exported page in Chromium. Weights make no difference to that. It writes results/costs.json and results/costs.md;
minutes are those of runs in results/ that `GANZOO_CACHE=$(mktemp -d) ganzoo bench RECIPE` trained on such a machine.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.benchmark import Timer

import ganzoo
from ganzoo import TrainedGenerator
from ganzoo.config.loading import load_recipe
from ganzoo.files import write_atomically
from ganzoo.registry.loading import load_zoo
from ganzoo.runs.provenance import environment, hardware_in_words
from ganzoo_reports.export import to_html
from ganzoo_reports.templates import markdown_table
from ganzoo_studies.records import ScoredRun, read_runs

if TYPE_CHECKING:
    from playwright.sync_api import Browser

RESULTS = Path(__file__).resolve().parent.parent / "results"
OUTCOME, PAGE = RESULTS / "costs.json", RESULTS / "costs.md"
PAIRS = ("edges-to-digits", "half-to-whole", "small-to-large", "regular-to-bold", "sans-to-serif")
TRANSLATION = (*(f"pix2pix-{name}" for name in PAIRS), "cyclegan-printed-to-handwritten")
DENOISERS = ("flow-matching-mnist", "flow-matching-mlp-mnist", "ddpm-mnist", "ddpm-mlp-mnist")
OTHERS = ("vae-mnist", "vq-vae-mnist", "flagship-mnist", "r3gan-mnist", "dcgan-mnist", "vanilla-mnist")
RECIPES = (*TRANSLATION, *DENOISERS, *OTHERS)
STEPS = 20
DRAWS = 15
INTRODUCTION = """# What translating and removing noise cost

Made by `python benchmarks/costs.py` with torch {torch} and Chromium {chromium} on one core of
{hardware}. Parameters
are the generator's. Memory is the most that a process held which trained for 20 steps and scored the run. Minutes are
those of the runs in this folder on such a machine, each on one core beside another program: of training, and from the
start of the command to its end, with data to prepare for an empty cache and scores. The last three columns are of one
picture at a time. Others stand below for comparison.
"""
MEASURED = """
import atexit, re, runpy
status = open("/proc/self/status")
atexit.register(lambda: print(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1]))
runpy.run_module("ganzoo", run_name="__main__", alter_sys=True)
"""  # of Linux: what the system tells a parent counts from before the child's program began
IN_PAGE = """async (draws) => {
    const facts = JSON.parse(document.getElementById("facts").textContent), times = [];
    const code = new Float32Array(facts.latent).fill(0.1);
    const picture = new Float32Array((facts.source ?? []).reduce((one, other) => one * other, 1));
    for (let k = 0; k < draws; k++) {
        const began = performance.now();
        await explorer.draw(code, [0], picture);
        times.push(performance.now() - began);
    }
    return times;
}"""


def peak_memory(recipe: str, folder: Path) -> int:
    """The most bytes of memory that a process held which trained a recipe for 20 steps and scored it."""
    batch = load_recipe(recipe, load_zoo()).train.batch_size
    settings = [f"train.images={STEPS * batch}", "evaluate.every_images=null", "train.threads=1", "train.device=cpu"]
    words = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-c", MEASURED, "run", recipe, *words, "--out", str(folder)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return 1024 * int(said.split()[-1])


def seconds_in_torch(generator: TrainedGenerator) -> float:
    """Median time of one picture."""
    known: dict[str, object] = {"generator": generator}
    if generator.assembly.objective.generates_from:
        known["source"] = generator.sources()["source"][:1]
        return Timer("generator.translate(source)", globals=known).blocked_autorange().median
    return Timer("generator.sample(1)", globals=known).blocked_autorange().median


def seconds_in_page(generator: TrainedGenerator, browser: Browser, folder: Path) -> float:
    """Median time of one picture on its page, after the first few, which compile."""
    path = folder / "page.html"
    path.write_text(to_html(generator), "utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready=true]", timeout=120_000)
    times: list[float] = page.evaluate(IN_PAGE, DRAWS)
    page.close()
    return statistics.median(times[DRAWS // 3 :]) / 1000


def table(outcome: dict[str, Any], runs: list[ScoredRun]) -> str:
    """The figures in Markdown, a line a recipe."""
    here = hardware_in_words(outcome["environment"])
    seconds = defaultdict[str, list[tuple[float, float]]](list)
    for run in runs:
        if run.record.status == "done" and run.record.hardware == here and run.record.wall_seconds is not None:
            seconds[run.record.recipe].append((run.record.seconds, run.record.wall_seconds))
    headings = ("recipe", "parameters", "memory, MB", "training, minutes", "in all, minutes")
    headings += ("in torch, ms", "in a page, ms", "frames/s")
    lines = [
        [
            recipe,
            f"{cost['parameters']:,}",
            f"{cost['memory'] / 1e6:,.0f}",
            *(f"{statistics.fmean(some) / 60:.1f}" for some in zip(*seconds.get(recipe, []), strict=True)),
            *([] if recipe in seconds else ["", ""]),
            f"{1000 * cost['torch']:.1f}",
            f"{1000 * cost['page']:.1f}",
            f"{1 / cost['page']:,.0f}",
        ]
        for recipe, cost in outcome["recipes"].items()
    ]
    return markdown_table({heading: "right" if k else "left" for k, heading in enumerate(headings)}, lines)


def page(outcome: dict[str, Any]) -> str:
    """The page in Markdown."""
    made_on = outcome["environment"]
    words = INTRODUCTION.format(**made_on["versions"], hardware=hardware_in_words(made_on))
    return f"{words}\n{table(outcome, read_runs(RESULTS))}"


def measure(names: Sequence[str], outcome: dict[str, Any]) -> None:
    """Add the figures of recipes to the outcome, and what they were measured on."""
    from playwright.sync_api import sync_playwright  # not needed to write the page again

    torch.set_num_threads(1)
    outcome["environment"] = environment(torch.device("cpu"))
    with sync_playwright() as playwright, TemporaryDirectory() as place:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        outcome["environment"]["versions"]["chromium"] = browser.version
        for recipe in names:
            folder = Path(place) / recipe
            memory = peak_memory(recipe, folder)
            generator = ganzoo.load(folder, device="cpu")
            outcome["recipes"][recipe] = {
                "parameters": generator.run.info["parameters"]["generator"],
                "memory": memory,
                "torch": seconds_in_torch(generator),
                "page": seconds_in_page(generator, browser, folder),
            }
            write_atomically(OUTCOME, (json.dumps(outcome, indent=1) + "\n").encode())
            print(recipe, outcome["recipes"][recipe], flush=True)
        browser.close()


def _made_on(outcome: dict[str, Any]) -> tuple[str, str] | None:
    made_on = outcome.get("environment")
    return made_on and (hardware_in_words(made_on), made_on["versions"]["torch"])


def main() -> None:
    """Measure what has no figures yet, all if they are of another machine or torch, and write both files."""
    outcome = json.loads(OUTCOME.read_text("utf-8")) if OUTCOME.exists() else {"recipes": {}}
    wanted = sys.argv[1:] or [name for name in RECIPES if name not in outcome["recipes"]]
    if wanted and _made_on(outcome) != _made_on({"environment": environment(torch.device("cpu"))}):
        outcome, wanted = {"recipes": {}}, list(RECIPES)
    if wanted:
        measure(wanted, outcome)
    outcome["recipes"] = {name: outcome["recipes"][name] for name in RECIPES if name in outcome["recipes"]}
    write_atomically(OUTCOME, (json.dumps(outcome, indent=1) + "\n").encode())
    write_atomically(PAGE, page(outcome).encode())


if __name__ == "__main__":
    main()
