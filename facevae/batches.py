"""Which training faces a step sees, and how: order, balance, mild augmentation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from facevae.data import FaceSet
from facevae.parallel import Part
from facevae.recipes import Recipe

MOST = 5.0  # the rarest face weighs as much as so many average ones: more is learning it by heart
SHIFT, CONTRAST = 0.03, 0.1  # augmentation: of the side; of the levels


class Batches:
    """The faces of one run as batches on its device; random choices come from a generator."""

    def __init__(self, recipe: Recipe, faces: FaceSet, device: torch.device) -> None:
        self.recipe, self.faces, self.device = recipe, faces, device
        self.rows = faces.split(recipe.seed, by=recipe.split_by)
        names = recipe.model.conditions
        self.conditions = torch.from_numpy(faces.conditions(names)) if names else None
        if self.conditions is not None:  # an unknown label cannot be a condition
            known = ~self.conditions.isnan().any(dim=1).numpy()
            self.rows = {part: rows[known[rows]] for part, rows in self.rows.items()}
        for part in ("train", "val"):
            if len(self.rows[part]) < 2:
                raise ValueError(f"{faces.folder} gives {part} fewer than two faces: prepare more")
        self.weights = self._weights(recipe.weigh) if recipe.weigh else None
        self.draws = self._weights(recipe.balance) if recipe.balance else None

    def train(self, generator: torch.Generator) -> list[np.ndarray]:
        """An epoch's batches of row numbers; a rest is left to another epoch's order."""
        rows, recipe = self.rows["train"], self.recipe
        if self.draws is not None:
            weights = self.draws[rows]
            order = torch.multinomial(weights, len(rows), replacement=True, generator=generator)
        else:
            order = torch.randperm(len(rows), generator=generator)
        size = min(recipe.batch, len(rows))
        return list(_cut(rows[order], size, len(rows) - len(rows) % size))

    def validation(self) -> Iterator[np.ndarray]:
        """All validation rows in batches, the last of them smaller.

        An objective that is of a batch, not of a face, gets batches of the size it trains with, or
        a bit above: a rest of one face has no total correlation.
        """
        rows, size = self.rows["val"], self.recipe.batch
        if self.recipe.tcvae or self.recipe.capacity:
            return iter(np.array_split(rows, max(1, len(rows) // size)))
        return _cut(rows, size, len(rows))

    def load(self, rows: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Rows of the memory map as (B, C, H, W) in [0, 1] on the device, and their conditions."""
        levels = torch.from_numpy(self.faces.images[rows]).to(self.device)  # (B, H, W, C) uint8
        images = levels.permute(0, 3, 1, 2).float().div_(255.0)  # (B, C, H, W), channels last
        if self.conditions is None:
            return images, None
        return images, self.conditions[rows].to(self.device)

    def varied(self, images: Tensor, part: Part, generator: torch.Generator) -> Tensor:
        """Training images as the recipe wants them varied; drawn for the whole batch."""
        if self.recipe.flip:
            flipped = (torch.rand(part.total, generator=generator) < 0.5)[part.rows]
            flipped = flipped.to(images.device)[:, None, None, None]
            images = torch.where(flipped, images.flip(3), images)
        if self.recipe.augment:
            drawn = 2 * torch.rand(part.total, 4, generator=generator)[part.rows] - 1  # (B, 4)
            images = _augmented(images, drawn.to(images.device))
        return images

    def weight(self, rows: np.ndarray) -> Tensor | float:
        """What each face's loss is multiplied by, (B,), 1 on average over the training faces."""
        return 1.0 if self.weights is None else self.weights[rows].to(self.device)

    def importance(self, rows: np.ndarray) -> Tensor:
        """How much each face counts in training, (B,): how often it is drawn times its weight.

        Validation counts faces alike, so that its loss is that of training on unseen faces.
        """
        counts = torch.ones(len(rows))
        for weights in (self.draws, self.weights):
            counts = counts if weights is None else counts * weights[rows]
        return counts.to(self.device)

    def _weights(self, label: str) -> Tensor:
        """(N,) by the rarity of a label among all faces, at most MOST, mean 1 over training.

        Raises:
            ValueError: the label is not there, not in numbers, or unknown for all training faces.
        """
        weights = torch.from_numpy(self.faces.balanced_weights(label)).float().clamp(max=MOST)
        mean = weights[self.rows["train"]].mean()
        if mean == 0:
            raise ValueError(f"no training face has a known {label!r}: balance by another label")
        return weights / mean


def _cut(rows: np.ndarray, size: int, end: int) -> Iterator[np.ndarray]:
    for start in range(0, end, size):
        yield np.sort(rows[start : start + size])  # sorted: the memory map reads forward


def _augmented(images: Tensor, drawn: Tensor) -> Tensor:
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
