"""The Age tab: one face through the years, as a strip to scrub and a row of stills.

A wish is {"own": years, "gender": 0 male or 1 female, "detail"}: how old the face is taken to be,
which the visitor may correct. The server keeps no more than the face.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import gradio as gr
import numpy as np
from PIL import Image

from facevae.page.desk import (
    KINDS,
    SAVED_LENGTHS,
    SAVED_SECONDS,
    SAVED_SIDES,
    SIDE,
    Desk,
    Sitter,
    animation,
    encoded,
    jpeg,
    rested,
    saved_frames,
)
from facevae.page.parts import LATEST, START, Page, Target, face_side, live, of_face
from facevae.studio import Studio

YOUNGEST, OLDEST, STEP = 10, 80, 5  # years, of the strip and between its frames
DECADE = 10  # years between two stills


def ages(studio: Studio) -> list[int]:
    """Of the strip's frames: none that the model has not seen."""
    low, high = studio.guide.curves.span
    youngest = max(YOUNGEST, -(-low // DECADE) * DECADE)  # rounded up
    return [*range(youngest, min(OLDEST, high // DECADE * DECADE) + 1, STEP)]


def look(desk: Desk, face: Sitter | None) -> dict:
    """What the page begins a new face with."""
    if face is None:
        raise rested()
    assert face.years is not None  # the tab is there only with a guide, who reads them
    return {"crop": jpeg(face.crop_at(SIDE)), "own": round(face.years), "gender": face.gender}


def corrected(desk: Desk, face: Sitter, wish: dict) -> tuple[Sitter, float]:
    """The face as old and of the gender that the wish says, and the wished detail."""
    assert face.years is not None  # as above
    low, high = desk.studio.guide.curves.span
    own = min(high, max(low, float(wish["own"])))
    if own == round(face.years):  # not corrected: the page shows whole years
        own = face.years
    detail = min(1.0, max(0.0, float(wish["detail"])))
    return replace(face, years=own, gender=int(bool(wish["gender"]))), detail


def aged(
    desk: Desk, face: Sitter, wish: dict, years: Iterable[float], side: int = SIDE
) -> Iterator[Image.Image]:
    face, detail = corrected(desk, face, wish)
    for age in years:
        yield desk.studio.age(face, float(age), detail, side)


def strip(desk: Desk, face: Sitter, wish: dict) -> dict:
    """The frames at `ages`, for the player and the stills."""
    return {"frames": [jpeg(frame) for frame in aged(desk, face, wish, ages(desk.studio))]}


def animate(desk: Desk, face: Sitter, wish: dict) -> dict:
    """An animation of the wish's "kind", young to old and back.

    It takes the wish's "seconds" one way and has pictures of "side" pixels.
    """
    seconds, side = wish["seconds"], wish["side"]
    if seconds not in SAVED_LENGTHS or side not in SAVED_SIDES:
        raise ValueError("this is a length or a size that the page does not offer")
    there = ages(desk.studio)
    years = np.linspace(there[0], there[-1], saved_frames(seconds))
    frames = [*aged(desk, face, wish, years, side)]
    return animation(frames, f"ageing.{wish['kind'].lower()}", seconds)


def keep(desk: Desk, face: Sitter, wish: dict) -> dict:
    """The whole photo with the face "at" an age put back into it, as a PNG without metadata."""
    face, detail = corrected(desk, face, wish)
    whole = desk.studio.age(face, float(wish["at"]), detail, paste=True)
    return {"name": "aged-photo.png", "uri": encoded(whole, "PNG")}


def build(page: Page) -> None:
    desk = page.desk
    try:
        years = ages(desk.studio)
    except ValueError as error:
        gr.HTML(f"<p>{error}</p>", elem_classes="missing")
        return
    with gr.Row(elem_classes=["one-face", "age"]):
        with gr.Column(elem_classes="source", min_width=0):
            face, crop, line, changes = face_side(desk, "Face", "aged")
        functions = [of_face(page, desk.patient, face, own) for own in (strip, animate, keep)]
        low, high = desk.studio.guide.curves.span
        player = live("face-ages", *functions, years=years, decade=DECADE, span=[low, high],
                      kinds=KINDS, lengths=SAVED_LENGTHS, length=SAVED_SECONDS,
                      sides=SAVED_SIDES, side=SIDE)  # fmt: skip

    def follow(change: gr.events.Dependency) -> None:
        change.then(desk.patient.of(partial(look, desk)), face, player, **LATEST)

    def begin(origin: dict | None) -> tuple:
        first, crop = page.recall(origin)
        return first, crop, look(desk, first)

    opened = "() => linkedFace('age')"
    begun = page.begins(begin)
    page.blocks.load(begun, gr.JSON(visible=False), [face, crop, player], js=opened, **START)
    for change in changes:
        follow(change)
    page.targets["aged"] = Target("Face to age", "age", [face, crop, line], follow)
