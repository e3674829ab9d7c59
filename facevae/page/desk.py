"""What the page asks of the studio: photos and numbers in, pictures ready for a browser out."""

from __future__ import annotations

import base64
import html
import io
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image
from torch import Tensor

import facevae
from facevae import align, pictures
from facevae.page.lanes import Lane
from facevae.page.planes import Planes
from facevae.photo import PhotoLike, open_photo

ASSETS = Path(__file__).resolve().parents[2] / "assets"
PORTRAITS = {
    "Grace Hopper": ASSETS / "portraits" / "grace_hopper.jpg",
    "Eileen Collins": ASSETS / "portraits" / "eileen_collins.jpg",
}
SITTERS = [*PORTRAITS.values()]  # two women
STRANGERS = (36, 56)  # seeds of the third and fourth face to begin with
SIDE = 320  # pixels of a frame, which the canvas scales
FRAMES = 25  # of the strip; the canvas blends between neighbours
KINDS = ("GIF", "WebP", "MP4")
SAVED_LENGTHS, SAVED_SIDES = (1, 2, 4, 8), (160, SIDE, 512)  # seconds one way, and pixels
SAVED_SECONDS = 2  # to begin with
SAVED_RATE, MOST_FRAMES = 12, 120  # frames a second, and in all: more would keep others waiting
ROUND = {2: (0, 1), 3: (0, 1, 2), 4: (0, 1, 3, 2)}  # from face to face round the pad: as the page's
RESTED = "This page has rested for an hour, and your faces were forgotten. Reload it to go on."


def rested() -> gr.Error:
    return gr.Error(RESTED, print_exception=False)


@dataclass(frozen=True, eq=False)
class Sitter(facevae.Face):
    """A face that keeps its crop and its residual: sliders ask for them many times a second."""

    kept: dict = field(default_factory=dict)  # of each the size that was asked for last

    def residual(self, size: int) -> Tensor:
        return self._remembered("residual", size, super().residual)

    def crop_at(self, size: int) -> Image.Image:
        return self._remembered("crop", size, super().crop_at)

    def _remembered(self, what: str, size: int, make: Callable[[int], Any]) -> Any:
        of_size, found = self.kept.get(what, (None, None))
        if of_size != size:
            found = make(size)
            self.kept[what] = size, found
        return found  # not from self.kept: others may ask for another size meanwhile


