"""Photos: what is read, how, and what is refused in one sentence."""

import io
import pickle
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from facevae.imaging.photo import UnreadablePhoto, open_photo
from tests.helpers import encoded, python, refused

PLAIN = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
RED, CLEAR = Image.new("RGB", (40, 24), (200, 20, 20)), Image.new("RGBA", (40, 24), (9, 9, 9, 0))


def saved(picture, kind, **options):
    return io.BytesIO(encoded(picture, kind, **options))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(orientation):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation → the transpose a camera made
    stored = PLAIN if orientation == 1 else PLAIN.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "a camera"
    opened = open_photo(saved(stored, "PNG", exif=exif))
    assert np.array_equal(opened, PLAIN) and not opened.info and not opened.getexif()


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "HSV", "L", "LA", "RGBA", "P", "PA", "1"])
def test_every_mode_becomes_rgb(mode):
    opened = open_photo((PLAIN.convert("L") if mode in ("LA", "PA") else PLAIN).convert(mode))
    assert opened.mode == "RGB" and opened.size == PLAIN.size


READABLE = {  # photo → the levels of its first pixel
    "CMYK": (saved(RED.convert("CMYK"), "JPEG"), (200, 20, 20)),
    "16 bits": (saved(Image.new("I;16", (40, 24), 0x8080), "PNG"), (128,) * 3),
    "16 bits as numbers": (np.full((24, 40), 32768, np.uint16), (128,) * 3),
    "a palette with alpha": (saved(CLEAR.quantize(2), "PNG"), (255,) * 3),
    "a GIF": (saved(RED, "GIF", save_all=True, append_images=[CLEAR]), (200, 20, 20)),
    "an animation": (saved(RED, "WEBP", save_all=True, append_images=[RED.rotate(90)],
                           lossless=True), (200, 20, 20)),
}  # fmt: skip


@pytest.mark.parametrize(("content", "levels"), READABLE.values(), ids=READABLE)
def test_unusual_photos_are_read(content, levels):
    photo = open_photo(content)
    assert photo.mode == "RGB" and photo.size == (40, 24)
    # JPEG rounds, and CMYK's way there and back twice
    assert np.abs(np.subtract(photo.getpixel((0, 0)), levels)).max() <= 3


def test_a_large_photo_is_bounded_and_one_that_is_given_stays_as_it_was():
    large = saved(Image.new("RGB", (6000, 4000), "teal"), "JPEG")
    assert max(open_photo(large).size) <= 4096
    given = Image.open(large)
    assert open_photo(given, max_side=500).size == (500, 333) and given.size == (6000, 4000)


def test_an_embedded_colour_profile_is_followed():
    """PLAIN as a camera stores it whose red is green: without its profile it would look so."""
    swapped = PLAIN.convert("RGB", matrix=(0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0))
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    title = profile.index("sRGB".encode("utf-16-be"))
    profile[title : title + 2] = "x".encode("utf-16-be")
    for stored in (swapped, swapped.convert("RGBA")):
        opened = open_photo(saved(stored, "PNG", icc_profile=bytes(profile)))
        away = np.abs(np.asarray(opened, int) - np.asarray(PLAIN, int))
        assert opened.mode == "RGB" and np.median(away) <= 2 and not opened.info
    broken = open_photo(saved(swapped, "PNG", icc_profile=b"no profile"))
    assert np.array_equal(broken, swapped)


def png(width, height):
    """The head of a picture that is as large as it says."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


PNG = encoded(PLAIN, "PNG")
CUT = {kind: encoded(PLAIN, kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF")}
UNREADABLE = {f"a cut {kind}": whole[: len(whole) // 2] for kind, whole in CUT.items()} | {
    "text": b"dear sirs, enclosed my photo",
    "a pickle": pickle.dumps({"a": 1}),
    "a PNG with a wrong checksum": PNG[:60] + b"\xff" + PNG[61:],
    "a GIF without a frame": b"GIF89a" + bytes(20),
    "PostScript": encoded(PLAIN, "EPS"),
}
REFUSED = {k: (v, "cannot be read as a picture: give a whole JPEG") for k, v in UNREADABLE.items()}
REFUSED |= {
    "a line": (encoded(Image.new("RGB", (20_000, 1)), "PNG"), "4096×1 pixels: give a larger"),
    "a bomb": (png(60_000, 60_000), "save it with fewer than 120 million"),
    "a lesser bomb": (png(12_000, 12_000), "save it with fewer than 120 million"),
}


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_photo_is_refused_in_one_sentence(content, words, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(content)
    for photo in (tmp_path / "photo.jpg", io.BytesIO(content)):
        with refused(UnreadablePhoto, words) as caught:
            open_photo(photo)
        said = str(caught.value)
        assert len(said) < 400 and str(tmp_path) not in said  # a server's folders stay private


def test_what_is_no_file_is_refused(tmp_path):
    for photo in (tmp_path, tmp_path / "absent.jpg", None, 7, np.zeros((2, 2, 7)), np.zeros(5)):
        with pytest.raises(UnreadablePhoto):
            open_photo(photo)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_small_file_of_many_pixels_does_not_fill_the_memory(tmp_path):
    """40 million pixels in 100 KB; at the least they are held once, in 4 bytes each."""
    (wide := tmp_path / "wide.png").write_bytes(encoded(Image.new("RGB", (6300, 6300)), "PNG"))
    program = (  # getrusage's figure would begin with that of the parent
        "import sys; from facevae.imaging.photo import open_photo\n"
        "held = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "before = held(); photo = open_photo(sys.argv[1], 1000)\n"
        "print(max(photo.size), (held() - before) // 1024)"
    )
    side, grown = map(int, python("-W", "ignore", "-c", program, wide).stdout.split())
    assert side == 1000 and grown < 300  # MB: 160 and what a bit of shrinking needs, not 480
