"""Regions: where on a face an attribute is drawn, and where the photo's detail gives way to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 16  # of the maps, stretched over the picture: an eye is two cells wide


@dataclass(frozen=True, eq=False)
class Region:
    """Two maps (1, 1, SIDE, SIDE) over an aligned face, or finer ones.

    Attributes:
        where: 0 … 1, how much of the decoder's change is let through.
        yields: 0 and more, how readily the photo's detail gives way to a change there; 1 is usual.
    """

    where: Tensor
    yields: Tensor

    @classmethod
    def everywhere(cls) -> Region:
        """All of a change, and detail that gives way as usual."""
        return cls(torch.ones(1, 1, SIDE, SIDE), torch.ones(1, 1, SIDE, SIDE))

    def over(self, side: int) -> tuple[Tensor, Tensor]:
        """Both maps over a picture, (1, 1, side, side) each."""
        where, yields = (
            F.interpolate(one, (side, side), mode="bilinear") for one in (self.where, self.yields)
        )
        return where, yields

    def within(self, hair: Tensor, mask: Tensor) -> Region:
        """This region, drawn on no more than a mask (N, 1, m, m) lets through, 0 … 1, its detail
        giving way on the hair (N, 1, m, m) alone, elsewhere as usual: of N faces, each its own."""
        where, yields = self.over(mask.shape[-1])
        return Region(where * mask, 1 + hair * (yields - 1))

    def towards(self, other: Region, share: float) -> Region:
        """This region at share 0, the other at 1."""
        return Region(
            torch.lerp(self.where, other.where, share), torch.lerp(self.yields, other.yields, share)
        )
