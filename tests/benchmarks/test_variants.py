"""Variants of a recipe: the committed files name real ones, and a small search goes from file to table and resumes."""

from pathlib import Path

import pytest

import variants
from ganzoo.errors import GanzooError

FILES = sorted((Path(variants.__file__).parent / "variants").glob("*.yaml"))
TINY = """
title: A small search
recipe: vanilla-mnist
seeds: [0, 1]
overrides:
  - train.images=640
  - networks.generator.hidden=[16]
  - networks.discriminator.hidden=[8]
  - "evaluate={metrics: [fid@mnist-cnn], samples: 100}"
variants:
  plain: []
"""


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_committed_variants_are_recipes_and_differ(path, zoo):
    jobs = variants.Variants.read(path).jobs(zoo)
    digests = [several[0].digest for several in jobs.values()]
    assert len(set(digests)) == len(digests) > 5


@pytest.mark.full
def test_a_search_leaves_a_table_and_is_not_done_twice(tmp_path, capsys):
    file = tmp_path / "small.yaml"
    file.write_text(TINY, encoding="utf-8")
    arguments = [str(file), "--results", str(tmp_path / "results"), "--work", str(tmp_path / "work"), "--threads", "1"]
    variants.main(arguments)
    told = capsys.readouterr().out
    assert "plain, seed 0: " in told
    assert "plain, seed 1: " in told
    table = (tmp_path / "results" / "small" / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in table.splitlines() if line.startswith("| plain")]
    assert row.split(" | ")[2] == "2"
    assert " ± " in row
    assert not list((tmp_path / "results" / "small" / "samples").iterdir())
    variants.main(arguments)
    assert ", seed " not in capsys.readouterr().out
    variants.main([*arguments, "--summary"])
    assert (tmp_path / "results" / "small" / "README.md").read_text(encoding="utf-8") == table


def test_a_misspelt_key_is_a_sentence(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text(TINY.replace("seeds:", "sedes:"), encoding="utf-8")
    with pytest.raises(GanzooError, match="sedes"):
        variants.Variants.read(file)
