"""The three built-in priors, which register through the same hook as a plugin's."""

from ganzoo.api.hookspecs import Register, hookimpl
from ganzoo.api.priors import CodesPrior, GaussianPrior, Prior, UniformPrior


@hookimpl
def register_priors(register: Register[Prior]) -> None:
    """Add them."""
    register("gaussian", GaussianPrior, summary="Standard normal latent codes")
    register("uniform", UniformPrior, summary="Latent codes uniform in [-1, 1)")
    register(
        "codes",
        CodesPrior,
        summary="Noise with categorical and continuous codes",
        paper="Chen et al. 2016, InfoGAN: Interpretable Representation Learning by Information Maximizing Generative "
        "Adversarial Nets, arXiv:1606.03657",
    )
