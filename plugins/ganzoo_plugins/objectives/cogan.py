"""Coupled GANs: two domains learned together, without any paired images.

Liu & Tuzel 2016, "Coupled Generative Adversarial Networks", arXiv:1606.07536. Two games at once,

    min_{G1, G2} max_{D1, D2}  E log D1(x1) + E log(1 - D1(G1(z))) + E log D2(x2) + E log(1 - D2(G2(z)))

with one z for both generators, and with shared weights: G1 and G2 share all but their last layers, so that z means the
same in both domains, and D1 and D2 share all but their first layers. Samples of the joint distribution are (G1(z),
G2(z)). G's loss is non-saturating.

Domain 1 is the dataset, and only it is evaluated. Domain 2 is its ``negative`` or its ``edges``, where an image and its
3x3 dilation differ: two of the paper's tasks. It is computed on the device from the other half of the batch, so no
image is paired with its counterpart.

G2 and D2 are G1 and D1 called with other parameters and buffers in the layers that are not shared; the roles
``second_generator`` and ``second_discriminator`` hold only these. Any networks work whose first and last layers are
separate modules, in order.

Differences from the paper:

- The paper divides the training set once. Here each batch is divided separately, so over time most images appear in
  both domains.
- Each D sees two fakes for each real image; in the authors' code one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import max_pool2d, softplus

from ganzoo import Batch, GanzooError, Losses, Networks, Objective, Phase, Register, Spec, beside, hookimpl
from ganzoo.layers import Depth

PAPER = "Liu & Tuzel 2016, Coupled Generative Adversarial Networks, arXiv:1606.07536"
Domain = Literal["edges", "negative"]


def edges(images: Tensor) -> Tensor:
    """Where images (n, c, h, w) in [-1, 1] and their 3x3 dilations differ, in [-1, 1]."""
    return max_pool2d(images, 3, stride=1, padding=1) - images - 1


def negative(images: Tensor) -> Tensor:
    """Images (n, c, h, w) in [-1, 1] with black and white swapped."""
    return -images


DOMAINS: Mapping[Domain, Callable[[Tensor], Tensor]] = {"edges": edges, "negative": negative}


def layer_of(name: str) -> str:
    """The layer that a parameter or buffer belongs to, even if the layer's weight is parametrised by it."""
    layer, computed, _ = name.partition(".parametrizations.")
    return layer if computed else name.rpartition(".")[0]


class Own(nn.Module):
    """The parameters and buffers that the second of two coupled networks does not share with the first.

    Args:
        network: The first network.
        layers: The names of the layers that are not shared; the second's start as copies of the first's.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        first = {name: p for name, p in network.named_parameters() if layer_of(name) in layers}
        self.names = list(first)
        self.parameters_of_layers = nn.ParameterList(p.detach().clone() for p in first.values())
        self.kept = {}
        known = layers_with_parameters(network)
        for index, (name, buffer) in enumerate(network.named_buffers()):
            # A buffer may be in a part of its layer, as in conditional batch normalisation.
            owner = max((one for one in known if f"{name}.".startswith(f"{one}.")), key=len, default="")
            if owner in layers:
                self.kept[name] = f"buffer_{index}"
                self.register_buffer(f"buffer_{index}", buffer.detach().clone())

    def call(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """The second network's outputs; it takes the same inputs as the first."""
        own = dict(zip(self.names, self.parameters_of_layers, strict=True))
        own |= {name: self.get_buffer(buffer) for name, buffer in self.kept.items()}
        outputs: Tensor = functional_call(network, own, inputs)
        return outputs


def layers_with_parameters(network: nn.Module) -> list[str]:
    """The names of all modules that have parameters themselves, in order of registration."""
    return list(dict.fromkeys(layer_of(name) for name, _ in network.named_parameters()))


class CoGAN(Objective):
    """Two games with shared weights.

    Args:
        second: Domain 2.
        own_layers: How many of a generator's last and of a discriminator's first layers are not shared.
    """

    samples_with = ("generator", "second_generator")
    views = 2

    def __init__(self, *, second: Domain = "edges", own_layers: Depth = 1) -> None:
        super().__init__()
        self.translate = DOMAINS[second]
        self.own_layers = own_layers

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Add the layers that the second generator and the second discriminator do not share."""
        super().bind(spec, networks)
        generator, discriminator = networks["generator"], networks["discriminator"]
        last = layers_with_parameters(generator)[-self.own_layers :]
        first = layers_with_parameters(discriminator)[: self.own_layers]
        return {"second_generator": Own(generator, last), "second_discriminator": Own(discriminator, first)}

    def phases(self) -> list[Phase]:
        return [
            Phase("discriminator", ("discriminator", "second_discriminator"), self.discriminator_loss),
            Phase("generator", ("generator", "second_generator"), self.generator_loss),
        ]

    def pair(self, networks: Networks, z: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """(G1(z), G2(z)): images (n, c, h, w) of both domains from codes (n, latent)."""
        second = self._second(networks, "generator")(z, *self.condition(label))
        return self.generate(networks, z, label), second

    def overview(self, networks: Networks, z: Tensor, label: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """Pairs (n, 2, c, h, w) of images, one from each domain."""
        return torch.stack(self.pair(networks, z, label), dim=1)

    def _second(self, networks: Networks, role: str) -> Callable[..., Tensor]:
        own = networks[f"second_{role}"]
        assert isinstance(own, Own)
        return lambda *inputs: own.call(networks[role], *inputs)

    def judge(self, networks: Networks, images: tuple[Tensor, Tensor], labels: Sequence[Tensor]) -> list[Tensor]:
        """The logits (n,) of each domain's images, from that domain's discriminator."""
        second = self._second(networks, "discriminator")
        judges: tuple[Callable[..., Tensor], ...] = (networks["discriminator"], second)
        return [
            judge(shown, *self.condition(label)).float()
            for judge, shown, label in zip(judges, images, labels, strict=True)
        ]

    def discriminator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """The negative values of both games; each domain gets its own half of the real images."""
        with torch.no_grad():
            images = self.pair(networks, batch.z, batch.label)
        fake = self.judge(networks, images, (batch.label, batch.label))
        half = len(batch.real) // 2
        if half == 0:
            raise GanzooError("CoGAN halves each batch, but this one has a single image.", "Raise train.batch_size.")
        shown = batch.real[:half], self.translate(batch.real[half:])
        real = self.judge(networks, shown, (batch.label[:half], batch.label[half:]))
        first, second = (softplus(-x).mean() + softplus(g).mean() for x, g in zip(real, fake, strict=True))
        return {"loss": first + second, "first": first, "second": second}

    def generator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """-E log D1(G1(z)) - E log D2(G2(z))."""
        images = self.pair(networks, batch.z, batch.label)
        first, second = (softplus(-g).mean() for g in self.judge(networks, images, (batch.label, batch.label)))
        return {"loss": first + second, "first": first, "second": second}


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    register("cogan", CoGAN, summary="Two games on two domains, with most weights shared", paper=PAPER)


register_recipes = beside(__file__, "cogan-mnist")
