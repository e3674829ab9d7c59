"""What the tabs are made of: live elements of assets/app/, and the context that tabs share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from facevae.ui.session import ASSETS, Session


@dataclass
class Page:
    """What a tab's builder gets: `build(page)` lays the tab out.

    Attributes:
        places: for Explore's buttons, the places that take a face: name → (label, id of the tab).
    """

    session: Session
    tabs: gr.Tabs
    places: dict[str, tuple[str, str]] = field(default_factory=dict)

    def element(
        self,
        name: str,
        live: Sequence[Callable[..., Any]] = (),
        slow: Sequence[Callable[..., Any]] = (),
        **props: Any,
    ) -> gr.HTML:
        """The custom element of assets/app/NAME.html, which asks the server for all it shows.

        Its `connect(server, trigger, props)` is called once. `server` has the functions, each of
        one request as JSON, done by the live or the slow worker; `trigger("go", data)` sends the
        event `go` of the gr.HTML given back.
        """
        session = self.session

        live, slow = [session.progress, *live], [session.begin, session.add, *slow]
        functions = [session.live.serves(one) for one in live]
        functions += [session.slow.serves(one) for one in slow]
        return gr.HTML(
            html_template=markup(name),
            js_on_load="const events = ['go'];"
            "element.firstElementChild.connect(server, trigger, props);",
            server_functions=functions,
            apply_default_css=False,
            portraits=session.thumbnails,
            whole=session.studio.whole_photos,
            side=session.max_side,
            **props,
        )


def markup(name: str) -> str:
    """A file of assets/app/, with the smaller elements in it laid out by files of their own."""
    text = (ASSETS / "app" / f"{name}.html").read_text(encoding="utf-8")
    for part in {"face-input", "strip-player", "morph-pad"} - {name}:
        if f"</{part}>" in text:
            text = text.replace(f"</{part}>", f"{markup(part)}</{part}>")
    return text
