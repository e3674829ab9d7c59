"""Face alignment: framings, crops, eyes given by hand, and faces that are not found."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from facevae.imaging.alignment import FRAMINGS, Alignment, Located, NoFaceFound, find_faces, locate
from facevae.imaging.photo import open_photo
from tests.helpers import one_sentence, refused

FACE, HEAD = FRAMINGS["face"], FRAMINGS["head"]


@pytest.fixture(scope="module")
def photos(portraits):
    return [open_photo(file) for file in portraits]


def test_the_transform_is_exact_on_moved_landmarks_and_a_crop_repeats_the_edge():
    angle, scale = 0.4, 300.0
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for template, framing in ((FACE, "face"), (HEAD, "head")):
        points = template @ turn.T + (120, 80)
        for n in (2, 5):
            got = Alignment.from_points(points[:n], framing)
            assert np.allclose(got.matrix, np.column_stack([turn, (120, 80)]))
            assert got.side == pytest.approx(scale)
            assert np.allclose(got.to_pixels(got.to_unit(points)), points)
    # a head is aligned by the eyes alone
    turned = 200 * HEAD + [(0, 0), (0, 0), (30, 30), (30, 30), (30, 30)]  # moves nose and mouth
    still = Alignment.from_points(200 * HEAD, "head")
    assert np.allclose(Alignment.from_points(turned, "head").matrix, still.matrix)
    with pytest.raises(ValueError, match="'none' has no landmarks"):
        Alignment.from_points(turned, "none")
    # a crop that reaches out of the photo repeats its edge
    alignment = Alignment.from_points(np.array([[5.0, 5.0], [60.0, 5.0]]))
    crop = alignment.crop(Image.new("RGB", (80, 80), "teal"), 64)
    assert np.array_equal(crop, Image.new("RGB", (64, 64), "teal"))


def test_the_larger_of_two_faces_is_taken_and_two_eye_points_need_no_detector(photos):
    large, small = photos
    small = small.resize((small.width // 3, small.height // 3))
    both = Image.new("RGB", (large.width + small.width, large.height), "grey")
    both.paste(small, (0, 0))
    both.paste(large, (small.width, 0))
    located = locate(both)
    assert located.faces_found == 2 and np.array_equal(located.points, find_faces(both)[0][0])
    assert located.alignment.matrix[0, 2] + located.alignment.side > small.width
    eyes = ((100, 100), (180, 100))
    located = locate(large, eyes=eyes)
    assert located.faces_found == 1 and np.array_equal(located.points, eyes)
    assert located.alignment.side == pytest.approx(200)


NAN = float("nan")
BAD_EYES = [((5, 5), (5, 5)), ((1, 2), (NAN, 3)), ((1e400, 0), (1, 1)), ((1, 2),),
            ((1, 2, 3), (4, 5, 6)), 7 * FACE]  # fmt: skip


@pytest.mark.parametrize(("eyes", "words"), [
    *((eyes, "the face cannot be used: ") for eyes in BAD_EYES),
    *((eyes, "do not lie in the photo") for eyes in (((0, 9), (4e4, 9)), ((-50, 9), (50, 9)))),
    (None, "use a photo that shows the face from the front"),
])  # fmt: skip
def test_what_is_no_face_is_refused_with_the_reason(eyes, words):
    with refused(NoFaceFound, words):
        locate(Image.linear_gradient("L").convert("RGB"), eyes=eyes)


def test_a_face_that_is_partly_outside_the_photo_or_behind_a_hand_is_told(photos):
    """The hand: four rounded bars over the mouth of a portrait."""
    for photo in photos:
        located = locate(photo)
        left = int(located.alignment.to_pixels(np.array([0.3, 0.5]))[0])
        part = photo.crop((left, 0, *photo.size))
        assert located.warning(photo) == ""
        one_sentence(locate(part).warning(part), "of the face lies outside the photo")
        (x, y), side = located.points[3:].mean(0), located.alignment.side
        covered, hand = photo.copy(), (205, 150, 120)
        draw = ImageDraw.Draw(covered)
        for k in range(4):
            left = x + side * (0.13 * k - 0.28)
            box = left, y - 0.28 * side, left + 0.12 * side, y + 0.4 * side
            draw.rounded_rectangle(box, 0.06 * side, hand)
        one_sentence(locate(covered).warning(covered), "may cover a part of the face")


@pytest.mark.parametrize(("degrees", "warns"), [(0, 0), (15, 0), (-25, 0), (60, 1), (-75, 1)])
def test_a_profile_is_told_and_a_half_turned_head_is_not(degrees, warns):
    """Landmarks of a head turned about its axis: the nose tip stands 0.22 before the eyes."""
    depth, angle = np.array([0.0, 0.0, 0.22, 0.05, 0.05]), np.radians(degrees)
    across = (FACE[:, 0] - 0.5) * np.cos(angle) + depth * np.sin(angle) + 0.5
    points = 250 * np.column_stack([across, FACE[:, 1]]) + 50
    located, photo = Located(Alignment.from_points(points), points, 1), Image.new("RGB", (400, 400))
    assert ("turned to the side" in located.warning(photo)) == bool(warns)
