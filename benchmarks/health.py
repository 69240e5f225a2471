"""Are collapsed runs called collapsed, and no others? Short trainings that collapse or do not, and what the rules say.

The rules were fixed on digits and faces (``FIXED_ON``) and are counted on the other worlds. Convolutional runs came
later and are counted on all worlds; the rule that growth from next to nothing is a collapse was made after two of them
had been called healthy. A run has collapsed (``COLLAPSED``) if a viewer of its last grid, of 64 pictures, saw the same
one in more than half, or all points of a ring in one place; results/health/ keeps a row of the grid beside the run's
events. Seconds are left out of these, since they differ between machines: only images tell which runs are young.
Photographs are crops of mate-backgrounds, a Debian package.

    python benchmarks/health.py train [NAME...] [--work FOLDER]
    python benchmarks/health.py count
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image

from ganzoo.config.loading import load_recipe
from ganzoo.files import read_lines
from ganzoo.registry.loading import load_zoo
from ganzoo.runs.diagnosis import diagnose
from ganzoo.runs.start import start

KEPT = Path(__file__).parent.parent / "results" / "health"
BACKGROUNDS = Path("/usr/share/backgrounds/mate/nature")
PHOTOGRAPHS = 3000  # crops
FIXED_ON = ("digits", "faces")
SHORT = ["train.images=16000", "evaluate.every_images=3200", "train.batch_size=32", "train.log_every=800"]
SMALL = [*SHORT, "networks.generator.hidden=[64]", "networks.discriminator.hidden=[64]"]
COMMON = ["train.threads=1", "train.device=cpu", "train.engine=eager", "train.precision=fp32", "evaluate.samples=1000"]
UNNORMALISED = "networks.generator.norm=none"


def adam(role: str, lr: str, beta: float = 0.0) -> str:
    """The setting of a network's optimizer."""
    return f"optimizers.{role}={{name: adam, lr: {lr}, betas: [{beta}, 0.99]}}"


WORLDS = {
    "digits": ["dataset={name: mnist}", "evaluate.metrics=[fid@mnist-ae]"],
    "clothes": ["dataset={name: fashion-mnist}", "evaluate.metrics=[fid@fashion-mnist-ae]"],
    "faces": ["dataset={name: faces}", "evaluate.metrics=[]"],
    "characters": ["dataset={name: characters}", "evaluate.metrics=[]"],
    "photographs": ["dataset={{name: image-folder, path: {photographs}}}", "evaluate.metrics=[]"],
}
KINDS = {
    "plain": ("vanilla-mnist", SMALL),
    "plain-again": ("vanilla-mnist", [*SMALL, "train.seed=1", "train.ema=null"]),
    "fast-generator": ("vanilla-mnist", [*SMALL, adam("generator", "2e-2"), adam("discriminator", "1e-3")]),
    "penalty": ("r1-mnist", SMALL),
    "clipping": ("weight-clipping-mnist", SMALL),
    "young": ("vanilla-mnist", [*SMALL, "train.images=4800", "evaluate.every_images=2400"]),
    "strong-critic": ("vanilla-mnist", [*SMALL, adam("generator", "1e-4"), adam("discriminator", "1e-2")]),
    "momentum": (
        "vanilla-mnist",
        [*SMALL, UNNORMALISED, adam("generator", "1e-2", 0.9), adam("discriminator", "1e-2", 0.9)],
    ),
    "momentum-again": (
        "vanilla-mnist",
        [*SMALL, UNNORMALISED, "train.seed=1", adam("generator", "2e-2", 0.9), adam("discriminator", "5e-3", 0.9)],
    ),
    "weak-critic": (
        "vanilla-mnist",
        [*SMALL, UNNORMALISED, "train.ema=null", adam("generator", "3e-3"), adam("discriminator", "2e-5")],
    ),
}
RINGS = {
    f"ring-{recipe}-{seed}": (
        f"{recipe}-ring",
        [f"train.seed={seed}", "train.images=60000", "evaluate.every_images=12000"],
    )
    for recipe in ("collapse", "vanilla")
    for seed in range(5)
}
CASES = {
    f"{world}-{kind}": (recipe, [*WORLDS[world], *more]) for kind, (recipe, more) in KINDS.items() for world in WORLDS
}
CONVOLUTIONAL = ["networks.generator.width=16", "networks.discriminator.width=16", *SHORT]
IN_THE_RULER = ["evaluate.metrics=[fid@pictures-ae]"]
UNPENALISED = [*CONVOLUTIONAL, "regularizers=[]", "augmentation=null"]
CONVOLUTIONAL_KINDS = {
    "plain": CONVOLUTIONAL,
    "momentum": [*UNPENALISED, UNNORMALISED, adam("generator", "1e-2", 0.9), adam("discriminator", "1e-2", 0.9)],
    "strong-critic": [*UNPENALISED, adam("generator", "1e-4"), adam("discriminator", "1e-2")],
}
CASES |= {
    f"convolutional-{kind}-{world}": ("pictures", [*WORLDS[world], *more, *IN_THE_RULER])
    for kind, more in CONVOLUTIONAL_KINDS.items()
    for world in WORLDS
}
CASES |= RINGS
COLLAPSED = {
    *(f"{world}-{kind}" for kind in ("strong-critic", "weak-critic", "clipping") for world in WORLDS),
    *(f"{world}-momentum" for world in ("digits", "faces", "characters", "clothes")),
    *(f"{world}-momentum-again" for world in ("characters", "clothes")),
    *(f"convolutional-{kind}-{world}" for kind in ("momentum", "strong-critic") for world in WORLDS),
    *(f"ring-collapse-{seed}" for seed in (0, 1, 2, 4)),
}


