"""Warp: what two photos hold beyond the decoder's pictures, carried along a morph without ghosts.

Left where they are and faded evenly, two residuals show two mouths and two half pairs of glasses
half way. Here each is bent until its landmarks stand where the morph's landmarks stand; and where
the two still differ much, they change over quickly and the stronger one stays past the middle.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CELLS = 32  # of the coarse grid on which fields and fades are found: they are smooth
HELD = [k / 4 for k in range(5)]  # where on each side of the picture the border is held
STIFF = 1e-4  # regularisation: landmarks that nearly coincide must not tear the picture
FINE = 256  # pixels: up to here detail is as fine as a pixel, and bilinear reading would blur it
FARTHEST = 0.15  # of the side: a landmark further off is a wrong one, and moves no further

NOISE, UNLIKE = 0.02, 0.06  # mean difference: alike up to the first, all unlike from the second
STEEPEST = 4.0  # power of the fade where all is unlike; 1 is the even fade
STAYS = 6.0  # odds of the stronger residual half way, where all is unlike


class Carrier:
    """Two residuals on the way from one face to the other.

    Args:
        a, b: (1, C, S, S), photo minus decoder's picture.
        points_a, points_b: (5, 2), the landmarks as fractions of the side, x and y; without them
            nothing is moved.
    """

    def __init__(
        self, a: Tensor, b: Tensor, points_a: Tensor | None = None, points_b: Tensor | None = None
    ) -> None:
        self.both = torch.cat([a, b])  # (2, C, S, S)
        self.points: tuple[Tensor, Tensor] | None = None
        if points_a is not None and points_b is not None:
            self.points = points_a, points_b
        small = self._moved(F.interpolate(self.both, (CELLS, CELLS), mode="area"), 0.5)
        differ = smoothed((small[:1] - small[1:]).abs().mean(dim=1, keepdim=True))
        self.unlike = ((differ - NOISE) / (UNLIKE - NOISE)).clamp(0, 1)  # (1, 1, CELLS, CELLS)
        # one choice for the whole face: half of either's glasses would be worse than both
        inner = small[..., CELLS // 8 : -CELLS // 8, CELLS // 8 : -CELLS // 8].square()
        stronger = inner[0].mean() > inner[1].mean()
        self.stays = STAYS if stronger else 1 / STAYS

    def at(self, t: float) -> Tensor:
        """What both hold together at t in 0 … 1: exactly a's at 0 and b's at 1, (1, C, S, S)."""
        if t in (0, 1):  # to the bit
            return self.both[int(t)][None]
        moved = self._moved(self.both, t)
        share = F.interpolate(self.share(t), moved.shape[-2:], mode="bilinear")
        return torch.lerp(moved[:1], moved[1:], share)

    def share(self, t: float) -> Tensor:
        """Of b in the mixture, (1, 1, CELLS, CELLS): t itself where the two are alike."""
        power = 1 + (STEEPEST - 1) * self.unlike
        one, other = (1 - t) ** power * self.stays**self.unlike, t**power
        return other / (one + other)

    def _moved(self, both: Tensor, t: float) -> Tensor:
        if self.points is None:
            return both
        here, there = self.points
        bend = field(torch.lerp(here, there, t), here - there, both.shape[-1])
        return warped(both, torch.cat([t * bend, (t - 1) * bend]))


def smoothed(maps: Tensor, reach: int = 2) -> Tensor:
    """Maps (N, C, H, W) under a box of 2 · reach + 1 cells, twice."""
    for _ in range(2):
        maps = F.avg_pool2d(maps, 2 * reach + 1, 1, reach, count_include_pad=False)
    return maps


def field(points: Tensor, shifts: Tensor, size: int) -> Tensor:
    """Displacements that are `shifts` at `points` and nothing at the border, smooth between.

    Thin-plate splines: of all fields through the given places the one that bends least. Source:
    Bookstein, "Principal warps", PAMI 1989.

    Args:
        points, shifts: (K, 2) as fractions of the side, x and y.

    Returns:
        (1, 2, CELLS, CELLS), fractions of the side, from the centre of the first pixel of a
        picture of `size` to that of its last.
    """
    anchors = torch.tensor([(x, y) for x in HELD for y in HELD if {x, y} & {0, 1}])  # (16, 2)
    centres = torch.cat([points, anchors])  # (M, 2)
    wanted = F.pad(shifts.clamp(-FARTHEST, FARTHEST), (0, 0, 0, len(anchors)))
    weights = _solved(centres.double(), wanted.double()).float()  # (M + 3, 2)
    places = _grid(size)[0].flatten(1).T  # (CELLS², 2)
    return (_basis(places, centres) @ weights).T.reshape(1, 2, CELLS, CELLS)


def warped(images: Tensor, displacement: Tensor) -> Tensor:
    """Images (N, C, S, S) read at x + displacement(x): what is there comes here.

    Args:
        displacement: (N, 2, CELLS, CELLS), as `field` gives it for S.
    """
    size = images.shape[-1]
    grid = 2 * (_grid(size) + displacement) - 1  # grid_sample's −1 … 1
    grid = F.interpolate(grid, (size, size), mode="bilinear", align_corners=True)
    grid = grid.permute(0, 2, 3, 1)  # (N, S, S, 2)
    mode = "bicubic" if size <= FINE else "bilinear"
    return F.grid_sample(images, grid, mode, padding_mode="border", align_corners=False)


def _grid(size: int) -> Tensor:
    """x and y of CELLS × CELLS places from the first pixel's centre to the last's, (1, 2, …)."""
    line = torch.linspace(0.5, size - 0.5, CELLS) / size
    return torch.stack(torch.meshgrid(line, line, indexing="xy"))[None]


def _solved(centres: Tensor, wanted: Tensor) -> Tensor:
    """Weights (M + 3, 2) of the spline that is `wanted` (M, 2) at its centres (M, 2)."""
    top = _basis(centres, centres)  # (M, M + 3)
    plane = top[:, len(centres) :]
    top[:, : len(centres)] += STIFF * torch.eye(len(centres))
    whole = torch.cat([top, F.pad(plane.T, (0, 3))])  # (M + 3, M + 3)
    return torch.linalg.solve(whole, F.pad(wanted, (0, 0, 0, 3)))


def _basis(places: Tensor, centres: Tensor) -> Tensor:
    """r² log r from each centre, then 1, x, y: (P, 2), (M, 2) → (P, M + 3)."""
    squares = (places[:, None] - centres).square().sum(dim=-1)  # (P, M)
    bent = 0.5 * squares * squares.clamp(min=1e-12).log()
    return torch.cat([bent, torch.ones_like(places[:, :1]), places], dim=1)
