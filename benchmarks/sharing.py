"""How much faster several workers finish a matrix of runs than one worker does.

    python benchmarks/sharing.py --workers 4 --seeds 32

Each worker is a single-threaded `ganzoo bench` on the same results folder. Prints the seconds that one worker takes,
those that several take, and the latter divided by the former; fails unless each run was recorded exactly once. Run it
on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from ganzoo.files import child_python, read_lines

SETTINGS = ("train.images=64000", "train.precision=fp32", "train.threads=1", "evaluate.samples=1000")


def seconds(folder: Path, workers: int, seeds: int) -> float:
    """Seconds until all workers have ended; checks that each run was recorded exactly once."""
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    words += [word for seed in range(seeds) for word in ("--seed", str(seed))]
    words += ["--results", str(folder / "results"), "--work", str(folder / "work"), "--threads", "1"]
    started_at = time.perf_counter()
    processes = [
        subprocess.Popen(child_python("ganzoo", "bench", "vanilla-ring", *words), stderr=subprocess.DEVNULL)
        for _ in range(workers)
    ]
    codes = [process.wait() for process in processes]
    took = time.perf_counter() - started_at
    recorded = Counter(line["seed"] for line in read_lines(folder / "results" / "runs.jsonl"))
    if any(codes) or recorded != dict.fromkeys(range(seeds), 1):
        sys.exit(f"Exit codes {codes}, records by seed {dict(recorded)}.")
    return took


def main() -> None:
    """Measure one worker, then several."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=32)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one, several = (seconds(Path(folder, str(n)), n, args.seeds) for n in (1, args.workers))
    print(
        json.dumps(
            {"one": round(one, 1), "workers": args.workers, "several": round(several, 1), "ratio": several / one}
        )
    )


if __name__ == "__main__":
    main()
