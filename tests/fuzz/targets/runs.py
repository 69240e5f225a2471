"""Run folders as ``resume``, ``sample`` and ``report`` read them: description, records and checkpoints."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import mutations

from ganzoo.api.dataset import cache_folder
from ganzoo.config.loading import load_recipe
from ganzoo.evaluation.protocol import counterparts
from ganzoo.runs.diagnosis import diagnose
from ganzoo.runs.folder import RunFolder, scores_in
from ganzoo.runs.generator import load
from ganzoo.runs.records import load_latest
from ganzoo.runs.start import resume, start
from ganzoo_reports.run_pages import facts
from ganzoo_reports.templates import page
from targets import Target

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from ganzoo.registry.loading import Zoo

RECIPE = """
summary: Points on a ring
dataset: ring
prior: {name: gaussian, dim: 2}
networks: {generator: {name: mlp, hidden: [4]}, discriminator: {name: mlp, hidden: [4]}}
loss: non-saturating
optimizers: {default: {name: adam, lr: 1e-3}}
train: {images: 128, batch_size: 16, log_every: 16, checkpoint_seconds: 0, device: cpu, engine: eager, precision: fp32}
"""
SCORE = {
    "metric": "fid@mnist-cnn",
    "value": 4.5,
    "floor": 0.1,
    "weights": "ema",
    "images": 64,
    "seconds": 1.5,
    "protocol": {
        "metric": "fid",
        "extractor": "mnist-cnn",
        "extractor_digest": "fc644c26bbd6efc9",
        "dataset": "ring",
        "split": "test",
        "n_real": 100,
        "n_fake": 100,
        "resizing": "none",
        "quantised": "none",
        "sample_seed": 0,
    },
}
FILES = ("run.json", "recipe.yaml", "events.jsonl", "scores.jsonl", "checkpoints")


class Targets:
    """A real run of one second, damaged.

    Args:
        zoo: The registries of what its recipe names.
        models: The folder for the intact run.
    """

    def __init__(self, zoo: Zoo, models: Path) -> None:
        self.zoo = zoo
        cache_folder("read-before")  # which reading a run makes, and which is no finding
        models.mkdir(parents=True, exist_ok=True)
        path = models / "ring-gan.yaml"
        path.write_text(RECIPE)
        self.intact = start(load_recipe(path, zoo), zoo, models / "run").path
        RunFolder.open(self.intact).append_score(SCORE, {**SCORE, "images": 128, "weights": "raw"})
        RunFolder.open(self.intact).update(status="interrupted")
        for newest in sorted((self.intact / "checkpoints").iterdir())[-2:]:
            newest.unlink()  # leaves something to train on resume

    def all(self) -> dict[str, Target]:
        """By name."""
        return {
            "checkpoint": Target(self.checkpoint, 4),
            "run": Target(self.run, 5),
            "generator": Target(self.generator, 2),
            "resume": Target(self.resume, 1),
            "report": Target(self.report, 1),
        }

    def checkpoint(self, random: Random, folder: Path) -> None:
        """Tensors and state of checkpoints."""
        shutil.copytree(self.intact / "checkpoints", folder / "checkpoints")
        self._damage_checkpoints(random, folder)
        checkpoint, _ = load_latest(folder / "checkpoints")
        if checkpoint is not None:
            checkpoint.weights("networks.generator")

    def run(self, random: Random, folder: Path) -> None:
        """Everything in a run except its weights."""
        path = self._damaged(random, folder)
        run = RunFolder.open(path)
        run.events()
        scores = run.scores()
        diagnose(run.events()).lines()
        if scores:
            coming = [(score["metric"], score["protocol"]) for score in scores]
            counterparts(coming, [SCORE, *scores_in(path)], path)
        if random.random() < 0.3:
            counterparts([(SCORE["metric"], SCORE["protocol"])], scores_in(path / "scores.jsonl"), path)
        run.recipe(self.zoo)

    def generator(self, random: Random, folder: Path) -> None:
        """Samples of the trained generator."""
        load(self._damaged(random, folder), zoo=self.zoo).sample(2)

    def resume(self, random: Random, folder: Path) -> None:
        """Resume training. The recipe stays intact, because a long training run is no mistake."""
        what = random.choice(("run.json", "events.jsonl", "scores.jsonl", "checkpoints"))
        resume(self._damaged(random, folder, what), self.zoo)

    def report(self, random: Random, folder: Path) -> None:
        """The page without samples from the checkpoint, which the target above covers."""
        path = self._damaged(random, folder)
        if random.random() < 0.3:
            for picture in (path / "samples").iterdir():
                picture.write_bytes(mutations.content(random, picture.read_bytes()))
        shown = page("report.html", ("report.js",), facts(RunFolder.open(path), self.zoo, device=None, draw=False))
        assert "<script>alert" not in shown.encode().decode(), "untrusted markup reaches the page"

    def _damaged(self, random: Random, folder: Path, what: str | None = None) -> Path:
        path = folder / "run"
        shutil.copytree(self.intact, path)
        what = what or random.choice(FILES)
        if what == "checkpoints":
            self._damage_checkpoints(random, path)
        elif what == "recipe.yaml":
            text = mutations.text(random, (path / what).read_text("utf-8"))
            (path / what).write_bytes(text.encode("utf-8", "surrogatepass"))
            info = json.loads((path / "run.json").read_bytes())  # without a digest, which would give the change away
            (path / "run.json").write_text(json.dumps({**info, "recipe_digests": []}))
        elif what == "run.json":
            (path / what).write_bytes(mutations.either(random, json.loads((path / what).read_bytes())))
        else:
            (path / what).write_bytes(_lines(random, (path / what).read_bytes()))
        return path

    def _damage_checkpoints(self, random: Random, folder: Path) -> None:
        paths = sorted((folder / "checkpoints").glob("*.safetensors"))
        for path in paths if random.random() < 0.5 else paths[-1:]:
            tensors, described = path.read_bytes(), path.with_suffix(".json")
            meta = json.loads(described.read_bytes())
            if random.random() < 0.5:
                tensors = _odd_tensors(random, tensors)
                path.write_bytes(tensors)
            if random.random() < 0.3:
                described.write_bytes(mutations.content(random, described.read_bytes()))
            else:
                state = mutations.structure(random, meta["state"]) if random.random() < 0.5 else meta["state"]
                described.write_bytes(_described(tensors, state, meta["schema"]))


def _odd_tensors(random: Random, whole: bytes) -> bytes:
    """Damaged bytes, or an intact file with an odd header and a right or wrong header length."""
    if random.random() < 0.3:
        return mutations.content(random, whole)
    length = int.from_bytes(whole[:8], "little")
    header = mutations.either(random, json.loads(whole[8 : 8 + length]))
    kinds = (b'"BF16"', b'"F8_E4M3"', b'"F4"', b'"C64"', b'"U64"', b'"BOOL"', b'"F64"', b'"I8"')
    if random.random() < 0.3:
        header = header.replace(b'"F32"', random.choice(kinds), 1)
    declared = random.choice((len(header),) * 6 + (0, 1, 2**31, 2**62, 2**64 - 1, 100_000_000))
    return declared.to_bytes(8, "little") + header + whole[8 + length :]


def _described(tensors: bytes, state: Any, schema: Any) -> bytes:
    """The JSON file that ``save_checkpoint`` would write: an attacker can compute digests too."""
    meta = {"schema": schema, "sha256": hashlib.sha256(tensors).hexdigest(), "state": state}
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
    return mutations.as_json({**meta, "meta_sha256": digest})


def _lines(random: Random, whole: bytes) -> bytes:
    lines = whole.splitlines()
    for _ in range(random.choice((1, 1, 3))):
        at = random.randrange(len(lines))
        lines[at] = mutations.either(random, json.loads(whole.splitlines()[at]))
    return b"\n".join(lines) + random.choice((b"\n", b""))
