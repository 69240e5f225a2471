"""Things with one mistake each, all in one plugin. Importing it changes the default dtype and seeds torch, too."""

import atexit
import hashlib
import math
import random
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import softplus

from ganzoo import (
    AdversarialLoss,
    Augmentation,
    Dataset,
    Extractor,
    Metric,
    Objective,
    Phase,
    Prior,
    Regularizer,
    functional,
    hookimpl,
)

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
atexit.register(print, "so long")

THINGS = []
RECIPE = """\
summary: A bad recipe
dataset: mnist
networks: {{generator: {{name: mlp, hidden: [16]}}, discriminator: {{name: mlp, hidden: [16]}}}}
loss: {loss}
optimizers: {{default: {{name: adam, lr: 1e-3}}}}
train: {{images: 1000}}
"""
STUDY = """\
question: Is twice the learning rate better?
baseline: vanilla-mnist
variants: {twice: [optimizers.default.lr=4e-4]}
measures: [fid@mnist-cnn]
"""
FOLDER = Path(mkdtemp())
OBJECTIVES = ("trains-both", "halves", "one-sided", "own-draws")


def bad(kind, name, summary="Bad", paper="Someone 2020"):
    """Register a thing of this kind under this name."""

    def add(factory):
        THINGS.append((kind, name, factory, summary, paper))
        return factory

    return add


