"""Contact sheets and README's pictures: `python tests/scripts/contact_sheet.py`.

Edits at four strengths, ages, morphs and samples of a studio. By default the faces are the two
public-domain portraits and faces that the model drew, so that the sheets may be published;
`--data` takes test faces of a prepared folder instead, for your own eyes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from facevae.data.face_set import evenly, load_faces
from facevae.imaging.alignment import FRAMINGS
from facevae.imaging.face import Face
from facevae.imaging.images import tile
from facevae.io import replacing
from facevae.studio import FOLDER, Studio

ROOT = Path(__file__).resolve().parents[2]
PORTRAITS = [ROOT / "assets" / "portraits" / f"{n}.jpg" for n in ("eileen_collins", "grace_hopper")]
FACES, SEED = 24, 7
STRENGTHS = (-1.0, -0.5, 0.5, 1.0)
AGES = (5, 10, 20, 30, 40, 50, 60, 70, 80)
STEPS, SHOWN, GAP = 9, 160, 4  # of a morph; pixels of a picture for README, and between two
README_EDITS = tuple(
    {name: 1.0}
    for name in ("Eyeglasses", "Beard", "Black_Hair", "Blond_Hair", "Bald", "Heavy_Makeup")
)
README_AGES = (8, 75)


def faces_of(studio: Studio, data: str | None) -> list[Face]:
    """The portraits and drawn faces, or test faces of a prepared folder, as they are read."""
    points = FRAMINGS[studio.framing]
    if data:
        faces = load_faces(data)
        rows = evenly(faces.split()["test"], FACES)
        crops = [Image.fromarray(faces.images[row]) for row in rows]
        first: list[Face] = []
    else:
        first = [studio.read(path) for path in PORTRAITS]
        crops = studio.sample(FACES - len(first), SEED)
    eyes = None if points is None else np.asarray(points)[:2] * studio.size
    return first + [studio.read(crop, eyes=eyes) for crop in crops]


def sheets(studio: Studio, faces: list[Face]) -> dict[str, Image.Image]:
    """A sheet of each attribute, of ages, of morphs and of samples."""
    made = {
        f"edit_{name}": _rows([[face.crop, *(studio.edit(face, {name: s}) for s in STRENGTHS)]
                               for face in faces], halves=2)
        for name in studio.attributes
    }  # fmt: skip
    if studio.can_age:
        made["ages"] = _rows([[f.crop, *(studio.age(f, at) for at in AGES)] for f in faces])
    pairs = zip(faces[::2], faces[1::2], strict=False)
    made["morphs"] = _rows([studio.morph_strip(a, b, STEPS) for a, b in pairs])
    made["decoded"] = _rows([[face.crop, studio.reconstruct(face)] for face in faces], halves=4)
    made["samples"] = tile(studio.sample(64, SEED), 8)
    return made


def _rows(rows: list[list[Image.Image]], halves: int = 1) -> Image.Image:
    """Rows as a sheet, `halves` rows of faces beside each other."""
    return tile([picture for row in rows for picture in row], halves * len(rows[0]))


def for_readme(studio: Studio) -> dict[str, Image.Image]:
    """A morph with and without the photos' detail, and the portraits edited and aged."""
    one, two = (studio.read(path) for path in PORTRAITS)
    morphs = [studio.morph_strip(two, one, 7, detail, size=SHOWN) for detail in (1.0, 0.0)]
    edits = [
        [face.crop_at((SHOWN, SHOWN)),
         *(studio.edit(face, wanted, size=SHOWN) for wanted in README_EDITS),
         *(studio.age(face, at, size=SHOWN) for at in README_AGES)]
        for face in (one, two)
    ]  # fmt: skip
    return {
        "morph": tile(sum(morphs, []), 7, GAP),
        "edits": tile(sum(edits, []), len(edits[0]), GAP),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(FOLDER), help="folder of a studio")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "sheets")
    parser.add_argument("--data", help="prepared folder of other faces")
    parser.add_argument("--readme", action="store_true", help="write assets/*.jpg of README, too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    studio = Studio.load(args.model)
    made = {
        args.out / f"{n}.jpg": s for n, s in sheets(studio, faces_of(studio, args.data)).items()
    }
    if args.readme:
        made |= {ROOT / "assets" / f"{n}.jpg": s for n, s in for_readme(studio).items()}
    for file, sheet in made.items():
        with replacing(file) as path:
            sheet.convert("RGB").save(path, quality=88, optimize=True)
        print(file)


if __name__ == "__main__":
    main()
