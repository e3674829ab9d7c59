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
            many = gr.Radio(["2", "3", "4"], value="2", label="Faces", elem_classes="many")
            detail = gr.Slider(0, 1, 1, step=0.05, label="Photo detail", buttons=[])
            path = gr.Radio(["linear", "spherical"], value="linear", label="Path",
                            elem_classes="path")  # fmt: skip
            with gr.Row(elem_classes="save"):
                gr.HTML("Save as", apply_default_css=False)
                savers = {kind: gr.Button(kind, min_width=0, elem_classes="two") for kind in KINDS}
                whole = gr.Button("Photo", min_width=0, elem_classes="two")
                still = gr.Button("PNG", min_width=0)
                seconds = choice("Length", SAVED_LENGTHS, SAVED_SECONDS, "s")
                side = choice("Size", SAVED_SIDES, SIDE, "px")
    saved, position = gr.JSON(visible=False), gr.Number(visible=False)

    crops = [side[1] for side in sides.values()]
    shown = [*faces, *crops, player, detail, path]
    link = gr.JSON(visible=False)
    work = desk.patient.of
    start = page.begins(partial(begin, page))
    opened = page.blocks.load(start, link, shown, js="() => linkedMorph()", **START)
    begun = "detail => { padDetail(detail); changedFaces(); }"
    opened.then(None, detail, None, js=begun)
    wanted = [a, b, detail, path]
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
        made = button.click(work(partial(desk.save, kind)), [*wanted, seconds, side], saved, **OWN)
        made.success(None, saved, None, js="file => download(file)")
    pasted = whole.click(work(desk.save_photo), [*wanted, position], saved, **OWN,
                         js="(...wanted) => [...wanted.slice(0, 4), stripPosition()]")  # fmt: skip
    pasted.success(None, saved, None, js="file => download(file)")
    still.click(None, None, None, js="() => downloadStill()")


def begin(page: Page, link: dict | None) -> tuple:
    """What the page opens with: four faces, their figures, the strip, its detail and path.

    Of a link the first two faces come from its origins, {"first", "second", "detail", "path"}.
    """
    opening = page.desk.opening.result()
    if not link:
        return *opening, gr.skip(), gr.skip()
    first, first_figure = page.recall(link.get("first"), 0)
    second, second_figure = page.recall(link.get("second"), 1)
    how = link["detail"], link["path"]
    strip = page.desk.strip(first, second, link["path"])
    return first, second, *opening[2:4], first_figure, second_figure, *opening[6:8], strip, *how


def choice(label: str, values: tuple, value: float, unit: str) -> gr.Dropdown:
    """One of a few numbers, for an animation."""
    named = [(f"{number} {unit}", number) for number in values]
    return gr.Dropdown(named, value=value, label=label, filterable=False, min_width=0,
                       container=False, elem_classes=["two", "choose"])  # fmt: skip


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
