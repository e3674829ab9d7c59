"""The studio as a static page: served by http.server, driven in Chromium, equal to Python's."""

import base64
import functools
import io
import json
import os
import shutil
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from facevae import Studio, web
from facevae.imaging.photo import open_photo
from tests.app import moves as m
from tests.app.conftest import SIZES

pytestmark = [pytest.mark.slow, pytest.mark.browser]
EDITOR = "document.querySelector('face-editor')"
SHIPPED = web.ASSETS / "studio"
READY = {"morph": "strip-player[ready]", "edit": "face-editor[ready]", "age": "face-ages[ready]",
         "explore": "face-explorer[ready]"}  # fmt: skip
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


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """Serves a folder: gives the address, and the server, which a test may close."""
    running = []

    def start(folder: Path) -> tuple[str, ThreadingHTTPServer]:
        server = ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}/", server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture
def visit(browser):
    """Opens the page at an address; at the end no error was logged, and nothing left the host."""
    visitors, troubles = [], []

    def open_page(url: str, tab: str = "edit", size: str = "desktop", **link):
        width, height = SIZES[size]
        visitor = browser.new_context(viewport={"width": width, "height": height})
        visitor.set_default_timeout(300_000)
        visitors.append(visitor)
        page = visitor.new_page()
        page.on("pageerror", lambda error: troubles.append(error.stack or str(error)))
        page.on(
            "request", lambda r: r.url.startswith((url, "data:", "blob:")) or troubles.append(r.url)
        )
        page.goto(url + "#" + quote(json.dumps({"tab": tab, **link})))
        page.wait_for_selector(READY[tab], state="attached")
        return page

    yield open_page
    for visitor in visitors:
        visitor.close()
    assert troubles == []


def photographs(shared: Path, portraits: list[Path]) -> list[Image.Image]:
    """The two portraits, and ten faces: real ones where they lie, else drawn by the model."""
    found = [open_photo(path) for path in portraits]
    for name, many in {"AllAgeFaces": 4, "generated": 3, "celeba": 3}.items():
        if not (shared / f"{name}.tar").is_file():
            continue
        with tarfile.open(shared / f"{name}.tar") as opened:
            pictures = (one for one in opened if one.name.endswith((".jpg", ".webp")))
            for member in islice(pictures, 0, 40 * many, 40):
                found.append(open_photo(io.BytesIO(opened.extractfile(member).read())))
    drawn = Studio.load().sample(12 - len(found), seed=3) if len(found) < 12 else []
    return [*found, *(face.resize((256, 256)) for face in drawn)]


def png(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def pixels(uri: str) -> np.ndarray:
    content = base64.b64decode(uri.partition("base64,")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), int)


def test_crops_and_edits_are_pythons(exported, serve, visit, portraits):
    page, studio = visit(serve(exported)[0]), Studio.load()
    asks = [{"strengths": edit, "whole": False} for edit in EDITS]
    asks.append({"strengths": {"Beard": 1.0}, "whole": True})
    shared = Path(os.environ.get("FACEVAE_REAL_DATA", "../shared/data"))
    compared = 0
    for photo in photographs(shared, portraits):
        try:
            face = studio.read(photo)
        except ValueError:
            assert page.evaluate(KEPT, {"photo": png(photo), "asks": []})["error"]
            continue
        files = page.evaluate(KEPT, {"photo": png(photo), "asks": asks})["files"]
        size = max(320, min(1024, round(face.alignment.side)))
        for ask, file in zip(asks, files, strict=True):
            shape = {"paste": True} if ask["whole"] else {"size": size}
            wanted = np.asarray(studio.edit(face, ask["strengths"], **shape), int)
            off = np.abs(wanted - pixels(file))
            assert off.mean() < 1 and off.max() <= (8 if not ask["strengths"] else 2), ask
        compared += 1
    assert compared >= 8


def test_a_model_that_a_page_would_read_wrongly_is_refused(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "model")
    about = tmp_path / "model" / "classifier.json"
    about.write_text(about.read_text().replace('"framing": "head"', '"framing": "face"'))
    with pytest.raises(ValueError, match="its classifier reads faces in the framing 'face'"):
        web.export(tmp_path / "model", tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


def test_a_seed_draws_pythons_faces(exported, serve, visit):
    page, studio = visit(serve(exported)[0], "explore"), Studio.load()
    ask = "ask => document.querySelector('face-explorer').server.gallery(ask)"
    for age, gender in ((40, 1), (10, 0)):  # boys lose their beards
        tiles = page.evaluate(ask, {"seed": 7, "temperature": 0.8, "age": age, "gender": gender})
        for tile, face in zip(tiles, studio.sample(12, 7, 0.8, age, gender), strict=True):
            assert np.abs(m.levels(tile) - m.levels(face)).mean() < 3  # it came as a JPEG


def test_a_gpu_draws_the_same(exported, serve, browser):
    """Here one in software, which the page would not take for a GPU."""
    software = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader",
                "--enable-features=Vulkan"]  # fmt: skip
    chromium = browser.browser_type.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox", *software]
    )
    page, shown = chromium.new_page(), []
    page.set_default_timeout(300_000)
    ask = {"face": "Grace Hopper", "strengths": EDITS[1], "locked": [], "detail": 1, "whole": False}
    cached = "caches.keys().then(([name]) => caches.open(name)).then((one) => one.keys())"
    url = (
        serve(exported)[0]
        + "#"
        + quote(json.dumps({"tab": "edit", "face": {"portrait": m.HOPPER}}))
    )
    for taken in (False, True):
        if taken:
            page.add_init_script("delete GPUAdapterInfo.prototype.isFallbackAdapter")
        page.goto("about:blank")
        page.goto(url)
        page.wait_for_selector(READY["edit"])
        keep = f"ask => {EDITOR}.server.keep(ask)"
        shown.append(pixels(page.evaluate(keep, ask)["uri"]))
        files = page.evaluate(f"{cached}.then((list) => list.map((one) => one.url))")
        assert any("asyncify.wasm" in file for file in files) == taken
    chromium.close()
    assert np.abs(shown[0] - shown[1]).max() <= 2


