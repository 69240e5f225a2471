"""Both pages in a real Chromium: what people click, type and read."""

import pytest

from ganzoo_reports.run_pages import write_report
from ganzoo_studies.leaderboard import write_leaderboard

VISIBLE = "rows => rows.filter(row => !row.hidden).map(row => row.querySelector('th b').textContent)"
MARKUP = "stranger"
"""Whose summary is markup."""
LABELS = "() => { globalThis.labels = []; const play = document.getElementById('play'); "
LABELS += "new MutationObserver(() => labels.push(play.textContent)).observe(play, {childList: true}); }"
"""Keeps what the button says from now on: "Pause" stands there for so short a time that a busy machine may miss it."""


@pytest.fixture(scope="module")
def index(results):
    return write_leaderboard(results)[0][0]


@pytest.fixture(scope="module")
def made_report(run, toy_zoo):
    return write_report(run, toy_zoo)


def names(page):
    return page.eval_on_selector_all(".sheet:not([hidden]) tbody tr", VISIBLE)


def heading(page, text):
    return page.locator(".sheet:not([hidden]) thead th:not([hidden])", has_text=text).first


def test_a_stranger_changes_nothing_and_nothing_leaves_the_page(visit, index):
    seen = visit(index)
    assert seen.page.title() == "ganzoo: results"
    assert names(seen.page) == ["gamma", "beta", "alpha", MARKUP, "delta"]


def test_headings_sort_by_click_and_by_key_and_say_so(visit, index):
    page = visit(index).page
    training = heading(page, "Training")
    training.get_by_role("button").click()
    assert training.get_attribute("aria-sort") == "ascending"
    assert names(page) == ["beta", "alpha", MARKUP, "gamma", "delta"]
    assert page.locator(".sheet:not([hidden]) th[aria-sort=ascending]").count() == 1
    training.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert training.get_attribute("aria-sort") == "descending"
    # What failed has no time and stays below.
    assert names(page) == ["gamma", "beta", "alpha", MARKUP, "delta"]
    heading(page, "Recipe").get_by_role("button").click()
    assert names(page) == ["alpha", "beta", "delta", "gamma", MARKUP]


def test_rows_are_filtered_by_words_and_by_status(visit, index):
    page = visit(index).page
    page.get_by_label("Search").fill("wasserstein GAMMA")
    assert names(page) == ["gamma"]
    assert page.locator("#count").inner_text() == "1 of 5 recipes"
    page.get_by_label("Search").fill("")
    page.get_by_label("Status").select_option("failed")
    assert names(page) == ["delta"]
    assert "Training diverged after 12,800 images." in page.locator("tbody tr:not([hidden])").first.inner_text()
    page.get_by_label("Status").select_option("done")
    assert "delta" not in names(page)


def test_one_metric_is_shown_at_a_time_with_its_own_ranks_and_plots(visit, index):
    page = visit(index).page
    page.get_by_label("Metric").select_option(label="precision@mnist-cnn")
    assert names(page) == ["alpha", "beta", "gamma", MARKUP, "delta"]
    headings = page.locator(".sheet:not([hidden]) thead th:visible").all_inner_texts()
    assert any("precision@" in text for text in headings)
    assert not any("fid@" in text for text in headings)
    assert page.locator("svg:visible title").first.text_content().startswith("precision@mnist-cnn over")
    page.get_by_label("Dataset").select_option(label="ring")
    assert names(page) == ["circle"]
    assert page.locator(".sheet:visible").count() == 1


def test_every_control_has_a_name_and_every_cell_a_heading(visit, index):
    page = visit(index).page
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("table").count() == page.locator("table > caption").count()
    assert page.locator("thead th:not([scope])").count() == 0
    assert page.locator("tbody tr").count() == page.locator("tbody th[scope=row]").count()
    unnamed = "all => all.filter(e => !(e.labels && e.labels.length) && !e.textContent.trim()).length"
    assert page.eval_on_selector_all("select, input, button", unnamed) == 0


def test_frames_are_not_read_aloud_while_they_play(visit, made_report):
    page = visit(made_report).page
    spoken = """() => [1, 2].map(() => {
        document.getElementById("play").click();
        return document.getElementById("stage").getAttribute("aria-live");
    })"""
    assert page.evaluate(spoken) == ["off", None]


def test_the_samples_are_scrubbed_by_key_and_played(visit, made_report):
    page = visit(made_report).page
    step, shown = page.get_by_label("Training progress in images"), page.locator(".frames li:visible img")
    assert shown.count() == 1
    assert shown.get_attribute("alt") == "Samples after 320 images"
    step.focus()
    page.keyboard.press("Home")
    assert shown.get_attribute("alt") == "Samples after 0 images"
    page.keyboard.press("ArrowRight")
    assert shown.get_attribute("alt") == "Samples after 160 images"
    assert step.get_attribute("aria-valuetext").startswith("After 160 images, ")
    page.evaluate(LABELS)
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => labels.length > 1")
    assert page.evaluate("labels") == ["Pause", "Play"]
    assert shown.get_attribute("alt") == "Samples after 320 images"


def test_curves_are_drawn_once_by_images_or_seconds_at_a_switch(visit, made_report):
    seen = visit(made_report, scripts=False)
    titles = seen.page.locator(".curves svg:visible > title")
    by_images = titles.all_text_contents()
    assert by_images
    assert all(title.endswith("over images shown") for title in by_images)
    seen.page.get_by_role("radio", name="seconds of training").check()
    assert titles.all_text_contents() == [title.replace("images shown", "seconds of training") for title in by_images]


def test_the_score_is_beside_the_rank_and_seen_on_a_phone(visit, index):
    page = visit(index, width=390).page
    headings = page.locator(".sheet:not([hidden]) thead th:visible").all_inner_texts()
    assert [text.split()[0] for text in headings[:3]] == ["Rank", "fid@mnist-cnn", "Recipe"]
    score = page.locator(".sheet:not([hidden]) tbody tr td:nth-child(2)").first.bounding_box()
    assert 0 < score["x"] < score["x"] + score["width"] < 390


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("which", ["index", "made_report"])
def test_only_tables_scroll_sideways_and_ink_stands_out_in_both_themes(visit, request, which, width, scheme):
    seen = visit(request.getfixturevalue(which), width=width, scheme=scheme)
    page = seen.page
    seen.fits(width)
    for what in ("h1", ".soft", "svg text"):
        assert contrast(page, what) >= 4.5
    assert page.screenshot(full_page=True)[:4] == b"\x89PNG"


def contrast(page, selector):
    """The ratio that the WCAG define, of the first such element's ink to the page."""
    ink = page.locator(selector).first.evaluate("e => getComputedStyle(e)[e.closest('svg') ? 'fill' : 'color']")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    low, high = sorted(luminance(colour) for colour in (ink, paper))
    return (high + 0.05) / (low + 0.05)


def luminance(colour):
    channels = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_without_scripts_everything_is_there(visit, index, made_report):
    board = visit(index, scripts=False).page
    assert board.locator(".sheet").count() == 2
    assert not board.locator(".controls").is_visible()
    assert board.locator("thead th:visible", has_text="precision@").count() == 0
    page = visit(made_report, scripts=False).page
    assert page.locator(".frames img:visible").count() == 3