def photographs(folder: Path) -> Path:
    """Draw square crops of the photographs, 32 pixels wide, once."""
    folder /= "photographs"
    files, choice = sorted(BACKGROUNDS.glob("*.jpg")), torch.Generator().manual_seed(0)
    if not folder.exists():
        folder.mkdir(parents=True)
        for number, file in enumerate(files):
            picture = Image.open(file).convert("RGB")
            picture.thumbnail((640, 640))
            for one in range(PHOTOGRAPHS // len(files)):
                side = int(torch.randint(64, min(picture.size) + 1, (), generator=choice))
                left, top = (int(torch.randint(0, edge - side + 1, (), generator=choice)) for edge in picture.size)
                crop = picture.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.BOX)
                crop.save(folder / f"{number:02d}-{one:03d}.png")
    return folder


def train(name: str, work: Path) -> None:
    """Train a case, and keep its events without times, and a row of its last grid."""
    zoo = load_zoo()
    recipe, settings = CASES[name]
    settings = [one.format(photographs=photographs(work)) if "{photographs}" in one else one for one in settings]
    run = start(load_recipe(recipe, zoo, [*COMMON, *settings]), zoo, work / name)
    KEPT.mkdir(parents=True, exist_ok=True)
    keys = {"event", "images", "seconds", "images_per_second", "threads", "planned_threads"}
    with (KEPT / f"{name}.jsonl").open("w") as file:
        for event in run.events():
            if event["event"] in ("train", "health", "score", "diverged", "end"):
                timeless = {key: value for key, value in event.items() if key not in keys - {"event", "images"}}
                file.write(json.dumps(timeless) + "\n")
    grid = Image.open(max((run.path / "samples").glob("*.png")))
    height = grid.height if "ring" in name else -(-grid.height // 8)
    grid.crop((0, 0, grid.width, height)).save(KEPT / f"{name}.png", optimize=True)


def judged() -> Iterator[tuple[str, bool, bool]]:
    """Each kept run: its name, whether a viewer saw a collapse, and whether the rules found one."""
    for file in sorted(KEPT.glob("*.jsonl")):
        found = [one.kind for one in diagnose(read_lines(file)).findings]
        yield file.stem, file.stem in COLLAPSED, "collapse" in found


def count() -> None:
    """Print the runs that are judged wrongly, and how many there are."""
    for where in ("fixed on", "counted on"):
        runs = [one for one in judged() if one[0].startswith(FIXED_ON) == (where == "fixed on")]
        missed = [name for name, truth, found in runs if truth and not found]
        false = [name for name, truth, found in runs if found and not truth]
        collapsed = sum(truth for _, truth, _ in runs)
        print(f"{where}: {len(runs)} runs, {collapsed} collapsed; {len(missed)} missed, {len(false)} false alarms")
        print(*(f"  missed: {name}" for name in missed), *(f"  false alarm: {name}" for name in false), sep="\n")


def main(arguments: list[str]) -> None:
    """Train cases, or print what the rules say of those that were trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["train", "count"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "ganzoo-health")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.what == "train":
        for name in options.names or CASES:
            train(name, options.work)
    else:
        count()


if __name__ == "__main__":
    main(sys.argv[1:])
