"""Compositing: what is shown of an edit, at the photo's own resolution, alone or in its photo.

shown = decode(z, y′) + detail · hold · (photo − decode(z, y)). In what follows `before` is
decode(z, y), `after` is decode(z, y′), and `hold` (1 where the model draws none) is the share of
the photo's own detail that stays.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from facevae.imaging.face import Face
from facevae.imaging.images import enlarge, to_pil, to_tensor

FEATHER = 0.12  # of a crop's side, over which an edit fades into the photo


def composite(
    face: Face, after: Tensor, hold: Tensor | None, detail: float, size: tuple[int, int]
) -> Image.Image:
    """A face's edited crop at (height, width).

    Args:
        after: (1, C, h, w). hold: (1, 1, h, w), or None for 1.
        detail: 1 keeps the photo's detail, 0 shows the decoder's own picture.
    """
    shown = enlarge(after, size)
    if detail > 0:
        residual = face.residual(size)
        if hold is not None:
            residual = residual * enlarge(hold, size)
        shown = torch.add(shown, residual, alpha=detail)
    return to_pil(shown)[0]


def paste_back(
    face: Face, before: Tensor, after: Tensor, hold: Tensor | None = None, detail: float = 1.0,
    oval: bool = False,
) -> Image.Image:  # fmt: skip
    """The whole photo with a face's edited crop, composed at the photo's own pixels.

    The edit fades out over FEATHER of the crop's side; pixels outside the crop keep their bits.
    Grey pictures add their change to all three colours. See `composite` for the arguments.

    Args:
        oval: change only the oval that touches the crop's sides, not its corners.

    Raises:
        ValueError: the face has no alignment.
    """
    photo, alignment = face.photo, face.alignment
    if alignment is None:
        raise ValueError("this model reads whole pictures: there is no photo around the face")
    left, top, right, bottom = alignment.bounds()
    box = (max(left, 0), max(top, 0), min(right, photo.width), min(bottom, photo.height))
    if box[0] >= box[2] or box[1] >= box[3]:
        return photo.copy()
    columns, rows = np.meshgrid(np.arange(box[0], box[2]), np.arange(box[1], box[3]))
    unit = alignment.to_unit(np.stack([columns + 0.5, rows + 0.5], -1))  # (h, w, 2), 0 … 1
    grid = torch.from_numpy(2 * unit - 1).float()[None]  # grid_sample's −1 … 1
    here = to_tensor([photo.crop(box)])  # (1, 3, h, w)
    old, new = _sampled(before, grid), _sampled(after, grid)  # (1, C, h, w)
    kept = detail if hold is None else detail * _sampled(hold, grid)
    border = np.minimum(unit, 1 - unit).min(-1)  # distance to it, in sides
    if oval:
        border = 0.5 * (0.5 - np.hypot(*np.moveaxis(unit - 0.5, -1, 0)))  # twice as wide a fade
    inside = np.clip(border / FEATHER, 0, 1)
    fade = torch.from_numpy(inside * inside * (3 - 2 * inside)).float()  # a smooth step
    result = photo.copy()
    change = new - old + (kept - 1.0) * (here - old)
    result.paste(to_pil(here + fade * change)[0], box[:2])
    return result


def paste_frame(face: Face, frame: Image.Image, detail: float) -> Image.Image:
    """The whole photo with a frame of a morph in place of the face. `detail` is the kept share of
    the photo's detail beyond the frame's size: the other face has none to meet it. An oval, since
    the corners show the other photo's background."""
    before = to_tensor([face.crop_at((frame.height, frame.width))])
    return paste_back(face, before, to_tensor([frame]), detail=detail, oval=True)


def _sampled(images: Tensor, grid: Tensor) -> Tensor:
    """Images (1, C, H, W) at a grid (1, h, w, 2): (1, C, h, w), bilinear."""
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
