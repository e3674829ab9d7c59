"""The Edit tab in the browser."""

import io
import json
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

import app
import facevae
from facevae.page import desk, edit
from facevae.photo import open_photo
from tests import app_pages
from tests.app_pages import (
    PORTRAITS,
    WIDTHS,
    count_live,
    crop,
    line,
    name,
    open_tab,
    photo_file,
    picture,
    pixels,
    upload,
)

pytest_plugins = "tests.app_pages"  # its fixtures

BEFORE, AFTER = "face-editor .before", "face-editor .after"
EDITOR = "document.querySelector('face-editor')"


def open_edit(visit, *how):
    page = visit(*how)
    open_tab(page, "Edit", "face-editor")
    return page, count_live(page)


def settled(page, count: dict) -> np.ndarray:
    """The edited face once no request is under way."""
    return app_pages.settled(page, AFTER, count)


def slide(page, attribute: str, *values: float) -> None:
    """Drag a slider over some values, and let it go."""
    page.eval_on_selector(
        f"#edit-{attribute}",
        """(slider, values) => {
            for (const value of values) { slider.value = value; slider.dispatchEvent(new Event("input")); }
            slider.dispatchEvent(new Event("change")); }""",  # noqa: E501
        list(values),
    )


def value(page, attribute: str) -> float:
    return float(page.locator(f"#edit-{attribute}").input_value())


def expected(studio, face, wanted: dict, **how) -> np.ndarray:
    return np.asarray(studio.edit(face, wanted, size=desk.SIDE, **how), float)


def near(one: np.ndarray, other: np.ndarray) -> bool:
    return np.abs(one - other).mean() < 2  # a JPEG of quality 92 is off by 1 here


@WIDTHS
def test_a_slider_starts_at_the_faces_own_strength_and_its_last_value_wins(
    visit, studio, face, width, height
):
    page, count = open_edit(visit, width, height)
    for attribute, strength in studio.guide.strengths(face.mean).items():
        own = np.clip(strength, -edit.REACH, edit.REACH)
        assert value(page, attribute) == pytest.approx(own, abs=0.026)  # half a step of 0.05
        assert page.get_by_label(edit.LABELS[attribute], exact=True).is_visible()
    first = pixels(page, AFTER)
    assert near(first, expected(studio, face, {}))
    slide(page, "Smiling", *np.linspace(1, -1.5, 25))
    last = settled(page, count)
    assert near(last, expected(studio, face, {"Smiling": -1.5})) and not near(last, first)
    assert count["most"] == 1 and count["all"] <= 3  # of 25: the first, the last, one between
    slide(page, "Eyeglasses", 1.5)
    both = settled(page, count)
    assert near(both, expected(studio, face, {"Smiling": -1.5, "Eyeglasses": 1.5}))
    page.locator("face-editor .detail").press("Home")
    plain = settled(page, count)
    assert near(plain, expected(studio, face, {"Smiling": -1.5, "Eyeglasses": 1.5}, detail=0))
    assert np.array_equal(pixels(page, BEFORE), first)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    seen = page.locator("face-editor .picture").bounding_box()
    page.locator("#edit-Young").scroll_into_view_if_needed()
    if width < 860:
        seen = page.locator("face-editor .picture").bounding_box()
        assert 0 <= seen["y"] <= height / 4  # it stays in sight above the sliders
    assert seen["width"] == pytest.approx(seen["height"], abs=1)


