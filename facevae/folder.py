"""A FaceSet's folder as it is written: packets joined, columns made, the manifest last."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from facevae.data import VERSION, FaceSet
from facevae.files import replacing, write_text
from facevae.sources import BadSource

PARTIAL = ".partial"  # within the folder: where packets wait until all are there


@dataclass(frozen=True)
class Options:
    """What decides the prepared pixels; a folder made with others is not taken for this one."""

    source: str
    path: str
    size: int
    align: bool
    version: int = VERSION
    mask: bool = False
    expose: bool = False

    def made(self, stored: dict | None) -> bool:
        """Whether these are what a manifest stored, be it of a time before the treatments."""
        untreated = {"mask": False, "expose": False}
        return untreated | (stored or {}) == asdict(self)


@dataclass
class Stream:
    """Pictures (N, H, W, C) of this shape that come in parts: memory may not hold them all."""

    shape: tuple[int, ...]
    parts: Iterator[np.ndarray]


def assemble(out: Path, options: Options, chunks: list[Path], notes: dict) -> FaceSet:
    """Join the packets into one memory-mapped array, one packet in memory at a time.

    Raises:
        BadSource: not one packet holds a face.
    """
    abouts = []
    for path in chunks:
        with np.load(path, allow_pickle=False) as packet:
            abouts.append(json.loads(str(packet["about"])))
    names = [name for about in abouts for name in about["names"]]
    if not names:
        first = next((s for about in abouts for s in about["skipped"]), ("nothing", "was there"))
        raise BadSource(f"no face could be prepared; the first one: {first[0]}: {first[1]}")
    filled = next(path for path, about in zip(chunks, abouts, strict=True) if about["names"])
    with np.load(filled, allow_pickle=False) as packet:
        shape = (len(names), *packet["images"].shape[1:])
    rows = [row for about in abouts for row in about["labels"]]
    contents = [one for about in abouts for one in about["contents"]]
    labels = {"name": np.array(names), "content": np.array(contents, np.uint64), **_columns(rows)}
    skipped: dict[str, list[str]] = {}
    for about in abouts:
        for name, reason in about["skipped"]:
            skipped.setdefault(reason, []).append(name)
    seen = sum(map(len, skipped.values())) + len(names)
    counts = {"seen": seen, "faces": len(names), "skipped": skipped, **notes}

    def images() -> Iterator[np.ndarray]:
        for path, about in zip(chunks, abouts, strict=True):
            if about["names"]:
                with np.load(path, allow_pickle=False) as packet:
                    yield packet["images"]

    faces = write(out, options, Stream(shape, images()), labels, counts)
    shutil.rmtree(out / PARTIAL)
    return faces


def write(
    out: Path, options: Options, images: np.ndarray | Stream, labels: dict, counts: dict
) -> FaceSet:
    """The three files of a FaceSet, the manifest last: it says that the others are whole.

    Drawn faces come without the label `content`: it is then made of their pixels.
    """
    hashes = []
    # written, not mapped: where the disk is full a map kills the process without a word
    with replacing(out / "images.npy") as temporary, open(temporary, "wb") as file:
        about = {"descr": "|u1", "fortran_order": False, "shape": images.shape}
        np.lib.format.write_array_header_1_0(file, about)
        for part in images.parts if isinstance(images, Stream) else [images]:
            for face in part:
                data = face.tobytes()
                file.write(data)
                if "content" not in labels:
                    hashes.append(digest(data))
    content = labels.get("content", np.array(hashes, np.uint64))
    with replacing(out / "labels.npz") as temporary, open(temporary, "wb") as file:
        np.savez(file, **{"content": content} | labels)
    manifest = {
        "source": options.source.split(":")[0],
        "image_shape": list(images.shape[1:]),
        "labels": [name for name in labels if name != "content"],
        **counts,
        "skipped_counts": dict(Counter({k: len(v) for k, v in counts["skipped"].items()})),
        "duplicates": len(content) - len(np.unique(content)),
        "options": asdict(options),
    }
    write_text(out / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    return FaceSet(out)


def _columns(rows: list[dict]) -> dict[str, np.ndarray]:
    """A list of label dicts as columns; unknown is −1, or an empty text."""
    columns = {}
    for name in dict.fromkeys(itertools.chain.from_iterable(rows)):
        texts = any(isinstance(row.get(name), str) for row in rows)
        column = np.array([row.get(name, "" if texts else -1) for row in rows])
        small = not texts and np.array_equal(column, column.astype(np.int16))
        columns[name] = column.astype(np.int16) if small else column
    return columns


def digest(data: bytes) -> int:
    """64 bits that tell pictures apart.

    Of the file as it came: crops differ by a hair between libraries and machines, and a split that
    hung on them would not be the same split twice.
    """
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
