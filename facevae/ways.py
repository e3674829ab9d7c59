"""Ways: how a face comes by an attribute and loses it; what an edit goes by."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from facevae.directions import Direction
from facevae.files import write_safetensors
from facevae.hair import beside
from facevae.mappers import UNITS, Mapper
from facevae.regions import SIDE, Region

FORMAT = "2"  # of a file of ways
DYES = {"Black_Hair", "Blond_Hair", "Gray_Hair"}  # drawn off the face: a reader alone is content
# with grey hair that comes with a doll's eyes and cheeks
HAIR = dict.fromkeys(DYES, (True, True)) | {"Bald": (True, False)}  # on, off: drawn on hair, where
# the photo shows it: a reader is content with a gilded wall, too
REACH = 2.0  # of strength 1 before steering, in the unit of `facevae.directions`


@dataclass(frozen=True, eq=False)
class Way:
    """How faces come by an attribute, and lose it.

    Attributes:
        direction: in the latents. reach: how far along it, and against it, strength 1 and −1 lie.
        regions: where on the face the one and the other are drawn.
        mappers: how the one and the other bend with the face.
        enough: logits of the reader at which a face has gone far enough, to 1 and to −1; without a
            bound each goes all the way. See `facevae.pace`.
    """

    direction: Direction
    reach: tuple[float, float]
    regions: tuple[Region, Region]
    mappers: tuple[Mapper, Mapper]
    enough: tuple[float, float] = (math.inf, math.inf)

    @classmethod
    def straight(cls, direction: Direction) -> Way:
        """Along a direction alone, drawn everywhere."""
        mapper, region = Mapper.straight(len(direction.vector)), Region.everywhere()
        return cls(direction, (REACH, REACH), (region, region), (mapper, mapper))

    def target(self, at: float) -> float:
        """A strength, 1 and −1 as `reach` says, in the unit of `facevae.directions`."""
        return at * self.reach[at < 0]

    def strength(self, codes: Tensor) -> Tensor:
        """How strongly codes (N, D) have it, (N,), in the unit of `reach`."""
        own = self.direction.strength(codes)
        return own / torch.where(own < 0, self.reach[1], self.reach[0])

    def bend(self, codes: Tensor, down: bool) -> Tensor:
        """What the faces of codes (N, D) add to the direction on their way up, or down: (N, D)."""
        return self.mappers[down].bend(codes, self.direction.vector)

    def placed(self, codes: Tensor, off: int) -> Tensor:
        """Codes (N, D) brought to strength 1 or, off, to −1."""
        missing = (1 - 2 * off) * self.reach[off] - self.direction.strength(codes)  # (N,)
        return codes + missing[:, None] * (self.direction.vector + self.bend(codes, bool(off)))

    def region(self, at: float, hair: Tensor) -> Region:
        """Where a strength is drawn on faces whose hair is (N, 1, m, m): beyond ±1 as at ±1,
        between them in between."""
        on, off = self.regions
        if kinds := HAIR.get(self.direction.name):
            all_ = torch.ones_like(hair)
            masks = ((hair, beside(hair)) if on_hair else (all_, all_) for on_hair in kinds)
            on, off = (one.within(*both) for one, both in zip(self.regions, masks, strict=True))
        return off.towards(on, (min(max(at, -1.0), 1.0) + 1) / 2)


def save(path: str | Path, ways: Mapping[str, Way], model: str = "") -> None:
    """Write ways as one safetensors file, by attribute; regions and mappers as float16.

    model: fingerprint of the model in whose latents they lie.
    """
    told = {
        name: {"method": w.direction.method, "reach": w.reach, "enough": w.enough}
        for name, w in ways.items()
    }
    tensors = {
        f"{name}.{part}": tensor for name, w in ways.items() for part, tensor in _parts(w).items()
    }
    write_safetensors(path, tensors, {"format": FORMAT, "model": model, "ways": json.dumps(told)})


def load(path: str | Path) -> tuple[dict[str, Way], str]:
    """Read what `save` wrote: ways by attribute, and the fingerprint of their model.

    Raises:
        ValueError: the file is missing, foreign, broken or of another format.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise ValueError(f"its format is {header.get('format')}, this reads {FORMAT}")
            keys = file.keys()
            # copied: where the file lies in memory hangs on its header, and so would rounding
            tensors = {key: file.get_tensor(key).to(torch.float32, copy=True) for key in keys}
        told = json.loads(header["ways"])
        return {name: _way(name, told[name], tensors) for name in told}, header["model"]
    except Exception as error:  # safetensors raises of many kinds
        raise ValueError(
            f"{path} holds no ways to attributes that can be read ({error}): make them with "
            "`python -m facevae guide`"
        ) from error


def _parts(way: Way) -> dict[str, Tensor]:
    """A way's tensors as the file names them."""
    one = way.direction
    maps = [torch.cat([region.where, region.yields])[:, 0] for region in way.regions]
    mappers = {
        part: torch.stack([getattr(mapper, part) for mapper in way.mappers]).half()
        for part in ("into", "bias", "out")
    }
    return {"vector": one.vector, "has": one.has, "lacks": one.lacks,
            "regions": torch.stack(maps).half(), **mappers}  # fmt: skip


def _way(name: str, told: Mapping, tensors: Mapping[str, Tensor]) -> Way:
    """The way that was written as `_parts`; an error if its parts do not fit each other."""
    latents = len(tensors[f"{name}.vector"])
    shapes = {"vector": (latents,), "has": (latents,), "lacks": (latents,),
              "regions": (2, 2, SIDE, SIDE), "into": (2, UNITS, latents), "bias": (2, UNITS),
              "out": (2, latents, UNITS)}  # fmt: skip
    part = {key: tensors[f"{name}.{key}"] for key in shapes}
    if wrong := [key for key, shape in shapes.items() if part[key].shape != shape]:
        raise TypeError(f"{name}.{wrong[0]} is of the shape {tuple(part[wrong[0]].shape)}")
    direction = Direction(name, told["method"], part["vector"], part["has"], part["lacks"])
    reach, enough = ((float(up), float(down)) for up, down in (told["reach"], told["enough"]))
    on, off = (Region(*maps[:, None, None]) for maps in part["regions"])
    give, take = (Mapper(*one) for one in zip(part["into"], part["bias"], part["out"], strict=True))
    return Way(direction, reach, (on, off), (give, take), enough)
