"""Preparation: any source → a FaceSet folder, on all cores, resumable."""

import hashlib
import io
import itertools
import json
import shutil
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from PIL import Image, ImageOps
from tqdm import tqdm

import facevae
from facevae.data.face_set import FaceSet, NotPrepared
from facevae.data.normalization import normalize
from facevae.data.sources import BadSource, Item, open_source
from facevae.data.synthetic import draw_faces
from facevae.imaging.alignment import FRAMINGS, NoFaceFound, locate
from facevae.imaging.photo import open_photo
from facevae.io import claim, replacing, write_text
from facevae.models.conditions import changed

READY = ("frey", "synthetic", "studio")  # their pictures are framed and sized already
BATCH = 64  # pictures; an interruption loses no more than a few such batches
PARTIAL = ".partial"  # folder of the batches that are done: an interrupted run goes on from them
CELEBA_SIZE, CELEBA_HEAD = (178, 218), (19, 48, 159, 188)  # official pictures, their `head` crop
ADULTS_ONLY = {"Beard", "Mustache", "Bald", "Gray_Hair", "Heavy_Makeup"}


def prepare(
    source: str, path: str | Path | None = None, out: str | Path = "data/faces", size: int = 64,
    framing: str = "face", workers: int | None = None, count: int = 5_000, seed: int = 0,
    progress: bool = True, mask: bool = False, expose: bool = False,
) -> FaceSet:  # fmt: skip
    """Prepare a source into the folder `out`; on a finished folder return at once.

    Args:
        source: one of `SOURCES`, `hub:NAME`, `synthetic` (`count` faces drawn from known factors)
            or `studio` (sampled from a trained model, whose folder `path` is).
        size, framing: side of the crops in pixels; "face" or "head" aligns each face and skips
            pictures without one, "none" takes a centred square. Frey Face, drawn and sampled
            faces have their own framing.
        mask, expose: grey out the background, even the light; see `normalization`.
    Raises BadSource, NotPrepared: what is wrong and what to do."""
    if not 8 <= size <= 1024 or count < 1 or framing not in FRAMINGS:
        raise BadSource(
            f"{count} faces of {size} pixels in the framing {framing!r}: ask for 1 or more, for 8 "
            f"to 1024 pixels, and for one of {', '.join(FRAMINGS)}"
        )
    out, notes = Path(out), {"total": count}
    if source == "studio":
        studio = facevae.Studio.load(path) if path else facevae.Studio.load()
        framing, items = studio.framing, _sampled(studio, size, count, seed)
    elif source == "synthetic":
        framing, items = "face", _drawn(count, size, seed)
    else:
        framing = "none" if source == "frey" else framing
        items = open_source(source, path, notes)
    if (framing == "head" or source == "frey") and (mask or expose):
        raise BadSource("mask and expose are made for the framing 'face': leave them out")
    options = {"source": source, "path": str(Path(path).resolve()) if path else "", "size": size,
               "framing": framing, "mask": mask, "expose": expose}  # fmt: skip
    if source in ("synthetic", "studio"):
        options |= {"count": count, "seed": seed}
    if (out / "manifest.json").is_file():
        faces = FaceSet(out)
        if faces.manifest.get("options") != options:
            raise NotPrepared(f"{out} holds faces prepared in another way: choose another folder")
        return faces
    claim(out)
    folder, stamp = out / PARTIAL, out / PARTIAL / "options.json"
    if not stamp.is_file() or json.loads(stamp.read_text()) != options:
        shutil.rmtree(folder, ignore_errors=True)
        write_text(stamp, json.dumps(options))
    with tqdm(desc=f"preparing {source}", unit=" faces", disable=not progress) as bar:
        run = Parallel(1 if source in READY else workers or -1, return_as="generator")
        try:
            for done in run(_tasks(items, options, folder, bar, notes)):
                bar.update(done)
        except BrokenProcessPool as error:
            raise OSError(
                "a worker process was killed, perhaps for lack of memory: run the same command "
                "again with fewer --workers; it continues from here"
            ) from error
    return _finish(out, options, notes)


def _tasks(
    items: Iterator[Item], options: dict[str, Any], folder: Path, bar: tqdm, notes: dict[str, Any]
) -> Iterator[Any]:
    """Calls of `prepare_batch` for the batches that are still to prepare."""
    batches = iter(lambda: list(itertools.islice(items, BATCH)), [])
    for number, batch in enumerate(batches):
        bar.total, file = notes["total"], folder / f"{number:06d}.npz"
        if file.is_file():
            bar.update(len(batch))
        else:
            pictures = [(item.name, item.labels, _content(item)) for item in batch]
            yield delayed(prepare_batch)(pictures, options, file)


def _content(item: Item) -> Any:
    """What an item reads, or the error that says why not: either can travel to a worker."""
    try:
        return item.read()
    except OSError as error:
        return error


