"""Lessons for the finder of hair: maps of hair that nobody has drawn.

MediaPipe tells the person from the background and where the face's oval lies; colours tell hair
from skin there. Its networks come in the wheel of `mediapipe==0.10.14`, later ones fetch theirs.
It teaches (`python -m facevae hair`), and is no part of the app.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage.color import rgb2lab
from torch import Tensor
from tqdm import tqdm

from facevae.data import FaceSet
from facevae.hair import MAP, SIDE

PAD = 0.25  # of the side, put round a crop for the mesh: it looks for whole heads
# landmarks of the mesh: https://github.com/google-ai-edge/mediapipe, face_mesh_connections.py
OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
        152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67,
        109)  # fmt: skip
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
EYES = ((33, 160, 158, 133, 153, 144), (263, 387, 385, 362, 380, 373))
NOSE, CHIN, CORNERS = 1, 152, (33, 263)  # the last: outer corners of the eyes
WHOLE = 0.9  # share of the oval that must be person: less is a mask that failed
VARIED = np.diag([9.0, 12.0, 12.0])  # added to covariances of Lab colours: light varies
UNLIKE, LIKE = (11.0, 8.0), 20.0  # squared Mahalanobis distances: from skin, to hair
LOCKS = 0.12, 0.6  # sides below the chin at which hair ends: in a crop, and in a wider picture
FEWEST = 60, 80  # pixels of skin and of sure hair, to tell their colours by


def lessons(crops: Iterable[np.ndarray], wide: float = 1.0) -> Iterator[np.ndarray | None]:
    """Crops (SIDE, SIDE, 3) uint8, RGB → maps of hair (MAP, MAP) uint8; None where MediaPipe sees
    no face, or no whole one. About 15 ms a face on one core.

    Args:
        wide: how many sides of an aligned crop these are wide.

    Raises:
        ValueError: MediaPipe is not installed, or without its networks.
    """
    try:
        from mediapipe.python.solutions.face_mesh import FaceMesh
        from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation
    except ImportError as error:
        raise ValueError(
            f"MediaPipe is not here ({error}): install it by `pip install mediapipe==0.10.14`, "
            "best in an environment of its own"
        ) from error
    with (
        SelfieSegmentation(model_selection=0) as person,
        FaceMesh(static_image_mode=True, min_detection_confidence=0.3) as mesh,
    ):
        for crop in crops:
            seen = person.process(_sized(crop, 2 * SIDE)).segmentation_mask
            margin = round(PAD * len(crop))
            wider = np.pad(crop, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
            found = mesh.process(_sized(wider, 3 * SIDE)).multi_face_landmarks
            if not found:
                yield None
                continue
            points = np.array([(mark.x, mark.y) for mark in found[0].landmark])
            cover = np.asarray(Image.fromarray(seen).resize((SIDE, SIDE), Image.Resampling.BOX))
            yield hair_of(crop, cover > 0.5, points * (1 + 2 * PAD) - PAD, wide)


def schoolbook(faces: FaceSet, rows: np.ndarray, wide: float = 1.0) -> tuple[Tensor, Tensor]:
    """Crops (M, SIDE, SIDE, 3) and maps (M, MAP, MAP), uint8, of those rows that give a lesson;
    see `lessons`. Faces known to wear a hat give none: it would be taken for hair.

    Raises:
        ValueError: the faces are of another size, or as `lessons` does.
    """
    if faces.image_shape != (3, SIDE, SIDE):
        raise ValueError(
            f"hair is looked for in colour crops of {SIDE} pixels, and {faces.folder} holds "
            f"{faces.image_shape}: prepare them with --size {SIDE}"
        )
    if (hats := faces.labels.get("Wearing_Hat")) is not None:
        rows = rows[hats[rows] != 1]
    crops = (np.asarray(faces.images[row]) for row in tqdm(rows, "lessons", unit="face"))
    told = dict(zip(rows, lessons(crops, wide), strict=True))
    maps = {row: one for row, one in told.items() if one is not None}
    drawn = np.array([*maps.values()], np.uint8).reshape(-1, MAP, MAP)
    return torch.from_numpy(faces.images[[*maps]]), torch.from_numpy(drawn)


def hair_of(
    crop: np.ndarray, person: np.ndarray, points: np.ndarray, wide: float = 1.0
) -> np.ndarray | None:
    """The hair of a crop (SIDE, SIDE, 3) uint8: (MAP, MAP) uint8, or None where it cannot be told.

    Hair is what of the person (SIDE, SIDE), bool, lies outside the face, above the neck, is
    unlike the cheeks in colour and like what is so above the eyes, and hangs together with it.

    Args:
        points: (468, 2), the mesh, in sides of the crop. wide: as for `lessons`.
    """
    side, points = 1 / wide, np.asarray(points)  # of an aligned crop
    oval = _polygon(points[list(OVAL)])
    if person[oval].mean() < WHOLE:
        return None
    down = (np.arange(SIDE)[:, None] + 0.5) / SIDE
    brow, eye = points[list(BROWS), 1].mean(), points[list(CORNERS), 1].mean()
    eyes = _polygon(*(points[list(one)] for one in EYES))
    eyes = ndimage.binary_dilation(eyes, iterations=round(4 * side))
    inside = ndimage.binary_erosion(oval, iterations=round(2 * side))
    cheeks = ndimage.binary_erosion(inside, iterations=round(2 * side)) & ~eyes
    cheeks &= (down > eye) & (down < points[NOSE, 1] + 0.03 * side)
    if cheeks.sum() < FEWEST[0] * side:
        return None
    lab = ndimage.gaussian_filter(rgb2lab(crop), (1, 1, 0))  # (SIDE, SIDE, 3)
    from_skin = _distance(lab, cheeks)
    free = person & ~(inside & (down > brow - 0.04 * side))
    sure = free & (down < eye) & (from_skin > UNLIKE[0])
    if sure.sum() < FEWEST[1] * side:  # bald, or hair that is out of sight
        return np.zeros((MAP, MAP), np.uint8)
    from_hair = _distance(lab, sure)
    hair = free & (from_skin > UNLIKE[1]) & (from_hair < np.minimum(from_skin, LIKE))
    below = LOCKS[wide > 1] * side  # the wider picture shows locks that fall on shoulders
    hair &= (down < points[CHIN, 1] + below) & ~(oval & (down > brow - 0.02 * side))
    parts, _ = ndimage.label(hair)
    hair = np.isin(parts, np.unique(parts[hair & (down < eye)]))
    hair = ndimage.median_filter(hair.astype(np.float32), 5)
    return (255 * hair.reshape(MAP, SIDE // MAP, MAP, -1).mean((1, 3))).astype(np.uint8)


def _sized(picture: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


def _polygon(*outlines: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) bool, inside any of these outlines (K, 2) in sides of the crop."""
    drawn = Image.new("1", (SIDE, SIDE))
    for outline in outlines:
        ImageDraw.Draw(drawn).polygon([tuple(at) for at in SIDE * outline], fill=1, outline=1)
    return np.asarray(drawn)


def _distance(lab: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distance (SIDE, SIDE) of Lab colours to those in a part of them."""
    colours = lab[where]
    off = np.abs(colours - np.median(colours, 0))
    usual = (off < 4.5 * np.median(off, 0) + 3).all(1)  # neither highlights nor a strand
    colours = colours[usual] if usual.sum() > 30 else colours
    inverse = np.linalg.inv(np.cov(colours.T) + VARIED)
    apart = lab - colours.mean(0)
    return np.einsum("...i,ij,...j->...", apart, inverse, apart)
