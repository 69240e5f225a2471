"""The studies of rivals at equal time: their files are what the script makes of the speeds in their headers."""

import re

import pytest

import rivals
from ganzoo_studies.study import load_study

HEADER = re.compile(r"measured on (.+), in images/s:\n# (.+)\n")


@pytest.mark.parametrize("name", rivals.CONTESTS)
def test_a_committed_study_follows_from_its_speeds(name):
    text = (rivals.STUDIES / f"{name}.yaml").read_text("utf-8")
    hardware, measured = HEADER.search(text).groups()
    pairs = re.findall(r"([^,]+?) ([\d,]+)(?:, |$)", measured)
    assert text == rivals.file(name, {row: int(speed.replace(",", "")) for row, speed in pairs}, hardware)


@pytest.mark.parametrize("row", rivals.CONTESTS["rivals"].rows)
def test_every_row_sees_as_much_as_its_time_allows(zoo, row):
    """Images are in proportion to 2, 5 and 15 minutes."""
    study = load_study("rivals", zoo)
    cells = [cell for cell in study.cells(zoo) if cell.row == (row if row in study.rows else "baseline")]
    images = [cell.jobs[0].recipe.train.images for cell in cells]
    assert [round(one / images[0], 1) for one in images] == [1, 2.5, 7.5]
