"""Face recognition: whose face a picture shows, by a network that no training here has seen."""

from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facevae.imaging.alignment import FRAMINGS
from facevae.imaging.images import to_pil
from facevae.io import explained

SIDE, EYES_APART = 150, 0.3503  # pixels of the network's pictures; of their side, and
EYES_AT = np.array((0.4934, 0.3142))  # the middle of the eyes there: dlib's mean face
WEIGHTS = "models/dlib_face_recognition_resnet_model_v1.dat"


@cache
def _network() -> Any:
    packages = "pip install dlib-bin face_recognition_models"
    with explained(ValueError, "this needs two packages more", packages):
        import dlib

        # found, not imported: its own code asks for a module that setuptools no longer has
        folder = distribution("face_recognition_models").locate_file("face_recognition_models")
    return dlib.face_recognition_model_v1(str(Path(str(folder)) / WEIGHTS))


def descriptors(images: Tensor, framing: str) -> Tensor:
    """Descriptors (N, 128) of faces (N, 1 or 3, H, W) in [0, 1] that are framed so.

    Two of one person are mostly less than 0.6 apart: 92 % of pairs of CelebA's, and 0.4 % of pairs
    of two people. Source: King, dlib's face recognition network (ResNet-29, He et al., arXiv
    1512.03385), trained on three million faces of 7,485 people."""
    landmarks = FRAMINGS[framing]
    if landmarks is None:
        raise ValueError(f"a face recogniser needs framed faces: {framing!r} has no landmarks")
    eyes = landmarks[:2] * images.shape[-1]  # pixels
    side = (eyes[1, 0] - eyes[0, 0]) / EYES_APART
    corner = eyes.mean(axis=0) - side * EYES_AT
    box = (*corner, *(corner + side))
    shape, how = (SIDE, SIDE), Image.Transform.EXTENT
    crops = [np.asarray(one.transform(shape, how, box, Image.Resampling.BICUBIC))
             for one in to_pil(images.expand(-1, 3, -1, -1))]  # fmt: skip
    return torch.tensor(np.array(_network().compute_face_descriptor(crops)), dtype=torch.float32)
