"""Contact sheets and README's pictures: `python tests/scripts/contact_sheet.py`.

Edits at four strengths, ages, morphs and samples of a studio: of the two public-domain portraits
and of drawn faces, so that they may be published, or of a prepared folder's, for your own eyes.
"""

import argparse
import sys
from itertools import chain
from pathlib import Path

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from facevae import Face, Studio, load_faces
from facevae.imaging.alignment import FRAMINGS
from facevae.imaging.images import tile
from facevae.studio import FOLDER
from facevae.ui.session import ASSETS, PORTRAITS

FACES, SEED = 24, 7
STRENGTHS = (-1.0, -0.5, 0.5, 1.0)
AGES = (5, 10, 20, 30, 40, 50, 60, 70, 80)
STEPS, SHOWN, GAP = 9, 160, 4  # of a morph; pixels of a picture for README, and between two
README_EDITS = ("Eyeglasses", "Beard", "Black_Hair", "Blond_Hair", "Bald", "Heavy_Makeup")


def faces_of(studio: Studio, data: str | None) -> list[Face]:
    """The portraits and drawn faces, or test faces of a prepared folder, as they are read."""
    eyes = FRAMINGS[studio.framing][:2] * studio.size
    if data:
        faces = load_faces(data)
        crops = [Image.fromarray(faces.images[row]) for row in faces.split()["test"][:FACES]]
        return [studio.read(crop, eyes=eyes) for crop in crops]
    drawn = studio.sample(FACES - len(PORTRAITS), SEED)
    portraits = [studio.read(path) for path in PORTRAITS.values()]
    return portraits + [studio.read(crop, eyes=eyes) for crop in drawn]


def sheet(rows: list[list[Image.Image]], beside: int = 1, gap: int = 0) -> Image.Image:
    return tile([*chain(*rows)], beside * len(rows[0]), gap)


def sheets(studio: Studio, faces: list[Face]) -> dict[str, Image.Image]:
    """A sheet of each attribute, of ages, of morphs and of samples."""
    made = {"samples": tile(studio.sample(64, SEED), 8)}
    for name in studio.attributes:
        rows = [[f.crop, *(studio.edit(f, {name: s}) for s in STRENGTHS)] for f in faces]
        made[f"edit_{name}"] = sheet(rows, 2)
    made["ages"] = sheet([[f.crop, *(studio.age(f, at) for at in AGES)] for f in faces])
    pairs = zip(faces[::2], faces[1::2], strict=False)
    made["morphs"] = sheet([studio.morph_strip(a, b, STEPS) for a, b in pairs])
    return made


def for_readme(studio: Studio) -> dict[str, Image.Image]:
    """A morph with and without the photos' detail, and the portraits edited and aged."""
    one, two = (studio.read(path) for path in PORTRAITS.values())
    edits = [
        [face.crop_at((SHOWN, SHOWN)),
         *(studio.edit(face, {name: 1.0}, size=SHOWN) for name in README_EDITS),
         *(studio.age(face, at, size=SHOWN) for at in (8, 75))]
        for face in (two, one)
    ]  # fmt: skip
    morphs = [studio.morph_strip(one, two, 7, detail, size=SHOWN) for detail in (1.0, 0.0)]
    return {"morph": sheet(morphs, gap=GAP), "edits": sheet(edits, gap=GAP)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=FOLDER, help="folder of a studio")
    parser.add_argument("--out", type=Path, default=Path("runs", "sheets"))
    parser.add_argument("--data", help="prepared folder of other faces")
    parser.add_argument("--readme", action="store_true", help="write assets/*.jpg of README, too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    studio = Studio.load(args.model)
    made = {args.out: sheets(studio, faces_of(studio, args.data))}
    made |= {ASSETS: for_readme(studio)} if args.readme else {}
    for folder, pictures in made.items():
        for name, picture in pictures.items():
            picture.convert("RGB").save(folder / f"{name}.jpg", quality=88, optimize=True)
            print(folder / f"{name}.jpg")


if __name__ == "__main__":
    main()
