"""How far a way goes: lengthened until what the studio draws at strength ±1 turns for the readers,
where steering, which draws no hair by the photo, left it short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from facevae.data import FaceSet, evenly
from facevae.examine import ENDS, casting, seated
from facevae.face import Face
from facevae.judge import Judge, has, read_faces
from facevae.pictures import to_tensor
from facevae.studio import Studio
from facevae.ways import DYES, Way

SEEN = 0.92  # share of the faces on which an edit should turn
WORTH = 0.85  # where not even the longest gets so far, more would only cost the face
LONGER = (1.1, 1.2)  # times as far: tried in this order
MOST, FROM = 200, 3000  # training faces it is tried on, out of how many


def lengthened(
    studio: Studio, readers: Sequence[Judge], faces: FaceSet, seed: int = 0
) -> dict[str, Way]:
    """The studio's ways, those longer that turn for too few of the training faces.

    An edit is tried on faces that the first reader sees without the attribute (with it, at −1);
    what all readers see of it counts alike.
    """
    rows = evenly(faces.split(seed)["train"], FROM)
    first = evenly(np.arange(len(rows)), MOST)
    cast, parts = casting(read_faces(readers[0], faces, rows), studio.attributes, first)
    sitters = [seated(studio, faces.images[row]) for row in rows[cast]]
    ways = dict(studio.guide.ways)
    for name in tqdm(studio.attributes, desc="lengthening", unit="attribute"):
        up, down = (
            reach * _factor(studio, readers, [sitters[k] for k in parts[name, at]], name, at)
            if at < 0 or name not in DYES  # further on, a dye is only louder
            else reach
            for reach, (_, at) in zip(ways[name].reach, ENDS, strict=True)
        )
        ways[name] = replace(ways[name], reach=(up, down))
    return ways


def _factor(
    studio: Studio, readers: Sequence[Judge], sitters: Sequence[Face], name: str, at: float
) -> float:
    """How many times as far strength 1 (−1) should lie."""
    turned: dict[float, float] = {}
    for factor in (1.0, *LONGER) if sitters else ():
        edited = to_tensor([studio.edit(one, {name: factor * at}) for one in sitters])
        shares = [(at * has(one.read(edited), name) > 0).float().mean() for one in readers]
        turned[factor] = float(sum(shares)) / len(shares)
        if turned[factor] >= SEEN:
            return factor
    best = max(turned.values(), default=0.0)
    if best < WORTH:
        return 1.0
    return next(factor for factor, share in turned.items() if share >= best - 0.01)
