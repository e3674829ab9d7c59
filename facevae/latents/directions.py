"""Directions of attributes and of age in the latent space.

One unit for all: projected on its direction, the mean codes of the faces with and without an
attribute stand at +1 and −1. However a direction was found, a move by 1 is thus half the way from
the mean of those without to the mean of those with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Labels = Mapping[str, np.ndarray]
"""Name → (N,) whole numbers, −1 for unknown. An attribute's own labels are 0 and 1."""

METHODS = ("mean", "balanced")
MIN_CLASS_SIZE = 5  # faces: the mean of fewer is chance
MIN_LEFT_OVER = 0.2  # of a direction's length; when locks leave less, what is left is chance
AGE_STD = 20.0  # years, of the faces that are shown to a studio


@dataclass(frozen=True, eq=False)
class Direction:
    """Where an attribute lies in the latent space.

    Attributes:
        name: of the attribute.
        vector: (D,), the step of strength 1.
        has, lacks: (D,), the mean codes of the training faces with and without it.
    """

    name: str
    vector: Tensor
    has: Tensor
    lacks: Tensor

    @classmethod
    def along(cls, name: str, vector: Tensor, has: Tensor, lacks: Tensor) -> Direction:
        """The direction of a vector (D,) of any length, scaled to the unit.

        Raises:
            ValueError: the class means do not differ along it, or differ the other way.
        """
        unit = vector / vector.norm().clamp(min=1e-12)
        half = (has - lacks) @ unit / 2
        if half <= 1e-6 * (1 + has.norm()):
            raise ValueError(
                f"faces with and without {name!r} do not differ along this direction: give more "
                "faces or other labels"
            )
        return cls(name, half * unit, has, lacks)

    def strength(self, codes: Tensor) -> Tensor:
        """How strongly codes (N, D) have the attribute, (N,): 1 and −1 at the class means."""
        centre = (self.has + self.lacks) / 2
        return (codes - centre) @ self.vector / self.vector.square().sum()

    def moved(self, codes: Tensor, by: float) -> Tensor:
        """Codes (N, D) with `by` added to their strength."""
        return codes + by * self.vector

    def toward(self, codes: Tensor, strength: float) -> Tensor:
        """Codes (N, D) edited by a strength, 0 as they are, linear from there.

        1 is the mean of those with the attribute, −1 of those without; a code that is there or
        beyond already still moves by 1, so that every edit is seen.
        """
        own = self.strength(codes) if strength > 0 else -self.strength(codes)
        return codes + (strength * (1.0 - own).clamp(min=1.0))[:, None] * self.vector

    def without(self, locked: Iterable[Direction]) -> Direction:
        """This direction made orthogonal to others: a move along it keeps their strengths.

        Raises:
            ValueError: hardly anything is left, since the others (nearly) span it.
        """
        locked = list(locked)
        if not locked:
            return self
        stack = torch.stack([other.vector / other.vector.norm() for other in locked]).double()
        _, lengths, axes = torch.linalg.svd(stack, full_matrices=False)
        axes = axes[lengths > 1e-3 * lengths[0]]  # a lock given twice counts once
        vector = self.vector.double()
        left = vector - axes.T @ (axes @ vector)  # (D,)
        share = (left.norm() / vector.norm()).item()
        if share < MIN_LEFT_OVER:
            names = ", ".join(other.name for other in locked)
            raise ValueError(
                f"{self.name!r} cannot move while {names} is locked: only {share:.0%} of its "
                "direction is left; unlock something"
            )
        return self.along(self.name, left.to(self.vector), self.has, self.lacks)


