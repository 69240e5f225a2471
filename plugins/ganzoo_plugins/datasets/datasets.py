"""Datasets: MNIST from the package, others through torchvision, and folders of pictures.

``folder`` is the user's ``--data-dir``. If it is given, the files must already be there; if not, they are downloaded
into ganzoo's cache once, by one process at a time. Nothing here loads a pickle. torchvision takes a second to import,
so each function imports what it needs.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from filelock import FileLock

from ganzoo import Dataset, GanzooError, Register, Split, beside, cache_folder, hookimpl, open_regular, read_idx
from ganzoo_plugins.datasets.image_folder import image_folder
from ganzoo_plugins.datasets.mnist.archive import SHA256, intact, unpack

DIGITS = tuple("0123456789")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
Emnist = Literal["byclass", "bymerge", "balanced", "letters", "digits", "mnist"]


def mnist(split: Split, folder: Path | None) -> Dataset:
    """Handwritten digits, 60,000 and 10,000 of 28x28, from the package.

    Raises:
        GanzooError: The files in ``folder`` are not MNIST's. Scores on other images must not carry its name.
    """
    files = _idx_files("train" if split == "train" else "t10k")
    if folder is None:
        raw = cache_folder("mnist", "MNIST", "raw")
        unpack(raw)
    else:
        raw = _locate("mnist", folder, ("MNIST/raw", "raw", "."), files)
        for file in files:
            zipped = not (raw / file).exists()
            if not intact(raw / file, zipped=zipped):
                path = f"{raw / file}{'.gz' if zipped else ''}"
                raise GanzooError(
                    f"{path} is not MNIST's file of that name.", "Leave --data-dir out (in Python data_dir)."
                )
    return _read_idx("mnist", split, raw, files, DIGITS)


FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts its four .gz files."""


def fashion_mnist(split: Split, folder: Path | None) -> Dataset:
    """Pictures of clothing, 60,000 and 10,000 of 28x28.

    Read from ``folder`` or from Debian's package ``dataset-fashion-mnist``, or downloaded; .gz files are read directly.
    """
    from torchvision.datasets import FashionMNIST

    if folder is None and _holds(FASHION_MNIST, _idx_files("train" if split == "train" else "t10k")):
        folder = FASHION_MNIST
    remedy = " Debian and Ubuntu have them: `apt install dataset-fashion-mnist`."
    return _idx_dataset("fashion-mnist", FashionMNIST, split, folder, FashionMNIST.classes, remedy)


def kmnist(split: Split, folder: Path | None) -> Dataset:
    """Handwritten cursive hiragana, 60,000 and 10,000 of 28x28."""
    from torchvision.datasets import KMNIST

    return _idx_dataset("kmnist", KMNIST, split, folder, KMNIST.classes)


def emnist(split: Split, folder: Path | None, *, part: Emnist = "balanced") -> Dataset:
    """Handwritten letters and digits of 28x28.

    Args:
        split: ``"train"`` or ``"test"``.
        folder: The user's ``--data-dir``, or None.
        part: Which of EMNIST's own subsets.
    """
    from torchvision.datasets import EMNIST

    files = _idx_files(f"emnist-{part}-{split}")
    classes = [name for name in EMNIST.classes_split_dict[part] if name != "N/A"]
    raw = _idx_folder("emnist", partial(EMNIST, split=part), files, folder, "EMNIST/raw")
    first_label = 1 if part == "letters" else 0
    stored = _read_idx("emnist", split, raw, files, classes, first_label, downloaded=folder is None)
    # The files hold each image column by column.
    images = stored.images.transpose(2, 3).contiguous()
    return Dataset("emnist", split, images, stored.labels, stored.classes)


def _idx_files(prefix: str) -> tuple[str, str]:
    return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"


def _idx_dataset(
    name: str, source: Callable[..., Any], split: Split, folder: Path | None, classes: Sequence[str], remedy: str = ""
) -> Dataset:
    """A dataset in MNIST's format, which torchvision's class ``source`` knows how to download."""
    files = _idx_files("train" if split == "train" else "t10k")
    raw = _idx_folder(name, source, files, folder, f"{source.__name__}/raw", remedy)
    return _read_idx(name, split, raw, files, classes, downloaded=folder is None)


def _idx_folder(
    name: str, source: Callable[..., Any], files: Sequence[str], folder: Path | None, place: str, remedy: str = ""
) -> Path:
    """Where the files are, zipped or not: in the user's folder, or in the cache, downloaded if necessary."""
    if folder is not None:
        return _locate(name, folder, (place, "raw", "."), files)
    fetch = partial(source, download=True)
    return _downloaded(name, fetch, place, files, f"{' and '.join(files)}, zipped or not,", remedy)


def _holds(folder: Path, files: Sequence[str], endings: Sequence[str] = ("", ".gz")) -> bool:
    """Whether a folder has all files, each uncompressed or as .gz."""
    return all(any((folder / f"{file}{ending}").is_file() for ending in endings) for file in files)


def _read_idx(
    name: str,
    split: Split,
    raw: Path,
    files: Sequence[str],
    classes: Sequence[str],
    first_label: int = 0,
    *,
    downloaded: bool = False,
) -> Dataset:
    # Not through torchvision's dataset classes, which would load a processed .pt file if the folder has one.
    try:
        images, numbers = (read_idx(raw / file) for file in files)
    except GanzooError as error:
        raise _damaged(name, raw, error.sentence, downloaded) from error
    if images.dim() != 3 or numbers.dim() != 1:
        reason = f"{len(images.shape)} and {len(numbers.shape)} axes instead of 3 and 1"
        raise _damaged(name, raw, reason, downloaded)
    # MNIST's relatives have files with the same names.
    content = bytes((0, 0, 8, 1)) + len(numbers).to_bytes(4, "big") + numbers.numpy().tobytes()
    if name != "mnist" and sha256(content).hexdigest() == SHA256.get(files[1]):
        sentence = f"The files in {raw} are those of dataset 'mnist', not of '{name}'."
        raise GanzooError(sentence, f"Name the folder with the files of {name}.")
    images, labels = images.unsqueeze(1), numbers.long() - first_label
    return Dataset(name, split, images, labels, tuple(classes))