def prepare_batch(pictures: list[tuple], options: dict[str, Any], file: Path) -> int:
    """Write the crops of pictures (name, labels, content), and a row about each, as one file."""
    rows, images = [], []
    for name, labels, content in pictures:
        row = {"name": name, "labels": labels}
        try:
            images.append(prepare_picture(content, options))
            # a hash of the file as it came: crops differ between libraries, splits must not
            digest = hashlib.blake2b(content, digest_size=8).digest()
            row |= {"shape": images[-1].shape, "content": int.from_bytes(digest, "little")}
        except (ValueError, OSError) as error:
            row["skipped"] = "no face found" if isinstance(error, NoFaceFound) else str(error)
        rows.append(row)
    with replacing(file) as temporary:
        np.savez(temporary, images=np.array(images, np.uint8), rows=json.dumps(rows))
    return len(rows)


def prepare_picture(content: Any, options: dict[str, Any]) -> np.ndarray:
    """(H, W, C) uint8 of one picture, bytes or an array; ValueError or OSError says why not."""
    if isinstance(content, OSError):
        raise content
    source, framing, side = options["source"], options["framing"], options["size"]
    crop = content
    if source not in READY:
        photo = open_photo(io.BytesIO(content))
        if framing == "none":
            crop = ImageOps.fit(photo, (side, side), Image.Resampling.LANCZOS)
        elif (source, framing, photo.size) == ("celeba", "head", CELEBA_SIZE):
            crop = photo.resize((side, side), Image.Resampling.BICUBIC, box=CELEBA_HEAD)
        else:
            crop = locate(photo, framing).alignment.crop(photo, side)
    return normalize(np.asarray(crop), options["mask"], options["expose"])


def _finish(out: Path, options: dict[str, Any], notes: dict[str, Any]) -> FaceSet:
    """Join the batches to the three files of a FaceSet; the manifest says that they are whole."""
    files = sorted((out / PARTIAL).glob("*.npz"))
    rows = [row for file in files for row in json.loads(str(np.load(file)["rows"]))]
    faces, skipped = [row for row in rows if "content" in row], dict[str, list[str]]()
    for row in rows:
        if "skipped" in row:
            skipped.setdefault(row["skipped"], []).append(row["name"])
    if not faces:
        first = f"{rows[0]['name']}: {rows[0]['skipped']}" if rows else "nothing there"
        raise BadSource(f"no face could be prepared; the first one: {first}")
    about = {"descr": "|u1", "fortran_order": False, "shape": (len(faces), *faces[0]["shape"])}
    with replacing(out / "images.npy") as temporary, open(temporary, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, about)
        for file in files:
            stream.write(np.load(file)["images"].tobytes())
    names = dict.fromkeys(name for row in faces for name in row["labels"])
    labels = {name: _column([row["labels"].get(name) for row in faces]) for name in names}
    labels["content"] = np.array([row["content"] for row in faces], np.uint64)
    if faces[0]["name"]:  # drawn faces have none
        labels["name"] = np.array([row["name"] for row in faces])
    with replacing(out / "labels.npz") as temporary:
        np.savez(temporary, allow_pickle=False, **labels)
    manifest = notes | {
        "source": options["source"].split(":")[0], "faces": len(faces), "seen": len(rows),
        "duplicates": len(faces) - len(np.unique(labels["content"])), "skipped": skipped,
        "options": options,
    }  # fmt: skip
    write_text(out / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False))
    shutil.rmtree(out / PARTIAL)
    return FaceSet(out)


def _column(values: list[Any]) -> np.ndarray:
    """A label (N,) of numbers or texts; None is unknown, −1 or an empty text."""
    unknown = "" if any(isinstance(value, str) for value in values) else -1
    column = np.array([unknown if value is None else value for value in values])
    return column.astype(np.float32) if column.dtype.kind == "f" else column


def _drawn(count: int, size: int, seed: int) -> Iterator[Item]:
    """The faces of `draw_faces` with their factors as labels."""
    images, factors = draw_faces(count, size, seed)
    for i, image in enumerate(images):
        yield Item("", image.copy, {name: values[i].item() for name, values in factors.items()})


def _sampled(studio: "facevae.Studio", size: int, count: int, seed: int) -> Iterator[Item]:
    """Faces (S, S, 3) of nobody, labelled with the conditions that were asked for."""
    conditions, rng = studio.model.config.conditions, np.random.default_rng(seed)
    known = {"Male" if name == "gender" else name for name in conditions}
    names = [name for name in studio.attributes if name in known]

    def sample(labels: dict[str, int], one: int) -> np.ndarray:
        wanted = {name: 2.0 * labels[name] - 1 for name in names}
        (face,) = studio.sample(1, seed=one, age=labels.get("age"), attributes=wanted)
        return np.asarray(ImageOps.fit(face.convert("RGB"), (size, size), Image.Resampling.LANCZOS))

    for i in range(count):
        age, has = int(rng.integers(5, 81)), torch.from_numpy(rng.random((1, len(names))) < 0.4)
        has = has.float()
        for k in rng.permutation(len(names)).tolist():  # what excludes or brings what
            grown = age >= 18 or names[k] not in ADULTS_ONLY
            has = changed(names, has, {names[k]: 2 * has[0, k].item() - 1 if grown else -1.0})
        labels = dict(zip(names, has[0].int().tolist(), strict=True))
        labels |= {"gender": 1 - labels["Male"]} if "Male" in names else {}
        labels |= {"age": age} if "age" in known and studio.can_age else {}
        yield Item(f"sample{i:06d}", partial(sample, labels, int(rng.integers(2**31))), labels)
