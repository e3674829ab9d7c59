"""Any trained model opens an app of its own: tabs and sliders come from what it can do."""

import numpy as np
import pytest

from facevae.ui.session import HEIGHT
from tests.app import moves as m

pytestmark = pytest.mark.browser


def tabs(page) -> list[str]:
    return page.get_by_role("tab").all_inner_texts()


def test_a_model_of_labelled_faces_has_a_slider_for_each_label(visit, studios):
    page, studio = visit("plain", "Edit"), studios("plain")
    page.wait_for_selector("face-editor[ready]")
    assert tabs(page) == ["Morph", "Edit", "Age", "Explore", "Learn"]
    sliders = page.locator("face-editor .attribute input")
    assert {one.get_attribute("id") for one in sliders.all()} == {
        f"edit-{name}" for name in studio.attributes
    }
    m.named(page, "edited", "Eileen Collins")
    before = m.pixels(page, m.AFTER)
    m.slide(page, "#edit-Smiling", 1)
    mean = m.changed(page, m.AFTER, before)
    page.get_by_label("within groups").check()  # of one gender and age
    m.changed(page, m.AFTER, mean)


def test_a_grey_model_of_whole_pictures_begins_with_samples(visit, studios):
    page, studio = visit("grey"), studios("grey")
    assert tabs(page) == ["Morph", "Explore", "Learn"]
    m.named(page, "first", "Nobody")
    assert m.place(page, "first").get_by_role("button", name="Grace Hopper").count() == 0
    assert page.get_by_role("button", name="Photo", exact=True).is_hidden()
    assert m.pixels(page, m.STRIP).shape[:2] == (HEIGHT, round(HEIGHT * 20 / 28))
    assert np.abs(m.seek(page, 0) - m.crop(page, "first")).mean() < 3
    assert not np.array_equal(m.seek(page, 0.5), m.seek(page, 0))
    page.get_by_role("tab", name="Explore").click()
    page.wait_for_selector("face-explorer[ready]")
    assert page.locator("face-explorer :is(.ages, .genders)").all_inner_texts() and not any(
        label.is_visible() for label in page.locator("face-explorer :is(.ages, .genders)").all()
    )
    before = m.settled(page, m.PREVIEW)
    assert m.near(before, studio.sample(12, 0, 0.8)[0].resize(before.shape[1::-1]), 4)
    page.locator("face-explorer .strips input").first.wait_for()
    m.slide(page, "face-explorer .strips input", 3)
    m.changed(page, m.PREVIEW, before)


def test_a_model_given_the_age_ages_by_its_condition_or_by_the_vector(visit, studios):
    page, studio = visit("conditional", "Age"), studios("conditional")
    page.wait_for_selector("face-ages[ready]:not([busy])")
    shown = "face-ages strip-player canvas"
    page.get_by_label("At 80", exact=True).click()
    old = m.pixels(page, shown)
    page.get_by_label("At 10", exact=True).click()
    assert not np.array_equal(m.pixels(page, shown), old)
    page.get_by_label("At 80", exact=True).click()
    assert page.get_by_label("condition", exact=True).is_checked()
    page.get_by_label("age-shift vector").check()
    m.changed(page, shown, old)
    page.wait_for_selector("face-ages:not([busy])")
    assert studio.can_age and m.fits(page)


def test_on_a_phone_the_sliders_come_right_below_the_picture_which_stays_in_view(visit):
    page = visit("conditional", "Edit", "phone")
    page.wait_for_selector("face-editor[ready]")
    picture = page.locator("face-editor .picture")
    first = page.locator("face-editor .attribute").first.bounding_box()
    box = picture.bounding_box()
    assert 0 < first["y"] - (box["y"] + box["height"]) < 90
    page.locator("face-editor .attribute").last.scroll_into_view_if_needed()
    page.mouse.wheel(0, 300)
    page.wait_for_timeout(300)
    box = picture.bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= 844 / 2
    before = m.pixels(page, m.AFTER)
    m.slide(page, "#edit-Male", 1)
    m.changed(page, m.AFTER, before)
    assert m.fits(page)


@pytest.mark.parametrize("model", ["plain", "grey"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_nothing_sticks_out(visit, model, size):
    page = visit(model, size=size, scheme="dark")
    for tab in tabs(page):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(300)
        assert m.fits(page), tab
