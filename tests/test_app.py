"""The app as its visitors meet it: the Morph tab, and the page through gradio_client."""

import socket

import numpy as np
import pytest
from PIL import Image, ImageOps

import app
from facevae.page import desk
from facevae.photo import open_photo
from tests.app_pages import (
    CANVAS,
    PORTRAITS,
    crop,
    film,
    line,
    name,
    photo_file,
    picture,
    seek,
    upload,
    wait_for_new_canvas,
)

pytest_plugins = "tests.app_pages"  # its fixtures


def test_opens_with_both_portraits_and_the_strip_between_them(visit):
    page = visit()
    assert [name(page, side).inner_text() for side in ("first", "second")] == [*desk.PORTRAITS]
    for position, side in ((0, "first"), (1, "second")):
        assert np.abs(picture(seek(page, position)) - picture(crop(page, side))).mean() < 3
    assert seek(page, 0.5) not in (seek(page, 0), seek(page, 1))


def test_scrubbing_draws_and_asks_the_server_for_nothing(visit):
    page = visit()
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    for selector in ("strip-player input", "strip-player canvas"):
        box = page.locator(selector).bounding_box()
        seen = set()
        page.mouse.move(box["x"] + 20, box["y"] + box["height"] / 2)
        page.mouse.down()
        for part in (0.2, 0.4, 0.6, 0.8):
            page.mouse.move(box["x"] + part * box["width"], box["y"] + box["height"] / 2)
            page.evaluate("new Promise(requestAnimationFrame)")
            seen.add(page.evaluate(CANVAS))
        page.mouse.up()
        assert len(seen) == 4
    assert requests == []


def test_between_two_frames_the_canvas_shows_their_blend(visit):
    page = visit()
    before, between, after = (
        picture(seek(page, place / (desk.FRAMES - 1))) for place in (8, 8.5, 9)
    )
    assert np.abs(between - (before + after) / 2).max() <= 2


def test_arrow_keys_step_and_play_runs_until_paused(visit):
    page = visit()
    position = "document.querySelector('strip-player').position"
    page.locator("strip-player canvas").click()  # in the middle
    page.keyboard.press("ArrowRight")
    assert page.evaluate(position) == pytest.approx(0.5 + 1 / (desk.FRAMES - 1), abs=0.01)
    page.get_by_role("button", name="Play").click()
    page.wait_for_function(f"{position} > 0.9")
    page.wait_for_function(f"{position} < 0.5")  # and back
    page.get_by_role("button", name="Pause").click()
    rest = page.evaluate(position)
    page.wait_for_timeout(100)
    assert page.evaluate(position) == rest


