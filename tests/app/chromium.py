"""Chromium and folders as sites, for the tests of the page and the scripts that measure it."""

import functools
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(folder: Path | str) -> Iterator[str]:
    """The address of a folder, while its files are served."""
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


def launched(chromium, *options: str):
    """The system's Chromium: Playwright's kind of browser → a browser."""
    found = shutil.which("chromium")
    return chromium.launch(executable_path=found, args=["--no-sandbox", *options])


def camera(photo: Path, folder: Path) -> tuple[str, ...]:
    """The options of a Chromium whose camera shows a photo."""
    with Image.open(photo) as opened:
        opened.convert("RGB").resize((640, 480)).save(folder / "film.mjpeg", "JPEG")
    return ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={folder / 'film.mjpeg'}")  # fmt: skip
