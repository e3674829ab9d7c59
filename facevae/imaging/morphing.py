"""Morphing: the photos' own detail, carried from face to face without ghosts.

Residuals (photo minus decoder's picture) that are merely faded show two mouths half way. Here each
is warped until its landmarks stand where the morph's stand; where they still differ much, the
change is quick and the strongest stays past the middle."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import center_crop, gaussian_blur

GRID = 32  # cells a side of the coarse grid on which displacements and fades are computed
BORDER = [(x / 4, y / 4) for x in range(5) for y in range(5) if {x, y} & {0, 4}]  # held in place
SMOOTHING = 1e-4  # of the spline: landmarks that nearly coincide must not tear the picture
BICUBIC_MAX_SIDE = 256  # pixels; up to here bilinear sampling would blur the detail
MAX_SHIFT = 0.15  # of the side: a landmark further off is an error, and moves no further
NOISE, UNLIKE = 0.02, 0.06  # mean difference: alike below the first, all unlike above the second
STEEPEST, STAYS = 4.0, 6.0  # where all is unlike: power of the fade, odds of the strongest


def mix_residuals(residuals: Tensor, shares: Tensor, points: Tensor | None = None) -> Tensor:
    """Residuals (F, C, H, W) of faces in shares (F,), sum 1, as one; of a single face, to the bit.

    `points` (F, K, 2) are landmarks as fractions of the sides; without, nothing is warped."""
    if len(residuals) == 1:
        return residuals
    # the strongest is chosen for the whole face: half of either's glasses would be worse than both
    inner = center_crop(residuals, [side * 3 // 4 for side in residuals.shape[-2:]])
    strengths = inner.square().mean((1, 2, 3), keepdim=True)
    if points is not None:
        middle = (shares[:, None, None] * points).sum(0)  # (K, 2)
        pairs = zip(residuals.split(1), points - middle, strict=True)
        residuals = torch.cat([warp(residual, middle, shift) for residual, shift in pairs])
    cells = F.interpolate(residuals, (GRID, GRID), mode="area")
    differ = (cells.amax(0) - cells.amin(0)).mean(0)[None, None]  # (1, 1, GRID, GRID)
    unlike = ((gaussian_blur(differ, [9, 9], [2.0]) - NOISE) / (UNLIKE - NOISE)).clamp(0, 1)
    odds = torch.where(strengths == strengths.max(), STAYS, 1.0)
    weights = shares[:, None, None, None] ** (1 + (STEEPEST - 1) * unlike) * odds**unlike
    weights = F.interpolate(weights / weights.sum(0), residuals.shape[-2:], mode="bilinear")
    return (weights * residuals).sum(0, keepdim=True)


def warp(images: Tensor, points: Tensor, shifts: Tensor) -> Tensor:
    """Images (1, C, H, W) sampled at x + s(x): s is `shifts` at `points`, both (K, 2) as fractions
    of the sides, zero at the border, and between a thin-plate spline, the field that bends least.

    Source: Bookstein, "Principal warps", PAMI 1989."""
    from scipy.interpolate import RBFInterpolator

    height, width = images.shape[-2:]
    x, y = (torch.linspace(0.5, side - 0.5, GRID) / side for side in (width, height))
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"))  # (2, GRID, GRID)
    centres = np.concatenate([points, BORDER])
    values = np.concatenate([shifts.clamp(-MAX_SHIFT, MAX_SHIFT), np.zeros_like(BORDER)])
    spline = RBFInterpolator(centres, values, smoothing=SMOOTHING, kernel="thin_plate_spline")
    field = torch.from_numpy(spline(places.flatten(1).T)).float().T.view(2, GRID, GRID)
    grid = 2 * (places + field)[None] - 1  # grid_sample's −1 … 1
    grid = F.interpolate(grid, (height, width), mode="bilinear", align_corners=True)
    mode = "bicubic" if max(height, width) <= BICUBIC_MAX_SIDE else "bilinear"
    return F.grid_sample(images, grid.permute(0, 2, 3, 1), mode, "border", align_corners=False)
