"""The page in a real browser, from disk: what is drawn, what the controls and keys do.

`visit` fails a test on trouble in the console, on a dialog, and on a request to the network.
"""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from predicted import AFFINE, HOSTILE, MARKUP, VOXEL_MM3, centre_mm, write_predictions

from brainuad.reporting.viewer import write_page

PHONE = (390, 700)


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    return write_page(write_predictions(tmp_path_factory.mktemp("predicted") / "out"))


def _wait(page: Page) -> None:
    page.locator("#viewer:not(.waiting)").wait_for()


def _pixels(page: Page, canvas: str = "#main") -> np.ndarray:
    """What is drawn, two frames after what was done last."""
    page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    picture = Image.open(io.BytesIO(page.locator(canvas).screenshot()))
    return np.asarray(picture.convert("RGB"), dtype=int)


def _warm(page: Page) -> int:
    """Pixels of the anomaly's colours, orange to yellow."""
    red, green, blue = np.moveaxis(_pixels(page), -1, 0)
    return int(((red > 130) & (red >= green) & (green - blue > 40)).sum())


def _place(page: Page) -> tuple[float, ...]:
    """The crosshair as the page says it, mm."""
    text = page.locator("#position").inner_text().replace("−", "-")
    match = re.match(r"x (-?[\d.]+), y (-?[\d.]+), z (-?[\d.]+) mm", text)
    return tuple(map(float, match.groups()))


def _names(page: Page) -> list[str]:
    return page.locator("#list li:visible .name").all_inner_texts()


def test_the_list_is_sorted_and_says_why(visit):
    page = visit()
    assert _names(page) == ["sick", "well", HOSTILE, "broken"]
    broken = page.locator("#list li", has_text="broken")
    expect(broken).to_contain_text("truncated or damaged")
    assert not broken.locator("a").count()
    expect(page.locator("header")).to_contain_text("Not a medical device")

    page.get_by_label("Sort by").select_option("status")
    assert _names(page) == ["broken", HOSTILE, "sick", "well"]
    page.get_by_label("Sort by").select_option("name")
    assert _names(page)[1:] == ["broken", "sick", "well"]
    page.get_by_label("Show").select_option("done")
    assert _names(page) == ["sick", "well"]
    page.get_by_role("searchbox").fill("WEL")
    assert _names(page) == ["well"]
    expect(page.locator("#count")).to_have_text("1 of 4")


def test_thumbnails_are_there(visit):
    page = visit()
    pictures = page.locator("#list img")
    assert pictures.count() == 3
    for one in pictures.all():
        assert one.evaluate("one => one.decode().then(() => one.naturalWidth)") == 224


def test_the_overlay_is_drawn_and_can_be_taken_away(visit):
    page = visit()
    page.get_by_role("link", name="sick").click()
    _wait(page)
    page.get_by_label("Outline of the mask").uncheck()
    assert (_pixels(page).max(axis=-1) > 60).mean() > 0.1  # there is a head
    drawn = _warm(page)
    assert drawn > 50
    page.get_by_label("Anomaly map").uncheck()
    assert _warm(page) == 0
    page.get_by_label("Anomaly map").check()
    assert _warm(page) == drawn

    before = _pixels(page)
    page.get_by_label("Opacity").fill("10")
    assert np.abs(_pixels(page) - before).sum() > 0
    page.get_by_label("Anomaly map").uncheck()
    page.get_by_label("Uncertainty", exact=False).first.check()
    assert np.abs(_pixels(page) - before).sum() > 0


def test_the_threshold_slider_changes_what_is_marked(visit):
    page = visit("sick")
    page.get_by_label("Outline of the mask").uncheck()
    page.locator("#findings button").nth(1).click()  # the weaker finding
    marked, slider = page.locator("#marked"), page.get_by_label("Anomaly from")
    expect(page.locator("#threshold-value")).to_have_text("0.4")
    expect(marked).to_contain_text(f"{54 * VOXEL_MM3 / 1000:.2f} mL")
    drawn = _warm(page)
    assert drawn > 20
    level = int(slider.input_value())

    slider.fill(str(round(level * 0.7 / 0.4)))  # above the weaker finding, below the stronger
    expect(marked).to_contain_text(f"{36 * VOXEL_MM3 / 1000:.2f} mL")
    assert _warm(page) < drawn
    slider.fill(str(round(level * 0.05 / 0.4)))  # all of the head
    assert _warm(page) > 10 * drawn
    page.get_by_role("button", name="Model's threshold").click()
    assert int(slider.input_value()) == level
    assert _warm(page) == drawn


@pytest.mark.parametrize("finding", [0, 1])
def test_a_finding_takes_the_crosshair_to_its_place(visit, finding):
    page = visit("sick")
    other = 1 - finding
    page.locator("#findings tbody tr").nth(other).click()
    before = _pixels(page, "#other")
    page.locator("#findings tbody tr").nth(finding).click()
    assert _place(page) == pytest.approx(centre_mm(finding), abs=0.051)
    said = re.search(
        r"reconstruction \d+ · anomaly ([\d.]+)", page.locator("#position").inner_text()
    )
    assert float(said[1]) == pytest.approx((0.9, 0.5)[finding], abs=0.9 / 255)
    assert np.abs(_pixels(page, "#other") - before).sum() > 0
    expect(page.locator("#findings tr.here")).to_have_count(1)
    row = page.locator("#findings tr.here").inner_text()
    assert ("doubtful" in row and "20 %" in row) == bool(finding)  # few samples support the second


