"""Batches of prepared faces: their order, balance between labels, and mild augmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from facevae.config import Recipe

if TYPE_CHECKING:
    from facevae.data.face_set import FaceSet

MAX_WEIGHT = 5.0  # of the rarest face, in average ones: with more it is learnt by heart
SHIFT, CONTRAST = 0.03, 0.1  # augmentation: of the side; of the levels


class Batches:
    """The faces of a run as batches on its device; a batch is an array of row numbers.

    Args:
        share: of the faces of a batch, for one of several processes.

    Attributes:
        rows: row numbers of train, val and test whose conditions are known.
        conditions: (N, K) of all faces, or None.
        weights, draws: (N,) weight of each face in the loss, and how often it is drawn.
    """

    def __init__(
        self,
        recipe: Recipe,
        faces: FaceSet,
        device: torch.device | str = "cpu",
        share: slice = slice(None),
    ) -> None:
        self.recipe, self.faces, self.device, self.share = recipe, faces, device, share
        self.rows = faces.split(recipe.seed, by=recipe.split_by)
        names = recipe.model.conditions
        self.conditions = torch.from_numpy(faces.conditions(names)) if names else None
        if self.conditions is not None:  # an unknown label cannot be a condition
            known = ~self.conditions.isnan().any(dim=1).numpy()
            self.rows = {part: rows[known[rows]] for part, rows in self.rows.items()}
        for part in ("train", "val"):
            if len(self.rows[part]) < 2:
                raise ValueError(f"{faces.folder} gives {part} fewer than two faces: prepare more")
        self.weights, self.draws = self._weights(recipe.weigh), self._weights(recipe.balance)

    def train(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch; a rest of faces is left to another epoch's order."""
        rows = self.rows["train"]
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
        if self.recipe.balance:
            order = torch.multinomial(self.draws[rows], len(rows), True, generator=generator)
        else:
            order = torch.randperm(len(rows), generator=generator)
        size = min(self.recipe.batch, len(rows))
        whole = rows[order][: len(rows) - len(rows) % size].reshape(-1, size)
        return [np.sort(part)[self.share] for part in whole]  # sorted: the file is read forward

    def validation(self) -> list[np.ndarray]:
        """All validation faces in batches.

        An objective that is of a batch, not of a face, gets batches of the size that it trains
        with, or somewhat larger: a rest of one face has no total correlation.
        """
        rows, size = self.rows["val"], self.recipe.batch
        if self.recipe.tcvae or self.recipe.capacity:
            parts = np.array_split(rows, max(1, len(rows) // size))
        else:
            parts = np.array_split(rows, range(size, len(rows), size))
        return [part[self.share] for part in parts if len(part[self.share])]

    def load(self, rows: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Rows as images (B, C, H, W) in [0, 1] on the device, and their conditions (B, K)."""
        condition = None if self.conditions is None else self.conditions[rows].to(self.device)
        return self.faces.tensor(rows).to(self.device), condition

    def weight(self, rows: np.ndarray) -> Tensor:
        """What the loss of each face is multiplied by in training, (B,)."""
        return self.weights[rows].to(self.device)

    def importance(self, rows: np.ndarray) -> Tensor:
        """How much each face counts in training, (B,): how often it is drawn times its weight."""
        return (self.weights * self.draws)[rows].to(self.device)

    def varied(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Training images (B, C, H, W), flipped and augmented as the recipe wants."""
        if self.recipe.flip:
            flipped = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
            images = torch.where(flipped.to(images.device), images.flip(3), images)
        if self.recipe.augment:
            drawn = 2 * torch.rand(len(images), 4, generator=generator) - 1  # (B, 4)
            images = augmented(images, drawn.to(images.device))
        return images

    def _weights(self, label: str) -> Tensor:
        """(N,) by the rarity of a label among all faces, at most MAX_WEIGHT, mean 1 in training.

        Raises:
            ValueError: the label is not there, not in numbers, or unknown for all training faces.
        """
        if not label:
            return torch.ones(len(self.faces))
        weights = torch.from_numpy(self.faces.balanced_weights(label)).float().clamp(max=MAX_WEIGHT)
        mean = weights[self.rows["train"]].mean()
        if mean == 0:
            raise ValueError(f"no training face has a known {label!r}: balance by another label")
        return weights / mean


def augmented(images: Tensor, drawn: Tensor) -> Tensor:
    """Shift by up to SHIFT of the side, change brightness and contrast by up to CONTRAST.

    Args:
        images: (B, C, H, W) in [0, 1].
        drawn: (B, 4) uniform in −1 … 1: shift in x and y, brightness, contrast.
    """
    moves = torch.eye(2, 3, device=images.device).repeat(len(images), 1, 1)  # (B, 2, 3)
    moves[:, :, 2] = 2 * SHIFT * drawn[:, :2]
    grid = F.affine_grid(moves, list(images.shape), align_corners=False)  # (B, H, W, 2)
    shifted = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    brightness, contrast = (CONTRAST * drawn[:, i, None, None, None] for i in (2, 3))
    return ((1 + contrast) * (shifted - 0.5) + 0.5 + 0.5 * brightness).clamp(0, 1)
