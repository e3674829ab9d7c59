"""The Morph tab: two faces and a strip to scrub, or three or four and a pad to drag across."""

from __future__ import annotations

from functools import partial

import gradio as gr

from facevae.page.desk import KINDS, RESTED, SAVED_LENGTHS, SAVED_SECONDS, SAVED_SIDES, SIDE
from facevae.page.lanes import understood
from facevae.page.parts import LATEST, OWN, START, Page, Target, face_side, live

SIDES = {"first": "First face", "second": "Second face", "third": "Third face",
         "fourth": "Fourth face"}  # fmt: skip


def build(page: Page) -> None:
    desk = page.desk
    with gr.Row(elem_classes="morph"):
        sides = {area: face_side(desk, label, area) for area, label in SIDES.items()}
        faces = [side[0] for side in sides.values()]
        a, b = faces[:2]
        with gr.Column(elem_classes="stage", min_width=0):
            player = live("strip-player")
            morph_pad(page, faces)
        with gr.Row(elem_classes="controls"):
            many = gr.Radio([2, 3, 4], value=2, label="Faces", elem_classes="many")
            detail = gr.Slider(0, 1, 1, step=0.05, label="Photo detail", buttons=[])
            path = gr.Radio(["linear", "spherical"], value="linear", label="Path",
                            elem_classes="path")  # fmt: skip
            with gr.Row(elem_classes="save"):
                gr.HTML("Save as", apply_default_css=False)
                savers = {kind: gr.Button(kind, min_width=0) for kind in KINDS}
                whole = gr.Button("Photo", min_width=0)
                still = gr.Button("PNG", min_width=0)
                seconds = choice("Length", SAVED_LENGTHS, SAVED_SECONDS, "s")
                side = choice("Size", SAVED_SIDES, SIDE, "px")
    saved, place = gr.JSON(visible=False), gr.JSON(visible=False)

    crops = [side[1] for side in sides.values()]
    shown = [*faces, *crops, player, many, detail, path]
    link = gr.JSON(visible=False)
    work = desk.patient.of
    start = page.begins(partial(begin, page))
    opened = page.blocks.load(start, link, shown, js="() => linkedMorph()", **START)
    opened.then(None, [many, detail], None, js="(many, detail) => beginMorph(+many, detail)")
    path.input(work(desk.strip), [a, b, path], player, **LATEST)
    detail.input(None, detail, None, js="detail => padDetail(detail)")
    many.input(None, many, None, js="many => showFaces(+many)")
    for area, (face, crop, line, changes) in sides.items():
        drawn = [a, b, path] if area in ("first", "second") else None
        follow = partial(_changed, page, drawn, player)
        for change in changes:
            follow(change)
        if area in ("first", "second"):
            page.targets[area] = Target(SIDES[area], "morph", [face, crop, line], follow)
    for kind, button in savers.items():
        wanted = [many, detail, path, seconds, side, *faces]
        made = button.click(work(partial(desk.save, kind)), wanted, saved, **OWN)
        made.success(None, saved, None, js="file => download(file)")
    pasted = whole.click(work(desk.save_photo), [place, detail, path, *faces], saved, **OWN,
                         js="(_, ...wanted) => [placeShown(), ...wanted]")  # fmt: skip
    pasted.success(None, saved, None, js="file => download(file)")
    still.click(None, None, None, js="() => downloadStill()")


def begin(page: Page, link: dict | None) -> tuple:
    """What the page opens with: four faces, their figures, the strip, how many faces it is about,
    its detail and path.

    Of a link {"first" … "fourth", "faces", "detail", "path"} faces come from their origins.
    """
    if not link:
        return *page.desk.opening.result(), gr.skip(), gr.skip(), gr.skip()
    recalled = [page.recall(link.get(side), n) for n, side in enumerate(SIDES)]
    faces, figures = zip(*recalled, strict=True)
    strip = page.desk.strip(faces[0], faces[1], link["path"])
    return *faces, *figures, strip, link["faces"], link["detail"], link["path"]


def choice(label: str, values: tuple, value: float, unit: str) -> gr.Dropdown:
    """One of a few numbers, for an animation."""
    named = [(f"{number} {unit}", number) for number in values]
    return gr.Dropdown(named, value=value, label=label, filterable=False, min_width=0,
                       container=False, elem_classes="choose")  # fmt: skip


def _changed(
    page: Page, wanted: list | None, player: gr.HTML, change: gr.events.Dependency
) -> None:
    """After a face has changed: the strip if it is one of the first two, and the pad."""
    if wanted:
        drawn = page.desk.patient.of(page.desk.strip)
        change = change.then(drawn, wanted, player, **LATEST)
    change.then(None, None, None, js="() => changedFaces()")


def morph_pad(page: Page, faces: list[gr.State]) -> gr.HTML:
    """The pad: weights of the faces in, their blend out, without Gradio's queue between."""

    async def blend(wish: dict, request: gr.Request) -> dict:
        with understood():
            weights, detail = [float(weight) for weight in wish["weights"]], float(wish["detail"])
        held = (await page.held(request, *faces))[: len(weights)]
        if None in held:
            return {"error": RESTED}
        return {"picture": await page.desk.live.soon(page.desk.blend, held, weights, detail)}

    return live("morph-pad", blend)
