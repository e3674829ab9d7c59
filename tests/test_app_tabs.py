"""The pad of the Morph tab, and the tabs beside it, in the browser."""

import numpy as np
import pytest
from PIL import Image

import app
import facevae
from facevae.page import desk, explore
from facevae.page.desk import PORTRAITS as FILES
from facevae.page.desk import RESTED
from facevae.photo import open_photo
from tests.app_pages import (
    PORTRAITS,
    WIDTHS,
    count_live,
    crop,
    film,
    name,
    open_tab,
    picture,
    pixels,
    seek,
    settled,
    wait_for_change,
)

pytest_plugins = "tests.app_pages"  # its fixtures

NAMES = [*FILES]

PAD, PREVIEW = "morph-pad canvas", "face-explorer .preview"
DRAWN, OUT = "vae-machine .in canvas", "vae-machine .out canvas"


def drag(page, selector: str, places: list[tuple[float, float]]) -> None:
    """Press at the first place of an element, in parts of its sides, and move over the others."""
    target = page.locator(selector)
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point)
    page.mouse.up()


@pytest.mark.parametrize(("many", "width", "height"), [(3, 390, 844), (4, 1440, 900)])
def test_the_pad_shows_each_face_at_its_corner_with_one_request_at_a_time(
    visit, many, width, height
):
    page = visit(width, height)
    page.get_by_label(str(many), exact=True).check()
    page.wait_for_selector("morph-pad[ready]")
    count = count_live(page)
    seen = []
    corners = {"first": (0.02, 0.02), "third": (0.5, 0.86) if many == 3 else (0.02, 0.98)}
    for side, (x, y) in corners.items():
        way = [(0.5 + (x - 0.5) * t / 20, 0.5 + (y - 0.5) * t / 20) for t in range(21)]
        drag(page, "morph-pad .pad", way)
        seen.append(settled(page, PAD, count))
        # the corner is 2 % away, and the pictures are JPEGs
        assert np.abs(seen[-1] - picture(crop(page, side))).mean() < 4
    assert np.abs(seen[0] - seen[1]).mean() > 20
    assert count["most"] == 1 and count["all"] <= 2 * 21
    before = pixels(page, PAD)
    page.keyboard.press("ArrowUp")
    wait_for_change(page, PAD, before)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".fourth").is_visible() == (many == 4)


def test_play_goes_round_the_faces_until_paused_or_out_of_sight(visit):
    page = visit()
    page.get_by_label("3", exact=True).check()
    page.wait_for_selector("morph-pad[ready]")
    near = "([x, y]) => Math.hypot(pad.place[0] - x, pad.place[1] - y) < 0.1"
    pad = "const pad = document.querySelector('morph-pad');"
    play = page.locator("morph-pad button.play")
    page.evaluate(f"{pad} pad.place = [0.9, 0.05]")  # near the second face
    play.click()
    for corner in ([1, 0], [0.5, 0.87], [0, 0]):
        page.wait_for_function(f"place => {{ {pad} return ({near})(place); }}", arg=corner)
    assert play.get_attribute("aria-label") == "Pause"
    play.click()
    rest = page.evaluate(f"(() => {{ {pad} return pad.place; }})()")
    page.wait_for_timeout(150)
    assert page.evaluate(f"(() => {{ {pad} return pad.place; }})()") == rest
    play.click()
    page.get_by_role("tab", name="Learn").click()
    page.wait_for_function("document.querySelector('morph-pad .play').ariaPressed === 'false'")


