"""Fit ``mnist-ae`` or ``fashion-mnist-ae``: ``python -m ganzoo_plugins.extractors.mnist_ae_training --out FOLDER``.

Only training images are used, without their labels, and without those that ``dataset.validation: 10000`` holds out.
Everything is drawn from one seed: the same machine and torch release give the same file, byte for byte.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format

from ganzoo_plugins.datasets.datasets import fashion_mnist, mnist
from ganzoo_plugins.extractors.mnist_ae import FIRST, SECOND, Encoder, features

DATASETS = {"mnist": mnist, "fashion-mnist": fashion_mnist}
Move = Callable[[Tensor, float, float], Tensor]
VALIDATION = 10_000
"""How many training images are left out: those that recipes are tuned on."""
BATCH = 128
EPOCHS = 8
LR = 3e-3
# The order of summation, and so the digest, depends on it.
THREADS = 1
MEAN_WEIGHT, LINEAR_WEIGHT = 3000.0, 1000.0
"""Weights of invisible changes relative to real variation: of their mean, and of what depends on the features."""
SHIFT, NOISE = 0.1, 2.0
"""Invisible changes: a shift in pixels, and the standard deviation of noise in grey levels."""


def decoders(encoder: type[Encoder]) -> nn.ModuleList:
    """From each layer back to the image; discarded after training."""

    def back(channels: int) -> nn.ConvTranspose2d:
        return nn.ConvTranspose2d(channels, encoder.channels, 6, stride=2, padding=2)

    def further() -> list[nn.Module]:
        return [nn.ConvTranspose2d(SECOND, FIRST, 4, stride=2, padding=1), nn.ReLU(), back(FIRST)]

    side = encoder.side // 4
    flat = nn.Linear(encoder.last_width, SECOND * side * side)
    last = [flat, nn.ReLU(), nn.Unflatten(1, (SECOND, side, side)), *further()]
    return nn.ModuleList([back(FIRST), nn.Sequential(*further()), nn.Sequential(*last)])


def train(
    *worlds: Tensor,
    of: type[Encoder] = Encoder,
    move: Move | None = None,
    epochs: int = EPOCHS,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> bytes:
    """Fit an autoencoder and its projection, and return the weights file.

    Args:
        worlds: Training images of each world, uint8 (n, channels, side, side).
        of: The encoder to fit.
        move: As for ``directions``.
        epochs: How often each image is shown.
        seed: Seed of the initial weights and the order.
        report: Called after each epoch with a line that gives the squared errors of the three decoders.

    Returns:
        The content of a safetensors file for ``Autoencoder``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, decoding = of(), decoders(of)
    images = torch.cat(worlds)
    for network in (encoder, decoding):
        convert_conv2d_weight_memory_format(network, torch.channels_last)
    parameters = [*encoder.parameters(), *decoding.parameters()]
    steps = epochs * (len(images) // BATCH)
    optimizer = torch.optim.Adam(parameters)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LR, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        total = torch.zeros(3)
        order = torch.randperm(len(images), generator=generator)
        for chosen in order[: len(images) // BATCH * BATCH].view(-1, BATCH):
            batch = encoder.clean(images[chosen])
            errors = torch.stack(
                [F.mse_loss(one(kept), batch) for one, kept in zip(decoding, encoder(batch), strict=True)]
            )
            optimizer.zero_grad(set_to_none=True)
            errors.sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += errors.detach()
        written = ", ".join(f"{error:.5f}" for error in (total * BATCH / len(images)).tolist())
        report(f"epoch {epoch + 1} of {epochs}: squared errors {written}")
    tensors = {f"encoder.{name}": value.detach().contiguous() for name, value in encoder.state_dict().items()}
    return save({**tensors, "directions": directions(encoder, *worlds, move=move)})


@torch.no_grad()
def directions(encoder: Encoder, *worlds: Tensor, move: Move | None = None) -> Tensor:
    """The projection that ``mnist_ae``'s docstring defines, (width, encoder.directions) float32.

    Args:
        encoder: A fitted encoder.
        worlds: Training images of each world, uint8 (n, channels, side, side), whose moments are averaged; the
            invisible changes are made to 10,000 images, the first of each world.
        move: Shifts float images by pixels to the right and down; ``moved`` by default.
    """
    move = move or moved

    def of(some: Tensor) -> Tensor:
        return torch.cat([features(encoder, batch) for batch in torch.split(some, 500)]).double()

    seen = [of(images) for images in worlds]
    covariance = torch.stack([real.T.cov() for real in seen]).mean(0)
    # Channels that are never active would cause a division by zero.
    ridge = 1e-7 * covariance.trace() / len(covariance) * torch.eye(len(covariance), dtype=torch.float64)
    nuisance = torch.zeros_like(covariance)
    for images, real in zip(worlds, seen, strict=True):
        first = images[: 10_000 // len(worlds)].float()
        noise = NOISE * torch.randn(first.shape, generator=torch.Generator().manual_seed(0))
        shifts = (SHIFT, 0), (-SHIFT, 0), (0, SHIFT), (0, -SHIFT)
        unseen = [*(move(first, x, y) for x, y in shifts), first + noise]
        before = real[: len(first)]
        for changed in unseen:
            difference = of(changed.round().clamp(0, 255)) - before
            mean = difference.mean(0)
            common = (before - before.mean(0)).T @ (difference - mean) / len(first)
            linear = common.T @ torch.linalg.solve(before.T.cov() + ridge, common)
            nuisance += (MEAN_WEIGHT * mean.outer(mean) + LINEAR_WEIGHT * linear) / len(worlds)
    inverse = torch.linalg.inv(torch.linalg.cholesky(covariance + nuisance + ridge))
    vectors = torch.linalg.eigh(inverse @ covariance @ inverse.T).eigenvectors
    chosen: Tensor = inverse.T @ vectors.flip(1)[:, : encoder.directions]
    return chosen.float().contiguous()


def moved(images: Tensor, x: float, y: float) -> Tensor:
    """Float images (n, c, h, w), shifted x pixels to the right and y down, with cubic splines to avoid blur."""
    from scipy import ndimage  # slow to import, and only training needs it

    return torch.from_numpy(ndimage.shift(images.numpy(), (0, 0, y, x), order=3))


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit an extractor, write its weights, and print their digest."""
    parser = argparse.ArgumentParser(description="Fit the extractor mnist-ae or fashion-mnist-ae.")
    parser.add_argument("--out", type=Path, required=True, help="the folder for DATASET-ae-DIGEST.safetensors")
    parser.add_argument("--dataset", choices=DATASETS, default="mnist")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="how often each image is shown")
    parser.add_argument("--seed", type=int, default=0, help="seed of the initial weights and the order of images")
    chosen = parser.parse_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(THREADS)
    started_at = time.perf_counter()
    images = DATASETS[chosen.dataset]("train", None)
    fitted = images.rows(~images.held_out(VALIDATION))
    content = train(fitted.images, epochs=chosen.epochs, seed=chosen.seed)
    digest = sha256(content).hexdigest()
    path = chosen.out / f"{chosen.dataset}-ae-{digest[:12]}.safetensors"
    path.write_bytes(content)
    print(f"fitted in {time.perf_counter() - started_at:.0f} s\ndigest {digest}\n{path}")


if __name__ == "__main__":
    main()
