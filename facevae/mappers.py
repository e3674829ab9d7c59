"""Mappers: how the way to an attribute bends with the face that goes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

UNITS = 64  # of a mapper's one hidden layer


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
