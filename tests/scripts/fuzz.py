"""Broken pictures at the photo door: `python tests/scripts/fuzz.py [--files 10000] [--seed 0]`.

Encoded drawn faces and the two portraits are mutated (bits, cuts, splices, header and size fields,
PNG chunks whose checksums are made good again) and read as a visitor's photo would be: opened,
and the face looked for in those that open. Every outcome must be a crop or one of the project's
own two errors in one sentence; anything else is printed and ends with exit 1. It takes about ten
minutes on a core.
"""

from __future__ import annotations

import argparse
import functools
import io
import os
import random
import resource
import struct
import sys
import time
import traceback
import warnings
import zlib
from collections import Counter
from pathlib import Path

from PIL import Image, ImageOps, features

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from facevae.data.synthetic import draw_faces
from facevae.imaging.alignment import NoFaceFound, locate
from facevae.imaging.photo import UnreadablePhoto, open_photo

ROOT = Path(__file__).resolve().parents[2]
SIDE = 160  # of the seeds, and of what the detector sees: 20 ms a look
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 10_900, 0x7FFFFFFF, 0xFFFFFFFF)
PNG = b"\x89PNG\r\n\x1a\n"


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@functools.cache
def seeds() -> list[tuple[str, bytes]]:
    """(format, bytes) of whole pictures in every format and mode that photos come in."""
    drawn = [Image.fromarray(face) for face in draw_faces(3, size=96)[0]]
    files = sorted((ROOT / "assets" / "portraits").glob("*.jpg"))
    faces = [*drawn, *(open_photo(file, SIDE) for file in files)]
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    found = [("JPEG", encoded(faces[0].convert("CMYK"), "JPEG"))]
    for face in faces:
        grey, film = face.convert("L"), {"save_all": True, "append_images": [ImageOps.mirror(face)]}
        clear = face.copy()
        clear.putalpha(grey)
        found += [
            ("JPEG", encoded(face, "JPEG", exif=exif)),
            ("JPEG", encoded(face, "JPEG", progressive=True)),
            ("PNG", encoded(face, "PNG", exif=exif)),
            ("PNG", encoded(clear, "PNG")),
            ("PNG", encoded(face.convert("P"), "PNG", transparency=0)),
            ("PNG", encoded(grey.convert("I;16"), "PNG")),
            ("WEBP", encoded(face, "WEBP", exif=exif)),
            ("WEBP", encoded(clear, "WEBP", lossless=True)),
            ("WEBP", encoded(face, "WEBP", **film)),
            ("GIF", encoded(face, "GIF", **film)),
            ("BMP", encoded(face, "BMP")),
            ("TIFF", encoded(face, "TIFF", compression="tiff_lzw")),
            ("TIFF", encoded(face, "TIFF", compression="jpeg")),
            ("TIFF", encoded(grey.convert("F"), "TIFF")),
        ]
        if features.check("avif"):
            found.append(("AVIF", encoded(face, "AVIF")))
        if features.check("jpg_2000"):
            found.append(("JPEG2000", encoded(face, "JPEG2000")))
        if ".heic" in Image.registered_extensions():  # by pillow-heif, where somebody has it
            found.append(("HEIF", encoded(face, "HEIF")))
    return found


def mutated(data: bytes, other: bytes, draw: random.Random) -> bytes:
    """`data` with one to three mutations; `other` lends bytes to splices."""
    mutated_bytes = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3))):
        draw.choice(MUTATIONS)(mutated_bytes, other, draw)
    if data.startswith(PNG) and draw.random() < 0.5:
        mend_checksums(mutated_bytes)
    return bytes(mutated_bytes)


def flip_bits(data: bytearray, other: bytes, draw: random.Random) -> None:
    for _ in range(draw.randint(1, 20) if data else 0):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def cut(data: bytearray, other: bytes, draw: random.Random) -> None:
    del data[draw.randint(0, len(data)) :]