def test_undo_redo_reset_and_lock(visit, studio, face):
    page, count = open_edit(visit)
    states, faces = [], []

    def remember():
        faces.append(settled(page, count))
        states.append(page.evaluate(f"{EDITOR}.state"))

    remember()
    slide(page, "Smiling", 0, -1, -1.5)  # a drag is one step
    remember()
    slide(page, "Beard", 1)
    remember()
    page.get_by_role("button", name="Undo").click()
    assert near(settled(page, count), faces[1]) and page.evaluate(f"{EDITOR}.state") == states[1]
    page.keyboard.press("Control+z")
    assert near(settled(page, count), faces[0]) and page.evaluate(f"{EDITOR}.state") == states[0]
    assert page.get_by_role("button", name="Undo").is_disabled()
    page.keyboard.press("Control+Shift+z")
    page.get_by_role("button", name="Redo").click()
    assert near(settled(page, count), faces[2]) and page.evaluate(f"{EDITOR}.state") == states[2]
    page.locator("#edit-Beard").dblclick(position={"x": 3, "y": 3})
    assert "Beard" not in page.evaluate(f"{EDITOR}.state.wanted")
    page.get_by_label("Reset Smile").click()
    assert near(settled(page, count), faces[0])
    page.get_by_role("button", name="Undo").click()
    slide(page, "Bangs", 1.5)  # what was undone is gone
    assert page.get_by_role("button", name="Redo").is_disabled()
    page.get_by_role("button", name="Reset all").click()
    assert near(settled(page, count), faces[0]) and page.evaluate(f"{EDITOR}.state") == states[0]
    own = value(page, "Mustache")
    slide(page, "Beard", 1.5)
    settled(page, count)
    assert abs(value(page, "Mustache") - own) > 0.1  # it went along, and its slider shows that
    page.get_by_role("button", name="Undo").click()
    page.get_by_label("Lock Moustache").click()
    assert page.locator("#edit-Mustache").is_disabled()
    slide(page, "Beard", 1.5)
    held = settled(page, count)
    assert value(page, "Mustache") == pytest.approx(own, abs=0.05)
    assert near(held, expected(studio, face, {"Beard": 1.5}, locked=["Mustache"]))


def test_an_impossible_lock_is_an_answer_in_words(studio, monkeypatch):
    def refuse(*_):
        raise ValueError("'Beard' cannot move while Mustache is locked")

    table = desk.Desk(studio, app.MAX_SIDE)
    face = table.opening.result()[1]
    monkeypatch.setattr(type(studio.guide), "steps", refuse)
    wish = {"wanted": {"Beard": 1}, "locked": ["Mustache"], "detail": 1}
    assert edit.redraw(table, face, wish) == {
        "error": "“Beard” cannot move while “Moustache” is locked"
    }
    assert edit.in_words(ValueError("'Gray_Hair' cannot move while Male is locked")) == (
        "“Grey hair” cannot move while “Gender-typical look” is locked"
    )


def test_without_a_guide_the_tabs_say_how_to_make_one_and_faces_can_be_read(studio):
    plain = facevae.Studio(studio.model, studio.prior)
    props = [part["props"] for part in app.build(plain).config["components"]]
    said = [shown["value"] for shown in props if "missing" in (shown.get("elem_classes") or [])]
    assert len(said) == 2  # the Edit and the Age tab
    assert all("no guide" in value and "python -m facevae guide" in value for value in said)
    first = desk.Desk(plain, app.MAX_SIDE).opening.result()[0]
    assert first.years is None and len(first.mean) > 0


def test_saves_the_whole_photo_and_the_face_and_shows_before_beside_after(visit, tmp_path):
    page, count = open_edit(visit)

    def saved(button: str) -> Image.Image:
        with page.expect_download() as download:
            page.get_by_role("button", name=button, exact=True).click()
        file = tmp_path / download.value.suggested_filename
        download.value.save_as(file)
        with Image.open(file) as opened:
            assert opened.format == "PNG" and not opened.getexif() and not opened.info
            return opened.convert("RGB")

    page.locator("face-editor .save").scroll_into_view_if_needed()
    photo = open_photo(PORTRAITS[1], app.MAX_SIDE)
    assert np.array_equal(saved("Photo"), photo)  # nothing is edited yet
    slide(page, "Smiling", -1.5)
    after = settled(page, count)
    whole, face = saved("Photo"), saved("Face")
    assert whole.size == photo.size
    changed = np.abs(np.asarray(whole, float) - np.asarray(photo, float)).sum(2) > 0
    assert 0 < changed.mean() < 0.5
    assert near(np.asarray(face.resize((desk.SIDE, desk.SIDE)), float), after)
    stage = page.locator("face-editor .picture")
    box = stage.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 20, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, y)
    page.mouse.up()
    assert page.evaluate(f"{EDITOR}.split") == pytest.approx(0.6, abs=0.01)
    page.wait_for_timeout(300)  # the words fade in
    shot = Image.open(io.BytesIO(stage.screenshot())).convert("RGB").resize((320, 320))
    shown, was, became = np.asarray(shot, float), pixels(page, BEFORE), pixels(page, AFTER)
    for side, wanted, other in ((slice(40, 170), was, became), (slice(215, 280), became, was)):
        there = (slice(180, 270), side)  # about the mouth, clear of the handle
        assert 2 * np.abs(shown - wanted)[there].mean() < np.abs(shown - other)[there].mean()
    page.keyboard.press("ArrowLeft")
    assert stage.get_attribute("aria-valuenow") == "55"


