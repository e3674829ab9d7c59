"""The Explore and the Learn tab in the browser."""

import numpy as np
import pytest

from facevae.ui import explore
from tests.app import moves as m

pytestmark = pytest.mark.browser
SPOT = "document.querySelector('face-explorer').spot"
DRAWN, OUT = "vae-machine .in canvas", "vae-machine .out canvas"


def opened(visit, model="plain", tab="Explore", **how):
    page = visit(model, tab, **how)
    page.wait_for_selector({"Explore": "face-explorer", "Learn": "vae-machine"}[tab] + "[ready]")
    return page


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_a_face_of_the_gallery_goes_to_another_tab(visit, size):
    page = opened(visit, size=size)
    tiles = page.locator("face-explorer .tiles button")
    assert tiles.count() == explore.GALLERY_FACES
    before = m.settled(page, m.PREVIEW)
    tiles.nth(5).click()
    chosen = m.changed(page, m.PREVIEW, before)
    assert page.evaluate(SPOT) == {"seed": 0, "temperature": 0.8, "index": 5}
    page.get_by_role("button", name="Second face").click()
    m.named(page, "second", "Nobody")
    assert page.get_by_role("tab", name="Morph").get_attribute("aria-selected") == "true"
    shown = m.crop(page, "second")
    small = shown.reshape(32, 10, 32, 10, 3).mean((1, 3))
    assert np.abs(small - chosen).mean() < 8  # the same face, enlarged and again a JPEG
    for _ in range(200):
        if np.abs(m.seek(page, 1) - shown).mean() < 3:
            break
        page.wait_for_timeout(100)
    else:
        raise AssertionError("the strip never came")
    page.get_by_role("tab", name="Explore").click()
    page.get_by_role("button", name="Face to edit").click()  # a tab that was never opened
    page.wait_for_selector("face-editor[ready]")
    m.named(page, "edited", "Nobody")
    assert np.array_equal(m.settled(page, m.AFTER), m.crop(page, "edited")) and m.fits(page)


def test_seed_variety_age_and_gender_fill_the_gallery_anew(visit, studios):
    page = opened(visit)
    first = page.locator("face-explorer .tiles img").first
    face = first.get_attribute("src")
    for label, value in (("Seed", "7"), ("Variety", "0.4"), ("Seed", "1")):
        page.get_by_label(label).fill(value)
        page.wait_for_function(
            "old => document.querySelector('face-explorer .tiles img').src !== old", arg=face
        )
        face = first.get_attribute("src")
    before = m.settled(page, m.PREVIEW)
    page.get_by_label("Age of the faces").select_option("70")
    before = m.changed(page, m.PREVIEW, before)
    page.get_by_label("Gender of the faces").select_option("female")
    m.changed(page, m.PREVIEW, before)
    spot = {"seed": 1, "temperature": 0.4, "age": 70, "gender": 1, "index": 0}
    assert page.evaluate(SPOT) == spot
    drawn = studios("plain").sample(12, 1, 0.4, 70, 1)[0]
    assert m.near(m.settled(page, m.PREVIEW), drawn, 5)


def test_the_map_follows_the_mouse_and_a_click_keeps(visit):
    page = opened(visit)
    page.wait_for_selector("face-explorer .plane img[src]")
    pinned = m.settled(page, m.PREVIEW)
    plane = page.locator("face-explorer .plane")
    plane.hover(position={"x": 30, "y": 40})
    m.changed(page, m.PREVIEW, pinned)
    page.mouse.move(5, 5)
    assert np.array_equal(m.settled(page, m.PREVIEW), pinned)  # left without a click
    plane.click(position={"x": 40, "y": 60})
    page.mouse.move(5, 5)
    kept = m.settled(page, m.PREVIEW)
    assert not np.array_equal(kept, pinned) and page.evaluate(SPOT)["latents"] is None
    plane.press("ArrowLeft")
    kept = m.changed(page, m.PREVIEW, kept)
    page.get_by_label("Two latents").check()
    page.get_by_label("Latent across").locator("option").first.wait_for(state="attached")
    assert page.get_by_label("Latent across").locator("option").first.inner_text().startswith("1. ")
    page.get_by_label("Latent across").select_option(index=3)
    plane.click(position={"x": 60, "y": 40})
    latents = [int(page.get_by_label(f"Latent {way}").input_value()) for way in ("across", "down")]
    assert page.evaluate(SPOT)["latents"] == latents and latents[0] != latents[1]


