"""The Edit tab: one face, and a slider for each attribute that the model can change.

The page holds the sliders and their history, the server only the face: each request names all
strengths, 1 for having an attribute and −1 for not having it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from PIL import Image
from pydantic import Field

from facevae import Face
from facevae.ui.session import HEIGHT, OfFace, Page, Request, Tab, Unit, encode, jpeg

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
KNOWN = {name for group in GROUPS.values() for name in group}
Strength = Annotated[float, Field(ge=-MAX_STRENGTH, le=MAX_STRENGTH)]


def groups(attributes: tuple[str, ...]) -> list[dict]:
    """The sliders as the page lays them out; attributes that it does not know come last."""
    others = {name: name.replace("_", " ").capitalize() for name in attributes if name not in KNOWN}
    found = []
    for title, names in (GROUPS | {"More": others}).items():
        rows = [{"name": name, "label": text, "ends": ENDS.get(name)}
                for name, text in names.items() if name in attributes]  # fmt: skip
        found += [{"title": title, "rows": rows}] if rows else []
    return found


class Redraw(OfFace):
    strengths: dict[str, Strength]
    locked: list[str]
    detail: Unit
    method: Literal["mean", "balanced"]


class Keep(Redraw):
    whole: bool


class Average(Request):
    name: str


class Edit(Tab):
    def look(self, request: OfFace) -> dict:
        """What the page begins a new face with: what the model sees, and its readings of the
        face's own attributes, from −1 to 1."""
        face = self.session.face(request.face)
        return {"seen": jpeg(self.studio.reconstruct(face)), "own": self._now(face)}

    def redraw(self, request: Redraw) -> dict:
        """The edited face, and its attributes as the model is given them now."""
        face = self.session.face(request.face)
        picture = jpeg(self._edited(face, request, HEIGHT))
        return {"picture": picture, "now": self._now(face, request)}

    def keep(self, request: Keep) -> dict:
        """A PNG without metadata: the face alone, or its whole photo."""
        face = self.session.face(request.face)
        own = round(face.alignment.side) if face.alignment else face.photo.height
        height = None if request.whole else max(HEIGHT, min(MAX_FACE_HEIGHT, own))
        picture = self._edited(face, request, height, request.whole)
        name = "edited-photo.png" if request.whole else "edited-face.png"
        return {"name": name, "uri": encode(picture, "PNG")}

    def average(self, request: Average) -> list[str]:
        """The average person without an attribute and with it."""
        return [jpeg(self.studio.average(request.name, has)) for has in (False, True)]

    def _edited(
        self, face: Face, request: Redraw, height: int | None, whole: bool = False
    ) -> Image.Image:
        how = (request.strengths, request.detail, request.method, request.locked)
        return self.studio.edit(face, *how, height, whole)

    def _now(self, face: Face, request: Redraw | None = None) -> dict[str, float]:
        """The attributes that are conditions of the model, from −1 to 1, after an edit."""
        editor, condition = self.studio.editor, face.condition
        if condition is None:
            return {}
        if request:
            how = (request.strengths, request.method, request.locked, face.years)
            condition = editor.moved((face.mean, condition), *how)[1]
        readings = editor.readings(condition)
        return {name: round(2 * readings[name] - 1, 3) for name in editor.columns}


def build(page: Page) -> None:
    tab, studio = Edit(page.session), page.session.studio
    page.element(
        "edit",
        live=[tab.redraw],
        slow=[tab.look, tab.keep, tab.average],
        groups=groups(studio.attributes),
        reach=MAX_STRENGTH,
        methods=bool(studio.editor.directions["balanced"]),
    )
    page.places["edited"] = ("Face to edit", "edit")
