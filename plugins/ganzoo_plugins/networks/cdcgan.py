"""The conditional DCGAN of the authors' own experiment on MNIST.

Radford, Metz & Chintala 2015, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", arXiv:1511.06434. In section 8.1, a nearest-neighbour classifier that has seen only the digits of a
conditional GAN is tested on real ones. The paper does not describe the networks; these follow the authors' code
(``train_cond_dcgan.py``). Unlike the paper's other networks, they have fully connected layers, and every layer receives
the label y again, appended to vectors as columns and to feature maps as constant maps:

    G: (z, y) -> 1024 -> (., y) -> 128 x 7 x 7 -> (., y) -> 64 x 14 x 14 -> (., y) -> 1 x 28 x 28
    D: (x, y) -> 64 x 14 x 14 -> (., y) -> 128 x 7 x 7 -> (., y) -> 1024 -> (., y) -> 1

All layers but G's last and D's first and last are batch-normalised; activations are ReLU in G and LeakyReLU(0.2) in D.
Kernels are 5x5, and weights start from N(0, 0.02²). If a side is not a multiple of four, D pads with zeros and G crops.

Differences from the paper:

- Batch normalisation learns scales and shifts, which the paper found better to leave out.
- Layers without batch normalisation have biases; the authors' have none.
- Images are in [-1, 1] and G ends in a tanh; the authors use [0, 1] and a sigmoid.
- The authors' weight decay, 2.5e-5, can be set in a recipe.
"""

from __future__ import annotations

from torch import Tensor, nn

from ganzoo import Register, Spec, beside, hookimpl
from ganzoo.layers import Crop, Head, ImageTanh, Norm, PadToEven, Trunk, Width, image_norm, vector_norm, with_label
from ganzoo_plugins.networks.dcgan import PAPER, initialise

HIDDEN = 16
"""Units of the fully connected layers, as a multiple of ``width``: 1024 for a width of 64."""


def sizes_of(spec: Spec) -> list[tuple[int, int]]:
    """(height, width) of the image, then a half and a quarter of it, rounded up."""
    return [(-(-spec.height // step), -(-spec.width // step)) for step in (1, 2, 4)]


class Generator(nn.Module):
    """From codes (n, latent) to images (n, c, h, w) in [-1, 1].

    Args:
        spec: Image, latent and class sizes.
        width: Channels of the last hidden layer, 64 in the authors' code.
    """

    def __init__(self, spec: Spec, *, width: Width = 64) -> None:
        super().__init__()
        self.classes = classes = spec.classes
        full, half, (height, columns) = sizes_of(spec)
        hidden, grid = width * HIDDEN, (2 * width, height, columns)
        units = 2 * width * height * columns
        self.layers = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(spec.latent + classes, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()),
                nn.Sequential(
                    nn.Linear(hidden + classes, units, bias=False),
                    nn.BatchNorm1d(units),
                    nn.ReLU(),
                    nn.Unflatten(1, grid),
                ),
                nn.Sequential(
                    nn.ConvTranspose2d(2 * width + classes, width, 5, 2, 2, 1, bias=False),
                    Crop(half),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                ),
                nn.Sequential(nn.ConvTranspose2d(width + classes, spec.channels, 5, 2, 2, 1), Crop(full), ImageTanh()),
            ]
        )
        self.apply(initialise)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Images (n, c, h, w) from codes (n, latent) and, in a conditional recipe, labels (n,)."""
        for layer in self.layers:
            z = layer(with_label(z, label, self.classes))
        return z


class Discriminator(Trunk):
    """From images (n, c, h, w) to logits (n,), via features that other heads can share.

    Args:
        spec: Image and class sizes.
        width: Channels of the first layer, 64 in the authors' code.
        norm: Normalisation of every layer but the first. With a gradient penalty, ``none`` or ``layer``.
    """

    def __init__(self, spec: Spec, *, width: Width = 64, norm: Norm = "batch") -> None:
        super().__init__()
        self.label_inputs = classes = spec.classes
        self.per_image = norm != "batch"
        height, columns = sizes_of(spec)[-1]
        hidden, bias = width * HIDDEN, norm != "batch"
        self.layers = nn.ModuleList(
            [
                nn.Sequential(PadToEven(), nn.Conv2d(spec.channels + classes, width, 5, 2, 2), nn.LeakyReLU(0.2)),
                nn.Sequential(
                    PadToEven(),
                    nn.Conv2d(width + classes, 2 * width, 5, 2, 2, bias=bias),
                    *image_norm(norm, 2 * width),
                    nn.LeakyReLU(0.2),
                    nn.Flatten(),
                ),
                nn.Sequential(
                    nn.Linear(2 * width * height * columns + classes, hidden, bias=bias),
                    *vector_norm(norm, hidden),
                    nn.LeakyReLU(0.2),
                ),
            ]
        )
        self.feature_width = hidden + classes
        self.head = Head(self.feature_width)
        self.apply(initialise)

    def features(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Features (n, feature_width) of images (n, c, h, w)."""
        for layer in self.layers:
            images = layer(with_label(images, label, self.label_inputs))
        return with_label(images, label, self.label_inputs)


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    register(
        "cdcgan", Generator, summary="The DCGAN authors' network for MNIST: every layer sees the label", paper=PAPER
    )


@hookimpl
def register_discriminators(register: Register[nn.Module]) -> None:
    register(
        "cdcgan", Discriminator, summary="The DCGAN authors' network for MNIST: every layer sees the label", paper=PAPER
    )


register_recipes = beside(__file__, "cdcgan-mnist")
