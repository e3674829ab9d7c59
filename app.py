"""The studio in a browser: `python app.py`, then morph two faces of your own.

Layout and wiring only: the work is done in `facevae`, the look is `assets/app.css`, and the canvas
that scrubs a strip without asking the server is `<strip-player>` in `assets/app.js`.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import os
import random
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

# Read when gradio and torch are imported. Threads that wait must not spin: beside another busy
# program that makes finding a face twenty times slower.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import gradio as gr
from PIL import Image

import facevae
from facevae import align, pictures

ASSETS = Path(__file__).resolve().parent / "assets"
PORTRAITS = {
    "Grace Hopper": ASSETS / "portraits" / "grace_hopper.jpg",
    "Eileen Collins": ASSETS / "portraits" / "eileen_collins.jpg",
}
SIDE = 320  # pixels of a frame, which the canvas scales
FRAMES = 25  # of the strip; the canvas blends between neighbours
KINDS = ("GIF", "WebP", "MP4")
SAVED_FRAMES, SAVED_SECONDS = 24, 2.0  # of a saved animation, one way
MAX_SIDE = 1600  # of a photo kept for a visitor: 6 MB in memory, and no face loses by it
FORGET = 3600  # seconds after which a visitor's faces are dropped
SWEEP = (60, 60)  # each minute Gradio deletes the uploads older than a minute
IN_TURN = {"concurrency_id": "model", "concurrency_limit": 1}  # the last asked is the last shown
OWN = {"api_visibility": "private", "show_progress": "hidden", **IN_TURN}  # the page's own events
EVERY = {"trigger_mode": "multiple", **OWN}  # none is dropped while another is at work
LATEST = {"trigger_mode": "always_last", **OWN}  # of a burst the first and the last: none piles up

HEADER = """<h1>Morph two faces</h1>
<p>Drop a photo on either side, then drag across the picture: a variational autoencoder draws every
face in between.</p>"""
NOTE = """<p>Photos stay on the computer that runs this page and are forgotten within the hour.
For play and teaching, not for identifying or deceiving anyone. The model has learned from UTKFace,
for non-commercial research, and knows some kinds of faces better than others.</p>"""
RESTED = "This page has rested for an hour, and your faces were forgotten. Reload it to go on."


class Desk:
    """What the page asks of the studio. It remembers nothing of any visitor."""

    def __init__(self, studio: facevae.Studio, max_side: int) -> None:
        self.studio, self.max_side = studio, max_side
        self.opening = ThreadPoolExecutor(1).submit(self.open)  # while the server starts

    def open(self) -> tuple:
        """The two portraits, their crops, and the strip between them."""
        a, b = map(self.read, PORTRAITS.values())
        return a, b, *map(figure, (a, b), PORTRAITS), self.strip(a, b)

    def read(self, photo: align.PhotoLike, **known) -> facevae.Face:
        return self.studio.read(align.open_photo(photo, self.max_side), **known)

    def add(self, photo: align.PhotoLike, face: facevae.Face, name="Your photo", **known) -> tuple:
        """The face in a photo, its figure and a line to read; the old face if there is no new."""
        try:
            face = self.read(photo, **known)
        except (facevae.NoFaceFound, facevae.UnreadablePhoto) as error:
            return face, gr.skip(), f"<p>{html.escape(str(error))}</p>"
        line = f"<p>{face.found} faces seen: the largest was taken.</p>" if face.found > 1 else ""
        return face, figure(face, name), line

    def draw(self, face: facevae.Face) -> tuple:
        """The same for a face that nobody has."""
        drawn = self.studio.sample(1, seed=random.getrandbits(31))[0]
        return self.add(drawn, face, "Nobody", eyes=align.FRAME[:2] * drawn.width)

    def frames(self, steps: int, a: facevae.Face, b: facevae.Face, detail: float, path: str):
        if a is None or b is None:
            raise gr.Error(RESTED)
        return self.studio.morph_strip(a, b, steps, detail=detail, path=path, size=SIDE)

    def strip(self, a: facevae.Face, b: facevae.Face, detail=1.0, path="linear") -> list[str]:
        return [jpeg(frame) for frame in self.frames(FRAMES, a, b, detail, path)]

    def save(self, kind: str, *wanted) -> dict[str, str]:
        """An animation, there and back; as a data URI, so that no copy stays on the server."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"morph.{kind.lower()}")
            pictures.save_animation(self.frames(SAVED_FRAMES, *wanted), file, SAVED_SECONDS)
            return {"name": file.name, "uri": data_uri(file.read_bytes())}

    def morph(self, photo_a: str, photo_b: str, t: float, detail: float) -> Image.Image:
        """Morph two photos: t = 0 gives the face of photo_a, t = 1 that of photo_b.

        With detail = 1 the photos' own detail is kept; 0 is the decoder's picture alone.
        """
        try:
            a, b = self.read(photo_a), self.read(photo_b)
        except (facevae.NoFaceFound, facevae.UnreadablePhoto) as error:
            raise gr.Error(str(error)) from error
        return self.studio.morph(a, b, t, detail=detail, size=SIDE)


def data_uri(content: bytes, kind: str = "application/octet-stream") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def jpeg(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92)
    return data_uri(buffer.getvalue(), "image/jpeg")


def figure(face: facevae.Face, name: str) -> str:
    crop = f'<img src="{jpeg(face.crop_at(SIDE))}" alt="{name}">'
    return f"<figure><figcaption>{name}</figcaption>{crop}</figure>"


