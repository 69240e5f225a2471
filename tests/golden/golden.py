"""The golden record: what a few steps of every recipe come to, so that a change which moves code moves no bit.

``python tests/golden/golden.py compare BASE_PYTHON [HERE_PYTHON]`` trains every recipe with both interpreters, each of
which has one checkout installed, and compares logged losses and every tensor of the last checkpoint bit for bit; again
after it was resumed for as long, and for some recipes with two processes and on the simulated device. Other processors
round otherwise, so both run here and now; and through the command line that users have, so that it holds across any
change of the inside.

``python tests/golden/golden.py record`` writes losses and distances to ``losses.json``, which ``test_golden.py``
compares with within a tolerance on any machine. Renew it in the commit that means to change behaviour, and say so
there.

Everything runs in fp32 and eagerly, with one thread and seed 0.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganzoo import Dataset
    from ganzoo.config.schema import Recipe
    from ganzoo.registry.loading import Zoo

LOSSES = Path(__file__).with_name("losses.json")
EVALUATE = ("evaluate.every_images=null", "evaluate.every=null")
"""Today's name, and the one of checkouts before it."""
OWN_PICTURES = ("pictures", "pix2pix", "cyclegan")
ELSEWHERE = ("vanilla-mnist", "wgan-gp-mnist", "cgan-mnist", "stylegan2-mnist", "vae-gan-mnist")
"""Recipes that also train with two processes and on the simulated device."""
BATCHES = (8, 16, 32, 64)
"""The smallest that a recipe accepts is taken."""
STEPS = 2
"""Of recipes that show one batch in a step; those with critic iterations take one."""
SETTINGS = (
    "train.precision=fp32",
    "train.engine=eager",
    "train.device=cpu",
    "train.seed=0",
    "train.until=null",
    "evaluate.metrics=[]",
    "evaluate.samples=16",
)