BROKEN = {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": b"\xff\xd8 not a picture"}


@pytest.mark.parametrize(
    ("photo", "words"),
    [(photo_file(Image.linear_gradient("L").resize((400, 300))), "face"), (BROKEN, "read")],
    ids=["no face", "broken"],
)
def test_a_bad_photo_is_explained_and_changes_nothing(visit, photo, words):
    page = visit()
    before = crop(page, "first"), seek(page, 0.3)
    upload(page, "first", photo)
    assert words in line(page, "first")
    page.wait_for_timeout(1500)  # long enough for a strip to come
    assert line(page, "first") and (crop(page, "first"), seek(page, 0.3)) == before
    assert name(page, "first").inner_text() == "Grace Hopper"


def test_a_new_photo_changes_its_side_and_the_strip(visit):
    page, other = visit(), visit()
    before = seek(page, 0)
    assert seek(other, 0) == before
    upload(page, "first", photo_file(ImageOps.mirror(Image.open(PORTRAITS[0]))))
    name(page, "first").get_by_text("Your photo").wait_for()
    wait_for_new_canvas(page, before)
    assert np.abs(picture(seek(page, 0)) - picture(crop(page, "first"))).mean() < 3
    assert name(page, "second").inner_text() == "Eileen Collins"
    assert seek(other, 0) == before  # another visitor sees nothing of it


def test_of_several_faces_the_largest_is_taken_and_said(visit):
    page = visit()
    hopper, collins = (Image.open(file) for file in PORTRAITS)
    both = Image.new("RGB", (hopper.width + collins.width // 2, hopper.height))
    both.paste(hopper, (0, 0))
    both.paste(collins.reduce(2), (hopper.width, 0))
    was = picture(crop(page, "second"))
    upload(page, "second", photo_file(both))
    assert line(page, "second") == "2 faces seen: the largest was taken."
    taken, wanted = picture(crop(page, "second")), picture(crop(page, "first"))
    assert 2 * np.abs(taken - wanted).mean() < np.abs(taken - was).mean()  # Hopper's


def test_a_photo_larger_than_is_kept_says_so(visit):
    page = visit()
    upload(page, "second", photo_file(Image.open(PORTRAITS[0]).resize((2048, 2400))))
    assert line(page, "second") == "Photos come back with at most 1,600 pixels a side."


def test_nobody_and_the_portraits_are_one_click_away_and_the_last_click_wins(visit):
    page = visit()
    before = seek(page, 1)
    page.locator(".second").get_by_role("button", name="Random face").click()
    name(page, "second").get_by_text("Nobody").wait_for()
    for starter in ("Random face", "Eileen Collins", "Grace Hopper"):  # at once
        page.locator(".second").get_by_role("button", name=starter).click()
    name(page, "second").get_by_text("Grace Hopper").wait_for()
    assert crop(page, "second") == crop(page, "first")
    wait_for_new_canvas(page, before)
    page.wait_for_timeout(1500)  # long enough for every strip to come
    assert np.abs(picture(seek(page, 1)) - picture(crop(page, "first"))).mean() < 3


def test_detail_and_path_redraw_the_strip(visit):
    page = visit()
    with_detail = seek(page, 0)
    page.get_by_label("range slider for Photo detail").press("Home")
    wait_for_new_canvas(page, with_detail)
    linear = seek(page, 0.5)
    page.get_by_label("spherical").check()
    wait_for_new_canvas(page, linear)


@pytest.mark.parametrize("kind", desk.KINDS)
def test_saves_an_animation_and_keeps_no_copy(visit, uploads, tmp_path, kind):
    page = visit()
    with page.expect_download() as download:
        page.get_by_role("button", name=kind).click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.suffix == f".{kind.lower()}"
    if kind == "MP4":
        assert file.read_bytes()[4:8] == b"ftyp"
    else:
        animation = Image.open(file)
        assert animation.n_frames == 2 * desk.saved_frames(desk.SAVED_SECONDS) - 2  # there and back
        assert animation.size == (desk.SIDE, desk.SIDE)
    assert not list(uploads.rglob("morph*"))


def test_length_and_size_of_an_animation_are_chosen(visit, tmp_path):
    page = visit(390, 844)
    for label, wanted in (("Length", "4 s"), ("Size", "160 px")):
        page.get_by_label(label, exact=True).click()
        page.get_by_role("option", name=wanted).click()
    animation, lasts = film(page, page.get_by_role("button", name="GIF"), tmp_path)
    assert animation.size == (160, 160)
    assert animation.n_frames == 2 * 4 * desk.SAVED_RATE - 2  # there and back
    assert lasts == pytest.approx(2 * 4, abs=0.02)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_one_way_only_starts_again_at_the_first_face(visit):
    page = visit()
    page.get_by_role("button", name="Back and forth").click()
    seek(page, 0.9)
    page.get_by_role("button", name="Play").click()
    biggest_drop = """async () => {
        const player = document.querySelector("strip-player");
        let before = player.position, drop = 0;
        for (const start = performance.now(); performance.now() - start < 1500; ) {
            await new Promise(requestAnimationFrame);
            drop = Math.max(drop, before - player.position);
            before = player.position;
        }
        return drop;
    }"""
    assert page.evaluate(biggest_drop) > 0.5  # from the end to the start at once


def test_saves_the_photo_with_the_morph_in_it_and_a_still(visit, tmp_path):
    page = visit()
    seek(page, 0)
    with page.expect_download() as download:
        page.get_by_role("button", name="Photo", exact=True).click()
    download.value.save_as(tmp_path / "photo.png")
    with Image.open(tmp_path / "photo.png") as saved:
        assert not saved.getexif() and not saved.info.get("exif")
        photo = open_photo(PORTRAITS[0], app.MAX_SIDE)
        assert np.array_equal(saved.convert("RGB"), photo)  # a morph at 0 changes nothing
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG").click()
    download.value.save_as(tmp_path / "still.png")
    with Image.open(tmp_path / "still.png") as still:
        assert still.size == (desk.SIDE, desk.SIDE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (768, 1024), (1440, 900)])
def test_nothing_sticks_out(visit, width, height, scheme):
    page = visit(width, height, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("strip-player canvas").bounding_box()
    assert box["x"] >= 0 and box["width"] == pytest.approx(box["height"], abs=1)
    assert box["width"] >= min(340, 0.85 * width)


def test_a_folder_without_a_studio_is_one_clear_line(tmp_path, capsys):
    assert app.main(["--model", str(tmp_path)]) == 2
    said = capsys.readouterr().err.strip()
    assert str(tmp_path) in said and "\n" not in said


def test_a_port_that_is_taken_is_one_clear_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(app.signal, "signal", lambda *_: None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert app.main(["--port", str(port)]) == 2
    said = capsys.readouterr().err.strip()
    assert str(port) in said and "\n" not in said
