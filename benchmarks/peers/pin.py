"""Writes the requirements files of the packages that ganzoo is measured against, from ``requirements/uv.toml``.

    python benchmarks/peers/pin.py

They name the newest compatible versions for CPython 3.11, each with the SHA-256 of every published file. uv is
installed from the package index into a temporary environment. ``install.py`` installs from these files.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent / "requirements"
WANTED = ("torchgan==0.1.0", "vegans==0.4.0", "torch-mimicry==0.1.16", "setuptools")
"""One file for each; setuptools builds those of the others that are source packages."""
HEADER = "# Made by `python benchmarks/peers/pin.py`: see there.\n"


def main() -> None:
    """Write them all."""
    with tempfile.TemporaryDirectory() as folder:
        venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(folder)
        subprocess.run([f"{folder}/bin/python", "-I", "-m", "pip", "install", "-q", "uv>=0.9"], check=True)
        compile_ = [f"{folder}/bin/uv", "pip", "compile", "-", "-q", "--config-file", str(REQUIREMENTS / "uv.toml")]
        for wanted in WANTED:
            done = subprocess.run(compile_, input=wanted, text=True, check=True, stdout=subprocess.PIPE)
            name = wanted.partition("==")[0]
            (REQUIREMENTS / f"{name}.txt").write_text(HEADER + done.stdout, encoding="utf-8")


if __name__ == "__main__":
    main()
