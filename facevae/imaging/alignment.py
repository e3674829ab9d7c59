"""Face alignment: detect faces in a photo, and map between photo and aligned crop."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from PIL import Image

from facevae import CannotDo

# Where eyes, nose tip and corners of the mouth stand, as fractions of a crop's side (x, y). `face`:
# medians of MTCNN's over 300 crops of UTKFace, made symmetric. `head`, with hair, chin and ears:
# CelebA's aligned pictures, cut to the square of 140 pixels at (19, 48).
FACE = np.array([(0.30, 0.29), (0.70, 0.29), (0.50, 0.527), (0.327, 0.698), (0.673, 0.698)])
HEAD = FACE * 0.715 + (0.1425, 0.2427)
FRAMINGS: dict[str, np.ndarray | None] = {"face": FACE, "head": HEAD, "none": None}  # whole picture
ALIGNED_BY = {"face": 5, "head": 2}  # landmarks: CelebA is aligned by the two eyes alone

DETECT_SIDES = (640, 1600)  # pixels; the second, finer search runs only if the first finds no face
MIN_CONFIDENCE, MIN_CROP_SIDE = 0.90, 8  # of a detection; in photo pixels
SURE = 0.99  # confidence that 184 of 185 bare faces reach, and half of those behind a hand do not
MIN_SHARE_INSIDE = 0.85  # of the crop from brows to chin; less, and much of a face is made up
MAX_NOSE_OFFSET = 0.55  # of the nose tip from the middle of the eyes, in distances of the eyes
Points = Sequence[Sequence[float]] | np.ndarray  # (x, y) in photo pixels: two eyes or 5 landmarks


class NoFaceFound(CannotDo):
    """No face was found in a picture, or none that can be used: why, and what to do."""


@functools.cache
def _detector() -> Any:
    from facenet_pytorch import MTCNN  # its weights come inside the wheel

    return MTCNN(keep_all=True, device="cpu", min_face_size=20)


def find_faces(photo: Image.Image) -> list[tuple[np.ndarray, float]]:
    """Five landmarks (5, 2) in pixels, and the detector's confidence, of each face in an RGB photo,
    the largest face first.

    Source: Zhang et al., "Joint face detection and alignment", arXiv 1604.02878."""
    pad = max(photo.size) // 4  # the detector misplaces the eyes of a tight crop
    whole = Image.fromarray(np.pad(np.asarray(photo), ((pad, pad), (pad, pad), (0, 0)), "edge"))
    for side in DETECT_SIDES:
        scale = min(1.0, side / max(whole.size))
        small = whole.resize([max(1, round(s * scale)) for s in whole.size], Image.Resampling.BOX)
        _, confidences, faces = _detector().detect(small, landmarks=True)
        if faces is not None and max(confidences) >= MIN_CONFIDENCE:
            found = zip(faces.astype(float) / scale - pad, confidences.tolist(), strict=True)
            return [(points, sure) for points, sure in found if sure >= MIN_CONFIDENCE]
    return []


@dataclass(frozen=True)
class Alignment:
    """The similarity transform between a photo and its square crop."""

    matrix: np.ndarray  # (2, 3), unit-crop coordinates (0 … 1) → photo pixels

    @classmethod
    def from_points(cls, points: Points, framing: str = "face") -> Self:
        """Fit by least squares to five landmarks (5, 2), or to two eyes (2, 2), in photo pixels.

        Of five landmarks, framing "head" uses the eyes only. ValueError: what does not fit.
        Source: Umeyama, "Least-squares estimation of transformation parameters", PAMI 1991."""
        template, points = FRAMINGS.get(framing), np.asarray(points, float)
        if template is None:
            raise ValueError(f"the framing {framing!r} has no landmarks: use 'face' or 'head'")
        if points.shape not in ((2, 2), (5, 2)) or not np.isfinite(points).all():
            raise ValueError("give two eye points or five landmarks as (x, y) pixels")
        points = points[: ALIGNED_BY[framing]]
        template = template[: len(points)]
        # as complex numbers a similarity is one product: target ≈ factor · source
        source = (template - template.mean(0)) @ (1, 1j)
        target = (points - points.mean(0)) @ (1, 1j)
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

    def bounds(self, margin: int = 0) -> np.ndarray:
        """The upright box around the crop: ((left, top), (right, bottom)) in photo pixels."""
        corners = self.to_pixels(np.array([(0, 0), (1, 0), (0, 1), (1, 1)]))
        box = np.floor(corners.min(0)) - margin, np.ceil(corners.max(0)) + margin
        return np.array(box).astype(int)

    def crop(self, photo: Image.Image, size: int = 128) -> Image.Image:
        """The aligned crop, size × size RGB; outside the photo its edge is repeated."""
        step = max(1, int(self.side / size))  # shrink first: a bicubic of 4 × 4 pixels would alias
        (left, top), (right, bottom) = self.bounds(margin=2 * step)
        rows = np.asarray(photo).take(np.arange(top, bottom), 0, mode="clip")
        region = Image.fromarray(rows.take(np.arange(left, right), 1, mode="clip")).reduce(step)
        matrix = self.matrix / (size, size, 1) - [(0, 0, left), (0, 0, top)]
        how = Image.Transform.AFFINE, (matrix / step).ravel().tolist(), Image.Resampling.BICUBIC
        return region.transform((size, size), *how)


@dataclass(frozen=True)
class Located:
    """Where a face is in its photo."""

    alignment: Alignment
    points: np.ndarray  # in photo pixels: landmarks (5, 2), or (2, 2) where the eyes were given
    faces_found: int  # in the photo
    confidence: float = 1.0  # of the detector

    def warning(self, photo: Image.Image) -> str:
        """What makes the photo unfit: a face cut off, from the side, or covered; or ""."""
        box = Alignment.from_points(self.points, "face").bounds()
        inside = np.prod(np.diff(box.clip(0, photo.size), axis=0) / np.diff(box, axis=0))
        if inside < MIN_SHARE_INSIDE:
            outside = f"{1 - inside:.0%} of the face lies outside the photo and is made up"
            return f"{outside}: use a photo that shows it whole"
        across, nose = self.points[1] - self.points[0], self.points[2:3] - self.points[:2].mean(0)
        if (abs(nose @ across) > MAX_NOSE_OFFSET * (across @ across)).any():
            side = "the face is turned to the side, and the model has learnt faces from the front"
            return f"{side}: use a photo that shows both eyes"
        if self.confidence < SURE:
            return "something may cover a part of the face: use a photo that shows all of it"
        return ""


def locate(photo: Image.Image, framing: str = "face", eyes: Points | None = None) -> Located:
    """Find the largest face in an RGB photo, and align it to the framing "face" or "head".

    `eyes`, two points (x, y) in photo pixels, the picture's left one first, or five landmarks,
    say where it is without the detector. Raises NoFaceFound: why, and what to do about it."""
    faces = find_faces(photo) if eyes is None else [(np.asarray(eyes, float), 1.0)]
    if not faces:
        shows = "use a photo that shows the face from the front, upright and well lit"
        raise NoFaceFound(f"no face was found: {shows}")
    points, confidence = faces[0]
    try:
        alignment = Alignment.from_points(points, framing)
    except ValueError as error:
        raise NoFaceFound(f"the face cannot be used: {error}") from error
    if eyes is not None and ((points < 0) | (points > photo.size)).any():
        raise NoFaceFound("the eyes do not lie in the photo: give them in its pixels")
    return Located(alignment, points, len(faces), confidence)
