"""Any trained model opens an app of its own: tabs and sliders come from what it can do."""

import numpy as np
import pytest

from facevae.ui.session import HEIGHT
from tests.app import moves as m

pytestmark = pytest.mark.browser


def test_a_model_of_labelled_faces_has_a_slider_for_each_label(visit, studios):
    page = visit("plain", "Edit")
    assert page.get_by_role("tab").all_inner_texts() == ["Morph", "Edit", "Age", "Explore", "Learn"]
    sliders = page.locator("face-editor .attribute input").all()
    attributes = {f"edit-{name}" for name in studios("plain").attributes}
    assert {one.get_attribute("id") for one in sliders} == attributes
    mean = m.slid(page, m.AFTER, "#edit-Smiling", 1)
    page.get_by_label("within groups").check()  # of one gender and age
    m.changed(page, m.AFTER, mean)


def test_a_grey_model_of_whole_pictures_begins_with_samples(visit, studios):
    page = visit("grey")
    assert page.get_by_role("tab").all_inner_texts() == ["Morph", "Explore", "Learn"]
    m.named(page, "first", "Nobody")
    assert m.place(page, "first").get_by_role("button", name="Grace Hopper").count() == 0
    assert page.get_by_role("button", name="Photo", exact=True).is_hidden()
    assert m.pixels(page, m.STRIP).shape[:2] == (HEIGHT, round(HEIGHT * 20 / 28))
    assert m.near(m.seek(page, 0), m.crop(page, "first"), 3)
    assert not np.array_equal(m.seek(page, 0.5), m.seek(page, 0))
    page.get_by_role("tab", name="Explore").click()
    page.wait_for_selector("face-explorer[ready]")
    labels = page.locator("face-explorer :is(.ages, .genders)").all()
    assert labels and not any(label.is_visible() for label in labels)
    before = m.settled(page, m.PREVIEW)
    drawn = studios("grey").sample(12, 0, 0.8)[0]
    assert m.near(before, drawn.resize(before.shape[1::-1]), 4)
    page.locator("face-explorer .strips input").first.wait_for()
    m.slid(page, m.PREVIEW, "face-explorer .strips input", 3)


@pytest.mark.parametrize("model", ["plain", "grey"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_nothing_sticks_out(visit, model, size):
    page = visit(model, size=size, scheme="dark")
    for tab in page.get_by_role("tab").all():
        tab.click()
        page.wait_for_timeout(300)
        assert m.fits(page), tab.inner_text()
