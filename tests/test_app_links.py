"""Links that bring back what a page showed."""

import json
from urllib.parse import unquote

import numpy as np
from PIL import Image

from facevae.page.desk import PORTRAITS as FILES
from tests.app_pages import (
    PORTRAITS,
    count_live,
    name,
    open_tab,
    photo_file,
    pixels,
    seek,
    settled,
    upload,
    wait_for_change,
)

pytest_plugins = "tests.app_pages"  # its fixtures

NAMES = [*FILES]

PREVIEW = "face-explorer .preview"


def reopen(page, link: dict | None = None) -> None:
    """Opens the page anew with the address it has, or with a link written by hand."""
    page.wait_for_timeout(450)  # the address follows at leisure
    if link:
        kept = "text => history.replaceState(0, '', '#' + encodeURIComponent(text))"
        page.evaluate(kept, json.dumps(link))
    page.reload()
    page.wait_for_selector("strip-player[ready]", state="attached")


def test_the_address_brings_back_the_explored_face(visit):
    page = visit()
    open_tab(page, "Explore", "face-explorer")
    page.wait_for_selector("face-explorer .plane img[src]")
    count, spot = count_live(page), "document.querySelector('face-explorer').spot"

    def comes_back() -> dict:
        chosen, shown = page.evaluate(spot), settled(page, PREVIEW, count)
        reopen(page)
        page.wait_for_selector("face-explorer[ready]")
        assert page.get_by_role("tab", name="Explore").get_attribute("aria-selected") == "true"
        assert np.array_equal(settled(page, PREVIEW, count), shown)
        assert page.evaluate(spot) == chosen
        return chosen

    page.get_by_label("Seed").fill("7")
    page.get_by_label("Age of the faces").select_option("70")
    page.wait_for_function(f"() => {spot}.seed === 7 && {spot}.age === 70")  # the tiles are there
    page.get_by_label("Face 4", exact=True).click()
    assert comes_back() == {"seed": 7, "temperature": 0.8, "age": 70, "index": 3}
    page.get_by_label("Nearest face 1").click()
    assert [*comes_back()] == ["other"]
    page.get_by_label("Two latents").check()
    page.get_by_label("Latent across").select_option(index=3)
    page.locator("face-explorer .plane").click(position={"x": 40, "y": 60})
    latents = [int(page.get_by_label(f"Latent {way}").input_value()) for way in ("across", "down")]
    assert comes_back()["latents"] == latents
    broken = {"seed": -1, "index": 0, "other": 1000000, "x": "0", "y": 0, "latents": [1]}
    reopen(page, {"tab": "explore", "spot": broken})
    page.wait_for_selector("face-explorer[ready]")
    assert page.evaluate(spot) == {"seed": 0, "temperature": 0.8, "index": 0}


def test_the_address_brings_back_the_morph_but_no_photo(visit):
    page = visit()

    def morph() -> np.ndarray:
        page.wait_for_selector("strip-player[ready]")
        page.wait_for_timeout(100)  # until it is drawn
        return pixels(page, "strip-player canvas")

    def link() -> dict:
        page.wait_for_timeout(450)
        return json.loads(unquote(page.evaluate("location.hash.slice(1)")))

    before = morph()
    page.locator(".first").get_by_role("button", name="Random face").click()
    name(page, "first").get_by_text("Nobody").wait_for()
    before = wait_for_change(page, "strip-player canvas", before)
    page.get_by_label("range slider for Photo detail").press("Home")
    before = wait_for_change(page, "strip-player canvas", before)
    page.get_by_label("spherical").check()
    wait_for_change(page, "strip-player canvas", before)
    seek(page, 0.25)
    kept, before = link(), morph()
    assert [*kept["first"]] == ["draw"] and kept["second"] == {"portrait": "Eileen Collins"}
    assert (kept["at"], kept["detail"], kept["path"]) == (0.25, 0, "spherical")
    reopen(page)
    name(page, "first").get_by_text("Nobody").wait_for()
    assert np.array_equal(morph(), before) and link() == kept
    upload(page, "second", photo_file(Image.open(PORTRAITS[0])))
    name(page, "second").get_by_text("Your photo").wait_for()
    page.wait_for_function("() => !decodeURIComponent(location.hash).includes('second')")
    assert link() == {key: value for key, value in kept.items() if key != "second"}
    broken = {"first": {"draw": "x"}, "second": {"portrait": "../x"}, "at": "a", "detail": []}
    reopen(page, {"tab": "morph", "path": 7} | broken)
    assert [name(page, side).inner_text() for side in ("first", "second")] == NAMES
    usual = {"tab": "morph", "at": 0.5, "detail": 1, "path": "linear"}
    assert link() == usual | {"first": {"portrait": NAMES[0]}, "second": {"portrait": NAMES[1]}}


def test_the_address_brings_back_the_pad_with_all_its_faces(visit):
    page = visit()
    pad, count = "morph-pad canvas", count_live(page)
    page.get_by_label("3", exact=True).check()
    page.wait_for_selector("morph-pad[ready]")
    page.locator(".third").get_by_role("button", name="Random face").click()
    page.wait_for_function("() => decodeURIComponent(location.hash).includes('third')")
    page.locator("morph-pad .pad").click(position={"x": 90, "y": 120})
    before = settled(page, pad, count)
    place = "document.querySelector('morph-pad').place"
    chosen, drawn = page.evaluate(place), page.locator(".third figure").get_attribute("data-origin")
    reopen(page)
    page.wait_for_selector("morph-pad[ready]")
    assert page.get_by_label("3", exact=True).is_checked()
    assert np.array_equal(settled(page, pad, count), before) and page.evaluate(place) == chosen
    assert page.locator(".third figure").get_attribute("data-origin") == drawn
    broken = {"third": 5, "place": [None, 9]}
    for faces, seen in ((7, "2"), ([], "2"), ("4", "2"), ([3], "2"), (4, "4")):
        reopen(page, {"tab": "morph"} | broken | {"faces": faces})
        page.locator(f".morph[data-faces='{seen}']").wait_for()
        assert page.get_by_label(seen, exact=True).is_checked()
    assert page.evaluate(place) == [0.5, 1]
