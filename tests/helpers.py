"""How tests make prepared faces and short runs, and look at folders and at what was said."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facevae import FaceSet, ModelConfig, Recipe

ROOT = Path(__file__).resolve().parent.parent
HARM = b"cos\nsystem\n(S'touch harm'\ntR."  # a pickle that makes a file called harm when loaded
QUIET = {"device": "cpu", "progress": False}
TINY = Recipe("tiny", "a test", ModelConfig(latents=4, channels=(4, 8), dropout=0.1),
              epochs=3, batch=16, flip=True, keep_every=2, schedule="constant")  # fmt: skip


def write_faces(folder: Path, images: Any, about: dict, **labels: Any) -> FaceSet:
    """Prepared faces of levels (N, H, W, C) from 0 to 255; `about` is the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", np.asarray(images).clip(0, 255).round().astype(np.uint8))
    labels = {"content": np.arange(len(images), dtype=np.uint64)} | labels
    np.savez(folder / "labels.npz", **labels)
    (folder / "manifest.json").write_text(json.dumps(about))
    return FaceSet(folder)


def failing(faces: FaceSet, reads: int, fail: Callable) -> FaceSet:
    """The faces, which cannot be read more than so many times: then `fail` is called."""
    left = iter(range(reads))

    class Failing(FaceSet):
        def tensor(self, rows):
            return fail(rows) if next(left, None) is None else super().tensor(rows)

    return Failing(faces.folder)


def encoded(picture: Image.Image | np.ndarray, kind: str = "JPEG", **options: Any) -> bytes:
    """A picture, or its levels, as a file."""
    buffer = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def snapshot(folder: Path) -> dict[Path, bytes]:
    """Each file's path → its bytes."""
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def content(folder: Path) -> dict[str, object]:
    """Each file's name → its bits; of the history and the checkpoint all but the minutes."""
    readers = {".csv": lambda path: [*csv.DictReader(path.open())],
               ".pt": partial(torch.load, weights_only=True)}  # fmt: skip
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {n: flat(readers.get(p.suffix, Path.read_bytes)(p)) for n, p in files.items()}


def flat(value: object) -> object:
    """Tensors as bytes, so that == compares all of them bit by bit; no minutes."""
    if isinstance(value, dict):
        return {key: flat(one) for key, one in value.items() if key != "minutes"}
    if isinstance(value, list):
        return [flat(one) for one in value]
    return value.numpy().tobytes() if isinstance(value, torch.Tensor) else value


def python(*words: object, **options: Any) -> subprocess.CompletedProcess:
    """Python in a process of its own, in the checkout."""
    options = {"capture_output": True, "text": True, "cwd": ROOT} | options
    return subprocess.run([sys.executable, *map(str, words)], **options)


def one_sentence(said: str, words: str) -> None:
    """What is said is one line, with these words in it."""
    assert words in said and "\n" not in said.strip() and len(said) < 600, said


@contextmanager
def refused(error: type[BaseException], *words: str) -> Iterator[pytest.ExceptionInfo]:
    """An error is raised, and what it says is one line with these words in it."""
    with pytest.raises(error) as caught:
        yield caught
    for each in words:
        one_sentence(str(caught.value), each)
