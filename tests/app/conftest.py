"""The page in Chromium: an app for each of the session's models, and visitors of it."""

import os
import shutil
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import pytest

import app
from facevae import Face, Studio, web
from facevae.imaging.photo import open_photo
from facevae.ui.session import PORTRAITS
from tests.conftest import missing

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
TAGS = {"Morph": "strip-player", "Edit": "face-editor", "Age": "face-ages",
        "Explore": "face-explorer", "Learn": "vae-machine"}  # fmt: skip


@pytest.fixture(scope="session")
def uploads(tmp_path_factory):
    """Where Gradio keeps what programs upload."""
    folder = tmp_path_factory.mktemp("gradio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="session")
def studios(request) -> Callable[[str], Studio]:
    """A model's name → its studio: it is trained when it is first asked for."""
    runs = {"plain": "tiny_run", "conditional": "tiny_conditional_run", "grey": "grey_run"}
    return cache(lambda name: Studio.load(request.getfixturevalue(runs[name]) / "best"))


@pytest.fixture(scope="session")
def read(studios) -> Callable[[str, str], Face]:
    """A model's name and a portrait's → the face, as the app reads it."""
    return cache(lambda name, who: studios(name).read(open_photo(PORTRAITS[who], app.MAX_SIDE)))


@pytest.fixture(scope="session")
def urls(uploads, studios):
    """A model's name → the address of its app, which runs until the session ends."""
    pages, where = [], {"prevent_thread_lock": True, "quiet": True, "mcp_server": True}

    @cache
    def start(name: str) -> str:
        pages.append(app.build(studios(name)))
        return app.launch(pages[-1], studios(name), **where)[1]

    yield start
    for page in pages:
        page.close(verbose=False)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The page of the shipped model. FACEVAE_WEB_RUNTIME may name a folder of npm's packages."""
    out = tmp_path_factory.mktemp("web") / "dist"
    try:
        size = web.export(web.ASSETS / "studio", out, os.environ.get("FACEVAE_WEB_RUNTIME"))
    except ValueError as error:
        pytest.skip(f"{error}")  # the network's fault, on CI, too
    unused = out / "runtime" / "ort-wasm-simd-threaded.wasm.packed"  # where there is a GPU
    assert size - unused.stat().st_size < 25e6
    return out


@pytest.fixture(scope="session")
def browser():
    if not (find_spec("playwright") and shutil.which("chromium")):
        missing("the page is tested by apt-get install chromium, pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, urls):
    """Opens a model's page, perhaps a tab of it; at the end nothing may have gone wrong or out."""
    visitors, troubles = [], []

    def open_page(model="plain", tab="Morph", size="desktop", scheme="light", link=""):
        width, height = SIZES[size]
        viewport, url = {"width": width, "height": height}, urls(model)
        visitor = browser.new_context(viewport=viewport, color_scheme=scheme)
        visitor.set_default_timeout(60_000)  # a busy machine
        visitors.append(visitor)
        page, own = visitor.new_page(), (url, "data:", "blob:")
        page.on("console", lambda m: m.type in ("error", "warning") and troubles.append(m.text))
        page.on("pageerror", lambda error: troubles.append(error.stack or str(error)))
        page.on("response", lambda r: r.status >= 400 and troubles.append(f"{r.status} {r.url}"))
        page.on("request", lambda r: r.url.startswith(own) or troubles.append(r.url))
        page.goto(url + link)
        page.wait_for_selector("strip-player[ready]", state="attached")
        page.get_by_role("tab", name=tab).click()
        page.wait_for_selector(f"{TAGS[tab]}[ready]:not([busy])")
        return page

    yield open_page
    for visitor in visitors:
        visitor.close()
    assert troubles == [], troubles
