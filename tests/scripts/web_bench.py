"""How fast the page without a server is, in headless Chromium: for assets/benchmarks.md.

`python -m facevae export assets/studio --web dist/ && python tests/scripts/web_bench.py dist/`
"""

import argparse
import functools
import shutil
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from playwright.sync_api import sync_playwright

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


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=10_000, help="of a slider, for the memory")
    args = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=args.folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    link = "#%7B%22tab%22%3A%22edit%22%7D"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.set_default_timeout(0)
        for visit in ("first visit", "warm cache"):
            start = time.perf_counter()
            page.goto("about:blank")
            page.goto(url + link)
            page.wait_for_selector("face-editor[ready]")
            print(f"{visit}: first picture after {time.perf_counter() - start:.1f} s")
        print(
            f"threads: {page.evaluate('crossOriginIsolated ? navigator.hardwareConcurrency : 1')}"
        )
        print(f"session.run alone, one thread: {page.evaluate(BARE, 100):.1f} ms")
        for size in (128, 320):
            step = page.evaluate(STEPS, {"count": 100, "size": size})
            print(f"slider step to pixels at {size} px: {step:.1f} ms, {1000 / step:.0f} a second")
        session = page.context.new_cdp_session(page)
        session.send("HeapProfiler.collectGarbage")
        before = held(page)
        page.evaluate(STEPS, {"count": args.steps, "size": 128})
        session.send("HeapProfiler.collectGarbage")
        print(f"memory before and after {args.steps:,} steps: {before:.0f} and {held(page):.0f} MB")
        browser.close()


def held(page: object) -> float:
    """Megabytes of the page and its worker."""
    measured = page.evaluate("performance.measureUserAgentSpecificMemory()")  # type: ignore[attr-defined]
    return measured["bytes"] / 1e6


if __name__ == "__main__":
    main()
