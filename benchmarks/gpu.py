"""What a GPU makes of ganzoo, in one file to send: ``python benchmarks/gpu.py`` in a clone, on an idle GPU.

It trains the recipes made for GPUs with seed 0, measures their steps with each engine, and runs the tests marked `gpu`.
The file is a zip: ``report.json`` (hardware, versions, scores, speeds, memory, the tests' result) and the last samples
of each training. It names no host, user or folder. Ctrl-C stops it, and the same command resumes the trainings.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import torch

from contenders import Ours
from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError, RunError, one_line
from ganzoo.files import default_folder, write_atomically
from ganzoo.registry.loading import load_zoo
from ganzoo.reproducibility import resolve_device
from ganzoo.runs.provenance import environment, hardware_in_words, now
from ganzoo.training.device import resolve_precision, use_available_cores
from ganzoo_studies.cost import flops_per_image
from ganzoo_studies.matrix import Job, jobs_of
from ganzoo_studies.progress import BenchProgress
from ganzoo_studies.records import Ledger
from ganzoo_studies.worker import Bench, Settings
from machine import DTYPES, gemm_peak

ROOT, TESTS = Path(__file__).parents[1], "tests"
RECIPES = ("sagan-mnist-gpu", "sngan-mnist-gpu", "stylegan2-mnist-gpu", "r3gan-mnist-gpu")
ENGINES = {"cuda": ("eager", "compile", "cudagraph", "compile-cudagraph"), "cpu": ("eager",)}
STEPS, ROUNDS = 64, 5
"""The round before these captures every phase, even one that runs in every 16th step: the fourth time is captured."""
SHORT = ("evaluate.every_images=null", "evaluate.samples=1000")
NARROW = ("train.batch_size=8", "networks.generator.width=8", "networks.discriminator.width=8")
QUICK = {"cuda": ("train.images=4096", *SHORT), "cpu": ("train.images=512", *SHORT, *NARROW)}
UNTRAINED = "Never trained yet: "
"""How the summary of a recipe without a committed run begins."""
FOLDERS = re.compile(r"""(?<![\w.:/~])(?:/[^\s/\\'":]+)+/|\b[A-Za-z]:(?:\\\\[^\s\\'":]+)+\\\\""")
"""Absolute paths in JSON, up to the file's name."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the file; in a child process, measure one recipe with one engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few thousand images each, to see that everything works")
    parser.add_argument("--device", default="cuda", help="cuda or cuda:N; with --quick also cpu, with small networks")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    try:
        if args.device.startswith("cuda") and not torch.cuda.is_available():
            fix = "check the driver with `nvidia-smi`, and that this torch is built for CUDA (https://pytorch.org)"
            raise GanzooError(f"This needs a CUDA GPU, and torch {torch.__version__} finds none: {fix}.")
        device = resolve_device(args.device)
        if device.type not in ENGINES or (device.type == "cpu" and not args.quick):
            raise GanzooError("These recipes need a CUDA GPU.", "For a trial on a CPU, add --quick.")
        use_available_cores()
        print(json.dumps(measured(*args.measure, quick=args.quick))) if args.measure else report(device, args.quick)
    except KeyboardInterrupt:
        print("Stopped. The same command continues.", file=sys.stderr)
        sys.exit(130)
    except GanzooError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


def report(device: torch.device, quick: bool) -> None:
    """Say what is to be done, do it, and write the file.

    Raises:
        RunError: A training failed; the file is written nevertheless.
    """
    zoo, here, folder = load_zoo(), environment(device), default_folder("runs", "gpu")
    settings = [f"train.device={device}", *(QUICK[device.type] if quick else ())]
    jobs = jobs_of(zoo, RECIPES, seeds=(0,), overrides=settings)
    pairs = [(job, engine) for job in jobs for engine in ENGINES[device.type]]
    peaks = {precision: gemm_peak(device, precision) for precision in DTYPES}
    print(f"{hardware_in_words(here)}: {len(pairs)} measurements of speed and some tests, after these trainings:")
    for job in jobs:
        dataset = zoo.datasets.get(job.dataset).create("train", None, **job.recipe.dataset.options)
        work = job.recipe.train.images * flops_per_image(job.recipe, zoo, dataset)
        least = work / peaks[resolve_precision(job.recipe.train.precision, device)] / 60
        print(f"  {job.recipe.name}, {job.recipe.train.images:,} images: more than {least:,.1f} minutes")
    print("So long would its fastest matrix product take; expect a multiple. The bars will show the time left.")
    print("Ctrl-C stops; the same command continues.", flush=True)

    ledger = Ledger(folder / "results")
    with BenchProgress() as progress:
        runs = Bench(zoo, ledger, Settings(folder, retry=True), progress).run(jobs)
    options = ["--device", str(device), *(["--quick"] if quick else [])]
    content = {
        "schema": 1,
        "made": now(),
        "command": shlex.join(["python", "benchmarks/gpu.py", *options]),
        "commit": subprocess.getoutput(f"git -C {shlex.quote(str(ROOT))} describe --always --dirty"),
        "environment": here,
        "card": subprocess.getoutput("nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader"),
        "gemm_peak": peaks,
        "speeds": [speed(job, engine, options) for job, engine in pairs],
        "tests": tested(),
        "runs": [{**run.plain(), "summary": run.record.summary.removeprefix(UNTRAINED)} for run in runs],
    }
    out, buffer = folder / f"ganzoo-gpu{'-quick' if quick else ''}.zip", BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("report.json", FOLDERS.sub("", json.dumps(content, indent=1)))
        for picture in filter(None, (run.record.samples for run in runs)):
            archive.writestr(picture, (ledger.folder / picture).read_bytes())
    write_atomically(out, buffer.getvalue())
    print(f"Saved to {out}, the file to send.")
    if failed := [run.record.recipe for run in runs if run.record.status == "failed"]:
        raise RunError(f"Failed, for the reasons in the file: {', '.join(failed)}.", "The same command tries again.")


def speed(job: Job, engine: str, options: Sequence[str]) -> dict[str, Any]:
    """What ``measured`` returns in a process of its own, or the error that ended it."""
    command = [sys.executable, __file__, *options, "--measure", job.source, engine, *job.overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stderr if done.returncode else done.stdout).splitlines() or [f"exit code {done.returncode}"]
    found = {"error": one_line(lines[-1])} if done.returncode else json.loads(lines[-1])
    shown = found.get("error") or f"{found['images_per_second']:,.0f} images/s in {found['precision']}"
    print(f"{job.recipe.name}, {engine}: {shown}", flush=True)
    return {"recipe": job.recipe.name, "requested": engine, **found, "digest": job.digest}


def measured(name: str, engine: str, *settings: str, quick: bool) -> dict[str, Any]:
    """Images per second of training, without evaluation, and the peak memory of this process on its GPU."""
    zoo, steps = load_zoo(), 4 if quick else STEPS
    recipe = load_recipe(name, zoo, [*settings, f"train.engine={engine}"])
    dataset = zoo.datasets.get(recipe.dataset.name).create("train", None, **recipe.dataset.options)
    ours = Ours(recipe, zoo, dataset, resolve_device(recipe.train.device))
    ours.train(steps)
    rates = [steps * ours.images_per_step / ours.train(steps) for _ in range(1 if quick else ROUNDS)]
    peak = torch.cuda.max_memory_allocated(ours.trainer.device) if ours.trainer.device.type == "cuda" else None
    # By now, the engine names the phases that it could not compile or capture.
    now_known = {"engine": ours.trainer.engine.name, "images_per_second": median(rates), "rounds": rates}
    return {**ours.facts, **now_known, "peak_memory_bytes": peak}


def tested() -> dict[str, Any]:
    """The last line of the tests marked `gpu`, and a line for each that failed."""
    command = [sys.executable, "-m", "pytest", TESTS, "-m", "gpu", "-q", "-rfE", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    *lines, summary = done.stdout.splitlines()
    print(f"tests: {summary}", flush=True)
    return {"summary": summary, "failed": [line for line in lines if line.startswith(("FAILED ", "ERROR "))]}


if __name__ == "__main__":
    main()
