"""What a loss or regularizer cannot be combined with: each is refused in a sentence when it is bound."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from ganzoo import AdversarialGame, CodesPrior, GanzooError, GaussianPrior, Prior, Spec, UniformPrior
from ganzoo_plugins.losses.vanilla import NonSaturating
from ganzoo_plugins.networks import cdcgan, mlp, pacgan
from ganzoo_plugins.networks.encoders import deviation_layer, fully_connected
from ganzoo_plugins.objectives import ddpm, flow_matching
from ganzoo_plugins.objectives.began import BEGAN
from ganzoo_plugins.objectives.bigan import BiGAN
from ganzoo_plugins.objectives.cluster_gan import ClusterGAN
from ganzoo_plugins.objectives.ddpm import DDPM
from ganzoo_plugins.objectives.ebgan import PullingAway
from ganzoo_plugins.objectives.flow_matching import FlowMatching
from ganzoo_plugins.objectives.infogan import InfoGAN
from ganzoo_plugins.objectives.semi_supervised import SemiSupervised
from ganzoo_plugins.objectives.vae import VAE
from ganzoo_plugins.objectives.vae_gan import VAEGAN
from ganzoo_plugins.objectives.vq_vae import VQVAE
from ganzoo_plugins.regularizers.acgan import AuxiliaryClassifier
from ganzoo_plugins.regularizers.geometric import SVMMargin
from ganzoo_plugins.regularizers.orthogonal import Orthogonal
from ganzoo_plugins.regularizers.reacgan import DataToData


class Exponential(Prior):
    """A prior whose distribution function nobody knows."""

    name = "exponential"
    width = 6

    def sample(self, n, generator, device):
        raise AssertionError("nothing is drawn")


def spec(prior: Prior | None = None, classes: int = 0) -> Spec:
    return Spec((1, 4, 4), prior or GaussianPrior(dim=6), classes)


class WithoutFeatures(nn.Flatten):
    """A discriminator that shares nothing."""


PLAIN, LABELLED = mlp.Discriminator(spec()), spec(classes=3)
PROJECTING = mlp.Discriminator(LABELLED, conditioning="projection")
TWO_HEADS = mlp.Discriminator(spec())
TWO_HEADS.head = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 1))
NO_HEAD = mlp.Discriminator(spec())
NO_HEAD.head = nn.Flatten(0)
PACKED = {role: pacgan.perceptron(spec()) for role in ("generator", "discriminator", "alone")}
NO_FEATURES = {"discriminator": WithoutFeatures(), "encoder": fully_connected(spec())}
FLOW, DIFFUSION = flow_matching.mlp(spec(), width=4), ddpm.mlp(spec(), width=4)
ONE, CODES = spec(CodesPrior(dim=4, categorical=(2,), continuous=0)), spec(CodesPrior())


@pytest.mark.parametrize(
    ("part", "at", "networks", "sentence"),
    [
        (BEGAN(), spec(), {"generator": mlp.Generator(spec()), "discriminator": PLAIN}, "reconstructs images"),
        (BiGAN(), spec(), NO_FEATURES, "A discriminator of pairs shares the discriminator's layers"),
        (VAEGAN(), spec(), NO_FEATURES, "VAE-GAN shares the discriminator's layers"),
        (InfoGAN(), CODES, NO_FEATURES, r"WithoutFeatures has no 'features'.*Use the discriminator .*with features"),
        (SemiSupervised(), spec(), NO_FEATURES, r"WithoutFeatures has no 'features'.*Use the discriminator"),
        (
            AdversarialGame(NonSaturating(), [AuxiliaryClassifier()]),
            LABELLED,
            {"generator": mlp.Generator(LABELLED), **NO_FEATURES},
            "has no 'features'",
        ),
        (PullingAway(), spec(), NO_FEATURES, "pulling-away"),
        *(
            (ClusterGAN(), spec(prior), {}, r"noise and categorical codes.*prior: {name: codes")
            for prior in (GaussianPrior(), CodesPrior(categorical=(), continuous=0), CodesPrior())
        ),
        *(
            (InfoGAN(), spec(prior), {"discriminator": PLAIN}, r"no codes to recognise.*prior: {name: codes")
            for prior in (GaussianPrior(), CodesPrior(categorical=(), continuous=0))
        ),
        (VAE(), spec(UniformPrior(dim=6)), NO_FEATURES, r"the prior is 'uniform'.*prior: {name: gaussian"),
        *(
            (VQVAE(code_width=2), at, {"generator": nn.Identity()}, r"multiple of 2, but.*{name: uniform, dim: 32}")
            for at in (spec(UniformPrior(dim=7)), ONE)
        ),
        *(
            (part, spec(GaussianPrior(dim=16)), {"generator": mlp.Generator(spec())}, rf"{what}.*name: {named}-unet")
            for part, what, named in (
                (FlowMatching(), "a generator with a velocity", "flow"),
                (DDPM(), "a generator that is a diffusion model", "ddpm"),
            )
        ),
        *(
            (part, spec(), {"generator": model}, r"noise of the samples' own size, 16.*prior has 6\. Set prior.dim: 16")
            for part, model in ((FlowMatching(), FLOW), (DDPM(), DIFFUSION))
        ),
        (
            DDPM(),
            spec(UniformPrior(dim=16)),
            {"generator": DIFFUSION},
            r"N\(0, I\).*'uniform'.*{name: gaussian, dim: 16}",
        ),
        (VQVAE(), spec(Exponential()), {"generator": nn.Identity()}, "needs a gaussian or uniform prior"),
        (SemiSupervised(), LABELLED, {"discriminator": mlp.Discriminator(LABELLED)}, "conditional: false"),
        (SemiSupervised(classes=3), spec(), PACKED, r"The head of .*pacgan\.Packed cannot be replaced"),
        (AuxiliaryClassifier(), spec(), {"discriminator": PLAIN}, "not conditional"),
        (DataToData(), spec(), {"discriminator": PLAIN}, "not conditional"),
        *(
            (AuxiliaryClassifier(), LABELLED, {"discriminator": told}, "predicts the class from the discriminator's")
            for told in (mlp.Discriminator(LABELLED), cdcgan.Discriminator(LABELLED, width=2))
        ),
        *(
            (SVMMargin(), at, {"discriminator": judge}, r"svm-margin.*mlp")
            for at, judge in ((LABELLED, PROJECTING), (spec(), TWO_HEADS), (spec(), NO_HEAD))
        ),
        (
            Orthogonal(side="discriminator"),
            spec(),
            {"generator": nn.Linear(1, 1), "discriminator": nn.Identity()},
            "no layer with filters in the discriminator",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_does_not_fit_is_refused_in_a_sentence(part: Any, at: Spec, networks: Any, sentence: str) -> None:
    with pytest.raises(GanzooError, match=sentence):
        part.bind(at, networks)


def test_an_encoder_without_features_is_refused_in_a_sentence() -> None:
    with pytest.raises(GanzooError, match=r"The test shares the encoder's layers, but .*Flatten has no 'features'"):
        deviation_layer(nn.Flatten(), spec(), "The test")


def test_what_shares_a_discriminator_with_labels_is_content_with_a_projection() -> None:
    AuxiliaryClassifier().bind(LABELLED, {"discriminator": PROJECTING})
    SVMMargin().bind(LABELLED, {"discriminator": mlp.Discriminator(LABELLED, conditioning="concat")})
