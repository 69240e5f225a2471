"""Plugins that are unusual but right pass every check; of all exceptions, checks let only signals pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer import Exit

from ganzoo import AdversarialLoss, Dataset, GanzooError, GaussianPrior, Images, Modality, Objective, Phase, Points
from ganzoo.config.loading import load_recipe
from ganzoo.layers import ConditionalBatchNorm
from ganzoo.registry.loading import PluginInfo, Zoo, load_zoo
from ganzoo.registry.registry import Entry
from ganzoo_checks import commands as authors
from ganzoo_checks import contract, training
from ganzoo_checks.checking import CHECKS, Check, Function


class Sound(Modality):
    """A plugin's own modality."""

    name = "a-right-plugin-s-sound"
    stored = torch.float32
    quantisation = "none"

    @classmethod
    def examples(cls):
        return cls(1, 4096), cls(1, 16384)

    def to_network(self, samples):
        return samples

    def from_network(self, outputs):
        return outputs.float()

    def picture(self, samples, columns=None):
        return samples.flatten(1)[None].mul(255).to(torch.uint8)


class Sized(nn.Module):
    """For sounds and points: takes what ``spec.modality`` is of one kind."""

    modality: type = Sound

    def __init__(self, spec):
        super().__init__()
        if not isinstance(spec.modality, self.modality):
            raise GanzooError(f"This network is not for {spec.modality}.")
        self.spec = spec
        self.label = nn.Embedding(max(spec.classes, 1), 8)


class Generator(Sized):
    """Two layers."""

    def __init__(self, spec):
        super().__init__(spec)
        self.layers = nn.Sequential(nn.Linear(spec.latent, 8), nn.Tanh(), nn.Linear(8, spec.pixels), nn.Tanh())
        self.by_label = nn.Linear(8, spec.latent) if spec.classes else None
        if not spec.classes:
            self.label = None

    def forward(self, z, label=None):
        z = z if label is None else z + self.by_label(self.label(label))
        return self.layers(z).view(-1, *self.spec.shape)


class Discriminator(Sized):
    """A convolution along the last dimension."""

    per_image = True

    def __init__(self, spec):
        super().__init__(spec)
        self.first, self.last = nn.Conv1d(1, 8, 2), nn.Linear(8, 1)
        if not spec.classes:
            self.label = None

    def forward(self, samples, label=None):
        hidden = self.first(samples.flatten(1).unsqueeze(1)).relu().mean(2)
        return self.last(hidden if label is None else hidden + self.label(label)).squeeze(1)


class PointGenerator(Generator):
    """Two layers."""

    modality = Points


class PointDiscriminator(Discriminator):
    """A convolution along the last dimension."""

    modality = Points


class OfClass(nn.Module):
    """For conditional recipes alone."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        self.image = nn.Linear(spec.latent + 4, spec.pixels)
        self.label = nn.Embedding(spec.classes, 4)

    def forward(self, z, label):
        return self.image(torch.cat([z, self.label(label)], 1)).tanh().view(-1, *self.spec.shape)


class Recurrent(nn.Module):
    """Reads an image row by row, and computes a constant of each layer when it is built, as drop-path rates are."""

    def __init__(self, spec):
        super().__init__()
        self.rates = [rate.item() for rate in torch.linspace(0.1, 0.2, 2)]
        self.rows = nn.GRU(spec.channels * spec.width, 8, batch_first=True)
        self.logit = nn.Linear(8, 1)

    def forward(self, images):
        states, _ = self.rows(images.transpose(1, 2).flatten(2))
        return sum(rate * self.logit(states[:, -1]).squeeze(1) for rate in self.rates)


class Unbiased(AdversarialLoss):
    """The Wasserstein loss, with an unbiased estimate of a variance."""

    def discriminator(self, real, fake):
        return fake.mean() - real.mean() + 0.1 * torch.cat([real, fake]).var()

    def generator(self, real, fake):
        return -fake.mean()


class Sharing(Objective):
    """Two phases on the fakes that ganzoo makes for both."""

    def phases(self):
        return [
            Phase("discriminator", ("discriminator",), self.judge, shares_fakes=True),
            Phase("generator", ("generator",), self.fool, shares_fakes=True),
        ]

    def judge(self, networks, batch):
        real, fake = (networks["discriminator"](samples).float() for samples in (batch.real, batch.fake.detach()))
        return {"loss": fake.mean() - real.mean()}

    def fool(self, networks, batch):
        return {"loss": -networks["discriminator"](batch.fake).float().mean()}


class Step:
    """Prints its address, as most objects do."""


class WithObjects(AdversarialLoss):
    """The Wasserstein loss, with plain attributes that nothing changes."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = [Step(), (Step(),)]
        self.by_name = {"first": Step(), Step(): 1}

    def discriminator(self, real, fake):
        return fake.mean() - real.mean()

    def generator(self, real, fake):
        return -fake.mean()


def six_options(*, a: int, b: int, c: int, d: int, e: int, f: int) -> AdversarialLoss:
    """None of which has a default.

    Args:
        a: One.
        b: Two.
        c: Three.
        d: Four.
        e: Five.
        f: Six.
    """
    return WithObjects()


