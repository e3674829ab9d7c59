"""Figures, each beside its floor: `python tests/bench.py` (about three minutes, no test).

Training: images/s of the whole loop, data included, against the bare forward-backward-update of
the same network on one batch in memory. Start: time until the app answers, against its imports.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import facevae
from facevae import losses
from facevae.studio import FOLDER

FACES, ROUNDS, PORT = 2048, 3, 7955


def bare_step(recipe: facevae.Recipe, shape: tuple[int, int, int], steps: int = 24) -> float:
    """Images/s of the step alone."""
    config = dataclasses.replace(recipe.model, image_shape=shape)
    model = facevae.FaceVAE(config).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), recipe.lr, weight_decay=0.0)
    images = torch.rand(recipe.batch, *shape).contiguous(memory_format=torch.channels_last)
    for step in range(steps + 2):
        if step == 2:  # two to warm up
            start = time.perf_counter()
        log_likelihood, posterior = model(images)
        loss = losses.negative_elbo(log_likelihood, posterior.kl()).mean()
        optimizer.zero_grad(set_to_none=True)
        (loss / images[0].numel()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
    return steps * recipe.batch / (time.perf_counter() - start)


def whole_loop(recipe: facevae.Recipe, faces: facevae.FaceSet, folder: Path) -> float:
    """Images/s of an epoch of the loop: memory map, conversion, mirroring and checks included."""
    run = sys.modules["facevae.train"]._Run(recipe, faces, folder, torch.device("cpu"))
    run._train_epoch(1, progress=False)
    start = time.perf_counter()
    run._train_epoch(2, progress=False)
    used = len(run.rows["train"]) // recipe.batch * recipe.batch
    return used / (time.perf_counter() - start)


def training(folder: Path) -> None:
    faces = facevae.prepare("synthetic", out=folder / "faces", size=128, count=FACES)
    recipe = facevae.RECIPES["studio"]
    pairs = []
    for _ in range(ROUNDS):  # in turn, so that a drifting machine touches both alike
        pairs.append((whole_loop(recipe, faces, folder), bare_step(recipe, faces.image_shape)))
    loop, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"training at 128×128: {loop:.0f} images/s; the bare step {bare:.0f}; ratio {ratio:.2f}")


def decoding() -> None:
    studio = facevae.Studio.load()
    portraits = FOLDER.parent / "portraits"
    times = []
    studio.read(portraits / "grace_hopper.jpg")
    for _ in range(5):
        start = time.perf_counter()
        a = studio.read(portraits / "grace_hopper.jpg")
        times.append(time.perf_counter() - start)
    b = studio.read(portraits / "eileen_collins.jpg")
    start = time.perf_counter()
    studio.morph_strip(a, b, steps=33, size=320)
    strip = time.perf_counter() - start
    print(f"one face read: {1000 * statistics.median(times):.0f} ms; "
          f"a strip of 33 at 320 pixels: {1000 * strip:.0f} ms")  # fmt: skip


def seconds(*command: str) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def app_start() -> None:
    """From the command to the first page, against importing torch and gradio and the weights."""
    program = "import torch, gradio, facevae; facevae.Studio.load()"
    floors, starts = [], []
    for _ in range(ROUNDS):
        floors.append(seconds(sys.executable, "-c", program))
        start = time.perf_counter()
        app = subprocess.Popen([sys.executable, "app.py", "--port", str(PORT)],
                               stdout=subprocess.DEVNULL)  # fmt: skip
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=1).read()
                break
            except OSError:
                time.sleep(0.02)
        starts.append(time.perf_counter() - start)
        app.terminate()
        app.wait()
    floor, start = statistics.median(floors), statistics.median(starts)
    print(f"app ready in {start:.2f} s; imports and weights alone {floor:.2f} s; "
          f"ratio {start / floor:.2f}")  # fmt: skip


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent.parent)
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        training(Path(folder))
    decoding()
    app_start()
