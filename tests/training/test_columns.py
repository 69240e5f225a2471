"""A dataset with a `source` column and an objective that translates it: with every engine, resumed, and sampled."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import mse_loss, softplus

from ganzoo import Dataset, Objective, Phase
from ganzoo.config.loading import load_recipe
from ganzoo.data import Sampler
from ganzoo.errors import GanzooError
from ganzoo.registry.loading import load_zoo
from ganzoo.registry.registry import Entry
from ganzoo.runs.generator import load
from ganzoo.runs.start import resume, start
from ganzoo.training import trainer as training
from ganzoo.training.trainer import Trainer

SETTINGS = [
    "dataset=inverted",
    "loss=translation",
    "networks.generator={name: mlp, hidden: [16]}",
    "networks.discriminator={name: mlp, hidden: [16]}",
    "optimizers.default={name: adam, lr: 0.000244140625, betas: [0.5, 0.9]}",
    "train.share_fakes=false",
    "train.batch_size=16",
    "train.images=320",
    "train.log_every=64",
    "train.precision=fp32",
    "train.threads=1",  # otherwise chosen by timing, and another number may change bits
    "train.device=cpu",
    "evaluate={metrics: [], samples: 20}",
]


def inverted(split, folder):
    """Random images, and as their source the same images inverted."""
    generator = torch.Generator().manual_seed(len(split))
    images = torch.randint(256, (48, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Dataset("inverted", split, images, columns={"source": 1 - images.float() / 127.5})


class Translation(Objective):
    """A small pix2pix: an adversarial loss, and an L2 distance to the image that belongs to the source."""

    generates_from = ("source",)

    def phases(self):
        return [
            Phase("discriminator", ("discriminator",), self.discriminator_loss),
            Phase("generator", ("generator",), self.generator_loss),
        ]

    def generate(self, networks, z, label, source=None):
        return torch.tanh(networks["generator"](z) + source)

    def discriminator_loss(self, networks, batch):
        with torch.no_grad():
            fake = self.fakes(networks, batch)
        real, wrong = networks["discriminator"](batch.real), networks["discriminator"](fake)
        return {"loss": softplus(-real).mean() + softplus(wrong).mean()}

    def generator_loss(self, networks, batch):
        fake = self.fakes(networks, batch)
        return {"loss": softplus(-networks["discriminator"](fake)).mean() + mse_loss(fake, -batch.source)}


class Sharing(Translation):
    """The same, with fakes that both phases share."""

    def phases(self):
        return [replace(phase, shares_fakes=True) for phase in super().phases()]

    def fakes(self, networks, batch):
        return super().fakes(networks, batch) if batch.fake is None else batch.fake

    def discriminator_loss(self, networks, batch):
        return super().discriminator_loss(networks, replace(batch, fake=batch.fake.detach()))


@pytest.fixture
def zoo():
    found = load_zoo()
    found.datasets.add(Entry("dataset", "inverted", inverted, "Inverted noise", None, "tests", "tests 0"))
    found.losses.add(Entry("loss", "translation", Translation, "pix2pix in small", "2017", "tests", "tests 0"))
    found.losses.add(Entry("loss", "sharing", Sharing, "The same", "2017", "tests", "tests 0"))
    yield found
    found.datasets.discard("inverted")
    found.losses.discard("translation")
    found.losses.discard("sharing")


def trained(zoo, engine, steps=12, *more):
    recipe = load_recipe("vanilla-mnist", zoo, [*SETTINGS, f"train.engine={engine}", *more])
    trainer = Trainer(recipe, zoo, dataset=inverted("train", None))
    curve = []
    for _ in range(steps):
        trainer.step()
        curve.append(trainer.flush())
    return trainer, curve


def test_captured_training_matches_eager_training_to_the_bit(zoo, tapes, different):
    eager, wanted = trained(zoo, "eager")
    captured, found = trained(zoo, "cudagraph")
    assert found == wanted
    assert tapes[0].captured == 2
    assert different(captured, eager) == []


@pytest.mark.usefixtures("compiler")
@pytest.mark.full
@pytest.mark.parametrize("loss", ["translation", "sharing"])
def test_compiled_training_follows_the_eager_curve(zoo, loss):
    _, wanted = trained(zoo, "eager", 4, f"loss={loss}")
    compiled, found = trained(zoo, "compile", 4, f"loss={loss}")
    assert compiled.engine.name == "compile"
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)


def test_the_source_is_used_and_stays_with_its_image(zoo):
    for streamed in (False, True):
        sampler = Sampler(inverted("train", None), 10, seed=1, device="cpu", streamed=streamed)
        for _ in range(12):
            batch = sampler.next()
            assert batch.keys() == {"image", "label", "source"}
            torch.testing.assert_close(batch["source"], -batch["image"])


def test_a_run_resumes_to_the_same_bits_and_samples_translate_their_source(zoo, tmp_path):
    recipe = load_recipe("vanilla-mnist", zoo, SETTINGS)
    whole = start(recipe, zoo, tmp_path / "whole")
    half = load_recipe("vanilla-mnist", zoo, [*SETTINGS, "train.images=160"])
    start(half, zoo, tmp_path / "half")
    rest = resume(tmp_path / "half", zoo, overrides=["train.images=320"])
    wanted = whole.checkpoint().tensors
    for name, value in rest.checkpoint().tensors.items():
        assert torch.equal(value, wanted[name]), name

    generator = load(whole, zoo=zoo)
    bright, dark = torch.full((1, 1, 8, 8), 1.0), torch.full((1, 1, 8, 8), -1.0)
    light = generator.sample(5, source=bright).float().mean()
    assert light > generator.sample(5, source=dark).float().mean() + 50
    # Without a source, those of the dataset's test split.
    wanted = generator.sample(48, source=inverted("test", None).columns["source"])
    assert torch.equal(generator.sample(48), wanted)


def test_an_objective_without_its_column_is_refused_before_training(zoo):
    recipe = load_recipe("vanilla-mnist", zoo, [*SETTINGS, "dataset=mnist"])
    with pytest.raises(
        GanzooError, match="generates from the column 'source', which the dataset 'mnist' does not have"
    ):
        Trainer(recipe, zoo, dataset=zoo.datasets.get("mnist").create("train", None))


def test_columns_are_checked():
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(GanzooError, match="a column called 'source' with 3 rows for 4 images"):
        Dataset("odd", "train", images, columns={"source": torch.zeros(3, 2)})
    with pytest.raises(GanzooError, match="a column called 'label'"):
        Dataset("odd", "train", images, columns={"label": torch.zeros(4)})


def test_the_average_s_statistics_are_measured_across_the_whole_dataset(zoo):
    """In every batch, because a dataset may be sorted."""
    levels = torch.arange(5000.0).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    images = torch.zeros(5000, 1, 8, 8, dtype=torch.uint8)
    dataset = Dataset("inverted", "train", images, columns={"source": levels.contiguous()})
    recipe = load_recipe("vanilla-mnist", zoo, [*SETTINGS, "networks.generator.hidden=[8, 8]"])
    trainer = Trainer(recipe, zoo, dataset=dataset)
    seen, generate = [], trainer.objective.generate_from

    def noted(networks, codes, label, columns):
        seen.append(columns["source"][:, 0, 0, 0])
        return generate(networks, codes, label, columns)

    trainer.objective.generate_from = noted
    trainer.sampling_networks("ema")
    assert len(torch.cat(seen).unique()) == len(seen) * training.MEASURED_SAMPLES == 2048
    assert all(rows.min() < 50 and rows.max() > 4950 for rows in seen)
