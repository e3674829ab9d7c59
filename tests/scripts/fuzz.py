"""Broken pictures at the photo door: `python tests/scripts/fuzz.py [--files 10000] [--seed 0]`.

Encoded drawn faces and the two portraits are mutated (bits, cuts, splices, size fields, PNG chunks
whose checksums are made good again) and read as a visitor's photo would be: opened, and the face
looked for in those that open. Every outcome must be a crop or one sentence for visitors; anything
else is printed and ends with exit 1. It takes about ten minutes on a core.
"""

import argparse
import contextlib
import functools
import io
import os
import random
import sys
import traceback
import warnings
import zlib
from collections import Counter
from pathlib import Path

from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from facevae import CannotDo
from facevae.data.synthetic import draw_faces
from facevae.imaging.alignment import locate
from facevae.imaging.photo import open_photo
from facevae.ui.session import PORTRAITS
from tests.helpers import encoded

SIDE = 160  # of the seeds, and of what the detector sees: 20 ms a look
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 10_900, 0x7FFFFFFF, 0xFFFFFFFF)
PNG = b"\x89PNG\r\n\x1a\n"


@functools.cache
def seeds() -> list[tuple[str, bytes]]:
    """(format, bytes) of whole pictures in every format and mode that photos come in."""
    found, exif = [], Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    faces = [Image.fromarray(face) for face in draw_faces(3, 96)[0]]
    for face in [*faces, *(open_photo(file, SIDE) for file in PORTRAITS.values())]:
        film = {"save_all": True, "append_images": [ImageOps.mirror(face)]}
        for mode, kind, options in (
            ("CMYK", "JPEG", {}), ("RGB", "JPEG", {"exif": exif}), ("L", "JPEG", {"quality": 30}),
            ("RGB", "JPEG", {"progressive": True}), ("RGB", "PNG", {"exif": exif}),
            ("RGBA", "PNG", {}), ("P", "PNG", {"transparency": 0}), ("I;16", "PNG", {}),
            ("RGB", "WEBP", {"exif": exif}), ("RGBA", "WEBP", {"lossless": True}),
            ("RGB", "WEBP", film), ("RGB", "GIF", film), ("RGB", "BMP", {}), ("F", "TIFF", {}),
            ("RGB", "TIFF", {"compression": "tiff_lzw"}), ("RGB", "AVIF", {}),
            ("RGB", "TIFF", {"compression": "jpeg"}), ("RGB", "JPEG2000", {}),
        ):  # fmt: skip
            picture = face.convert("L") if mode in ("I;16", "F") else face
            with contextlib.suppress(KeyError, OSError):  # a format that this Pillow cannot write
                found.append((kind, encoded(picture.convert(mode), kind, **options)))
    return found


def mutated(data: bytes, other: bytes, draw: random.Random) -> bytes:
    """`data` with one to three mutations; `other` lends bytes to splices."""
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = draw.randint(0, len(found))
        match draw.choice(("bits", "cut", "splice", "lose", "size")):
            case "bits":
                for place in draw.choices(range(len(found)), k=20) if found else ():
                    found[place] ^= 1 << draw.randrange(8)
            case "cut":
                del found[at:]
            case "splice":  # a piece of another file over its bytes, or between them
                start = draw.randint(0, len(other))
                piece = other[start : start + draw.randint(1, 4000)]
                found[at : at + draw.choice((0, len(piece)))] = piece
            case "lose":
                del found[at : at + draw.randint(1, 400)]
            case "size":  # 2 or 4 bytes, in either order: lengths, sizes, offsets
                number = draw.choice(EXTREMES).to_bytes(4, draw.choice(("big", "little")))
                at = draw.randrange(draw.choice((64, 1024)))
                found[at : at + 4] = draw.choice((number, number[:2], number[2:]))
    if data.startswith(PNG) and draw.random() < 0.5:
        mend_checksums(found)
    return bytes(found)


def mend_checksums(data: bytearray) -> None:
    """Give the chunks of a PNG good checksums, so that the mutation reaches the decoder."""
    at = len(PNG)
    while (end := at + 8 + int.from_bytes(data[at : at + 4])) + 4 <= len(data):
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4)
        at = end + 4


def outcome(data: bytes) -> str:
    """What the door makes of a file: "face", or a sentence; anything else is a fault."""
    try:
        photo = open_photo(io.BytesIO(data), SIDE)
        locate(photo, "face").alignment.crop(photo, 64)
    except CannotDo as error:
        said = str(error)
        return "a sentence" if "\n" not in said and 10 < len(said) < 300 else f"FAULT: {said!r}"
    except Exception:  # all that a server would die of, MemoryError too
        return f"FAULT: {traceback.format_exc(limit=-3)}"
    return "a face"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # Pillow's about the mutations, and libtiff's own
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    outcomes = Counter()
    for number in range(args.files):
        draw = random.Random(f"{args.seed} {number}")
        kind, data = draw.choice(seeds())
        found = outcome(mutated(data, draw.choice(seeds())[1], draw))
        if found.startswith("FAULT"):
            print(f"file {number} ({kind}, seed {args.seed}): {found}", flush=True)
        outcomes[kind, found.split(":")[0]] += 1
    for (kind, found), count in sorted(outcomes.items()):
        print(f"{kind:8} {count:6} {found}")
    return int(any(found == "FAULT" for _, found in outcomes))


if __name__ == "__main__":
    sys.exit(main())