def test_the_pad_is_saved_as_a_way_round_all_faces_and_as_a_photo(visit, studio, tmp_path):
    page = visit()
    page.get_by_label("4", exact=True).check()
    page.wait_for_selector("morph-pad[ready]")
    page.get_by_label("Length", exact=True).click()
    page.get_by_role("option", name="1 s").click()
    animation, lasts = film(page, page.get_by_role("button", name="GIF"), tmp_path)
    way = desk.saved_frames(1, 4) - 1  # frames from one face to the next
    assert animation.n_frames == 4 * way and lasts == pytest.approx(4, abs=0.02)
    for stop, side in enumerate(("first", "second", "fourth", "third")):
        animation.seek(stop * way)
        shown = np.asarray(animation.convert("RGB"), float)
        assert np.abs(shown - picture(crop(page, side))).mean() < 8  # 256 colours
    page.evaluate("document.querySelector('morph-pad').place = [0, 1]")
    with page.expect_download() as download:
        page.get_by_role("button", name="Photo", exact=True).click()
    download.value.save_as(tmp_path / "photo.png")
    with Image.open(tmp_path / "photo.png") as saved:
        whole = studio.read(saved.convert("RGB"))
        assert saved.size == open_photo(PORTRAITS[0], app.MAX_SIDE).size
    third = studio.sample(1, desk.STRANGERS[0])[0].resize(whole.crop.size)
    was, now = (np.abs(np.asarray(one, float) - np.asarray(third)).mean() for one in (
        studio.read(open_photo(PORTRAITS[0], app.MAX_SIDE)).crop, whole.crop))  # fmt: skip
    assert now < was / 2  # the third face, in the first one's photo


def test_a_new_face_and_the_detail_reach_the_pad(visit):
    page = visit()
    page.get_by_label("4", exact=True).check()
    page.wait_for_selector("morph-pad[ready]")
    before = pixels(page, PAD)
    page.locator(".third").get_by_role("button", name="Grace Hopper").click()
    name(page, "third").get_by_text("Grace Hopper").wait_for()
    before = wait_for_change(page, PAD, before)
    page.get_by_label("range slider for Photo detail").press("Home")
    wait_for_change(page, PAD, before)
    page.get_by_label("2", exact=True).check()
    page.locator("strip-player").wait_for(state="visible")
    page.locator("morph-pad").wait_for(state="hidden")


def test_the_pad_shows_a_visitors_faces_to_that_visitor_alone(visit):
    page = visit()
    asked = []
    page.on("request", lambda request: "component_server" in request.url and asked.append(request))
    page.get_by_label("3", exact=True).check()
    page.wait_for_selector("morph-pad[ready]")
    wish = asked[-1].post_data_json
    own = page.request.post(asked[-1].url, data=wish).json()
    other = page.request.post(asked[-1].url, data=wish | {"session_hash": "guessed"}).json()
    assert own["picture"].startswith("data:image/jpeg") and other == {"error": RESTED}


@WIDTHS
def test_a_face_of_the_gallery_goes_to_the_morph_tab(visit, width, height):
    page = visit(width, height)
    open_tab(page, "Explore", "face-explorer")
    tiles = page.locator("face-explorer .tiles button")
    assert tiles.count() == explore.MANY
    before = pixels(page, PREVIEW)
    tiles.nth(5).click()
    chosen = wait_for_change(page, PREVIEW, before)
    assert page.evaluate("document.querySelector('face-explorer').spot") == {
        "seed": 0, "temperature": 0.8, "index": 5}  # fmt: skip
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="Second face").click()
    page.wait_for_selector(".second img[alt=Nobody]")
    assert page.get_by_role("tab", name="Morph").get_attribute("aria-selected") == "true"
    shown = picture(crop(page, "second"))
    small = shown.reshape(64, 5, 64, 5, 3).mean((1, 3))
    chosen = chosen.reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(small - chosen).mean() < 4  # the same face, enlarged and again a JPEG
    page.wait_for_function("() => document.querySelector('strip-player').isConnected", timeout=5000)
    for _ in range(50):
        if np.abs(picture(seek(page, 1)) - shown).mean() < 3:
            break
        page.wait_for_timeout(100)
    else:
        raise AssertionError("the strip never came")


