"""Many visitors at once for some minutes: `python tests/scripts/visitors.py` (no test).

Each visitor is a program with a photo in a tint of its own. It asks /edit, /age and /sample of an
app beside it, thinks for a second or two, and compares each answer with what the studio gives here.
Exit 1 where one is of another face, the app's memory grows, or 95 % take longer than LIMIT.

With `--sliders` each visitor is a tab of Chromium in which a slider moves, and what that costs the
app is printed; with `--web dist` as well, of an app whose visitors draw by themselves.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from gradio_client import Client, handle_file
from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from facevae import Studio
from facevae.ui.session import HEIGHT, PORTRAITS
from tests.app.chromium import launched

PORT, THINKS, LIMIT = "7877", (1.0, 2.0), 3.0  # seconds between questions; for 95 % of answers
PAUSE = 100  # milliseconds from an answer to a slider's next step
GROWTH = 1.15  # of the memory from half of the time to the end
FAR = 6.0  # levels on average: neighbours in tint are further apart, two codings of a JPEG less
SLIDE = """async ({seconds, pause}) => {
  const editor = document.querySelector("face-editor");
  const asked = {face: editor.input.face.key, locked: [], detail: 1, method: "mean"};
  const ends = performance.now() + 1000 * seconds;
  let steps = 0;
  for (; performance.now() < ends; steps++) {
    const answer = await editor.server.redraw({...asked, strengths: {Smiling: Math.sin(steps)}});
    if (!answer.picture) throw new Error(answer.error);
    await new Promise((done) => setTimeout(done, pause));
  }
  return steps;
}"""
took: dict[str, list[float]] = defaultdict(list)  # seconds by question
wrong: list[str] = []


def own_photo(place: int, folder: Path) -> Path:
    """A portrait, maybe mirrored, in a tint of the place's own."""
    photo = Image.open([*PORTRAITS.values()][place % 2]).convert("RGB")
    photo = ImageOps.mirror(photo) if place // 2 % 2 else photo
    tint = 1 - 0.5 * np.random.default_rng(place).random(3)  # of red, green and blue
    Image.fromarray((np.asarray(photo) * tint).astype(np.uint8)).save(folder / f"{place}.png")
    return folder / f"{place}.png"


def small(picture: Image.Image) -> np.ndarray:
    """What two pictures are compared by: (20, 20, 3) levels."""
    return np.asarray(picture.convert("RGB").resize((20, 20), Image.Resampling.BOX), float)


def stay(url: str, photo: Path, right: dict[str, np.ndarray], ends: float) -> None:
    """One visitor, until the time is up."""
    dice, client = random.Random(str(photo)), Client(url, verbose=False)
    questions = {"/edit": (handle_file(photo), {"Smiling": 1.0}, 1.0, False),
                 "/age": (handle_file(photo), 70, 1.0, False), "/sample": (1,)}  # fmt: skip
    while time.monotonic() < ends:
        name, start = dice.choice([*questions]), time.monotonic()
        try:
            answer = client.predict(*questions[name], api_name=name)
            took[name].append(time.monotonic() - start)
            if name in right and np.abs(small(Image.open(answer)) - right[name]).mean() > FAR:
                wrong.append(f"{name} of {photo.stem} is of another face")
        except Exception as error:
            wrong.append(f"{name} of {photo.stem}: {type(error).__name__}: {error}")
        time.sleep(dice.uniform(*THINKS))


@contextmanager
def running(folder: Path, *options: str) -> Iterator[subprocess.Popen]:
    """The app, with its log in a folder."""
    command = [sys.executable, f"{sys.path[0]}/app.py", "--port", PORT, *options]
    with open(folder / "log", "w") as log:
        where = {"stdout": log, "stderr": log, "env": os.environ | {"TMPDIR": str(folder)}}
        app = subprocess.Popen(command, **where)
        try:
            while "Running on" not in (folder / "log").read_text():
                assert app.poll() is None, "the app did not come up"
                time.sleep(0.2)
            yield app
        finally:
            app.terminate()
            app.wait(300)


