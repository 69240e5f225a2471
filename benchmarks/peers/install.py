"""Creates the environments of the packages that ganzoo is measured against, one for each.

    python benchmarks/peers/install.py [NAME...]

Each is a virtual environment that uses the torch of the environment this script runs in, so that both sides compute
with the same build. Existing environments are replaced. Each package is then trained on one batch to see whether it
works.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from peers.catalogue import PEERS, REQUIREMENTS, Package  # noqa: E402 - found through the line above
from peers.talk import PeerError, PeerProcess, mnist_folder  # noqa: E402


def main() -> None:
    """Install the named packages, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(PEERS)}; all by default")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in PEERS]
    if unknown:
        parser.error(f"unknown peer '{unknown[0]}'; known peers: {', '.join(PEERS)}")
    worked = [install(PEERS[name]) for name in args.names or PEERS]
    sys.exit(not all(worked))


def install(package: Package) -> bool:
    """Create a package's environment and try the package; the outcome is saved there and printed."""
    try:
        build(package)
        greeting = attempt(package)
        outcome = {"works": True, **greeting}
        print(f"{package.name} {greeting['version']} works.")
    except (PeerError, subprocess.CalledProcessError) as error:
        outcome = {"works": False, "reason": reason(error)}
        print(f"{package.name} does not run here: {outcome['reason']}", file=sys.stderr)
    package.outcome.write_text(json.dumps(outcome, indent=2), encoding="utf-8")
    return bool(outcome["works"])


def build(package: Package) -> None:
    """Create the environment from its requirements file, which pins the SHA-256 of every file.

    Builds run in the environment itself, with a pinned setuptools, because pip does not check the hashes of build
    dependencies that it downloads. ``-I`` keeps pip from importing modules from the working folder.
    """
    venv.EnvBuilder(clear=True, with_pip=True, symlinks=os.name != "nt").create(package.folder)
    ask = [str(package.python), "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    ask += ["--require-hashes", "--no-deps", "--no-build-isolation"]
    purelib = subprocess.run(
        [str(package.python), "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    # Only paths: .pth files in those folders are not followed, so editable installs are not seen.
    outer = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (Path(purelib) / "shared-torch.pth").write_text("\n".join(outer) + "\n", encoding="utf-8")
    for file in (REQUIREMENTS / "setuptools.txt", package.requirements):
        subprocess.run([*ask, "-r", str(file)], check=True, capture_output=True, text=True)


def attempt(package: Package) -> dict[str, object]:
    """Train the package on a few images, and draw some.

    Raises:
        PeerError: It cannot train or draw.
    """
    with PeerProcess(package, mnist_folder(), batch=8) as peer:
        peer.train(1)
        peer.sample(2, seed=0)
        return peer.greeting


def reason(error: PeerError | subprocess.CalledProcessError) -> str:
    """The last line of an error's text."""
    said = (error.stderr or "") if isinstance(error, subprocess.CalledProcessError) else str(error)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else str(error)


if __name__ == "__main__":
    main()