def noise(seed, n=16):
    return torch.randint(256, (n, 1, 4, 4), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def written(name, text):
    path = FOLDER / name
    path.write_text(text)
    return path


class OneLayer(nn.Module):
    """A right generator."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        self.image = nn.Linear(spec.latent, spec.pixels)

    def forward(self, z):
        return self.image(z).tanh().view(-1, *self.spec.image_shape)


class Wasserstein(AdversarialLoss):
    """A right one."""

    def discriminator(self, real, fake):
        return fake.mean() - real.mean()

    def generator(self, real, fake):
        return -fake.mean()


class SmallLogits(Regularizer):
    """A right one."""

    def penalty(self, context):
        return context.discriminate_real().square().mean()


@bad("loss", "unused")
class Base(Objective):
    """The Wasserstein game, in phases of its own."""

    def phases(self):
        return [
            Phase("discriminator", ("discriminator",), self.critic_loss),
            Phase("generator", ("generator",), self.generator_loss),
        ]

    def critic_loss(self, networks, batch):
        with torch.no_grad():
            fake = self.fakes(networks, batch)
        critic = networks["discriminator"]
        return {"loss": critic(fake).float().mean() - critic(batch.real).float().mean()}

    def generator_loss(self, networks, batch):
        return {"loss": -networks["discriminator"](self.fakes(networks, batch)).float().mean()}


@bad("loss", "trains-both")
class TrainsBoth(Base):
    """The generator's phase turns the discriminator's gradients on again."""

    def generator_loss(self, networks, batch):
        networks["discriminator"].requires_grad_(True)
        return super().generator_loss(networks, batch)


@bad("loss", "halves")
class Halves(Base):
    """The sum over a batch, in whatever precision the network has."""

    def generator_loss(self, networks, batch):
        return {"loss": -networks["discriminator"](self.fakes(networks, batch)).mean()}


@bad("loss", "bare", paper="Someone, somewhere")
class Bare(Wasserstein):
    def discriminator(self, real, fake):
        return fake.mean() - real.mean()


@bad("loss", "copies")
class Margin(Wasserstein):
    """Asks for a margin of one."""

    def discriminator(self, real, fake):
        margin = torch.tensor([1.0], device=real.device)
        return (margin - real).relu().mean() + (margin + fake).relu().mean()


@bad("loss", "forgets-mean")
class ForgetsMean(AdversarialLoss):
    """The non-saturating loss, not averaged."""

    def discriminator(self, real, fake):
        return softplus(-real) + softplus(fake)

    def generator(self, real, fake):
        return softplus(-fake)


@bad("loss", "global-rng")
class Reproducible(Wasserstein):
    """Seeds in every step as well."""

    def discriminator(self, real, fake):
        torch.manual_seed(0)
        return fake.mean() - real.mean()


@bad("loss", "item-in-loss")
class Chatty(Wasserstein):
    """Keeps its last value."""

    def discriminator(self, real, fake):
        loss = fake.mean() - real.mean()
        self.last = loss.item()
        return loss


@bad("loss", "loses-state")
class Forgetful(Wasserstein):
    """Centres logits on their running average."""

    def __init__(self):
        super().__init__()
        self.average = torch.zeros(())

    def discriminator(self, real, fake):
        self.average = 0.9 * self.average + 0.1 * real.detach().mean()
        return (fake - self.average).square().mean() + (real - self.average - 1).square().mean()


@bad("loss", "nan-loss")
class Naive(AdversarialLoss):
    """Equation 1 of the original paper, without a stable form."""

    def discriminator(self, real, fake):
        return -(torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(fake)).log().mean())

    def generator(self, real, fake):
        return -torch.sigmoid(fake).log().mean()


@bad("loss", "one-sided")
class OneSided(Objective):
    """Trains the discriminator alone."""

    def phases(self):
        return [Phase("discriminator", ("discriminator",), self.loss)]

    def loss(self, networks, batch):
        return {"loss": networks["discriminator"](batch.real).square().mean()}


@bad("loss", "own-draws")
class OwnDraws(Wasserstein):
    """The Wasserstein loss with a slope that is drawn anew each time."""

    def discriminator(self, real, fake):
        return (fake.mean() - real.mean()) * (1 + random.SystemRandom().random()) * (1 + random.SystemRandom().random())


@bad("loss", "required-option")
class Required(Wasserstein):
    """The Wasserstein loss with a slope.

    Args:
        slope: Multiplies each logit.
        p: Anything.
    """

    def __init__(self, *, slope: float, p: Any = 1.0):
        super().__init__()
        self.slope = slope


@bad("loss", "returns-none")
class ReturnsNone(Wasserstein):
    """The Wasserstein loss, half of it."""

    def generator(self, real, fake):
        -fake.mean()


@bad("loss", "stays-on-cpu")
class Weighted(Wasserstein):
    """Weighs images, each by a number from 0 to 1."""

    def discriminator(self, real, fake):
        weights = torch.linspace(0, 1, len(real))
        return (weights * (fake - real)).mean()


@bad("loss", "sums")
class Sums(AdversarialLoss):
    """The non-saturating loss, summed."""

    def discriminator(self, real, fake):
        return softplus(-real).sum() + softplus(fake).sum()

    def generator(self, real, fake):
        return softplus(-fake).sum()


@bad("loss", "undocumented", summary="A loss.", paper=None)
class Silent(Wasserstein):
    def __init__(self, *, slope: float = 1.0):
        super().__init__()
        self.slope = slope


@bad("loss", "unpaired")
class Unpaired(AdversarialLoss):
    """Real logits above fake ones, and the reverse."""

    def discriminator(self, real, fake):
        return softplus(fake - real).mean()

    def generator(self, real, fake):
        return softplus(real - fake).mean()


@bad("loss", "upside-down")
class UpsideDown(AdversarialLoss):
    """The non-saturating loss with each sign flipped."""

    def discriminator(self, real, fake):
        return softplus(real).mean() + softplus(-fake).mean()

    def generator(self, real, fake):
        return softplus(fake).mean()


@bad("regularizer", "never-lazy")
class NeverLazy(SmallLogits):
    """Takes an interval, and keeps it to itself.

    Args:
        weight: Factor.
        every_steps: Steps between applications.
    """

    def __init__(self, *, weight: float = 1.0, every_steps: int = 1):
        super().__init__(weight=weight)


@bad("regularizer", "no-graph")
class NoGraph(Regularizer):
    """R1, whose gradient is a constant to the optimizer."""

    def penalty(self, context):
        images = context.batch.real.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(context.critic(images).sum(), images)
        return functional.squared_norm(gradient).mean()


@bad("regularizer", "wrong-side")
class WrongSide(Regularizer):
    """Small weights of the generator, in the discriminator's phase."""

    def penalty(self, context):
        return sum(weight.square().mean() for weight in context.networks["generator"].parameters())


@bad("regularizer", "summed")
class Summed(Regularizer):
    """R1, summed over the batch."""

    def penalty(self, context):
        return functional.squared_norm(functional.input_gradient(context.critic, context.batch.real)).sum()


@bad("regularizer", "branches")
class Sometimes(Regularizer):
    """Penalises a critic only while it is ahead."""

    def penalty(self, context):
        gap = context.discriminate_real().mean() - context.discriminate_fake().mean()
        if gap > 0:
            return gap.square()
        return gap * 0


@bad("regularizer", "critic-side")
class CriticSide(SmallLogits):
    """Small logits."""

    side = "critic"


@bad("regularizer", "no-penalty")
class NoPenalty(Regularizer):
    """Forgets to override penalty()."""


@bad("regularizer", "stashes")
class Stashes(Regularizer):
    """Small logits."""

    def penalty(self, context):
        self.last = context.discriminate_real().square().mean()
        return self.last


@bad("regularizer", "weighs-itself")
class WeighsItself(SmallLogits):
    """Keeps logits small."""

    def penalty(self, context):
        return self.weight * super().penalty(context)


@bad("augmentation", "no-tensor")
class NoTensor(Augmentation):
    """Mirrors images, and says so."""

    def forward(self, images):
        return images.flip(3), True


@bad("augmentation", "rounds")
class Rounds(Augmentation):
    """The images in 256 levels."""

    def forward(self, images):
        return (images * 127.5).round() / 127.5


@bad("augmentation", "crops")
class Crops(Augmentation):
    """Images without their first row."""

    def forward(self, images):
        return images[..., 1:, :]


@bad("generator", "frozen")
class Idle(OneLayer):
    """One layer too many."""

    def __init__(self, spec):
        super().__init__(spec)
        self.spare = nn.Linear(spec.latent, spec.latent)


@bad("generator", "ignores-labels")
class IgnoresLabels(OneLayer):
    """One layer, whatever the class."""

    def forward(self, z, label=None):
        return self.image(z).tanh().view(-1, *self.spec.image_shape)


@bad("generator", "label-on-cpu")
class LabelOnCpu(nn.Module):
    """One layer, and one more for the class."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        self.image = nn.Linear(spec.latent + spec.classes, spec.pixels)

    def forward(self, z, label=None):
        if label is not None:
            z = torch.cat([z, torch.eye(self.spec.classes)[label]], 1)
        return self.image(z).tanh().view(-1, *self.spec.image_shape)


@bad("generator", "no-tanh")
class NoTanh(OneLayer):
    """One layer."""

    def forward(self, z):
        return 0.1 * self.image(z).view(-1, *self.spec.image_shape)


class Layers(nn.Module):
    """Layers for images of a size."""

    def __init__(self, spec):
        super().__init__()
        self.layers = self.of(spec.pixels)

    def of(self, pixels):
        return nn.Sequential(nn.Flatten(), nn.Linear(pixels, 1), nn.Flatten(0))

    def forward(self, images):
        return self.layers(images)


@bad("discriminator", "detached")
class Detached(Layers):
    """One layer under no_grad."""

    per_image = True

    @torch.no_grad()
    def forward(self, images):
        return self.layers(images)


@bad("discriminator", "hard-coded")
class ForMnist(Layers):
    """Works on 28x28 images only."""

    def of(self, pixels):
        return super().of(784)


@bad("discriminator", "listed-features")
class Listed(nn.Module):
    """One layer, and a head that takes a list."""

    feature_width = 8

    def __init__(self, spec):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(spec.pixels, 8), nn.LeakyReLU(0.2))
        self.last = nn.Linear(8, 1)

    def features(self, images):
        return [self.layers(images)]

    def head(self, features):
        return self.last(features[-1]).squeeze(1)

    def forward(self, images):
        return self.head(self.features(images))


@bad("discriminator", "normalised")
class Normalised(Layers):
    """One hidden layer with batch normalisation."""

    per_image = True

    def of(self, pixels):
        hidden = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 16), nn.BatchNorm1d(16), nn.LeakyReLU(0.2))
        return nn.Sequential(hidden, nn.Linear(16, 1), nn.Flatten(0))


@bad("discriminator", "wrong-shape")
class Column(Layers):
    """Forgets to drop the last dimension."""

    def of(self, pixels):
        return nn.Sequential(nn.Flatten(), nn.Linear(pixels, 1))


@bad("dataset", "always-train")
def always_train(split, folder):
    """Says that each split is the training split."""
    return Dataset("always-train", "train", noise(len(split)))


@bad("dataset", "one-split")
def one_split(split, folder):
    """The test images are some of the training images."""
    return Dataset("one-split", split, noise(0)[: 16 if split == "train" else 4])


@bad("dataset", "unseeded")
def unseeded(split, folder):
    """Draws from the global generator."""
    return Dataset("unseeded", split, torch.randint(256, (16, 1, 4, 4)).to(torch.uint8))


@bad("dataset", "other-classes")
def other_classes(split, folder):
    """Names the classes of each split apart."""
    labels = torch.arange(16) % 2
    return Dataset("other-classes", split, noise(len(split)), labels, (f"a {split} image", "another"))


@bad("extractor", "forgets-weights")
class ForgetsWeights(Extractor):
    """Never loads its weights."""

    shape = (1, 8, 8)
    width = 4
    digest = "0123456789abcdef"

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 4)

    def forward(self, images):
        return self.layer(images.flatten(1).float()), None


@bad("extractor", "plain-tensor")
class PlainTensor(Extractor):
    """Keeps a tensor that `.to()` does not move."""

    shape = (1, 8, 8)
    width = 64
    digest = "0123456789abcdef"

    def __init__(self):
        super().__init__()
        self.mean = torch.tensor(127.5)

    def forward(self, images):
        return images.flatten(1) - self.mean, None


@bad("extractor", "whole-logits")
class WholeLogits(Extractor):
    """Counts instead of logits."""

    shape = (1, 8, 8)
    width = classes = 64
    digest = "0123456789abcdef"

    def forward(self, images):
        return images.flatten(1).float(), images.flatten(1).long()


@bad("extractor", "nan-logits")
class NotANumber(WholeLogits):
    """0 / 0 as logits."""

    def forward(self, images):
        features = images.flatten(1).float()
        return features, features - torch.inf + torch.inf


@bad("extractor", "centred")
class CentredPixels(Extractor):
    """The pixels, less the batch's mean."""

    shape = (1, 8, 8)
    width = 64
    digest = "0123456789abcdef"

    def forward(self, images):
        pixels = images.flatten(1).float()
        return pixels - pixels.mean(0), None


@bad("extractor", "late-domains")
class Pixels(Extractor):
    """The pixels."""

    shape = (1, 28, 28)
    width = 784

    def __init__(self):
        super().__init__()
        self.domains = ("mnist",)

    @property
    def digest(self):
        return hashlib.sha256(b"pixels").hexdigest()

    def forward(self, images):
        return images.flatten(1).float(), None


@bad("metric", "not-a-number")
class NoScore(Metric):
    """0 / 0."""

    better = "lower"
    range = "0 and up"
    scale = "logarithm"
    rejecting = "maybe"

    def compute(self, inputs):
        return math.nan


@bad("metric", "random")
class Random(Metric):
    """Scores one sample."""

    better = "lower"
    range = "0 and up"
    share_of = "pixels"

    def compute(self, inputs):
        print("scored")
        return float(inputs.fake.values[torch.randint(inputs.n, ()), 0] + torch.rand(()))


@bad("metric", "centred")
class CentresFeatures(Metric):
    """Centres the samples in place."""

    better = "lower"
    range = "0 and up"

    def compute(self, inputs):
        values = inputs.fake.values.numpy()
        values -= values.mean(0)
        return float(values.std())


@bad("metric", "seeding")
class SeedsNumpy(Metric):
    """Seeds numpy's global generator."""

    better = "lower"
    range = "0 and up"

    def compute(self, inputs):
        np.random.seed(0)
        return float(inputs.fake.values[np.random.randint(inputs.n), 0])


@bad("prior", "global-noise")
@dataclass(frozen=True, kw_only=True)
class GlobalNoise(Prior):
    """Noise that no seed of a training decides.

    Args:
        dim: Width.
    """

    name = "global-noise"
    dim: int = 8

    @property
    def width(self):
        return self.dim

    def sample(self, n, generator, device):
        return torch.randn(n, self.dim, device=device)


@bad("prior", "on-the-cpu")
class OnTheCpu(GlobalNoise):
    """Noise that stays on the CPU."""

    def sample(self, n, generator, device):
        return torch.randn(n, self.dim, generator=generator)


@bad("prior", "seeding")
class Seeding(GlobalNoise):
    """Noise, and a seed for Python."""

    def sample(self, n, generator, device):
        random.seed(0)
        return torch.randn(n, self.dim, generator=generator, device=device)


def hook(kind):
    def register_things(register):
        for of_kind, name, factory, summary, paper in THINGS:
            if of_kind == kind:
                register(name, factory, summary=summary, paper=paper)

    return hookimpl(register_things)


register_losses, register_regularizers, register_augmentations = map(hook, ("loss", "regularizer", "augmentation"))
register_generators, register_discriminators, register_priors = map(hook, ("generator", "discriminator", "prior"))
register_datasets, register_extractors, register_metrics = map(hook, ("dataset", "extractor", "metric"))


@hookimpl
def register_recipes(register):
    texts = {name: RECIPE.format(loss=name) for name in OBJECTIVES}
    for name, text in {**texts, "unknown-name": RECIPE.format(loss="non-saturatin")}.items():
        register(written(f"{name}-mnist.yaml", text))


@hookimpl
def register_studies(register):
    search = "{optimizers.default.lrate: [1e-4, 1e-3, 1e-2]}"
    claim = "{says: Twice the rate is better., better: twice, on: [fid@mnist-cnn]}"
    register(written("wrong-trials.yaml", f"{STUDY}claims: [{claim}]\nsearch: {search}\n"))
