import pytest

from ganzoo.formatting import count, duration, figure, short
from ganzoo_reports.templates import code, linked, markdown


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (126.4, "126"),
        (4.806, "4.81"),
        (0.05321, "0.0532"),
        (12345.6, "12,346"),
        (0, "0"),
        (None, "–"),
        (1e-9, "1.00e-09"),
    ],
)
def test_a_figure_has_three_digits_that_count(value, told):
    assert figure(value) == told


def test_numbers_have_units():
    assert [short(value) for value in (1_508_240, 20_000, 0.5, None)] == ["1.51 M", "20 k", "0.5", "–"]
    # What three digits round up to the next unit has that unit.
    assert [short(value) for value in (999_499, 999_936, 999.6, -999_936)] == ["999 k", "1 M", "1 k", "-1 M"]
    assert [duration(value) for value in (3.78, 750, 11_520, None)] == ["3.8 s", "12.5 min", "3.2 h", "–"]
    assert count(1_200_000.4) == "1,200,000"


def test_text_in_markdown_stays_text():
    assert markdown("a|b <script>*x*\n[y](z) https://e.example") == (
        r"a\|b &lt;script&gt;\*x\* \[y\](z) https:&#47;&#47;e.example"
    )


def test_code_holds_its_backticks():
    assert code("run x") == "`run x`"
    assert code("a `b`` c") == "``` a `b`` c ```"


def test_arxiv_numbers_are_links_and_nothing_else_is():
    assert linked("A 2016, B, arXiv:1606.03657") == (
        'A 2016, B, <a href="https://arxiv.org/abs/1606.03657" rel="noreferrer">arXiv:1606.03657</a>'
    )
    assert 'href="https://arxiv.org/abs/math/0309285v2"' in linked("arXiv:math/0309285v2")
    assert linked('<b>arXiv:"x https://a.b') == "&lt;b&gt;arXiv:&#34;x https://a.b"
