"""Adding: more pictures into a finished folder; only those that it has not seen are prepared."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from facevae import sources
from facevae.data import FaceSet
from facevae.files import claim
from facevae.prepare import Options, _assemble, _items, _prepared_chunks, _Stream, _write

BESIDE = ".adding"  # within the finished folder: where the new ones wait until they are whole
FILES = ("images.npy", "labels.npz", "manifest.json")  # moved in this order
STEP = 1024  # faces copied at a time


def add(
    source: str,
    path: str | Path | None,
    out: str | Path,
    workers: int | None = None,
    progress: bool = True,
) -> FaceSet:
    """Prepare the pictures of a source that the finished folder `out` has not seen, behind its own.

    A picture is known by its name, be it a face or one that was skipped. Size and treatments are
    those of `out`. Interrupted, the same call goes on; until all is there `out` stays as it was.

    Args:
        source, path: as `prepare` takes them; none that is drawn, and no Frey Face.

    Raises:
        BadSource, NotPrepared: what is wrong and what to do.
    """
    out = Path(out)
    take_in(out)
    faces = FaceSet(out)
    stored = faces.manifest["options"]
    if {source, stored["source"]} & {"synthetic", "frey"}:
        raise sources.BadSource(
            f"{source} cannot be added to {stored['source']}: neither drawn faces nor Frey Face "
            "mix with others; prepare them into a folder of their own"
        )
    where = str(Path(path).resolve()) if path is not None else ""
    options = Options(**stored | {"source": source, "path": where})
    notes: dict = {}
    known = set(faces.labels["name"].tolist()).union(*faces.manifest["skipped"].values())
    items = (item for item in _items(source, path, notes) if item.name not in known)
    first = next(items, None)
    if first is None:
        return faces
    aside = out / BESIDE
    claim(aside)
    chunks = _prepared_chunks(itertools.chain([first], items), aside, options, workers, progress)
    _join(faces, _assemble(aside, options, chunks, notes), aside / "whole", Options(**stored))
    take_in(out)
    return FaceSet(out)


def take_in(out: Path) -> None:
    """Move the joined files, where there are any, into their place; cut short, it is gone on with.

    Without its manifest `out` passes for unfinished, so old and new files are never read together.
    """
    whole = out / BESIDE / "whole"
    if not (whole / "manifest.json").is_file():
        return
    (out / "manifest.json").unlink(missing_ok=True)
    for name in FILES:  # the manifest last, since it says that the others are there
        if (whole / name).is_file():
            os.replace(whole / name, out / name)
    shutil.rmtree(out / BESIDE)


def _join(old: FaceSet, new: FaceSet, folder: Path, options: Options) -> None:
    """Both sets as one in a folder, the old rows first."""
    a, b = old.manifest, new.manifest
    if a.get("classes") != b.get("classes"):
        raise sources.BadSource(
            f"the classes are {b.get('classes')} here and {a.get('classes')} in {old.folder}: "
            "a class's number would mean two things; prepare them into a folder of their own"
        )
    labels = {}
    for name in dict.fromkeys([*old.labels, *new.labels]):
        if name != "content":
            labels[name] = np.concatenate([_column(old, new, name), _column(new, old, name)])
    counts = _notes(a) | _notes(b)
    for key in counts:
        if isinstance(a.get(key), list) and isinstance(b.get(key), list):
            counts[key] = list(dict.fromkeys(a[key] + b[key]))
    counts["seen"], counts["faces"] = a["seen"] + b["seen"], a["faces"] + b["faces"]
    reasons = dict.fromkeys([*a["skipped"], *b["skipped"]])
    counts["skipped"] = {r: a["skipped"].get(r, []) + b["skipped"].get(r, []) for r in reasons}
    came = {"source": b["options"]["source"], "path": b["options"]["path"]}
    counts["added"] = [*a.get("added", []), came]

    def images() -> Iterator[np.ndarray]:
        for faces in (old, new):
            for start in range(0, len(faces), STEP):
                yield faces.images[start : start + STEP]

    shape = (counts["faces"], *old.images.shape[1:])
    _write(folder, options, _Stream(shape, images()), labels, counts)


def _column(faces: FaceSet, other: FaceSet, name: str) -> np.ndarray:
    """A label of these faces; where only the other ones carry it, unknown: −1 or an empty text."""
    if name in faces.labels:
        return faces.labels[name]
    texts = other.labels[name].dtype.kind == "U"
    return np.full(len(faces), "") if texts else np.full(len(faces), -1, np.int16)


def _notes(manifest: dict) -> dict:
    """What a source noted, without what `_write` puts there itself."""
    own = ("source", "image_shape", "labels", "skipped_counts", "duplicates", "options")
    return {key: value for key, value in manifest.items() if key not in own}
