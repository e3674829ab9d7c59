"""The learning rate of an epoch, from the recipe and the validation losses so far."""

from __future__ import annotations

import math
from collections.abc import Sequence

from facevae.config import Recipe

PLATEAU_EPOCHS, PLATEAU_FACTOR = 3, 0.5  # after more epochs without a better loss, rate times this
PLATEAU_THRESHOLD = 1e-4  # share of the best loss by which a better one must be lower


def learning_rate(recipe: Recipe, val_losses: Sequence[float]) -> float:
    """The rate of the epoch that comes next: there is nothing to keep in a checkpoint."""
    if recipe.schedule == "cosine":
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * len(val_losses) / recipe.epochs))
    if recipe.schedule == "plateau":
        return recipe.lr * PLATEAU_FACTOR ** _plateaus(val_losses)
    return recipe.lr


def _plateaus(val_losses: Sequence[float]) -> int:
    best, waited, count = math.inf, 0, 0
    for loss in val_losses:
        waited += 1
        if best == math.inf or loss < best - PLATEAU_THRESHOLD * abs(best):
            best, waited = loss, 0
        elif waited > PLATEAU_EPOCHS:
            count, waited = count + 1, 0
    return count
