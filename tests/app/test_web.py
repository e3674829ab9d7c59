"""An exported studio in Chromium: as a static page, and in the tabs of an app (`--web dist`)."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facevae import Studio, web
from facevae.data.sources import open_archive
from facevae.imaging.photo import open_photo
from facevae.ui.session import HEIGHT, data_uri
from tests.app import moves as m
from tests.app.chromium import camera, launched, serving
from tests.helpers import encoded

pytestmark = [pytest.mark.slow, pytest.mark.browser]
EDITOR = "document.querySelector('face-editor')"
READY = {"morph": "strip-player[ready]", "edit": "face-editor[ready]", "age": "face-ages[ready]",
         "explore": "face-explorer[ready]"}  # fmt: skip
FACE = {"portrait": m.HOPPER}
EDITS = [{}, {"Eyeglasses": 1.0, "Smiling": -0.5}, {"Blond_Hair": 1.0, "Young": -1.0}]
KEPT = """async ({photo, asks}) => {
  const server = document.querySelector("face-editor").server;
  const face = await server.add({photo});
  if (face.error) return face;
  const files = [];
  for (const ask of asks) {
    files.push((await server.keep({face: face.key, locked: [], detail: 1, ...ask})).uri);
  }
  return {files};
}"""


@pytest.fixture(scope="session")
def site(exported):
    """The address of the page, which is served until the session ends."""
    with serving(exported) as url:
        yield url


@pytest.fixture
def visit(watch, site):
    """Opens the page at one of its tabs."""

    def open_page(tab: str = "edit", size: str = "desktop", url: str = site, **link):
        page = watch(url + m.linked({"tab": tab, **link}), size, seconds=300, strict=False)
        page.wait_for_selector(READY[tab], state="attached")
        return page

    return open_page


def photographs(shared: Path, portraits: list[Path], studio: Studio) -> list[Image.Image]:
    """The two portraits, and ten faces: real ones where they lie, else drawn by the model."""
    found = [open_photo(path) for path in portraits]
    for name, many in {"AllAgeFaces": 4, "generated": 3, "celeba": 3}.items():
        if (shared / f"{name}.tar").is_file():
            files, pictures = open_archive(shared / f"{name}.tar", {})
            found += [open_photo(io.BytesIO(files[one]())) for one in pictures[: 40 * many : 40]]
    drawn = studio.sample(12 - len(found), seed=3) if len(found) < 12 else []
    return [*found, *(face.resize((256, 256)) for face in drawn)]


def test_crops_and_edits_are_pythons(visit, portraits, studios):
    page, studio = visit(), studios("shipped")
    asks = [{"strengths": edit, "whole": False} for edit in EDITS]
    asks.append({"strengths": {"Beard": 1.0}, "whole": True})
    shared = Path(os.environ.get("FACEVAE_REAL_DATA", "../shared/data"))
    compared = 0
    for photo in photographs(shared, portraits, studio):
        sent = data_uri(encoded(photo, "PNG"))
        try:
            face = studio.read(photo)
        except ValueError:
            assert page.evaluate(KEPT, {"photo": sent, "asks": []})["error"]
            continue
        files = page.evaluate(KEPT, {"photo": sent, "asks": asks})["files"]
        size = max(320, min(1024, round(face.alignment.side)))
        for ask, file in zip(asks, files, strict=True):
            shape = {"paste": True} if ask["whole"] else {"size": size}
            wanted = np.asarray(studio.edit(face, ask["strengths"], **shape), int)
            off = np.abs(wanted - m.levels(file))
            assert off.mean() < 1 and off.max() <= (8 if not ask["strengths"] else 2), ask
        compared += 1
    assert compared >= 8


def test_a_model_that_a_page_would_read_wrongly_is_refused(tmp_path):
    shutil.copytree(web.ASSETS / "studio", tmp_path / "model")
    about = tmp_path / "model" / "classifier.json"
    about.write_text(about.read_text().replace('"framing": "head"', '"framing": "face"'))
    with pytest.raises(ValueError, match="its classifier reads faces in the framing 'face'"):
        web.export(tmp_path / "model", tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


def test_a_seed_draws_pythons_faces(visit, studios):
    page, studio = visit("explore"), studios("shipped")
    ask = "ask => document.querySelector('face-explorer').server.gallery(ask)"
    for age, gender in ((40, 1), (10, 0)):  # boys lose their beards
        tiles = page.evaluate(ask, {"seed": 7, "temperature": 0.8, "age": age, "gender": gender})
        for tile, face in zip(tiles, studio.sample(12, 7, 0.8, age, gender), strict=True):
            assert m.near(m.levels(tile), face, 3)


def test_a_gpu_draws_the_same(site, browser):
    """Here one in software, which the page would not take for a GPU."""
    chromium = launched(browser.browser_type, "--enable-unsafe-webgpu",
                        "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")  # fmt: skip
    page, shown = chromium.new_page(), []
    page.set_default_timeout(300_000)
    ask = {"face": "Grace Hopper", "strengths": EDITS[1], "locked": [], "detail": 1, "whole": False}
    cached = "caches.keys().then(([name]) => caches.open(name)).then((one) => one.keys())"
    for taken in (False, True):
        if taken:
            page.add_init_script("delete GPUAdapterInfo.prototype.isFallbackAdapter")
        page.goto("about:blank")
        page.goto(site + m.linked({"tab": "edit", "face": FACE}))
        page.wait_for_selector(READY["edit"])
        keep = f"ask => {EDITOR}.server.keep(ask)"
        shown.append(m.levels(page.evaluate(keep, ask)["uri"]))
        files = page.evaluate(f"{cached}.then((list) => list.map((one) => one.url))")
        assert any("asyncify.wasm" in file for file in files) == taken
    chromium.close()
    assert np.abs(shown[0] - shown[1]).max() <= 2


def test_it_opens_offline_after_the_first_visit(exported, visit):
    with serving(exported) as url:
        page = visit(url=url)
    page.context.set_offline(True)
    page.reload()
    page.wait_for_selector(READY["edit"], state="attached")
    assert page.evaluate("crossOriginIsolated")  # threads are allowed
    for tab in ("Morph", "Age", "Explore"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_selector(READY[tab.lower()], state="attached")


def test_a_hostile_link_or_photo_does_nothing(exported, visit):
    assert "<script>" not in (exported / "index.html").read_text(encoding="utf-8")
    script = "<img src=x onerror='window.hit = 1'>"
    strengths = {script: 1, "Smiling": 1e99, "__proto__": {"hit": 1}}
    page = visit(face={"portrait": script}, strengths=strengths)
    page.evaluate("document.body.append(make('script', {text: 'window.hit = 1'}))")
    tiny = data_uri(encoded(np.zeros((9, 9), np.uint8), "PNG"))
    for photo in ("data:image/png;base64,AAAA", tiny, "data:image/svg+xml,<svg onload='hit = 1'/>"):
        assert page.evaluate(KEPT, {"photo": photo, "asks": []})["error"]
    assert page.evaluate("window.hit") is None


def test_what_is_saved_opens_elsewhere(visit, tmp_path):
    page = visit("age")
    page.locator("face-ages .seconds").select_option("1")
    page.locator("face-ages .height").select_option("160")
    sizes = {}
    for kind in ("GIF", "WebP", "MP4", "Photo", "PNG"):
        button = page.locator("face-ages .save").get_by_role("button", name=kind, exact=True)
        file = m.saved(page, button, tmp_path)
        if kind == "MP4":
            assert file.read_bytes()[4:8] == b"ftyp"
            continue
        with Image.open(file) as opened:
            sizes[kind] = opened.size, getattr(opened, "n_frames", 1)
    assert sizes["GIF"] == sizes["WebP"] == ((160, 160), 22)  # there and back
    assert sizes["PNG"] == ((320, 320), 1)


def test_eyes_are_dragged_where_no_face_is_found(visit, tmp_path):
    page = visit()
    Image.new("RGB", (300, 200), "grey").save(tmp_path / "grey.png")
    page.locator("face-editor [type=file]").set_input_files(tmp_path / "grey.png")
    page.get_by_role("button", name="Left eye in the picture").press("ArrowDown")
    page.get_by_role("button", name="Use these").click()
    page.locator("face-editor figcaption", has_text="Your photo").first.wait_for()


@pytest.mark.parametrize("tab", READY)
def test_a_phone_sees_the_whole_width(visit, tab):
    page = visit(tab, "phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_mirror_shows_the_camera_and_closes_it(site, browser, portraits, tmp_path):
    chromium = launched(browser.browser_type, *camera(portraits[1], tmp_path))
    page = chromium.new_page()
    page.goto(site)
    page.get_by_role("tab", name="Mirror").click(timeout=60_000)
    page.get_by_role("button", name="Open the mirror").click()
    page.wait_for_selector("face-mirror[data-frame]", timeout=60_000)
    assert page.evaluate("document.querySelector('face-mirror video').srcObject.active")
    page.get_by_role("tab", name="Edit").click()
    page.locator("face-mirror .open", has_text="Open the mirror").wait_for(state="attached")
    assert page.evaluate("document.querySelector('face-mirror video').srcObject") is None
    chromium.close()


def test_the_apps_tab_draws_by_itself(exported, visit, urls, studios):
    studio, page = studios("shipped"), visit(url=urls("shipped", str(exported)), face=FACE)
    web.check(exported, studio)
    page.wait_for_function("Boolean(window.answerInTab)")
    asked = m.asked_of(page)
    for strength in np.linspace(-0.9, 0.9, 30):  # the server draws until the tab has the face
        asked.clear()
        m.slid(page, m.AFTER, "#edit-Smiling", strength)
        if not asked:
            break
    m.slid(page, m.AFTER, "#edit-Eyeglasses", 0.3, 0.6, 1)
    shown, state = m.settled(page, m.AFTER), page.evaluate(f"{EDITOR}.state")
    wanted = studio.edit(studio.read(m.PORTRAITS[0]), state["strengths"], size=HEIGHT)
    assert asked == [] and np.abs(shown - m.levels(wanted)).max() <= 2


def test_a_changed_file_is_refused(exported, browser, visit, urls, studios, tmp_path):
    """By a program, by the page, and by an app's tab, for which the server answers then."""
    shutil.copytree(exported, tmp_path / "dist")
    with open(tmp_path / "dist" / "networks" / "decoder.onnx.packed", "ab") as changed:
        changed.write(b"0")
    with pytest.raises(ValueError, match="of another version, or was changed"):
        web.check(tmp_path / "dist", studios("shipped"))
    with pytest.raises(ValueError, match="is no page: write it by"):
        web.check(tmp_path, studios("shipped"))
    with serving(tmp_path / "dist") as url, browser.new_page() as page:
        page.goto(url)
        page.get_by_text("could not start").wait_for(timeout=60_000)
    page = visit(url=urls("shipped", str(tmp_path / "dist")), face=FACE)
    page.wait_for_timeout(5000)
    asked = m.asked_of(page)
    m.slid(page, m.AFTER, "#edit-Eyeglasses", 1)
    assert asked and not page.evaluate("Boolean(window.answerInTab)")
    assert not page.locator("face-editor > section > .status:not(:empty)").count()
