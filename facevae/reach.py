"""How far a way goes, and when that is enough: what steering, which draws no hair by the photo and
moves all faces alike, left open. Told by training faces, as readers see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from facevae.data import FaceSet, evenly
from facevae.examine import ENDS, casting, seated
from facevae.face import Face
from facevae.judge import Judge, read_faces
from facevae.pace import between, least, on_the_way, sureness
from facevae.studio import Studio
from facevae.ways import DYES, Way

LONGER = 1.3  # times as far as steering found: for the faces that need it
WORTH = 0.85  # share of the faces that must turn so far out; else more would only cost them
SPARED = 0.005  # share of the faces that may be missed by stopping early
PLAIN = 0.5  # logit of a tutor that counts as turned: the next one to look sees less
SURE = torch.arange(0.0, 4.6, 0.25)  # logits of the reader that may be enough
MOST, FROM = 300, 6000  # training faces it is tried on, out of how many


def gauged(
    studio: Studio, readers: Sequence[Judge], faces: FaceSet, seed: int = 0
) -> dict[str, Way]:
    """The studio's ways with their reach and with what is `enough` on them.

    An edit is tried on faces that the first reader, the guide's, sees without the attribute (with
    it, at −1). The reader stops each face, as in `facevae.pace`; the others, its tutors, tell
    whether it was stopped too early. So without tutors, ways stay as they are.
    """
    if len(readers) < 2:
        return dict(studio.guide.ways)
    rows = evenly(faces.split(seed)["train"], FROM)
    first = evenly(np.arange(len(rows)), MOST)
    names = [name for name in studio.attributes if name in readers[0].config.attributes]
    cast, parts = casting(read_faces(readers[0], faces, rows), names, first)
    sitters = [seated(studio, faces.images[row]) for row in rows[cast]]
    ways = dict(studio.guide.ways)
    for name in tqdm(names, desc="how far ways go", unit="attribute"):
        for off, (_, at) in enumerate(ENDS):
            there = [sitters[k] for k in evenly(parts[name, at], MOST)]
            ways[name] = _end(studio, readers, there, name, ways[name], off)
    return ways


def _end(
    studio: Studio,
    readers: Sequence[Judge],
    sitters: Sequence[Face],
    name: str,
    way: Way,
    off: int,
) -> Way:
    """A way with its one end gauged: longer, if that is worth it, and when it is enough."""
    if not sitters:
        return way
    further = () if name in DYES and not off else (LONGER,)  # further on, a dye is only louder
    for factor in (*further, 1.0):
        longer = replace(way, reach=_set(way.reach, off, factor * way.reach[off]))
        seen = _seen(studio, readers, sitters, name, longer, off)  # (R, T, N)
        if _turned(seen[1:, -1], 0.0) >= WORTH:
            break
    shares = [least(seen[0], float(sure)) for sure in SURE]
    turned = [_turned(torch.stack([between(one, s) for one in seen[1:]])) for s in shares]
    enough = next(k for k, share in enumerate(turned) if share >= max(turned) - SPARED)
    return replace(longer, enough=_set(way.enough, off, float(SURE[enough])))


def _seen(
    studio: Studio, readers: Sequence[Judge], sitters: Sequence[Face], name: str, way: Way, off: int
) -> Tensor:
    """How sure each reader is of each face at each share of a way, (R, T, N)."""
    guide = replace(studio.guide, ways=studio.guide.ways | {name: way})
    found = []
    for one in sitters:
        drawn = on_the_way(studio.model, guide, one, name, bool(off))  # (T, 3, S, S)
        found.append(torch.stack([sureness(r.read(drawn), name, bool(off)) for r in readers]))
    return torch.stack(found, 2)


def _turned(seen: Tensor, border: float = PLAIN) -> float:
    """The share that turns, of what some readers see, (R, N)."""
    return float((seen > border).float().mean())


def _set(pair: tuple[float, float], at: int, value: float) -> tuple[float, float]:
    return (value, pair[1]) if at == 0 else (pair[0], value)