def cifar10(split: Split, folder: Path | None) -> Dataset:
    """Small colour photographs, 50,000 and 10,000 of 32x32.

    Read from the binary version of its files: torchvision's reader unpickles the Python version, and a pickle can
    run any code.
    """
    place, archive = "cifar-10-batches-bin", "cifar-10-binary.tar.gz"
    files = [f"data_batch_{part}.bin" for part in range(1, 6)] if split == "train" else ["test_batch.bin"]
    if folder is None:

        def fetch(temporary: str) -> None:
            from torchvision.datasets.utils import download_and_extract_archive

            url, md5 = f"https://www.cs.toronto.edu/~kriz/{archive}", "c32a1d4ab5d03f1284b67883e8d87530"
            download_and_extract_archive(url, temporary, md5=md5)

        source = _downloaded("cifar10", fetch, place, files, f"the .bin files of {archive}", endings=("",))
    else:
        source = _locate("cifar10", folder, (place, "."), files, endings=("",))
    content = bytearray()
    for file in files:
        with open_regular(source / file) as records:
            content += records.read()
    if not content or len(content) % 3073:
        reason = f"{len(content):,} bytes are not a whole number of 3,073-byte records"
        raise _damaged("cifar10", source, reason, downloaded=folder is None)
    rows = torch.frombuffer(content, dtype=torch.uint8).view(-1, 3073)
    images = rows[:, 1:].reshape(-1, 3, 32, 32)
    return Dataset("cifar10", split, images, rows[:, 0].long(), CIFAR10)


def _downloaded(
    name: str,
    fetch: Callable[[str], object],
    place: str,
    files: Sequence[str],
    needed: str,
    remedy: str = "",
    endings: Sequence[str] = ("", ".gz"),
) -> Path:
    """The folder ``place`` in a dataset's cache, with all files; one process at a time downloads them.

    torchvision writes under the final names. So that a killed process leaves no partial file there, ``fetch`` creates
    ``place`` in a temporary folder, and its files are then moved.
    """
    cache = cache_folder(name)
    folder = cache / place
    if _holds(folder, files, endings):
        return folder
    try:
        with FileLock(cache / ".download.lock"):
            for left in cache.glob(".download-*"):  # by killed processes: no other process holds the lock
                shutil.rmtree(left, ignore_errors=True)
            if not _holds(folder, files, endings):
                # Standard output is for JSON, and torchvision prints.
                with TemporaryDirectory(prefix=".download-", dir=cache) as temporary, redirect_stdout(sys.stderr):
                    fetch(temporary)
                    folder.mkdir(parents=True, exist_ok=True)
                    for file in (Path(temporary) / place).iterdir():
                        file.replace(folder / file.name)
    except (OSError, RuntimeError, EOFError) as error:
        raise GanzooError(
            f"Dataset '{name}' cannot be downloaded ({getattr(error, 'strerror', None) or error}).",
            f"Put {needed} into {folder} yourself, or name their folder with --data-dir (in Python data_dir=...)."
            f"{remedy}",
        ) from error
    return folder


def _locate(
    name: str, folder: Path, places: Sequence[str], files: Sequence[str], endings: Sequence[str] = ("", ".gz")
) -> Path:
    """The first of the places inside a folder that has all files."""
    for place in places:
        if _holds(folder / place, files, endings):
            return folder / place
    raise GanzooError(
        f"The files of dataset '{name}' are not in {folder}.",
        f"Put {', '.join(files)} into it{', zipped or not' if '.gz' in endings else ''}, or leave --data-dir out (in "
        "Python data_dir).",
    )


def _damaged(name: str, folder: Path, reason: str, downloaded: bool) -> GanzooError:
    return GanzooError(
        f"The files of dataset '{name}' in {folder} are damaged or cannot be read: {reason.rstrip('.')}.",
        f"Delete {folder}, and they will be downloaded again." if downloaded else "Get them again.",
    )


@hookimpl
def register_datasets(register: Register[Dataset]) -> None:
    register(
        "mnist",
        mnist,
        summary="handwritten digits, 28x28 grey, 10 classes, inside the package",
        paper="LeCun, Bottou, Bengio, Haffner 1998, Gradient-Based Learning Applied to Document Recognition",
    )
    register(
        "fashion-mnist",
        fashion_mnist,
        summary="clothing, 28x28 grey, 10 classes",
        paper="Xiao, Rasul, Vollgraf 2017, Fashion-MNIST, arXiv:1708.07747",
    )
    register(
        "kmnist",
        kmnist,
        summary="cursive hiragana, 28x28 grey, 10 classes",
        paper="Clanuwat et al. 2018, Deep Learning for Classical Japanese Literature, arXiv:1812.01718",
    )
    register(
        "emnist",
        emnist,
        summary="handwritten letters and digits, 28x28 grey, 47 classes as 'balanced'",
        paper="Cohen, Afshar, Tapson, van Schaik 2017, EMNIST, arXiv:1702.05373",
    )
    register(
        "cifar10",
        cifar10,
        summary="small photographs, 32x32 colour, 10 classes",
        paper="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
    )
    register("image-folder", image_folder, summary="your own pictures; subfolders are classes")


register_recipes = beside(__file__, "pictures")
