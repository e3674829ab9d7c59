"""What the page asks of the studio: photos and numbers in, pictures ready for a browser out."""

from __future__ import annotations

import base64
import io
import random
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import gradio as gr
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from facevae import CannotDo, Face, Studio
from facevae.imaging import images
from facevae.imaging.alignment import FRAMINGS
from facevae.imaging.photo import PhotoLike, open_photo
from facevae.ui.server import MAX_PHOTO_BYTES, Worker

ASSETS = Path(__file__).resolve().parents[2] / "assets"
PORTRAITS = {
    name: ASSETS / "portraits" / f"{name.lower().replace(' ', '_')}.jpg"
    for name in ("Grace Hopper", "Eileen Collins")
}
SCRIPTS = ("live", "link", "face-input", "strip-player", "morph-pad", "morph", "edit", "age",
           "explore", "learn")  # fmt: skip
START_SEEDS = (27, 41, 11, 43)  # of the drawn faces to begin with
HEIGHT = 320  # pixels of a frame, which the canvas scales
KEPT_SECONDS, SWEEP_SECONDS = 3540, 60  # of a visitor's face, from when it was read
MAX_FACES = 200  # of all visitors: the oldest goes first
FORGOTTEN = "This face was forgotten, as every photo is after an hour: choose one again."
FRAMES_PER_SECOND, MAX_FRAMES = 12, 120  # more would keep other visitors waiting

Unit = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Key = Annotated[str, StringConstraints(max_length=80)]


class Request(BaseModel):
    """What a live element asks for; a subclass names the fields and their bounds."""

    model_config = ConfigDict(extra="forbid")


class Origin(Request):
    """Where a face comes from, as links name it: a portrait, a seed, or a spot of Explore."""

    portrait: str | None = None
    draw: Seed | None = None
    spot: dict[str, Any] | None = None


class Added(Request):
    """A photo, as a data URI, or the origin of a face."""

    photo: str | None = None
    origin: Origin | None = None


class OfFace(Request):
    face: Key


class Animation(Request):
    kind: Literal["GIF", "WebP", "MP4"]
    seconds: Literal[1, 2, 4, 8]  # one way
    height: Literal[160, 320, 512]  # pixels
    job: Key  # under which `Session.jobs` says how far it is

    @property
    def frames(self) -> int:
        """Number of frames of one way."""
        return FRAMES_PER_SECOND * self.seconds


