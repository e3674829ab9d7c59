"""The Explore and the Learn tab in the browser."""

import numpy as np
import pytest

from facevae.ui import explore
from tests.app import moves as m

pytestmark = pytest.mark.browser
SPOT = "document.querySelector('face-explorer').spot"
DRAWN, OUT = "vae-machine .in canvas", "vae-machine .out canvas"


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_a_face_of_the_gallery_goes_to_another_tab(visit, size):
    page = visit("plain", "Explore", size)
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
    assert m.near(small, chosen, 8)  # the same face, enlarged and again a JPEG
    m.slide(page, "face-morph strip-player input", 1)
    assert next(now for now in m.looks(page, m.STRIP) if m.near(now, shown, 3)) is not None
    page.get_by_role("tab", name="Explore").click()
    page.get_by_role("button", name="Face to edit").click()  # a tab that was never opened
    page.wait_for_selector("face-editor[ready]")
    m.named(page, "edited", "Nobody")
    assert np.array_equal(m.settled(page, m.AFTER), m.crop(page, "edited")) and m.fits(page)


def test_seed_variety_age_and_gender_fill_the_gallery_anew(visit, studios):
    page = visit("plain", "Explore")
    for label, value in (("Seed", "7"), ("Variety", "0.4"), ("Seed", "1")):
        before = m.settled(page, m.PREVIEW)
        page.get_by_label(label).fill(value)
        before = m.changed(page, m.PREVIEW, before)
    for label, value in (("Age", "70"), ("Gender", "female")):
        page.get_by_label(f"{label} of the faces").select_option(value)
        before = m.changed(page, m.PREVIEW, before)
    spot = {"seed": 1, "temperature": 0.4, "age": 70, "gender": 1, "index": 0}
    assert page.evaluate(SPOT) == spot
    drawn = studios("plain").sample(12, 1, 0.4, 70, 1)[0]
    assert m.near(m.settled(page, m.PREVIEW), drawn, 5)


def test_the_map_follows_the_mouse_and_a_click_keeps(visit):
    page = visit("plain", "Explore")
    page.wait_for_selector("face-explorer .plane img[src]")
    pinned, plane = m.settled(page, m.PREVIEW), page.locator("face-explorer .plane")
    plane.hover(position={"x": 30, "y": 40})
    m.changed(page, m.PREVIEW, pinned)
    page.mouse.move(5, 5)
    assert np.array_equal(m.settled(page, m.PREVIEW), pinned)  # left without a click
    plane.click(position={"x": 40, "y": 60})
    page.mouse.move(5, 5)
    kept = m.settled(page, m.PREVIEW)
    assert not np.array_equal(kept, pinned) and page.evaluate(SPOT)["latents"] is None
    plane.press("ArrowLeft")
    m.changed(page, m.PREVIEW, kept)
    page.get_by_label("Two latents").check()
    across = page.get_by_label("Latent across")
    across.locator("option").first.wait_for(state="attached")
    assert across.locator("option").first.inner_text().startswith("1. ")
    across.select_option(index=3)
    plane.click(position={"x": 60, "y": 40})
    latents = [int(page.get_by_label(f"Latent {way}").input_value()) for way in ("across", "down")]
    assert page.evaluate(SPOT)["latents"] == latents and latents[0] != latents[1]


def test_each_of_the_strongest_latents_moves_the_chosen_face_and_a_link_keeps_it(visit, studios):
    page = visit("conditional", "Explore")
    strips = page.locator("face-explorer .strips input")
    strips.first.wait_for()
    assert strips.count() == min(explore.TRAVERSED, studios("conditional").model.config.latents)
    for value in (3, -3):
        m.slid(page, m.PREVIEW, "face-explorer .strips input", value)
    before, moved = m.settled(page, m.PREVIEW), {strips.first.get_attribute("name"): -3}
    assert page.evaluate(SPOT)["moved"] == moved
    again = visit("conditional", "Explore", link=m.linked(m.link(page)))
    assert np.array_equal(m.settled(again, m.PREVIEW), before)
    again.get_by_role("button", name="First face").click()
    m.named(again, "first", "Nobody")
    assert m.link(again)["first"]["spot"]["moved"] == moved


def test_learning_every_part_moves_what_follows_from_it(visit):
    page = visit("grey", "Learn", "phone")
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
