"""``ganzoo compare``: what it shows side by side."""

import json
import re
import shutil

import pytest

from ganzoo.errors import GanzooError
from ganzoo_reports.run_pages import write_comparison


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    """A run beside one of its copies that was measured and set otherwise, and one of a stranger without scores."""
    folder = tmp_path_factory.mktemp("compared")
    shutil.copytree(run, folder / "a" / "run")
    other = shutil.copytree(run, folder / "b" / "run")
    lines = [json.loads(line) for line in (other / "scores.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("schema")  # from before scores were sealed
        line["value"] /= 2
    split = [{**line, "protocol": {**line["protocol"], "split": "train"}} for line in lines]
    # Other samples of the run, which `ganzoo eval` scored later, do not replace its own score.
    seeds = [{**line, "value": 1e-9, "protocol": {**line["protocol"], "sample_seed": 5}} for line in lines]
    (other / "scores.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in [*lines, *split, *seeds]))
    info = json.loads((other / "run.json").read_text())
    info["environment"] |= {"gpu": "Another GPU"}
    info["recipe_digests"] = []
    (other / "run.json").write_text(json.dumps(info))
    recipe = (other / "recipe.yaml").read_text()
    (other / "recipe.yaml").write_text(recipe.replace("batch_size: 16", "batch_size: 8"))
    stranger = shutil.copytree(run, folder / "<script>c</script>")
    (stranger / "scores.jsonl").unlink()
    return write_comparison([folder / "a/run", folder / "b/run", stranger], folder / "page.html")


def test_scores_stand_in_one_row_by_protocol_and_the_best_is_bold(page):
    text = page.read_text()
    table = text[text.index("<tbody>") : text.index("</tbody>")]
    rows = [re.findall(r"<td class=\"number\">(.*?)</td>", row, re.DOTALL) for row in table.split("<tr>")[1:]]
    own, train = rows
    assert "<strong>" not in own[0]
    assert "<strong>" in own[1]
    assert own[2] == "–"
    value = float(re.match(r"[\d.,]+", own[0]).group().replace(",", ""))
    assert float(re.search(r"<strong>([\d.,]+)", own[1]).group(1).replace(",", "")) == pytest.approx(
        value / 2, rel=0.01
    )
    assert [cell == "–" for cell in train[:3]] == [True, False, True]
    assert "toy train images" in table


def test_the_settings_that_differ_are_listed_and_no_others(page):
    text = page.read_text()
    table = text[text.index('<table class="settings">') :]
    rows = re.findall(r"<code>(.*?)</code></th><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td>", table)
    assert rows == [("train.batch_size", "16", "8", "16")]
    assert "<script>" not in text
    assert all(name in text for name in ("a/run", "b/run"))


def test_the_machine_of_each_run_is_told_and_seconds_of_several_are_not_comparable(page, run, tmp_path):
    text = page.read_text()
    assert re.findall(r"images/s, fp32, eager, (.*?)</span>", text)[1] == "Another GPU"
    assert "different machines" in text
    shutil.copytree(run, tmp_path / "same")
    alike = write_comparison([run, tmp_path / "same"], tmp_path / "page.html").read_text()
    assert "different machines" not in alike
    assert "The recipes are identical, with the same seed." in alike


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_in_a_browser(visit, page, width, scheme):
    seen = visit(page, width=width, scheme=scheme)
    seen.fits(width)
    assert seen.page.locator(".sides img").count() == 3
    assert seen.page.locator("svg:visible").count() == 4  # two scores over images, two losses
    seen.page.locator("#along-seconds").check()
    assert "over seconds of training" in seen.page.locator("svg:visible").first.text_content()
    assert seen.page.locator("img:not([alt])").count() == 0


def test_what_cannot_be_compared_is_one_sentence(run, tmp_path):
    with pytest.raises(GanzooError, match="Cannot compare 1 run. Give 2 to 12"):
        write_comparison([run], tmp_path / "page.html")
    with pytest.raises(GanzooError, match="is named twice"):
        write_comparison([run, run / ".." / run.name], tmp_path / "page.html")
    (tmp_path / "page.html").write_text("my own")
    with pytest.raises(GanzooError, match="was not made by `ganzoo compare`, so it is not overwritten"):
        write_comparison([run, shutil.copytree(run, tmp_path / "copy")], tmp_path / "page.html")
