"""The Age tab: one face through the years, as a strip to scrub and a row of stills.

A request says how old the face is taken to be, which the visitor may correct.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import numpy as np
from PIL import Image

from facevae import Face, Studio
from facevae.ui.session import HEIGHT, Animation, OfFace, Page, Tab, Unit, encode, jpeg

YOUNGEST, OLDEST, STEP = 10, 80, 5  # years, of the strip and between its frames


def ages(studio: Studio) -> list[int]:
    """Ages of the strip's frames: none that the model has not seen."""
    low, high = studio.age_span
    first = max(YOUNGEST, math.ceil(low / STEP) * STEP)
    return [*range(first, min(OLDEST, int(high)) + 1, STEP)]


class Aged(OfFace):
    """`own` is the face's own age in years as the visitor knows it."""

    own: float
    detail: Unit
    method: Literal["condition", "vector"]


class Film(Animation, Aged):
    pass


class Keep(Aged):
    at: float


class Age(Tab):
    def look(self, request: OfFace) -> dict:
        """How old a new face is taken to be."""
        years = self.session.face(request.face).years
        return {"own": round(sum(self.studio.age_span) / 2 if years is None else years)}

    def strip(self, request: Aged) -> dict:
        """The frames at `ages`, for the player and the stills."""
        frames = self._frames(request, ages(self.studio), HEIGHT)
        return {"frames": [jpeg(draw()) for draw in frames]}

    def save(self, request: Film) -> dict:
        """An animation, young to old and back."""
        there = ages(self.studio)
        years = np.linspace(there[0], there[-1], request.frames).tolist()
        frames = self._frames(request, years, request.height)
        return self.session.animation(request, frames, "ageing", ways=1)

    def keep(self, request: Keep) -> dict:
        """The whole photo with the face at an age put back into it, a PNG without metadata."""
        face = self._corrected(request)
        whole = self.studio.age(face, request.at, request.detail, request.method, paste=True)
        return {"name": "aged-photo.png", "uri": encode(whole, "PNG")}

    def _frames(
        self, request: Aged, years: Iterable[float], height: int
    ) -> list[Callable[[], Image.Image]]:
        face, how = self._corrected(request), (request.detail, request.method, height)
        return [partial(self.studio.age, face, age, *how) for age in years]

    def _corrected(self, request: Aged) -> Face:
        """The face, as old as the request says it is."""
        face = self.session.face(request.face)
        own = float(np.clip(request.own, *self.studio.age_span))
        if face.years is not None and own == round(face.years):  # the page shows whole years
            return face
        return self.studio.correct(face, years=own)


def build(page: Page) -> None:
    tab, studio = Age(page.session), page.session.studio
    page.element(
        "age",
        slow=[tab.look, tab.strip, tab.save, tab.keep],
        years=ages(studio),
        span=studio.age_span,
        methods=studio.editor.age_methods,
    )
    page.places["aged"] = ("Face to age", "age")
