"""Dye: the hair that a photo shows beyond the crop, coloured as the crop's was."""

from __future__ import annotations

import numpy as np
from PIL import Image
from torch import Tensor

from facevae.align import fade
from facevae.face import Face
from facevae.hair import WIDE, WIDE_AT
from facevae.texture import enlarged

LEAST = 0.01  # share of the crop that must be hair, to tell what became of its colour
MOST = 2.0  # times as much contrast as there was, at most


def spread(face: Face, pasted: Image.Image, before: Tensor, after: Tensor) -> Image.Image:
    """A photo with an edited crop in it, and the rest of its hair changed as the crop's was.

    Mean and spread of its colour in CIELAB change by as much. Source: Reinhard et al., "Color
    transfer between images", IEEE CG&A 21(5), 2001, equations 10 and 11. Pixels farther than a
    head's width from the face keep their bits.

    Args:
        pasted: as large as `face.photo`. before, after: the crop, (1, 3, S, S) in [0, 1].
    """
    from skimage.color import lab2rgb, rgb2lab

    side = before.shape[-1]
    weights = enlarged(face.hair, side).clamp(0, 1)[0, 0].numpy().astype(np.float64)
    if weights.mean() < LEAST:
        return pasted
    (was, spread_was), (now, spread_now) = (
        _colour(rgb2lab(one[0].permute(1, 2, 0).clamp(0, 1).numpy()), weights)
        for one in (before, after)
    )
    gain = np.clip(spread_now / np.maximum(spread_was, 1e-3), 0, MOST)  # (3,), of L, a and b
    wider = face.alignment.wider(WIDE, WIDE_AT)
    size = round(WIDE * side)
    picture = wider.crop(face.photo, size)
    dyed = 255 * lab2rgb((rgb2lab(picture) - was) * gain + now)  # (size, size, 3)
    hair = enlarged(face.head, size).clamp(0, 1)[0, 0].numpy()
    along = (np.arange(size) + 0.5) / size * WIDE
    across, down = np.meshgrid(along + WIDE_AT[0], along + WIDE_AT[1])
    cover = hair * (1 - fade(np.stack([across, down], -1)))  # the crop has its own
    levels = np.asarray(picture, np.float32)
    return wider.paste(pasted, levels + cover[..., None] * (dyed - levels), levels)


def _colour(lab: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (3,) of Lab colours (S, S, 3) under weights (S, S)."""
    share = weights[..., None] / weights.sum()
    mean = (share * lab).sum((0, 1))
    return mean, np.sqrt((share * (lab - mean) ** 2).sum((0, 1)))
