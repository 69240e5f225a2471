"""How long the README's commands take in a fresh clone with an empty home. Run it on an otherwise idle machine.

Without options, it runs both newcomer blocks of HEAD, each in a clone of its own, appends their measurements to
results/first-command.jsonl and rewrites the README's sentence. With `--revisions main HEAD --seeds 5`, it installs each
revision once, trains them in turn with each seed, and prints a line per run. FIDs are of averaged weights if there are.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from time import perf_counter

from ganzoo.files import locked_append, read_lines, write_atomically
from ganzoo.formatting import duration
from ganzoo.runs.provenance import hardware_in_words
from ganzoo_reports.templates import between_markers

ROOT = Path(__file__).parents[1]
MARKERS = ("<!-- first-command:begin -->", "<!-- first-command:end -->")


def timed(command: str, clone: Path) -> float:
    """The seconds that a command takes in a clone, with an empty home."""
    env = {name: value for name, value in os.environ.items() if not re.match(r"XDG_|GANZOO_|PYTHON|PIP_CACHE", name)}
    with tempfile.TemporaryDirectory() as home:
        began = perf_counter()
        subprocess.run(command, shell=True, cwd=clone, env=env | {"HOME": home}, stdout=sys.stderr, check=True)
        return perf_counter() - began


def installed(revision: str, mark: str, place: Path) -> tuple[Path, str, dict]:
    """A revision's clone after all commands of a block but the last; that command; the measurement so far."""
    commit = subprocess.check_output(["git", "-C", ROOT, "rev-parse", f"{revision}^{{commit}}"], text=True).strip()
    line, clone = {"command": mark, "revision": commit, "load": os.getloadavg()[0]}, place / mark / commit / "ganzoo"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    subprocess.run(["git", "-C", clone, "checkout", "-q", commit], check=True)
    (block,) = re.findall(rf"<!-- newcomer: {mark} -->\n```bash\n(.*)\n```", (clone / "README.md").read_text("utf-8"))
    install, _, last = block.rpartition(" && ")  # the last command trains, or tests
    return clone, last, {**line, "install": timed(install, clone)}


def trained(clone: Path, command: str) -> dict:
    """Run the command that trains: its seconds, those of training alone, FIDs, hardware and versions."""
    seconds = timed(command, clone)
    file = max(clone.glob("runs/*/run.json"), key=lambda path: path.stat().st_mtime)
    timed(f".venv/bin/ganzoo eval {file.parent} --metric fid@mnist-ae --metric fid@mnist-cnn --out fids.jsonl", clone)
    scores = sorted(read_lines(clone / "fids.jsonl"), key=lambda one: one["weights"] == "ema")
    fids = {one["metric"]: one["value"] for one in scores}
    run = json.loads(file.read_text("utf-8"))
    return {"after_install": seconds, "training": run["seconds"], **fids, "environment": run["environment"]}


def sentence(run: dict, test: dict) -> str:
    """What the README says of the measurements of its two blocks."""
    took = [duration(one[key]) for one in (run, test) for key in ("after_install", "install")]
    machine = f"{run['environment']['cores']} cores of {hardware_in_words(run['environment'])}"
    return f"On {machine}, training takes {took[0]} after {took[1]} of installing, the tests {took[2]} after {took[3]}."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--revisions", nargs="+", metavar="REVISION")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, from 0")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ready = [installed(revision, "run", Path(folder)) for revision in args.revisions or ["HEAD"]]
        for seed, (clone, command, line) in product(range(args.seeds), ready):
            run = {**line, "seed": seed, **trained(clone, f"{command} --seed {seed}")}
            print(json.dumps(run), flush=True)
        if args.revisions:
            sys.exit()
        clone, command, test = installed("HEAD", "test", Path(folder))
        test |= {"after_install": timed(command, clone), "environment": run["environment"]}
    locked_append(ROOT / "results" / "first-command.jsonl", [run, test])
    text = between_markers((ROOT / "README.md").read_text("utf-8"), MARKERS, sentence(run, test), "README.md")
    write_atomically(ROOT / "README.md", text.encode())
