"""Face alignment: detect faces in a photo, and map between photo and aligned crop."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from facenet_pytorch import MTCNN

# Where the five landmarks stand in a crop, as fractions of its side (x, y): left eye, right eye,
# nose tip, left and right corner of the mouth. `face` is UTKFace's: medians of MTCNN's landmarks
# over 300 of its crops, made symmetric. `head` shows hair, chin and ears: CelebA's aligned
# pictures, cut to the square of 140 pixels at (19, 48).
FACE = np.array([(0.30, 0.29), (0.70, 0.29), (0.50, 0.527), (0.327, 0.698), (0.673, 0.698)])
FRAMINGS: dict[str, np.ndarray | None] = {
    "face": FACE,
    "head": FACE * 0.715 + (0.1425, 0.2427),
    "none": None,  # whole pictures
}
ALIGNED_BY = {"face": 5, "head": 2}  # landmarks: CelebA is aligned by the two eyes alone

DETECT_SIDES = (640, 1600)  # pixels; the second, finer search runs only if the first finds no face
MIN_CONFIDENCE = 0.90
MIN_CROP_SIDE = 8  # photo pixels

Eyes = Sequence[Sequence[float]] | np.ndarray  # two (x, y) in photo pixels


class NoFaceFound(ValueError):
    """No face was found in a picture, or not the one that was asked for."""


@functools.cache
def _detector() -> MTCNN:
    from facenet_pytorch import MTCNN  # its weights come inside the wheel

    return MTCNN(keep_all=True, device="cpu", min_face_size=20)


class Landmarks(NamedTuple):
    """One detected face: (5, 2) points in photo pixels, and the detector's confidence, 0 … 1."""

    points: np.ndarray
    confidence: float


def find_faces(photo: Image.Image) -> list[Landmarks]:
    """All faces of an RGB photo, the largest first; an empty list where there is none.

    The picture is padded by a quarter, since the detector misplaces the eyes of a tight crop.
    Source: Zhang et al., "Joint face detection and alignment", arXiv 1604.02878, by
    facenet-pytorch.
    """
    pad = max(photo.size) // 4
    padded = np.pad(np.asarray(photo), ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    whole = Image.fromarray(padded)
    for side in DETECT_SIDES:
        scale = min(1.0, side / max(whole.size))
        small = whole.resize([max(1, round(s * scale)) for s in whole.size], Image.Resampling.BOX)
        boxes, confidences, points = _detector().detect(small, landmarks=True)
        if boxes is not None:
            areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
            found = [k for k in np.argsort(-areas) if confidences[k] >= MIN_CONFIDENCE]
            if found:
                places = np.asarray(points, float) / scale - pad  # (F, 5, 2)
                return [Landmarks(places[k], float(confidences[k])) for k in found]
        if scale == 1.0:
            break
    return []


@dataclass(frozen=True)
class Alignment:
    """The similarity transform between a photo and its square crop.

    Attributes:
        matrix: (2, 3), unit-crop coordinates (0 … 1) → photo pixels.
    """

    matrix: np.ndarray

    @classmethod
    def from_points(cls, points: np.ndarray, framing: str = "face") -> Alignment:
        """Fit by least squares to five landmarks (5, 2), or to two eyes (2, 2), in photo pixels.

        Of five landmarks, framing "head" uses the eyes only. Source: Umeyama, "Least-squares
        estimation of transformation parameters", PAMI 1991.

        Raises:
            ValueError: the points coincide, are neither two nor five, or the framing has none.
        """
        template = FRAMINGS.get(framing)
        if template is None:
            raise ValueError(f"the framing {framing!r} has no landmarks: use 'face' or 'head'")
        points = np.asarray(points, float)
        if points.shape not in ((2, 2), (5, 2)) or not np.isfinite(points).all():
            raise ValueError("give two eye points or five landmarks as (x, y) pixels")
        points = points[: ALIGNED_BY[framing]]
        template = template[: len(points)]
        source, target = template - template.mean(0), points - points.mean(0)
        # as complex numbers a similarity is one product: target ≈ factor · source
        source, target = source @ (1, 1j), target @ (1, 1j)
        factor = (source.conj() @ target) / (source.conj() @ source)
        if abs(factor) < MIN_CROP_SIDE:
            raise ValueError("the points lie too close together: a face needs more pixels")
        linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
        return cls(np.column_stack([linear, points.mean(0) - linear @ template.mean(0)]))

    @property
    def side(self) -> float:
        """Length of the crop's side in photo pixels."""
        return float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))

    def to_unit(self, pixels: np.ndarray) -> np.ndarray:
        """Photo pixels (…, 2) → fractions of the crop's side (…, 2)."""
        return (pixels - self.matrix[:, 2]) @ np.linalg.inv(self.matrix[:, :2]).T

    def to_pixels(self, unit: np.ndarray) -> np.ndarray:
        """Fractions of the crop's side (…, 2) → photo pixels (…, 2)."""
        return unit @ self.matrix[:, :2].T + self.matrix[:, 2]

    def share_inside(self, photo: Image.Image) -> float:
        """Share of the crop that lies within the photo, 0 … 1, accurate to about 0.01."""
        centres = (np.arange(32) + 0.5) / 32
        places = self.to_pixels(np.stack(np.meshgrid(centres, centres), -1))
        return float(((places >= 0) & (places <= photo.size)).all(-1).mean())

    def crop(self, photo: Image.Image, size: int = 128) -> Image.Image:
        """The aligned crop, size × size RGB; outside the photo its edge is repeated."""
        step = max(1, int(self.side / size))  # shrink first: a bicubic of 4 × 4 pixels would alias
        left, top, right, bottom = self.bounds(margin=2 * step)
        rows = np.clip(np.arange(top, bottom), 0, photo.height - 1)
        columns = np.clip(np.arange(left, right), 0, photo.width - 1)
        region = Image.fromarray(np.asarray(photo)[rows[:, None], columns[None]])
        region = region.reduce(step)
        matrix = self.matrix / size
        matrix[:, 2] = self.matrix[:, 2] - (left, top)
        return region.transform(
            (size, size),
            Image.Transform.AFFINE,
            (matrix / step).ravel().tolist(),
            Image.Resampling.BICUBIC,
        )

    def bounds(self, margin: int = 0) -> tuple[int, int, int, int]:
        """The upright box around the crop: left, top, right, bottom in photo pixels."""
        corners = self.to_pixels(np.array([(0, 0), (1, 0), (0, 1), (1, 1)]))
        low, high = np.floor(corners.min(0)) - margin, np.ceil(corners.max(0)) + margin
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])


