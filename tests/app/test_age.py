"""The Age tab in the browser."""

import numpy as np
import pytest
from PIL import Image

from facevae.ui import age
from facevae.ui.session import HEIGHT
from tests.app import moves as m

pytestmark = pytest.mark.browser
SHOWN = "face-ages strip-player canvas"
MODEL, AGES = "plain", "document.querySelector('face-ages')"


def at(page, years: int) -> np.ndarray:
    """The face at an age, once all that was asked for is there."""
    page.wait_for_selector("face-ages:not([busy])")
    page.get_by_label(f"At {years}", exact=True).click()
    return m.pixels(page, SHOWN)


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_face_through_the_years_without_another_request(visit, studio, read, size):
    page, face = visit("plain", "Age", size), read("plain", m.COLLINS)
    assert float(page.locator("face-ages .own").input_value()) == round(face.years)
    assert page.locator("face-ages .methods").is_hidden()  # by the vector alone
    asked = []
    page.on("request", lambda request: asked.append(request))
    stills = page.locator("face-ages .decades button")
    assert stills.all_inner_texts() == [str(y) for y in age.ages(studio) if y % 10 == 0]
    for years in (20, 70):
        shown = at(page, years)
        assert m.near(shown, studio.age(face, years, size=HEIGHT))
        assert page.locator("face-ages .age-now").inner_text() == f"{years} years"
        still = page.get_by_label(f"At {years}", exact=True)
        assert still.get_attribute("aria-pressed") == "true"
        assert np.array_equal(m.levels(still.locator("img").get_attribute("src")), shown)
    page.locator("face-ages").get_by_role("button", name="Play").click()
    page.wait_for_function(f"{AGES}.age > 71 || {AGES}.age < 69")
    assert asked == [] and m.fits(page)


def test_the_own_age_and_the_detail_are_corrected(visit, studio, read):
    page, face = visit("plain", "Age"), read("plain", m.COLLINS)
    own, known = page.locator("face-ages .own"), studio.correct(face, years=60)
    own.fill("60")
    assert m.near(at(page, 20), studio.age(known, 20, size=HEIGHT))
    m.slide(page, "face-ages .detail input", 0)
    assert m.near(at(page, 20), studio.age(known, 20, 0, size=HEIGHT))
    for typed, becomes in (("500", int(studio.age_span[1])), ("", round(face.years))):
        own.fill(typed)
        own.blur()
        assert own.input_value() == str(becomes)


def test_a_new_face_brings_its_own_age_and_is_saved(visit, studio, read, tmp_path, uploads):
    page, hopper = visit("plain", "Age"), read("plain", m.HOPPER)
    m.choose(page, "aged", "Grace Hopper", "Grace Hopper")
    page.wait_for_function(f"{AGES}.request.own === {round(hopper.years)}")
    assert m.near(at(page, 20), studio.age(hopper, 20, size=HEIGHT))
    page.get_by_label("Length of the animation").last.select_option("1 s")
    page.get_by_label("Size of the animation").last.select_option("160 px")
    tab = page.locator("face-ages")
    animation, lasts = m.film(m.saved(page, tab.get_by_role("button", name="GIF"), tmp_path))
    assert animation.size == (160, 160) and lasts == pytest.approx(2, abs=0.2)  # there and back
    with Image.open(m.saved(page, tab.locator(".photo"), tmp_path)) as whole:
        assert whole.size == hopper.photo.size and not whole.info
    with Image.open(m.saved(page, tab.locator(".still"), tmp_path)) as still:
        assert np.array_equal(m.levels(still), at(page, 20))
    assert not [*uploads.rglob("ageing*")]


def test_a_model_given_the_age_ages_by_its_condition_or_by_the_vector(visit):
    page = visit("conditional", "Age")
    old = at(page, 80)
    assert not np.array_equal(at(page, 10), old)
    assert page.get_by_label("condition", exact=True).is_checked()
    at(page, 80)
    page.get_by_label("age-shift vector").check()
    m.changed(page, SHOWN, old)
