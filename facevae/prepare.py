"""Preparation: any source → a FaceSet folder, on all cores, interruptible, nothing lost."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import shutil
import threading
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from facevae import sources
from facevae.data import VERSION, FaceSet, NotPrepared
from facevae.files import claim, replacing, write_text
from facevae.treatment import treat

CHUNK = 128  # faces a work packet: some seconds of one core, the most an interruption can lose
SYNTHETIC_FACES = 5_000
MAX_SIZE = 1024  # pixels: a packet of such crops is 400 MB


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


def prepare(
    source: str,
    path: str | Path | None = None,
    out: str | Path = "data/faces",
    size: int = 64,
    align: bool = True,
    workers: int | None = None,
    count: int = SYNTHETIC_FACES,
    seed: int = 0,
    progress: bool = True,
    mask: bool = False,
    expose: bool = False,
) -> FaceSet:
    """Prepare a source into folder `out`; on a finished folder return at once.

    Args:
        source: a name in `sources.SOURCES`, `hub:NAME`, or `synthetic`.
        path: the archive, folder or file it is in (none for synthetic, lfw and hub).
        size: side of the crops in pixels (Frey Face keeps its own 28×20).
        align: find and align each face, and skip pictures without one; otherwise a plain
            centred square is taken.
        workers: processes; all cores by default.
        count, seed: faces to draw, for synthetic alone.
        mask, expose: calm the background, even the light; see `treatment`. A model trained on
            treated faces must be given treated ones.

    Raises:
        BadSource, NotPrepared: what is wrong and what to do.
    """
    if not 8 <= size <= MAX_SIZE:
        raise sources.BadSource(f"faces of {size} pixels: ask for 8 or more, {MAX_SIZE} at most")
    if count < 1 or workers is not None and workers < 1:
        raise sources.BadSource(f"{count} faces by {workers} processes: ask for 1 or more of each")
    if source == "frey" and (mask or expose):
        raise sources.BadSource("Frey Face is neither masked nor exposed: its frame is its own")
    out = Path(out)
    drawn = f"{count} drawn with seed {seed}" if source == "synthetic" else ""
    where = str(Path(path).resolve()) if path is not None else drawn
    align = align and source not in ("frey", "synthetic")
    options = Options(source, where, size, align, mask=mask, expose=expose)
    if (out / ".adding").is_dir():  # what was added, and cut short while it was moved in
        from facevae.adding import take_in

        take_in(out)
    if (out / "manifest.json").is_file():
        faces = FaceSet(out)
        if not options.made(faces.manifest.get("options")):
            raise NotPrepared(f"{out} holds faces prepared in another way: choose another folder")
        shutil.rmtree(out / ".partial", ignore_errors=True)  # of a run killed at its very end
        return faces
    claim(out)
    if source == "synthetic":
        return _draw(out, options, count, seed)
    notes: dict = {}
    chunks = _prepared_chunks(_items(source, path, notes), out, options, workers, progress)
    return _assemble(out, options, chunks, notes)


def _items(source: str, path: str | Path | None, notes: dict) -> Iterator[sources.Item]:
    if source.startswith("hub:"):
        return sources.hub(source.removeprefix("hub:"), notes)
    if source not in sources.SOURCES:
        known = ", ".join([*sources.SOURCES, "hub:NAME", "synthetic"])
        raise sources.BadSource(f"the source {source!r} is unknown: use one of {known}")
    if path is None and source != "lfw":
        raise sources.BadSource(f"{source} needs its archive, folder or file: give --archive")
    return sources.SOURCES[source](Path(path) if path is not None else None, notes)


def _draw(out: Path, options: Options, count: int, seed: int) -> FaceSet:
    from facevae.synthetic import draw_faces

    images, labels = draw_faces(count, size=options.size, seed=seed)
    if options.mask or options.expose:
        images = np.stack([treat(image, options.mask, options.expose) for image in images])
    counts = {"seen": count, "faces": count, "skipped": {}, "seed": seed}
    return _write(out, options, images, labels, counts)


def _prepared_chunks(
    items: Iterator[sources.Item], out: Path, options: Options, workers: int | None, progress: bool
) -> list[Path]:
    """Prepare packets of items in worker processes; those already on disk are kept."""
    partial = out / ".partial"
    stamp = partial / "options-2.json"  # packets without `contents` lie under another name
    if not stamp.is_file() or not options.made(json.loads(stamp.read_text())):
        shutil.rmtree(partial, ignore_errors=True)
        write_text(stamp, json.dumps(asdict(options)))
    workers = workers or cores()
    done: list[Path] = []
    waiting: deque[tuple[Future, list]] = deque()
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin_worker)
    bar = tqdm(desc=f"preparing {options.source}", unit=" faces", disable=not progress, delay=0.5)
    with _whole(pool), bar:
        for number, packet in enumerate(_packets(items)):
            path = partial / f"{number:06d}.npz"
            done.append(path)
            if path.is_file():
                bar.update(len(packet))
                continue
            waiting.append((pool.submit(_prepare_packet, _read(packet), path, options), packet))
            while len(waiting) > 2 * workers:
                _settle(waiting, bar)
        while waiting:
            _settle(waiting, bar)
    return done


@contextmanager
def _whole(pool: ProcessPoolExecutor) -> Iterator[None]:
    """The pool until its work is done; OSError where a worker was killed."""
    try:
        with pool:
            yield
    except BrokenProcessPool as error:
        raise OSError(
            "a worker process was killed, for want of memory perhaps: run the same command again, "
            "with fewer --workers; it goes on from here"
        ) from error


def cores() -> int:
    """How many this process may use, which `taskset` or a container can make fewer than are."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _packets(items: Iterator[sources.Item]) -> Iterator[list[sources.Item]]:
    while packet := list(itertools.islice(items, CHUNK)):
        yield packet


