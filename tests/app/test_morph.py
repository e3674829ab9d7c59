"""The Morph tab in the browser: faces, strip, pad, and what is saved."""

import numpy as np
import pytest
from PIL import Image, ImageOps

import app
from facevae.imaging.photo import open_photo
from facevae.ui import morph
from facevae.ui.session import FRAMES_PER_SECOND, HEIGHT
from tests.app import moves as m

pytestmark = pytest.mark.browser
POSITION = "document.querySelector('face-morph strip-player').position"


def test_the_strip_leads_from_one_face_to_the_other_and_asks_the_server_for_nothing(visit):
    page = visit()
    m.named(page, "first", "Grace Hopper")
    m.named(page, "second", "Eileen Collins")
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    for position, name in ((0, "first"), (1, "second")):
        assert np.abs(m.seek(page, position) - m.crop(page, name)).mean() < 3
    before, between, after = (m.seek(page, n / (morph.STRIP_FRAMES - 1)) for n in (8, 8.5, 9))
    assert np.abs(between - (before + after) / 2).max() <= 2
    box = page.locator(m.STRIP).bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 50)
    page.mouse.up()
    assert page.evaluate(POSITION) == pytest.approx(0.25, abs=0.01)
    page.keyboard.press("ArrowRight")
    assert page.evaluate(POSITION) > 0.25
    assert requests == []
    linear = m.seek(page, 0.5)
    page.get_by_label("spherical").check()
    m.changed(page, m.STRIP, linear)


def test_play_runs_back_and_forth_or_once_until_paused(visit):
    page = visit()
    stage = page.locator("face-morph .stage")
    stage.get_by_role("button", name="Play").first.click()
    page.wait_for_function(f"{POSITION} > 0.9")
    page.wait_for_function(f"{POSITION} < 0.8")  # and back
    stage.get_by_role("button", name="Pause").click()
    rest = page.evaluate(POSITION)
    page.wait_for_timeout(100)
    assert page.evaluate(POSITION) == rest
    m.seek(page, 0.97)
    stage.get_by_role("button", name="Back and forth").click()
    stage.get_by_role("button", name="Play").first.click()
    page.wait_for_function(f"{POSITION} < 0.1")  # from the end to the start at once
    assert page.evaluate("document.querySelector('.pingpong').ariaPressed") == "false"


@pytest.mark.parametrize(
    ("photo", "words"),
    [(Image.linear_gradient("L").resize((400, 300)), "face"), (b"\xff\xd8 no picture", "read")],
    ids=["no face", "broken"],
)
def test_a_bad_photo_is_explained_and_changes_nothing(visit, photo, words):
    page = visit()
    before = m.seek(page, 0.3)
    m.upload(page, "first", photo)
    assert words in m.line(page, "first")
    assert np.array_equal(m.settled(page, m.STRIP), before)
    m.named(page, "first", "Grace Hopper")


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
    assert m.line(page, "first").startswith("2 faces were found: the largest was taken.")
    assert f"at most {app.MAX_SIDE:,} pixels" in m.line(page, "first")
    m.changed(page, m.STRIP, before)
    assert np.abs(m.seek(page, 0) - m.crop(page, "first")).mean() < 3
    assert np.array_equal(m.seek(other, 0), before)
    assert {*uploads.rglob("*.png")} == kept  # it never was on the disk


def test_of_several_clicks_the_last_wins_and_the_detail_changes_the_strip(visit):
    page = visit()
    before = m.seek(page, 1)
    m.place(page, "second").get_by_role("button", name="Random face").click()
    m.named(page, "second", "Nobody")
    before = m.changed(page, m.STRIP, before)
    for starter in ("Random face", "Eileen Collins", "Grace Hopper"):  # at once
        m.place(page, "second").get_by_role("button", name=starter).click()
    m.named(page, "second", "Grace Hopper")
    m.changed(page, m.STRIP, before)
    m.settled(page, m.STRIP)
    assert np.abs(m.seek(page, 1) - m.crop(page, "first")).mean() < 3
    with_detail = m.seek(page, 0)
    m.slide(page, "face-morph .detail input", 0)  # the browser blends by itself
    m.changed(page, m.STRIP, with_detail)


@pytest.mark.parametrize("kind", ["GIF", "WebP", "MP4"])
def test_an_animation_has_the_length_and_size_asked_for(visit, tmp_path, uploads, kind):
    page = visit(size="phone" if kind == "GIF" else "desktop")
    page.get_by_label("Length of the animation").first.select_option("1 s")
    page.get_by_label("Size of the animation").first.select_option("160 px")
    file = m.saved(page, page.locator("face-morph").get_by_role("button", name=kind), tmp_path)
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
    page = visit(size=size)
    page.get_by_label(str(many), exact=True).check()
    page.wait_for_selector("morph-pad[ready]")
    under_way, most = set(), []
    page.on("request", lambda one: (under_way.add(one), most.append(len(under_way))))
    page.on("requestfinished", lambda one: under_way.discard(one))
    seen = []
    for name, (x, y) in {"first": (0, 0), "third": (0.5, 0.87) if many == 3 else (0, 1)}.items():
        box = page.locator("morph-pad .pad").bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=10)
        page.mouse.up()
        page.evaluate("([x, y]) => document.querySelector('morph-pad').place = [x, y]", [x, y])
        seen.append(m.settled(page, m.PAD))
        assert np.abs(seen[-1] - m.crop(page, name)).mean() < 3
    assert np.abs(seen[0] - seen[1]).mean() > 5
    assert max(most) == 1 and len(most) <= 30
    page.locator("morph-pad .pad").press("ArrowUp" if many == 4 else "ArrowDown")
    page.locator("morph-pad .pad").press("ArrowRight")
    m.changed(page, m.PAD, seen[-1])
    assert m.fits(page) and m.place(page, "fourth").is_visible() == (many == 4)


@pytest.mark.slow
def test_the_pad_plays_round_the_faces_and_is_saved_so(visit, tmp_path):
    page = visit()
    page.get_by_label("3", exact=True).check()
    page.wait_for_selector("morph-pad[ready]")
    pad = "document.querySelector('morph-pad')"
    page.evaluate(f"{pad}.place = [0.9, 0.05]")  # near the second face
    page.locator("morph-pad .play").click()
    for x, y in ([1, 0], [0.5, 0.87], [0, 0]):
        page.wait_for_function(f"Math.hypot({pad}.place[0] - {x}, {pad}.place[1] - {y}) < 0.1")
    page.get_by_role("tab", name="Learn").click()
    page.wait_for_function(f"{pad}.querySelector('.play').ariaPressed === 'false'")
    page.get_by_role("tab", name="Morph").click()
    page.get_by_label("Length of the animation").first.select_option("1 s")
    file = m.saved(page, page.locator("face-morph").get_by_role("button", name="WebP"), tmp_path)
    animation, lasts = m.film(file)
    way = FRAMES_PER_SECOND - 1  # frames from one face to the next
    assert animation.n_frames == 3 * way and lasts == pytest.approx(3, abs=0.03)
    for stop, name in enumerate(("first", "second", "third")):
        animation.seek(stop * way)
        assert np.abs(m.levels(animation) - m.crop(page, name)).mean() < 4
    with Image.open(m.saved(page, page.locator("face-morph .still"), tmp_path)) as still:
        assert still.size == (HEIGHT, HEIGHT)
    page.evaluate(f"{pad}.place = [0, 0]")
    with Image.open(m.saved(page, page.locator("face-morph .photo"), tmp_path)) as whole:
        assert np.array_equal(whole.convert("RGB"), open_photo(m.PORTRAITS[0], app.MAX_SIDE))
