"""Draw the studio's contact sheets and README's pictures: `python tests/contact_sheet.py`.

Ages, attributes, morphs and samples, each with the photo's detail (1) and without (0). Shown are
the two public-domain portraits and faces that the model drew: no photograph of any data set.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import facevae
from facevae import align, pictures
from facevae.files import replacing

ASSETS = Path(__file__).resolve().parent.parent / "assets"
PORTRAITS = ("eileen_collins", "grace_hopper")
SEED, SITTING = 7, 3  # of the samples; of the faces of nobody that are edited, for being clear
AGES = (10, 25, 40, 55, 70)
EDITS = (("Smiling", 1.0), ("Smiling", -1.0), ("Eyeglasses", 1.0), ("Mouth_Slightly_Open", -1.0),
         ("Beard", 1.0), ("Blond_Hair", 1.0), ("Bangs", 1.0), ("Male", 1.0), ("Male", -1.0),
         ("Gray_Hair", 1.0))  # fmt: skip
FIRST_PAGE = (({"Eyeglasses": 1.0}, {"Gray_Hair": 1.0}),
              ({"Smiling": 1.0}, {"Smiling": 1.0, "Young": 0.5}))  # fmt: skip
DYES = ("Black_Hair", "Blond_Hair", "Gray_Hair")
HEAD, HEAD_AT = 2.0, (-0.5, -0.75)  # side and corner of what is shown of whole photos, in crops
MORPHS = ((0, 1), (0, 2), (3, 4), (5, 6))
STEPS = 9


def sitters(studio: facevae.Studio) -> list[facevae.Face]:
    """The portraits, and six faces of nobody."""
    portraits = [studio.read(ASSETS / "portraits" / f"{name}.jpg") for name in PORTRAITS]
    portraits = [replace(one, gender=1) for one in portraits]  # the reader takes one for a man
    eyes = align.FRAME[:2] * studio.size
    drawn = studio.sample(6, SITTING)
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


def for_readme(studio: facevae.Studio) -> dict[str, Image.Image]:
    """A morph with and without the photos' detail; faces edited and aged, and whole photos."""
    one, two = sitters(studio)[:2]
    morphs = [studio.morph_strip(two, one, 7, detail, size=160) for detail in (1, 0)]
    rows = [
        [one.crop_at(160), *(studio.edit(one, wanted, size=160) for wanted in FIRST_PAGE[0]),
         *(studio.age(one, at, size=160) for at in (10, 55, 80))],
        [two.crop_at(160), *(studio.edit(two, wanted, size=160) for wanted in FIRST_PAGE[1]),
         *(studio.age(two, at, size=160) for at in (20, 40, 60))],
    ]  # fmt: skip
    heads = one.alignment.wider(HEAD, HEAD_AT)
    photos = [one.photo, *(studio.edit(one, {name: 1.0}, paste=True) for name in DYES),
              studio.age(one, 75, paste=True)]  # fmt: skip
    return {
        "heads.jpg": pictures.tile([heads.crop(photo, 194) for photo in photos], 5, gap=4),
        "morph.jpg": pictures.tile(sum(morphs, []), 7, gap=4),
        "edits.jpg": pictures.tile(sum(rows, []), 6, gap=4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ASSETS / "sheets")
    out = parser.parse_args().out
    out.mkdir(exist_ok=True)
    torch.set_num_threads(2)
    studio = facevae.Studio.load()
    drawn = {f"{name}-detail-{k}": one for k in (1, 0) for name, one in sheets(studio, k).items()}
    drawn["samples"] = pictures.tile(studio.sample(64, SEED), 8)
    files = {out / f"{name}.jpg": sheet for name, sheet in drawn.items()}
    files |= {ASSETS / name: picture for name, picture in for_readme(studio).items()}
    for file, picture in files.items():
        with replacing(file) as path:
            picture.save(path, quality=88, optimize=True)


if __name__ == "__main__":
    main()
