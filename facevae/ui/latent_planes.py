"""Flat maps through the latent space: two directions and a middle, codes at the points between."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MAP_REACH = 2.5  # standard deviations from the middle of a map to its edge


class LatentPlanes:
    """The main plane of codes (N, D), such as draws of a prior, and those of any two latents.

    Attributes:
        mean: (D,), the middle of every map.
        std: (D,), of each latent.
        main: (2, D), the two leading principal axes, one standard deviation long.
    """

    def __init__(self, codes: Tensor) -> None:
        self.mean, self.std = codes.mean(0), codes.std(0)
        _, lengths, axes = torch.linalg.svd(codes - self.mean, full_matrices=False)
        axes = torch.cat([axes, torch.zeros(1, len(self.mean))])  # for a model of one latent
        lengths = torch.cat([lengths, torch.zeros(1)])
        self.main = (lengths[:2, None] / (len(codes) - 1) ** 0.5) * axes[:2]  # (2, D)

    def codes(self, points: Tensor, latents: Sequence[int] | None = None) -> Tensor:
        """Codes (N, D) of points (N, 2) of a map, each coordinate from −1 to 1.

        Args:
            latents: the two that are moved; the main axes by default.
        """
        if latents is None:
            return self.mean + MAP_REACH * points @ self.main
        axes = torch.zeros(2, len(self.mean))
        for row, latent in enumerate(latents):
            axes[row, latent] = MAP_REACH * self.std[latent]
        return self.mean + points @ axes

    def strongest(self, decode: Callable[[Tensor], Tensor], batch: int = 32) -> list[int]:
        """All latents, first those that change the decoder's picture of the mean code the most.

        The change is the root mean square of the difference between the pictures two standard
        deviations to either side.
        """
        changes = []
        for some in torch.arange(len(self.mean)).split(batch):
            step = torch.zeros(len(some), len(self.mean))
            step[torch.arange(len(some)), some] = 2 * self.std[some]
            ends = [decode(self.mean + sign * step) for sign in (1, -1)]
            changes.append((ends[0] - ends[1]).square().flatten(1).mean(dim=1))
        return torch.cat(changes).argsort(descending=True).tolist()