def test_a_new_face_starts_anew_for_its_visitor_and_a_bad_photo_changes_nothing(visit):
    (page, count), (other, others) = open_edit(visit), open_edit(visit)
    slide(page, "Smiling", -1.5)
    edited = settled(page, count)
    upload(page, "edited", photo_file(Image.new("RGB", (300, 300), "white")))
    assert "face" in line(page, "edited")
    assert np.array_equal(pixels(page, AFTER), edited)
    page.locator(".edited").get_by_role("button", name="Grace Hopper").click()
    name(page, "edited").get_by_text("Grace Hopper").wait_for()
    page.wait_for_function(f"Object.keys({EDITOR}.state.wanted).length === 0")
    page.wait_for_timeout(200)
    assert np.array_equal(pixels(page, AFTER), picture(crop(page, "edited")))
    assert page.locator(".seen img").is_visible()
    assert page.get_by_role("button", name="Undo").is_disabled()
    slide(page, "Smiling", 0)
    slide(other, "Smiling", 0)
    assert np.abs(settled(page, count) - settled(other, others)).mean() > 20


def test_a_face_of_the_gallery_comes_to_be_edited_and_the_address_brings_it_back(visit):
    page = visit()
    open_tab(page, "Explore", "face-explorer")
    count = count_live(page)
    page.get_by_role("button", name="Face to edit").click()
    page.wait_for_selector(".edited img[alt=Nobody]")
    page.wait_for_selector("face-editor[ready]")
    page.wait_for_timeout(500)
    assert np.array_equal(pixels(page, AFTER), picture(crop(page, "edited")))
    slide(page, "Smiling", -1.5)
    page.get_by_label("Lock Beard").click()
    page.locator("face-editor .detail").press("ArrowLeft")
    before, state = settled(page, count), page.evaluate(f"{EDITOR}.state")
    page.wait_for_timeout(400)  # the address follows at leisure
    page.reload()
    page.wait_for_selector("face-editor[ready]")
    assert np.array_equal(settled(page, count), before)
    assert page.evaluate(f"{EDITOR}.state") == state


def test_a_photo_is_never_in_the_address_and_a_broken_one_opens_all_the_same(visit):
    page, _ = open_edit(visit)
    shown = pixels(page, AFTER)
    upload(page, "edited", photo_file(Image.open(PORTRAITS[0])))
    name(page, "edited").get_by_text("Your photo").wait_for()
    app_pages.wait_for_change(page, AFTER, shown)
    slide(page, "Smiling", 1)
    page.wait_for_function("location.hash.includes('Smiling')")
    link = json.loads(unquote(page.evaluate("location.hash.slice(1)")))
    assert link == {"tab": "edit", "wanted": {"Smiling": 1}, "locked": [], "detail": 1}
    broken = '{"tab":"edit","face":{"draw":"x"},"wanted":{"No":1},"detail":"a"}'
    for hash_, tab in ((broken, "Edit"), (broken[:-1], "Morph")):  # the second is no JSON at all
        page.evaluate("text => history.replaceState(0, '', '#' + encodeURIComponent(text))", hash_)
        page.reload()
        page.wait_for_selector("strip-player[ready]", state="attached")
        assert page.get_by_role("tab", name=tab).get_attribute("aria-selected") == "true"
        open_tab(page, "Edit", "face-editor")
        assert name(page, "edited").inner_text() == "Eileen Collins"
        assert page.evaluate(f"{EDITOR}.state") == {"wanted": {}, "locked": [], "detail": 1}
