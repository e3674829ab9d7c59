import numpy as np
import pytest
import torch

import facevae
from facevae import dye
from facevae.align import fade
from facevae.hair import WIDE, WIDE_AT
from facevae.pictures import to_tensor
from facevae.studio import FOLDER


@pytest.fixture(scope="module")
def studio():
    return facevae.Studio.load()


@pytest.fixture(scope="module")
def face(studio):
    return studio.read(FOLDER.parent / "portraits" / "eileen_collins.jpg")


def chroma(picture):
    levels = np.asarray(picture, int)
    return (levels.max(-1) - levels.min(-1)).astype(float)


def test_grey_hair_is_grey_above_the_crop_too_and_what_is_no_hair_stays(studio, face):
    grey = studio.edit(face, {"Gray_Hair": 1.0}, paste=True)
    top = face.alignment.wider(0.4, (0.3, -0.25))  # the hair above the crop
    assert chroma(top.crop(grey, 64)).mean() < 0.5 * chroma(top.crop(face.photo, 64)).mean()
    head = face.alignment.wider(WIDE, WIDE_AT)
    changed = (np.asarray(grey) != np.asarray(face.photo)).any(-1)
    left, upper, right, lower = head._bounds(margin=1)
    changed[max(upper, 0) : lower, max(left, 0) : right] = False
    assert not changed.any()  # flag, shuttle and suit


def test_what_dyes_no_hair_keeps_the_bits_beyond_the_crop(studio, face):
    for picture in (
        studio.edit(face, {"Smiling": -1.0, "Bangs": 1.0}, paste=True),
        studio.age(face, 35, paste=True),
    ):
        changed = (np.asarray(picture) != np.asarray(face.photo)).any(-1)
        left, upper, right, lower = face.alignment._bounds(margin=1)
        assert changed.any()
        changed[upper:lower, left:right] = False
        assert not changed.any()


def test_hair_that_did_not_change_stays_and_without_any_nothing_is_done(face):
    crop = to_tensor([face.crop_at(128)])
    same = dye.spread(face, face.photo, crop, crop)
    assert np.abs(np.asarray(same, int) - np.asarray(face.photo, int)).max() <= 1

    class Bald(facevae.Face):
        hair = torch.zeros(1, 1, 64, 64)

    bald = Bald(**{name: getattr(face, name) for name in face.__dataclass_fields__})
    assert dye.spread(bald, face.photo, crop, 1 - crop) is face.photo


def test_a_wider_frame_has_the_crop_within(face):
    wide = face.alignment.wider(2.0, (-0.5, -0.75))
    assert wide.side == pytest.approx(2 * face.alignment.side)
    middle = wide.matrix @ (0.25, 0.375, 1.0)  # the crop's upper left corner
    assert middle == pytest.approx(face.alignment.matrix[:, 2])


def test_a_crop_fades_at_its_edge():
    places = np.array([(0.5, 0.5), (0.12, 0.5), (0.06, 0.5), (0.0, 0.5), (1.3, 0.5)])
    assert fade(places) == pytest.approx([1, 1, 0.5, 0, 0])
