"""Morphs, blends and whole photos by tiny untrained studios of every kind."""

from dataclasses import fields

import numpy as np
import pytest
import torch

import facevae
from facevae.imaging.alignment import find_faces
from facevae.imaging.images import to_tensor
from tests.unit.studios import WHOLE, levels


@pytest.mark.parametrize("size", [None, 160])
@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_a_morph_begins_and_ends_with_the_photos_themselves(studios, pairs, kind, path, size):
    studio, (a, b) = studios[kind], pairs[kind]
    strip = studio.morph_strip(a, b, steps=5, path=path, size=size)
    assert len(strip) == 5
    for frame, face in ((strip[0], a), (strip[-1], b)):
        assert np.array_equal(frame, face.crop_at((frame.height, frame.width)))
    assert np.array_equal(studio.morph(a, b, 0, path=path), a.crop)
    assert np.array_equal(studio.morph(a, b, 1, path=path), b.crop)


def test_without_detail_a_morph_is_the_decoders_own_picture(studios, pairs, kind):
    studio, (a, b) = studios[kind], pairs[kind]
    assert np.array_equal(studio.morph(a, b, 0, detail=0), studio.reconstruct(a))
    half = levels(studio.morph(a, b, 0, detail=0.5))
    assert np.abs(half - (levels(a.crop) + levels(studio.reconstruct(a))) / 2).max() <= 1


def test_every_step_of_a_morph_is_a_face_whose_landmarks_stand_between(studios, pairs):
    studio, (a, b) = studios["plain"], pairs["plain"]
    strip = studio.morph_strip(a, b, steps=5, size=256)
    found = [find_faces(frame) for frame in strip]
    assert all(len(faces) == 1 for faces in found)
    seen = torch.from_numpy(found[2][0].points).float() / 256
    off = [(seen - points).norm(dim=1).mean() for points in (a.points, b.points)]
    assert (seen - (a.points + b.points) / 2).norm(dim=1).mean() < min(off)


def test_with_a_hand_before_the_mouth_what_is_drawn_stays_a_face(studios, pairs):
    studio, (a, b) = studios["plain"], pairs["plain"]
    hand = a.photo.copy()
    left, top = a.alignment.to_pixels(np.array([0.25, 0.6]))
    skin = a.photo.getpixel(tuple(int(v) for v in a.alignment.to_pixels(np.array([0.3, 0.5]))))
    hand.paste(skin, (int(left), int(top), int(left + 0.4 * a.side), int(top + 0.3 * a.side)))
    covered = studio.read(hand)
    shown = [
        *studio.morph_strip(covered, b, 4, size=256),
        studio.edit(covered, {"Smiling": 1.0}, size=256),
    ]
    assert all(len(find_faces(picture)) == 1 for picture in shown)


@pytest.mark.parametrize("kind", WHOLE)
def test_pasting_leaves_the_rest_of_the_photo(studios, pairs, kind):
    studio, (a, b) = studios[kind], pairs[kind]
    assert np.array_equal(studio.morph(a, b, 0, paste=True), a.photo)
    assert np.array_equal(studio.blend((a, b), (1, 0), paste=True), a.photo)
    left, top, right, bottom = a.alignment.bounds()
    made = (studio.morph(a, b, 1, paste=True), studio.blend((a, b), (1, 1), paste=True),
            studio.edit(a, {"Smiling": 1.0, "Male": -1.0}, paste=True),
            studio.reconstruct(a, paste=True))  # fmt: skip
    for pasted in made:
        changed = (np.asarray(pasted) != np.asarray(a.photo)).any(-1)
        assert changed.any()
        changed[max(top, 0) : bottom, max(left, 0) : right] = False
        assert not changed.any()
    inside = to_tensor([a.alignment.crop(made[0], 64)])[..., 16:48, 16:48]
    # two bilinear enlargements and a reduction stand between: 3 % of the range
    assert (inside - b.image[..., 16:48, 16:48]).abs().mean() < 0.03


def test_a_blend_is_each_face_at_its_corner_and_in_proportion_between(studios, pairs, kind):
    studio, (a, b) = studios[kind], pairs[kind]
    for weights, face in (((1, 0), a), ((0, 7), b)):  # only ratios count
        blended = studio.blend((a, b), weights, size=112)
        assert np.array_equal(blended, face.crop_at((blended.height, blended.width)))
    edge = levels(studio.blend((a, b, a), (0.5, 0.25, 0.25), detail=0))
    assert np.abs(edge - levels(studio.morph(a, b, 0.25, detail=0))).max() <= 1  # order of sums
    itself = levels(studio.blend((a, a, a), (1, 2, 3)))
    assert np.abs(itself - levels(a.crop)).max() <= 1  # its landmarks stay where they are


class Marked(facevae.Face):
    """A face whose residual is nothing but a soft spot, 0.4 high, on its nose."""

    def residual(self, size):
        x, y = self.points[2]
        line = (torch.arange(size[0]) + 0.5) / size[0]
        spot = torch.exp(-((line[:, None] - y).square() + (line - x).square()) / 0.03**2)
        return 0.4 * spot.expand(1, 3, *size)


def test_in_a_blend_the_details_of_all_faces_meet_where_their_landmarks_do(studios, pairs):
    studio, face = studios["plain"], pairs["plain"][0]
    shifts = torch.tensor([[0.06, 0.0], [-0.06, 0.0], [0.0, 0.06]])
    known = {f.name: getattr(face, f.name) for f in fields(face) if f.init}
    faces = [Marked(**known | {"points": face.points + shift}) for shift in shifts]
    wholes = [levels(studio.blend(faces, (1, 1, 1), detail, size=200)) for detail in (0.0, 1.0)]
    added = (wholes[1] - wholes[0])[..., 1]
    y, x = np.unravel_index(added.argmax(), added.shape)
    nose = (face.points[2] + shifts.mean(dim=0)).tolist()
    assert np.hypot(x / 200 - nose[0], y / 200 - nose[1]) < 0.015  # a third of the way apart
    assert added.max() > 0.8 * 0.4 * 255  # one spot of full height, not three of a third
