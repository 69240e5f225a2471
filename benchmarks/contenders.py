"""Training of MNIST generators behind one interface: ganzoo's recipes, the tutorial loop, and other packages.

All are timed by the same rule: from before the first requested step until the device has finished the last one. This
includes reading a batch, moving it and reporting losses, as in any training run.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ganzoo import Dataset, Images
from ganzoo.config.schema import Recipe, training_digest
from ganzoo.evaluation.sampling import draw
from ganzoo.registry.loading import Zoo
from ganzoo.training.trainer import Trainer
from ganzoo.training.tuning import settle_engine
from ganzoo_studies.cost import flops_per_image
from machine import wait
from peers.catalogue import Package
from peers.talk import PeerProcess
from tutorial_loop import BATCH, LATENT, TutorialLoop


class Contender(Protocol):
    """A training run that can pause at any step.

    Attributes:
        name: Its name in tables.
        weights: The weights that samples are drawn with, ``ema`` or ``raw``.
        images_per_step: Real images shown in one step.
        facts: What distinguishes it from others with the same name, as JSON.
    """

    name: str
    weights: str
    images_per_step: int
    facts: dict[str, Any]

    @property
    def steps_left(self) -> int | None:
        """Steps until its schedule ends; None if it has none."""

    def train(self, steps: int) -> float:
        """Take this many steps, and return the seconds that they took."""

    def sample(self, n: int, seed: int) -> Tensor:
        """Draw images in evaluation mode: uint8 (n, 1, 28, 28) on the CPU."""

    def flops_per_image(self) -> float:
        """Floating-point operations of a step per real image; may train for a step."""

    def close(self) -> None:
        """Release its resources."""


class Ours:
    """A recipe, trained by ganzoo's trainer.

    Args:
        recipe: The recipe, with its seed and batch size already set.
        zoo: Where its names are looked up.
        dataset: The training images.
        device: Where it trains.
    """

    def __init__(self, recipe: Recipe, zoo: Zoo, dataset: Dataset, device: torch.device) -> None:
        self.trainer = Trainer(recipe, zoo, dataset=dataset, device=device)
        settle_engine(self.trainer)
        self.name = recipe.name
        self.weights = self.trainer.kinds_of_weights[0]
        self.images_per_step = self.trainer.images_per_step
        self.facts = {
            "digest": training_digest(recipe),
            "batch": recipe.train.batch_size,
            "precision": self.trainer.precision,
            "engine": self.trainer.engine.name,
            "parameters": self.trainer.assembly.parameter_counts(),
        }
        self._zoo = zoo
        self._dataset = dataset

    @property
    def steps_left(self) -> int | None:
        """None if nothing follows a schedule: such a recipe may continue to train."""
        if not self.trainer.schedules:
            return None
        return self.trainer.total_steps - self.trainer.steps

    def train(self, steps: int) -> float:
        """Take steps, and read the losses once, as a run does at a log point."""
        started_at = perf_counter()
        for _ in range(steps):
            self.trainer.step()
        self.trainer.meters.flush()
        self.trainer.gradients.flush()
        wait(self.trainer.device)
        return perf_counter() - started_at

    def sample(self, n: int, seed: int) -> Tensor:
        """Drawn with the weights that the recipe reports."""
        trainer = self.trainer
        networks = trainer.sampling_networks(self.weights)
        spec = trainer.objective.spec
        return draw(trainer.objective, networks, n, seed=seed, device=trainer.device, classes=spec.classes)[0]

    def flops_per_image(self) -> float:
        """Counted without taking a step."""
        return flops_per_image(self.trainer.recipe, self._zoo, self._dataset)

    def close(self) -> None:
        """Nothing is held."""


class Tutorial:
    """The loop of ``tutorial_loop``.

    Args:
        data: The folder that holds torchvision's MNIST.
        seed: Seed of its weights, batches and noise.
        device: Where it trains.
    """

    name = "tutorial"
    weights = "raw"
    images_per_step = BATCH
    steps_left = None

    def __init__(self, data: Path, seed: int, device: torch.device) -> None:
        torch.manual_seed(seed)
        self.loop = TutorialLoop(data, device)
        networks = {"generator": self.loop.generator, "discriminator": self.loop.discriminator}
        parameters = {role: sum(p.numel() for p in network.parameters()) for role, network in networks.items()}
        self.facts = {"batch": BATCH, "precision": "fp32", "parameters": parameters}

    def train(self, steps: int) -> float:
        """Take steps."""
        started_at = perf_counter()
        self.loop.train(steps)
        wait(self.loop.device)
        return perf_counter() - started_at

    def sample(self, n: int, seed: int) -> Tensor:
        """Drawn 500 at a time, from the same latent codes on every device."""
        codes = torch.randn(n, LATENT, generator=torch.Generator().manual_seed(seed))
        self.loop.generator.eval()
        with torch.no_grad():
            images = [
                Images(1, 28, 28).from_network(self.loop.generator(z.to(self.loop.device))).cpu()
                for z in codes.split(500)
            ]
        self.loop.generator.train()
        return torch.cat(images).view(n, 1, 28, 28)

    def flops_per_image(self) -> float:
        """Counted while one step is taken."""
        with FlopCounterMode(display=False) as counter:
            self.loop.train(1)
        return counter.get_total_flops() / BATCH

    def close(self) -> None:
        """Nothing is held."""


class Peer:
    """Another package, in its own process.

    Args:
        package: The package.
        data: The folder that holds torchvision's MNIST.
        seed: Seed of its weights, batches and noise.
        device: Where it trains.
    """

    weights = "raw"
    steps_left = None

    def __init__(self, package: Package, data: Path, seed: int, device: torch.device) -> None:
        self.name = package.name
        self.process = PeerProcess(package, data, seed=seed, device=device, threads=torch.get_num_threads())
        self.images_per_step = self.process.images_per_step
        self.facts = {"precision": "fp32", **self.process.greeting}

    def train(self, steps: int) -> float:
        """Timed in its own process, so that communication with it does not count."""
        return self.process.train(steps)

    def sample(self, n: int, seed: int) -> Tensor:
        """Drawn in its process, and passed on in an .npz file."""
        return self.process.sample(n, seed=seed)

    def flops_per_image(self) -> float:
        """Counted in its process while one step is taken."""
        return self.process.flops_per_image()

    def close(self) -> None:
        """End its process."""
        self.process.close()
