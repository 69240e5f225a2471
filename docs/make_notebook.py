"""Runs a notebook of docs/ and writes its outputs into it: ``python docs/make_notebook.py first-steps``, after changing
it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def main(name: str) -> None:
    """Run it, and keep nothing of this machine: no times, no versions; pictures as PNG alone."""
    file = Path(__file__).with_name(f"{name}.ipynb")
    notebook = nbformat.read(file, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        nbclient.NotebookClient(notebook, kernel_name="python3", record_timing=False, resources=resources).execute()
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/jpeg", None)
    nbformat.write(notebook, file)


if __name__ == "__main__":
    main(sys.argv[1])