def slide(folder: Path, args: argparse.Namespace) -> int:
    """What moving a slider in many tabs costs the app."""
    from playwright.sync_api import sync_playwright

    def worked() -> float:
        """Seconds of a CPU that the app has used; of Linux."""
        fields = Path(f"/proc/{app.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    web, asked = ["--web", args.web] if args.web else [], []
    with running(folder, *web) as app, sync_playwright() as playwright:
        browser = launched(playwright.chromium)
        pages = [browser.new_context().new_page() for _ in range(args.visitors)]
        for page in pages:
            page.set_default_timeout(300_000)
            page.goto(f"http://127.0.0.1:{PORT}/#%7B%22tab%22%3A%22edit%22%7D")
            page.wait_for_selector("face-editor[ready]")
        for page in pages if args.web else ():
            page.wait_for_function("Boolean(window.answerInTab)")
            page.evaluate(SLIDE, {"seconds": 1, "pause": 0})  # the face goes to its tab
            page.wait_for_timeout(2000)
        before = 0.0
        while worked() > before + 0.1:  # until the app has answered what opening a tab asks for
            before = worked()
            time.sleep(2)
        for page in pages:
            page.on("request", lambda one: "component_server" in one.url and asked.append(one))
        given = {"seconds": args.seconds, "pause": PAUSE}
        for page in pages:
            page.evaluate(f"given => {{ window.steps = ({SLIDE})(given) }}", given)
        steps = [page.evaluate("window.steps") for page in pages]
        seconds, hundreds = worked() - before, sum(steps) / 100
        print(f"{args.visitors} tabs, {args.seconds:g} s: {sum(steps)} steps of a slider answered")
        print(f"100 steps: {len(asked) / hundreds:.1f} requests, {seconds / hundreds:.2f} s of CPU")
        browser.close()
    return 0


def ask(folder: Path, args: argparse.Namespace) -> int:
    """Whether programs get their own answers, in time, from an app whose memory stays flat."""
    torch.set_num_threads(1)
    studio, memory, stays = Studio.load(), [], []
    pool = ThreadPoolExecutor(args.visitors)
    photos = [own_photo(i, folder) for i in range(args.visitors)]
    faces = [studio.read(photo) for photo in photos]
    with running(folder) as app:
        ends = time.monotonic() + args.seconds
        for photo, face in zip(photos, faces, strict=True):
            right = {"/edit": small(studio.edit(face, {"Smiling": 1.0}, size=HEIGHT)),
                     "/age": small(studio.age(face, 70, size=HEIGHT))}  # fmt: skip
            stays.append(pool.submit(stay, f"http://127.0.0.1:{PORT}", photo, right, ends))
        while not all(one.done() for one in stays):
            status = Path(f"/proc/{app.pid}/status").read_text()  # of Linux
            memory.append(int(status.partition("VmRSS:")[2].split()[0]) // 1024)  # MB
            time.sleep(args.seconds / 20)
    tracebacks = (folder / "log").read_text().count("Traceback")
    for kind, seconds in sorted(took.items()):
        quantiles = np.quantile(seconds, [0.5, 0.95, 1]).round(2)
        print(f"{kind}: {len(seconds)} answers; 50, 95, 100 % of them within", *quantiles, "s")
    print("memory, MB:", *memory)
    print(f"{len(wrong)} wrong, {tracebacks} tracebacks in the log", *wrong[:5], sep="\n")
    late = max(np.quantile(seconds, 0.95) for seconds in took.values()) > LIMIT
    return int(bool(wrong) or late or memory[-1] > GROWTH * memory[len(memory) // 2])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--sliders", action="store_true", help="visitors are tabs of Chromium")
    parser.add_argument("--web", help="an exported page for the app's --web")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        return (slide if args.sliders else ask)(Path(name), args)


if __name__ == "__main__":
    sys.exit(main())
