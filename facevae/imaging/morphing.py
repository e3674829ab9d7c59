"""Morphing: the photos' own detail, carried from face to face without ghosts.

Residuals (photo minus the decoder's picture) that are merely faded show two mouths and two half
pairs of glasses half way. Here each is warped until its landmarks stand where the morph's
landmarks stand; where the two still differ much, the change is quick and the stronger one stays
past the middle.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from facevae.imaging.face import Face
from facevae.imaging.images import enlarge, to_pil

GRID = 32  # cells a side of the coarse grid on which displacements and fades are computed
BORDER = [k / 4 for k in range(5)]  # where on each side of the picture the border is held
SMOOTHING = 1e-4  # of the spline: landmarks that nearly coincide must not tear the picture
BICUBIC_MAX_SIDE = 256  # pixels; up to here bilinear sampling would blur the detail
MAX_SHIFT = 0.15  # of the side: a landmark further off is an error, and moves no further

NOISE, UNLIKE = 0.02, 0.06  # mean difference: alike below the first, all unlike above the second
STEEPEST = 4.0  # power of the fade where all is unlike; 1 is the even fade
STAYS = 6.0  # odds of the stronger residual half way, where all is unlike


def carry_detail(
    a: Face, b: Face, ts: Sequence[float], decoded: Tensor, detail: float, size: tuple[int, int]
) -> list[Image.Image]:
    """Frames of a morph from a (t = 0) to b (t = 1): its decoder's pictures plus both residuals.

    With detail 1 the ends are the photos' own crops, to the bit.

    Args:
        decoded: (T, C, h, w), the decoder's picture at each t.
        detail: 0 … 1. size: of the frames, (height, width).
    """
    if detail == 0:
        return to_pil(enlarge(decoded, size))
    carrier = Carrier(a.residual(size), b.residual(size), a.points, b.points)
    frames = []
    for t, picture in zip(ts, decoded.split(1), strict=True):  # one by one, to stay in the cache
        frames += to_pil(torch.add(enlarge(picture, size), carrier.at(t), alpha=detail))
    return frames


def blend_detail(
    parts: Sequence[tuple[Face, float]], decoded: Tensor, detail: float, size: tuple[int, int]
) -> Image.Image:
    """The decoder's picture (1, C, h, w) of a blend plus its faces' residuals in their shares, each
    warped until its landmarks stand at the mean of all, where these are known."""
    blended = enlarge(decoded, size)
    if detail == 0:
        return to_pil(blended)[0]
    points = [face.points for face, _ in parts if face.points is not None]
    middle = None
    if len(points) == len(parts) > 1:  # a face alone stays to the bit
        shares = torch.tensor([share for _, share in parts])
        middle = (torch.stack(points) * shares[:, None, None]).sum(0)  # (5, 2)
    for face, share in parts:
        residual = face.residual(size)
        if middle is not None and face.points is not None:
            residual = warp(residual, displacement(middle, face.points - middle, size[0]))
        blended = torch.add(blended, residual, alpha=detail * share)
    return to_pil(blended)[0]


class Carrier:
    """Two residuals on the way from one face to the other.

    Args:
        a, b: (1, C, H, W), photo minus the decoder's picture.
        points_a, points_b: (5, 2), landmarks as fractions of the side, x and y; without them
            nothing is warped.
    """

    def __init__(
        self, a: Tensor, b: Tensor, points_a: Tensor | None = None, points_b: Tensor | None = None
    ) -> None:
        self.both = torch.cat([a, b])  # (2, C, H, W)
        self.points: tuple[Tensor, Tensor] | None = None
        if points_a is not None and points_b is not None:
            self.points = points_a, points_b
        small = self.warped(F.interpolate(self.both, (GRID, GRID), mode="area"), 0.5)
        differ = (small[:1] - small[1:]).abs().mean(dim=1, keepdim=True)
        for _ in range(2):  # smoothed by a box of 5 cells, twice
            differ = F.avg_pool2d(differ, 5, 1, 2, count_include_pad=False)
        self.unlike = ((differ - NOISE) / (UNLIKE - NOISE)).clamp(0, 1)  # (1, 1, GRID, GRID)
        # one choice for the whole face: half of either's glasses would be worse than both
        inner = small[..., GRID // 8 : -GRID // 8, GRID // 8 : -GRID // 8].square()
        self.stays = STAYS if inner[0].mean() > inner[1].mean() else 1 / STAYS

    def at(self, t: float) -> Tensor:
        """The mixture at t in 0 … 1, (1, C, H, W): exactly a's residual at 0 and b's at 1."""
        if t in (0, 1):
            return self.both[int(t)][None]
        moved = self.warped(self.both, t)
        share = F.interpolate(self.share(t), moved.shape[-2:], mode="bilinear")
        return torch.lerp(moved[:1], moved[1:], share)

    def share(self, t: float) -> Tensor:
        """Share of b in the mixture, (1, 1, GRID, GRID): t itself where the two are alike."""
        power = 1 + (STEEPEST - 1) * self.unlike
        one, other = (1 - t) ** power * self.stays**self.unlike, t**power
        return other / (one + other)

    def warped(self, both: Tensor, t: float) -> Tensor:
        """Both residuals (2, C, H, W) with their landmarks where the morph's stand at t."""
        if self.points is None:
            return both
        here, there = self.points
        shift = displacement(torch.lerp(here, there, t), here - there, both.shape[-1])
        return warp(both, torch.cat([t * shift, (t - 1) * shift]))


def displacement(points: Tensor, shifts: Tensor, size: int) -> Tensor:
    """Displacements that are `shifts` at `points`, zero at the border, and smooth between.

    By a thin-plate spline, the field that bends least. Source: Bookstein, "Principal warps", PAMI
    1989.

    Args:
        points, shifts: (K, 2) as fractions of the side, x and y.

    Returns:
        (1, 2, GRID, GRID), fractions of the side, from the centre of the first pixel of a picture
        of `size` to that of its last.
    """
    from scipy.interpolate import RBFInterpolator

    border = np.array([(x, y) for x in BORDER for y in BORDER if {x, y} & {0, 1}])  # (16, 2)
    centres = np.concatenate([points.double().numpy(), border])
    values = np.zeros_like(centres)
    values[: len(points)] = shifts.double().numpy().clip(-MAX_SHIFT, MAX_SHIFT)
    spline = RBFInterpolator(centres, values, smoothing=SMOOTHING, kernel="thin_plate_spline")
    field = spline(_places(size)[0].flatten(1).T.double().numpy())  # (GRID², 2)
    return torch.from_numpy(field.T).float().reshape(1, 2, GRID, GRID)


def warp(images: Tensor, shift: Tensor) -> Tensor:
    """Square images (N, C, S, S) sampled at x + shift(x).

    Args:
        shift: (N, 2, GRID, GRID), as `displacement` gives it for S.
    """
    size = images.shape[-1]
    grid = 2 * (_places(size) + shift) - 1  # grid_sample's −1 … 1
    grid = F.interpolate(grid, (size, size), mode="bilinear", align_corners=True)
    mode = "bicubic" if size <= BICUBIC_MAX_SIDE else "bilinear"
    grid = grid.permute(0, 2, 3, 1)  # (N, S, S, 2)
    return F.grid_sample(images, grid, mode, padding_mode="border", align_corners=False)


def _places(size: int) -> Tensor:
    """x and y of GRID × GRID places from the first pixel's centre to the last's, (1, 2, …)."""
    line = torch.linspace(0.5, size - 0.5, GRID) / size
    return torch.stack(torch.meshgrid(line, line, indexing="xy"))[None]
