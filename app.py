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
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

import gradio as gr

import facevae
from facevae import pictures

ASSETS = Path(__file__).resolve().parent / "assets"
PORTRAITS = {
    "Grace Hopper": ASSETS / "portraits" / "grace_hopper.jpg",
    "Eileen Collins": ASSETS / "portraits" / "eileen_collins.jpg",
}
SIDE = 320  # pixels of a frame, which the canvas scales
FRAMES = 33  # of the strip; the canvas blends between neighbours
KINDS = ("GIF", "WebP", "MP4")
SAVED_FRAMES, SAVED_SECONDS = 24, 2.0  # of a saved animation, one way
FORGET = 3600  # seconds after which a visitor's faces are dropped
SWEEP = (60, 60)  # each minute Gradio deletes the uploads older than a minute
IN_TURN = {"concurrency_id": "model", "concurrency_limit": 1}  # so the last asked is the last shown
OWN = {"api_visibility": "private", "show_progress": "hidden", **IN_TURN}  # the page's own events
FONTS = ("system-ui", "sans-serif")  # the reader's own: nothing is fetched from elsewhere

HEADER = """<h1>Morph two faces</h1>
<p>Drop a photo on either side, then drag across the picture: a variational autoencoder draws every
face in between.</p>"""
NOTE = """<p>Photos stay on the computer that runs this page and are forgotten within the hour.
For play and teaching, not for identifying or deceiving anyone. The model has learned from UTKFace,
for non-commercial research, and knows some kinds of faces better than others.</p>"""
RESTED = "This page has rested for an hour and your faces were forgotten. Reload it to go on."