def command(*words: str) -> tuple[int, str, str]:
    """``ganzoo WORDS...`` in this process: its exit code, and what it printed to standard output and error."""
    from ganzoo.cli import main

    out, err, given = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["ganzoo", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    finally:
        sys.argv = given
    return code, out.getvalue(), err.getvalue()


def names() -> list[str]:
    """Every registered recipe that ganzoo brings itself, but those for the user's own pictures."""
    found = json.loads(command("list", "recipes", "--json")[1])
    return [entry["name"] for entry in found if entry["name"] not in OWN_PICTURES]


@functools.cache
def never_evaluate() -> str:
    """The setting for it, by the name that this checkout knows."""
    for setting in EVALUATE:
        if command("show", "vanilla-mnist", "--set", setting)[0] == 0:
            return setting
    raise SystemExit("No name for evaluation's cadence is known here.")


def trained(name: str, folder: Path, elsewhere: Mapping[str, Sequence[str]] = {}) -> dict[str, Any]:
    """A recipe's few steps by the command line, and as many after a resume: its losses, and a digest of each tensor.

    ``elsewhere`` are other commands than ``ganzoo`` that train some recipes too, see ``ways``.
    """
    said = ""
    for batch in BATCHES:
        run = folder / f"{name}-{batch}"
        sizes = (f"train.batch_size={batch}", f"train.images={STEPS * batch}", f"train.log_every={batch}")
        options = [word for setting in (*SETTINGS, never_evaluate(), *sizes) for word in ("--set", setting)]
        code, _, said = command("run", name, "--out", str(run), *options)
        if code == 0:
            found = {"batch": batch, "losses": _losses(run), "tensors": _tensors(run)}
            further = json.loads((run / "run.json").read_text())["images"] + STEPS * batch
            code, _, said = command("run", "--resume", str(run), "--set", f"train.images={further}")
            if code != 0:
                raise SystemExit(f"{name} cannot be resumed: {said}")
            found["tensors"] |= _tensors(run, "resumed")
            for way, words in elsewhere.items() if name in ELSEWHERE else ():
                run = folder / f"{name}-{way}"
                on = ("--device", "cuda") if way == "device" else ()
                done = subprocess.run(
                    [*words, "run", name, "--out", run, *options, *on], capture_output=True, text=True
                )
                if done.returncode != 0:
                    raise SystemExit(f"{name} does not train by way of {way}: {done.stderr}")
                found["tensors"] |= _tensors(run, way)
            return found
    raise SystemExit(f"{name} does not train: {said}")


def ways(folder: Path) -> dict[str, list[str]]:
    """The commands that train with two processes, and on the checkout's simulated device if it can be built."""
    import torch

    import ganzoo

    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    found = {"processes": [sys.executable, *torchrun, "-m", "ganzoo"]}
    if shutil.which("g++") and not torch.backends.cuda.is_built():
        device = [sys.executable, str(Path(ganzoo.__file__).parents[1] / "tests" / "cuda" / "simulated_device.py")]
        library = subprocess.check_output([*device, "build", folder], text=True).strip()
        found["device"] = [*device, library, "ganzoo"]
    return found


def stepped(name: str, zoo: Zoo, dataset_of: Callable[[Recipe], Dataset]) -> dict[str, Any]:
    """The same steps by the trainer alone: its losses at each, and how far the first moves the weights of each role.

    Losses that have to agree within a tolerance alone would also be those of weights that stand still.
    """
    import torch

    from ganzoo.config.loading import load_recipe
    from ganzoo.errors import GanzooError
    from ganzoo.training.trainer import Trainer

    def weights() -> dict[str, torch.Tensor]:
        return {
            role: torch.cat([parameter.detach().double().flatten() for parameter in network.parameters()])
            for role, network in trainer.networks.items()
        }

    said = ""
    for batch in BATCHES:
        settings = (*SETTINGS, EVALUATE[0], f"train.batch_size={batch}", f"train.images={STEPS * batch}")
        try:
            recipe = load_recipe(name, zoo, settings)
            trainer = Trainer(recipe, zoo, dataset=dataset_of(recipe))
            before = weights()
            trainer.step()
        except GanzooError as error:
            said = error.sentence
            continue
        moved = {role: (after - before[role]).norm().item() for role, after in weights().items()}
        losses = [trainer.flush()]
        while trainer.steps < trainer.total_steps:
            trainer.step()
            losses.append(trainer.flush())
        return {"batch": batch, "moved": moved, "losses": losses}
    raise SystemExit(f"{name} does not train: {said}")


def _losses(run: Path) -> list[dict[str, float]]:
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    left_out = ("event", "images", "seconds", "images_per_second")
    return [
        {key: value for key, value in event.items() if key not in left_out}
        for event in events
        if event["event"] == "train"
    ]


def _tensors(run: Path, when: str = "trained") -> dict[str, str]:
    from safetensors.torch import load_file

    newest = max((run / "checkpoints").glob("*.safetensors"))
    return {
        f"{when}/{key}": hashlib.sha256(
            f"{tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes()
        ).hexdigest()
        for key, tensor in load_file(newest).items()
    }


def train_all(chosen: Iterable[str]) -> dict[str, Any]:
    """Many recipes by the command line, in a folder that is removed at the end."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        elsewhere = ways(Path(folder))
        return {name: trained(name, Path(folder), elsewhere) for name in chosen}


def record_all(chosen: Iterable[str]) -> dict[str, Any]:
    """What ``losses.json`` holds of many recipes."""
    import torch

    from ganzoo.registry.loading import load_zoo

    torch.set_num_threads(1)
    zoo = load_zoo()

    def dataset_of(recipe: Recipe) -> Dataset:
        return zoo.datasets.get(recipe.dataset.name).create("train", None, **recipe.dataset.options)

    return {name: stepped(name, zoo, dataset_of) for name in chosen}


def _by(python: str, chosen: list[str]) -> dict[str, Any]:
    """The same by another interpreter, whose ``ganzoo`` is the one it has installed."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run([python, __file__, "dump", *chosen], stdout=subprocess.PIPE, text=True, check=True, env=env)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(base: str, here: str, chosen: list[str]) -> int:
    """Print every difference, and give their number."""
    differences = 0
    before, after = _by(base, chosen), _by(here, chosen)
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after:
            print(f"{name}: only {'before' if name in before else 'after'}")
            differences += name in before
            continue
        old, new = before[name], after[name]
        keys = old["tensors"].keys() | new["tensors"].keys()
        wrong = sorted(key for key in keys if old["tensors"].get(key) != new["tensors"].get(key))
        if old["losses"] != new["losses"] or wrong or old["batch"] != new["batch"]:
            differences += 1
            print(f"{name}: losses {'equal' if old['losses'] == new['losses'] else 'differ'}, tensors {wrong[:4]}")
    tensors = sum(len(one["tensors"]) for one in after.values())
    print(f"{len(before)} recipes before, {len(after)} after with {tensors:,} tensors, {differences} differ")
    return differences


def main() -> None:
    """See the module's docstring."""
    task, *words = sys.argv[1:] or ["help"]
    if task == "dump":
        print(json.dumps(train_all(words or names())))
    elif task == "record":
        found = record_all(words or names())
        known = json.loads(LOSSES.read_text()) if words and LOSSES.exists() else {}
        known |= found
        lines = [f"{json.dumps(name)}: {json.dumps(known[name])}" for name in sorted(known)]
        LOSSES.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    elif task == "compare" and words:
        base, *rest = words
        here = rest.pop(0) if rest and "/" in rest[0] else sys.executable
        sys.exit(min(1, compare(base, here, rest)))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
