"""The Age tab in the browser."""

import numpy as np
import pytest
from PIL import Image

import app
from facevae.imaging.photo import open_photo
from facevae.ui import age
from facevae.ui.session import HEIGHT
from tests.app import moves as m

pytestmark = pytest.mark.browser
SHOWN = "face-ages strip-player canvas"
AGES = "document.querySelector('face-ages')"


@pytest.fixture(scope="module")
def studio(studios):
    return studios("plain")


@pytest.fixture(scope="module")
def face(studio):
    return studio.read(open_photo(m.PORTRAITS[1], app.MAX_SIDE))


def opened(visit, **how):
    page = visit("plain", "Age", **how)
    ready(page)
    return page


def ready(page) -> None:
    page.wait_for_selector("face-ages[ready]:not([busy])")


def at(page, years: int) -> np.ndarray:
    page.get_by_label(f"At {years}", exact=True).click()
    return m.pixels(page, SHOWN)


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_face_through_the_years_without_another_request(visit, studio, face, size):
    page = opened(visit, size=size)
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


def test_the_own_age_and_the_detail_are_corrected(visit, studio, face):
    page = opened(visit)
    own = page.locator("face-ages .own")
    own.fill("60")
    ready(page)
    known = studio.correct(face, years=60)
    assert m.near(at(page, 20), studio.age(known, 20, size=HEIGHT))
    m.slide(page, "face-ages .detail input", 0)
    ready(page)
    assert m.near(at(page, 20), studio.age(known, 20, 0, size=HEIGHT))
    for typed, becomes in (("500", int(studio.age_span[1])), ("", round(face.years))):
        own.fill(typed)
        own.blur()
        assert own.input_value() == str(becomes)
    ready(page)


def test_a_new_face_brings_its_own_age_and_is_saved(visit, studio, tmp_path, uploads):
    page = opened(visit)
    before = at(page, 70)
    m.upload(page, "aged", Image.new("RGB", (300, 300), "white"))
    assert "face" in m.line(page, "aged") and np.array_equal(at(page, 70), before)
    m.place(page, "aged").get_by_role("button", name="Grace Hopper").click()
    m.named(page, "aged", "Grace Hopper")
    hopper = studio.read(open_photo(m.PORTRAITS[0], app.MAX_SIDE))
    page.wait_for_function(f"{AGES}.request.own === {round(hopper.years)}")
    ready(page)
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


def test_a_link_brings_back_the_age_of_a_drawn_face(visit):
    page = opened(visit)
    m.place(page, "aged").get_by_role("button", name="Random face").click()
    m.named(page, "aged", "Nobody")
    ready(page)
    page.locator("face-ages .own").fill("44")
    ready(page)
    before, kept = at(page, 60), m.link(page)
    assert kept["own"] == 44 and kept["at"] == 60
    again = opened(visit, link=m.linked(kept))
    assert again.locator("face-ages .age-now").inner_text() == "60 years"
    assert np.array_equal(at(again, 60), before)


def test_only_ages_that_the_model_has_seen_are_offered(studios):
    assert age.ages(studios("plain"))[0] >= studios("plain").age_span[0]
    narrow = type("Narrow", (), {"age_span": (18.0, 63.0)})
    assert age.ages(narrow) == [20, 25, 30, 35, 40, 45, 50, 55, 60]
