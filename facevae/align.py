"""Photo → aligned crop and back: detection, similarity transform, paste-back."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from facenet_pytorch import MTCNN

# Where the five landmarks stand in a crop, as fractions of its side (x, y): left eye, right eye,
# nose tip, left and right corner of the mouth. Medians of MTCNN's answers over 300 UTKFace
# crops, made symmetric.
FRAME = np.array([(0.30, 0.29), (0.70, 0.29), (0.50, 0.527), (0.327, 0.698), (0.673, 0.698)])

FEATHER = 0.12  # of a crop's side, over which it fades into its photo
DETECT_SIDES = (640, 1600)  # a second, finer look only when the first finds no face
MIN_CONFIDENCE = 0.90

Eyes = Sequence[Sequence[float]] | np.ndarray  # two (x, y) in photo pixels


class NoFaceFound(ValueError):
    """A picture in which no face was found, or not the one asked for."""


@dataclass(frozen=True)
class Landmarks:
    """One detected face.

    Attributes:
        points: (5, 2) x, y in photo pixels, ordered as `FRAME`.
        confidence: of the detector, 0 … 1.
        area: of its box in square pixels.
    """

    points: np.ndarray
    confidence: float
    area: float


@functools.cache
def _detector() -> MTCNN:
    from facenet_pytorch import MTCNN  # its weights come inside the wheel

    return MTCNN(keep_all=True, device="cpu", min_face_size=20)


def find_faces(photo: Image.Image, min_confidence: float = MIN_CONFIDENCE) -> list[Landmarks]:
    """All faces of an RGB photo, the largest first; an empty list where there is none.

    The picture is padded by a quarter, since a tight crop otherwise gives wrong eyes. Source:
    Zhang et al., "Joint face detection and alignment", arXiv 1604.02878, in facenet-pytorch.
    """
    pad = max(photo.size) // 4
    padded = np.pad(np.asarray(photo), ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    whole = Image.fromarray(padded)
    for side in DETECT_SIDES:
        scale = min(1.0, side / max(whole.size))
        small = whole.resize([max(1, round(s * scale)) for s in whole.size], Image.Resampling.BOX)
        boxes, confidences, points = _detector().detect(small, landmarks=True)
        if boxes is not None:
            faces = [
                Landmarks(np.asarray(p, float) / scale - pad, float(c), _area(b) / scale**2)
                for b, c, p in zip(boxes, confidences, points, strict=True)
                if c is not None and c >= min_confidence
            ]
            if faces:
                return sorted(faces, key=lambda face: -face.area)
        if scale == 1.0:
            break
    return []


def _area(box: np.ndarray) -> float:
    left, top, right, bottom = (float(v) for v in box)
    return (right - left) * (bottom - top)


@dataclass(frozen=True)
class Alignment:
    """The similarity transform between a photo and its square crop.

    Attributes:
        matrix: (2, 3), unit-crop coordinates (0 … 1) → photo pixels.
    """

    matrix: np.ndarray

    @classmethod
    def from_points(cls, points: np.ndarray) -> Alignment:
        """Least squares over five landmarks (5, 2), or over two eye points (2, 2), in photo pixels.

        Source: Umeyama, "Least-squares estimation of transformation parameters", PAMI 1991.

        Raises:
            ValueError: the points coincide or are not two or five.
        """
        points = np.asarray(points, float)
        if points.shape not in ((2, 2), (5, 2)) or not np.isfinite(points).all():
            raise ValueError("give two eye points or five landmarks as (x, y) pixels")
        frame = FRAME[: len(points)]
        source, target = frame - frame.mean(0), points - points.mean(0)
        # as complex numbers a similarity is one product: target ≈ factor · source
        source, target = source @ (1, 1j), target @ (1, 1j)
        factor = (source.conj() @ target) / (source.conj() @ source)
        if abs(factor) < 8:
            raise ValueError("the points lie too close together: a face needs more pixels")
        linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
        return cls(np.column_stack([linear, points.mean(0) - linear @ frame.mean(0)]))

    def wider(self, sides: float, at: tuple[float, float]) -> Alignment:
        """That of a frame so many sides wide, whose upper left corner is at (x, y) in this one."""
        linear, corner = self.matrix[:, :2], self.matrix[:, 2]
        return Alignment(np.column_stack([sides * linear, linear @ at + corner]))

    def shown(self, photo: Image.Image) -> float:
        """Share of the crop that lies within the photo, 0 … 1, to a hundredth or so."""
        middles = (np.arange(32) + 0.5) / 32
        across, down = np.meshgrid(middles, middles)
        places = np.stack([across, down], -1) @ self.matrix[:, :2].T + self.matrix[:, 2]
        return float(((places >= 0) & (places <= photo.size)).all(-1).mean())

    @property
    def side(self) -> float:
        """Length of the crop's side in photo pixels."""
        return float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))

    def crop(self, photo: Image.Image, size: int = 128) -> Image.Image:
        """The aligned crop, size × size RGB; what lies outside the photo repeats its edge."""
        step = max(1, int(self.side / size))  # shrink first, or a bicubic of 4 × 4 would alias
        left, top, right, bottom = self._bounds(margin=2 * step)
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

    def paste(
        self,
        photo: Image.Image,
        edited: Image.Image | np.ndarray,
        instead_of: Image.Image | np.ndarray,
        detail: float = 1.0,
        feather: float = FEATHER,
    ) -> Image.Image:
        """Put an edited crop back into the photo at the photo's own resolution.

        Inside the crop the result is edited + detail · (photo − instead_of), both enlarged; at
        detail 1 that is the photo plus what the edit changed. It fades out over `feather` of the
        side, and pixels outside the crop keep their bits.

        Args:
            edited, instead_of: square crops, e.g. the decoder's pictures with and without the
                edit; arrays are (S, S, 3) levels 0 … 255 and may leave that range.
        """
        left, top, right, bottom = self._bounds(margin=0)
        box = (max(left, 0), max(top, 0), min(right, photo.width), min(bottom, photo.height))
        if box[0] >= box[2] or box[1] >= box[3]:
            return photo.copy()
        columns, rows = np.meshgrid(np.arange(box[0], box[2]), np.arange(box[1], box[3]))
        pixels = np.stack([columns + 0.5 - self.matrix[0, 2], rows + 0.5 - self.matrix[1, 2]], -1)
        unit = pixels @ np.linalg.inv(self.matrix[:, :2]).T  # (h, w, 2), crop coordinates 0 … 1
        mask = fade(unit, feather)[..., None]
        here = np.asarray(photo.crop(box), np.float32)
        new, old = _enlarge(edited, unit), _enlarge(instead_of, unit)
        change = new - old + (detail - 1.0) * (here - old)
        result = photo.copy()
        mended = (here + mask * change).round().clip(0, 255).astype(np.uint8)
        result.paste(Image.fromarray(mended), box[:2])
        return result

    def _bounds(self, margin: int) -> tuple[int, int, int, int]:
        corners = np.array([(0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1)]) @ self.matrix.T
        low, high = np.floor(corners.min(0)) - margin, np.ceil(corners.max(0)) + margin
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def fade(unit: np.ndarray, feather: float = FEATHER) -> np.ndarray:
    """Unit coordinates (…, 2) → (…,): 1 inside the crop, 0 outside, a smooth step at its edge."""
    inside = np.clip(np.minimum(unit, 1 - unit).min(-1) / feather, 0, 1)
    return inside * inside * (3 - 2 * inside)


