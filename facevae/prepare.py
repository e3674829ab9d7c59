"""Preparation: any source → a FaceSet folder, on all cores, interruptible, nothing lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from facevae import packets, sources
from facevae.data import FaceSet, NotPrepared
from facevae.files import claim
from facevae.folder import PARTIAL, Options, assemble, write
from facevae.treatment import treat

SYNTHETIC_FACES = 5_000
MAX_SIZE = 1024  # pixels: a packet of such crops is 400 MB


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
        shutil.rmtree(out / PARTIAL, ignore_errors=True)  # of a run killed at its very end
        return faces
    claim(out)
    if source == "synthetic":
        return _draw(out, options, count, seed)
    notes: dict = {}
    chunks = packets.prepared(items_of(source, path, notes), out, options, workers, progress)
    return assemble(out, options, chunks, notes)


def items_of(source: str, path: str | Path | None, notes: dict) -> Iterator[sources.Item]:
    """The pictures of a source, each read when asked for; `notes` takes what it tells of itself."""
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
    return write(out, options, images, labels, counts)
