"""Adding: more pictures into a finished folder; only those that it has not seen are prepared."""

from __future__ import annotations

import itertools
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from facevae import packets, sources
from facevae.data import FaceSet
from facevae.files import claim
from facevae.folder import Options, Stream, assemble, digest, write
from facevae.prepare import items_of

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

    A picture is known, be it a face or one that was skipped, by its name among those of the same
    source and path. Of another place (two archives may both hold a `smile/1.jpg`) every picture is
    prepared, and left out where a face of the same name and the same pixels is there: the archive
    was moved or copied. Size and treatments are those of `out`. Interrupted, the same call goes
    on; until all is there `out` stays as it was.

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
    known = _known(faces, {"source": source, "path": where})
    items = (item for item in items_of(source, path, notes) if item.name not in known)
    first = next(items, None)
    if first is None:
        return faces
    aside = out / BESIDE
    claim(aside)
    chunks = packets.prepared(itertools.chain([first], items), aside, options, workers, progress)
    _join(faces, assemble(aside, options, chunks, notes), aside / "whole", Options(**stored))
    take_in(out)
    return FaceSet(out)


def _known(faces: FaceSet, place: dict[str, str]) -> set[str]:
    """Names of the pictures that these faces were offered from a source and path before.

    Sets of before the additions were counted do not say which face came from which of their
    places; but at that time no name was taken twice, so each place knows the names of all.
    """
    about, names = faces.manifest, faces.labels["name"].tolist()
    skipped = Counter(itertools.chain(*about["skipped"].values()))
    known: set[str] = set()
    uncounted = [about["options"]]  # the places that share all rows which no count claims
    for came in reversed(about.get("added", [])):
        if "faces" not in came:
            uncounted.append(came)
            continue
        start = len(names) - came["faces"]
        if _same(came, place):
            known.update(names[start:], came["skipped"], came["there"])
        del names[start:]
        skipped.subtract(came["skipped"])
    if any(_same(other, place) for other in uncounted):
        known.update(names, +skipped)
    return known


def _same(one: dict, other: dict) -> bool:
    return (one["source"], one["path"]) == (other["source"], other["path"])


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
    """Both sets as one in a folder, the old rows first, of the new ones those that it lacks."""
    a, b = old.manifest, new.manifest
    if a.get("classes") != b.get("classes"):
        raise sources.BadSource(
            f"the classes are {b.get('classes')} here and {a.get('classes')} in {old.folder}: "
            "a class's number would mean two things; prepare them into a folder of their own"
        )
    lacking = _lacking(old, new)
    labels = {}
    for name in dict.fromkeys([*old.labels, *new.labels]):
        added = _column(new, old, name)[lacking]
        labels[name] = np.concatenate([_column(old, new, name), added])
    counts = _counts(a, b, new.labels["name"][~lacking].tolist())

    def images() -> Iterator[np.ndarray]:
        for faces, wanted in ((old, np.ones(len(old), bool)), (new, lacking)):
            for start in range(0, len(faces), STEP):
                yield faces.images[start : start + STEP][wanted[start : start + STEP]]

    shape = (counts["faces"], *old.images.shape[1:])
    write(folder, options, Stream(shape, images()), labels, counts)


def _counts(a: dict, b: dict, there: list[str]) -> dict:
    """What the manifests of both sets count and note, as one: `there` are the names of the new
    set's faces that the old one holds. Each addition is told apart, for `_known`.
    """
    counts = _notes(a) | _notes(b)
    for key in counts:
        if isinstance(a.get(key), list) and isinstance(b.get(key), list):
            counts[key] = list(dict.fromkeys(a[key] + b[key]))
    for key in ("seen", "faces"):
        counts[key] = a[key] + b[key] - len(there)
    reasons = dict.fromkeys([*a["skipped"], *b["skipped"]])
    counts["skipped"] = {r: a["skipped"].get(r, []) + b["skipped"].get(r, []) for r in reasons}
    came = {
        "source": b["options"]["source"],
        "path": b["options"]["path"],
        "faces": b["faces"] - len(there),
        "skipped": [*itertools.chain(*b["skipped"].values())],
        "there": there,
    }
    return counts | {"added": [*a.get("added", []), came]}


def _lacking(old: FaceSet, new: FaceSet) -> np.ndarray:
    """(M,) bool, one for each new face: whether no old one has both its name and its pixels."""
    there = set(_named_pixels(old))
    return np.array([face not in there for face in _named_pixels(new)])


def _named_pixels(faces: FaceSet) -> Iterator[tuple[str, int]]:
    pixels = (digest(face.tobytes()) for face in faces.images)
    return zip(faces.labels["name"].tolist(), pixels, strict=True)


def _column(faces: FaceSet, other: FaceSet, name: str) -> np.ndarray:
    """A label of these faces as the other ones have it: what is unknown is −1 or an empty text."""
    columns = [each.labels[name] for each in (faces, other) if name in each.labels]
    texts = any(column.dtype.kind == "U" for column in columns)
    if name not in faces.labels:
        return np.full(len(faces), "") if texts else np.full(len(faces), -1, np.int16)
    if texts and columns[0].dtype.kind != "U":  # joined as it is, its −1 would be a text as others
        return np.where(columns[0] < 0, "", columns[0].astype(str))
    return columns[0]


def _notes(manifest: dict) -> dict:
    """What a source noted, without what `write` puts there itself."""
    own = ("source", "image_shape", "labels", "skipped_counts", "duplicates", "options")
    return {key: value for key, value in manifest.items() if key not in own}