def _enlarge(crop: Image.Image | np.ndarray, unit: np.ndarray) -> np.ndarray:
    """A crop sampled at unit coordinates (h, w, 2), float32 (h, w, 3) in levels 0 … 255."""
    from scipy.ndimage import map_coordinates

    levels = np.asarray(crop, np.float32)
    places = [unit[..., 1] * len(levels) - 0.5, unit[..., 0] * len(levels) - 0.5]
    channels = [map_coordinates(levels[..., c], places, order=1, mode="nearest") for c in range(3)]
    return np.stack(channels, -1)


def located(
    photo: Image.Image, which: int = 0, eyes: Eyes | None = None
) -> tuple[Alignment, int, np.ndarray | None]:
    """Find a face in an RGB photo.

    Args:
        which: 0 for the largest face, 1 for the next …
        eyes: the two eye points (x, y) in photo pixels, the picture's left one first: the manual
            way in, which needs no detector.

    Returns:
        Its alignment, how many faces were seen, and its landmarks as fractions of the crop's side,
        (5, 2), or None where the eyes were given.

    Raises:
        NoFaceFound: and what to do about it.
    """
    if eyes is not None:
        return _by_hand(photo, np.asarray(eyes, float)), 1, None
    faces = find_faces(photo)
    if not faces:
        raise NoFaceFound(
            "no face was found: use a photo that shows the face from the front, upright and "
            "well lit"
        )
    if not 0 <= which < len(faces):
        raise NoFaceFound(f"face {which} was asked for, but {len(faces)} found: count from 0")
    points = faces[which].points
    try:
        alignment = Alignment.from_points(points)
    except ValueError as error:
        raise NoFaceFound(f"the face is too small to use: {error}") from error
    inverse = np.linalg.inv(alignment.matrix[:, :2])
    return alignment, len(faces), (points - alignment.matrix[:, 2]) @ inverse.T


def align(photo: Image.Image, which: int = 0, eyes: Eyes | None = None) -> tuple[Alignment, int]:
    """A face's alignment and how many faces were seen; see `located`."""
    return located(photo, which, eyes)[:2]


def _by_hand(photo: Image.Image, eyes: np.ndarray) -> Alignment:
    try:
        alignment = Alignment.from_points(eyes)
    except ValueError as error:
        raise NoFaceFound(f"the two eye points do not fit a face: {error}") from error
    if (eyes < 0).any() or (eyes > photo.size).any():
        raise NoFaceFound("the two eye points do not lie in the photo: give them in its pixels")
    return alignment
