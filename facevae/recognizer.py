"""A recognizer: whether a picture still shows the same person, by a network made for just that.

It measures (`evaluate --recognizer`), and is no part of the app. dlib and its weights, in the
public domain, come from the package index: `pip install dlib-bin face_recognition_models`.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facevae.pictures import to_pil

FILES = ("shape_predictor_5_face_landmarks.dat", "dlib_face_recognition_resnet_model_v1.dat")
MARGIN = 0.25  # of the side, put round a crop: the network looks at a wider frame than ours
BOX = (0.08, 0.13, 0.92, 0.97)  # left, top, right, bottom of the face in an aligned crop
CHIP, PADDING = 150, 0.25  # pixels and margin of the picture that the network was taught with


class Recognizer:
    """dlib's residual network: faces of one person lie near each other.

    Source: King, "Dlib-ml", JMLR 10 (2009); the network of dlib 19.3, which tells people apart on
    Labeled Faces in the Wild in 99.4 % of pairs, at a distance of 0.6.
    """

    def __init__(self) -> None:
        """Raises ValueError where dlib or its weights are not installed."""
        try:
            import dlib

            package = importlib.util.find_spec("face_recognition_models")  # its import wants more
            if package is None or not package.submodule_search_locations:
                raise ImportError("no face_recognition_models")
        except ImportError as error:
            raise ValueError(
                f"the recognizer is not here ({error}): install it by `pip install dlib-bin "
                "face_recognition_models`, or leave --recognizer out"
            ) from error
        weights = Path(package.submodule_search_locations[0]) / "models"
        self._dlib = dlib
        self._landmarks = dlib.shape_predictor(str(weights / FILES[0]))
        self._network = dlib.face_recognition_model_v1(str(weights / FILES[1]))

    def features(self, images: Tensor) -> Tensor:
        """Aligned crops (N, 3, S, S) in [0, 1] → (N, 128); about 0.1 s a face on one core."""
        return torch.stack([self._described(np.asarray(image)) for image in to_pil(images)])

    def _described(self, crop: np.ndarray) -> Tensor:
        """(S, S, 3) uint8 → (128,)."""
        side, margin = len(crop), round(MARGIN * len(crop))
        wider = np.pad(crop, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        box = self._dlib.rectangle(*(margin + round(side * at) for at in BOX))
        chip = self._dlib.get_face_chip(wider, self._landmarks(wider, box), CHIP, PADDING)
        return torch.from_numpy(np.array(self._network.compute_face_descriptor(chip))).float()