def test_seed_and_variety_fill_the_gallery_anew(visit):
    page = visit()
    open_tab(page, "Explore", "face-explorer")
    first = page.locator("face-explorer .tiles img").first
    face = first.get_attribute("src")
    for label, value in (("Seed", "7"), ("Variety", "0.4"), ("Seed", "1"), ("Variety", "0.8")):
        page.get_by_label(label).fill(value)
        page.wait_for_function(
            "old => document.querySelector('face-explorer .tiles img').src !== old", arg=face
        )
        last, face = face, first.get_attribute("src")
        assert last != face
    assert page.locator(".tiles [aria-pressed=true]").count() == 1


def test_age_and_gender_change_the_faces_and_go_with_them(visit):
    page = visit(390, 844)
    open_tab(page, "Explore", "face-explorer")
    count = count_live(page)
    plain = settled(page, PREVIEW, count)
    page.get_by_label("Age of the faces").select_option("70")
    old = wait_for_change(page, PREVIEW, plain)
    page.get_by_label("Gender of the faces").select_option("female")
    wait_for_change(page, PREVIEW, old)
    assert page.evaluate("document.querySelector('face-explorer').spot") == {
        "seed": 0, "temperature": 0.8, "age": 70, "gender": 1, "index": 0}  # fmt: skip
    drawn = facevae.Studio.load().sample(explore.MANY, 0, 0.8, 70, 1)[0]
    assert np.abs(settled(page, PREVIEW, count) - np.asarray(drawn, float)).mean() < 3  # a JPEG
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_nearest_faces_follow_the_chosen_one_and_can_be_chosen(visit):
    page = visit()
    open_tab(page, "Explore", "face-explorer")
    near = page.locator("face-explorer .near button")
    near.nth(explore.NEAREST - 1).wait_for()
    shown = [face.get_attribute("src") for face in near.locator("img").all()]
    assert len({*shown}) == explore.NEAREST
    near.first.click()
    page.wait_for_function(
        "old => document.querySelector('face-explorer .near img').src !== old", arg=shown[0]
    )
    assert np.abs(pixels(page, PREVIEW) - picture(shown[0])).mean() < 3  # JPEGs both
    assert [*page.evaluate("document.querySelector('face-explorer').spot")] == ["other"]
    assert shown[0] not in [face.get_attribute("src") for face in near.locator("img").all()]


@WIDTHS
def test_the_map_follows_the_mouse_and_a_click_keeps(visit, width, height):
    page = visit(width, height)
    open_tab(page, "Explore", "face-explorer")
    page.wait_for_selector("face-explorer .plane img[src]")
    count = count_live(page)
    pinned = pixels(page, PREVIEW)
    plane = page.locator("face-explorer .plane")
    plane.hover(position={"x": 30, "y": 40})
    over = settled(page, PREVIEW, count)
    assert not np.array_equal(over, pinned)
    page.mouse.move(5, 5)
    assert np.array_equal(settled(page, PREVIEW, count), pinned)  # left without a click
    drag(page, "face-explorer .plane", [(0.5, 0.5), *((0.5 + t / 50, 0.6) for t in range(20))])
    kept = settled(page, PREVIEW, count)
    seen = page.locator(PREVIEW).bounding_box()  # beside the map, or stuck above it on a phone
    assert seen["y"] >= 0 and seen["y"] + seen["height"] <= height
    page.mouse.move(5, 5)
    assert np.array_equal(settled(page, PREVIEW, count), kept)
    page.keyboard.press("ArrowLeft")
    assert not np.array_equal(settled(page, PREVIEW, count), kept)
    spot = page.evaluate("document.querySelector('face-explorer').spot")
    assert spot["x"] == pytest.approx(0.66, abs=0.02) and spot["latents"] is None
    assert count["most"] <= 2  # the face's own, and that of its nearest