class Desk:
    """What the page asks of the studio. It remembers nothing of any visitor."""

    def __init__(self, studio: facevae.Studio, side: int) -> None:
        self.studio, self.side = studio, side
        self.opening = ThreadPoolExecutor(1).submit(self.open)  # while the server starts

    def open(self) -> tuple:
        """The two portraits, their crops, and the strip between them."""
        a, b = (self.studio.read(file) for file in PORTRAITS.values())
        crops = (self.show(face, name) for face, name in zip((a, b), PORTRAITS, strict=True))
        return a, b, *crops, self.strip(a, b)

    def add(self, photo: str | Path, face: object, name: str = "Your photo") -> tuple:
        """The face in a photo, its crop and a line to read; the old face if there is no new."""
        try:
            face = self.studio.read(photo)
        except (facevae.NoFaceFound, facevae.UnreadablePhoto) as error:
            return face, gr.skip(), f"<p>{html.escape(str(error))}</p>"
        line = f"<p>{face.found} faces seen: the largest was taken.</p>" if face.found > 1 else ""
        return face, self.show(face, name), line

    def draw(self, face: object) -> tuple:
        """The same for a face that nobody has."""
        return self.add(self.studio.sample(1, seed=random.getrandbits(31))[0], face, "Nobody")

    def show(self, face: object, name: str) -> str:
        name = html.escape(name)
        crop = data_uri(face.crop_at(self.side))
        return f'<figure><figcaption>{name}</figcaption><img src="{crop}" alt="{name}"></figure>'

    def frames(self, steps: int, a: object, b: object, detail: float, path: str) -> list:
        if a is None or b is None:
            raise gr.Error(RESTED)
        return self.studio.morph_strip(a, b, steps, detail=detail, path=path, size=self.side)

    def strip(self, a: object, b: object, detail: float = 1.0, path: str = "linear") -> list[str]:
        return [data_uri(frame) for frame in self.frames(FRAMES, a, b, detail, path)]

    def save(self, kind: str, a: object, b: object, detail: float, path: str) -> dict[str, str]:
        """An animation, there and back, as a data URI: no copy of it stays on the server."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"morph.{kind.lower()}")
            frames = self.frames(SAVED_FRAMES, a, b, detail, path)
            pictures.save_animation(frames, file, seconds=SAVED_SECONDS, pingpong=True)
            coded = base64.b64encode(file.read_bytes()).decode()
        return {"name": file.name, "uri": f"data:application/octet-stream;base64,{coded}"}

    def morph(self, photo_a: str, photo_b: str, t: float, detail: float):
        """Morph two photos: t = 0 gives the face of photo_a, t = 1 that of photo_b.

        detail = 1 keeps the photos' own detail, 0 shows the decoder's picture alone.
        """
        try:
            a, b = self.studio.read(photo_a), self.studio.read(photo_b)
        except (facevae.NoFaceFound, facevae.UnreadablePhoto) as error:
            raise gr.Error(str(error)) from error
        return self.studio.morph(a, b, t, detail=detail, size=self.side)


def data_uri(picture) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def photo_input(label: str, **layout) -> gr.Image:
    photo = gr.Image(label=label, sources=["upload", "webcam", "clipboard"], type="filepath", **layout)
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
            portraits = {f: gr.Button(n, icon=f, min_width=0) for n, f in PORTRAITS.items()}
        line = gr.HTML(elem_classes="line", apply_default_css=False)
    shown = [face, crop, line]
    changes = [photo.upload(desk.add, [photo, face], shown, **OWN)]
    changes[0].then(None, None, photo, js=f"() => emptyInput('.{area} .photo')")
    changes += [drawn.click(desk.draw, face, shown, **OWN)]
    for file, button in portraits.items():
        portrait = partial(desk.add, file, name=button.value)
        changes += [button.click(portrait, face, shown, **OWN)]
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
    latest = {"trigger_mode": "always_last", **OWN}
    gr.on([detail.input, path.input], desk.strip, wanted, player, **latest)
    for change in changes_a + changes_b:
        change.then(desk.strip, wanted, player, **latest)
    for kind, button in savers.items():
        made = button.click(partial(desk.save, kind), wanted, saved, **OWN)
        made.success(None, saved, None, js="file => download(file)")


def endpoints(desk: Desk) -> None:
    """What a program may call; `Client(url).predict(..., api_name="/morph")`."""
    with gr.Row(visible=False):
        a, b = photo_input("Photo A"), photo_input("Photo B")
        t = gr.Slider(0, 1, 0.5, label="Blend")
        detail = gr.Slider(0, 1, 1, label="Detail")
        picture = gr.Image(label="Morph", format="png")
    gr.on([], desk.morph, [a, b, t, detail], picture, api_name="morph", **IN_TURN)


def build(studio: facevae.Studio, side: int = SIDE) -> gr.Blocks:
    gr.set_static_paths([ASSETS / "app", ASSETS / "portraits"])  # icons and portraits are served where they lie, not copied
    desk = Desk(studio, side)
    with gr.Blocks(title="Morph two faces", delete_cache=SWEEP) as page:
        gr.HTML(HEADER, elem_classes="header")
        morph_tab(desk, page)
        gr.HTML(NOTE, elem_classes="note")
        endpoints(desk)
    return page


def looks() -> dict:
    """How the page looks and what it keeps, for `launch`."""
    script = (ASSETS / "app.js").read_text(encoding="utf-8")
    return {
        "theme": gr.themes.Base(primary_hue="teal", neutral_hue="stone", font=FONTS),
        "css_paths": ASSETS / "app.css",
        "head": f"<script>{script}</script>",
        "footer_links": ["api"],
        "run_history": False,
        "enable_monitoring": False,
        "max_file_size": "20mb",
        "state_session_capacity": 200,
        "ssr_mode": False,
    }


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Morph faces in the browser.")
    parser.add_argument("--model", default=ASSETS / "studio", type=Path, metavar="DIR")
    parser.add_argument("--host", help="address to listen on (default: $GRADIO_SERVER_NAME, 127.0.0.1)")
    parser.add_argument("--port", type=int, help="(default: $GRADIO_SERVER_PORT, first free from 7860)")
    parser.add_argument("--share", action="store_true", help="open a public link through gradio.live")
    parser.add_argument("--max-side", type=int, default=SIDE, metavar="PIXELS", help="of a drawn face")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    asked = arguments(argv)
    try:
        studio = facevae.Studio.load(asked.model)
    except (ValueError, OSError) as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 2
    page = build(studio, asked.max_side)
    page.launch(server_name=asked.host, server_port=asked.port, share=asked.share or None, **looks())
    return 0


if __name__ == "__main__":
    sys.exit(main())