def test_each_of_the_strongest_latents_moves_the_chosen_face_and_a_link_keeps_it(visit, studios):
    page = opened(visit, "conditional")
    strips = page.locator("face-explorer .strips input")
    strips.first.wait_for()
    assert strips.count() == min(explore.TRAVERSED, studios("conditional").model.config.latents)
    before = m.settled(page, m.PREVIEW)
    for value in (3, -3):
        m.slide(page, "face-explorer .strips input", value)
        before = m.changed(page, m.PREVIEW, before)
    before = m.settled(page, m.PREVIEW)
    latent = strips.first.get_attribute("name")
    assert page.evaluate(SPOT)["moved"] == {latent: -3}
    kept = m.link(page)
    again = opened(visit, "conditional", link=m.linked(kept))
    assert np.array_equal(m.settled(again, m.PREVIEW), before)
    again.get_by_role("button", name="First face").click()
    m.named(again, "first", "Nobody")
    assert m.link(again)["first"]["spot"]["moved"] == {latent: -3}


def test_a_broken_link_opens_the_gallery(visit):
    spot = {"seed": -1, "index": 0, "x": "0", "y": 0, "latents": [1], "moved": 7}
    page = opened(visit, link=m.linked({"tab": "explore", "spot": spot}))
    assert page.evaluate(SPOT) == {"seed": 0, "temperature": 0.8, "index": 0}


def test_learning_every_part_moves_what_follows_from_it(visit):
    page = opened(visit, "grey", "Learn", size="phone")
    drawn, out = m.settled(page, DRAWN), m.settled(page, OUT)
    page.get_by_label("Latent 1", exact=True).press("Home")
    m.changed(page, OUT, out)
    assert np.array_equal(m.pixels(page, DRAWN), drawn)
    page.get_by_role("button", name="Back to the mean").click()
    assert np.array_equal(m.settled(page, OUT), out)
    page.get_by_label("smile").press("Home")
    drawn = m.changed(page, DRAWN, drawn)
    assert not np.array_equal(m.settled(page, OUT), out)
    page.get_by_role("button", name="Another face").click()
    m.changed(page, DRAWN, drawn)
    assert m.fits(page)


@pytest.mark.slow
def test_a_larger_beta_widens_the_spread_and_it_keeps_drawing_until_told_not_to(visit):
    page = opened(visit, "grey", "Learn")
    spreads = []
    for beta in (1, 50):
        page.get_by_label(f"β = {beta}", exact=True).check()
        page.locator(f"vae-machine .lesson.beta-{beta}").wait_for()
        mean = m.settled(page, OUT)
        page.get_by_role("button", name="Draw again").click()
        spreads.append(np.abs(m.changed(page, OUT, mean) - mean).mean())
        page.get_by_role("button", name="Draw from the prior").click()
        assert np.abs(m.settled(page, OUT) - mean).mean() > spreads[-1] > 0
    assert spreads[1] > 2 * spreads[0]  # by five on the average of many draws
    keep = page.get_by_role("button", name="Keep drawing")
    keep.click()
    m.changed(page, OUT, m.changed(page, OUT, m.pixels(page, OUT)))
    keep.click()
    assert keep.get_attribute("aria-pressed") == "false"
    m.settled(page, OUT, calm=12)


COLOURS = """tag => [document.querySelector(`${tag} label`), document.body].map((element, i) =>
    getComputedStyle(element)[i ? "backgroundColor" : "color"].match(/[0-9]+/g).map(Number))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_on_either_ground(visit, scheme):
    """WCAG's contrast of the quiet words on the page: 4.5 at least."""
    page = opened(visit, scheme=scheme)
    colours = np.array([c[:3] for c in page.evaluate(COLOURS, "face-explorer .settings")]) / 255
    dark, light = sorted(((colours + 0.055) / 1.055) ** 2.4 @ (0.2126, 0.7152, 0.0722))
    assert (light + 0.05) / (dark + 0.05) >= 4.5
