"""Train the weights of ``mnist-cnn``: ``python -m ganzoo_plugins.extractors.mnist_cnn_training --out FILE``.

``--dataset fashion-mnist`` trains those of ``fashion-mnist-cnn``. Only training images are used: all 60,000 digits, or
the 50,000 images of clothing that are not validation images. Everything is drawn from one seed: the same machine and
torch release give the same file, byte for byte.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ganzoo_plugins.datasets.datasets import fashion_mnist, mnist
from ganzoo_plugins.extractors.mnist_cnn import FashionMnistCnn, MnistCnn, trunk

VALIDATION = 10_000
"""How many training images of clothing are left out: those that recipes are tuned on."""
BATCH = 250
EPOCHS = {"mnist": 24, "fashion-mnist": 22}
# The order of summation, and so the digest, depends on it.
THREADS = {"mnist": 2, "fashion-mnist": 1}


def train(
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int = EPOCHS["mnist"],
    seed: int = 0,
    mirrored: bool = False,
    report: Callable[[str], None] = print,
) -> bytes:
    """Train a classifier, and return its weights file.

    Args:
        images: Training images, uint8 (n, 1, 28, 28).
        labels: Their classes, int64 (n,).
        epochs: How often each image is shown.
        seed: Seed of the initial weights, the order and the distortions.
        mirrored: Whether to mirror half of the images and to halve all distortions: a mirrored shoe is still a shoe.
        report: Called after each epoch with a line that gives the loss.

    Returns:
        The content of a safetensors file for ``MnistCnn``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = normalised()
    steps = epochs * (len(images) // BATCH)
    parameters = list(network.parameters())
    groups: list[dict[str, object]] = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": 5e-4},
        {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},  # biases and normalisation
    ]
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.15, total_steps=steps, pct_start=0.25)
    decay = get_ema_multi_avg_fn(0.998)  # type: ignore[no-untyped-call]
    average = AveragedModel(network, multi_avg_fn=decay, use_buffers=True)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        total = torch.zeros(())
        order = torch.randperm(len(images), generator=generator)
        for chosen in order[: len(images) // BATCH * BATCH].view(-1, BATCH):
            batch = distort(images[chosen].float() / 255, generator, amount=0.5 if mirrored else 1.0)
            if mirrored:
                turned = torch.rand(len(batch), 1, 1, 1, generator=generator) < 0.5
                batch = torch.where(turned, batch.flip(3), batch).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(batch)
            loss = F.cross_entropy(logits.float(), labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            total += loss.detach()
        report(f"epoch {epoch + 1} of {epochs}: loss {total.item() * BATCH / len(images):.4f}")
    return save(folded(average.module))


def distort(images: Tensor, generator: torch.Generator, amount: float = 1.0) -> Tensor:
    """Rotate, scale, shear and shift each image a little, independently of the others.

    Args:
        images: (n, 1, h, w) in [0, 1].
        generator: Where the distortions are drawn from.
        amount: Strength of all distortions; 1 is what digits tolerate.

    Returns:
        Images of the same shape, channels last.
    """
    n = len(images)
    turn, shear, shift_x, shift_y, wide, high = ((torch.rand(6, n, generator=generator) * 2 - 1) * amount).unbind()
    turn, shear = turn * 0.2, shear * 0.2
    wide, high = torch.exp(wide * 0.12), torch.exp(high * 0.12)
    cos, sin = turn.cos(), turn.sin()
    across = [wide * cos, wide * (shear * cos - sin), shift_x * 0.15]
    down = [high * sin, high * (shear * sin + cos), shift_y * 0.15]
    grid = F.affine_grid(torch.stack(across + down, 1).view(n, 2, 3), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, align_corners=False)
    return moved.contiguous(memory_format=torch.channels_last)


def normalised() -> nn.Sequential:
    """The network as it is trained: batch normalisation after each layer, then the head."""
    layers: list[nn.Module] = []
    for layer in trunk():
        layers.append(layer)
        if isinstance(layer, nn.Conv2d):
            layers.append(nn.BatchNorm2d(layer.out_channels))
        elif isinstance(layer, nn.Linear):
            layers.append(nn.BatchNorm1d(layer.out_features))
    network = nn.Sequential(*layers, nn.Linear(MnistCnn.width, MnistCnn.classes))
    convert_conv2d_weight_memory_format(network, torch.channels_last)
    return network


def folded(network: nn.Module) -> dict[str, Tensor]:
    """The tensors of ``MnistCnn`` that compute what a trained network computes in eval mode."""
    *layers, head = network.eval().children()
    plain: list[nn.Module] = []
    for layer in layers:
        last = plain[-1] if plain else None
        if isinstance(layer, nn.BatchNorm2d) and isinstance(last, nn.Conv2d):
            plain[-1] = fuse_conv_bn_eval(last, layer)
        elif isinstance(layer, nn.BatchNorm1d) and isinstance(last, nn.Linear):
            plain[-1] = fuse_linear_bn_eval(last, layer)
        else:
            plain.append(layer)
    parts = {"trunk": nn.Sequential(*plain), "head": head}
    return {
        f"{part}.{name}": value.detach().float().contiguous()
        for part, module in parts.items()
        for name, value in module.state_dict().items()
    }


@torch.no_grad()
def accuracy(network: MnistCnn, images: Tensor, labels: Tensor) -> float:
    """Share of images (n, 1, 28, 28) that are classified correctly, 0 to 1."""
    logits = [network(batch)[1] for batch in images.chunk(20)]
    return torch.cat(logits).argmax(1).eq(labels).double().mean().item()


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, write the weights, and print their accuracy on the test images and their digest."""
    parser = argparse.ArgumentParser(description="Train the weights of the extractors mnist-cnn and fashion-mnist-cnn.")
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--dataset", choices=THREADS, default="mnist")
    parser.add_argument("--epochs", type=int, help="how often each image is shown")
    parser.add_argument("--seed", type=int, default=0, help="seed of the initial weights, order and distortions")
    chosen = parser.parse_args(arguments)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(THREADS[chosen.dataset])
    digits = chosen.dataset == "mnist"
    source = mnist if digits else fashion_mnist
    images = source("train", None)
    fitted = images if digits else images.rows(~images.held_out(VALIDATION))
    assert fitted.labels is not None
    started_at = time.perf_counter()
    epochs = chosen.epochs or EPOCHS[chosen.dataset]
    weights = train(fitted.images, fitted.labels, epochs=epochs, seed=chosen.seed, mirrored=not digits)
    chosen.out.write_bytes(weights)
    print(f"trained in {time.perf_counter() - started_at:.0f} s")
    network = MnistCnn(chosen.out) if digits else FashionMnistCnn(chosen.out)
    test = source("test", None)
    assert test.labels is not None
    print(f"test accuracy {accuracy(network, test.images, test.labels):.2%}")
    print(f"digest {network.digest}")


if __name__ == "__main__":
    main()
