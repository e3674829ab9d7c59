"""Morphs, blends and whole photos by tiny untrained studios of every kind."""

import numpy as np
import pytest
import torch

from facevae.imaging.alignment import find_faces
from facevae.imaging.images import to_tensor
from tests.unit.studios import WHOLE, levels


@pytest.mark.parametrize("size", [None, 160])
@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_a_morph_begins_and_ends_with_the_photos_themselves(studios, pairs, kind, path, size):
    studio, (a, b) = studios[kind], pairs[kind]
    strip = studio.morph_strip(a, b, steps=5, path=path, size=size)
    assert len(strip) == 5
    for t, face in ((0, a), (1, b)):
        assert strip[-t] == face.crop_at((strip[0].height, strip[0].width))
        assert np.array_equal(studio.morph(a, b, t, path=path), face.crop)


def test_without_detail_a_morph_is_the_decoders_own_picture(studios, pairs, kind):
    studio, (a, b) = studios[kind], pairs[kind]
    assert np.array_equal(studio.morph(a, b, 0, detail=0), studio.reconstruct(a))
    half = levels(studio.morph(a, b, 0, detail=0.5))
    assert np.abs(half - (levels(a.crop) + levels(studio.reconstruct(a))) / 2).max() <= 1


def test_every_step_of_a_morph_is_a_face_whose_landmarks_stand_between(studios, pairs):
    studio, (a, b) = studios["plain"], pairs["plain"]
    found = [find_faces(frame) for frame in studio.morph_strip(a, b, steps=5, size=256)]
    assert all(len(faces) == 1 for faces in found)
    seen = torch.from_numpy(found[2][0]).float() / 256
    off = [(seen - points).norm(dim=1).mean() for points in (a.points, b.points)]
    assert (seen - (a.points + b.points) / 2).norm(dim=1).mean() < min(off)


@pytest.mark.parametrize("kind", WHOLE)
def test_pasting_leaves_the_rest_of_the_photo(studios, pairs, kind):
    studio, (a, b) = studios[kind], pairs[kind]
    assert np.array_equal(studio.morph(a, b, 0, paste=True), a.photo)
    assert np.array_equal(studio.blend((a, b), (1, 0), paste=True), a.photo)
    (left, top), (right, bottom) = a.alignment.bounds().clip(0)
    made = (studio.morph(a, b, 1, paste=True), studio.blend((a, b), (1, 1), paste=True),
            studio.edit(a, {"Smiling": 1.0, "Male": -1.0}, paste=True))  # fmt: skip
    for pasted in made:
        changed = (np.asarray(pasted) != np.asarray(a.photo)).any(-1)
        assert changed.any()
        changed[top:bottom, left:right] = False
        assert not changed.any()
    inside = to_tensor([a.alignment.crop(made[0], 64)])[..., 16:48, 16:48]
    # two bilinear enlargements and a reduction stand between: 3 % of the range
    assert (inside - b.image[..., 16:48, 16:48]).abs().mean() < 0.03


def test_a_blend_is_each_face_at_its_corner_and_a_morph_between_two(studios, pairs, kind):
    studio, (a, b) = studios[kind], pairs[kind]
    for weights, face in (((1, 0), a), ((0, 7), b)):  # only ratios count
        blended = studio.blend((a, b), weights, size=112)
        assert blended == face.crop_at((blended.height, blended.width))
    blended = levels(studio.blend((a, b), (0.75, 0.25), size=112))
    assert np.abs(blended - levels(studio.morph(a, b, 0.25, size=112))).max() <= 1  # order of sums
    itself = levels(studio.blend((a, a, a), (1, 2, 3)))
    assert np.abs(itself - levels(a.crop)).max() <= 1  # its landmarks stay where they are
