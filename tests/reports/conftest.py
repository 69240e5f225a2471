"""Records and a run to make pages from, and visits to these."""

import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from ganzoo import Dataset, Extractor
from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import load_zoo
from ganzoo.registry.registry import Entry
from ganzoo.runs.start import start
from ganzoo_studies.records import Ledger, RunRecord, ScoredRun

SCRIPT = "<script>document.title = 'owned'</script>"
PROTOCOL = {
    "metric": "fid",
    "extractor": "mnist-cnn",
    "extractor_digest": "fc644c26bbd6efc9",
    "dataset": "mnist",
    "split": "test",
    "n_real": 10_000,
    "n_fake": 10_000,
    "resizing": "none",
    "quantised": "uint8",
    "sample_seed": 0,
    "weights": "ema",
}
RECIPE = """
summary: Noise that learns to be noise
paper: Nobody 2020, A paper & more
dataset: toy
prior: {name: gaussian, dim: 4}
networks:
  generator: {name: mlp, hidden: [16]}
  discriminator: {name: mlp, hidden: [16]}
loss: non-saturating
optimizers: {default: {name: adam, lr: 1e-3}}
train: {images: 320, batch_size: 16, log_every: 64, precision: fp32, device: cpu}
evaluate: {every_images: 160, metrics: [fid@tiny], samples: 100}
"""


def score(value, *, metric="fid@mnist-cnn", weights="ema", floor=0.1, **protocol):
    """A score as a run folder holds it."""
    told = {**PROTOCOL, "metric": metric.partition("@")[0], "weights": weights, **protocol}
    return {
        "metric": metric,
        "value": value,
        "floor": floor,
        "weights": weights,
        "images": 1000,
        "seconds": 10.0,
        "protocol": told,
    }


def record(recipe, *scores, seed=0, **facts):
    """A run with the given final scores; a number stands for the score of averaged weights."""
    environment = {"cpu": "Test CPU", "gpu": None, "versions": {}}
    plain = {
        "schema": 3,
        "recipe": recipe,
        "dataset": "mnist",
        "seed": seed,
        "digest": hashlib.sha256(recipe.encode()).hexdigest(),
        "plugin": "tests",
        "summary": f"What {recipe} does",
        "paper": None,
        "loss": "hinge",
        "conditional": False,
        "status": "done",
        "error": None,
        "images": 1000,
        "seconds": 10.0,
        "wall_seconds": 12.0,
        "images_per_second": 100.0,
        "parameters": {"generator": 1000, "discriminator": 500},
        "flops_per_image": 2e6,
        "engine": "eager",
        "precision": "fp32",
        "threads": 1,
        "environment": environment,
        "samples": None,
        "finished": "2026-01-01T00:00:00+00:00",
        "command": f"ganzoo run {recipe} --seed {seed}",
        "started": "2026-01-01T00:00:00+00:00",
        "protocol": {"dataset": "mnist", "split": "test", "n_fake": 10_000, "sample_seed": 0},
    }
    made = RunRecord.model_validate({**plain, **facts})
    return ScoredRun(made, tuple(one if isinstance(one, dict) else score(one) for one in scores))


def failed(recipe, error, **facts):
    """A record of a run that failed."""
    return record(recipe, status="failed", error=error, images_per_second=None, **facts)


def write_results(folder, records):
    """A results folder; records whose ``samples`` are named get a grid of 8x8 tiles of 28 pixels."""
    ledger = Ledger(folder)
    for one in records:
        ledger.append(one.record, one.curve)
        if one.record.samples:
            Image.effect_noise((242, 242), 60).save(folder / one.record.samples)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _drawn_once():
    """Plots take most of a page's time, so the same one is drawn once for all tests."""
    from ganzoo_reports import run_figures
    from ganzoo_studies import leaderboard

    patches, known = pytest.MonkeyPatch(), {}

    def remembered(draw):
        def once(*given, **named):
            key = repr((draw, given, named))
            known[key] = known[key] if key in known else draw(*given, **named)
            return known[key]

        return once

    patches.setattr(run_figures, "curves", remembered(run_figures.curves))
    patches.setattr(leaderboard, "quality_against", remembered(leaderboard.quality_against))
    yield
    patches.undo()


@pytest.fixture(name="record", scope="session")
def _record():
    return record


@pytest.fixture(name="score", scope="session")
def _score():
    return score


@pytest.fixture(name="failed", scope="session")
def _failed():
    return failed


