"""The Morph tab in the browser: faces, strip, pad, and what is saved."""

import numpy as np
import pytest
from PIL import Image, ImageOps

import app
from facevae.ui import morph
from facevae.ui.session import FRAMES_PER_SECOND
from tests.app import moves as m

pytestmark = pytest.mark.browser
POSITION = "document.querySelector('face-morph strip-player').position"
PADS = "document.querySelector('morph-pad')"


def test_the_strip_leads_from_face_to_face_and_asks_the_server_for_nothing(visit, read, tmp_path):
    page, requests = visit(), []
    m.named(page, "first", "Grace Hopper")
    m.named(page, "second", "Eileen Collins")
    page.on("request", lambda request: requests.append(request.url))
    for position, name in ((0, "first"), (1, "second")):
        assert m.near(m.seek(page, position), m.crop(page, name), 3)
    before, between, after = (m.seek(page, n / (morph.STRIP_FRAMES - 1)) for n in (8, 8.5, 9))
    assert np.abs(between - (before + after) / 2).max() <= 2
    m.drag(page, m.STRIP, (0.1, 0.2), (0.25, 0.2))
    assert page.evaluate(POSITION) == pytest.approx(0.25, abs=0.01)
    page.keyboard.press("ArrowRight")
    assert page.evaluate(POSITION) > 0.25
    assert requests == []
    linear = m.seek(page, 0.5)
    page.get_by_label("spherical").check()
    m.changed(page, m.STRIP, linear)
    m.seek(page, 0)
    with Image.open(m.saved(page, page.locator("face-morph .photo"), tmp_path)) as whole:
        assert np.array_equal(whole.convert("RGB"), read("plain", m.HOPPER).photo)


def test_it_plays_back_and_forth_and_rests(visit):
    page = visit()
    stage = page.locator("face-morph strip-player")
    stage.get_by_role("button", name="Play").click()
    page.wait_for_function(f"{POSITION} > 0.9")
    page.wait_for_function(f"{POSITION} < 0.8")  # and back
    stage.get_by_role("button", name="Pause").click()
    rest = page.evaluate(POSITION)
    page.wait_for_timeout(100)
    assert page.evaluate(POSITION) == rest


def test_a_new_photo_changes_its_place_and_the_strip_of_its_visitor_alone(visit, uploads):
    page, other, kept = visit(), visit(), {*uploads.rglob("*.png")}
    before = m.seek(page, 0)
    assert np.array_equal(m.seek(other, 0), before)
    hopper, collins = (Image.open(file) for file in m.PORTRAITS)
    both = Image.new("RGB", (hopper.width + collins.width, hopper.height))
    both.paste(ImageOps.mirror(hopper), (0, 0))
    both.paste(collins, (hopper.width, 0))
    m.upload(page, "first", both.resize((2 * both.width, 2 * both.height)))
    m.named(page, "first", "Your photo")
    note = m.place(page, "first").locator(".status:not(:empty)").inner_text()
    assert note.startswith("2 faces were found: the largest was taken.")
    assert f"at most {app.MAX_SIDE:,} pixels" in note
    m.changed(page, m.STRIP, before)
    assert m.near(m.seek(page, 0), m.crop(page, "first"), 3)
    assert np.array_equal(m.seek(other, 0), before)
    assert {*uploads.rglob("*.png")} <= kept  # it never was on the disk


def test_of_several_clicks_the_last_wins_and_the_detail_changes_the_strip(visit):
    page = visit()
    before = m.seek(page, 1)
    m.choose(page, "second", "Random face")
    before = m.changed(page, m.STRIP, before)
    for starter in ("Random face", "Eileen Collins", "Grace Hopper"):  # at once
        m.place(page, "second").get_by_role("button", name=starter).click()
    m.named(page, "second", "Grace Hopper")
    m.changed(page, m.STRIP, before)
    m.settled(page, m.STRIP)
    assert m.near(m.seek(page, 1), m.crop(page, "first"), 3)
    with_detail = m.seek(page, 0)
    m.slide(page, "face-morph .detail input", 0)  # the browser blends by itself
    m.changed(page, m.STRIP, with_detail)


@pytest.mark.parametrize("kind", ["GIF", "WebP", "MP4"])
def test_an_animation_has_the_length_and_size_asked_for(visit, tmp_path, uploads, kind):
    page = visit(size="phone" if kind == "GIF" else "desktop")
    page.get_by_label("Length of the animation").first.select_option("1 s")
    page.get_by_label("Size of the animation").first.select_option("160 px")
    button = page.locator("face-morph").get_by_role("button", name=kind)
    file = m.saved(page, button, tmp_path)
    assert file.name == f"morph.{kind.lower()}" and m.fits(page)
    if kind == "MP4":
        assert file.read_bytes()[4:8] == b"ftyp"
    else:
        animation, lasts = m.film(file)
        assert animation.size == (160, 160) and lasts == pytest.approx(2, abs=0.03)
        assert animation.n_frames == 2 * (FRAMES_PER_SECOND - 1)  # there and back
    assert page.locator("face-morph progress").is_hidden() and not [*uploads.rglob("morph*")]


@pytest.mark.parametrize(("many", "size"), [(3, "phone"), (4, "desktop")])
def test_the_pad_shows_each_face_at_its_corner_with_one_request_at_a_time(visit, many, size):
    page, under_way, most, seen = visit(size=size), set(), [], []
    page.get_by_label(str(many), exact=True).check()
    page.wait_for_selector("morph-pad[ready]")
    page.on("request", lambda one: (under_way.add(one), most.append(len(under_way))))
    page.on("requestfinished", lambda one: under_way.discard(one))
    for name, corner in {"first": (0, 0), "third": (0.5, 0.87) if many == 3 else (0, 1)}.items():
        m.drag(page, "morph-pad .pad", (0.5, 0.5), corner)
        page.evaluate(f"corner => {PADS}.place = corner", corner)
        seen.append(m.settled(page, m.PAD))
        assert m.near(seen[-1], m.crop(page, name), 3)
    assert not m.near(*seen, 5)
    assert max(most) == 1 and len(most) <= 30
    page.locator("morph-pad .pad").press("ArrowUp" if many == 4 else "ArrowDown")
    page.locator("morph-pad .pad").press("ArrowRight")
    m.changed(page, m.PAD, seen[-1])
    assert m.fits(page) and m.place(page, "fourth").is_visible() == (many == 4)
