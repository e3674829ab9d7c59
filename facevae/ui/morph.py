"""The Morph tab: two faces and a strip between them, or three or four and a pad."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from facevae import Face
from facevae.ui import session as s
from facevae.ui.session import HEIGHT, Page, Request, Unit, encode, jpeg

STRIP_FRAMES = 25  # the canvas blends between neighbours
ROUND = {2: (0, 1), 3: (0, 1, 2), 4: (0, 1, 3, 2)}  # from face to face, as the pad plays


class Shown(Request):
    faces: Annotated[list[s.Key], Field(min_length=2, max_length=4)]
    detail: Unit = 1.0
    path: Literal["linear", "spherical"] = "linear"


class Blend(Shown):
    weights: list[Unit]


class Save(s.Animation, Shown):
    pass


class Photo(Shown):
    """`place` is on the way from the first face to the second, or the weights of all."""

    place: Unit | list[Unit]


class Morph(s.Tab):
    def strip(self, request: Shown) -> dict[str, list[str]]:
        """With all of the photos' detail and with none: the page blends the two by itself."""
        a, b = self._faces(request)[:2]

        def frames(detail: float) -> list[str]:
            how = (STRIP_FRAMES, detail, request.path, HEIGHT)
            return [jpeg(frame) for frame in self.studio.morph_strip(a, b, *how)]

        return {"frames": frames(1.0), "plain": frames(0.0)}

    def blend(self, request: Blend) -> dict[str, str]:
        faces = self._faces(request)
        return {"picture": jpeg(self.studio.blend(faces, request.weights, request.detail, HEIGHT))}

    def save(self, request: Save) -> dict[str, str]:
        """An animation from face to face, and back to the first."""
        faces = self._faces(request)
        stops = [faces[place] for place in ROUND[len(faces)]]
        steps = min(s.MAX_FRAMES // len(stops), request.frames) - 1  # the last one comes next
        how = (request.detail, request.path, request.height)
        frames = [
            partial(self.studio.morph, a, b, step / steps, *how)
            for a, b in zip(stops, [*stops[1:], stops[0]], strict=True)
            for step in range(steps)
        ]
        return self.session.animation(request, frames, "morph", ways=len(stops))

    def photo(self, request: Photo) -> dict[str, str]:
        """The first face's whole photo with the morph put back into it, a PNG without metadata."""
        faces, place = self._faces(request), request.place
        if isinstance(place, list):
            whole = self.studio.blend(faces, place, request.detail, paste=True)
        else:
            a, b = faces[:2]
            whole = self.studio.morph(a, b, place, request.detail, request.path, paste=True)
        return {"name": "morph-photo.png", "uri": encode(whole, "PNG")}

    def _faces(self, request: Shown) -> list[Face]:
        return [self.session.face(key) for key in request.faces]


def build(page: Page) -> None:
    tab = Morph(page.session)
    page.element("morph", live=[tab.blend], slow=[tab.strip, tab.save, tab.photo])
    page.places |= {"first": ("First face", "morph"), "second": ("Second face", "morph")}
