"""Fit ``pictures-ae``: ``python -m ganzoo_plugins.extractors.pictures_ae_training --out FOLDER``.

It needs the extra ``worlds``, for the faces, and Fashion-MNIST. Only training images are used, without their labels;
of the digits and clothes, none that ``dataset.validation: 10000`` holds out. (The faces are the first 4,000, so some
that ``dataset.validation`` holds out may be among them.) Everything is drawn from one seed: the same machine and torch
release give the same file, byte for byte.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from ganzoo_plugins.datasets.datasets import fashion_mnist, mnist
from ganzoo_plugins.datasets.worlds import faces
from ganzoo_plugins.extractors.mnist_ae_training import THREADS, VALIDATION, train
from ganzoo_plugins.extractors.pictures_ae import SIDE, PicturesEncoder, native

EACH = 4_000
"""Images of each world; twice as many scenes."""
EPOCHS = 5
SHAPES = 30
"""In a scene, from the back to the front."""


def worlds(seed: int = 0) -> list[Tensor]:
    """Training images of each world, uint8 (n, 3, 32, 32)."""
    generator = torch.Generator().manual_seed(seed)
    found = [faces("train", None).images[:EACH]]
    for dataset in (mnist, fashion_mnist):
        images = dataset("train", None)
        chosen = images.rows(~images.held_out(VALIDATION)).images[:EACH]
        found += [native(chosen).to(torch.uint8), coloured(native(chosen), generator)]
    scenes = [scene_batch(100, generator) for _ in range(2 * EACH // 100)]  # few at a time, which the cache holds
    return [*found, torch.cat(scenes)]


def coloured(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (n, 3, h, w) from 0 to 255 between two random colours instead of black and white, as uint8."""
    back, front = (torch.rand(len(images), 3, 1, 1, generator=generator) for _ in range(2))
    return (images * front + (255 - images) * back).round().to(torch.uint8)


def scene_batch(n: int, generator: torch.Generator) -> Tensor:
    """Scenes of overlapping discs and rectangles with soft shades, uint8 (n, 3, 32, 32)."""

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, 1, 1, generator=generator)

    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    palette, spread = uniform(3), uniform(1, high=0.6)
    # Most scenes are sharp, some soft, some grainy.
    soft, grain = 1 + 3 * uniform(1).pow(4), 0.1 * uniform(1).pow(4)
    smallest, boxes = 1 + 4 * uniform(1).square(), uniform(1)
    scenes = (palette + 0 * x).clone()
    for _ in range(SHAPES):
        # Sizes follow the law 1 / r³, so that scenes look alike at every distance.
        radius = smallest / (1 - uniform(1, high=1 - (smallest / 20).square()[:, 0, 0, 0].min().item())).sqrt()
        angle = uniform(1, high=2 * torch.pi)
        right, down = x - uniform(1, high=SIDE), y - uniform(1, high=SIDE)
        along, across = right * angle.cos() + down * angle.sin(), down * angle.cos() - right * angle.sin()
        disc = (along.square() + across.square()).sqrt() - radius
        box = torch.maximum(along.abs() - radius, across.abs() - radius * uniform(1, low=0.2))
        inside = (0.5 - torch.where(uniform(1) < boxes, box, disc) / soft).clamp(0, 1)
        colour = palette + spread * (2 * uniform(3) - 1) + uniform(1, low=-0.3, high=0.3) * along / radius.clamp(min=4)
        scenes += inside * (colour - scenes)
    noise = grain * torch.randn(scenes.shape, generator=generator)
    return (255 * (scenes + noise)).round().clamp(0, 255).to(torch.uint8)


def slid(images: Tensor, x: float, y: float) -> Tensor:
    """Float images (n, c, h, w), shifted x pixels to the right and y down, by cubic splines; the border is repeated."""
    from scipy import ndimage  # slow to import, and only training needs it

    one = torch.eye(SIDE).numpy()
    down, right = (torch.from_numpy(ndimage.shift(one, (0, by), order=3, mode="nearest")) for by in (y, x))
    return down.T @ images @ right


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit the extractor, write its weights, and print their digest."""
    parser = argparse.ArgumentParser(description="Fit the extractor pictures-ae.")
    parser.add_argument("--out", type=Path, required=True, help="the folder for pictures-ae-DIGEST.safetensors")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="how often each image is shown")
    parser.add_argument("--seed", type=int, default=0, help="seed of the scenes, the weights and the order of images")
    chosen = parser.parse_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(THREADS)
    started_at = time.perf_counter()
    content = train(*worlds(chosen.seed), of=PicturesEncoder, move=slid, epochs=chosen.epochs, seed=chosen.seed)
    digest = sha256(content).hexdigest()
    path = chosen.out / f"pictures-ae-{digest[:12]}.safetensors"
    path.write_bytes(content)
    print(f"fitted in {time.perf_counter() - started_at:.0f} s\ndigest {digest}\n{path}")


if __name__ == "__main__":
    main()