def sounds(split: str, folder: Path | None) -> Dataset:
    """Noise, drawn."""
    samples = torch.rand(16, 1, 64, generator=torch.Generator().manual_seed(len(split))) * 2 - 1
    return Dataset("sounds", split, samples, modality=Sound(1, 64))


def recordings(split: str, folder: Path | None) -> Dataset:
    """Sounds in files."""
    raise GanzooError("There are no recordings.", "Record some.")


THINGS: dict[tuple[str, str], Callable[..., Any]] = {
    ("generator", "of-class"): OfClass,
    ("generator", "sound"): Generator,
    ("discriminator", "sound"): Discriminator,
    ("generator", "point"): PointGenerator,
    ("discriminator", "point"): PointDiscriminator,
    ("discriminator", "recurrent"): Recurrent,
    ("loss", "with-objects"): WithObjects,
    ("loss", "unbiased"): Unbiased,
    ("loss", "sharing"): Sharing,
    ("dataset", "sounds"): sounds,
    ("dataset", "recordings"): recordings,
}
RECIPE = """\
summary: Sounds
dataset: {dataset}
networks: {{generator: sound, discriminator: sound}}
loss: {loss}
optimizers:
  default: {{name: adam, lr: 1e-3}}
train: {{images: 1000}}
"""
RECIPES = {"sounds": "non-saturating", "recordings": "non-saturating", "sharing": "sharing"}
"""The loss of each."""
EXTRACTORS = ("mnist-cnn", "mnist-ae", "stacked-mnist-cnn", "ring")
PRIORS = ("gaussian", "uniform", "codes")
METRICS = ("precision", "accuracy", "modes", "quality", "memorisation", "class-entropy", "kid")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """Everything that is registered, and these; not the zoo of the other tests."""
    own, folder = load_zoo.__wrapped__(), tmp_path_factory.mktemp("recipes")
    for (kind, name), factory in THINGS.items():
        own.registry(kind).add(Entry(kind, name, factory, "A right one", "Someone 2020", "right", "right 1.0"))
    for name, loss in RECIPES.items():
        path = folder / f"{name}.yaml"
        path.write_text(RECIPE.format(dataset="recordings" if name == "recordings" else "sounds", loss=loss))
        own.recipes.add(Entry("recipe", name, lambda path=path: path, "Sounds", None, "right", "right 1.0"))
    return own


def failures(zoo: Zoo, kind: str, name: str) -> list[str]:
    entry, found = zoo.registry(kind).get(name), []
    for check, kinds, function in CHECKS:
        if kind in kinds:
            try:
                Check("right", f"{kind}-{name}", check, function, entry, zoo).run()
            except GanzooError as error:
                found.append(f"{check}: {error}")
    return found


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *THINGS,
        ("dataset", "ring"),
        *(("recipe", name) for name in RECIPES),
        *(("metric", name) for name in METRICS),
        *(("extractor", name) for name in EXTRACTORS),
        *(("prior", name) for name in PRIORS),
    ],
)
def test_it_passes_every_check(zoo: Zoo, kind: str, name: str) -> None:
    assert failures(zoo, kind, name) == []


def test_a_recipe_is_built_for_what_its_dataset_has_or_else_its_networks_take(zoo: Zoo) -> None:
    names = ("sounds", "recordings", "vanilla-mnist")
    built = [training.recipe_game(load_recipe(name, zoo), zoo).spec.modality for name in names]
    assert built == [Sound(1, 64), Sound(1, 4096), Images(1, 28, 28)]


def test_a_network_that_takes_images_of_some_size_is_checked_with_images_alone(zoo: Zoo) -> None:
    def grey(spec: Any) -> nn.Module:
        if spec.channels != 1:
            raise GanzooError("Grey images only.")
        return nn.Sequential(nn.Flatten(), nn.Linear(spec.pixels, 1), nn.Flatten(0))

    with pytest.raises(GanzooError, match="The discriminator 'mine' fails in the check 'shape': Grey images only"):
        run(training.shape, checked("discriminator", grey))


def test_options_without_defaults_are_told_apart_beyond_the_first_few() -> None:
    run(contract.options_types, checked("loss", six_options))


@pytest.mark.parametrize(
    ("ended", "caught"),
    [
        *((one, type(one)) for one in (KeyboardInterrupt(), SystemExit(130), SystemExit(143))),
        *((one, GanzooError) for one in (SystemExit(0), SystemExit(2), MemoryError(), AssertionError("no"))),
    ],
    ids=repr,
)
def test_signals_end_the_checks_and_whatever_else_ends_one_is_its_failure(
    ended: BaseException, caught: type[BaseException]
) -> None:
    def check(entry: Any, zoo: Any) -> None:
        raise ended

    with pytest.raises(caught) as found:
        run(check, checked("loss", six_options))
    failure = f"The loss 'mine' fails in the check 'shape': {type(ended).__name__}"
    assert found.value is ended or str(found.value).startswith(failure)


