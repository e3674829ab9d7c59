"""Mappers: how the way to an attribute bends with the face that goes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from facevae.files import write_safetensors

UNITS = 64  # of a mapper's one hidden layer
PARTS = ("into", "bias", "out")  # of a Mapper, as the file names them


@dataclass(frozen=True, eq=False)
class Mapper:
    """A small network from a code to what is added to a direction, for this face alone.

    A beard is not drawn alike on every chin: one vector for all faces takes along what goes with
    it on the mean face. Source: Patashnik et al., "StyleCLIP", arXiv 2103.17249, section 5.

    Attributes:
        into: (UNITS, D), bias: (UNITS,), out: (D, UNITS).
    """

    into: Tensor
    bias: Tensor
    out: Tensor

    @classmethod
    def straight(cls, latents: int, generator: torch.Generator | None = None) -> Mapper:
        """One that adds nothing yet."""
        into = torch.randn(UNITS, latents, generator=generator) / latents**0.5
        return cls(into, torch.zeros(UNITS), torch.zeros(latents, UNITS))

    def bend(self, codes: Tensor, vector: Tensor) -> Tensor:
        """What codes (N, D) add to a vector (D,), at right angles to it: (N, D).

        A step along both thus changes the strength of the attribute as one along the vector does.
        """
        added = torch.relu(codes @ self.into.T + self.bias) @ self.out.T
        return added - (added @ vector)[:, None] * vector / vector.square().sum()


Mappers = Mapping[str, tuple[Mapper, Mapper]]
"""By attribute: of giving it and of taking it off."""


def save(path: str | Path, mappers: Mappers) -> None:
    """Write mappers as one safetensors file, float16."""
    write_safetensors(
        path,
        {
            f"{name}.{part}": torch.stack([getattr(one, part) for one in pair]).half()
            for name, pair in mappers.items()
            for part in PARTS
        },
    )


def load(path: str | Path) -> dict[str, tuple[Mapper, Mapper]]:
    """Read what `save` wrote.

    Raises:
        ValueError: the file is missing, foreign or broken.
    """
    try:
        stored = {name: tensor.float() for name, tensor in load_file(path).items()}
        found = {}
        for name in dict.fromkeys(key.rpartition(".")[0] for key in stored):
            pairs = [stored[f"{name}.{part}"] for part in PARTS]
            latents = pairs[0].shape[-1]
            shapes = [(2, UNITS, latents), (2, UNITS), (2, latents, UNITS)]
            if [tuple(pair.shape) for pair in pairs] != shapes:
                raise TypeError(f"{name} is of other shapes")
            on, off = (Mapper(*parts) for parts in zip(*pairs, strict=True))
            found[name] = (on, off)
        return found
    except Exception as error:  # safetensors raises of many kinds
        raise ValueError(f"{path} holds no mappers that can be read ({error})") from error
