"""What several tabs are made of: their shared context, photo inputs, live elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder, is_in_or_equal
from PIL import Image

from facevae.page.desk import ASSETS, PORTRAITS, RESTED, Desk, Sitter
from facevae.page.lanes import Lane

FORGET = 3600  # seconds after which a visitor's faces are dropped
IN_TURN = {"concurrency_id": "model", "concurrency_limit": 1}  # the last asked is the last shown
OWN: dict[str, Any] = {  # the page's own events
    "api_visibility": "private",
    "show_progress": "hidden",
    **IN_TURN,
}
EVERY = {"trigger_mode": "multiple", **OWN}  # none is dropped while another is at work
LATEST = {"trigger_mode": "always_last", **OWN}  # of a burst the first and the last: none piles up
START = OWN | {"concurrency_id": "opening", "concurrency_limit": 8}  # it is ready, most often
TAMPERED = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)  # with a link


@dataclass(frozen=True)
class Target:
    """A place that takes a face from another tab: Explore shows a button for each.

    Attributes:
        label: of the button, such as "First face".
        tab: the id of the tab that is opened.
        shown: its face state, crop and line to read, which are what `Desk.add` returns.
        follow: attaches to the event what must happen once the face is there.
    """

    label: str
    tab: str
    shown: Sequence[gr.blocks.Block]
    follow: Callable[[gr.events.Dependency], None]


@dataclass
class Page:
    """What a tab's builder gets: `build(page)` lays the tab out and wires it."""

    desk: Desk
    blocks: gr.Blocks
    tabs: gr.Tabs
    targets: dict[str, Target] = field(default_factory=dict)  # by a name of small letters
    draw_spot: Callable[[dict], Image.Image] | None = None  # of the Explore tab

    def recall(self, origin: dict | None, otherwise: int = 1) -> tuple[Sitter, str]:
        """The face of an origin that `figure` wrote, and its figure; else an opening face."""
        with suppress(*TAMPERED):
            if origin and "portrait" in origin:
                name = origin["portrait"]
                return self.desk.add(PORTRAITS[name], None, name)[:2]
            if origin and "draw" in origin:
                return self.desk.draw(int(origin["draw"]))[:2]
            if origin and self.draw_spot:
                return self.desk.place(self.draw_spot(origin), origin)[:2]
        faces = self.desk.opening.result()
        return faces[otherwise], faces[4 + otherwise]

    def begins(self, begin: Callable[[dict | None], tuple]) -> Callable:
        """What a tab opens with, for a link or None: made once for all who come by none."""
        usual = cache(lambda: self.desk.patient.do(begin, None))

        def opened(link: dict | None) -> tuple:
            if link:
                return self.desk.patient.do(begin, link)
            return tuple(map(copy, usual()))  # Gradio takes its updates apart

        return opened

    async def held(self, request: gr.Request, *states: gr.State) -> list:
        """A visitor's states inside a server function, None where they were forgotten.

        Gradio hands such a function the bare request, whose JSON names the visitor's session.
        """
        session = self.blocks.state_holder[(await request.json())["session_hash"]]
        return [session[state._id] for state in states]


def photo_input(label: str, **layout: Any) -> gr.Image:
    photo = gr.Image(label=label, sources=["upload", "webcam", "clipboard"], **layout)
    photo.async_move_resource_to_block_cache = uploaded_before  # type: ignore[method-assign, assignment]
    # untouched: the studio judges it
    take_by(photo, lambda sent: sent and sent.path and uploaded(sent.path))
    return photo


def uploaded(path: str) -> str:
    """The path of an uploaded photo as it is.

    Gradio would take any file's for one if it is not marked as a file's, and fetch what has an
    address elsewhere.
    """
    if not is_in_or_equal(path, get_upload_folder()):
        raise gr.Error("a photo must be uploaded: gradio_client's handle_file does it with a file",
                       print_exception=False)  # fmt: skip
    return path


async def uploaded_before(path: str) -> str:
    return uploaded(path)


def take_by(component: gr.components.Component, preprocess: Callable[[Any], object]) -> None:
    """Have what a visitor sends taken by a function of ours, not by the component's own."""
    component.preprocess = preprocess  # type: ignore[method-assign, assignment]  # of one instance


def live(tag: str, *functions: Callable, events: Sequence[str] = (), **props: Any) -> gr.HTML:
    """A custom element of assets/app/.

    It may define `connect(server, trigger, props)`, called once, and `load(value)`, called with
    every value. `server` has the functions, each taking one JSON value; `trigger(event, data)`
    sends one of the events, which are attributes here.
    """
    return gr.HTML(
        html_template=f"<{tag}></{tag}>",
        js_on_load=f"""
            const events = {list(events)};
            const own = element.querySelector("{tag}");
            own.connect?.(server, trigger, props);
            const show = () => own.load?.(props.value);
            watch("value", show);
            show();""",
        server_functions=list(functions),
        apply_default_css=False,
        **props,
    )


def of_face(
    page: Page, lane: Lane, face: gr.State, answer: Callable[[Desk, Sitter, dict], dict]
) -> Callable:
    """A server function that answers a wish about a visitor's own face."""

    async def ask(wish: dict, request: gr.Request) -> dict:
        [held] = await page.held(request, face)
        if held is None:
            return {"error": RESTED}
        return await lane.soon(answer, page.desk, held, wish)

    ask.__name__ = answer.__name__
    return ask


def face_side(desk: Desk, label: str, area: str) -> tuple[gr.State, gr.HTML, gr.HTML, list]:
    """One face: its crop, over it the input for another, and faces to begin with.

    Returns:
        The face's state, its crop, its line to read, and the events that change it.
    """
    face = gr.State(time_to_live=FORGET)
    with gr.Column(elem_classes=["face", area], min_width=0):
        crop = gr.HTML(elem_classes="crop", apply_default_css=False)
        photo = photo_input(label, elem_classes="photo", container=False)
        with gr.Row(elem_classes="starters"):
            drawn = gr.Button("Random face", icon=ASSETS / "app" / "dice.svg", min_width=0)
            portraits = {n: gr.Button(n, icon=file, min_width=0) for n, file in PORTRAITS.items()}
        line = gr.HTML(elem_classes="line", apply_default_css=False)
    shown = [face, crop, line]
    work = desk.patient.of
    upload = photo.upload(work(desk.add), [photo, face], shown, **EVERY)
    upload.then(None, None, photo, js=f"() => emptyInput('.{area} .photo')")
    changes = [upload, drawn.click(work(desk.draw), None, shown, **EVERY)]
    for name, button in portraits.items():
        portrait = partial(desk.add, PORTRAITS[name], name=name)
        changes.append(button.click(work(portrait), face, shown, **EVERY))
    return face, crop, line, changes