class Session:
    """The studio, its workers, and faces by key: the page's own, and visitors'."""

    def __init__(self, studio: Studio, max_side: int, kept_seconds: float = KEPT_SECONDS) -> None:
        self.studio, self.max_side, self.kept_seconds = studio, max_side, kept_seconds
        self.live, self.slow, self.programs = Worker(), Worker(niceness=5), Worker(niceness=10)
        self.own: dict[str, Face] = {}
        self.kept: dict[str, tuple[float, Face]] = {}  # until when, and the face; the oldest first
        self.jobs: dict[str, float] = {}  # share of each animation that is drawn
        self.draw_spot: Callable[[dict], Image.Image] | None = None  # of the Explore tab
        channels, self.rows, self.columns = studio.model.config.image_shape
        self.portraits = dict(PORTRAITS) if channels == 3 and studio.whole_photos else {}
        self.thumbnails = {}  # heads, for small buttons
        for name, path in self.portraits.items():
            fitted = ImageOps.fit(Image.open(path), (114, 114), centering=(0.5, 0))
            self.thumbnails[name] = jpeg(fitted.crop((17, 5, 93, 81)))
        threading.Thread(target=self._sweep, daemon=True).start()
        self.starting = self.slow.submit(self._begin)  # while the server starts

    def _begin(self) -> list[dict]:
        """The first four faces: both portraits where the model can read them, then drawn ones."""
        self.own = {name: self.open(path) for name, path in self.portraits.items()}
        begun = [self._portrait(name) for name in self.own]
        for seed in START_SEEDS[: 4 - len(begun)]:
            key, face = f"start-{seed}", self.place(self._drawn(seed))
            self.own[key] = face
            begun.append(self._shown(face, "Nobody", {"draw": seed}, key))
        return begun

    def begin(self, origins: list[dict | None]) -> list[dict]:
        """Faces that a tab opens with: those of a link, and the first ones in other places."""
        begun = [*self.starting.result()]
        for place, origin in enumerate(origins[:4]):
            with suppress(ValueError, LookupError):  # a link may be written by hand
                if origin:
                    begun[place] = self.add(Added(origin=Origin(**origin)))
        return begun[: len(origins)]

    def add(self, request: Added) -> dict:
        """Read a face and keep it; what the page shows of it."""
        if request.photo is not None:
            photo = base64.b64decode(request.photo.partition("base64,")[2])
            if len(photo) > MAX_PHOTO_BYTES:
                raise CannotDo(f"Send a photo of less than {MAX_PHOTO_BYTES // 10**6} MB.")
            return self._shown(self.open(io.BytesIO(photo)), "Your photo")
        origin = request.origin or Origin(draw=random.getrandbits(31))
        if origin.portrait is not None:
            return self._portrait(origin.portrait)
        if origin.spot is not None and self.draw_spot:
            drawn = self.draw_spot(origin.spot)
        else:
            drawn = self._drawn(origin.draw or 0)
        return self._shown(self.place(drawn), "Nobody", origin.model_dump(exclude_none=True))

    def drawable(self, request: OfFace) -> dict:
        """What a tab needs to draw the face by itself: see assets/web/beside.js."""
        face = self.face(request.face)
        numbers = {name: getattr(face, name) for name in ("mean", "condition", "points")}
        return {
            "crop": encode(face.crop_at(self.size()), "PNG", compress_level=1),
            "years": face.years,
            "readings": dict(face.readings),
            **{name: t if t is None else t.squeeze(0).tolist() for name, t in numbers.items()},
        }

    def _drawn(self, seed: int) -> Image.Image:
        """The face of a seed: the first of two, since PyTorch draws a single one in a way that the
        page without a server cannot follow."""
        return self.studio.sample(2, seed)[0]

    def open(self, photo: PhotoLike) -> Face:
        return self.studio.read(open_photo(photo, self.max_side))

    def place(self, drawn: Image.Image) -> Face:
        """The face in a picture that the model drew: where its eyes are is known."""
        landmarks = FRAMINGS[self.studio.framing]
        eyes = None if landmarks is None else landmarks[:2] * drawn.width
        return self.studio.read(drawn, eyes=eyes)

    def _portrait(self, name: str) -> dict:
        return self._shown(self.face(name), name, {"portrait": name}, name)

    def _shown(self, face: Face, name: str, origin: dict | None = None, key: str = "") -> dict:
        if not key:
            key = secrets.token_urlsafe(16)  # nobody else can guess it
            self.kept[key] = time.monotonic() + self.kept_seconds, face
        several = face.faces_found > 1
        notes = [f"{face.faces_found} faces were found: the largest was taken."] if several else []
        notes += [f"{face.warning[0].upper()}{face.warning[1:]}."] if face.warning else []
        if max(face.photo.size) == self.max_side:
            notes.append(f"Photos come back with at most {self.max_side:,} pixels a side.")
        crop = jpeg(face.crop_at(self.size()))
        return {"key": key, "name": name, "origin": origin, "crop": crop, "note": " ".join(notes)}

    def face(self, key: str) -> Face:
        """A kept face; CannotDo where it was forgotten."""
        self.forget()
        if key in self.own:
            return self.own[key]
        if key not in self.kept:
            raise CannotDo(FORGOTTEN)
        return self.kept[key][1]

    def forget(self) -> None:
        """Drop visitors' faces whose time is over, and the oldest of too many."""
        visitors = [*self.kept.items()]
        for place, (key, (until, _)) in enumerate(visitors, MAX_FACES - len(visitors)):
            if place < 0 or until <= time.monotonic():
                self.kept.pop(key, None)

    def _sweep(self) -> None:
        while True:
            time.sleep(SWEEP_SECONDS)
            self.forget()

    def progress(self, job: Key) -> float:
        """The share of an animation that is drawn, 0 before and after."""
        return self.jobs.get(job, 0.0)

    def size(self, height: int = HEIGHT) -> tuple[int, int]:
        """(height, width) of a picture of that height."""
        return height, max(1, round(height * self.columns / self.rows))

    def animation(
        self, request: Animation, frames: Sequence[Callable[[], Image.Image]], name: str, ways: int
    ) -> dict:
        """Frames as a file for the page's `download`; no copy of it stays here.

        Args:
            ways: how often the seconds that the request names; one way is played back, too.
        """
        drawn = []
        try:
            for draw in frames:
                drawn.append(draw())
                self.jobs[request.job] = len(drawn) / len(frames)
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, f"{name}.{request.kind.lower()}")
                images.save_animation(drawn, file, ways * request.seconds, pingpong=ways == 1)
                return {"name": file.name, "uri": data_uri(file.read_bytes())}
        finally:
            self.jobs.pop(request.job, None)


class Tab:
    """A tab's server functions: a subclass's methods, each of one request."""

    def __init__(self, session: Session) -> None:
        self.session, self.studio = session, session.studio


@dataclass
class Page:
    """What a tab's builder gets: `build(page)` lays the tab out.

    Attributes:
        places: for Explore's buttons, the places that take a face: name → (label, id of the tab).
    """

    session: Session
    tabs: gr.Tabs
    places: dict[str, tuple[str, str]] = field(default_factory=dict)

    def element(
        self, name: str, live: Sequence[Callable] = (), slow: Sequence[Callable] = (), **props: Any
    ) -> gr.HTML:
        """The custom element of assets/app/NAME.html, which asks the server for all it shows.

        Its `connect(server, trigger, props)` is called once. `server` has the functions, each of
        one request as JSON, done by the live or the slow worker; `trigger("go", data)` sends the
        event `go` of the gr.HTML given back.
        """
        session = self.session
        slow = [session.begin, session.add, session.drawable, *slow]
        functions = [session.live.serves(one) for one in [session.progress, *live]]
        functions += [session.slow.serves(one) for one in slow]
        return gr.HTML(
            html_template=markup(name),
            js_on_load="const events = ['go'];"
            f"element.firstElementChild.connect(answering('{name}', server), trigger, props);",
            server_functions=functions,
            apply_default_css=False,
            portraits=session.thumbnails,
            whole=session.studio.whole_photos,
            side=session.max_side,
            **props,
        )


def markup(name: str) -> str:
    """A file of assets/app/, with the smaller elements in it laid out by files of their own."""
    text = (ASSETS / "app" / f"{name}.html").read_text(encoding="utf-8")
    for part in {"face-input", "strip-player", "morph-pad", "animation-saver"} - {name}:
        if f"</{part}>" in text:
            text = text.replace(f"</{part}>", f"{markup(part)}</{part}>")
    return text


def data_uri(content: bytes, kind: str = "application/octet-stream") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def encode(picture: Image.Image, kind: str, **options: Any) -> str:
    """A picture as a data URI: "JPEG" or "PNG", without metadata."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return data_uri(buffer.getvalue(), f"image/{kind.lower()}")


def jpeg(picture: Image.Image) -> str:
    return encode(picture, "JPEG", quality=92)