def test_failures_are_printed_as_they_occur(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(entry: Any, zoo: Any) -> None:
        raise GanzooError("The loss 'slow' fails.", "Mend it.")

    def interrupt(entry: Any, zoo: Any) -> None:
        raise KeyboardInterrupt

    both = [Check("slow", "loss-slow", name, what, None, Zoo()) for name, what in (("a", fail), ("b", interrupt))]
    monkeypatch.setattr("ganzoo_checks.contract.plugin_checks", lambda name, zoo: both)
    with pytest.raises(KeyboardInterrupt):
        authors.check("slow")
    assert capsys.readouterr().out.strip() == "loss-slow a: The loss 'slow' fails. Mend it."


def test_the_command_after_a_new_plugin_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authors.new("tiny-new", tmp_path / "my plugins")
    assert f"pip install -e '{tmp_path.resolve() / 'my plugins'}'" in capsys.readouterr().err


def test_an_invalid_recipe_is_reported_once(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad-mnist.yaml"
    path.write_text("loss: nosuch\n")
    entry = Entry("recipe", "bad-mnist", lambda: path, "A recipe", None, "tests", "tests 0")
    own = Zoo(plugins=[PluginInfo("tests", "tests 0", [entry], "nowhere")])
    own.recipes.add(entry)
    monkeypatch.setattr("ganzoo.registry.loading.load_zoo", lambda: own)
    monkeypatch.setattr(contract, "import_problems", lambda plugins: {"tests": []})
    with pytest.raises(Exit):
        authors.check("tests", as_json=True)
    answer = json.loads(capsys.readouterr().out)
    assert [failure["check"] for failure in answer["failures"]] == ["valid"]
    assert answer["left_out"] == len(training.STEPS)


def checked(kind: str, factory: Any) -> Entry[Any]:
    return Entry(kind, "mine", factory, "Mine", None, "mine", "mine 1.0")


def run(check: Function, entry: Entry[Any]) -> None:
    Check("mine", f"{entry.kind}-mine", "shape", check, entry, Zoo()).run()


class Late(nn.Module):
    """Starts with the same images for all labels, and with zeros in its last layer."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        self.first, self.last = nn.Linear(spec.latent, 8), nn.Linear(8, spec.pixels)
        self.norm = ConditionalBatchNorm(8, max(1, spec.classes))
        nn.init.zeros_(self.last.weight)

    def forward(self, z, label=None):
        label = torch.zeros(len(z), dtype=torch.int64) if label is None else label
        return self.last(self.norm(self.first(z), label)).tanh().view(-1, *self.spec.shape)


def test_a_network_may_start_from_zeros_and_from_the_same_values_for_all_labels() -> None:
    entry = checked("generator", Late)
    for check in (training.uses_inputs, training.reproducible):
        run(check, entry)


def squeezing(spec: Any) -> nn.Module:
    class Squeezing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(spec.pixels, 1)

        def forward(self, images):
            return self.layer(images.flatten(1)).squeeze()

    return Squeezing()


def test_one_image_has_one_logit() -> None:
    with pytest.raises(GanzooError, match=r"returns shape \(\), not \(1,\)"):
        run(training.shape, checked("discriminator", squeezing))


def generated(split: str, folder: Path | None) -> Dataset:
    images = torch.full((16, 1, 4, 4), 0 if split == "train" else 1, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(16)
    return Dataset("mine", split, images, torch.zeros(16, dtype=torch.int64))


def mislabelled(split: str, folder: Path | None) -> Dataset:
    return Dataset("mine", split, torch.zeros(16, 1, 4, 4, dtype=torch.uint8), torch.zeros(16, dtype=torch.int32))


def test_an_invalid_dataset_is_none_whose_files_are_missing() -> None:
    run(contract.without_files, checked("dataset", generated))
    with pytest.raises(GanzooError, match="labels of type torch.int32"):
        run(contract.without_files, checked("dataset", mislabelled))


def test_a_prior_draws_n_codes_and_not_one_n_times() -> None:
    class Repeating(GaussianPrior):
        def sample(self, n, generator, device):
            return torch.randn(1, self.dim, generator=generator, device=device).expand(n, -1).clone()

    with pytest.raises(GanzooError, match="draws one code and repeats it"):
        run(contract.draws, checked("prior", Repeating))


@pytest.mark.parametrize("fault", ["mask", "decomposition"])
def test_what_waits_for_a_gpu_is_found_without_one(fault: str) -> None:
    class Waiting(nn.Module):
        def __init__(self, spec: Any) -> None:
            super().__init__()
            self.layer = nn.Linear(spec.pixels, 2)

        def forward(self, images):
            found = self.layer(images.flatten(1))
            if fault == "mask":
                found = found.clone()
                found[found[:, 0] > 0] = torch.ones(2, device=found.device)
                return found[:, 0]
            return found[:, 0] * torch.linalg.svdvals(found).sum()

    with pytest.raises(GanzooError, match="boolean mask" if fault == "mask" else "waits for the device"):
        run(training.capturable, checked("discriminator", Waiting))
