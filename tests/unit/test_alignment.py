"""Face alignment: framings, crops, eyes given by hand, and faces that are not found."""

import numpy as np
import pytest
from PIL import Image

from facevae.imaging.alignment import (
    FRAMINGS,
    Alignment,
    Landmarks,
    NoFaceFound,
    find_faces,
    locate,
)
from facevae.imaging.face import photo_warning
from facevae.imaging.photo import open_photo
from tests.helpers import one_sentence

FACE, HEAD = FRAMINGS["face"], FRAMINGS["head"]
NAN = float("nan")


@pytest.fixture(scope="module")
def photo(portraits):
    return open_photo(portraits[0])


@pytest.mark.parametrize("framing", ["face", "head"])
def test_portraits_come_in_the_framing(portraits, framing):
    for file in portraits:
        photo = open_photo(file)
        located = locate(photo, framing)
        crop = located.alignment.crop(photo, 256)
        assert located.faces_found == 1 and crop.size == (256, 256)
        again = find_faces(crop)[0].points / 256  # the eyes of the crop, found once more
        assert np.abs(again - FRAMINGS[framing])[:2].max() < 0.04


def test_head_framing_is_celebas():
    """Eyes where CelebA has them, at (69, 111) and (108, 111) of 178×218, cut at (19, 48) + 140."""
    eyes = (np.array([(69, 111), (108, 111)]) - (19, 48)) / 140
    assert np.abs(HEAD[:2] - eyes).max() < 0.01
    assert np.allclose(HEAD[:2], [(0.357, 0.45), (0.643, 0.45)], atol=1e-3)


def test_the_transform_is_exact_on_moved_landmarks():
    angle, scale = 0.4, 300.0
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for template, framing in ((FACE, "face"), (HEAD, "head")):
        points = template @ turn.T + (120, 80)
        for n in (2, 5):
            got = Alignment.from_points(points[:n], framing)
            assert np.allclose(got.matrix, np.column_stack([turn, (120, 80)]))
            assert got.side == pytest.approx(scale)
            assert np.allclose(got.to_pixels(got.to_unit(points)), points)


def test_the_head_is_aligned_by_the_eyes_alone():
    points = 200 * HEAD
    points[2:] += 30  # a turned head moves nose and mouth
    assert np.allclose(
        Alignment.from_points(points, "head").matrix,
        Alignment.from_points(200 * HEAD, "head").matrix,
    )
    with pytest.raises(ValueError, match="'none' has no landmarks"):
        Alignment.from_points(points, "none")


def test_a_crop_that_reaches_out_of_the_photo_repeats_its_edge():
    photo = Image.new("RGB", (80, 80), "teal")
    alignment = Alignment.from_points(np.array([[5.0, 5.0], [60.0, 5.0]]))
    assert np.array_equal(alignment.crop(photo, 64), Image.new("RGB", (64, 64), "teal"))
    assert 0 < alignment.share_inside(photo) < 0.7
    inner = Alignment.from_points(80 * FACE)
    assert inner.share_inside(photo) == 1


def test_the_larger_of_two_faces_comes_first(portraits):
    large, small = (open_photo(file) for file in portraits)
    small = small.resize((small.width // 3, small.height // 3))
    both = Image.new("RGB", (large.width + small.width, large.height), "grey")
    both.paste(small, (0, 0))
    both.paste(large, (small.width, 0))
    first, second = locate(both), locate(both, which=1)
    assert first.faces_found == 2 and first.alignment.side > second.alignment.side
    left = first.alignment.matrix[0, 2]
    assert second.alignment.matrix[0, 2] < small.width < left + first.alignment.side
    for which in (2, -1):
        with pytest.raises(NoFaceFound) as caught:
            locate(both, which=which)
        one_sentence(caught, f"face {which} was asked for, but 2 found: count from 0")


def test_two_eye_points_need_no_detector(photo, monkeypatch):
    monkeypatch.setattr("facevae.imaging.alignment.find_faces", lambda _: pytest.fail("detected"))
    located = locate(photo, eyes=((100, 100), (180, 100)))
    assert located.faces_found == 1 and located.unit_points() is None
    assert located.alignment.side == pytest.approx(200)
    bad = [((5, 5), (5, 5)), ((1, 2), (NAN, 3)), ((1e400, 0), (1, 1)), ((1, 2),),
           ((1, 2, 3), (4, 5, 6)), 200 * FACE]  # fmt: skip
    for eyes in bad:
        with pytest.raises(NoFaceFound) as caught:
            locate(photo, eyes=eyes)
        one_sentence(caught, "the two eye points do not fit a face")
    for eyes in (((0, 9), (40_000, 9)), ((-50, 9), (50, 9))):
        with pytest.raises(NoFaceFound) as caught:
            locate(photo, eyes=eyes)
        one_sentence(caught, "do not lie in the photo")


def test_a_picture_without_a_face_says_what_to_give():
    with pytest.raises(NoFaceFound) as caught:
        locate(Image.linear_gradient("L").convert("RGB"))
    one_sentence(caught, "use a photo that shows the face from the front")


def test_a_face_of_a_few_pixels_is_refused_with_the_reason(monkeypatch):
    tiny = [Landmarks(7 * FACE + 50, 1.0)]  # its crop has 7 pixels a side
    monkeypatch.setattr("facevae.imaging.alignment.find_faces", lambda photo: tiny)
    with pytest.raises(NoFaceFound) as caught:
        locate(Image.new("RGB", (200, 200)))
    one_sentence(caught, "too small to use: the points lie too close together")


def test_a_face_that_is_partly_outside_the_photo_is_told_or_not_found(portraits):
    told = 0
    for file in portraits:
        photo = open_photo(file)
        alignment = locate(photo).alignment
        assert photo_warning(photo, locate(photo)) == ""
        for share in (0.25, 0.35, 0.5):
            left = int(alignment.to_pixels(np.array([share, 0.5]))[0])
            bottom = int(alignment.to_pixels(np.array([0.5, 1 - share]))[1])
            for box in ((left, 0, *photo.size), (0, 0, photo.width, bottom)):
                part = photo.crop(box)
                try:
                    located = locate(part)
                except NoFaceFound:
                    continue
                one_sentence(photo_warning(part, located), "of the face lies outside the photo")
                told += 1
    assert told >= 6


def test_a_profile_is_told_and_a_half_turned_head_is_not():
    photo = Image.new("RGB", (400, 400))

    def turned(degrees):
        """Landmarks of a head turned about its axis: the nose tip stands 0.2 before the eyes."""
        depth = np.array([0.0, 0.0, 0.22, 0.05, 0.05])
        angle = np.radians(degrees)
        across = (FACE[:, 0] - 0.5) * np.cos(angle) + depth * np.sin(angle) + 0.5
        points = 250 * np.column_stack([across, FACE[:, 1]]) + 50
        return locate_from(points)

    def locate_from(points):
        from facevae.imaging.alignment import Located

        return Located(Alignment.from_points(points), points, 1)

    for degrees in (0, 15, -25):
        assert photo_warning(photo, turned(degrees)) == ""
    for degrees in (60, -75):
        one_sentence(photo_warning(photo, turned(degrees)), "turned to the side")
