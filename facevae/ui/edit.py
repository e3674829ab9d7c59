"""The Edit tab: one face, and a slider for each attribute that the model can change.

The page holds the sliders and their history, the server only the face: each request names all
strengths, 1 for having an attribute and −1 for not having it.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from facevae.imaging.face import Face
from facevae.ui.components import Page
from facevae.ui.session import HEIGHT, OfFace, Request, Unit, encode, jpeg

MAX_STRENGTH = 1.5  # of a slider where nothing reads the face's own strength
MAX_FACE_HEIGHT = 1024  # pixels of a face that is saved
GROUPS = {
    "Expression": {"Smiling": "Smile", "Mouth_Slightly_Open": "Open mouth"},
    "Hair": {"Bangs": "Fringe", "Black_Hair": "Black hair", "Brown_Hair": "Brown hair",
             "Blond_Hair": "Blond hair", "Gray_Hair": "Grey hair", "Bald": "Bald"},
    "Facial hair": {"Beard": "Beard", "Mustache": "Moustache"},
    "Look": {"Eyeglasses": "Glasses", "Heavy_Makeup": "Make-up", "Male": "Gender-typical look",
             "Young": "Age impression"},
}  # fmt: skip
ENDS = {"Male": ("feminine", "masculine"), "Young": ("older", "younger")}
KNOWN = {name: label for group in GROUPS.values() for name, label in group.items()}


def groups(attributes: tuple[str, ...]) -> list[dict]:
    """The sliders as the page lays them out; attributes that it does not know come last."""
    others = {name: name.replace("_", " ").capitalize() for name in attributes if name not in KNOWN}
    found = []
    for title, names in (GROUPS | {"More": others}).items():
        rows = [{"name": name, "label": text, "ends": ENDS.get(name)}
                for name, text in names.items() if name in attributes]  # fmt: skip
        found += [{"title": title, "rows": rows}] if rows else []
    return found


def in_words(error: ValueError) -> ValueError:
    """The studio's sentence with the page's names of attributes."""

    def labelled(word: re.Match) -> str:
        return f"“{KNOWN[word[1]]}”" if word[1] in KNOWN else word[0]

    return ValueError(re.sub(r"\'?\b([A-Z]\w+)\b\'?", labelled, str(error)))


class Redraw(OfFace):
    strengths: dict[str, Annotated[float, Field(ge=-MAX_STRENGTH, le=MAX_STRENGTH)]]
    locked: list[str]
    detail: Unit
    method: Literal["mean", "balanced"]


class Keep(Redraw):
    whole: bool


class Average(Request):
    name: str


class Edit:
    """The tab's server functions."""

    def __init__(self, page: Page) -> None:
        self.session, self.studio = page.session, page.session.studio

    def look(self, request: OfFace) -> dict:
        """What the page begins a new face with: the photo, what the model sees, and its readings
        of the face's own attributes, from −1 to 1."""
        face = self.session.face(request.face)
        return {
            "before": jpeg(face.crop_at(self.session.size())),
            "seen": jpeg(self.studio.reconstruct(face)),
            "own": self._now(face),
        }

    def redraw(self, request: Redraw) -> dict:
        """The edited face, and its attributes as the model is given them now."""
        face = self.session.face(request.face)
        try:
            picture = self.studio.edit(face, request.strengths, request.detail, request.method,
                                       request.locked, HEIGHT)  # fmt: skip
        except ValueError as error:
            raise in_words(error) from None
        return {"picture": jpeg(picture), "now": self._now(face, request)}

    def _now(self, face: Face, request: Redraw | None = None) -> dict[str, float]:
        """The attributes that are conditions of the model, from −1 to 1, after an edit."""
        editor, condition = self.studio.editor, face.condition
        if condition is None:
            return {}
        if request:
            state = (face.mean, condition)
            condition = editor.moved(state, request.strengths, request.method, request.locked,
                                     face.years)[1]  # fmt: skip
        readings = editor.readings(condition)
        return {name: round(2 * readings[name] - 1, 3) for name in editor.columns}

    def keep(self, request: Keep) -> dict:
        """A PNG without metadata: the face alone, or its whole photo."""
        face = self.session.face(request.face)
        height = None
        if not request.whole:
            own = round(face.alignment.side) if face.alignment else face.photo.height
            height = max(HEIGHT, min(MAX_FACE_HEIGHT, own))
        picture = self.studio.edit(face, request.strengths, request.detail, request.method,
                                   request.locked, height, request.whole)  # fmt: skip
        name = "edited-photo.png" if request.whole else "edited-face.png"
        return {"name": name, "uri": encode(picture, "PNG")}

    def average(self, request: Average) -> list[str]:
        """The average person without an attribute and with it."""
        return [jpeg(self.studio.average(request.name, has)) for has in (False, True)]


def build(page: Page) -> None:
    tab, session = Edit(page), page.session
    editor = session.studio.editor
    balanced = any(name not in editor.columns for name in editor.directions["balanced"])
    page.element(
        "edit",
        live=[tab.redraw],
        slow=[tab.look, tab.keep, tab.average],
        groups=groups(session.studio.attributes),
        reach=MAX_STRENGTH,
        methods=balanced,
    )
    page.places["edited"] = ("Face to edit", "edit")
