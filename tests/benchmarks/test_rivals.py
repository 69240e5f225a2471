"""The studies of rivals at equal time: their files are what the script makes of the speeds in their headers."""

import re

import pytest

import rivals
import rivals_page
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


def row(name, minutes, fid, *, recall=0.5, milliseconds=1.0, seeds=3):
    return rivals_page.Row(name, minutes, fid, {"recall": recall}, milliseconds, 1000, seeds)


ROWS = [
    row("quick", 2, 3.0),
    row("slow", 2, 9.0),
    row("slow", 15, 1.0, recall=0.9, milliseconds=20.0),
    row("quick", 15, 2.0),
]


def test_advice_names_the_best_at_each_length_the_most_varied_and_the_fastest():
    assert rivals_page.advice(ROWS) == [
        "**Closest to real images after 2 minutes:** quick, FID 3.00; then slow, 9.00.",
        "**Closest to real images after 15 minutes:** slow, FID 1.00; then quick, 2.00.",
        "**Most varied after 15 minutes:** slow, recall 0.90.",
        "**Fastest to sample:** quick, 1.0 ms a picture; slow takes 20.0 ms.",
    ]


def test_nothing_is_advised_before_every_row_has_three_seeds():
    assert rivals_page.advice([*ROWS, row("new", 15, 0.5, seeds=2)]) == []
    assert rivals_page.advice([]) == []


def test_the_plot_shows_every_row_by_minutes_and_by_milliseconds(tmp_path):
    rivals_page.plot(ROWS, tmp_path / "rivals.svg")
    drawn = (tmp_path / "rivals.svg").read_text("utf-8")
    assert all(f">{words}</text>" in drawn for words in ("quick", "slow", "milliseconds a sample"))
