"""What is shown of an edit: the formula, its limits, and the whole photo."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from facevae.imaging.alignment import locate
from facevae.imaging.compositing import Face, composite, paste_back
from facevae.imaging.images import to_pil, to_tensor
from facevae.imaging.photo import open_photo

GREY, ALL = torch.full((1, 3, 16, 16), 90 / 255), torch.ones(1, 1, 1, 1)


@pytest.fixture(scope="module")
def face(portraits):
    """A portrait whose decoder's picture is plain grey, 16×16."""
    photo = open_photo(portraits[0])
    alignment = locate(photo).alignment
    crop = alignment.crop(photo, 16)
    return Face(photo, alignment, crop, to_tensor([crop]), torch.zeros(1, 4), None, GREY,
                torch.zeros_like(GREY))  # fmt: skip


@pytest.fixture(scope="module")
def middle(face):
    """Row and column of the photo in the middle of the crop."""
    return tuple(face.alignment.to_pixels(np.array([0.5, 0.5])).round().astype(int)[::-1])


def test_pasting_keeps_the_bits_outside_and_fades_at_the_edge(face, middle):
    shown = composite([(face, 1.0)], GREY + 40 / 255, ALL, (128, 128))
    change = np.asarray(paste_back(face, shown, ALL, 0.12), int) - face.photo
    rows, columns = np.nonzero(change.any(-1))
    unit = face.alignment.to_unit(np.column_stack([columns + 0.5, rows + 0.5]))
    assert len(rows) and unit.min() > 0 and unit.max() < 1
    assert np.linalg.norm(unit - 0.5, ord=4, axis=1).max() < 0.5  # its corners are rounded
    assert (change[middle] >= np.minimum(38, 255 - np.asarray(face.photo)[middle])).all()
    decoded = composite([(face, 1.0)], GREY, 0 * ALL, (128, 128))  # without detail or hold
    assert np.asarray(paste_back(face, decoded, 0 * ALL, 0.12))[middle].tolist() == [90, 90, 90]


def test_grey_pictures_change_all_colours_alike(face, middle):
    grey = replace(face, crop=face.crop.convert("L"), decoded=GREY[:, :1])
    darker = to_pil(to_tensor([grey.crop_at((64, 64))]) - 20 / 255)[0]
    change = np.asarray(paste_back(grey, darker, ALL, 0.12), int) - face.photo
    assert change[middle].tolist() == [-20, -20, -20]
