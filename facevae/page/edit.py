"""The Edit tab: one face, and a slider for each attribute.

The page holds the sliders and their history, the server only the face: every wish names all that
is wanted, {"wanted": {attribute: strength}, "locked": [attribute], "detail"}.
"""

from __future__ import annotations

import re
from functools import partial

import gradio as gr

from facevae.page.desk import SIDE, Desk, Sitter, encoded, jpeg, rested
from facevae.page.parts import LATEST, START, Page, Target, face_side, live, of_face

REACH = 1.5  # of a slider, either way: 1 has an attribute, -1 has it not
GROUPS = {
    "Expression": {"Smiling": "Smile", "Mouth_Slightly_Open": "Open mouth"},
    "Hair": {"Bangs": "Fringe", "Black_Hair": "Black hair", "Blond_Hair": "Blond hair",
             "Gray_Hair": "Grey hair", "Bald": "Bald"},
    "Face hair": {"Beard": "Beard", "Mustache": "Moustache"},
    "Look": {"Eyeglasses": "Glasses", "Heavy_Makeup": "Make-up", "Male": "Gender-typical look",
             "Young": "Age impression"},
}  # fmt: skip
ENDS = {"Male": ("feminine", "masculine"), "Young": ("older", "younger")}
LABELS = {name: label for group in GROUPS.values() for name, label in group.items()}


def groups(attributes: tuple[str, ...]) -> list[dict]:
    """The sliders as the page lays them out: those of a studio's attributes."""
    found = []
    for title, labels in GROUPS.items():
        rows = [{"name": name, "label": label, "ends": ENDS.get(name)}
                for name, label in labels.items() if name in attributes]  # fmt: skip
        found += [{"title": title, "rows": rows}] if rows else []
    return found


def in_words(error: ValueError) -> str:
    """What the studio says, with the page's names of the attributes."""
    return re.sub(r"\'?\b([A-Z]\w+)\b\'?", _labelled, str(error))


def _labelled(word: re.Match) -> str:
    return f"“{LABELS[word[1]]}”" if word[1] in LABELS else word[0]


def look(desk: Desk, face: Sitter | None) -> tuple[dict, str]:
    """What the page begins a new face with, and what the model sees of it."""
    if face is None:
        raise rested()
    seen = jpeg(desk.studio.reconstruct(face))
    shown = {"before": jpeg(face.crop_at(SIDE)), "own": desk.studio.guide.strengths(face.mean)}
    return shown, (
        f"<figure><figcaption>What the model sees</figcaption>"
        f'<img src="{seen}" alt="What the model sees"></figure>'
    )


def _asked(wish: dict) -> tuple[dict[str, float], float, list[str]]:
    wanted = {name: min(REACH, max(-REACH, float(at))) for name, at in wish["wanted"].items()}
    return wanted, min(1.0, max(0.0, float(wish["detail"]))), wish["locked"]


def redraw(desk: Desk, face: Sitter, wish: dict) -> dict:
    """The edited face, and how strongly it has each attribute now."""
    wanted, detail, locked = _asked(wish)
    try:
        picture = desk.studio.edit(face, wanted, detail, locked, SIDE)
    except ValueError as error:
        return {"error": in_words(error)}
    code = face.mean + sum(desk.studio.steps(face, wanted, locked).values())
    now = desk.studio.guide.strengths(code) | wanted  # where this face is done sooner: `pace`
    return {"picture": jpeg(picture), "now": now}


def keep(desk: Desk, face: Sitter, wish: dict) -> dict:
    """A PNG to keep, without metadata: the face alone, or its whole photo."""
    wanted, detail, locked = _asked(wish)
    side = None if wish["whole"] else max(SIDE, min(1024, round(face.alignment.side)))
    try:
        picture = desk.studio.edit(face, wanted, detail, locked, side, paste=wish["whole"])
    except ValueError as error:
        return {"error": in_words(error)}
    name = "edited-photo.png" if wish["whole"] else "edited-face.png"
    return {"name": name, "uri": encoded(picture, "PNG")}


def build(page: Page) -> None:
    desk = page.desk
    try:
        rows = groups(desk.studio.attributes)
    except ValueError as error:
        gr.HTML(f"<p>{error}</p>", elem_classes="missing")
        return
    with gr.Row(elem_classes=["one-face", "edit"]):
        with gr.Column(elem_classes="source", min_width=0):
            face, crop, line, changes = face_side(desk, "Face", "edited")
            seen = gr.HTML(elem_classes=["crop", "seen"], apply_default_css=False)
        drawn = of_face(page, desk.live, face, redraw)
        kept = of_face(page, desk.patient, face, keep)
        editor = live("face-editor", drawn, kept, groups=rows, reach=REACH)
    shown = [editor, seen]

    def follow(change: gr.events.Dependency) -> None:
        change.then(desk.patient.of(partial(look, desk)), face, shown, **LATEST)

    def begin(origin: dict | None) -> tuple:
        first, crop = page.recall(origin)
        return first, crop, *look(desk, first)

    opened = "() => linkedFace('edit')"
    begun = page.begins(begin)
    page.blocks.load(begun, gr.JSON(visible=False), [face, crop, *shown], js=opened, **START)
    for change in changes:
        follow(change)
    page.targets["edited"] = Target("Face to edit", "edit", [face, crop, line], follow)
