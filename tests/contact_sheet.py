"""Draw the studio's contact sheets into assets/sheets: `python tests/contact_sheet.py`.

Ages, attributes, morphs and samples, each with the photo's detail (1) and without (0). Shown are
the two public-domain portraits and faces that the model drew: no photograph of any data set.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import facevae
from facevae import align, pictures
from facevae.files import replacing

ASSETS = Path(__file__).resolve().parent.parent / "assets"
PORTRAITS = ("eileen_collins", "grace_hopper")
SEED = 7  # of the samples
AGES = (10, 25, 40, 55, 70)
EDITS = (("Smiling", 1.0), ("Smiling", -1.0), ("Eyeglasses", 1.0), ("Beard", 1.0),
         ("Blond_Hair", 1.0), ("Male", 1.0), ("Male", -1.0), ("Gray_Hair", 1.0))  # fmt: skip
MORPHS = ((0, 1), (0, 2), (3, 4), (5, 6))
STEPS = 9


def sitters(studio: facevae.Studio) -> list[facevae.Face]:
    """The portraits, and six faces of nobody."""
    portraits = [studio.read(ASSETS / "portraits" / f"{name}.jpg") for name in PORTRAITS]
    eyes = align.FRAME[:2] * studio.size
    drawn = studio.sample(6, SEED, temperature=0.7)
    return portraits + [studio.read(one, eyes=eyes) for one in drawn]


def sheets(studio: facevae.Studio, detail: float) -> dict[str, Image.Image]:
    faces = sitters(studio)
    rows = {
        "ages": [[face.crop, *(studio.age(face, at, detail) for at in AGES)] for face in faces],
        "attributes": [[face.crop, *(studio.edit(face, {n: at}, detail) for n, at in EDITS)]
                       for face in faces],
        "morphs": [studio.morph_strip(faces[a], faces[b], STEPS, detail) for a, b in MORPHS],
    }  # fmt: skip
    return {name: pictures.tile(sum(row, []), len(row[0])) for name, row in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ASSETS / "sheets")
    out = parser.parse_args().out
    out.mkdir(exist_ok=True)
    torch.set_num_threads(2)
    studio = facevae.Studio.load()
    drawn = {f"{name}-detail-{k}": one for k in (1, 0) for name, one in sheets(studio, k).items()}
    drawn["samples"] = pictures.tile(studio.sample(64, SEED), 8)
    for name, sheet in drawn.items():
        with replacing(out / f"{name}.jpg") as path:
            sheet.save(path, quality=88, optimize=True)


if __name__ == "__main__":
    main()
