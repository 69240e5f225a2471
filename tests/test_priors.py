"""Latent codes: their layout, ranges and moments."""

from __future__ import annotations

import json

import pytest
import torch

from ganzoo import CodesPrior, GanzooError, GaussianPrior, Images, Prior, UniformPrior
from ganzoo.build import assemble
from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.registry.registry import Entry

CPU = torch.device("cpu")
MANY = 20_000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_gaussian_has_the_moments_of_a_standard_normal() -> None:
    z = GaussianPrior(dim=5).sample(MANY, seeded(), CPU)
    assert z.shape == (MANY, 5)
    assert z.dtype == torch.float32
    assert z.mean(0).abs().max() < 0.03
    assert (torch.cov(z.T) - torch.eye(5)).abs().max() < 0.05


def test_uniform_fills_its_interval() -> None:
    z = UniformPrior(dim=3).sample(MANY, seeded(), CPU)
    assert z.shape == (MANY, 3)
    assert -1 <= z.min() < -0.999
    assert 0.999 < z.max() < 1
    assert z.mean(0).abs().max() < 0.02
    assert (z.var(0) - 1 / 3).abs().max() < 0.01


def test_codes_lie_behind_the_noise_in_their_order() -> None:
    prior = CodesPrior(dim=4, categorical=(3, 5), continuous=2)
    z = prior.sample(MANY, seeded(), CPU)
    assert prior.width == 14
    assert z.shape == (MANY, 14)
    noise, first, second, continuous = z.split([4, 3, 5, 2], dim=1)
    assert (noise.var(0) - 1).abs().max() < 0.05
    for one_hot, classes in ((first, 3), (second, 5)):
        assert set(one_hot.unique().tolist()) == {0.0, 1.0}
        assert (one_hot.sum(1) == 1).all()
        assert (one_hot.mean(0) - 1 / classes).abs().max() < 0.02
    assert -1 <= continuous.min() < -0.999
    assert 0.999 < continuous.max() < 1


def test_codes_are_independent_of_one_another() -> None:
    z = CodesPrior(dim=1, categorical=(2, 2), continuous=1).sample(MANY, seeded(), CPU)
    correlation = torch.corrcoef(z[:, [0, 1, 3, 5]].T)
    assert (correlation - torch.eye(4)).abs().max() < 0.03


ALL = [
    (GaussianPrior(), 100),
    (UniformPrior(), 100),
    (CodesPrior(), 74),
    (CodesPrior(dim=2, categorical=(), continuous=3), 5),
    (CodesPrior(dim=2, categorical=(6,), continuous=0), 8),
]


@pytest.mark.parametrize(("prior", "width"), ALL, ids=str)
def test_the_generator_alone_decides_what_is_drawn(prior: Prior, width: int) -> None:
    torch.manual_seed(1)
    first = prior.sample(8, seeded(7), CPU)
    torch.manual_seed(2)
    assert torch.equal(first, prior.sample(8, seeded(7), CPU))
    assert not torch.equal(first, prior.sample(8, seeded(8), CPU))
    assert prior.width == first.shape[1] == width


WRONG: list[tuple[str, dict[str, object], str]] = [
    ("gaussian", {"dim": 0}, "prior.dim must be at least 1, not 0."),
    ("gaussian", {"dim": "64"}, "prior.dim must be a whole number, not '64'."),
    ("gaussian", {"dims": 64}, "prior has no option 'dims'. Did you mean 'dim'?"),
    ("codes", {"categorical": [1]}, "prior.categorical.0 must be at least 2, not 1."),
    ("codes", {"continuous": -1}, "prior.continuous must be at least 0, not -1."),
    ("poisson", {}, "Unknown prior 'poisson'."),
]


@pytest.mark.parametrize(("name", "options", "words"), WRONG, ids=str)
def test_a_wrong_prior_is_refused(name: str, options: dict[str, object], words: str) -> None:
    override = "prior=" + json.dumps({"name": name, **options})
    with pytest.raises(GanzooError) as caught:
        load_recipe("vanilla-mnist", load_zoo(), [override])
    assert words in str(caught.value)


def test_a_recipe_s_words_become_a_prior() -> None:
    entry = load_zoo().priors.get("codes")
    prior = entry.create(**entry.options.check({"dim": 2, "categorical": [4], "continuous": 1}))
    assert prior == CodesPrior(dim=2, categorical=(4,), continuous=1)
    assert (entry.plugin, entry.distribution.split()[0]) == ("ganzoo-priors", "ganzoo-bench")


class Sphere(Prior):
    """Uniform on the unit sphere: a prior that a plugin brings."""

    name = "sphere"

    def __init__(self, *, dim: int = 3) -> None:
        self.dim = dim

    @property
    def width(self) -> int:
        return self.dim

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> torch.Tensor:
        z = torch.randn(n, self.dim, generator=generator, device=device)
        return z / z.norm(dim=1, keepdim=True)


MNIST = Images(1, 28, 28)


def test_a_prior_of_a_plugin_is_named_in_a_recipe_and_built(own_zoo: Zoo) -> None:
    zoo = own_zoo
    zoo.priors.add(Entry("prior", "sphere", Sphere, "On the unit sphere", None, "round", "round 1.0"))
    zoo.priors.add(Entry("prior", "none", lambda: None, "Nothing", None, "round", "round 1.0"))
    recipe = load_recipe("vanilla-mnist", zoo, ["prior={name: sphere, dim: 5}"])
    spec = assemble(recipe, zoo, MNIST, 10).spec
    assert spec.latent == 5
    assert spec.prior.sample(2, seeded(), CPU).norm(dim=1).allclose(torch.ones(2))
    with pytest.raises(GanzooError, match=r"The prior 'none' .* is a NoneType\. Return a ganzoo\.Prior\."):
        assemble(load_recipe("vanilla-mnist", zoo, ["prior=none"]), zoo, MNIST, 10)


@pytest.mark.parametrize(
    "prior", [GaussianPrior(dim=4), UniformPrior(dim=4), CodesPrior(dim=4, categorical=(3,), continuous=2)]
)
def test_truncation_scales_codes_towards_the_middle_and_keeps_structured_ones(prior: Prior) -> None:
    z = prior.sample(10, seeded(), CPU)
    truncated = prior.truncate(z, 0.25)
    torch.testing.assert_close(truncated[:, :4], z[:, :4] / 4)
    assert torch.equal(truncated[:, 4:], z[:, 4:])
    assert torch.equal(prior.truncate(z, 1.0), z)


def test_codes_of_a_prior_without_a_middle_are_not_truncated() -> None:
    with pytest.raises(GanzooError, match="'sphere' cannot be truncated"):
        Sphere().truncate(torch.zeros(2, 3), 0.5)
