"""Thirty visitors at once for a minute: `python tests/visitors.py` (no test; --help).

Each has a photo of its own, a portrait under a tint that no other has, asks one endpoint after the
other and checks that the answer is right for it, against what the studio gives here.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.request
from collections import defaultdict
from pathlib import Path

import numpy as np
from gradio_client import Client, handle_file
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import facevae  # noqa: E402
from facevae.page.desk import PORTRAITS, SIDE  # noqa: E402

PORT = 7877
DETAIL = 1


def own_photo(place: int, folder: Path) -> Path:
    """A portrait, mirrored for every other visitor, in a tint of the visitor's own."""
    photo = Image.open([*PORTRAITS.values()][place % 2]).convert("RGB")
    photo = ImageOps.mirror(photo) if place // 2 % 2 else photo
    scale = 1 - 0.4 * np.random.default_rng(place).random(3)  # of red, green and blue
    tinted = Image.fromarray((np.asarray(photo) * scale).astype(np.uint8))
    tinted.save(folder / f"visitor-{place}.png")
    return folder / f"visitor-{place}.png"


def levels(picture: Image.Image | str) -> np.ndarray:
    picture = picture if isinstance(picture, Image.Image) else Image.open(picture)
    return np.asarray(picture.convert("RGB"), float)


def questions(studio: facevae.Studio, place: int, photo: Path) -> dict[str, tuple]:
    """By endpoint: what the visitor sends, and the right answer."""
    face, seed = studio.read(photo), 1000 + place
    other = studio.read(PORTRAITS["Eileen Collins"])
    wanted, years, t = {"Smiling": 1 - place / 15}, 15 + 2 * place, 0.2 + place / 50
    mine, hers = handle_file(photo), handle_file(PORTRAITS["Eileen Collins"])
    aged = studio.age(face, years, size=SIDE)
    return {
        "/morph": ((mine, hers, t, DETAIL), [studio.morph(face, other, t, size=SIDE)]),
        "/edit": ((mine, wanted, DETAIL), [studio.edit(face, wanted, size=SIDE)]),
        "/age": ((mine, years, DETAIL), [aged]),
        "/sample": ((2, seed), studio.sample(2, seed)),
    }


class Visitor(threading.Thread):
    def __init__(self, place: int, url: str, asked: dict, ends: float, folder: Path) -> None:
        super().__init__()
        self.place, self.url, self.asked, self.ends = place, url, asked, ends
        self.folder = folder
        self.took, self.wrong = defaultdict(list), []

    def run(self) -> None:
        try:
            client = Client(self.url, verbose=False, download_files=str(self.folder))
            names = [*self.asked]
            turn = self.place
            while time.monotonic() < self.ends:
                self.ask(client, names[turn % len(names)])
                turn += 1
        except Exception:
            self.wrong.append(traceback.format_exc(limit=-2))

    def ask(self, client: Client, name: str) -> None:
        given, right = self.asked[name]
        start = time.monotonic()
        answer = client.predict(*given, api_name=name)
        self.took[name].append(time.monotonic() - start)
        files = [face["image"] for face in answer] if isinstance(answer, list) else [answer]
        apart = max(np.abs(levels(a) - levels(b)).max() for a, b in zip(files, right, strict=True))
        if apart > 1:  # a level: the server may use another number of threads
            self.wrong.append(f"visitor {self.place}: {name} is {apart:.0f} levels off")
        for file in files:
            Path(file).unlink()


def resident(pid: int) -> float:
    """MB that a process holds in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def serve(log) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(PORT)]
    server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}", timeout=5).read()
            return server
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the app never came up")


def round_of(visitors: int, seconds: float, url: str, asked: list, folder: Path, pid: int) -> list:
    begins = time.monotonic()
    crowd = [Visitor(i, url, asked[i], begins + seconds, folder) for i in range(visitors)]
    before = resident(pid)
    for visitor in crowd:
        visitor.start()
    for visitor in crowd:
        visitor.join()
    took = defaultdict(list)
    for visitor in crowd:
        for name, times in visitor.took.items():
            took[name] += times
    answers = sum(map(len, took.values()))
    print(f"{visitors} visitors, {time.monotonic() - begins:.0f} s: {answers} answers, "
          f"memory {before:.0f} → {resident(pid):.0f} MB")  # fmt: skip
    for name, times in sorted(took.items()):
        cuts = statistics.quantiles(times, n=20)
        print(f"  {name}: {len(times)}, median {cuts[9]:.2f} s, 95 % within {cuts[18]:.2f} s")
    return [line for visitor in crowd for line in visitor.wrong]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=2, help="memory must be flat after the first")
    asked = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    studio = facevae.Studio.load()
    with tempfile.TemporaryDirectory() as name, open(Path(name, "log"), "w+") as log:
        folder = Path(name)
        own = [own_photo(i, folder) for i in range(asked.visitors)]
        right = [questions(studio, i, photo) for i, photo in enumerate(own)]
        server, wrong = serve(log), []
        try:
            for _ in range(asked.rounds):
                url = f"http://127.0.0.1:{PORT}"
                wrong += round_of(asked.visitors, asked.seconds, url, right, folder, server.pid)
        finally:
            server.terminate()
            server.wait(20)
        log.seek(0)
        told = [line for line in log if "visitor-" in line or "Error" in line]
    print(
        f"{len(wrong)} wrong or missing answers; {len(told)} lines of the log on errors or photos"
    )
    print("".join(wrong[:5] + told[:5]))
    return bool(wrong or told)


if __name__ == "__main__":
    sys.exit(main())