@pytest.fixture(name="write_results", scope="session")
def _write_results():
    return write_results


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """A small leaderboard: two datasets, two metrics, several seeds, a failure, and a stranger's markup."""
    precision = {"metric": "precision@mnist-cnn", "floor": 0.9}
    raw = {"weights": "raw"}
    ring = {"metric": "modes@ring", "floor": 8.0, "dataset": "ring", "weights": "raw"}
    slow = {"seconds": 90.0, "images_per_second": 11.1, "samples": "samples/gamma.png"}
    records = [
        record("beta", score(4.0), score(5.0, **raw), score(0.6, **precision), samples="samples/beta.png"),
        record("beta", score(6.0), score(7.0, **raw), score(0.8, **precision), seed=1, samples="samples/beta.png"),
        record("alpha", score(12.0), score(11.0, **raw), score(0.9, **precision), paper="A & B 2019"),
        record("gamma", score(2.0), score(9.0, **raw), score(0.1, **precision), loss="wasserstein", **slow),
        failed("delta", "Training diverged after 12,800 images."),
        record("stranger", 30.0, summary=f'"><img src=http://stranger.example/x>{SCRIPT}'),
        record("circle", score(7.0, **ring), dataset="ring"),
    ]
    return write_results(tmp_path_factory.mktemp("results") / "results", records)


class Tiny(Extractor):
    """A fixed random projection of 8x8 grey images to 6 features and 4 logits."""

    shape = (1, 8, 8)
    width = 6
    classes = 4

    def __init__(self):
        super().__init__()
        self.register_buffer("matrix", torch.randn(64, 10, generator=torch.Generator().manual_seed(0)))

    @property
    def digest(self):
        return hashlib.sha256(self.matrix.numpy().tobytes()).hexdigest()

    def forward(self, images):
        seen = nn.functional.relu(images.flatten(1).float() / 255 @ self.matrix)
        return seen[:, :6], seen[:, 6:]


def toy(split, folder):
    """Grey 8x8 noise."""
    n, seed = {"train": (400, 1), "test": (200, 2)}[split]
    images = torch.randint(0, 256, (n, 1, 8, 8), generator=torch.Generator().manual_seed(seed))
    return Dataset("toy", split, images.to(torch.uint8), torch.arange(n) % 4, tuple("abcd"))


@pytest.fixture(scope="session")
def toy_zoo():
    """Everything that is registered, the dataset `toy` and the extractor `tiny`."""
    zoo = load_zoo.__wrapped__()  # the one that is remembered stays as it is
    zoo.datasets.add(Entry("dataset", "toy", toy, "Noise", None, "tests", "tests 0"))
    zoo.extractors.add(Entry("extractor", "tiny", Tiny, "A projection", None, "tests", "tests 0"))
    return zoo


@pytest.fixture(scope="session")
def train(toy_zoo):
    """Trains the toy recipe with some settings, into a folder."""

    def _train(folder, *overrides, name="toy-gan", recipe=RECIPE):
        path = folder / f"{name}.yaml"
        path.write_text(recipe)
        return start(load_recipe(path, toy_zoo, list(overrides)), toy_zoo, folder / "run").path

    return _train


@pytest.fixture(scope="session")
def run(train, tmp_path_factory):
    """A real run of a second."""
    return train(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


WIDE = "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, pre, svg, .skip, .unseen') && "
WIDE += "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"


@dataclass
class Visit:
    """A page in the browser, and what it did that it should not have."""

    page: object
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def fits(self, width):
        """Only tables scroll sideways."""
        assert self.page.evaluate("document.documentElement.scrollWidth") <= width
        assert self.page.evaluate(WIDE) == []


@pytest.fixture
def visit(browser):
    """Opens a file. It may neither complain nor ask for anything but itself, which is refused."""
    contexts, visits = [], []

    def _visit(path, *, width=1280, scheme="light", scripts=True, touch=False):
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, color_scheme=scheme, java_script_enabled=scripts, has_touch=touch)
        contexts.append(context)
        page, url = context.new_page(), Path(path).resolve().as_uri()
        seen = Visit(page)
        visits.append(seen)

        def look(route):
            if route.request.url == url:
                return route.continue_()
            seen.requests.append(route.request.url)
            return route.abort()

        context.route("**/*", look)
        page.on("console", lambda message: seen.complaints.append(message.text))
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.goto(url)
        return seen

    yield _visit
    for context in contexts:
        context.close()
    assert [(seen.complaints, seen.requests) for seen in visits] == [([], [])] * len(visits)
