"""What the topics share: drawn faces in the forms that programs read, clocks, tables."""

from __future__ import annotations

import functools
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from PIL import Image

import facevae
from facevae.synthetic import draw_faces

ROOT = Path(__file__).resolve().parents[2]
PHOTO = (218, 178)  # height and width of a drawn photograph: CelebA's


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="facevae-bench-") as folder:
        yield Path(folder)


def timed(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def typical(function: Callable[[], object], rounds: int = 20, warm: int = 3) -> float:
    """Median seconds of a call, after some that warm up."""
    for _ in range(warm):
        function()
    return statistics.median(timed(function) for _ in range(rounds))


def fresh(program: str, *arguments: object, launch: Sequence[str] = (), threads: int = 0) -> dict:
    """Run a Python program in a process of its own; the JSON in the last line that it prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    with scratch() as folder:
        (folder / "program.py").write_text(program, encoding="utf-8")
        command = [sys.executable, *launch, folder / "program.py", *map(str, arguments)]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"a program of the benchmark failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def tiled(folder: Path, count: int, size: int, drawn: int = 1024) -> facevae.FaceSet:
    """A prepared folder of `count` faces, `drawn` different ones over and over.

    Each counts as a face of its own, so that the split into three parts is as even as with so
    many different ones. Written to the disk in full, not sparse.
    """
    folder.mkdir(parents=True)
    faces = _drawn(min(drawn, count), size)
    images = open_memmap(folder / "images.npy", "w+", np.uint8, (count, *faces.shape[1:]))
    for start in range(0, count, len(faces)):
        images[start : start + len(faces)] = faces[: count - start]
    images.flush()
    content = np.random.default_rng(0).integers(0, 2**63, count).astype(np.uint64)
    np.savez(folder / "labels.npz", content=content)
    manifest = {"source": "synthetic", "faces": count}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return facevae.FaceSet(folder)


@functools.cache
def _drawn(count: int, size: int) -> np.ndarray:
    return draw_faces(count, size)[0]


def forget(faces: facevae.FaceSet) -> None:
    """Have the system drop what it holds of the images in memory: the next read is of the disk."""
    if hasattr(os, "posix_fadvise"):
        with open(faces.folder / "images.npy", "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def photographs(folder: Path, count: int, drawn: int = 256) -> Path:
    """A folder of drawn JPEGs named as UTKFace names them, in one folder below `folder`:
    `drawn` different ones over and over, each under a name of its own."""
    (folder / "faces").mkdir(parents=True, exist_ok=True)
    files = []
    for image in draw_faces(min(drawn, count), PHOTO)[0]:
        files.append(io.BytesIO())
        Image.fromarray(image).save(files[-1], "JPEG", quality=95)
    for i in range(count):
        path = folder / "faces" / f"30_0_0_{i:08d}.jpg"
        path.write_bytes(files[i % len(files)].getvalue())
    return folder


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table; the first column is text, the others figures."""
    print("| " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * (len(columns) - 1))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)


def said(text: str) -> None:
    """Print a paragraph."""
    print(text + "\n", flush=True)


def exponent(counts: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of log time over log count: 1 where twice as much takes twice as long."""
    return float(np.polyfit(np.log(counts), np.log(seconds), 1)[0])
