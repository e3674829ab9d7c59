"""Face recogniser: whether a picture still shows the same person. It only measures, and only where
`pip install dlib-bin face_recognition_models` was done; its weights are in the public domain."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from facevae.evaluation.metrics import Interval, interval
from facevae.imaging.images import to_pil

FILES = ("shape_predictor_5_face_landmarks.dat", "dlib_face_recognition_resnet_model_v1.dat")
BOX = (0.20, 0.336, 0.80, 0.936)  # left, top, right, bottom of the face in the head framing
CHIP, PADDING = 150, 0.25  # pixels and margin of the pictures that the network was trained on
NEARER_THAN = 0.95  # of the other faces: an edited face is still its own person
MAX_FACES = 60  # of an edit: a network takes its time


class Recogniser(Protocol):
    """Features of pictures in which faces of one person lie near each other."""

    def features(self, images: Tensor) -> Tensor: ...


def same_person(
    recogniser: Recogniser | None, known: Tensor | None, shown: Tensor, places: np.ndarray
) -> dict[str, Interval]:
    """identity: share of edited faces that are nearer to their own original than NEARER_THAN of the
    others; nothing without a recogniser.

    Args:
        known: features of all originals (N, F). shown: edited faces (M, 3, H, W). places: (M,).
    """
    if recogniser is None or known is None:
        return {}
    places = places[:MAX_FACES]
    distance = torch.cdist(recogniser.features(shown[:MAX_FACES]), known)  # (M, N)
    own = distance[torch.arange(len(places)), torch.from_numpy(places)]
    nearer = (own[:, None] < distance).sum(dim=1) / max(1, len(known) - 1)
    return {"identity": interval((nearer >= NEARER_THAN).float())}


class DlibRecogniser:
    """dlib's residual network: faces of one person lie nearer than 0.6.

    Source: King, "Dlib-ml", JMLR 10 (2009); 99.4 % of pairs of Labeled Faces in the Wild.
    """

    def __init__(self) -> None:
        self._dlib: Any = importlib.import_module("dlib")
        package = importlib.util.find_spec("face_recognition_models")  # its import wants more
        assert package is not None and package.submodule_search_locations
        folder = Path(package.submodule_search_locations[0]) / "models"
        self._landmarks = self._dlib.shape_predictor(str(folder / FILES[0]))
        self._network = self._dlib.face_recognition_model_v1(str(folder / FILES[1]))

    @staticmethod
    def installed() -> bool:
        """Whether dlib and its weights are there."""
        return all(importlib.util.find_spec(n) for n in ("dlib", "face_recognition_models"))

    def features(self, images: Tensor) -> Tensor:
        """Head crops (N, 3, S, S) in [0, 1] → (N, 128); about 0.1 s a face on one core."""
        found = []
        for picture in map(np.asarray, to_pil(images)):
            box = self._dlib.rectangle(*(round(len(picture) * at) for at in BOX))
            chip = self._dlib.get_face_chip(picture, self._landmarks(picture, box), CHIP, PADDING)
            found.append(np.array(self._network.compute_face_descriptor(chip)))
        return torch.from_numpy(np.stack(found)).float()
