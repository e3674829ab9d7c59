"""The app as its visitors meet it: in Debian's Chromium, and through gradio_client."""

import base64
import io
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import app
import facevae

PORTRAITS = [str(file) for file in app.PORTRAITS.values()]
CANVAS = "document.querySelector('strip-player canvas').toDataURL()"


def missing(what: str) -> None:
    """Skip where a browser is wanted and there is none; on CI that is an error."""
    reason = f"{what} is needed to test the page: apt-get install chromium, pip install playwright"
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("gradio")


@pytest.fixture(scope="module")
def url(cache):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # other tests may be at work beside these
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(cache))
        page = app.build(facevae.Studio.load(app.ASSETS / "studio"))
        _, url, _ = app.launch(page, prevent_thread_lock=True, quiet=True)
        yield url
        page.close(verbose=False)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright")
    chromium = shutil.which("chromium") or missing("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, url):
    """Opens the page as a new visitor; at the end nothing may have gone wrong or out."""
    visitors, troubles = [], []

    def open_page(width=1440, height=900, scheme="light"):
        visitor = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        visitors.append(visitor)
        page = visitor.new_page()
        page.on("console", lambda m: m.type == "error" and troubles.append(m.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("response", lambda r: r.status >= 400 and troubles.append(f"{r.status} {r.url}"))
        page.on(
            "request",
            lambda r: r.url.startswith((url, "data:", "blob:")) or troubles.append(r.url),
        )
        page.goto(url)
        page.wait_for_selector("strip-player[ready]")
        return page

    yield open_page
    for visitor in visitors:
        visitor.close()
    assert troubles == []


def picture(uri: str) -> np.ndarray:
    """A data URI → (H, W, 3), float."""
    coded = uri.partition("base64,")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(coded))).convert("RGB"), float)


def seek(page, position: float) -> str:
    """The canvas as a data URI, scrubbed to a position by the slider's own event."""
    page.eval_on_selector(
        "strip-player input",
        "(range, t) => { range.value = t; range.dispatchEvent(new Event('input')) }",
        position,
    )
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.evaluate(CANVAS)


def wait_for_new_canvas(page, old: str) -> None:
    page.wait_for_function(f"old => {CANVAS} !== old", arg=old)


def crop(page, side: str) -> str:
    return page.locator(f".{side} figure img").get_attribute("src")


def name(page, side: str):
    return page.locator(f".{side} figcaption")


def upload(page, side: str, file) -> None:
    page.locator(f".{side} input[type=file]").set_input_files(file)


def line(page, side: str) -> str:
    said = page.locator(f".{side} .line p")
    said.wait_for()
    return said.inner_text()


def photo_file(picture: Image.Image, name: str = "photo.png") -> dict:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": buffer.getvalue()}


def test_opens_with_both_portraits_and_the_strip_between_them(visit):
    page = visit()
    assert [name(page, side).inner_text() for side in ("first", "second")] == [*app.PORTRAITS]
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
        picture(seek(page, place / (app.FRAMES - 1))) for place in (8, 8.5, 9)
    )
    assert np.abs(between - (before + after) / 2).max() <= 2


def test_arrow_keys_step_and_play_runs_until_paused(visit):
    page = visit()
    position = "document.querySelector('strip-player').position"
    page.locator("strip-player canvas").click()  # in the middle
    page.keyboard.press("ArrowRight")
    assert page.evaluate(position) == pytest.approx(0.5 + 1 / (app.FRAMES - 1), abs=0.01)
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


@pytest.mark.parametrize("kind", app.KINDS)
def test_saves_an_animation_and_keeps_no_copy(visit, cache, tmp_path, kind):
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
        assert animation.n_frames == 2 * app.SAVED_FRAMES - 2  # there and back
        assert animation.size == (app.SIDE, app.SIDE)
    assert not list(cache.rglob("morph*"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (768, 1024), (1440, 900)])
def test_nothing_sticks_out(visit, width, height, scheme):
    page = visit(width, height, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("strip-player canvas").bounding_box()
    assert box["x"] >= 0 and box["width"] == pytest.approx(box["height"], abs=1)
    assert box["width"] >= min(340, 0.85 * width)


def test_a_program_can_morph(url, tmp_path):
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    client = Client(url, verbose=False, download_files=str(tmp_path))
    assert [*client.view_api(return_format="dict")["named_endpoints"]] == ["/morph"]
    a, b = map(handle_file, PORTRAITS)
    start = Image.open(client.predict(a, b, 0, 1, api_name="/morph"))
    middle = Image.open(client.predict(a, b, 0.5, 1, api_name="/morph"))
    assert start.size == middle.size == (app.SIDE, app.SIDE)
    assert np.abs(np.asarray(start, float) - np.asarray(middle, float)).mean() > 10
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(BROKEN["buffer"])
    with pytest.raises(AppError, match="read"):
        client.predict(handle_file(broken), b, 0.5, 1, api_name="/morph")


def test_a_folder_without_a_studio_is_one_clear_line(tmp_path, capsys):
    assert app.main(["--model", str(tmp_path)]) == 2
    said = capsys.readouterr().err.strip()
    assert str(tmp_path) in said and "\n" not in said
