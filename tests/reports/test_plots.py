import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from ganzoo_reports.plots import Line, curves, drawing, logarithmic
from ganzoo_reports.run_figures import loss_lines

NAME = "a $b$ --> <script>x</script> 数"


def drawn(**options):
    lines = [Line(NAME, [0, 1000], [100, 1]), Line("b", [0, 1000], [10, 5])]
    return str(curves(lines, title="T <b>", x="images", y="loss", name="p", **options))


def test_a_plot_is_whole_xml_with_a_title_and_no_colour_of_its_own():
    tree = ET.fromstring(drawn(floor=0.5))
    assert tree.get("role") == "img"
    assert tree[0].text == "T <b>"
    assert not re.findall(r"#\w{6}\b", drawn(floor=0.5))
    assert {"var(--series-1)", "var(--series-2)", "var(--real)"} <= set(re.findall(r"var\([^)]*\)", drawn(floor=0.5)))


def test_names_are_text():
    assert "<script" not in drawn()
    assert any((element.text or "").startswith("a $b$ --> <script>") for element in ET.fromstring(drawn()).iter())


def test_every_id_and_reference_is_the_plots_own():
    svg = drawn()
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert len(ids) == len(set(ids))
    assert all(one.startswith("p-") for one in ids)
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]*)', svg)) <= set(ids)


def test_the_same_plot_is_the_same_bytes():
    assert drawn() == drawn()


def test_logarithmic_axes_have_plain_numbers_and_no_values_below_zero():
    def texts(svg):
        return {element.text for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}

    assert {"1", "10", "100"} <= texts(drawn(log=True))
    negative = curves([Line("a", [5, 6], [-1, 100])], title="t", x="x", y="y", name="p", log=True)
    assert "0" in texts(str(negative))  # a logarithmic axis has no 0


@pytest.mark.parametrize(("low", "high"), [(0.78, 1.63), (0.93, 1.12), (2, 70), (0.003, 4)])
def test_a_logarithmic_axis_has_at_least_two_ticks(low, high):
    with drawing(4, 2) as (_, axes):
        axes.plot([low, high], [0, 1])
        logarithmic(axes, "x")
        shown = [value for value in axes.get_xticks() if low <= value <= high]
        labels = axes.xaxis.get_major_formatter().format_ticks(shown)
    assert len(set(labels)) >= 2
    assert [float(label) for label in labels] == pytest.approx(shown)


def test_plots_need_no_working_folder(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    # Not a whole command: some builds of torch and of NumPy do not start in a folder that was deleted.
    code = "try: import numpy\nexcept SystemError: raise SystemExit\nimport ganzoo_reports.plots"
    words = [sys.executable, "-c", code]
    subprocess.run(["sh", "-c", 'rmdir "$PWD" && exec "$0" "$@"', *words], cwd=gone, check=True)


def test_losses_that_no_axis_can_show_are_left_out():
    values = (1e308, -1e308, 1.0, float("nan"), 2.0)
    (line,) = loss_lines([{"event": "train", "images": i, "d.loss": value} for i, value in enumerate(values)])
    assert (list(line.x), list(line.y)) == ([2, 4], [1.0, 2.0])
