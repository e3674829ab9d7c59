"""The studio in a browser: `python app.py`, or `python app.py --model runs/smile/best` for a model
that you trained.

A tab is a file of `facevae/ui/`, its elements are in `assets/app/`.
"""

from __future__ import annotations

import argparse
import html
import importlib.util
import os
import signal
import sys
import tempfile
from typing import Any

# Read when gradio and torch are imported. Threads that wait must not spin: beside another busy
# program that makes finding a face twenty times slower.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import gradio as gr
import torch
from starlette.middleware import Middleware
from starlette.routing import Mount

from facevae.studio import Studio
from facevae.ui import age, api, edit, explore, learn, morph
from facevae.ui.server import Blocks, Export, Limits
from facevae.ui.session import ASSETS, SCRIPTS, Page, Session

MIN_SIDE, MAX_SIDE = 128, 1600  # of a photo that is kept: 6 MB in memory, and no face loses by it
SWEEP = (60, 60)  # each minute Gradio deletes a program's uploads that are older than a minute

HEADER = """<h1>Face studio</h1>
<p>A variational autoencoder draws the faces between faces: yours, and those of nobody.</p>"""
NOTE = """<p>Photos stay in the memory of the computer that runs this page, and are forgotten within
the hour. For play and teaching, not for identifying or deceiving anyone. The model has learned from
{source}, and knows some kinds of faces better than others.</p>"""


def tabs_of(studio: Studio) -> dict[str, Any]:
    """The tabs for what a model can do: title → builder."""
    tabs = {"Morph": morph.build}
    tabs |= {"Edit": edit.build} if studio.attributes else {}
    tabs |= {"Age": age.build} if studio.can_age else {}
    return tabs | {"Explore": explore.build, "Learn": learn.build}  # Explore offers their places


def build(studio: Studio, max_side: int = MAX_SIDE, **options: Any) -> gr.Blocks:
    """The page; `options` are Session's."""
    session = Session(studio, max_side, **options)
    names = tabs_of(studio)

    def linked(tab: str) -> Any:
        return gr.Tabs(selected=tab) if tab.capitalize() in names else gr.skip()

    with Blocks(title="Face studio", delete_cache=SWEEP) as blocks:
        gr.HTML(HEADER, elem_classes="header")
        with gr.Tabs(elem_classes="tabs") as tabs:
            page = Page(session, tabs)
            for name, build_tab in names.items():
                with gr.Tab(name, id=name.lower()) as tab:
                    build_tab(page)
                tab.select(None, js=f"() => openedTab('{name.lower()}')")
        opened = gr.Textbox(visible=False)
        blocks.load(linked, opened, tabs, js="() => linkedTab()", api_visibility="private",
                    show_progress="hidden", queue=False)  # fmt: skip
        source = html.escape(studio.statistics.source)
        gr.HTML(NOTE.format(source=source), elem_classes="note")
        api.build(session)
    return blocks


def launch(
    page: gr.Blocks, studio: Studio, web: str | None = None, **where: Any
) -> tuple[gr.routes.App, str, str]:
    """Start the page with its look, and with nothing kept or sent that need not be.

    Args:
        web: an export of the model, with which a visitor's browser draws what sliders ask for.
    """
    scripts = [(ASSETS / "app" / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    head = "".join(f"<script>{script}</script>" for script in scripts)
    app_kwargs: dict[str, Any] = {"middleware": [Middleware(Limits)]}
    if web:
        head += '<script src="web/files.js"></script>'
        head += '<script type="module" src="web/page/beside.js"></script>'
        app_kwargs["routes"] = [Mount("/web", Export(directory=web))]
    height, width = studio.model.config.image_shape[1:]
    page.queue(api_open=False)  # a request past the queue would be worked on beside all others
    return page.launch(
        theme=gr.themes.Base(font=("system-ui", "sans-serif")),  # nothing is fetched from elsewhere
        css=f":root {{ --fv-aspect: {width} / {height}; }}",
        css_paths=[ASSETS / "app.css", *sorted((ASSETS / "app").glob("*.css"))],
        head=head,
        footer_links=["api"],
        run_history=False,
        enable_monitoring=False,
        max_file_size="20mb",
        state_session_capacity=100,
        ssr_mode=False,
        app_kwargs=app_kwargs,
        **where,
    )


def mark_for_zero_gpu() -> None:
    """A Space on ZeroGPU starts only if a function is marked for the GPU: one is, and never runs.

    A picture takes the CPU a few milliseconds, less than it takes to be lent a GPU.
    """
    if os.environ.get("SPACES_ZERO_GPU"):
        import spaces  # there wherever that is set

        spaces.GPU(lambda: None)


def whole(low: int, high: int) -> Any:
    """An argument's type: a whole number from low to high."""

    def parse(text: str) -> int:
        if not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be from {low} to {high}, not {text}")
        return int(text)

    return parse


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Play with faces in the browser.")
    add = parser.add_argument
    usual = os.environ.get("FACEVAE_MODEL", str(ASSETS / "studio"))
    add("--model", default=usual, metavar="DIR",
        help="a folder that `python -m facevae train` wrote, such as runs/smile/best, or "
        "hub:owner/name (FACEVAE_MODEL)")  # fmt: skip
    add("--web", default=os.environ.get("FACEVAE_WEB"), metavar="DIR",
        help="a page of the same model, written by `python -m facevae export MODEL --web DIR`: "
        "the sliders are then computed in each visitor's browser (FACEVAE_WEB)")  # fmt: skip
    add("--host", help="address to listen on (GRADIO_SERVER_NAME, else 127.0.0.1)")
    add("--port", type=whole(1, 2**16 - 1),
        help="(GRADIO_SERVER_PORT, else the first free one from 7860)")  # fmt: skip
    add("--share", action="store_true", help="open a public link as well (GRADIO_SHARE)")
    add("--mcp", action="store_true", help="serve agents as well (GRADIO_MCP_SERVER)")
    add("--max-side", type=whole(MIN_SIDE, 2**16),
        default=os.environ.get("FACEVAE_MAX_SIDE", MAX_SIDE),
        help="shrink longer photos to this many pixels (FACEVAE_MAX_SIDE)")  # fmt: skip
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parsed(argv)
    mark_for_zero_gpu()
    try:
        if args.mcp and not importlib.util.find_spec("mcp"):
            raise ValueError("--mcp needs one package more: pip install 'gradio[mcp]'")
        torch.set_num_threads(max(1, torch.get_num_threads() // 2))  # two workers may be busy
        studio = Studio.load(args.model)
        if args.web:
            from facevae import web

            web.check(args.web, studio)
    except (ValueError, OSError) as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that the folder goes then, too
    with tempfile.TemporaryDirectory(prefix="facevae-") as uploads:  # nobody else's to read
        os.environ.setdefault("GRADIO_TEMP_DIR", uploads)
        page = build(studio, args.max_side)
        where = {"server_name": args.host, "server_port": args.port}
        try:
            where |= {"share": args.share or None, "mcp_server": args.mcp or None}
            launch(page, studio, args.web, **where)
        except OSError as error:  # the port is taken
            print(f"app.py: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
