"""Normalization of an aligned crop before training: grey out the background, even the light.

Both read the crop alone and need no model: where the head is follows from the framing `face`. A
model that was trained on normalized faces must be given normalized crops.
"""

from __future__ import annotations

import functools

import numpy as np

from facevae.data.raster import LUMA

NEUTRAL = 128.0  # level of the background: a model spends no latent on a constant
LUMA_FLOOR = 8.0  # added before logarithms: noise in the dark is not light

# Medians over 4,000 UTKFace crops, so that an ordinary photo stays about as it is.
HIGHLIGHT = 200.0  # 98th percentile of a face's luma, levels 0 … 255
CONTRAST = 115.0  # from its 5th to its 95th percentile
MAX_GAIN = 1.15  # 1.3 evens the light hardly further, and dark skin with it
MAX_TILT = 1.4  # at the crop's edges; beyond it noise and JPEG blocks show
MIN_CONTRAST, MAX_CONTRAST = 0.87, 1.35  # less looks like fog, more like a woodcut


@functools.cache
def head_mask(size: int, feather: float = 0.10) -> np.ndarray:
    """(S, S) float32: 1 on the head as the framing `face` has it, fading to 0 over `feather` of
    the side. Wide at the cheekbones, narrow at the chin; the crown lies above the crop."""
    x, y = _coordinates(size)
    along = np.where(y > 0.42, (y - 0.42) / 0.58, (0.42 - y) / 0.66)
    outside = np.sqrt(np.square(x / 0.45) + np.square(along)) - 1  # 0 on the outline
    t = np.clip(0.5 - 0.45 * outside / feather, 0, 1)
    mask = (t * t * (3 - 2 * t)).astype(np.float32)
    mask.flags.writeable = False  # the cache shares it
    return mask


def normalize(crop: np.ndarray, mask: bool = False, expose: bool = False) -> np.ndarray:
    """An aligned crop (S, S, 3) uint8 with its light evened (`expose`), then its background grey
    (`mask`)."""
    if not (mask or expose):
        return crop
    levels = crop.astype(np.float32)
    if expose:
        levels = even_light(levels)
    if mask:
        levels = NEUTRAL + head_mask(len(crop))[..., None] * (levels - NEUTRAL)
    return levels.round().clip(0, 255).astype(np.uint8)


def even_light(levels: np.ndarray) -> np.ndarray:
    """Even the light on an aligned face: (S, S, 3) levels 0 … 255 → the same, float32.

    One picture shows skin times light, and nothing parts the two for certain. Three quantities
    depend mostly on the light, and each is corrected within a bound: the slope of log luma from
    left to right (both halves of a face have one skin); the highlights, which eye whites, teeth
    and gloss give on any skin, half of the way to a fixed level; the contrast about the face's own
    median, in luma only. The median is no target: it would bring dark and light skin together.

    Not corrected: a colour cast, light from above or below, and clipped levels.
    """
    levels = levels.astype(np.float32)
    levels = levels * np.exp(-light_slope(levels @ LUMA) * _coordinates(len(levels))[0])[..., None]
    face = _face_core(len(levels))
    highlight = np.percentile((levels @ LUMA)[face], 98)
    levels = levels * np.clip(np.sqrt(HIGHLIGHT / max(highlight, 1)), 1 / MAX_GAIN, MAX_GAIN)
    luma = levels @ LUMA
    low, middle, high = np.percentile(luma[face], [5, 50, 95])
    gain = np.clip(CONTRAST / max(high - low, 1), MIN_CONTRAST, MAX_CONTRAST)
    return levels + ((gain - 1) * (luma - middle))[..., None]


def light_slope(luma: np.ndarray) -> float:
    """Slope of log luma (S, S) from left to right across the face, per side of the crop, bounded.

    It is a weighted median, so hair on one side does not move it.
    """
    x = _coordinates(len(luma))[0]
    logs, right = np.log(luma + LUMA_FLOOR), _face_core(len(luma)) & (x > 0.02)
    slopes = ((logs - logs[:, ::-1]) / (2 * x))[right]
    order = np.argsort(slopes)
    weight = np.cumsum(np.broadcast_to(x, luma.shape)[right][order])
    slope = slopes[order][np.searchsorted(weight, weight[-1] / 2)]
    steepest = np.log(MAX_TILT) / 0.5  # at either edge of the crop, half a side from its middle
    return float(np.clip(slope, -steepest, steepest))


def _coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x (1, S), 0 on the middle line, and y (S, 1), 0 at the top, in fractions of the side."""
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    return at[None] - 0.5, at[:, None]


def _face_core(size: int) -> np.ndarray:
    """(S, S) bool: brows to chin, cheek to cheek, clear of hair and background in most faces."""
    x, y = _coordinates(size)
    return np.square(x / 0.30) + np.square((y - 0.52) / 0.38) < 1
