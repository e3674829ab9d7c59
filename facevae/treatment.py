"""Treatment of an aligned crop before it is learnt from: calm the background, even the light.

Both read the crop alone and need no model: where the head is follows from `align.FRAME`. What a
model was trained on it must be given, so a model trained on treated faces reads treated crops.
"""

from __future__ import annotations

import functools

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
NEUTRAL = 128.0  # level of a calmed background: a model spends no latent on a constant

# Medians over 4,000 UTKFace crops, so that an ordinary photo stays about as it is.
HIGHLIGHT = 200.0  # 98th percentile of a face's luma, levels 0 … 255
CONTRAST = 115.0  # from its 5th to its 95th percentile
MOST_GAIN = 1.15  # 1.3 evens the light hardly further, and dark skin with it
MOST_TILT = 1.4  # at the crop's edges; beyond it noise and JPEG blocks show
LEAST_CONTRAST, MOST_CONTRAST = 0.87, 1.35  # less looks like fog, more like a woodcut


@functools.cache
def head_mask(size: int, feather: float = 0.10) -> np.ndarray:
    """(size, size) float32: 1 on the head as the aligned frame has it, fading to 0 over `feather`
    of the side. Wide at the cheekbones, narrow at the chin; the crown lies above the frame."""
    x, y = _frame(size)
    along = np.where(y > 0.42, (y - 0.42) / 0.58, (0.42 - y) / 0.66)
    outside = np.sqrt(np.square(x / 0.45) + np.square(along)) - 1  # 0 on the outline
    t = np.clip(0.5 - 0.45 * outside / feather, 0, 1)
    mask = (t * t * (3 - 2 * t)).astype(np.float32)
    mask.flags.writeable = False  # it is shared by all who ask
    return mask


def treat(crop: np.ndarray, mask: bool = False, expose: bool = False) -> np.ndarray:
    """An aligned crop (S, S, 3) uint8 with the light evened first, then the background calmed."""
    if not (mask or expose):
        return crop
    levels = crop.astype(np.float32)
    if expose:
        levels = even_light(levels)
    if mask:
        head = head_mask(len(crop))[..., None]
        levels = NEUTRAL + head * (levels - NEUTRAL)
    return levels.round().clip(0, 255).astype(np.uint8)


def even_light(levels: np.ndarray) -> np.ndarray:
    """Normalise the light on an aligned face: (S, S, 3) levels 0 … 255 → the same, float32.

    One picture shows skin times light, and no treatment can part the two for certain. Three
    things tell of the light alone, or mostly, and each is corrected within a bound:

    - left against right: both halves of a face have one skin, so what differs steadily from side
      to side is light (or a turned head: a least-absolute fit, deaf to a fringe on one side);
    - the highlights: eye whites, teeth and gloss are bright on any skin. They are brought half of
      the way, in ratio, to a fixed level, by a factor, as light acts. The whole way, or an
      offset, would bring dark and light skin together, as this does a little where a face has no
      highlights (hence the narrow bound); the median is never a target;
    - the contrast: about the face's own median, luma only, so that level and colour stay.

    Not corrected: a colour cast (it cannot be told from the skin's own hue), light from above or
    below (beards and brows look the same), and what was clipped to white or black in the photo.
    """
    levels = levels.astype(np.float32)
    levels = levels * np.exp(-_tilt(levels @ LUMA) * _frame(len(levels))[0])[..., None]
    face = _core(len(levels))
    highlight = np.percentile((levels @ LUMA)[face], 98)
    levels = levels * np.clip(np.sqrt(HIGHLIGHT / max(highlight, 1)), 1 / MOST_GAIN, MOST_GAIN)
    luma = levels @ LUMA
    low, middle, high = np.percentile(luma[face], [5, 50, 95])
    gain = np.clip(CONTRAST / max(high - low, 1), LEAST_CONTRAST, MOST_CONTRAST)
    return levels + ((gain - 1) * (luma - middle))[..., None]


def _tilt(luma: np.ndarray) -> float:
    """Slope of log luma (S, S) from left to right across the face, per side of the crop."""
    size = len(luma)
    logs = np.log(luma + 8.0)  # 8: noise in the dark is not light
    x, right = _frame(size)[0], _core(size) & (_frame(size)[0] > 0.02)
    slopes = ((logs - logs[:, ::-1]) / (2 * x))[right]
    order = np.argsort(slopes)
    weight = np.cumsum(np.broadcast_to(x, luma.shape)[right][order])
    slope = slopes[order][np.searchsorted(weight, weight[-1] / 2)]  # the weighted median
    most = np.log(MOST_TILT) / 0.5  # at either edge of the crop, half a side from its middle
    return float(np.clip(slope, -most, most))


def _frame(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x (1, S), 0 on the middle line, and y (S, 1), 0 at the top, in fractions of the side."""
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    return at[None] - 0.5, at[:, None]


def _core(size: int) -> np.ndarray:
    """(S, S) bool: brows to chin, cheek to cheek, clear of hair and background in most faces."""
    x, y = _frame(size)
    return np.square(x / 0.30) + np.square((y - 0.52) / 0.38) < 1
