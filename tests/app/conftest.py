"""The page in Chromium: an app for each of the session's models, and visitors of it."""

import os
import shutil
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

import app
from facevae import Face, Studio, web
from facevae.imaging.photo import open_photo
from facevae.studio import FOLDER
from facevae.ui.session import PORTRAITS
from tests.app.chromium import launched
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
    """A model's name → its studio, "shipped" or trained when it is first asked for."""
    runs = {"plain": "tiny_run", "conditional": "tiny_conditional_run", "grey": "grey_run"}

    def folder(name: str) -> Path:
        return request.getfixturevalue(runs[name]) / "best" if name in runs else FOLDER

    return cache(lambda name: Studio.load(folder(name)))


@pytest.fixture(scope="module")
def studio(request, studios) -> Studio:
    """Of the MODEL that a file of tests names."""
    return studios(request.module.MODEL)


@pytest.fixture(scope="session")
def read(studios) -> Callable[[str, str], Face]:
    """A model's name and a portrait's → the face, as the app reads it."""
    return cache(lambda name, who: studios(name).read(open_photo(PORTRAITS[who], app.MAX_SIDE)))


@pytest.fixture(scope="session")
def urls(uploads, studios):
    """A model's name, perhaps an export → the address of its app, which runs until the end."""
    pages, where = [], {"prevent_thread_lock": True, "quiet": True, "mcp_server": True}

    @cache
    def start(name: str, export: str | None = None) -> str:
        pages.append(app.build(studios(name)))
        return app.launch(pages[-1], studios(name), export, **where)[1]

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
        browser = launched(playwright.chromium)
        yield browser
        browser.close()


@pytest.fixture
def watch(browser):
    """Opens an address; at the end nothing may have gone wrong or out."""
    visitors, troubles = [], []

    def open_page(url: str, size="desktop", scheme="light", seconds=60, strict=True):
        width, height = SIZES[size]
        viewport, own = {"width": width, "height": height}, url.partition("#")[0]
        visitor = browser.new_context(viewport=viewport, color_scheme=scheme)
        visitor.set_default_timeout(1000 * seconds)  # a busy machine
        visitors.append(visitor)
        page, inside = visitor.new_page(), (own, "data:", "blob:")
        page.on("pageerror", lambda error: troubles.append(error.stack or str(error)))
        page.on("request", lambda r: r.url.startswith(inside) or troubles.append(r.url))
        if strict:  # the network in WebAssembly warns
            page.on("console", lambda m: m.type in ("error", "warning") and troubles.append(m.text))
            page.on("response", lambda r: r.status < 400 or troubles.append(f"{r.status} {r.url}"))
        page.goto(url)
        return page

    yield open_page
    for visitor in visitors:
        visitor.close()
    assert troubles == [], troubles


@pytest.fixture
def visit(watch, urls):
    """Opens a model's page, perhaps a tab of it."""

    def open_page(model="plain", tab="Morph", size="desktop", scheme="light", link=""):
        page = watch(urls(model) + link, size, scheme)
        page.wait_for_selector("strip-player[ready]", state="attached")
        page.get_by_role("tab", name=tab).click()
        page.wait_for_selector(f"{TAGS[tab]}[ready]:not([busy])")
        return page

    return open_page
