"""Normalization of an aligned crop (framing `face`): grey out the background, even the light.

A model that was trained on normalized faces must be given normalized crops."""

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # grey of RGB, ITU-R BT.601
NEUTRAL = 128.0  # level of the background: a model spends no latent on a constant


def head_mask(size: int) -> np.ndarray:
    """(S, S) float32: 1 on the head, wide at the cheekbones and narrow at the chin, 0 around it."""
    y, x = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size
    along = np.where(y > 0.42, (y - 0.42) / 0.58, (0.42 - y) / 0.66)
    t = np.clip(5 - 4.5 * np.hypot((x - 0.5) / 0.45, along), 0, 1)
    return t * t * (3 - 2 * t)


def normalize(crop: np.ndarray, mask: bool = False, expose: bool = False) -> np.ndarray:
    """A crop (S, S, 3) uint8 with its light evened (`expose`), its background grey (`mask`)."""
    levels = even_light(crop) if expose else crop
    if mask:
        levels = NEUTRAL + head_mask(len(crop))[..., None] * (levels - NEUTRAL)
    return np.round(levels).clip(0, 255).astype(np.uint8)


def even_light(levels: np.ndarray) -> np.ndarray:
    """A crop (S, S, 3) in levels 0 … 255, its light evened in three steps, each within bounds."""
    y, x = (np.mgrid[: len(levels), : len(levels)] + 0.5) / len(levels) - 0.5
    face = np.hypot(x / 0.30, (y - 0.02) / 0.38) < 1
    # both halves of a face have one skin: a slope of log luma from left to right is light
    logs = np.log(levels @ LUMA + 8)
    slope = np.median(((logs - logs[:, ::-1]) / (2 * x))[face & (x > 0.08)])
    levels = levels * np.exp(-slope.clip(-0.67, 0.67) * x)[..., None]
    # teeth and gloss are as bright on any skin: half of the way to a fixed level
    highlight = np.percentile((levels @ LUMA)[face], 98)
    levels = levels * np.sqrt(200 / max(highlight, 1)).clip(0.87, 1.15)
    # contrast about the face's own median, which would bring dark and light skin together
    luma = levels @ LUMA
    low, middle, high = np.percentile(luma[face], [5, 50, 95])
    gain = np.clip(115 / max(high - low, 1), 0.87, 1.35)
    return levels + ((gain - 1) * (luma - middle))[..., None]
