"""A small zoo to evaluate with: a real seeded extractor, a toy dataset, and its own cache."""

import hashlib

import pytest
import torch
from torch import nn

from ganzoo import Dataset, Extractor, Metric
from ganzoo.evaluation.metrics import register_metrics
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import Entry


class TinyExtractor(Extractor):
    """A fixed random convolution: 12 features and 4 logits of 8x8 grey images. It counts the images it sees."""

    shape = (1, 8, 8)
    width = 12
    classes = 4
    seen = 0

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.trunk = nn.Sequential(
                nn.Conv2d(1, 6, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(54, 12)
            )
            self.head = nn.Linear(12, 4)

    @property
    def digest(self):
        digest = hashlib.sha256()
        for tensor in self.state_dict().values():
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def forward(self, images):
        type(self).seen += len(images)
        features = self.trunk(images.float() / 255)
        return features, self.head(features)


def toy(split, folder, *, shift: int = 0):
    """Grey 8x8 noise; the splits are draws from one distribution."""
    generator = torch.Generator().manual_seed({"train": 1, "test": 2}[split])
    n = {"train": 900, "test": 600}[split]
    images = torch.randint(0, 200, (n, 1, 8, 8), generator=generator) + shift
    return Dataset("toy", split, images.to(torch.uint8), torch.arange(n) % 4, tuple("abcd"))


def toy_entry():
    return Entry("dataset", "toy", toy, "Noise", None, "tests", "tests 0")


@pytest.fixture
def extractor():
    return TinyExtractor().eval().requires_grad_(False)


@pytest.fixture
def metrics():
    """A zoo with ganzoo's own metrics."""
    zoo = Zoo()

    def register(name, factory, *, summary, paper=None):
        zoo.metrics.add(Entry("metric", name, factory, summary, paper, "ganzoo", "tests 0"))

    register_metrics(register)
    return zoo


class Brightness(Metric):
    """How much brighter samples are than real images, judged by the extractor's features."""

    better = "neither"
    range = "any number"

    def compute(self, inputs):
        return inputs.fake.values.mean() - inputs.real.features.values.mean()

    def settings(self, inputs):
        return {"n_compared": min(inputs.n, len(inputs.real.dataset))}


@pytest.fixture
def brightness():
    """A metric as a third-party plugin registers it."""
    return Entry("metric", "brightness", Brightness, "Brightness", None, "somebody-s", "brightness 1.2")


@pytest.fixture
def toy_zoo(metrics):
    """A zoo with ganzoo's metrics, the extractor `tiny` and the dataset `toy`."""
    zoo = metrics
    zoo.extractors.add(Entry("extractor", "tiny", TinyExtractor, "A random convolution", None, "tests", "tests 0"))
    zoo.datasets.add(toy_entry())
    return zoo


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of cached references, empty."""
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "references"


def noise(n, seed=0, channels=1, size=8, top=256):
    """uint8 images (n, c, h, w)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, top, (n, channels, size, size), generator=generator).to(torch.uint8)


@pytest.fixture(name="noise")
def _noise():
    return noise
