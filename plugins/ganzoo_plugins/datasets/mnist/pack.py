"""Pack the four raw IDX files for the package: ``python -m ganzoo_plugins.datasets.mnist.pack FOLDER``."""

from __future__ import annotations

import argparse
import lzma
from collections.abc import Sequence
from pathlib import Path

from ganzoo import GanzooError
from ganzoo_plugins.datasets.mnist.archive import PACKED, SHA256, intact


def pack(folder: Path, packed: Path = PACKED) -> list[Path]:
    """Compress the raw files of a folder.

    Args:
        folder: Holds the four IDX files, uncompressed.
        packed: Where the .xz files go.

    Returns:
        The files that were written.

    Raises:
        GanzooError: A raw file is missing or is not MNIST's.
    """
    written = []
    for name in SHA256:
        if not intact(folder / name):
            raise GanzooError(f"{folder / name} is not MNIST's file.", "Its SHA-256 must match.")
        written.append(packed / f"{name}.xz")
        written[-1].write_bytes(lzma.compress((folder / name).read_bytes(), preset=9 | lzma.PRESET_EXTREME))
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    """Pack the folder named on the command line into the package."""
    parser = argparse.ArgumentParser(description="Pack the raw MNIST files into the package.")
    parser.add_argument("folder", type=Path, help="holds the four IDX files, uncompressed")
    for path in pack(parser.parse_args(arguments).folder):
        print(f"{path} ({path.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
