"""How fast things are: `python tests/scripts/bench.py > assets/benchmarks.md` (minutes)."""

import contextlib
import io
import os
import platform
import sys
import tempfile
import timeit
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import facevae
from facevae.imaging.images import save_animation
from facevae.ui.session import PORTRAITS

FACES, FRAMES = 600, 46  # of an epoch, of an animation
RECIPES = ("drawn", "morph-utkface", "aging", "studio")
QUIET = {"progress": False}
Rows = Iterator[tuple[str, float]]


def training(folder: Path) -> Rows:
    """Faces a second in one epoch, validation included, on drawn faces without conditions."""
    plain = ["model.conditions=", "model.film=false", "model.hold=false", "model.age_anchors=",
             "balance=", "epochs=1"]  # fmt: skip
    for name in RECIPES:
        recipe = facevae.RECIPES[name].with_settings(plain)
        side, drawn = recipe.size, folder / f"drawn{recipe.size}"
        faces = facevae.prepare("synthetic", out=drawn, size=side, count=FACES, **QUIET)
        facevae.train(recipe, faces, folder / name, device="cpu", **QUIET)
        seconds = 60 * facevae.read_history(folder / name)[0]["minutes"]
        yield f"{name}, {side}×{side}", len(faces.split()["train"]) / seconds


def studio_steps(folder: Path) -> Rows:
    """Milliseconds of what a visitor waits for, on one thread."""
    torch.set_num_threads(1)
    studio, photo = facevae.Studio.load(), PORTRAITS["Grace Hopper"]
    face, name = studio.read(photo), studio.attributes[0]
    strengths, frames = iter(np.linspace(-1, 1, 100)), [face.crop_at((320, 320))] * FRAMES
    steps = {
        "read a photo": lambda: studio.read(photo),
        "an edit step": lambda: studio.edit(face, {name: float(next(strengths))}),
        "an edit in the whole photo": lambda: studio.edit(face, {name: 1.0}, paste=True),
        "a morph step": lambda: studio.morph(face, face, 0.5),
        "a sample": lambda: studio.sample(1),
        "an age step": lambda: studio.age(face, 70),
        f"{FRAMES} frames of 320 pixels as GIF": lambda: save_animation(frames, folder / "a.gif"),
        f"{FRAMES} frames of 320 pixels as WebP": lambda: save_animation(frames, folder / "a.webp"),
    }
    for step, function in steps.items():
        seconds = timeit.repeat(function, number=1, repeat=12)[2:]  # the first two warm up
        yield step, 1000 * float(np.median(seconds))


def main() -> None:
    print(f"# How fast it is\n\n`python tests/scripts/bench.py`, {datetime.now(UTC):%Y-%m-%d}: "
          f"{os.cpu_count()} cores ({platform.machine()}), {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f} at the start.\n")  # fmt: skip
    for topic in (training, studio_steps):
        print(f"## {topic.__name__.replace('_', ' ').capitalize()}\n\n{topic.__doc__}\n")
        print("| | |\n| --- | ---: |")
        with tempfile.TemporaryDirectory() as name, contextlib.redirect_stderr(io.StringIO()):
            for what, figure in topic(Path(name)):
                print(f"| {what} | {figure:.1f} |", flush=True)
        print()


if __name__ == "__main__":
    main()
