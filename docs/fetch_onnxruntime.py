"""Fetch ONNX Runtime Web from npm and keep the two files that exported pages carry: python docs/fetch_onnxruntime.py.

The version and the digest of npm's archive are fixed below; the outcome is committed, so that exports need no network.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
HTML = Path(__file__).parents[1] / "ganzoo" / "reports" / "html"


def main() -> None:
    """Write ``onnxruntime.js`` and ``onnxruntime.wasm.gz`` beside the templates."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", f"onnxruntime-web@{VERSION}", "--silent"]
        subprocess.run(command, cwd=folder, check=True)  # noqa: S603 - fixed
        (packed,) = Path(folder).glob("*.tgz")
        digest = "sha512-" + base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
        if digest != INTEGRITY:
            sys.exit(f"onnxruntime-web {VERSION} has the digest {digest}, not {INTEGRITY}.")
        with tarfile.open(packed) as archive:
            read = {
                name: archive.extractfile(f"package/dist/{name}").read()  # type: ignore[union-attr]
                for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
            }
    text = read["ort.wasm.bundle.min.mjs"].decode()
    text = re.sub(r"\n//# sourceMappingURL=.*", "", text)
    # The module's exports as a constant, because the page has one script.
    exported = re.search(r"export\{([^}]*)\};?\s*$", text)
    if exported is None or "</script" in text:
        sys.exit("The bundle does not end as expected.")
    pairs = [pair.split(" as ") for pair in exported[1].split(",")]
    properties = ", ".join(f"{name}: {own}" for own, name in pairs if name in ("InferenceSession", "Tensor", "env"))
    (HTML / "onnxruntime.js").write_text(f"{text[: exported.start()].rstrip()}\nconst ort = {{{properties}}};\n")
    wasm = gzip.compress(read["ort-wasm-simd-threaded.wasm"], 9, mtime=0)
    (HTML / "onnxruntime.wasm.gz").write_bytes(wasm)


if __name__ == "__main__":
    main()
