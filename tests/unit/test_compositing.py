"""What is shown of an edit: the formula, its limits, and the whole photo."""

import numpy as np
import pytest
import torch
from PIL import Image

from facevae.imaging.alignment import locate
from facevae.imaging.compositing import composite, paste_back
from facevae.imaging.face import Face
from facevae.imaging.images import to_tensor
from facevae.imaging.photo import open_photo

GREY, WHITE = torch.full((1, 3, 16, 16), 90 / 255), torch.ones(1, 3, 16, 16)


@pytest.fixture(scope="module")
def face(portraits):
    """A portrait whose decoder's picture is plain grey, 16×16."""
    photo = open_photo(portraits[0])
    alignment = locate(photo).alignment
    crop = alignment.crop(photo, 16)
    return Face(photo, alignment, crop, to_tensor([crop]), torch.zeros(1, 4), None, GREY)


@pytest.mark.parametrize("size", [(16, 16), (100, 100), (320, 320)])
def test_with_nothing_changed_the_photo_comes_back_to_the_bit(face, size):
    assert np.array_equal(composite(face, GREY, None, 1.0, size), face.crop_at(size))
    assert np.array_equal(paste_back(face, GREY, GREY), face.photo)


def test_the_formula(face):
    after, hold = GREY + 0.1, torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    photo = to_tensor([face.crop])
    for detail in (0.0, 0.4, 1.0):
        shown = to_tensor([composite(face, after, hold, detail, (16, 16))])
        assert torch.allclose(
            shown, (after + detail * hold * (photo - GREY)).clamp(0, 1), atol=0.5 / 255 + 1e-6
        )


def test_pasting_an_edit_keeps_the_bits_outside_and_fades_at_the_edge(face):
    pasted = np.asarray(paste_back(face, GREY, GREY + 40 / 255), int)
    before = np.asarray(face.photo, int)
    rows, columns = np.nonzero((pasted != before).any(-1))
    unit = face.alignment.to_unit(np.column_stack([columns + 0.5, rows + 0.5]))
    assert len(rows) and unit.min() > 0 and unit.max() < 1
    middle = tuple(np.round(face.alignment.to_pixels(np.array([0.5, 0.5]))).astype(int)[::-1])
    change = (pasted - before)[middle]
    assert (change >= np.minimum(38, 255 - before[middle])).all()


def test_without_detail_or_hold_the_decoders_picture_is_pasted(face):
    middle = tuple(int(v) for v in face.alignment.to_pixels(np.array([0.5, 0.5])))
    nothing = torch.zeros(1, 1, 16, 16)
    for hold, detail in ((None, 0.0), (nothing, 1.0)):
        pasted = paste_back(face, WHITE, GREY, hold, detail)
        assert pasted.getpixel(middle) == (90, 90, 90)


def test_grey_pictures_change_all_colours_alike(face):
    pasted = np.asarray(paste_back(face, GREY[:, :1], GREY[:, :1] - 20 / 255), int)
    change = pasted - np.asarray(face.photo, int)
    middle = tuple(np.round(face.alignment.to_pixels(np.array([0.5, 0.5]))).astype(int)[::-1])
    assert change[middle].tolist() == [-20, -20, -20]


def test_a_crop_outside_the_photo_changes_nothing_and_a_whole_picture_has_no_photo(face):
    away = Face(
        Image.new("RGB", (40, 40)), face.alignment, face.crop, face.image, face.mean, None, GREY
    )
    assert np.array_equal(paste_back(away, GREY, WHITE), away.photo)
    whole = Face(face.photo, None, face.crop, face.image, face.mean, None, GREY)
    with pytest.raises(ValueError, match="reads whole pictures"):
        paste_back(whole, GREY, WHITE)


def test_an_oval_leaves_the_corners_of_the_crop(face):
    corner, side = face.alignment.to_pixels(np.array([(0.12, 0.12), (0.5, 0.2)])).astype(int)
    before = np.asarray(face.photo, int)
    for oval, changed in ((True, False), (False, True)):
        pasted = np.asarray(paste_back(face, GREY, GREY + 0.2, oval=oval), int)
        assert (pasted != before)[corner[1], corner[0]].any() == changed
        assert (pasted != before)[side[1], side[0]].any()
