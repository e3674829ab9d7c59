"""The app whose visitors draw by themselves: `python app.py --web dist`."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import app
from facevae import Studio, web
from facevae.ui.session import HEIGHT
from tests.app import moves as m

pytestmark = [pytest.mark.slow, pytest.mark.browser]
EDITOR = "document.querySelector('face-editor')"


@pytest.fixture
def studio_of_tabs(uploads, browser):
    """Opens the Edit tab of an app whose visitors draw by themselves with an export."""
    opened, studio = [], Studio.load()

    def open_page(folder: Path):
        opened.append(app.build(studio))
        where = {"prevent_thread_lock": True, "quiet": True}
        url = app.launch(opened[-1], studio, str(folder), **where)[1]
        page = browser.new_page()
        opened.append(page)
        page.set_default_timeout(300_000)
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.goto(url + m.linked({"tab": "edit", "face": {"portrait": m.HOPPER}}))
        page.wait_for_selector("face-editor[ready]")
        return page

    yield open_page
    for one in opened:
        one.close()


def asked_of(page) -> list[str]:
    """The functions of the server that the page asks from now on."""
    asked = []
    page.on("request", lambda r: asked.append(r.url) if "component_server" in r.url else None)
    return asked


def test_the_apps_tab_draws_by_itself(exported, studio_of_tabs):
    studio, page = Studio.load(), studio_of_tabs(exported)
    web.check(exported, studio)
    page.wait_for_function("Boolean(window.answerInTab)")
    asked = asked_of(page)
    for strength in np.linspace(-0.9, 0.9, 30):  # the server draws until the tab has the face
        asked.clear()
        before = m.settled(page, m.AFTER)
        m.slide(page, "#edit-Smiling", strength)
        m.changed(page, m.AFTER, before)
        if not asked:
            break
    before = m.settled(page, m.AFTER)
    m.slide(page, "#edit-Eyeglasses", 0.3, 0.6, 1)
    m.changed(page, m.AFTER, before)
    shown, state = m.settled(page, m.AFTER), page.evaluate(f"{EDITOR}.state")
    wanted = studio.edit(studio.read(m.PORTRAITS[0]), state["strengths"], size=HEIGHT)
    assert asked == [] and np.abs(shown - m.levels(wanted)).max() <= 2


def test_a_server_answers_where_the_tab_cannot(exported, studio_of_tabs, tmp_path):
    shutil.copytree(exported, tmp_path / "dist")
    with open(tmp_path / "dist" / "networks" / "decoder.onnx.packed", "ab") as changed:
        changed.write(b"0")
    with pytest.raises(ValueError, match="of another version, or was changed"):
        web.check(tmp_path / "dist", Studio.load())
    with pytest.raises(ValueError, match="is no page: write it by"):
        web.check(tmp_path, Studio.load())
    page = studio_of_tabs(tmp_path / "dist")
    page.wait_for_timeout(5000)
    asked, before = asked_of(page), m.settled(page, m.AFTER)
    m.slide(page, "#edit-Eyeglasses", 1)
    m.changed(page, m.AFTER, before)
    assert asked and not page.evaluate("Boolean(window.answerInTab)")
    assert not page.locator("face-editor > section > .status:not(:empty)").count()
