"""What is registered without any plugin: the three priors."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from ganzoo.api.priors import CodesPrior, GaussianPrior, Prior, UniformPrior
from ganzoo.registry.packages import OURS
from ganzoo.registry.registry import Entry, Registry

PRIORS: tuple[tuple[type[Prior], str, str | None], ...] = (
    (GaussianPrior, "Standard normal latent codes", None),
    (UniformPrior, "Latent codes uniform in [-1, 1)", None),
    (
        CodesPrior,
        "Noise beside categorical and continuous codes",
        "Chen et al. 2016, InfoGAN: Interpretable Representation Learning by Information Maximizing Generative "
        "Adversarial Nets, arXiv:1606.03657",
    ),
)


def builtin_priors() -> Registry[Prior]:
    """The registry of priors with ganzoo's own, under the plugin name ``ganzoo``."""
    try:
        package = f"{OURS} {version(OURS)}"
    except PackageNotFoundError:  # run from a source tree that was never installed
        package = f"{OURS} unknown"
    registry: Registry[Prior] = Registry("prior")
    for prior, summary, paper in PRIORS:
        registry.add(Entry("prior", prior.name, prior, summary, paper, "ganzoo", package))
    return registry
