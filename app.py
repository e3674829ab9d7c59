"""The studio in a browser: `python app.py`, then play with faces, your own among them.

Layout and wiring only: a tab is a file of `facevae/page/`, the work is done in `facevae`, the look
is `assets/app.css` and `assets/app/*.css`, and what moves without waiting is `assets/app/*.js`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

# Read when gradio and torch are imported. Threads that wait must not spin: beside another busy
# program that makes finding a face twenty times slower.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import gradio as gr
from starlette.middleware import Middleware

import facevae
from facevae.__main__ import within
from facevae.page import age, edit, endpoints, explore, learn, morph
from facevae.page.desk import ASSETS, Desk
from facevae.page.guard import Blocks, Guard
from facevae.page.lanes import share_cores
from facevae.page.parts import Page

TABS = {
    "Morph": morph.build,
    "Edit": edit.build,
    "Age": age.build,
    "Explore": explore.build,  # after those that take a face from it
    "Learn": learn.build,
}
MAX_SIDE = 1600  # of a photo kept for a visitor: 6 MB in memory, and no face loses by it
SIDES = within(128, 2**16)  # a photo smaller than the faces that are drawn shows no face
SWEEP = (60, 60)  # each minute Gradio deletes the uploads older than a minute

HEADER = """<h1>Face studio</h1>
<p>A variational autoencoder draws the faces between faces: yours, and those of nobody.</p>"""
NOTE = """<p>Photos stay on the computer that runs this page and are forgotten within the hour.
For play and teaching, not for identifying or deceiving anyone. The model has learned from UTKFace,
CelebA and All-Age-Faces, for non-commercial research, and knows some kinds of faces better than
others.</p>"""


def build(studio: facevae.Studio, max_side: int = MAX_SIDE) -> gr.Blocks:
    gr.set_static_paths([ASSETS / "app", ASSETS / "portraits"])  # served from where they lie
    desk = Desk(studio, max_side)
    with Blocks(title="Face studio", delete_cache=SWEEP) as blocks:
        gr.HTML(HEADER, elem_classes="header")
        with gr.Tabs(elem_classes="tabs") as tabs:
            page = Page(desk, blocks, tabs)
            for name, build_tab in TABS.items():
                with gr.Tab(name, id=name.lower()):
                    build_tab(page)
        blocks.load(None, None, tabs, js="() => linkedTab()")
        gr.HTML(NOTE, elem_classes="note")
        endpoints.build(desk)
    return blocks


def launch(page: gr.Blocks, **where: Any) -> tuple[gr.routes.App, str, str]:
    """Start the page with its look, and with nothing kept or sent that need not be."""
    scripts = [file.read_text(encoding="utf-8") for file in sorted((ASSETS / "app").glob("*.js"))]
    page.queue(api_open=False)  # a request past the queue would be worked on beside all others
    return page.launch(
        theme=gr.themes.Base(font=("system-ui", "sans-serif")),  # nothing is fetched from elsewhere
        css_paths=[ASSETS / "app.css", *sorted((ASSETS / "app").glob("*.css"))],
        head="".join(f"<script>{script}</script>" for script in scripts),
        footer_links=["api"],
        run_history=False,
        enable_monitoring=False,
        max_file_size="20mb",
        state_session_capacity=100,
        ssr_mode=False,
        app_kwargs={"middleware": [Middleware(Guard)]},
        **where,
    )


def has_mcp() -> bool:
    return importlib.util.find_spec("mcp") is not None


def mark_for_zero_gpu() -> None:
    """A Space on ZeroGPU starts only if a function is marked for the GPU: one is, and never runs.

    A picture takes the CPU a few milliseconds, less than it takes to be lent a GPU.
    """
    if os.environ.get("SPACES_ZERO_GPU"):
        import spaces  # there wherever that is set

        spaces.GPU(lambda: None)


def asked_for(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Play with faces in the browser.")
    add = parser.add_argument
    usual = os.environ.get("FACEVAE_MODEL", ASSETS / "studio")
    add("--model", type=Path, default=usual, metavar="DIR", help="studio folder (FACEVAE_MODEL)")
    add("--host", help="address to listen on (GRADIO_SERVER_NAME, else 127.0.0.1)")
    add("--port", type=within(1, 2**16 - 1),
        help="(GRADIO_SERVER_PORT, else the first free one from 7860)")  # fmt: skip
    add("--share", action="store_true", help="open a public link as well (GRADIO_SHARE)")
    add("--mcp", action="store_true", help="serve agents as well (GRADIO_MCP_SERVER)")
    add("--max-side", type=SIDES, default=os.environ.get("FACEVAE_MAX_SIDE", MAX_SIDE),
        help="shrink longer photos to this many pixels (FACEVAE_MAX_SIDE)")  # fmt: skip
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    asked = asked_for(argv)
    mark_for_zero_gpu()
    try:
        if asked.mcp and not has_mcp():
            raise ValueError("--mcp needs one package more: pip install 'gradio[mcp]'")
        share_cores()
        studio = facevae.Studio.load(asked.model)
    except (ValueError, OSError) as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that the folder goes then, too
    with tempfile.TemporaryDirectory(prefix="facevae-") as uploads:  # nobody else's to read
        os.environ.setdefault("GRADIO_TEMP_DIR", uploads)
        page = build(studio, asked.max_side)
        where = {"server_name": asked.host, "server_port": asked.port}
        try:
            launch(page, share=asked.share or None, mcp_server=asked.mcp or None, **where)
        except OSError as error:  # the port is taken
            print(f"app.py: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
