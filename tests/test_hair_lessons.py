import importlib.util

import numpy as np
import pytest
from PIL import Image, ImageDraw

import facevae
from facevae import hair_lessons
from facevae.hair import MAP, SIDE

SKIN, BROWN, SHIRT, WALL = (205, 160, 135), (70, 45, 30), (40, 60, 140), (150, 150, 150)


def mesh():
    """Landmarks of a face about the middle, as far as the lessons look at them."""
    points = np.full((468, 2), 0.5)
    turn = np.linspace(0, 2 * np.pi, len(hair_lessons.OVAL), endpoint=False)
    around = np.stack([0.5 + 0.28 * np.sin(turn), 0.5 - 0.35 * np.cos(turn)], axis=1)
    points[list(hair_lessons.OVAL)] = around
    points[list(hair_lessons.BROWS)] = 0.5, 0.3
    for x, eye in zip((0.38, 0.62), hair_lessons.EYES, strict=True):
        points[list(eye)] = [(x + 0.05 * dx, 0.38) for dx in (-1, -0.5, 0.5, 1, 0.5, -0.5)]
    points[hair_lessons.NOSE] = 0.5, 0.55
    points[hair_lessons.CHIN] = 0.5, 0.85
    return points


def portrait(hair=BROWN):
    """A crop, and where on it the person is: skin, hair round the head, a shirt and a wall."""
    picture, person = Image.new("RGB", (SIDE, SIDE), WALL), Image.new("1", (SIDE, SIDE))
    for canvas, fills in ((picture, (hair, SHIRT)), (person, (1, 1))):
        draw = ImageDraw.Draw(canvas)
        draw.ellipse((14, 4, 114, 100), fill=fills[0])
        draw.rectangle((0, 112, 128, 128), fill=fills[1])
    ImageDraw.Draw(picture).ellipse((28, 19, 100, 109), fill=SKIN)
    grain = np.random.default_rng(0).integers(-6, 7, (SIDE, SIDE, 3))
    return (np.asarray(picture) + grain).clip(0, 255).astype(np.uint8), np.asarray(person)


def at(maps, x, y):
    return maps[int(y * MAP), int(x * MAP)]


def test_hair_is_what_of_the_person_is_round_the_face_and_unlike_its_skin():
    crop, person = portrait()
    found = hair_lessons.hair_of(crop, person, mesh())
    assert found.shape == (MAP, MAP) and found.dtype == np.uint8
    assert [at(found, x, y) for x, y in ((0.5, 0.08), (0.16, 0.4), (0.84, 0.4))] == [255] * 3
    assert not any(at(found, x, y) for x, y in ((0.5, 0.5), (0.5, 0.95), (0.05, 0.1)))


def test_a_bald_head_has_none_and_a_mask_that_missed_the_face_tells_nothing():
    crop, person = portrait(hair=SKIN)
    assert not hair_lessons.hair_of(crop, person, mesh()).any()
    person = person.copy()
    person[:, :64] = False
    assert hair_lessons.hair_of(crop, person, mesh()) is None


@pytest.mark.skipif(importlib.util.find_spec("mediapipe") is not None, reason="MediaPipe is here")
def test_without_mediapipe_one_sentence_says_what_to_install():
    with pytest.raises(ValueError, match=r"pip install mediapipe==0\.10\.14"):
        next(hair_lessons.lessons([portrait()[0]]))


def test_faces_of_another_size_are_told_so(tmp_path):
    small = facevae.prepare("synthetic", None, tmp_path / "faces", size=64, count=12)
    with pytest.raises(ValueError, match="--size 128"):
        hair_lessons.schoolbook(small, np.arange(3))
