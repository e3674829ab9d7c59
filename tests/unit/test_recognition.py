"""Face recognition: descriptors of two portraits."""

import torch

from facevae.evaluation.recognition import descriptors
from facevae.imaging.alignment import locate
from facevae.imaging.compositing import crop_of
from facevae.imaging.images import to_tensor
from facevae.imaging.photo import open_photo
from tests.helpers import refused


def test_a_person_is_near_in_any_light_and_framing_and_another_is_far(portraits):
    photos, found = [open_photo(path) for path in portraits], {}
    for framing, size in {"head": 128, "face": 64}.items():
        places = [locate(photo, framing).alignment for photo in photos]
        crops = [crop_of(*one, (size, size), "RGB") for one in zip(photos, places, strict=True)]
        faces = to_tensor(crops)
        found[framing] = descriptors(torch.cat([faces, faces.flip(3), 0.7 * faces]), framing)
    kept = torch.cat([*found.values()])  # (12, 128): two people in turn
    apart, same = torch.cdist(kept, kept), torch.arange(12) % 2
    assert apart[same[:, None] == same].max() < 0.5 < 0.6 < apart[same[:, None] != same].min()


def test_grey_faces_have_descriptors_and_whole_pictures_have_none():
    assert descriptors(torch.rand(2, 1, 64, 64), "face").shape == (2, 128)
    with refused(ValueError, "'none' has no landmarks"):
        descriptors(torch.rand(1, 3, 64, 64), "none")