class Desk:
    """What the page asks of the studio. It remembers nothing of any visitor."""

    def __init__(self, studio: facevae.Studio, max_side: int) -> None:
        self.studio, self.max_side = studio, max_side
        self.live = Lane()  # what follows a finger
        self.patient = Lane(niceness=5)  # photos, strips, files: they may take a second
        self.programs = Lane(niceness=10)
        self.background = ThreadPoolExecutor(1)
        self.opening = self.background.submit(self.open)  # while the server starts
        self.planes = self.background.submit(Planes, studio)
        self.strongest = self.background.submit(lambda: self.planes.result().strongest())

    def open(self) -> tuple:
        """The first four faces, their crops, and the strip between the first two."""
        faces = [self.read(photo) for photo in PORTRAITS.values()]
        for seed in STRANGERS:
            faces.append(self.nobody(self.studio.sample(1, seed)[0]))
        names = (*PORTRAITS, "Nobody", "Nobody")
        origins = (None, None, *({"draw": seed} for seed in STRANGERS))
        return *faces, *map(figure, faces, names, origins), self.strip(faces[0], faces[1])

    def read(self, photo: PhotoLike, eyes: align.Eyes | None = None) -> Sitter:
        face = self.studio.read(open_photo(photo, self.max_side), eyes=eyes)
        own = {"gender": 1} if photo in SITTERS else {}  # the reader errs on one of them
        return Sitter(**vars(face) | own)

    def nobody(self, drawn: Image.Image) -> Sitter:
        """A face that the model drew; where its eyes are is known."""
        return self.read(drawn, eyes=align.FRAME[:2] * drawn.width)

    def add(self, photo: PhotoLike, face: Sitter | None, name: str = "Your photo") -> tuple:
        """The face in a photo, its figure and a line to read; the old face if there is no new."""
        try:
            face = self.read(photo)
        except (facevae.NoFaceFound, facevae.UnreadablePhoto) as error:
            return face, gr.skip(), f"<p>{html.escape(str(error))}</p>"
        said = [f"{face.found} faces seen: the largest was taken."] if face.found > 1 else []
        if max(face.photo.size) == self.max_side:
            said.append(f"Photos come back with at most {self.max_side:,} pixels a side.")
        return face, figure(face, name), f"<p>{' '.join(said)}</p>" if said else ""

    def draw(self, seed: int | None = None) -> tuple:
        """The same for a face that nobody has."""
        seed = random.getrandbits(31) if seed is None else seed
        return self.place(self.studio.sample(1, seed)[0], {"draw": seed})

    def place(self, drawn: Image.Image, origin: dict) -> tuple:
        """The same for one that the model has drawn already; see `figure` for its origin."""
        face = self.nobody(drawn)
        return face, figure(face, "Nobody", origin), ""

    def frames(
        self, steps: int, a: Sitter, b: Sitter, detail: float, path: str, side: int = SIDE
    ) -> list[Image.Image]:
        _awake(a, b)
        return self.studio.morph_strip(a, b, steps, detail=detail, path=path, size=side)

    def strip(self, a: Sitter, b: Sitter, path: str = "linear") -> dict[str, list[str]]:
        """With all of the photos' detail and with none: the page blends the two by itself."""
        kinds = {"frames": 1.0, "plain": 0.0}
        return {
            kind: [jpeg(frame) for frame in self.frames(FRAMES, a, b, detail, path)]
            for kind, detail in kinds.items()
        }

    def save(
        self,
        kind: str,
        many: int,
        detail: float,
        path: str,
        seconds: float,
        side: int,
        *faces: Sitter,
    ) -> dict[str, str]:
        """An animation from face to face, `seconds` each, and back to the first; as a data URI, so
        that no copy stays on the server."""
        stops = [faces[corner] for corner in ROUND[many]]
        path = path if many == 2 else "linear"  # as the pad shows it
        steps, frames = saved_frames(seconds, many), []
        for a, b in zip(stops, [*stops[1:], stops[0]], strict=True):
            frames += self.frames(steps, a, b, detail, path, side)[:-1]  # whose last comes next
        return animation(frames, f"morph.{kind.lower()}", many * seconds, pingpong=False)

    def save_photo(
        self, place: float | list[float], detail: float, path: str, *faces: Sitter
    ) -> dict:
        """The first face's whole photo with the morph put back into it, as a PNG without metadata.

        Args:
            place: on the way from the first face to the second, or the weights of all on the pad.
        """
        held = faces[: len(place) if isinstance(place, list) else 2]
        _awake(*held)
        if isinstance(place, list):
            whole = self.studio.blend(held, place, detail, paste=True)
        else:
            at = min(1.0, max(0.0, place))
            whole = self.studio.morph(held[0], held[1], at, detail, path, paste=True)
        return {"name": "morph-photo.png", "uri": encoded(whole, "PNG")}

    def blend(self, faces: Sequence[Sitter], weights: Sequence[float], detail: float) -> str:
        """Several faces as one, a JPEG's data URI."""
        return jpeg(self.studio.blend(faces, weights, detail, SIDE))


def _awake(*faces: Sitter | None) -> None:
    if None in faces:
        raise rested()


def saved_frames(seconds: float, ways: int = 2) -> int:
    """Frames of one of an animation's ways, which takes so long."""
    return min(MOST_FRAMES // ways, round(SAVED_RATE * seconds))


def animation(
    frames: list[Image.Image], name: str, seconds: float, pingpong: bool = True
) -> dict[str, str]:
    """Frames, there and back if wanted, as a file for the page's `download`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        pictures.save_animation(frames, file, seconds, pingpong)
        return {"name": name, "uri": data_uri(file.read_bytes())}


def data_uri(content: bytes, kind: str = "application/octet-stream") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def encoded(picture: Image.Image, kind: str, **how: Any) -> str:
    """A picture as a data URI: "JPEG" or "PNG"."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **how)
    return data_uri(buffer.getvalue(), f"image/{kind.lower()}")


def jpeg(picture: Image.Image) -> str:
    return encoded(picture, "JPEG", quality=92)


def figure(face: facevae.Face, name: str, origin: dict | None = None) -> str:
    """A face with its name, and for links its origin: what `Page.recall` makes it from again.

    A visitor's own photo has none.
    """
    if name in PORTRAITS:
        origin = {"portrait": name}
    noted = f" data-origin='{html.escape(json.dumps(origin))}'" if origin else ""
    crop = f'<img src="{jpeg(face.crop_at(SIDE))}" alt="{name}">'
    return f"<figure{noted}><figcaption>{name}</figcaption>{crop}</figure>"
