"""Inference: batches against one by one, the first request against later ones, ONNX, the app."""

from __future__ import annotations

import contextlib
import importlib.util
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator

import numpy as np
import torch

import facevae
from facevae.studio import FOLDER
from facevae.synthetic import draw_faces
from tests.benchmarks.common import ROOT, free_port, fresh, said, scratch, table, timed, typical

BATCHES, THREADS, ROUNDS = (1, 8, 33), (1, 2), 3
PORTRAITS = FOLDER.parent / "portraits"


def report() -> None:
    print("## Inference\n", flush=True)
    studio = facevae.Studio.load()
    batches(studio.model)
    onnx(studio.model)
    requests()
    app_start()


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def milliseconds(function: Callable[[], object]) -> str:
    return f"{1000 * typical(function):.1f}"


def batches(model: facevae.FaceVAE) -> None:
    rows = []
    for number in THREADS:
        for count in BATCHES:
            z = torch.randn(count, model.config.latents)
            with threads(number), torch.inference_mode():
                whole = milliseconds(lambda z=z: model.decode(z))
                single = milliseconds(lambda z=z: [model.decode(one) for one in z.split(1)])
            rows.append((f"{count} faces, {number} threads", whole, single))
    said("The shipped decoder, ms for so many faces of 128×128.")
    table(("", "in one call", "one by one"), rows)


def onnx(model: facevae.FaceVAE) -> None:
    """torch against onnxruntime, and how far their answers are apart."""
    wanted = ("onnx", "onnxscript", "onnxruntime")
    if missing := [name for name in wanted if importlib.util.find_spec(name) is None]:
        said(f"ONNX was not measured: `pip install {' '.join(missing)}`.")
        return
    import onnxruntime

    from facevae.onnx_export import export_onnx

    faces, _ = draw_faces(100, model.config.image_shape[1])
    images = torch.from_numpy(faces.transpose(0, 3, 1, 2).copy()).float().div(255)  # (N, C, H, W)
    rows, apart = [], {}
    with scratch() as folder, torch.inference_mode():
        codes = model.encode(images).mean
        paths = export_onnx(model, folder)
        owns = (lambda x: model.encode(x).mean), model.decode
        for path, own, data in zip(paths, owns, (images, codes), strict=True):
            for number in THREADS:
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = number
                session = onnxruntime.InferenceSession(path, options)
                answer = _asked(session, data)
                apart[path.stem] = float(np.abs(answer - own(data).numpy()).max())
                rows += _runtimes(f"{path.stem}, {number} threads", own, session, data, number)
    said("ONNX (`facevae.onnx_export`): the largest difference from torch over 100 drawn faces is "
         + ", ".join(f"{value:.0e} in the {name}'s answer" for name, value in apart.items())
         + " (goal 1e-3). ms:")  # fmt: skip
    table(("", "torch", f"onnxruntime {onnxruntime.__version__}", "times"), rows)


def _asked(session, data: torch.Tensor) -> np.ndarray:
    return session.run(None, {session.get_inputs()[0].name: data.numpy()})[0]


def _runtimes(
    what: str, own: Callable[[torch.Tensor], object], session, data: torch.Tensor, number: int
) -> Iterator[tuple[str, ...]]:
    """A row a batch: torch on so many threads, and a session that was given as many."""
    for count in BATCHES:
        x = data[:count]
        with threads(number):
            one = 1000 * typical(lambda x=x: own(x))
        other = 1000 * typical(lambda x=x: _asked(session, x))
        yield f"{what}, {count} faces", f"{one:.1f}", f"{other:.1f}", f"{one / other:.2f}"


REQUESTS = """
import json, sys, time
import facevae

photos, rows = sys.argv[1:], []
start = time.perf_counter()
studio = facevae.Studio.load()
loaded = time.perf_counter() - start
for i in range(10):
    clock = [time.perf_counter()]
    face = studio.read(photos[i % len(photos)])
    clock.append(time.perf_counter())
    for at in (1.0, 0.9):
        studio.edit(face, {"Smiling": at})
        clock.append(time.perf_counter())
    studio.age(face, 70)
    clock.append(time.perf_counter())
    rows.append([b - a for a, b in zip(clock, clock[1:])])
print(json.dumps([loaded, rows]))
"""


def requests() -> None:
    """A fresh process's first request against its tenth."""
    loaded, rows = fresh(REQUESTS, *sorted(PORTRAITS.glob("*.jpg"))[:2])
    said(f"A fresh `Studio.load()` ({loaded:.2f} s, imports apart), then ten requests, ms. The "
         "app reads its two portraits before it answers: a visitor gets the third.")  # fmt: skip
    names = ("read a photo", "a first edit of the face", "the next step of it", "age")
    table(("", "first", "third", "tenth"),
          [(name, *(f"{1000 * rows[i][column]:.0f}" for i in (0, 2, 9)))
           for column, name in enumerate(names)])  # fmt: skip


def app_start() -> None:
    """From the command to the first page, against importing torch and gradio and the weights."""
    program = "import torch, gradio, facevae; facevae.Studio.load()"
    floors, starts = [], []
    for _ in range(ROUNDS):
        floor = [sys.executable, "-c", program]
        floors.append(
            timed(lambda c=floor: subprocess.run(c, cwd=ROOT, check=True, capture_output=True))
        )
        starts.append(timed_start())
    floor, start = statistics.median(floors), statistics.median(starts)
    said(f"`python app.py`, from the command to the first page; median of {ROUNDS}.")
    table(("", "s", "of the floor"), [
        ("the floor: importing torch and gradio, and the weights", f"{floor:.2f}", ""),
        ("the app", f"{start:.2f}", f"{start / floor:.2f}"),
    ])  # fmt: skip


def timed_start() -> float:
    port, start = free_port(), time.perf_counter()
    command = [sys.executable, "app.py", "--port", str(port)]
    app = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while app.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).read()
                return time.perf_counter() - start
            time.sleep(0.02)
        raise RuntimeError("the app ended before it answered")
    finally:
        app.terminate()
        app.wait()
