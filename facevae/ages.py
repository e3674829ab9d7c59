"""Age shifts: how the mean code moves with age, for either gender. Vectors in, vectors out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from facevae.files import write_safetensors

BANDS = (10, 20, 40, 60)  # years: the borders of the age groups


def age_groups(ages: np.ndarray) -> np.ndarray:
    """Ages in years (N,) → group numbers 0 … 4 (0–9, 10–19, 20–39, 40–59, 60+); −1 stays −1."""
    ages = np.asarray(ages)
    return np.where(ages < 0, -1, np.digitize(ages, BANDS))


@dataclass(frozen=True, eq=False)
class AgeCurves:
    """The mean code at each age, a curve for each gender.

    Ages are clipped to the years seen in training: beyond them nothing was learnt.

    Attributes:
        ages: (A,) whole years, one apart. genders: (G,) as labelled; −1 alone where unlabelled.
        means: (G, A, D).
    """

    ages: Tensor
    genders: Tensor
    means: Tensor

    @classmethod
    def fit(
        cls,
        codes: Tensor,
        ages: np.ndarray,
        genders: np.ndarray | None = None,
        width: float = 4.0,
        least: float = 15.0,
    ) -> AgeCurves:
        """Smooth codes (N, D) over ages (N,) in years (−1: unknown) within each gender.

        A Gaussian kernel weighs the faces about each age, and a line through them gives the mean
        at that age: plain kernel means are drawn inward at both ends, where faces lie to one
        side only. Source of the shift: Burt & Perrett, Proc. R. Soc. B 259 (1995); of the local
        line: Fan, JASA 87 (1992), section 2.

        Args:
            width: standard deviation of the kernel in years.
            least: faces (a face at the very age counts 1, others by the kernel) that an age needs
                in every gender; the run of such ages is the range seen.

        Raises:
            ValueError: no two ages have enough faces.
        """
        genders = np.full(len(codes), -1) if genders is None else np.asarray(genders)
        kinds = np.unique(genders[genders >= 0]) if (genders >= 0).any() else np.array([-1])
        grid = np.arange(0, max(int(np.max(ages)), 0) + 1)
        curves, enough = [], np.ones(len(grid), bool)
        for kind in kinds:
            inside = (genders == kind) & (np.asarray(ages) >= 0)
            own = np.asarray(ages)[inside]
            weights, near = local_lines(own, grid, width)  # (A, M), (A,)
            # a line holds between its faces, not past the first or the last
            enough &= (near >= least) & (grid >= min(own)) & (grid <= max(own))
            curves.append(weights @ codes[torch.from_numpy(inside)].double().numpy())
        seen = _longest_run(enough)
        if len(seen) < 2:
            raise ValueError(f"no two ages have {least:.0f} faces about them: give more faces")
        means = torch.from_numpy(np.stack(curves)[:, seen]).float()
        return cls(torch.from_numpy(grid[seen]), torch.from_numpy(kinds), means)

    @property
    def span(self) -> tuple[int, int]:
        """The youngest and the oldest age there is a mean for, in years."""
        return int(self.ages[0]), int(self.ages[-1])

    def mean(self, ages: Tensor, genders: Tensor) -> Tensor:
        """The mean code at ages (N,) in years, clipped to the span, for genders (N,): (N, D).

        A gender that is not one of the labelled ones gets the mean of the curves.
        """
        low, high = self.span
        place = ages.float().clamp(low, high) - low  # (N,) in years from the first
        below = place.floor().long().clamp(max=len(self.ages) - 2)
        part = (place - below)[:, None]
        found = torch.empty(len(ages), self.means.shape[2])
        known = torch.isin(genders, self.genders)
        curves = [(self.means.mean(dim=0), ~known)]
        curves += [(self.means[g], genders == kind) for g, kind in enumerate(self.genders)]
        for curve, of in curves:  # (A, D), (N,)
            found[of] = torch.lerp(curve[below[of]], curve[below[of] + 1], part[of])
        return found

    def shift(self, ages: Tensor, target: Tensor | float, genders: Tensor) -> Tensor:
        """What to add to codes of faces of these ages (N,) to bring them to `target` years: (N, D).

        Both ages are clipped, so a face older than any seen is not made older still.
        """
        target = torch.as_tensor(target, dtype=torch.float32).expand(len(ages))
        return self.mean(target, genders) - self.mean(ages, genders)

    def save(self, path: str | Path) -> None:
        """Write as safetensors."""
        tensors = {"ages": self.ages, "genders": self.genders, "means": self.means}
        write_safetensors(path, tensors)

    @classmethod
    def load(cls, path: str | Path) -> AgeCurves:
        """Read what `save` wrote; ValueError says what is wrong with a foreign file."""
        try:
            return cls(**load_file(path))
        except (OSError, TypeError, SafetensorError) as error:
            raise ValueError(f"{path} holds no age curves ({error})") from error


def local_lines(ages: np.ndarray, grid: np.ndarray, width: float) -> tuple[np.ndarray, ...]:
    """Weights (A, M) that give the local line's value at each age, and the faces near it (A,)."""
    away = ages[None, :] - grid[:, None]  # (A, M) years
    kernel = np.exp(-0.5 * (away / width) ** 2)
    total, first, second = (np.sum(kernel * away**p, axis=1, keepdims=True) for p in (0, 1, 2))
    second = second + 0.25 * total  # half a year of doubt: faces of one single age make no line
    determinant = np.maximum(total * second - first**2, 1e-30)  # no faces near: left out later
    return kernel * (second - first * away) / determinant, kernel.sum(axis=1)


def _longest_run(flags: np.ndarray) -> np.ndarray:
    """The places of the longest unbroken run of True."""
    runs = np.split(np.arange(len(flags)), np.flatnonzero(np.diff(flags)) + 1)
    return max((run for run in runs if flags[run[0]]), key=len, default=np.arange(0))
