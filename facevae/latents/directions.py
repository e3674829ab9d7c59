"""Edits of codes and conditions: an attribute that is a condition of the model is set there; any
other has a direction, which is added to the code. In its unit the mean codes with and without the
attribute stand at +1 and −1."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from facevae import CannotDo
from facevae.config import ModelConfig
from facevae.latents.diagnostics import LatentStatistics
from facevae.models.conditions import at_age, changed

METHODS = ("mean", "balanced")
MAX_STRENGTH = 2.0
MIN_LEFT_OVER = 0.2  # of a direction's length; when locks leave less, what is left is chance
YOUNG, OLD = 22.0, 70.0  # years, at strength 1 and −1 of the attribute Young …
MIN_SHIFT = 15.0  # … and at least so many years from the face's own age
State = tuple[Tensor, Tensor]  # codes (N, D) and conditions (N, K); K = 0: the model has none


@dataclass(frozen=True, eq=False)
class Direction:
    """Where an attribute lies in the latent space."""

    name: str
    step: Tensor  # (D,), of any length
    has: Tensor  # (D,), the mean code of the faces with it
    lacks: Tensor  # (D,), and without

    @cached_property
    def vector(self) -> Tensor:
        """The step of strength 1, (D,)."""
        unit = F.normalize(self.step, dim=0)
        return (self.has - self.lacks) @ unit / 2 * unit

    def strength(self, codes: Tensor) -> Tensor:
        """How strongly codes (N, D) have the attribute, (N,): 1 and −1 at the class means."""
        return (codes - (self.has + self.lacks) / 2) @ self.vector / self.vector.square().sum()

    def toward(self, codes: Tensor, strength: float) -> Tensor:
        """Codes (N, D) edited by a strength, 0 as they are, linear from there to the class means at
        ±1. A code that is there or beyond already still moves by 1, so that every edit is seen."""
        own = math.copysign(1, strength) * self.strength(codes)
        return codes + (strength * (1.0 - own).clamp(min=1.0))[:, None] * self.vector

    def without(self, locked: Sequence["Direction"]) -> "Direction":
        """This direction made orthogonal to others: a move along it keeps their strengths.
        CannotDo: hardly anything is left, since the others (nearly) span it."""
        if not locked:
            return self
        others = F.normalize(torch.stack([one.vector for one in locked]))  # (L, D)
        left = self.vector - torch.linalg.pinv(others, rtol=1e-3) @ (others @ self.vector)
        if left.norm() < MIN_LEFT_OVER * self.vector.norm():
            names = ", ".join(one.name for one in locked)
            raise CannotDo(f"{self.name!r} cannot move while {names} is locked: unlock something")
        return Direction(self.name, left, self.has, self.lacks)


def find(
    codes: Tensor, labels: Mapping[str, np.ndarray], name: str, method: str = "mean",
    strata: Sequence[str] = (),
) -> Direction:  # fmt: skip
    """The direction of an attribute from codes (N, D) and labels (N,), 1 or 0, else unknown: by
    "mean" the difference of the class means, which takes along whatever goes with the attribute
    (Larsen et al., arXiv 1512.09300, 4.2), by "balanced" its mean over strata of other labels."""
    has, lacks = (codes[labels[name] == value].mean(dim=0) for value in (1, 0))
    if method == "mean":
        return Direction(name, has - lacks, has, lacks)
    stratum = np.unique(np.stack([labels[s] for s in strata]), axis=1, return_inverse=True)[1]
    parts = [stratum == one for one in range(stratum.max() + 1)]
    steps = [find(codes[part], {name: labels[name][part]}, name).step for part in parts]
    return Direction(name, torch.stack(steps).mean(dim=0), has, lacks)


class Editor:
    """What can be edited with a model's conditions and the statistics of its codes: `attributes`,
    the conditions and then the directions, by CelebA's names, and ages within `age_span`."""

    def __init__(self, config: ModelConfig, statistics: LatentStatistics) -> None:
        self.conditions, self.statistics = config.conditions, statistics
        self.columns = {"Male" if c == "gender" else c: c for c in self.conditions if c != "age"}
        self.directions: dict[str, dict[str, Direction]] = {method: {} for method in METHODS}
        means = statistics.with_label, statistics.without_label, statistics.balanced
        set_there = {*self.columns} | ({"Young"} if "age" in self.conditions else set())
        for name, has, lacks, balanced in zip(statistics.labels, *means, strict=True):
            if name not in set_there and not torch.allclose(has, lacks):
                for method, step in zip(METHODS, (has - lacks, balanced), strict=True):
                    self.directions[method][name] = Direction(name, step, has, lacks)
        ages = statistics.ages.tolist() if len(statistics.ages) > 1 else []
        self.age_methods = ["condition"] * ("age" in self.conditions) + ["vector"] * bool(ages)
        span = config.age_anchors or ages or (0.0, 100.0)
        self.age_span = span[0], span[-1]
        young = ["Young"] if self.age_methods else []
        self.attributes = tuple(dict.fromkeys([*self.columns, *self.directions["mean"], *young]))

    def moved(
        self, state: State, wanted: Mapping[str, float], method: str = "mean",
        locked: Sequence[str] = (), years: float | None = None,
    ) -> State:  # fmt: skip
        """Codes and conditions with attributes at the wanted strengths, see `Studio.edit`; `years`
        is the faces' own age, by default as estimated."""
        if unknown := {*wanted, *locked} - {*self.attributes}:
            known = ", ".join(self.attributes) or "none"
            raise CannotDo(f"there is no attribute {min(unknown)!r}: this model has {known}")
        if not all(abs(strength) <= MAX_STRENGTH for strength in wanted.values()):  # nor NaN
            raise CannotDo(f"a strength is a number from −2 to 2, not as in {dict(wanted)}")
        if method not in METHODS:
            raise CannotDo(f"the method {method!r} is unknown: use one of {', '.join(METHODS)}")
        directions, (code, condition) = self.directions[method], state
        columns = {c: wanted[n] for n, c in self.columns.items() if n in wanted}
        columns |= {"gender": -columns["gender"]} if "gender" in columns else {}
        fixed = [self.columns[name] for name in locked if name in self.columns]
        condition = changed(self.conditions, condition, columns, fixed)
        for name, strength in wanted.items():
            if name in directions:
                others = [directions[n] for n in locked if n in directions and n not in wanted]
                code = directions[name].without(others).toward(code, strength)
            elif name not in self.columns and strength:  # Young, which is an age
                own = self.years((code, condition), years)  # (N,)
                young, old = (own - MIN_SHIFT).clamp(max=YOUNG), (own + MIN_SHIFT).clamp(min=OLD)
                goal = torch.lerp(own, young if strength > 0 else old, min(abs(strength), 1.0))
                kept = [*fixed, *columns]
                code, condition = self.aged((code, condition), years, goal, locked=kept)
        return code, condition

    def aged(
        self, state: State, own: float | None, years: float | Tensor, method: str | None = None,
        locked: Sequence[str] = (),
    ) -> State:  # fmt: skip
        """Codes and conditions at other ages, one or one a face (N,), see `Studio.age`; `own` is
        the faces' age now, or None: as estimated. `locked`: conditions that stay."""
        if not self.age_methods:
            raise CannotDo("this model knows no ages: train one on faces with the label age")
        method = method or self.age_methods[0]
        if method not in self.age_methods:
            ways = " or ".join(self.age_methods)
            raise CannotDo(f"this model ages by {ways}, not by {method!r}")
        code, condition = state
        goal = torch.as_tensor(years, dtype=torch.float32).expand(len(code))
        if not goal.isfinite().all() or not math.isfinite(own or 0.0):
            raise CannotDo("an age is a finite number of years")
        goal = goal.clamp(*self.age_span)
        if method == "vector":
            there, here = map(self.statistics.age_code, (goal, self.years(state, own)))
            return code + (there - here), condition
        return code, at_age(self.conditions, condition, goal / 100, locked)

    def years(self, state: State, known: float | None = None) -> Tensor:
        """Ages (N,) in years, as known, by the condition, or estimated from the code."""
        code, condition = state
        if known is not None:
            return torch.full((len(code),), float(known))
        if "age" in self.conditions:
            return 100 * condition[:, self.conditions.index("age")]
        return self.statistics.estimated_age(code)

    def average(self, name: str, has: bool) -> State:
        """The code (1, D) and condition of the average person with an attribute, or without."""
        code = self.statistics.prior.mean[None]
        condition = self.statistics.mean_condition[None]
        if direction := self.directions["mean"].get(name):
            return (direction.has if has else direction.lacks)[None], condition
        return self.moved((code, condition), {name: 1.0 if has else -1.0})

    def probe(self, codes: Tensor, binary: bool = False) -> Tensor:
        """Conditions (N, K) as the linear probe reads them from codes (N, D); `binary` rounds
        attributes, since half an attribute is none."""
        read = (codes @ self.statistics.probe[:-1] + self.statistics.probe[-1]).clamp(0, 1)
        ages = torch.tensor([name == "age" for name in self.conditions], dtype=torch.bool)
        return torch.where(ages, read, read.round()) if binary else read

    def condition(self, readings: Mapping[str, float]) -> Tensor:
        """A condition (1, K) of attributes and `age` in years; the mean face's where unknown."""
        known = self.readings(self.statistics.mean_condition[None]) | dict(readings)
        known |= {"gender": 1 - known.get("Male", 0.0), "age": known.get("age", 0.0) / 100}
        return torch.tensor([[known[name] for name in self.conditions]])

    def readings(self, condition: Tensor) -> dict[str, float]:
        """The inverse of `condition`, for one face: attributes in [0, 1], and `age` in years."""
        found = dict(zip(self.conditions, condition[0].tolist(), strict=True))
        if "gender" in found:
            found["Male"] = 1 - found.pop("gender")
        return found | ({"age": 100 * found["age"]} if "age" in found else {})
