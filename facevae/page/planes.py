"""Flat maps through the latent space: two directions and a middle, codes at the points between."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from facevae.studio import Studio

REACH = 2.5  # standard deviations from the middle of a map to its edge


class Planes:
    """The prior's main plane, and the planes of any two latents.

    Attributes:
        mean: (D,), the middle of every map.
        main: (2, D), the prior's two leading principal axes, one standard deviation long.
        std: (D,), of each latent under the prior.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.mean, covariance = studio.prior.moments()
        self.std = covariance.diagonal().sqrt()
        variances, axes = torch.linalg.eigh(covariance)  # ascending; axes are columns
        self.main = (axes * variances.clamp(min=0).sqrt()).T[[-1, -2]]  # (2, D)

    def codes(self, points: Tensor, latents: Sequence[int] | None = None) -> Tensor:
        """Codes (N, D) of points (N, 2) of a map, each coordinate from −1 to 1.

        Args:
            latents: the two that are moved; the prior's main axes by default.
        """
        if latents is None:
            return self.mean + REACH * points @ self.main
        axes = torch.zeros(2, len(self.mean))
        for row, latent in enumerate(latents):
            axes[row, latent] = REACH * self.std[latent]
        return self.mean + points @ axes

    @torch.inference_mode()
    def strongest(self, batch: int = 32) -> list[int]:
        """All latents, first those that change the decoder's picture of the mean face the most.

        The change is the root mean square of the difference between the pictures two standard
        deviations to either side.
        """
        changes = []
        for some in torch.arange(len(self.mean)).split(batch):
            step = torch.zeros(len(some), len(self.mean))
            step[torch.arange(len(some)), some] = 2 * self.std[some]
            ends = [self.studio.model.decode(self.mean + sign * step) for sign in (1, -1)]
            changes.append((ends[0] - ends[1]).square().flatten(1).mean(dim=1))
        return torch.cat(changes).argsort(descending=True).tolist()
