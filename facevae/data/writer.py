"""Writer of a FaceSet folder: appends batches, resumes after an interruption, ends atomically.

Pixels and rows wait under `.partial`; a batch counts once its line of rows is on the disk. The
manifest is written last: it says that the other files are whole.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facevae.data.archives import BadSource
from facevae.data.face_set import FaceSet, framing_of
from facevae.io import claim, replacing, write_text

PARTIAL = ".partial"


@dataclass(frozen=True)
class Options:
    """What decides the prepared pixels; a folder made with others is not taken for this one."""

    source: str
    path: str
    size: int
    framing: str
    version: int = 1  # raised when the same source would give other pixels
    mask: bool = False
    expose: bool = False

    def match(self, stored: dict[str, Any] | None) -> bool:
        """Whether a manifest stores these, be it of a version before framing, mask or expose."""
        known = {key: value for key, value in (stored or {}).items() if key != "align"}
        defaults = {"mask": False, "expose": False, "framing": framing_of(stored or {})}
        return defaults | known == asdict(self)


@dataclass
class Row:
    """One picture of a source: the shape of its image, or the reason why it was skipped."""

    name: str
    labels: dict[str, Any]
    content: int = 0
    shape: Sequence[int] = ()  # H, W, C
    reason: str = ""


class FaceSetWriter:
    """Appends rows to `out`; those that an interrupted run has left are in `rows` from the start.

    Raises:
        OSError: the folder cannot be written, or its disk is full.
    """

    def __init__(self, out: Path, options: Options) -> None:
        claim(out)
        self.out, self.options, self.rows = out, options, list[Row]()
        self._pixels, self._lines = out / PARTIAL / "images.raw", out / PARTIAL / "rows.jsonl"
        stamp = out / PARTIAL / "options.json"
        if not stamp.is_file() or not options.match(json.loads(stamp.read_text())):
            shutil.rmtree(out / PARTIAL, ignore_errors=True)
            write_text(stamp, json.dumps(asdict(options)))
        end = 0
        for line in self._lines.read_bytes().splitlines(True) if self._lines.is_file() else ():
            if line.endswith(b"\n"):
                self.rows += [Row(*row) for row in json.loads(line)]
                end += len(line)
        size = sum(int(np.prod(row.shape)) for row in self.rows if row.shape)
        for path, length in ((self._lines, end), (self._pixels, size)):
            with open(path, "ab") as file:
                file.truncate(length)  # what a killed run wrote of its last batch

    def add(self, rows: Sequence[Row], images: Sequence[np.ndarray | None]) -> None:
        """Append rows, each with its image (H, W, C) uint8, or None where it was skipped."""
        text = json.dumps([astuple(row) for row in rows], ensure_ascii=False) + "\n"
        try:
            for path, data in (
                (self._pixels, b"".join(i.tobytes() for i in images if i is not None)),
                (self._lines, text.encode()),
            ):
                with open(path, "ab") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise OSError(
                f"{self._pixels.parent} cannot be written ({error.strerror}): make room there, or "
                "choose another folder"
            ) from error
        self.rows += rows

    def finish(self, notes: dict[str, Any]) -> FaceSet:
        """Write the three files of the FaceSet, the manifest with these notes.

        Raises:
            BadSource: no row has an image.
        """
        faces, skipped = [row for row in self.rows if row.shape], dict[str, list[str]]()
        for row in self.rows:
            if not row.shape:
                skipped.setdefault(row.reason, []).append(row.name)
        if not faces:
            first = f"{self.rows[0].name}: {self.rows[0].reason}" if self.rows else "nothing there"
            raise BadSource(f"no face could be prepared; the first one: {first}")
        columns = _columns(faces)
        content = np.array([row.content for row in faces], np.uint64)
        about = {"descr": "|u1", "fortran_order": False, "shape": (len(faces), *faces[0].shape)}
        with replacing(self.out / "images.npy") as temporary, open(temporary, "wb") as file:
            np.lib.format.write_array_header_1_0(file, about)
            with open(self._pixels, "rb") as pixels:
                shutil.copyfileobj(pixels, file, 1 << 24)
        with replacing(self.out / "labels.npz") as temporary, open(temporary, "wb") as file:
            np.savez(file, **{"content": content} | columns)
        manifest = {
            "source": self.options.source.split(":")[0],
            "image_shape": list(faces[0].shape),
            "labels": list(columns),
            "seen": len(self.rows),
            "faces": len(faces),
            "skipped": skipped,
            **notes,
            "skipped_counts": dict(Counter(row.reason for row in self.rows if not row.shape)),
            "duplicates": len(content) - len(np.unique(content)),
            "options": asdict(self.options),
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        write_text(self.out / "manifest.json", text + "\n")
        shutil.rmtree(self.out / PARTIAL)
        return FaceSet(self.out)


def _columns(rows: list[Row]) -> dict[str, np.ndarray]:
    """Names and labels of rows as columns; unknown is −1, or an empty text."""
    names = np.array([row.name for row in rows])
    columns = {"name": names} if names.any() else {}  # drawn faces have none
    for name in dict.fromkeys(itertools.chain(*(row.labels for row in rows))):
        texts = any(isinstance(row.labels.get(name), str) for row in rows)
        column = np.array([row.labels.get(name, "" if texts else -1) for row in rows])
        small = np.float32 if column.dtype.kind == "f" else np.int16
        exact = not texts and np.array_equal(column, column.astype(small))
        columns[name] = column.astype(small) if exact else column
    return columns


def digest(data: bytes) -> int:
    """64 bits that tell pictures apart, of the file as it came.

    Crops differ slightly between libraries and machines, and a split that depended on their
    pixels would not be the same split twice.
    """
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
