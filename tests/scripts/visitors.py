"""Many visitors at once for some minutes: `python tests/scripts/visitors.py` (no test).

Each visitor is a program with a photo in a tint of its own. It asks /edit, /age and /sample of an
app beside it, thinks for a second or two, and compares each answer with what the studio gives here.
Exit 1 where one is of another face, the app's memory grows, or 95 % take longer than LIMIT.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from gradio_client import Client, handle_file
from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from facevae import Studio
from facevae.ui.session import HEIGHT, PORTRAITS

PORT, THINKS, LIMIT = "7877", (1.0, 2.0), 3.0  # seconds between questions; for 95 % of answers
GROWTH = 1.15  # of the memory from half of the time to the end
FAR = 6.0  # levels on average: neighbours in tint are further apart, two codings of a JPEG less
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=300)
    args = parser.parse_args()
    torch.set_num_threads(1)
    studio, memory, stays = Studio.load(), [], []
    pool = ThreadPoolExecutor(args.visitors)
    with tempfile.TemporaryDirectory() as name, open(Path(name, "log"), "w+") as log:
        command = [sys.executable, f"{sys.path[0]}/app.py", "--port", PORT]
        app = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"TMPDIR": name})
        try:
            photos = [own_photo(i, Path(name)) for i in range(args.visitors)]
            faces = [studio.read(photo) for photo in photos]
            while "Running on" not in Path(log.name).read_text():
                assert app.poll() is None, "the app did not come up"
                time.sleep(0.2)
            ends = time.monotonic() + args.seconds
            for photo, face in zip(photos, faces, strict=True):
                right = {"/edit": small(studio.edit(face, {"Smiling": 1.0}, size=HEIGHT)),
                         "/age": small(studio.age(face, 70, size=HEIGHT))}  # fmt: skip
                given = (f"http://127.0.0.1:{PORT}", photo, right, ends)
                stays.append(pool.submit(stay, *given))
            while not all(one.done() for one in stays):
                status = Path(f"/proc/{app.pid}/status").read_text()  # of Linux
                memory.append(int(status.partition("VmRSS:")[2].split()[0]) // 1024)  # MB
                time.sleep(args.seconds / 20)
        finally:
            app.terminate()
            app.wait(60)
        tracebacks = Path(log.name).read_text().count("Traceback")
    for kind, seconds in sorted(took.items()):
        quantiles = np.quantile(seconds, [0.5, 0.95, 1]).round(2)
        print(f"{kind}: {len(seconds)} answers; 50, 95, 100 % of them within", *quantiles, "s")
    print("memory, MB:", *memory)
    print(f"{len(wrong)} wrong, {tracebacks} tracebacks in the log", *wrong[:5], sep="\n")
    late = max(np.quantile(seconds, 0.95) for seconds in took.values()) > LIMIT
    return int(bool(wrong) or late or memory[-1] > GROWTH * memory[len(memory) // 2])


if __name__ == "__main__":
    sys.exit(main())
