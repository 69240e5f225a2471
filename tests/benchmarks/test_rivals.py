"""The study of rivals at equal time: its committed file is what the script makes of the speeds in its header."""

import re

import pytest

import rivals
from ganzoo_studies.study import load_study

HEADER = re.compile(r"measured on (.+), in images/s:\n# (.+)\n")


def test_the_committed_study_follows_from_its_speeds():
    text = rivals.FILE.read_text("utf-8")
    hardware, measured = HEADER.search(text).groups()
    pairs = re.findall(r"([^,]+?) ([\d,]+)(?:, |$)", measured)
    assert text == rivals.file({row: int(speed.replace(",", "")) for row, speed in pairs}, hardware)


@pytest.mark.parametrize("row", rivals.ROWS)
def test_every_row_sees_as_much_as_its_time_allows(zoo, row):
    """Images are in proportion to 2, 5 and 15 minutes."""
    study = load_study("rivals", zoo)
    cells = [cell for cell in study.cells(zoo) if cell.row == (row if row in study.rows else "baseline")]
    images = [cell.jobs[0].recipe.train.images for cell in cells]
    assert [round(one / images[0], 1) for one in images] == [1, 2.5, 7.5]
