"""The page in Chromium: an app for each of the session's models, and visitors of it."""

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

import app
from facevae.studio import Studio

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


def missing(what: str) -> None:
    """Skip where a browser is wanted and there is none; on CI that is an error."""
    reason = f"{what} is needed to test the page: apt-get install chromium, pip install playwright"
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(scope="session")
def uploads(tmp_path_factory):
    """Where Gradio keeps what programs upload."""
    folder = tmp_path_factory.mktemp("gradio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="session")
def models(request) -> Callable[[str], Path]:
    """A model's name → its folder: it is trained when it is first asked for."""
    runs = {"plain": "tiny_run", "conditional": "tiny_conditional_run", "grey": "grey_run"}
    return cache(lambda name: request.getfixturevalue(runs[name]) / "best")


@pytest.fixture(scope="session")
def studios(models) -> Callable[[str], Studio]:
    return cache(lambda name: Studio.load(models(name)))


@pytest.fixture(scope="session")
def urls(uploads, studios):
    """A model's name → the address of its app, which runs until the session ends."""
    threads, pages = torch.get_num_threads(), []
    torch.set_num_threads(1)  # other tests may be at work beside these

    @cache
    def start(name: str) -> str:
        pages.append(app.build(studios(name)))
        return app.launch(pages[-1], studios(name), prevent_thread_lock=True, quiet=True)[1]

    yield start
    for page in pages:
        page.close(verbose=False)
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
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
def visit(browser, urls):
    """Opens a model's page, perhaps a tab of it; at the end nothing may have gone wrong or out."""
    visitors, troubles = [], []

    def open_page(model="plain", tab="Morph", size="desktop", scheme="light", link=""):
        width, height = SIZES[size]
        visitor = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        visitor.set_default_timeout(60_000)  # a busy machine
        visitors.append(visitor)
        page = visitor.new_page()
        url = urls(model)
        page.on("console", lambda m: m.type in ("error", "warning") and troubles.append(m.text))
        page.on("pageerror", lambda error: troubles.append(error.stack or str(error)))
        page.on("response", lambda r: r.status >= 400 and troubles.append(f"{r.status} {r.url}"))
        page.on(
            "request", lambda r: r.url.startswith((url, "data:", "blob:")) or troubles.append(r.url)
        )
        page.goto(url + link)
        page.wait_for_selector("strip-player[ready]", state="attached")
        if tab != "Morph":
            page.get_by_role("tab", name=tab).click()
        return page

    yield open_page
    for visitor in visitors:
        visitor.close()
    assert troubles == [], troubles
