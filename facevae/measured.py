"""What latents do, in measured terms: the labels that go with them, and what they move in a
picture. Nothing here names a latent by hope."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from facevae.data import FaceSet
from facevae.latent import traversal
from facevae.metrics import GROUPS
from facevae.model import FaceVAE

TWINS = 0.9999  # labels that correlate more than this say the same thing twice


@dataclass(frozen=True)
class Label:
    """A label of all faces.

    Attributes:
        values: (N,) float, NaN where unknown.
        names: value → its name, for labels whose numbers are no scale; else empty.
    """

    name: str
    values: np.ndarray
    names: dict[float, str]

    def of(self, rows: np.ndarray) -> Label:
        """The same label of some rows alone."""
        return Label(self.name, self.values[rows], self.names)

    def columns(self) -> dict[str, np.ndarray]:
        """Itself where it is a scale; else an indicator a name (of two, the second alone)."""
        if not self.names:
            return {self.name: self.values}
        shown = list(self.names.items())[1 if len(self.names) == 2 else 0 :]
        unknown = np.isnan(self.values)
        return {
            name if name == self.name else f"{self.name} {name}": np.where(
                unknown, np.nan, self.values == value
            )
            for value, name in shown
        }


def labels_of(faces: FaceSet) -> list[Label]:
    """The numeric labels of faces that differ between them; twins of an earlier one left out.

    Faces without any are told by their place in the data: in a film, that is time.
    """
    found: list[Label] = []
    for name, column in faces.labels.items():
        if column.dtype.kind not in "if":
            continue
        values = column.astype(float)
        if column.dtype.kind == "i":
            values[column < 0] = np.nan
        seen = np.unique(values[~np.isnan(values)])
        label = Label(name, values, _names(name, seen, faces.manifest.get("classes", [])))
        if len(seen) > 1 and not any(_twins(label, other) for other in found):
            found.append(label)
    return found or [Label("place in the data", np.arange(len(faces), dtype=float), {})]


def _names(name: str, seen: np.ndarray, classes: list[str]) -> dict[float, str]:
    given = {float(low): text for text, low, high in GROUPS.get(name, []) if low == high}
    if name == "class":
        given = {float(i): text for i, text in enumerate(classes)}
    if not given and set(seen) == {0.0, 1.0}:
        given = {0.0: f"not {name}", 1.0: name}
    return {value: text for value, text in given.items() if value in seen}


def _twins(a: Label, b: Label) -> bool:
    known = ~(np.isnan(a.values) | np.isnan(b.values))
    few = max(len(a.names), len(b.names)) > 2 or known.sum() < 2
    return not few and abs(_pearson(a.values[known, None], b.values[known])[0]) > TWINS


def correlations(codes: np.ndarray, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Pearson's r of each latent with each label: codes (M, D), label → (M,) to label → (D,).

    Faces whose label is unknown are left out of that label; labels that do not vary, too.
    """
    found = {}
    for name, values in columns.items():
        known = ~np.isnan(values)
        if known.sum() > 2 and values[known].std() > 0:
            found[name] = _pearson(codes[known], values[known])
    return found


def _pearson(codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """r of each column of (M, D) with (M,); 0 for a column that does not vary."""
    codes, values = codes - codes.mean(0), values - values.mean()
    scale = np.sqrt((codes**2).sum(0) * (values**2).sum())
    return np.divide(values @ codes, scale, out=np.zeros(codes.shape[1]), where=scale > 0)


def project(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 2-D PCA map of codes (M, D): points (M, 2), and the axes' shares of the variance."""
    centred = codes - codes.mean(0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    return centred @ axes[:2].T, spread[:2] ** 2 / (spread**2).sum()


def explained(points: np.ndarray, columns: dict[str, np.ndarray]) -> float:
    """R² with which points (M, 2) predict a label linearly: the best of its columns."""
    best = 0.0
    for values in columns.values():
        known = ~np.isnan(values)
        if known.sum() <= 3 or values[known].std() == 0:
            continue
        design = np.column_stack([points[known], np.ones(known.sum())])
        fitted = design @ np.linalg.lstsq(design, values[known], rcond=None)[0]
        best = max(best, 1 - float(np.var(values[known] - fitted) / np.var(values[known])))
    return best


@torch.inference_mode()
def traverse(
    model: FaceVAE, codes: Tensor, latent: int, condition: Tensor | None = None,
    reach: float = 2.5, steps: int = 7,
) -> Tensor:  # fmt: skip
    """The mean face with one latent moved from −reach to +reach standard deviations.

    Mean and deviation are those of codes (M, D): as far as faces go. The condition (1, K), if
    any, is held.

    Returns:
        (steps, C, H, W) in [0, 1].
    """
    path = traversal(codes, latent, steps, reach)  # (steps, D)
    return model.decode(path, None if condition is None else condition.expand(steps, -1))


def change(pictures: Tensor) -> tuple[float, float, list[float]]:
    """What the last of pictures (T, C, H, W) differs in from the first, in grey levels of 255.

    Returns:
        mean |difference|, mean difference (positive: brighter), and the shares of the first that
        lie in the upper, middle and lower third of the picture.
    """
    difference = 255 * (pictures[-1] - pictures[0])  # (C, H, W)
    moved = difference.abs().mean(0)  # (C, H, W) -> (H, W): a change of hue counts too
    thirds = torch.stack([part.sum() for part in moved.tensor_split(3)])
    shares = (thirds / moved.sum().clamp(min=1e-9)).tolist()
    return moved.mean().item(), difference.mean().item(), shares
