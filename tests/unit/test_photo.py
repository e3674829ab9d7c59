"""Photos: what is read, how, and what is refused in one sentence."""

import io
import pickle
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from facevae.imaging.photo import UnreadablePhoto, open_photo
from tests.conftest import ROOT

PLAIN = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def saved(picture, kind, **options):
    return io.BytesIO(encoded(picture, kind, **options))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(orientation):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation → the transpose a camera made
    stored = PLAIN if orientation == 1 else PLAIN.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a camera"
    opened = open_photo(saved(stored, "PNG", exif=exif))
    assert np.array_equal(opened, PLAIN)
    assert not opened.info and not opened.getexif()


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "HSV", "L", "LA", "RGBA", "P", "PA", "1"])
def test_every_mode_becomes_rgb(mode):
    source = PLAIN.convert("L").convert(mode) if mode in ("LA", "PA") else (
        PLAIN.convert("RGB").convert(mode))  # fmt: skip
    opened = open_photo(source)
    assert opened.mode == "RGB" and opened.size == PLAIN.size


def test_transparency_lies_over_white():
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    assert open_photo(saved(clear, "PNG")).getpixel((5, 5)) == (255, 255, 255)
    indexed = Image.new("P", (32, 32), 0)
    assert open_photo(saved(indexed, "PNG", transparency=0)).getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (np.full((32, 32), 32768, np.uint16), 127),
        (np.full((32, 32), 0.5, np.float32), 127),
        (np.full((32, 32), 200, np.int32), 200),
        (np.full((32, 32, 3), 9, np.uint8), 9),
    ],
)
def test_levels_of_any_depth_are_scaled(levels, expected):
    assert abs(open_photo(levels).getpixel((3, 3))[0] - expected) <= 1


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    gif = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert open_photo(gif).getpixel((4, 4)) == (255, 0, 0)


def test_a_large_photo_is_bounded():
    large = saved(Image.new("RGB", (6000, 4000), "teal"), "JPEG")
    assert max(open_photo(large).size) <= 4096
    large.seek(0)
    assert max(open_photo(large, max_side=500).size) <= 500


def test_a_given_picture_is_left_as_it_was():
    given = Image.open(saved(Image.new("RGB", (6000, 4000), "teal"), "JPEG"))
    assert open_photo(given, max_side=500).size == (500, 333) and given.size == (6000, 4000)


def test_an_embedded_colour_profile_is_followed():
    """PLAIN as a camera stores it whose red is green: without its profile it would look so."""
    swapped = PLAIN.convert("RGB", matrix=(0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0))
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    title = profile.index("sRGB".encode("utf-16-be"))
    profile[title : title + 2] = "x".encode("utf-16-be")
    for stored, kind in ((swapped, "PNG"), (swapped.convert("RGBA"), "PNG")):
        opened = open_photo(saved(stored, kind, icc_profile=bytes(profile)))
        away = np.abs(np.asarray(opened, int) - np.asarray(PLAIN, int))
        assert opened.mode == "RGB" and np.median(away) <= 2 and not opened.info
    broken = open_photo(saved(swapped, "PNG", icc_profile=b"no profile"))
    assert np.array_equal(broken, swapped)


def png(width, height, *chunks):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = b"".join(chunk(*one) for one in chunks) or chunk(b"IDAT", zlib.compress(b"0"))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


