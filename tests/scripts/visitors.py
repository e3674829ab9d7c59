"""Many visitors at once for some minutes: `python tests/scripts/visitors.py` (no test).

Each visitor is a program with a photo in a tint of its own. It asks the endpoints /edit, /age and
/sample of an app that runs beside it, thinks for a second or two, and compares each answer with
what the studio gives here: another visitor's face, or an earlier one's, would be noticed. Exit 1
where an answer is wrong, the memory of the app grows, or 95 % of the answers take over LIMIT.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from gradio_client import Client, handle_file
from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from facevae.studio import Studio
from facevae.ui.session import HEIGHT

ROOT = Path(__file__).resolve().parents[2]
PORTRAITS = sorted((ROOT / "assets" / "portraits").glob("*.jpg"))
THINKS = (1.0, 2.0)  # seconds between two questions
LIMIT = 3.0  # seconds, for 95 % of the answers
GROWTH = 1.15  # of the memory from half of the time to the end
FAR = 6.0  # levels on average: neighbours in tint are further apart, two codings of a JPEG less


def own_photo(place: int, folder: Path) -> Path:
    """A portrait, maybe mirrored, in a tint of the place's own."""
    photo = Image.open(PORTRAITS[place % len(PORTRAITS)]).convert("RGB")
    photo = ImageOps.mirror(photo) if place // 2 % 2 else photo
    scale = 1 - 0.5 * np.random.default_rng(place).random(3)  # of red, green and blue
    path = folder / f"{place}.png"
    Image.fromarray((np.asarray(photo) * scale).astype(np.uint8)).save(path)
    return path


def small(picture: Image.Image) -> np.ndarray:
    """What two pictures are compared by: (20, 20, 3) levels."""
    return np.asarray(picture.convert("RGB").resize((20, 20), Image.Resampling.BOX), float)


class Tally:
    """Seconds by question, and what was wrong."""

    def __init__(self) -> None:
        self.took: dict[str, list[float]] = defaultdict(list)
        self.wrong: list[str] = []


def stay(url: str, photo: Path, right: dict[str, np.ndarray], ends: float, tally: Tally) -> None:
    """One visitor, until the time is up."""
    dice, client = random.Random(str(photo)), Client(url, verbose=False)
    questions = {"/edit": (handle_file(photo), {"Smiling": 1.0}, 1.0, False),
                 "/age": (handle_file(photo), 70, 1.0, False), "/sample": (1,)}  # fmt: skip
    while time.monotonic() < ends:
        name = dice.choice([*right, "/sample"])
        start = time.monotonic()
        try:
            answer = client.predict(*questions[name], api_name=name)
            tally.took[name].append(time.monotonic() - start)
            if name in right:
                off = np.abs(small(Image.open(answer)) - right[name]).mean()
                if off > FAR:
                    tally.wrong.append(f"{name} of {photo.stem} is {off:.0f} levels off")
        except Exception as error:
            tally.wrong.append(f"{name} of {photo.stem}: {type(error).__name__}: {error}")
        time.sleep(dice.uniform(*THINKS))


def resident(pid: int) -> float:
    """MB that a process holds in memory (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def started(url: str, process: subprocess.Popen) -> None:
    """Wait until the app answers."""
    import urllib.request

    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.2)
    raise SystemExit("the app did not come up")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--port", type=int, default=7877)
    args = parser.parse_args()
    torch.set_num_threads(1)
    studio, url, tally = Studio.load(), f"http://127.0.0.1:{args.port}", Tally()
    with tempfile.TemporaryDirectory() as name, open(Path(name, "log"), "w+") as log:
        photos = [own_photo(i, Path(name)) for i in range(args.visitors)]
        right = []
        for photo in photos:
            face = studio.read(photo)
            answers = {"/edit": studio.edit(face, {"Smiling": 1.0}, size=HEIGHT)}
            answers |= {"/age": studio.age(face, 70, size=HEIGHT)} if studio.can_age else {}
            right.append({key: small(picture) for key, picture in answers.items()})
        command = [sys.executable, str(ROOT / "app.py"), "--port", str(args.port)]
        environment = os.environ | {"TMPDIR": name}
        app = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            started(url, app)
            ends = time.monotonic() + args.seconds
            stays = [threading.Thread(target=stay, args=(url, photo, answers, ends, tally))
                     for photo, answers in zip(photos, right, strict=True)]  # fmt: skip
            for one in stays:
                one.start()
            memory = []
            while any(one.is_alive() for one in stays):
                memory.append(resident(app.pid))
                time.sleep(args.seconds / 20)
            memory.append(resident(app.pid))
        finally:
            app.terminate()
            app.wait(20)
        log.seek(0)
        tracebacks = log.read().count("Traceback")
    for kind, took in sorted(tally.took.items()):
        cuts = np.quantile(took, [0.5, 0.95, 1])
        print(f"{kind}: {len(took)} answers, median {cuts[0]:.2f} s, 95 % {cuts[1]:.2f} s, "
              f"slowest {cuts[2]:.2f} s")  # fmt: skip
    print("memory, MB:", " ".join(f"{held:.0f}" for held in memory))
    print(
        f"{len(tally.wrong)} wrong, {tracebacks} tracebacks in the log", *tally.wrong[:5], sep="\n"
    )
    late = max(np.quantile(took, 0.95) for took in tally.took.values()) > LIMIT
    return int(bool(tally.wrong) or late or memory[-1] > GROWTH * memory[len(memory) // 2])


if __name__ == "__main__":
    sys.exit(main())
