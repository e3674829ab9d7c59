"""A visitor's moves on the page, and what they then see."""

import base64
import io
import json
from urllib.parse import quote, unquote

import numpy as np
from PIL import Image

from facevae.ui import session
from tests.helpers import encoded

HOPPER, COLLINS = session.PORTRAITS
PORTRAITS = [str(file) for file in session.PORTRAITS.values()]
STRIP, PAD = "face-morph strip-player canvas", "morph-pad canvas"
AFTER, PREVIEW = "face-editor .after", "face-explorer .preview"
WHITE = Image.new("RGB", (300, 300), "white")  # no face


def levels(picture: Image.Image | str) -> np.ndarray:
    """A picture or a data URI → (H, W, 3), float levels."""
    if isinstance(picture, str):
        picture = Image.open(io.BytesIO(base64.b64decode(picture.partition("base64,")[2])))
    return np.asarray(picture.convert("RGB"), float)


def near(shown: np.ndarray, made: Image.Image | np.ndarray, most: float = 2.5) -> bool:
    made = levels(made) if isinstance(made, Image.Image) else made
    return np.abs(shown - made).mean() < most  # it came as a JPEG


def pixels(page, selector: str) -> np.ndarray:
    """A canvas once what was set is drawn, (H, W, 3), float."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return levels(page.eval_on_selector(selector, "canvas => canvas.toDataURL()"))


def looks(page, selector: str):
    """What a canvas shows, again and again, until that takes too long."""
    for _ in range(600):
        yield pixels(page, selector)
        page.wait_for_timeout(50)
    raise AssertionError(f"{selector} never looked so")


def changed(page, selector: str, old: np.ndarray) -> np.ndarray:
    """A canvas once it is another than it was."""
    return next(new for new in looks(page, selector) if not np.array_equal(new, old))


def settled(page, selector: str, calm: int = 6) -> np.ndarray:
    """A canvas once it stays as it is."""
    last, same = None, 0
    for now in looks(page, selector):
        same = same + 1 if np.array_equal(now, last) else 0
        if same == calm:
            return now
        last = now


def slide(page, selector: str, *values: float) -> None:
    """Drag a range input over some values, and let it go."""
    moves = """(slider, values) => {
        const happens = (name) => slider.dispatchEvent(new Event(name, { bubbles: true }));
        for (const value of values) { slider.value = value; happens("input"); }
        happens("change"); }"""
    page.eval_on_selector(selector, moves, list(values))


def slid(page, shown: str, selector: str, *values: float) -> np.ndarray:
    """A canvas once it follows a range input that is dragged over some values."""
    before = settled(page, shown)
    slide(page, selector, *values)
    return changed(page, shown, before)


def asked_of(page) -> list[str]:
    """The functions of the server that the page asks from now on."""
    asked = []
    page.on("request", lambda one: "component_server" in one.url and asked.append(one.url))
    return asked


def drag(page, selector: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag over an element, from and to shares of its width and height."""
    box = page.locator(selector).bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=10)
    page.mouse.up()


def seek(page, position: float) -> np.ndarray:
    """The Morph tab's strip at a position."""
    slide(page, "face-morph strip-player input", position)
    return pixels(page, STRIP)


def place(page, name: str):
    return page.locator(f"face-input[place={name}]")


def crop(page, name: str) -> np.ndarray:
    return levels(place(page, name).locator(".crop img").get_attribute("src"))


def named(page, name: str, who: str) -> None:
    """Wait until a place shows a face of that name."""
    place(page, name).locator("figcaption").get_by_text(who).wait_for()


def choose(page, name: str, button: str, who: str = "Nobody") -> None:
    """Put a portrait or a drawn face in a place."""
    place(page, name).get_by_role("button", name=button).click()
    named(page, name, who)


def upload(page, name: str, photo: Image.Image | bytes) -> None:
    photo = photo if isinstance(photo, bytes) else encoded(photo, "PNG")
    file = {"name": "photo.png", "mimeType": "image/png", "buffer": photo}
    place(page, name).locator("[type=file]").set_input_files(file)


def saved(page, button, folder):
    """The file that a button saves."""
    with page.expect_download() as download:
        button.click()
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    return file


def film(file) -> tuple[Image.Image, float]:
    """An animation, and how many seconds it lasts."""
    animation, lasts = Image.open(file), 0
    for frame in range(animation.n_frames):
        animation.seek(frame)
        animation.load()
        lasts += animation.info["duration"]
    return animation, lasts / 1000


def linked(state: dict) -> str:
    """The end of an address that opens the page with a state."""
    return "#" + quote(json.dumps(state))


def link(page) -> dict:
    page.wait_for_timeout(450)  # the address follows at leisure
    return json.loads(unquote(page.evaluate("location.hash.slice(1)")))


def fits(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")
