"""Directions of attributes in the latents: vectors in, vectors out, no pixels.

One unit for all: the class means of an attribute, projected on its direction, stand at +1 (has it)
and −1 (has it not), and the border between them at 0. However a direction was found, moving a
face by 1 is thus half the way from the mean of those without to the mean of those with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Labels = Mapping[str, np.ndarray]
"""Name → (N,) whole numbers, −1 for unknown. The one a direction is sought for holds 0 and 1."""

FEW = 5  # faces: a class or stratum of fewer has no mean worth the name
PARALLEL = 0.2  # of a direction's length: less left after a lock, and the rest is chance


@dataclass(frozen=True, eq=False)
class Direction:
    """Where an attribute lies in the latents.

    Attributes:
        name: of the attribute. method: how it was found.
        vector: (D,), the step of strength 1.
        has, lacks: (D,), the mean codes of the training faces with and without it.
    """

    name: str
    method: str
    vector: Tensor
    has: Tensor
    lacks: Tensor

    @classmethod
    def along(cls, name: str, method: str, vector: Tensor, has: Tensor, lacks: Tensor) -> Direction:
        """The direction of a vector (D,) of any length, brought to the unit.

        Raises:
            ValueError: the class means do not part along it, or part the other way.
        """
        unit = vector / vector.norm().clamp(min=1e-12)
        half = (has - lacks) @ unit / 2
        if half <= 1e-6 * (1 + has.norm()):
            raise ValueError(
                f"along the direction found by {method!r}, faces with and without {name!r} do not "
                "part: it is a mirror of the other labels; give more faces or other labels"
            )
        return cls(name, method, half * unit, has, lacks)

    def strength(self, codes: Tensor) -> Tensor:
        """How strongly codes (N, D) have it, (N,): 1 and −1 as the class means do."""
        centre = (self.has + self.lacks) / 2
        return (codes - centre) @ self.vector / self.vector.square().sum()

    def moved(self, codes: Tensor, by: float) -> Tensor:
        """Codes (N, D) with `by` added to their strength."""
        return codes + by * self.vector

    def placed(self, codes: Tensor, at: float | Tensor) -> Tensor:
        """Codes (N, D) brought to the strength `at`, wherever they stood."""
        return codes + (at - self.strength(codes))[:, None] * self.vector

    def without(self, locked: Iterable[Direction]) -> Direction:
        """This direction made orthogonal to others: moving along it leaves their strengths alone.

        Raises:
            ValueError: hardly anything is left, since they (nearly) span it.
        """
        locked = list(locked)
        if not locked:
            return self
        vector = self.vector.double()
        left = cleared(vector, locked)  # (D,)
        share = (left.norm() / vector.norm()).item()
        names = ", ".join(other.name for other in locked)
        if share < PARALLEL:
            raise ValueError(
                f"{self.name!r} cannot move while {names} is locked: only {share:.0%} of its "
                "direction is left; unlock something"
            )
        return self.along(self.name, self.method, left.to(self.vector), self.has, self.lacks)


def cleared(vector: Tensor, locked: Sequence[Direction]) -> Tensor:
    """A vector (D,) without what it shares with any of these directions."""
    if not locked:
        return vector
    stack = torch.stack([other.vector / other.vector.norm() for other in locked]).double()
    _, lengths, axes = torch.linalg.svd(stack, full_matrices=False)
    axes = axes[lengths > 1e-3 * lengths[0]]  # locks that say the same thing count once
    return (vector.double() - axes.T @ (axes @ vector.double())).to(vector)


def mean_difference(codes: Tensor, labels: Labels, name: str) -> Tensor:
    """Mean of those with it minus mean of those without, (D,).

    Takes along whatever goes with the attribute in the data. Source: Larsen et al., arXiv
    1512.09300, section 4.2.
    """
    has, lacks = class_means(codes, labels, name)
    return has - lacks


def balanced_difference(
    codes: Tensor, labels: Labels, name: str, strata: Sequence[str] | None = None
) -> Tensor:
    """The mean difference taken within each stratum, and these averaged with equal weight, (D,).

    Args:
        strata: labels whose combinations are the strata; all others by default. Unknown counts
            as a value. Strata with fewer than 5 faces of either class are left out.

    Raises:
        ValueError: no stratum has enough of both.
    """
    strata = [other for other in (labels if strata is None else strata) if other != name]
    keys = np.stack([np.asarray(labels[other]) for other in strata] or [np.zeros(len(codes))], 1)
    _, stratum = np.unique(keys, axis=0, return_inverse=True)
    differences = []
    for one in range(stratum.max() + 1):
        inside = stratum.reshape(-1) == one
        column = np.where(inside, labels[name], -1)
        if min((column == 0).sum(), (column == 1).sum()) >= FEW:
            differences.append(mean_difference(codes, {name: column}, name))
    if not differences:
        raise ValueError(
            f"no stratum of {', '.join(strata)} holds {FEW} faces with and {FEW} without {name!r}: "
            "balance over fewer labels"
        )
    return torch.stack(differences).mean(dim=0)


def logistic(codes: Tensor, labels: Labels, name: str) -> Tensor:
    """The normal of the plane that best parts those with it from those without, (D,).

    What tells them apart best is not what they differ in most: Haufe et al., NeuroImage 2014.
    Source of its use for faces: Shen et al., "InterFaceGAN", arXiv 1907.10786, section 3.1.
    """
    from sklearn.linear_model import LogisticRegression

    known = _known(labels, name)
    inside = codes[torch.from_numpy(known)].double()
    # one scale for all latents: with each its own, idle ones would bear the largest weights
    scaled = (inside - inside.mean(dim=0)) / inside.std().clamp(min=1e-12)
    fitted = LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000)
    fitted.fit(scaled.numpy(), labels[name][known])
    return torch.from_numpy(fitted.coef_[0]).to(codes)


def joint(codes: Tensor, labels: Labels, name: str) -> Tensor:
    """What the attribute adds to a code when every other label is held, (D,).

    Least squares of the codes on all labels at once; the slope of this one. An unknown value of
    another label stands at that label's mean.
    """
    known = _known(labels, name)
    columns = [labels[name][known].astype(float)]
    for other in labels:
        column = labels[other][known].astype(float)
        there = column >= 0
        if other != name and there.any() and column[there].std() > 0:
            centre, spread = column[there].mean(), column[there].std()
            columns.append(np.where(there, (column - centre) / spread, 0.0))
    design = np.stack([*columns, np.ones(known.sum())], axis=1)  # (M, K + 1)
    targets = codes[torch.from_numpy(known)].double().numpy()
    # least squares by the pseudo-inverse: a label that repeats another shares its slope with it
    return torch.from_numpy(np.linalg.lstsq(design, targets, rcond=None)[0][0]).to(codes)


METHODS = {
    "mean": mean_difference,
    "balanced": balanced_difference,
    "logistic": logistic,
    "joint": joint,
}


def find(
    codes: Tensor,
    labels: Labels,
    name: str,
    method: str = "joint",
    strata: Sequence[str] | None = None,
) -> Direction:
    """The direction of an attribute from training codes (N, D) and labels, in the unit.

    Args:
        method: one of METHODS. strata: for "balanced", see there.

    Raises:
        ValueError: the method is unknown, a class has too few faces, or the classes do not part.
    """
    if method not in METHODS:
        raise ValueError(f"the method {method!r} is unknown: use one of {', '.join(METHODS)}")
    has, lacks = class_means(codes, labels, name)
    options = {"strata": strata} if method == "balanced" else {}
    vector = METHODS[method](codes, labels, name, **options)
    return Direction.along(name, method, vector, has, lacks)


def class_means(codes: Tensor, labels: Labels, name: str) -> tuple[Tensor, Tensor]:
    """The mean codes (D,) of the faces with and without an attribute."""
    return average(codes, labels, {name: 1})[0], average(codes, labels, {name: 0})[0]


def average(codes: Tensor, labels: Labels, who: Mapping[str, int]) -> Tensor:
    """The average person of a kind, such as {"Male": 1, "Beard": 0}: (N, D) → (1, D).

    Raises:
        ValueError: a label is not there, or fewer than 5 faces are of that kind.
    """
    inside = np.ones(len(codes), bool)
    for name, value in who.items():
        if name not in labels:
            raise ValueError(f"there is no label {name!r}: there are {', '.join(labels)}")
        inside &= np.asarray(labels[name]) == value
    if inside.sum() < FEW:
        kind = ", ".join(f"{name} {value}" for name, value in who.items())
        raise ValueError(f"only {inside.sum()} faces with {kind}: an average needs {FEW}")
    return codes[torch.from_numpy(inside)].mean(dim=0, keepdim=True)


def _known(labels: Labels, name: str) -> np.ndarray:
    return np.isin(labels[name], (0, 1))