def test_two_latents_are_offered_the_strongest_first(visit):
    page = visit()
    open_tab(page, "Explore", "face-explorer")
    page.wait_for_selector("face-explorer .plane img[src]")
    main = page.locator("face-explorer .plane img").get_attribute("src")
    page.get_by_label("Two latents").check()
    options = page.get_by_label("Latent across").locator("option")
    page.wait_for_function(
        "old => document.querySelector('face-explorer .plane img').src !== old", arg=main
    )
    assert options.count() == explore.OFFERED
    assert options.first.inner_text().startswith("1st: latent ")
    page.locator("face-explorer .plane").click(position={"x": 40, "y": 60})
    latents = [int(page.get_by_label(f"Latent {way}").input_value()) for way in ("across", "down")]
    spot = page.evaluate("document.querySelector('face-explorer').spot")
    assert spot["latents"] == latents and latents[0] != latents[1]


@WIDTHS
def test_learning_every_part_moves_what_follows_from_it(visit, width, height):
    page = visit(width, height)
    open_tab(page, "Learn", "vae-machine")
    count = count_live(page)
    assert page.locator("vae-machine .latents label").count() == 10
    drawn, out = pixels(page, DRAWN), settled(page, OUT, count)
    page.get_by_label("Latent 1", exact=True).press("ArrowRight")
    page.get_by_label("Latent 1", exact=True).press("Home")
    moved = settled(page, OUT, count)
    assert not np.array_equal(moved, out)
    assert np.array_equal(pixels(page, DRAWN), drawn)
    page.get_by_role("button", name="Back to the mean").click()
    assert np.array_equal(settled(page, OUT, count), out)
    page.get_by_label("smile").press("Home")
    assert not np.array_equal(settled(page, DRAWN, count), drawn)
    assert not np.array_equal(pixels(page, OUT), out)
    page.get_by_role("button", name="Another face").click()
    wait_for_change(page, DRAWN, drawn)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert count["most"] == 1


def test_a_larger_beta_widens_the_spread_and_draws_differ(visit):
    page = visit()
    open_tab(page, "Learn", "vae-machine")
    count, spreads = count_live(page), []
    for beta in (1, 10, 50):
        page.get_by_label(f"β = {beta}", exact=True).check()
        mean = settled(page, OUT, count)
        page.get_by_role("button", name="Draw again").click()
        drawn = settled(page, OUT, count)
        page.get_by_role("button", name="Draw from the prior").click()
        apart = np.abs(settled(page, OUT, count) - mean).mean()
        spreads.append(np.abs(drawn - mean).mean())
        assert 0 < spreads[-1] < apart
        assert f"β = {beta} " in page.locator("vae-machine .lesson").inner_text()
    assert spreads[2] > 2 * spreads[0]  # by five on the average of many draws


def test_it_keeps_drawing_until_told_not_to(visit):
    page = visit()
    open_tab(page, "Learn", "vae-machine")
    keep = page.get_by_role("button", name="Keep drawing")
    keep.click()
    first = wait_for_change(page, OUT, pixels(page, OUT))
    wait_for_change(page, OUT, first)
    keep.click()
    count = count_live(page)
    page.wait_for_timeout(1200)  # two draws would fit
    assert count["all"] <= 1 and keep.get_attribute("aria-pressed") == "false"


COLOURS = """tag => [document.querySelector(`${tag} label`), document.body].map((element, i) =>
    getComputedStyle(element)[i ? "backgroundColor" : "color"].match(/[0-9]+/g).map(Number))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_on_either_ground(visit, scheme):
    """WCAG's contrast of the quiet words on the page: 4.5 at least."""
    page = visit(390, 844, scheme)
    for tab, tag in (("Explore", "face-explorer"), ("Learn", "vae-machine")):
        open_tab(page, tab, tag)
        colours = np.array([colour[:3] for colour in page.evaluate(COLOURS, tag)]) / 255
        linear = ((colours + 0.055) / 1.055) ** 2.4
        dark, light = sorted(linear @ (0.2126, 0.7152, 0.0722))
        assert (light + 0.05) / (dark + 0.05) >= 4.5