def photo_input(label: str, **layout) -> gr.Image:
    photo = gr.Image(label=label, sources=["upload", "webcam", "clipboard"], **layout)
    photo.preprocess = lambda upload: upload and upload.path  # untouched: the studio judges it
    return photo


def strip_player() -> gr.HTML:
    """A canvas to scrub; its value is a list of frames, each a data URI."""
    return gr.HTML(
        html_template="<strip-player></strip-player>",
        js_on_load="""
            const show = () => element.querySelector("strip-player").load(props.value || []);
            watch("value", show);
            show();""",
        apply_default_css=False,
    )


def face_side(desk: Desk, label: str, area: str) -> tuple:
    """One face: its crop, over it the input for another, and faces to begin with."""
    face = gr.State(time_to_live=FORGET)
    with gr.Column(elem_classes=["face", area], min_width=0):
        crop = gr.HTML(elem_classes="crop", apply_default_css=False)
        photo = photo_input(label, elem_classes="photo", container=False)
        with gr.Row(elem_classes="starters"):
            drawn = gr.Button("Random face", icon=ASSETS / "app" / "dice.svg", min_width=0)
            portraits = {n: gr.Button(n, icon=file, min_width=0) for n, file in PORTRAITS.items()}
        line = gr.HTML(elem_classes="line", apply_default_css=False)
    shown = [face, crop, line]
    upload = photo.upload(desk.add, [photo, face], shown, **EVERY)
    upload.then(None, None, photo, js=f"() => emptyInput('.{area} .photo')")
    changes = [upload, drawn.click(desk.draw, face, shown, **EVERY)]
    for name, button in portraits.items():
        portrait = partial(desk.add, PORTRAITS[name], name=name)
        changes.append(button.click(portrait, face, shown, **EVERY))
    return face, crop, changes


def morph_tab(desk: Desk, page: gr.Blocks) -> None:
    with gr.Row(elem_classes="morph"):
        a, crop_a, changes_a = face_side(desk, "First face", "first")
        with gr.Column(elem_classes="stage", min_width=0):
            player = strip_player()
        b, crop_b, changes_b = face_side(desk, "Second face", "second")
        with gr.Row(elem_classes="controls"):
            detail = gr.Slider(0, 1, 1, step=0.05, label="Photo detail", buttons=[])
            path = gr.Radio(["linear", "spherical"], value="linear", label="Path")
            with gr.Row(elem_classes="save"):
                gr.HTML("Save as", apply_default_css=False)
                savers = {kind: gr.Button(kind, min_width=0) for kind in KINDS}
    saved = gr.JSON(visible=False)

    page.load(desk.opening.result, None, [a, b, crop_a, crop_b, player], **OWN)
    wanted = [a, b, detail, path]
    gr.on([detail.input, path.input], desk.strip, wanted, player, **LATEST)
    for change in changes_a + changes_b:
        change.then(desk.strip, wanted, player, **LATEST)
    for kind, button in savers.items():
        made = button.click(partial(desk.save, kind), wanted, saved, **OWN)
        made.success(None, saved, None, js="file => download(file)")


def endpoints(desk: Desk) -> None:
    """What a program may call: `Client(url).predict(…, api_name="/morph")`."""
    with gr.Row(visible=False):
        photos = [photo_input("Photo A"), photo_input("Photo B")]
        sliders = [gr.Slider(0, 1, 0.5, label="Blend"), gr.Slider(0, 1, 1, label="Detail")]
        picture = gr.Image(label="Morph", format="png")
    gr.on([], desk.morph, photos + sliders, picture, api_name="morph", **IN_TURN)


def build(studio: facevae.Studio, max_side: int = MAX_SIDE) -> gr.Blocks:
    gr.set_static_paths([ASSETS / "app", ASSETS / "portraits"])  # served from where they lie
    desk = Desk(studio, max_side)
    with gr.Blocks(title="Morph two faces", delete_cache=SWEEP) as page:
        gr.HTML(HEADER, elem_classes="header")
        morph_tab(desk, page)
        gr.HTML(NOTE, elem_classes="note")
        endpoints(desk)
    return page


def launch(page: gr.Blocks, **where):
    """Start the page with its look, and with nothing kept or sent that need not be."""
    script = (ASSETS / "app.js").read_text(encoding="utf-8")
    return page.launch(
        theme=gr.themes.Base(font=("system-ui", "sans-serif")),  # nothing is fetched from elsewhere
        css_paths=ASSETS / "app.css",
        head=f"<script>{script}</script>",
        footer_links=["api"],
        run_history=False,
        enable_monitoring=False,
        max_file_size="20mb",
        state_session_capacity=100,
        ssr_mode=False,
        **where,
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Morph two faces in the browser.")
    add = parser.add_argument
    add("--model", type=Path, default=ASSETS / "studio", metavar="DIR", help="folder of the studio")
    add("--host", help="address to listen on (GRADIO_SERVER_NAME, else 127.0.0.1)")
    add("--port", type=int, help="(GRADIO_SERVER_PORT, else the first free one from 7860)")
    add("--share", action="store_true", help="open a public link as well")
    add("--max-side", type=int, default=MAX_SIDE, help="shrink longer photos to this many pixels")
    asked = parser.parse_args(argv)
    try:
        studio = facevae.Studio.load(asked.model)
    except (ValueError, OSError) as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that the folder goes then, too
    with tempfile.TemporaryDirectory(prefix="facevae-") as uploads:  # nobody else's to read
        os.environ.setdefault("GRADIO_TEMP_DIR", uploads)
        page = build(studio, asked.max_side)
        launch(page, server_name=asked.host, server_port=asked.port, share=asked.share or None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
