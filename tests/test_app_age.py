"""The Age tab in the browser."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import app
from facevae.page import age, desk
from facevae.photo import open_photo
from tests.app_pages import (
    PORTRAITS,
    WIDTHS,
    count_live,
    film,
    line,
    name,
    open_tab,
    photo_file,
    picture,
    pixels,
    upload,
    wait_for_change,
)

pytest_plugins = "tests.app_pages"  # its fixtures

SHOWN = "face-ages strip-player canvas"
AGES = "document.querySelector('face-ages')"


def open_age(visit, *how):
    page = visit(*how)
    open_tab(page, "Age", "face-ages")
    return page


def at(page, years: int) -> np.ndarray:
    page.get_by_label(f"At {years}", exact=True).click()
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return pixels(page, SHOWN)


def corrected(page) -> None:
    page.wait_for_selector("face-ages:not([busy])")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def near(shown: np.ndarray, made: Image.Image) -> bool:
    return np.abs(shown - np.asarray(made, float)).mean() < 2  # it came as a JPEG


@WIDTHS
def test_the_face_through_the_years_without_another_request(visit, studio, face, width, height):
    page = open_age(visit, width, height)
    assert float(page.locator("face-ages .own").input_value()) == round(face.years)
    assert page.locator("face-ages [name=gender]:checked").input_value() == str(face.gender)
    count = count_live(page)
    stills = page.locator("face-ages .decades button")
    assert stills.all_inner_texts() == [str(years) for years in range(10, 81, 10)]
    for years in (10, 80):
        shown = at(page, years)
        assert near(shown, studio.age(face, years, size=desk.SIDE))
        assert page.locator("face-ages .age-now").inner_text() == f"{years} years"
        still = page.get_by_label(f"At {years}", exact=True)
        assert still.get_attribute("aria-pressed") == "true"
        assert near(picture(still.locator("img").get_attribute("src")), Image.fromarray(
            shown.astype(np.uint8)))  # fmt: skip
    slider = page.get_by_label("Age", exact=True).and_(page.get_by_role("slider"))
    slider.press("ArrowLeft")  # a frame
    assert page.locator("face-ages .age-now").inner_text() == "75 years"
    assert slider.get_attribute("aria-valuetext") == "75 years"
    page.locator("face-ages").get_by_role("button", name="Play").click()
    page.wait_for_function(f"{AGES}.age > 76")
    assert count["all"] == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_saves_the_photo_and_the_face_and_both_age_and_gender_can_be_corrected(
    visit, studio, face, tmp_path
):
    page = open_age(visit)
    shown = at(page, 80)
    for button in ("Photo", "PNG"):
        with page.expect_download() as download:
            page.locator("face-ages").get_by_role("button", name=button, exact=True).click()
        download.value.save_as(tmp_path / "saved.png")
        with Image.open(tmp_path / "saved.png") as saved:
            assert not saved.getexif() and not saved.info.get("exif")
            made = np.asarray(saved.convert("RGB"), float)
        if button == "PNG":
            assert np.array_equal(made, shown)
        else:
            change = np.abs(made - np.asarray(face.photo, float)).sum(2) > 0  # (H, W) as the photo
            assert 0 < change.mean() < 0.5
    own = page.locator("face-ages .own")
    own.fill("60")
    corrected(page)
    known = replace(face, years=60.0)
    assert near(at(page, 80), studio.age(known, 80, size=desk.SIDE))
    page.get_by_label("male", exact=True).check()
    corrected(page)
    known = replace(known, gender=0)
    assert near(at(page, 20), studio.age(known, 20, size=desk.SIDE))
    page.locator("face-ages .detail").press("Home")
    corrected(page)
    assert near(at(page, 20), studio.age(known, 20, detail=0, size=desk.SIDE))
    own.fill("500")
    own.blur()
    assert own.input_value() == str(studio.guide.curves.span[1])
    own.fill("")
    own.blur()
    assert own.input_value() == str(round(face.years))
    corrected(page)


def test_a_new_face_brings_its_own_age_and_can_be_saved_as_an_animation(
    visit, studio, uploads, tmp_path
):
    page = open_age(visit)
    before = at(page, 80)
    upload(page, "aged", photo_file(Image.new("RGB", (300, 300), "white")))
    assert "face" in line(page, "aged") and np.array_equal(at(page, 80), before)
    page.locator(".aged").get_by_role("button", name="Grace Hopper").click()
    name(page, "aged").get_by_text("Grace Hopper").wait_for()
    hopper = studio.read(open_photo(PORTRAITS[0], app.MAX_SIDE))
    hopper = replace(hopper, gender=1)  # the reader errs, the page knows
    years = round(hopper.years)
    page.wait_for_function(f"{AGES}.wish.own === {years}")
    corrected(page)
    assert f"About {years}, female" in page.locator(".guess").inner_text()
    assert near(at(page, 20), studio.age(hopper, 20, size=desk.SIDE))
    save = page.locator("face-ages").get_by_role("button", name="GIF")
    animation, lasts = film(page, save, tmp_path)
    assert animation.filename.endswith("ageing.gif") and animation.size == (desk.SIDE, desk.SIDE)
    assert animation.n_frames == 2 * desk.saved_frames(desk.SAVED_SECONDS) - 2  # there and back
    page.get_by_label("Length of the animation").select_option("1 s")
    page.get_by_label("Size of the animation").select_option("160 px")
    animation, shorter = film(page, save, tmp_path)
    assert animation.size == (160, 160) and shorter == pytest.approx(lasts / 2, abs=0.1)
    animation.seek(0)
    youngest = studio.age(hopper, 10, size=160)
    assert np.abs(np.asarray(animation.convert("RGB"), float) - youngest).mean() < 8  # 256 colours
    assert not list(uploads.rglob("ageing*"))


def test_the_address_brings_back_the_age_of_a_drawn_face(visit):
    page = open_age(visit)
    opening = pixels(page, SHOWN)
    page.locator(".aged").get_by_role("button", name="Random face").click()
    page.wait_for_selector(".aged img[alt=Nobody]")
    wait_for_change(page, SHOWN, opening)  # its own estimate has come, and overwrites nothing
    page.locator("face-ages .own").fill("44")
    corrected(page)
    before, wish = at(page, 60), page.evaluate(f"{AGES}.wish")
    page.wait_for_timeout(400)  # the address follows at leisure
    page.reload()
    page.wait_for_selector("face-ages[ready]:not([busy])")
    assert page.locator("face-ages .age-now").inner_text() == "60 years"
    assert page.evaluate(f"{AGES}.wish") == wish and wish["own"] == 44
    assert np.array_equal(at(page, 60), before)


def test_only_ages_that_the_model_has_seen_are_offered(studio, monkeypatch):
    assert age.ages(studio) == list(range(10, 81, 5))
    monkeypatch.setattr(type(studio.guide.curves), "span", (18, 63))
    assert age.ages(studio) == list(range(20, 61, 5))
