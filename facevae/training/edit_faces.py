"""Faces that edits are learnt from, drawn evenly over attributes and ages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from facevae.models.vae import age_weights


@dataclass
class EditFaces:
    """Faces that edits are learnt from.

    Attributes:
        images: rows (M,) → (M, 3, H, W) float32 in [0, 1].
        condition: (N, K), y as the editing classifier reads it: what the decoder is given.
        labels: (N, K), what is known: 0, 1 or NaN; ages in centuries.
        whole: (N,) bool; False for faces whose surroundings are no photograph: they teach the
            condition critic alone.
    """

    names: tuple[str, ...]
    images: Callable[[np.ndarray], Tensor]
    condition: Tensor
    labels: Tensor
    whole: np.ndarray
    anchors: tuple[float, ...]
    _rows: dict = field(default_factory=dict)

    def draw(self, rng: np.random.Generator, real: bool, age_share: float) -> tuple[int, int]:
        """A row and the column it was drawn for: attributes, their two states and spans of years
        all alike often. `real`: by labels alone, else by the condition where there is no label."""
        age = self.names.index("age") if "age" in self.names else -1
        while True:
            if age >= 0 and rng.random() < age_share:
                column, state = age, int(rng.integers(len(self.anchors)))
            else:
                attributes = [k for k in range(len(self.names)) if k != age]
                column, state = int(rng.choice(attributes)), int(rng.integers(2))
            rows = self._with(column, state, real)
            if len(rows):
                return int(rng.choice(rows)), column

    def _with(self, column: int, state: int, real: bool) -> np.ndarray:
        key = (column, state, real)
        if key not in self._rows:
            values = self.labels[:, column].clone()
            if not real:
                read = self.condition[:, column]
                sure = (read - 0.5).abs() > 0.3 if self.names[column] != "age" else read >= 0
                values = torch.where(values.isnan() & sure, read, values)
            if self.names[column] == "age":
                nearest = age_weights(100.0 * values.nan_to_num(), self.anchors).argmax(dim=1)
                match = (nearest == state) & ~values.isnan()
            else:
                match = values.round() == state
            usable = match.numpy() & (self.whole | real)
            self._rows[key] = np.flatnonzero(usable)
        return self._rows[key]
