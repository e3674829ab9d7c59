"""How fast the page without a server is, in headless Chromium: for assets/benchmarks.md.

`python -m facevae export assets/studio --web dist/ && python tests/scripts/web_bench.py dist/`
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, Playwright, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.app.chromium import camera, launched, serving

PORTRAIT = Path(__file__).parents[2] / "assets" / "portraits" / "eileen_collins.jpg"
STEPS = """async ({count, size}) => {
  const server = document.querySelector("face-editor").server;
  const [{key: face}] = await server.begin([null]);
  const canvas = document.createElement("canvas");
  const times = [];
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    const strengths = {Eyeglasses: Math.sin(i / 9), Smiling: Math.cos(i / 7)};
    const {picture} = await server.redraw({face, strengths, locked: [], detail: 1, size});
    await paint(canvas, picture);
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[count >> 1];
}"""
BARE = """async (count) => {
  const ort = await import("/runtime/ort.wasm.min.mjs");
  const unpacked = async (name) => {
    const packed = (await fetch(name)).body;
    return new Response(packed.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  };
  const wasmBinary = await unpacked("/runtime/ort-wasm-simd-threaded.wasm.packed");
  const wasmPaths = {mjs: location.origin + "/runtime/ort-wasm-simd-threaded.mjs"};
  Object.assign(ort.env.wasm, {wasmBinary, wasmPaths, numThreads: 1});
  const graph = await unpacked("/networks/decoder.onnx.packed");
  const network = await ort.InferenceSession.create(graph, {executionProviders: ["wasm"]});
  const about = await (await fetch("/studio.json")).json();
  const numbers = about.conditions.length + (about.anchors.length || 1) - 1;
  const tensor = (length) => new ort.Tensor("float32", new Float32Array(length), [1, length]);
  const times = [];
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    await network.run({z: tensor(about.latents), y: tensor(numbers)});
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[count >> 1];
}"""
MIRRORED = """seconds => new Promise((done) => {
  let frames = 0;
  const watcher = new MutationObserver(() => frames++);
  const mirror = document.querySelector("face-mirror");
  watcher.observe(mirror, {attributeFilter: ["data-frame"]});
  setTimeout(() => done(frames / seconds), 1000 * seconds);
})"""


def opened(page: Page, url: str, tab: str) -> Page:
    page.set_default_timeout(0)
    page.goto("about:blank")
    page.goto(f"{url}#%7B%22tab%22%3A%22{tab}%22%7D")
    return page


def start(page: Page, url: str) -> None:
    """How long the page takes to its first picture, from the server and from its cache."""
    for visit in ("first visit", "warm cache"):
        begun = time.perf_counter()
        opened(page, url, "edit").wait_for_selector("face-editor[ready]")
        print(f"{visit}: first picture after {time.perf_counter() - begun:.1f} s")


def memory(page: Page, steps: int) -> None:
    """What the page and its worker hold before and after many steps of a slider."""
    held = "performance.measureUserAgentSpecificMemory().then(({bytes}) => bytes / 1e6)"
    page.evaluate(STEPS, {"count": 200, "size": 128})
    before = page.evaluate(held)
    page.evaluate(STEPS, {"count": steps, "size": 128})
    print(f"memory before and after {steps:,} steps: {before:.1f} and {page.evaluate(held):.1f} MB")


def mirror(playwright: Playwright, url: str, seconds: float = 10) -> None:
    """Frames a second with a portrait before the camera."""
    with tempfile.TemporaryDirectory() as folder:
        browser = launched(playwright.chromium, *camera(PORTRAIT, Path(folder)))
        page = opened(browser.new_page(), url, "mirror")
        page.get_by_role("button", name="Open the mirror").click()
        page.wait_for_selector("face-mirror[data-frame]")
        page.wait_for_timeout(2000)
        print(f"the mirror: {page.evaluate(MIRRORED, seconds):.1f} frames a second")
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=10_000, help="of a slider, for the memory")
    args = parser.parse_args()
    with serving(args.folder) as url, sync_playwright() as playwright:
        browser = launched(playwright.chromium, "--enable-blink-features=ForceEagerMeasureMemory")
        page = browser.new_page()
        start(page, url)
        # without its cache's worker a page is not isolated, and WebAssembly has one thread
        alone = opened(browser.new_context(service_workers="block").new_page(), url, "edit")
        alone.wait_for_selector("face-editor[ready]")
        for where, kind in ((alone, "one thread"), (page, "threads")):
            for size in (128, 320):
                step = where.evaluate(STEPS, {"count": 100, "size": size})
                print(f"a slider step at {size} px, {kind}: {step:.1f} ms, {1000 / step:.0f} a s")
        alone.close()
        print(f"session.run alone, one thread: {page.evaluate(BARE, 100):.1f} ms")
        memory(page, args.steps)
        browser.close()
        mirror(playwright, url)


if __name__ == "__main__":
    main()
