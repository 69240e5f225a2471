"""Tables in results/ say what the measurements beside them say."""

import json
import shutil
from pathlib import Path

import pytest

from fid_table import markdown as fid_table
from ganzoo.files import read_lines
from peers_table import markdown as peers_table
from variants import Unpictured, Variants, markdown

RESULTS = Path(__file__).parents[2] / "results"
VARIANTS = RESULTS.parent / "benchmarks" / "variants"


@pytest.mark.parametrize("name", ["peers", "peers-amx"])
def test_peers(name):
    measured = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    assert (RESULTS / f"{name}.md").read_text(encoding="utf-8") == peers_table(measured)


@pytest.mark.parametrize(("name", "marks"), [("time-to-fid", [20, 10, 5, 2, 1]), ("tutorial-ten-minutes", [0.5])])
def test_time_to_fid(name, marks):
    lines = read_lines(RESULTS / f"{name}.jsonl")
    assert (RESULTS / f"{name}.md").read_text(encoding="utf-8") == fid_table(lines, marks)


@pytest.mark.parametrize("name", ["flagship-search", "flagship-ablation"])
def test_variants(name, zoo, tmp_path):
    """They also break where the flagship's recipe changes: its search is then another's."""
    variants = Variants.read(VARIANTS / f"{name}.yaml")
    copied = shutil.copytree(RESULTS / name, tmp_path / name)  # a ledger makes what it lacks
    table = markdown(variants, variants.jobs(zoo), Unpictured(copied))
    assert (RESULTS / name / "README.md").read_text(encoding="utf-8") == table
