"""Regions: where on a face an attribute is drawn, and where the photo's detail gives way to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from facevae.files import write_safetensors

SIDE = 16  # of the maps, stretched over the picture: an eye is two cells wide


@dataclass(frozen=True, eq=False)
class Region:
    """Two maps (1, 1, SIDE, SIDE) over an aligned face.

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
        """Both maps over a picture, (1, 1, side, side)."""
        both = F.interpolate(torch.cat([self.where, self.yields]), (side, side), mode="bilinear")
        return both[:1], both[1:]

    def towards(self, other: Region, share: float) -> Region:
        """This region at share 0, the other at 1."""
        return Region(
            torch.lerp(self.where, other.where, share), torch.lerp(self.yields, other.yields, share)
        )


def joined(regions: Sequence[Region]) -> Region:
    """What any of them lets through, and yields."""
    if not regions:
        return Region.everywhere()
    parts = [(one.where, one.yields) for one in regions]
    where, yields = (torch.cat(maps).amax(0, keepdim=True) for maps in zip(*parts, strict=True))
    return Region(where, yields)


Regions = Mapping[str, tuple[Region, Region]]
"""By attribute: of giving it and of taking it off."""


def save(path: str | Path, regions: Regions) -> None:
    """Write regions as one safetensors file: each attribute (2, 2, SIDE, SIDE), float16."""
    write_safetensors(
        path,
        {
            name: torch.stack([torch.cat([one.where, one.yields])[:, 0] for one in pair]).half()
            for name, pair in regions.items()
        },
    )


def load(path: str | Path) -> dict[str, tuple[Region, Region]]:
    """Read what `save` wrote.

    Raises:
        ValueError: the file is missing, foreign or broken.
    """
    try:
        found = {}
        for name, maps in load_file(path).items():
            if maps.shape != (2, 2, SIDE, SIDE):
                raise TypeError(f"{name} is of the shape {tuple(maps.shape)}")
            on, off = (Region(*one[:, None, None].float()) for one in maps)
            found[name] = (on, off)
        return found
    except Exception as error:  # safetensors raises of many kinds
        raise ValueError(f"{path} holds no regions that can be read ({error})") from error
