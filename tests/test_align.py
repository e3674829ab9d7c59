import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from facevae.align import (
    FRAME,
    Alignment,
    Landmarks,
    NoFaceFound,
    align,
)
from facevae.photo import UnreadablePhoto, open_photo

PLAIN = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))


def saved(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return io.BytesIO(buffer.getvalue())


@pytest.fixture(scope="module")
def photo(portraits):
    return open_photo(portraits[0])


@pytest.fixture(scope="module")
def found(photo):
    return align(photo)[0]


def test_portraits_are_framed_as_utkface_is(portraits):
    from facevae.align import find_faces

    for file in portraits:
        photo = open_photo(file)
        alignment, count = align(photo)
        assert count == 1
        crop = alignment.crop(photo, 256)
        assert crop.size == (256, 256)
        again = find_faces(crop)[0].points / 256
        assert np.abs(again - FRAME)[:2].max() < 0.04  # the eyes of the crop, found once more


def test_pasting_back_unchanged_changes_nothing(photo, found):
    crop = found.crop(photo)
    pasted = found.paste(photo, crop, crop)
    assert np.array_equal(pasted, photo)


def test_pasting_an_edit_leaves_the_bits_outside_and_fades_at_the_edge(photo, found):
    crop = found.crop(photo)
    bright = crop.point(lambda level: min(255, level + 40))
    pasted, before = np.asarray(found.paste(photo, bright, crop), int), np.asarray(photo, int)
    rows, columns = np.nonzero((pasted != before).any(-1))
    unit = np.column_stack([columns + 0.5, rows + 0.5]) - found.matrix[:, 2]
    unit = unit @ np.linalg.inv(found.matrix[:, :2]).T
    assert len(rows) and unit.min() > 0 and unit.max() < 1
    middle = tuple(np.round(found.matrix @ (0.5, 0.5, 1)).astype(int)[::-1])
    change = (pasted - before)[middle]
    assert (change >= np.minimum(38, 255 - before[middle])).all()


def test_without_detail_the_crop_itself_is_pasted(photo, found):
    grey = Image.new("RGB", (128, 128), (90, 90, 90))
    pasted = found.paste(photo, grey, found.crop(photo), detail=0.0)
    middle = tuple(int(v) for v in found.matrix @ (0.5, 0.5, 1))
    assert pasted.getpixel(middle) == (90, 90, 90)


def test_a_crop_reaching_out_of_the_photo_repeats_its_edge(photo):
    alignment = Alignment.from_points(np.array([[5.0, 5.0], [60.0, 5.0]]))
    crop = alignment.crop(photo, 64)
    assert crop.size == (64, 64)
    pasted = alignment.paste(photo, Image.new("RGB", (64, 64)), crop)
    assert pasted.size == photo.size
    away = Alignment.from_points(np.array([[-500.0, -500.0], [-450.0, -500.0]]))
    assert np.array_equal(away.paste(photo, crop, crop), photo)


def test_the_transform_is_exact_on_moved_landmarks():
    angle, scale = 0.4, 300.0
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = FRAME @ turn.T + (120, 80)
    for n in (2, 5):
        got = Alignment.from_points(points[:n])
        assert np.allclose(got.matrix, np.column_stack([turn, (120, 80)]))
        assert got.side == pytest.approx(scale)


def test_the_larger_of_two_faces_comes_first(portraits):
    large, small = (open_photo(file) for file in portraits)
    small = small.resize((small.width // 3, small.height // 3))
    both = Image.new("RGB", (large.width + small.width, large.height), "grey")
    both.paste(small, (0, 0))
    both.paste(large, (small.width, 0))
    first, count = align(both)
    second, _ = align(both, which=1)
    assert count == 2 and first.side > second.side
    assert second.matrix[0, 2] < small.width < first.matrix[0, 2] + first.side
    with pytest.raises(NoFaceFound, match="face 2 was asked for, but 2 found"):
        align(both, which=2)


def test_two_eye_points_need_no_detector(photo, monkeypatch):
    monkeypatch.setattr("facevae.align._detector", lambda: pytest.fail("the detector was asked"))
    alignment, count = align(photo, eyes=((100, 100), (180, 100)))
    assert count == 1 and alignment.side == pytest.approx(200)
    for eyes in (((5, 5), (5, 5)), ((1, 2), (float("nan"), 3)), ((1, 2),)):
        with pytest.raises(NoFaceFound, match="eye points do not fit"):
            align(photo, eyes=eyes)
    for eyes in (((0, 9), (40_000, 9)), ((-50, 9), (50, 9))):
        with pytest.raises(NoFaceFound, match="do not lie in the photo"):
            align(photo, eyes=eyes)


def test_a_photo_without_a_face_is_searched_once(monkeypatch):
    searched = []
    monkeypatch.setattr("facevae.align.find_faces", lambda photo: searched.append(photo) or [])
    with pytest.raises(NoFaceFound):
        align(PLAIN)
    assert len(searched) == 1


def test_no_face_says_what_to_do():
    gradient = Image.linear_gradient("L").convert("RGB")
    with pytest.raises(NoFaceFound, match="use a photo that shows the face"):
        align(gradient)


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


def bomb() -> bytes:
    """A PNG of 70 bytes that says it is 60,000 × 60,000."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no picture at all",
        bomb(),
        saved(PLAIN, "JPEG").getvalue()[:300],
        saved(PLAIN, "PNG").getvalue()[:200],
        saved(Image.new("RGB", (8, 300)), "PNG").getvalue(),
        b"GIF89a" + bytes(20),
        b"\x80\x04K\x01.",
    ],
)
def test_broken_and_huge_files_are_refused_in_one_sentence(content, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(content)
    for photo in (tmp_path / "photo.jpg", io.BytesIO(content)):
        with pytest.raises(UnreadablePhoto) as caught:
            open_photo(photo)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
        assert str(tmp_path) not in str(caught.value)  # a server's folders are nobody's business


def test_what_is_no_file_is_refused(tmp_path):
    for photo in (tmp_path, tmp_path / "absent.jpg", None, 7, np.zeros((2, 2, 7)), np.zeros(5)):
        with pytest.raises(UnreadablePhoto):
            open_photo(photo)


def test_a_face_of_a_few_pixels_is_refused_with_the_reason(monkeypatch):
    tiny = [Landmarks(7 * FRAME + 50, confidence=1.0, area=49.0)]  # its crop has 7 pixels a side
    monkeypatch.setattr("facevae.align.find_faces", lambda photo: tiny)
    with pytest.raises(NoFaceFound, match="too small to use: the points lie too close together"):
        align(Image.new("RGB", (200, 200)))
