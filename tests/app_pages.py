"""The page in Debian's Chromium: fixtures and a visitor's moves, for the test_app*.py files."""

import base64
import io
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import app
import facevae
from facevae.page import desk
from facevae.photo import open_photo

PORTRAITS = [str(file) for file in desk.PORTRAITS.values()]
WIDTHS = pytest.mark.parametrize(("width", "height"), [(390, 844), (1440, 900)])
CANVAS = "document.querySelector('strip-player canvas').toDataURL()"


def missing(what: str) -> None:
    """Skip where a browser is wanted and there is none; on CI that is an error."""
    reason = f"{what} is needed to test the page: apt-get install chromium, pip install playwright"
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(scope="module")
def studio():
    return facevae.Studio.load(desk.ASSETS / "studio")


@pytest.fixture(scope="module")
def face(studio):
    return studio.read(open_photo(PORTRAITS[1], app.MAX_SIDE))


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    return tmp_path_factory.mktemp("gradio")


@pytest.fixture(scope="module")
def url(uploads):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # other tests may be at work beside these
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        page = app.build(facevae.Studio.load(desk.ASSETS / "studio"))
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
        page.on("pageerror", lambda error: troubles.append(error.stack or str(error)))
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
    assert troubles == [], troubles


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


def film(page, button, folder) -> tuple[Image.Image, float]:
    """The animation that a button saves, opened, and how many seconds it lasts."""
    with page.expect_download() as download:
        button.click()
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    animation, lasts = Image.open(file), 0
    for frame in range(animation.n_frames):
        animation.seek(frame)
        lasts += animation.info["duration"]
    return animation, lasts / 1000


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


def open_tab(page, name: str, tag: str) -> None:
    page.get_by_role("tab", name=name).click()
    page.wait_for_selector(f"{tag}[ready]")


def pixels(page, selector: str) -> np.ndarray:
    """A canvas as it is now, (H, W, 3), float."""
    return picture(page.eval_on_selector(selector, "canvas => canvas.toDataURL()"))


def count_live(page) -> dict:
    """Counts the requests of live controls from here on: all, those under way, the most at once."""
    under_way, count = set(), {"all": 0, "now": 0, "most": 0}

    def begins(request):
        if "component_server" in request.url:
            under_way.add(request)
            count.update(all=count["all"] + 1, most=max(count["most"], len(under_way)))
            count["now"] = len(under_way)

    def ends(request):
        under_way.discard(request)
        count["now"] = len(under_way)

    page.on("request", begins)
    page.on("requestfinished", ends)
    return count


def wait_for_change(page, selector: str, old: np.ndarray) -> np.ndarray:
    for _ in range(100):
        if not np.array_equal(pixels(page, selector), old):
            return pixels(page, selector)
        page.wait_for_timeout(50)
    raise AssertionError(f"{selector} never changed")


def settled(page, selector: str, count: dict, calm: int = 4) -> np.ndarray:
    """A canvas once no live request has been under way at `calm` looks, 0.1 s apart: a busy
    machine sends the next one late."""
    quiet = 0
    for _ in range(150):
        page.wait_for_timeout(100)
        quiet = 0 if count["now"] else quiet + 1
        if quiet == calm:
            return pixels(page, selector)
    raise AssertionError("the requests never end")