def test_it_opens_offline_after_the_first_visit(exported, serve, visit):
    url, server = serve(exported)
    page = visit(url, "edit")
    server.shutdown()
    server.server_close()
    page.context.set_offline(True)
    page.reload()
    page.wait_for_selector(READY["edit"], state="attached")
    assert page.evaluate("crossOriginIsolated")  # threads are allowed
    for tab in ("Morph", "Age", "Explore"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_selector(READY[tab.lower()], state="attached")


def test_a_changed_file_is_refused(exported, serve, browser, tmp_path):
    shutil.copytree(exported, tmp_path / "dist")
    with open(tmp_path / "dist" / "networks" / "decoder.onnx.packed", "ab") as changed:
        changed.write(b"0")
    page = browser.new_page()
    page.goto(serve(tmp_path / "dist")[0])
    page.get_by_text("could not start").wait_for(timeout=60_000)
    page.close()


def test_a_hostile_link_or_photo_does_nothing(exported, serve, visit):
    assert "<script>" not in (exported / "index.html").read_text(encoding="utf-8")
    script = "<img src=x onerror='window.hit = 1'>"
    strengths = {script: 1, "Smiling": 1e99, "__proto__": {"hit": 1}}
    page = visit(serve(exported)[0], "edit", face={"portrait": script}, strengths=strengths)
    page.evaluate("document.body.append(make('script', {text: 'window.hit = 1'}))")
    broken, tiny = "data:image/png;base64,AAAA", png(Image.new("RGB", (9, 9)))
    for photo in (broken, tiny, "data:image/svg+xml,<svg onload='hit = 1'/>"):
        assert page.evaluate(KEPT, {"photo": photo, "asks": []})["error"]
    assert page.evaluate("window.hit") is None


def test_what_is_saved_opens_elsewhere(exported, serve, visit):
    page = visit(serve(exported)[0], "age")
    page.locator("face-ages .seconds").select_option("1")
    page.locator("face-ages .height").select_option("160")
    sizes = {}
    for kind in ("GIF", "WebP", "MP4", "Photo", "PNG"):
        with page.expect_download(timeout=120_000) as download:
            page.locator("face-ages .save").get_by_role("button", name=kind, exact=True).click()
        content = Path(download.value.path()).read_bytes()
        if kind == "MP4":
            assert content[4:8] == b"ftyp"
            continue
        with Image.open(io.BytesIO(content)) as opened:
            sizes[kind] = opened.size, getattr(opened, "n_frames", 1)
    assert sizes["GIF"] == sizes["WebP"] == ((160, 160), 22)  # there and back
    assert sizes["PNG"] == ((320, 320), 1)


def test_eyes_are_dragged_where_no_face_is_found(exported, serve, visit, tmp_path):
    page = visit(serve(exported)[0])
    Image.new("RGB", (300, 200), "grey").save(tmp_path / "grey.png")
    page.locator("face-editor [type=file]").set_input_files(tmp_path / "grey.png")
    page.get_by_role("button", name="Left eye in the picture").press("ArrowDown")
    page.get_by_role("button", name="Use these").click()
    page.locator("face-editor figcaption", has_text="Your photo").first.wait_for()


@pytest.mark.parametrize("tab", READY)
def test_a_phone_sees_the_whole_width(exported, serve, visit, tab):
    page = visit(serve(exported)[0], tab, "phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_mirror_shows_the_camera_and_closes_it(exported, serve, browser, portraits, tmp_path):
    import imageio_ffmpeg

    with Image.open(portraits[1]) as photo:
        frame = photo.convert("RGB").resize((640, 480))
    writer = imageio_ffmpeg.write_frames(str(tmp_path / "face.mjpeg"), (640, 480), codec="mjpeg")
    writer.send(None)
    for _ in range(5):
        writer.send(frame.tobytes())
    writer.close()
    camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
              f"--use-file-for-fake-video-capture={tmp_path / 'face.mjpeg'}"]  # fmt: skip
    chromium = browser.browser_type.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox", *camera]
    )
    page = chromium.new_page()
    page.goto(serve(exported)[0])
    page.get_by_role("tab", name="Mirror").click(timeout=60_000)
    page.get_by_role("button", name="Open the mirror").click()
    page.wait_for_selector("face-mirror[data-frame]", timeout=60_000)
    assert page.evaluate("document.querySelector('face-mirror video').srcObject.active")
    page.get_by_role("tab", name="Edit").click()
    page.locator("face-mirror .open", has_text="Open the mirror").wait_for(state="attached")
    assert page.evaluate("document.querySelector('face-mirror video').srcObject") is None
    chromium.close()
