"""How fast the app answers in the browser: `python tests/latency.py` (a minute, no test).

Each figure is a median, from the visitor's action to new pixels on the canvas; beside them the
floor, which is Gradio's own round trip for an event that does nothing.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import app  # sets what torch and gradio read when imported

import gradio as gr  # isort: skip

import facevae
from facevae.page import desk

ROUNDS = 7
CANVAS = "document.querySelector('strip-player canvas').toDataURL()"
SCRUB = """async () => {  // two seconds of a drag: frames shown per second, and ms to draw one
    const player = document.querySelector("strip-player"), frame = () => new Promise(requestAnimationFrame);
    const start = await frame();
    let now = start, frames = 0;
    for (; now - start < 2000; frames++) {
        player.position = (1 + Math.sin(frames / 20)) / 2;
        now = await frame();
    }
    return 1000 * frames / (now - start);
}"""  # noqa: E501


def until_new(page: Page, act, state: str) -> float:
    """Milliseconds from `act()` until the JavaScript expression `state` gives something new."""
    old = page.evaluate(state)
    start = time.perf_counter()
    act()
    page.wait_for_function(f"old => {state} !== old", arg=old, polling=5)
    return 1000 * (time.perf_counter() - start)


def app_figures(page: Page) -> None:
    page.wait_for_selector("strip-player[ready]")
    page.evaluate("document.querySelector('strip-player').position = 0.1")
    page.evaluate("new Promise(requestAnimationFrame)")
    photo = page.locator(".first input[type=file]")
    files = [*desk.PORTRAITS.values()][::-1]
    uploads = [until_new(page, lambda f=files[i % 2]: photo.set_input_files(f), CANVAS)
               for i in range(ROUNDS)]  # fmt: skip
    slider = page.get_by_label("range slider for Photo detail")
    steps = [until_new(page, lambda: slider.press("ArrowLeft"), CANVAS) for _ in range(ROUNDS)]
    print(f"a photo, from upload to its strip: {statistics.median(uploads):.0f} ms")
    print(f"a step of the detail slider: {statistics.median(steps):.0f} ms")
    print(f"scrubbing: {page.evaluate(SCRUB):.0f} frames/s, no request")
    page.get_by_label("4", exact=True).check()
    page.wait_for_selector("morph-pad[ready]")
    live_figure(page, "a step on the pad of four faces", "morph-pad canvas", "morph-pad .pad")
    page.get_by_role("tab", name="Edit").click()
    page.wait_for_selector("face-editor[ready]")
    smile = "#edit-Smiling"
    live_figure(page, "a step of the smile", "face-editor .after", smile, "ArrowLeft")
    page.get_by_role("tab", name="Explore").click()
    page.wait_for_selector("face-explorer[ready] .plane img[src]")
    live_figure(page, "a step on the map", "face-explorer .preview", "face-explorer .plane")
    page.get_by_role("tab", name="Learn").click()
    page.wait_for_selector("vae-machine[ready]")
    first = "vae-machine .latents label input"
    live_figure(page, "a step of a latent", "vae-machine .out canvas", first, "ArrowRight")


def live_figure(page: Page, what: str, canvas: str, control: str, key="ArrowUp") -> None:
    """Of a control that is answered by a server function."""
    state = f"document.querySelector('{canvas}').toDataURL()"
    page.wait_for_timeout(500)
    handle = page.locator(control).first
    times = [until_new(page, lambda: handle.press(key), state) for _ in range(ROUNDS)]
    print(f"{what}: {statistics.median(times):.0f} ms")


def floor_figure(page: Page) -> None:
    button, said = (
        page.get_by_role("button", name="ask"),
        "document.querySelector('.said').innerText",
    )
    page.wait_for_selector(".said")
    asks = [until_new(page, button.click, said) for _ in range(ROUNDS)]
    print(f"the floor, an empty Gradio event: {statistics.median(asks):.0f} ms")


def main() -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with gr.Blocks() as empty:
        said = gr.HTML("0", elem_classes="said")
        gr.Button("ask").click(lambda n: str(int(n) + 1), said, said, show_progress="hidden")
    aside = {"prevent_thread_lock": True, "quiet": True}
    _, studio_url, _ = app.launch(app.build(facevae.Studio.load()), **aside)
    _, empty_url, _ = empty.launch(**aside)
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for url, figures in ((studio_url, app_figures), (empty_url, floor_figure)):
            page = browser.new_page()
            page.goto(url)
            figures(page)
        browser.close()


if __name__ == "__main__":
    main()