JPEG, PNG = encoded(PLAIN, "JPEG"), encoded(PLAIN, "PNG")
UNREADABLE = {
    "no bytes": (b"", "cannot be read as a picture"),
    "text": (b"dear sirs, enclosed my photo", "cannot be read as a picture"),
    "an SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "give a whole JPEG, PNG or WebP"),
    "a pickle": (pickle.dumps({"a": 1}), "cannot be read as a picture"),
    "a cut JPEG": (JPEG[: len(JPEG) // 2], "cannot be read as a picture"),
    "a JPEG's first bytes": (JPEG[:20], "cannot be read as a picture"),
    "a cut PNG": (PNG[: len(PNG) // 2], "cannot be read as a picture"),
    "a PNG with a wrong checksum": (PNG[:60] + b"\xff" + PNG[61:], "cannot be read as a picture"),
    "a cut WebP": (encoded(PLAIN, "WEBP")[:200], "cannot be read as a picture"),
    "a cut TIFF": (encoded(PLAIN, "TIFF")[:2000], "cannot be read as a picture"),
    "a GIF without a frame": (b"GIF89a" + bytes(20), "cannot be read as a picture"),
    "PostScript": (encoded(PLAIN, "EPS"), "PostScript"),
    "1 × 1": (encoded(Image.new("RGB", (1, 1)), "PNG"), "only 1×1 pixels: give a larger photo"),
    "1 × 20000": (encoded(Image.new("RGB", (1, 20_000)), "PNG"), "pixels: give a larger photo"),
    "20000 × 1": (encoded(Image.new("RGB", (20_000, 1)), "PNG"), "pixels: give a larger photo"),
    "a bomb": (png(60_000, 60_000), "save it with fewer than 120 million"),
    "a lesser bomb": (png(12_000, 12_000), "12000×12000 pixels: save it with fewer than 120"),
}


@pytest.mark.parametrize(("content", "words"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_photo_is_refused_in_one_sentence(content, words, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(content)
    for photo in (tmp_path / "photo.jpg", io.BytesIO(content)):
        with pytest.raises(UnreadablePhoto, match=words) as caught:
            open_photo(photo)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
        assert str(tmp_path) not in str(caught.value)  # a server's folders stay private


TURNED = Image.Exif()
TURNED[0x0112] = 6
RED, CLEAR = Image.new("RGB", (40, 24), (200, 20, 20)), Image.new("RGBA", (40, 24), (9, 9, 9, 0))
READABLE = {  # bytes → size, and the levels of the first pixel
    "CMYK": (encoded(RED.convert("CMYK"), "JPEG"), (40, 24), (200, 20, 20)),
    "16 bits": (encoded(Image.new("I;16", (40, 24), 0x8080), "PNG"), (40, 24), (128,) * 3),
    "a palette with alpha": (encoded(CLEAR.quantize(2), "PNG"), (40, 24), (255,) * 3),
    "an animation": (encoded(RED, "WEBP", save_all=True, append_images=[RED.rotate(90)],
                             lossless=True), (40, 24), (200, 20, 20)),
    "held upright": (encoded(RED, "JPEG", exif=TURNED, quality=95), (24, 40), (200, 20, 20)),
}  # fmt: skip


@pytest.mark.parametrize(("content", "size", "levels"), READABLE.values(), ids=READABLE)
def test_unusual_photos_are_read(content, size, levels):
    photo = open_photo(io.BytesIO(content))
    assert photo.mode == "RGB" and photo.size == size
    # JPEG rounds, and CMYK's way there and back twice
    assert np.abs(np.subtract(photo.getpixel((0, 0)), levels)).max() <= 3


def test_deep_levels_beyond_all_sense_are_read_by_strips():
    levels = np.full((600, 20), np.nan, np.float32)
    levels[300:] = (np.inf,) * 10 + (-np.inf,) * 10
    photo = np.asarray(open_photo(levels))
    assert photo[0, 0, 0] == photo[599, 19, 0] == 0 and photo[599, 0, 0] == 255


def test_a_small_file_of_many_pixels_does_not_fill_the_memory():
    """40 million pixels in a few KB; at the least they are held once, in 4 bytes each."""
    program = (
        "import io, resource, sys, zlib; from tests.unit.test_photo import png, open_photo\n"
        "row = zlib.compressobj(1); data = b''.join(row.compress(bytes(1 + 3 * 6300)) "
        "for _ in range(6300)) + row.flush()\n"
        "held = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before = held(); photo = open_photo(io.BytesIO(png(6300, 6300, (b'IDAT', data))), 1000)\n"
        "print(max(photo.size), held() - before)"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    side, grown = map(int, ran.stdout.split())
    assert side == 1000 and grown < 300  # MB: 160 and what a bit of shrinking needs, not 480


def test_what_is_no_file_is_refused(tmp_path):
    for photo in (tmp_path, tmp_path / "absent.jpg", None, 7, np.zeros((2, 2, 7)), np.zeros(5)):
        with pytest.raises(UnreadablePhoto):
            open_photo(photo)