@dataclass(frozen=True)
class Located:
    """Where a face is in its photo.

    Attributes:
        alignment: photo ↔ crop.
        points: (5, 2) landmarks in photo pixels, or (2, 2) where the eyes were given.
        faces_found: number of faces in the photo.
    """

    alignment: Alignment
    points: np.ndarray
    faces_found: int = 1

    def unit_points(self) -> Tensor | None:
        """Five landmarks (5, 2) as fractions of the crop's side; None where the eyes were given."""
        if len(self.points) != 5:
            return None
        return torch.from_numpy(self.alignment.to_unit(self.points)).float()


def locate(
    photo: Image.Image, framing: str = "face", which: int = 0, eyes: Eyes | None = None
) -> Located:
    """Find a face in an RGB photo, and align it to the framing "face" or "head".

    Args:
        which: 0 for the largest face, 1 for the next …
        eyes: the two eyes (x, y) in photo pixels, the picture's left one first. The detector is
            not used then.

    Raises:
        NoFaceFound: why, and what to do about it.
    """
    if eyes is not None:
        points, found = np.asarray(eyes, float), 1
        what, shape = "the two eye points do not fit a face", (2, 2)
    else:
        faces = find_faces(photo)
        if not faces:
            raise NoFaceFound(
                "no face was found: use a photo that shows the face from the front, upright and "
                "well lit"
            )
        if not 0 <= which < len(faces):
            raise NoFaceFound(f"face {which} was asked for, but {len(faces)} found: count from 0")
        points, found = faces[which].points, len(faces)
        what, shape = "the face is too small to use", (5, 2)
    try:
        if points.shape != shape:
            raise ValueError("give two eye points as (x, y) pixels")
        alignment = Alignment.from_points(points, framing)
    except ValueError as error:
        raise NoFaceFound(f"{what}: {error}") from error
    if eyes is not None and ((points < 0) | (points > photo.size)).any():
        raise NoFaceFound("the two eye points do not lie in the photo: give them in its pixels")
    return Located(alignment, points, found)
