"""Packets: pictures prepared by processes, a packet a file: an interruption loses a few."""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from facevae.files import replacing, write_text
from facevae.folder import PARTIAL, Options, digest
from facevae.sources import Item
from facevae.treatment import treat

CHUNK = 128  # faces a packet: some seconds of one core, the most an interruption can lose


def prepared(
    items: Iterator[Item], out: Path, options: Options, workers: int | None, progress: bool
) -> list[Path]:
    """Prepare packets of items in worker processes; those already on disk are kept."""
    partial = out / PARTIAL
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


def _packets(items: Iterator[Item]) -> Iterator[list[Item]]:
    while packet := list(itertools.islice(items, CHUNK)):
        yield packet


def _settle(waiting: deque[tuple[Future, list]], bar: tqdm) -> None:
    future, packet = waiting.popleft()
    future.result()
    bar.update(len(packet))


def _read(packet: list[Item]) -> list[tuple]:
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