def test_a_click_in_a_plane_moves_both_pictures(visit):
    page = visit("sick")
    before, place = _pixels(page, "#other"), _place(page)
    box = page.locator("#main").bounding_box()
    page.locator("#main").click(position={"x": box["width"] * 0.4, "y": box["height"] * 0.2})
    assert _place(page) != place
    assert np.abs(_pixels(page, "#other") - before).sum() > 0


def test_the_reconstruction_can_be_put_away_and_is_missing_where_there_is_none(visit):
    page = visit("sick")
    expect(page.locator("#other")).to_be_visible()
    page.get_by_label("Reconstruction beside it").uncheck()
    expect(page.locator("#other")).to_be_hidden()
    page.get_by_role("button", name="Next").click()
    expect(page.locator("#title")).to_have_text("well")
    _wait(page)
    expect(page.locator("#no-findings")).to_be_visible()
    expect(page.get_by_label("Reconstruction beside it")).to_be_hidden()
    expect(page.locator("#uncertainty-label")).to_be_hidden()


def test_everything_works_by_keyboard(visit):
    page = visit()
    page.locator("#list a").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    _wait(page)
    assert page.evaluate("document.activeElement.textContent.trim()").startswith("sick")

    # To the picture, the sliders and the findings by the tabulator alone.
    reached = []
    page.locator("#next").focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.ariaLabel")
        )
    assert {"main", "other", "threshold", "opacity", "show-mask", "view"} <= set(reached)
    assert "Go to finding 2" in reached

    page.get_by_label("Go to finding 2").press("Enter")
    start = np.array(_place(page))
    page.locator("#main").focus()
    page.keyboard.press("ArrowRight")  # to the patient's left, so against x
    left = np.array(_place(page)) - start
    assert left[0] < -3
    assert np.linalg.norm(left) == pytest.approx(4, abs=0.1)
    page.keyboard.press("PageUp")
    up = np.array(_place(page)) - start - left
    np.testing.assert_allclose(up, AFFINE[:3, 2], atol=0.11)

    page.locator("#threshold").focus()
    value = page.locator("#threshold-value").inner_text()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#threshold-value")).not_to_have_text(value)


def test_names_and_reasons_never_become_markup(visit):
    page = visit()
    page.locator("#list a").nth(2).click()
    _wait(page)
    expect(page.locator("#title")).to_have_text(HOSTILE)
    expect(page.locator("#looks")).to_have_text(f"flagged: {MARKUP}")
    expect(page.locator("#findings tbody")).to_contain_text(MARKUP)
    assert page.locator("main img").count() == 3
    page.reload()  # the name is in the address
    _wait(page)
    expect(page.locator("#title")).to_have_text(HOSTILE)


def test_a_small_screen_shows_one_thing_at_a_time(visit):
    page = visit(size=PHONE)
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits)
    page.get_by_role("link", name="sick").click()
    _wait(page)
    expect(page.locator("#scans")).to_be_hidden()
    expect(page.locator("#title")).to_be_focused()
    assert page.evaluate(fits)
    page.get_by_label("Outline of the mask").uncheck()
    assert _warm(page) > 20
    page.get_by_text("All scans").click()
    expect(page.locator("#scans")).to_be_visible()
    expect(page.locator("#scan")).to_be_hidden()


def test_pictures_have_the_shape_of_what_they_show(visit, index):
    script = next(iter((index.parent / "viewer" / "scans").glob("*.js"))).read_text()
    wide, deep, tall = json.loads(re.search(r'"size_mm": (\[.*?\])', script)[1])
    page = visit("sick")
    for view, ratio in (
        ("multiplanar", (wide + deep) / (tall + deep)),
        ("axial", wide / deep),
        ("coronal", wide / tall),
        ("sagittal", deep / tall),
    ):
        page.get_by_label("View").select_option(view)
        box = page.locator("#main").bounding_box()
        assert box["width"] / box["height"] == pytest.approx(ratio, rel=0.01)


def test_a_flag_is_one_sentence_with_its_numbers_behind_a_fold(browser, tmp_path):
    out = write_predictions(tmp_path / "out")
    table = out / "subjects.csv"
    flags = "Check the registration (overlap 0.75); Check the scan for noise (noise 0.44)"
    rows = list(csv.DictReader(table.open(encoding="utf-8", newline="")))
    for row in rows:
        row["reason"] = flags if row["status"] == "flagged" else row["reason"]
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    page = browser.new_page()
    page.goto(write_page(out).as_uri())
    item = page.locator("#list li", has_text="Check the registration")
    expect(item.get_by_text("noise 0.44")).to_be_hidden()
    item.get_by_text("all 2 flags, with numbers").click()
    expect(item.get_by_text("Check the scan for noise: noise 0.44")).to_be_visible()
    page.close()


def test_only_the_open_scan_is_held(visit):
    page = visit()
    for name in ("sick", "well", "sick"):
        page.get_by_role("link", name=name).click()
        expect(page.locator("#title")).to_have_text(name)
        _wait(page)
    assert page.locator("head script, script[src*=scans]").count() == 0


def test_without_webgl_the_table_is_still_there(launch, index):
    with launch(args=["--disable-3d-apis", "--no-sandbox"]) as browser:
        page = browser.new_page()
        page.goto(f"{index.as_uri()}#sick")
        expect(page.locator("#loading")).to_contain_text("WebGL 2", timeout=30_000)
        expect(page.locator("#findings tbody tr")).to_have_count(2)


def test_a_missing_folder_is_named(browser, tmp_path):
    index = write_page(write_predictions(tmp_path / "out"))
    shutil.rmtree(index.parent / "viewer" / "scans")
    page = browser.new_page()
    page.goto(f"{index.as_uri()}#sick")
    expect(page.locator("#loading")).to_contain_text('keep the folder "viewer" beside this page')
    page.close()