def _settle(waiting: deque[tuple[Future, list]], bar: tqdm) -> None:
    future, packet = waiting.popleft()
    future.result()
    bar.update(len(packet))


def _read(packet: list[sources.Item]) -> list[tuple]:
    """(name, bytes or array or the OSError, labels), which can travel to a worker."""
    read = []
    for item in packet:
        try:
            content = item.read()
        except OSError as error:
            content = error
        read.append((item.name, content, item.labels))
    return read


def _begin_worker() -> None:
    """A process a core: threads inside them would only get in each other's way."""
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Left alone, a worker whose parent was killed would wait for it for ever."""
    parent = parent_process()
    assert parent is not None  # this runs in a worker
    parent.join()
    os._exit(1)


def _prepare_packet(packet: list[tuple], path: Path, options: Options) -> None:
    faces, names, labels, contents, skipped = [], [], [], [], []
    for name, content, own in packet:
        try:
            faces.append(_prepare_picture(content, options))
        except (ValueError, OSError) as error:
            skipped.append((name, _reason(error)))
            continue
        names.append(name)
        labels.append(own)
        contents.append(digest(content if isinstance(content, bytes) else content.tobytes()))
    with replacing(path) as temporary, open(temporary, "wb") as file:
        about = json.dumps(
            {"names": names, "labels": labels, "contents": contents, "skipped": skipped}
        )
        np.savez(file, images=np.stack(faces) if faces else np.zeros(0, np.uint8), about=about)


def digest(data: bytes) -> int:
    """64 bits that tell pictures apart.

    Of the file as it came: crops differ by a hair between libraries and machines, and a split that
    hung on them would not be the same split twice.
    """
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _prepare_picture(content: bytes | np.ndarray | OSError, options: Options) -> np.ndarray:
    """(H, W, C) uint8 of one picture; ValueError or OSError says why not."""
    from facevae.align import align
    from facevae.photo import open_photo

    if isinstance(content, OSError):
        raise content
    if options.source == "frey":
        return np.asarray(content)
    photo = open_photo(io.BytesIO(content) if isinstance(content, bytes) else content)
    if options.align:
        crop = align(photo)[0].crop(photo, options.size)
    else:
        crop = ImageOps.fit(photo, (options.size, options.size), Image.Resampling.LANCZOS)
    return treat(np.asarray(crop), options.mask, options.expose)


def _reason(error: Exception) -> str:
    from facevae.align import NoFaceFound

    return "no face found" if isinstance(error, NoFaceFound) else str(error)


def _assemble(out: Path, options: Options, chunks: list[Path], notes: dict) -> FaceSet:
    """Join the packets into one memory-mapped array, one packet in memory at a time."""
    abouts = []
    for path in chunks:
        with np.load(path, allow_pickle=False) as packet:
            abouts.append(json.loads(str(packet["about"])))
    names = [name for about in abouts for name in about["names"]]
    if not names:
        first = next((s for about in abouts for s in about["skipped"]), ("nothing", "was there"))
        raise sources.BadSource(f"no face could be prepared; the first one: {first[0]}: {first[1]}")
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

    faces = _write(out, options, _Stream(shape, images()), labels, counts)
    shutil.rmtree(out / ".partial")
    return faces


@dataclass
class _Stream:
    shape: tuple[int, ...]
    parts: Iterator[np.ndarray]


def _columns(rows: list[dict]) -> dict[str, np.ndarray]:
    """A list of label dicts as columns; unknown is −1, or an empty text."""
    columns = {}
    for name in dict.fromkeys(itertools.chain.from_iterable(rows)):
        texts = any(isinstance(row.get(name), str) for row in rows)
        column = np.array([row.get(name, "" if texts else -1) for row in rows])
        small = not texts and np.array_equal(column, column.astype(np.int16))
        columns[name] = column.astype(np.int16) if small else column
    return columns


def _write(
    out: Path, options: Options, images: np.ndarray | _Stream, labels: dict, counts: dict
) -> FaceSet:
    """The three files of a FaceSet, the manifest last: it says that the others are whole.

    Drawn faces come without the label `content`: it is then made of their pixels.
    """
    hashes = []
    # written, not mapped: where the disk is full a map kills the process without a word
    with replacing(out / "images.npy") as temporary, open(temporary, "wb") as file:
        about = {"descr": "|u1", "fortran_order": False, "shape": images.shape}
        np.lib.format.write_array_header_1_0(file, about)
        for part in images.parts if isinstance(images, _Stream) else [images]:
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
