"""How tests make prepared faces, and look at folders and at what was said."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from facevae.data.face_set import FaceSet


def write_faces(folder: Path, images: Any, about: dict, **labels: Any) -> FaceSet:
    """Prepared faces of levels (N, H, W, C) from 0 to 255; `about` is the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", np.asarray(images).clip(0, 255).round().astype(np.uint8))
    labels = {"content": np.arange(len(images), dtype=np.uint64)} | labels
    np.savez(folder / "labels.npz", **labels)
    (folder / "manifest.json").write_text(json.dumps(about))
    return FaceSet(folder)


def snapshot(folder: Path) -> dict[Path, bytes]:
    """Each file's path → its bytes."""
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def one_sentence(caught: object, words: str) -> None:
    """What an exception (of pytest.raises) or a text says: one line, with these words in it."""
    said = str(getattr(caught, "value", caught))
    assert words in said and "\n" not in said.strip() and len(said) < 600, said
