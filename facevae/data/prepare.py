"""Preparation: any source → a FaceSet folder, on all cores, resumable."""

from __future__ import annotations

import io
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from facevae.data.archives import BadSource, Item
from facevae.data.face_set import FaceSet, NotPrepared
from facevae.data.normalization import normalize
from facevae.data.sampled import load_studio, sampled_faces
from facevae.data.sources import open_source
from facevae.data.synthetic import drawn_faces
from facevae.data.writer import PARTIAL, FaceSetWriter, Options, Row, digest
from facevae.imaging.alignment import FRAMINGS, NoFaceFound, locate
from facevae.imaging.photo import open_photo

DRAWN_FACES = 5_000
MAX_SIZE = 1024  # pixels
READY = ("frey", "synthetic", "studio")  # sources of pictures that are framed and sized already
BATCH = 64  # pictures; an interruption loses no more than a few such batches
CELEBA_SIZE, CELEBA_HEAD = (178, 218), (19, 48, 159, 188)  # official pictures, their `head` crop


def prepare(
    source: str,
    path: str | Path | None = None,
    out: str | Path = "data/faces",
    size: int = 64,
    framing: str = "face",
    workers: int | None = None,
    count: int = DRAWN_FACES,
    seed: int = 0,
    progress: bool = True,
    mask: bool = False,
    expose: bool = False,
) -> FaceSet:
    """Prepare a source into the folder `out`; on a finished folder return at once.

    Args:
        source: a name in `sources.SOURCES`, `hub:NAME`, `synthetic` (drawn from known factors) or
            `studio` (faces of nobody, sampled from a trained model).
        path: the archive, folder or file it is in; for `studio` a model's folder, by default the
            shipped one; for synthetic, lfw and hub none.
        size: side of the crops in pixels (Frey Face keeps its own 28×20).
        framing: "face" or "head": find and align each face, and skip pictures without one;
            "none": take a plain centred square. Frey Face is always "none", a drawn face "face",
            and a sampled one framed as its model's faces.
        workers: processes; all cores by default.
        count, seed: faces to draw, for synthetic and studio.
        mask, expose: grey out the background, even the light; see `normalization`. A model
            trained on normalized faces must be given normalized ones.

    Raises:
        BadSource, NotPrepared: what is wrong and what to do.
    """
    if not 8 <= size <= MAX_SIZE:
        raise BadSource(f"faces of {size} pixels: ask for 8 or more, {MAX_SIZE} at most")
    if count < 1 or workers is not None and workers < 1:
        raise BadSource(f"{count} faces by {workers} processes: ask for 1 or more of each")
    if framing not in FRAMINGS:
        raise BadSource(f"the framing {framing!r} is unknown: use one of {', '.join(FRAMINGS)}")
    if source == "frey" and (mask or expose):
        raise BadSource("Frey Face is neither masked nor exposed: its frame is its own")
    studio = load_studio(path) if source == "studio" else None
    own = {"frey": "none", "synthetic": "face", "studio": studio.framing if studio else ""}
    framing = own.get(source, framing)
    if framing == "head" and (mask or expose):
        raise BadSource("mask and expose are made for the framing 'face': leave them out")
    where = [str(Path(path).resolve())] if path is not None else []
    where += [f"{count} drawn with seed {seed}"] if source in ("synthetic", "studio") else []
    options = Options(source, ", ".join(where), size, framing, mask=mask, expose=expose)
    out = Path(out)
    if (out / "manifest.json").is_file():
        faces = FaceSet(out)
        if not options.match(faces.manifest.get("options")):
            raise NotPrepared(f"{out} holds faces prepared in another way: choose another folder")
        shutil.rmtree(out / PARTIAL, ignore_errors=True)  # of a run killed at its very end
        return faces
    notes: dict[str, Any] = {}
    if studio:
        items = sampled_faces(studio, size, count, seed, notes)
    elif source == "synthetic":
        items = drawn_faces(count, size, seed, notes)
    else:
        items = open_source(source, path, notes)
    writer = FaceSetWriter(out, options)
    done = len(writer.rows)
    with tqdm(desc=f"preparing {source}", unit=" faces", initial=done, disable=not progress) as bar:
        for batch in _prepared(items, options, workers, done):
            bar.total = notes.get("total")  # known from the first picture on
            writer.add(*zip(*batch, strict=True))
            bar.update(len(batch))
    return writer.finish({key: value for key, value in notes.items() if key != "total"})


def _prepared(
    items: Iterator[Item], options: Options, workers: int | None, skip: int
) -> Iterator[list[tuple[Row, np.ndarray | None]]]:
    """Batches of the items after the first `skip`, prepared in worker processes, in order."""

    def read(item: Item) -> tuple[str, Any, dict]:  # that can travel to a worker
        try:
            return item.name, item.read(), item.labels
        except OSError as error:
            return item.name, error, item.labels

    pictures = map(read, itertools.islice(items, skip, None))
    batches = iter(lambda: list(itertools.islice(pictures, BATCH)), [])
    first = next(batches, [])
    allowed = getattr(os, "sched_getaffinity", None)  # fewer than there are, in a container
    workers = workers or (len(allowed(0)) if allowed else os.cpu_count() or 1)
    alone = workers == 1 or options.source in READY or len(first) < BATCH
    processes = 0 if alone else workers  # 0: in this process, where others would not pay
    # the sampler runs here: it hands each worker the bytes that it shall prepare
    loader = DataLoader(
        _Prepare(options),
        batch_sampler=itertools.chain([first], batches),
        num_workers=processes,
        collate_fn=list,
        multiprocessing_context="spawn" if processes else None,
        generator=torch.Generator(),
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise OSError(
            "a worker process was killed, perhaps for lack of memory: run the same command again "
            "with fewer --workers; it continues from here"
        ) from error


class _Prepare(Dataset):
    """Indexed by an item that has been read: gives its row, and its image where there is one."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def __getitem__(self, item: tuple[str, Any, dict]) -> tuple[Row, np.ndarray | None]:
        name, content, labels = item
        try:
            image = prepare_picture(content, self.options)
        except (ValueError, OSError) as error:
            reason = "no face found" if isinstance(error, NoFaceFound) else str(error)
            return Row(name, labels, reason=reason), None
        data = content if isinstance(content, bytes) else content.tobytes()
        return Row(name, labels, digest(data), image.shape), image


def prepare_picture(content: bytes | np.ndarray | OSError, options: Options) -> np.ndarray:
    """(H, W, C) uint8 of one picture; ValueError or OSError says why not."""
    if isinstance(content, OSError):
        raise content
    if options.source in READY:
        return normalize(np.asarray(content), options.mask, options.expose)
    photo = open_photo(io.BytesIO(content) if isinstance(content, bytes) else content)
    size = (options.size, options.size)
    if options.framing == "none":
        crop = ImageOps.fit(photo, size, Image.Resampling.LANCZOS)
    elif (options.source, options.framing, photo.size) == ("celeba", "head", CELEBA_SIZE):
        crop = photo.resize(size, Image.Resampling.BICUBIC, box=CELEBA_HEAD)
    else:
        crop = locate(photo, options.framing).alignment.crop(photo, options.size)
    return normalize(np.asarray(crop), options.mask, options.expose)