def splice(data: bytearray, other: bytes, draw: random.Random) -> None:
    """A piece of another file over, or between, its bytes."""
    start, at = draw.randint(0, len(other)), draw.randint(0, len(data))
    piece = other[start : start + draw.randint(1, 4000)]
    data[at : at + draw.choice((0, len(piece)))] = piece


def lose(data: bytearray, other: bytes, draw: random.Random) -> None:
    at = draw.randint(0, len(data))
    del data[at : at + draw.randint(1, 400)]


def change_header(data: bytearray, other: bytes, draw: random.Random) -> None:
    for at in draw.sample(range(64), draw.randint(1, 6)):
        if at < len(data):
            data[at] = draw.randrange(256)


def change_size(data: bytearray, other: bytes, draw: random.Random) -> None:
    """A number of 2 or 4 bytes, in either order, to an extreme: lengths, sizes, offsets."""
    form = draw.choice((">H", "<H", ">I", "<I"))
    value = draw.choice(EXTREMES) & (0xFFFF if form[1] == "H" else 0xFFFFFFFF)
    at = draw.randrange(max(1, min(len(data), draw.choice((64, 1024, len(data) or 1)))))
    data[at : at + struct.calcsize(form)] = struct.pack(form, value)


MUTATIONS = (flip_bits, cut, splice, lose, change_header, change_size)


def mend_checksums(data: bytearray) -> None:
    """Give the chunks of a PNG good checksums, so that the mutation reaches the decoder."""
    at = len(PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        end = at + 8 + length
        if end + 4 > len(data):
            return
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4


def outcome(data: bytes) -> str:
    """What the door makes of a file: "face", "no face", "refused"; anything else is a fault."""
    try:
        photo = open_photo(io.BytesIO(data), SIDE)
        locate(photo, "face").alignment.crop(photo, 64)
    except (UnreadablePhoto, NoFaceFound) as error:
        said = str(error)
        if "\n" in said or not 10 < len(said) < 300:
            return f"FAULT: not one sentence: {said[:300]!r}"
        return "no face" if isinstance(error, NoFaceFound) else "refused"
    except BaseException as error:  # all that a server would die of, MemoryError too
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"FAULT: {type(error).__name__}: {''.join(traceback.format_exc(limit=-3))}"
    return "face"


def files(count: int, seed: int):
    """`count` of (number, format, mutated bytes); each hangs on (seed, number) alone."""
    whole = seeds()
    for number in range(count):
        draw = random.Random(f"{seed} {number}")
        kind, data = draw.choice(whole)
        yield number, kind, mutated(data, draw.choice(whole)[1], draw)


def peak() -> float:
    """The most memory this process has ever held, in MB (Linux counts in KB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # Pillow's about the mutations, and libtiff's own
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    outcomes, slowest, memory = Counter(), (0.0, 0, ""), []
    start = time.monotonic()
    outcome(seeds()[1][1])  # so that the detector and the decoders are in memory
    for number, kind, data in files(args.files, args.seed):
        if number in (0, args.files // 2):
            memory.append(peak())
        begun = time.monotonic()
        found = outcome(data)
        slowest = max(slowest, (time.monotonic() - begun, number, kind))
        if found.startswith("FAULT"):
            print(f"file {number} ({kind}, seed {args.seed}): {found}", flush=True)
            found = "FAULT"
        outcomes[kind, found] += 1
    memory.append(peak())
    for kind in sorted({kind for kind, _ in outcomes}):
        row = {found: n for (of, found), n in sorted(outcomes.items()) if of == kind}
        print(f"{kind:8} " + ", ".join(f"{n} {found}" for found, n in row.items()))
    faults = sum(n for (_, found), n in outcomes.items() if found == "FAULT")
    print(f"{args.files} files in {time.monotonic() - start:.0f} s, {faults} faults; slowest "
          f"{slowest[0]:.2f} s (file {slowest[1]}, {slowest[2]}); peak memory "
          + " → ".join(f"{mb:.0f}" for mb in memory) + " MB (start, half, end)")  # fmt: skip
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