def find(
    codes: Tensor, labels: Labels, name: str, method: str = "mean", strata: Sequence[str] = ()
) -> Direction:
    """The direction of an attribute from training codes (N, D) and labels.

    Args:
        method: "mean", the difference of the class means, which takes along whatever goes with the
            attribute in the data (Larsen et al., arXiv 1512.09300, section 4.2); or "balanced",
            that difference within each stratum, averaged with equal weight.
        strata: labels whose combinations are the strata; all others by default. Unknown counts as
            a value. Strata with fewer than 5 faces of either class are left out.

    Raises:
        ValueError: the method is unknown, a class has too few faces, or the classes do not differ.
    """
    if method not in METHODS:
        raise ValueError(f"the method {method!r} is unknown: use one of {', '.join(METHODS)}")
    has, lacks = (average(codes, labels, {name: value})[0] for value in (1, 0))
    if method == "mean":
        return Direction.along(name, has - lacks, has, lacks)
    others = [other for other in strata or labels if other != name]
    keys = np.stack([*(np.asarray(labels[other]) for other in others), np.zeros(len(codes))], 1)
    stratum = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    differences = []
    for one in range(stratum.max() + 1):
        sides = [codes[torch.from_numpy((stratum == one) & (labels[name] == v))] for v in (1, 0)]
        if min(map(len, sides)) >= MIN_CLASS_SIZE:
            differences.append(sides[0].mean(dim=0) - sides[1].mean(dim=0))
    if not differences:
        raise ValueError(
            f"no stratum of {', '.join(others)} holds {MIN_CLASS_SIZE} faces with and "
            f"{MIN_CLASS_SIZE} without {name!r}: balance over fewer labels"
        )
    return Direction.along(name, torch.stack(differences).mean(dim=0), has, lacks)


def average(codes: Tensor, labels: Labels, who: Mapping[str, int]) -> Tensor:
    """The average person of a kind, such as {"Male": 1, "Beard": 0}: (N, D) → (1, D).

    Raises:
        ValueError: a label is missing, or fewer than 5 faces are of that kind.
    """
    inside = np.ones(len(codes), bool)
    for name, value in who.items():
        if name not in labels:
            raise ValueError(f"there is no label {name!r}: there are {', '.join(labels)}")
        inside &= np.asarray(labels[name]) == value
    if inside.sum() < MIN_CLASS_SIZE:
        kind = ", ".join(f"{name} {value}" for name, value in who.items())
        raise ValueError(f"only {inside.sum()} faces with {kind}: it takes {MIN_CLASS_SIZE}")
    return codes[torch.from_numpy(inside)].mean(dim=0, keepdim=True)


@dataclass(frozen=True, eq=False)
class AgeCurve:
    """Mean codes by age: a face is aged by the difference of two ages' means.

    Attributes:
        ages: (A,), rising, in years. codes: (A, D), the mean codes at them.
        centre, spread: (D,), mean and standard deviation of all codes.
    """

    ages: Tensor
    codes: Tensor
    centre: Tensor
    spread: Tensor

    @property
    def span(self) -> tuple[float, float]:
        """The first and the last age, in years."""
        return float(self.ages[0]), float(self.ages[-1])

    def at(self, years: Tensor) -> Tensor:
        """Mean codes (N, D) at ages (N,): linear between known ages, constant beyond them."""
        years = years.clamp(*self.span)
        upper = torch.bucketize(years, self.ages).clamp(1, len(self.ages) - 1)  # (N,)
        low, high = self.ages[upper - 1], self.ages[upper]
        share = ((years - low) / (high - low))[:, None]  # (N, 1)
        return torch.lerp(self.codes[upper - 1], self.codes[upper], share)

    def estimate(self, codes: Tensor) -> Tensor:
        """Ages of codes (N, D) in years, (N,): the posterior mean of a linear Gaussian model."""
        centred = self.ages - self.ages.mean()
        slope = centred @ (self.codes - self.codes.mean(dim=0)) / centred.square().sum()  # (D,)
        weighted = slope / self.spread.square().clamp(min=1e-6)
        precision = 1 / AGE_STD**2 + weighted @ slope
        return (self.ages.mean() + (codes - self.centre) @ weighted / precision).clamp(*self.span)
