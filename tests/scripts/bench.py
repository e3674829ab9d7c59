"""How fast things are: `python tests/scripts/bench.py > assets/benchmarks.md` (minutes)."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import facevae
from facevae.data.synthetic import draw_faces
from facevae.imaging.images import save_animation
from facevae.training.batches import Batches
from facevae.training.runs import new_model
from facevae.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
PORTRAIT = ROOT / "assets" / "portraits" / "grace_hopper.jpg"
PHOTOS, PHOTO_SHAPE = 200, (218, 178)  # drawn photographs to prepare: CelebA's size
RECIPES = ("drawn", "morph-utkface", "aging", "studio")
FRAMES = 46  # of an animation


def machine() -> str:
    """One line about what the figures were taken on."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):  # Linux alone says it there
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return (f"{os.cpu_count()} cores ({name}), {torch.get_num_threads()} threads, Python "
            f"{platform.python_version()}, torch {torch.__version__}{load}")  # fmt: skip


def median(function: Callable[[], object], rounds: int = 10) -> float:
    """Median seconds of a call, after two that warm up."""
    spent = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        function()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent[2:])


def table(heads: list[str], rows: list[list[str]]) -> None:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    print("\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n", flush=True)


def training(folder: Path) -> None:
    """Faces a second in one epoch of some recipes, on drawn faces without their conditions."""
    rows = []
    for name in RECIPES:
        recipe = facevae.RECIPES[name]
        side = 128 if name == "studio" else 64
        faces = facevae.prepare("synthetic", out=folder / f"drawn{side}", size=side, count=600,
                                progress=False)  # fmt: skip
        plain = ["model.conditions=", "model.film=false", "model.hold=false", "model.age_anchors=",
                 "balance=", "epochs=1"]  # fmt: skip
        recipe = recipe.with_settings(plain)
        batches = Batches(recipe, faces, torch.device("cpu"))
        model = new_model(recipe, faces.image_shape).to(memory_format=torch.channels_last)
        trainer = Trainer(recipe, model, batches, lambda values: values, recipe.seed)
        start = time.perf_counter()
        trainer.epoch()
        rows.append([name, f"{side}×{side}", f"{600 / (time.perf_counter() - start):.0f}"])
    table(["recipe", "size", "faces a second"], rows)


def preparation(folder: Path) -> None:
    """Pictures a second from a folder of photographs to aligned faces, by processes."""
    source = folder / "photos" / "faces"
    source.mkdir(parents=True)
    for i, image in enumerate(draw_faces(PHOTOS, PHOTO_SHAPE)[0]):
        Image.fromarray(image).save(source / f"30_0_0_{i:08d}.jpg", quality=95)
    rows = []
    for workers in sorted({1, os.cpu_count() or 1}):
        start = time.perf_counter()
        facevae.prepare("utkface", source.parent, folder / f"p{workers}", workers=workers,
                        progress=False)  # fmt: skip
        rows.append([str(workers), f"{PHOTOS / (time.perf_counter() - start):.0f}"])
    table(["processes", "pictures a second"], rows)


def studio_steps(folder: Path) -> None:
    """Milliseconds of what a visitor waits for, on one thread."""
    torch.set_num_threads(1)
    studio = facevae.Studio.load()
    face = studio.read(PORTRAIT)
    name = studio.attributes[0]
    strengths = iter(np.linspace(-1, 1, 10_000))
    steps: dict[str, Callable[[], object]] = {
        "read a photo": lambda: studio.read(PORTRAIT),
        "an edit step": lambda: studio.edit(face, {name: float(next(strengths))}),
        "an edit in the whole photo": lambda: studio.edit(face, {name: 1.0}, paste=True),
        "a morph step": lambda: studio.morph(face, face, 0.5),
        "a sample": lambda: studio.sample(1),
    }
    steps |= {"an age step": lambda: studio.age(face, 70)} if studio.can_age else {}
    frames = [face.crop_at((320, 320))] * FRAMES
    for kind in ("gif", "webp"):
        steps[f"{FRAMES} frames of 320 pixels as {kind}"] = lambda kind=kind: save_animation(
            frames, folder / f"a.{kind}"
        )
    table(["step", "milliseconds"], [[n, f"{1000 * median(f):.1f}"] for n, f in steps.items()])


def main() -> None:
    print(f"# How fast it is\n\n`python tests/scripts/bench.py`, {datetime.now(UTC):%Y-%m-%d}: "
          f"{machine()}.\n")  # fmt: skip
    for topic in (training, preparation, studio_steps):
        print(f"## {topic.__name__.replace('_', ' ').capitalize()}\n\n{topic.__doc__}\n")
        with tempfile.TemporaryDirectory() as name, contextlib.redirect_stderr(io.StringIO()):
            topic(Path(name))


if __name__ == "__main__":  # preparation's workers import this file, too
    main()
