"""Edits of codes and conditions: which attributes and ages a model can move, and how.

An attribute that is a condition of the model is set there; any other is a direction that is added
to the code. No pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from facevae.config import ModelConfig
from facevae.latents.directions import METHODS, AgeCurve, Direction
from facevae.latents.statistics import LatentStatistics
from facevae.models.conditions import changed

MAX_STRENGTH = 2.0
YOUNG, OLD = 22.0, 70.0  # years, at strength 1 and −1 of the attribute Young …
MIN_SHIFT = 15.0  # … and at least so many years from the face's own age
State = tuple[Tensor, Tensor | None]  # codes (N, D), and conditions (N, K) where a model has them


class Editor:
    """What can be edited with a model's conditions and the statistics of its codes.

    Attributes:
        attributes: the conditions, then the directions, by CelebA's names.
        can_age: whether there are ages. age_span: the first and the last of them in years.
    """

    def __init__(self, config: ModelConfig, statistics: LatentStatistics) -> None:
        self.conditions, self.statistics = config.conditions, statistics
        self.columns = {"Male" if c == "gender" else c: c for c in self.conditions if c != "age"}
        self.directions = {method: dict(self._directions(method)) for method in METHODS}
        self.curve: AgeCurve | None = None
        if len(statistics.ages) >= 2:
            moments = statistics.prior.moments()
            self.curve = AgeCurve(statistics.ages, statistics.age_codes, *moments)
        self.can_age = self.curve is not None or "age" in self.conditions
        self.age_span = self.curve.span if self.curve else (0.0, 100.0)
        if config.age_anchors:
            self.age_span = config.age_anchors[0], config.age_anchors[-1]
        young = ["Young"] if self.can_age else []
        self.attributes = tuple(dict.fromkeys([*self.columns, *self.directions["mean"], *young]))

    def _directions(self, method: str) -> Iterator[tuple[str, Direction]]:
        """Those of the labels whose faces with and without differ."""
        both = zip(self.statistics.with_label, self.statistics.without_label, strict=True)
        for name, (has, lacks) in zip(self.statistics.labels, both, strict=True):
            with suppress(ValueError):
                vector = self.statistics.direction(name, method)
                yield name, Direction.along(name, vector, has, lacks)

    def moved(
        self, state: State, wanted: Mapping[str, float], method: str = "mean",
        locked: Sequence[str] = (), years: float | None = None,
    ) -> State:  # fmt: skip
        """Codes and conditions with attributes at the wanted strengths; see `Studio.edit`.

        Args:
            years: own age of the faces, for the attribute Young; by default as estimated.
        """
        self._check(wanted, method, locked)
        code, condition = state
        columns = {self.columns[n]: -s if self.columns[n] == "gender" else s
                   for n, s in wanted.items() if n in self.columns}  # fmt: skip
        if condition is not None and columns:
            new = changed(self.conditions, condition, columns)
            for name in {self.columns[n] for n in locked if n in self.columns} - {*columns}:
                k = self.conditions.index(name)
                new[:, k] = condition[:, k]
            condition = new
        directions = self.directions[method]
        for name, strength in wanted.items():
            if name in self.columns or not strength:
                continue
            if self._young_is_age(name):
                own = self.years((code, condition), years)  # (N,)
                young, old = (own - MIN_SHIFT).clamp(max=YOUNG), (own + MIN_SHIFT).clamp(min=OLD)
                goal = young if strength > 0 else old
                share = min(abs(strength), 1.0)
                code, condition = self.aged((code, condition), years, torch.lerp(own, goal, share))
            else:
                others = [directions[n] for n in locked if n in directions and n not in wanted]
                code = directions[name].without(others).toward(code, strength)
        return code, condition

    def aged(
        self, state: State, own: float | None, years: float | Tensor, method: str | None = None
    ) -> State:
        """Codes and conditions at other ages; see `Studio.age`.

        Args:
            own: age of the faces now; None: as estimated. years: one, or one a face (N,).
        """
        if not self.can_age:
            raise ValueError(
                "this model knows no ages: train one on faces with the label age, such as UTKFace"
            )
        code, condition = state
        goal = torch.as_tensor(years, dtype=torch.float32).expand(len(code))
        if not goal.isfinite().all() or not math.isfinite(own or 0.0):
            raise ValueError("an age is a finite number of years")
        goal = goal.clamp(*self.age_span)
        method = method or ("condition" if "age" in self.conditions else "vector")
        if method == "condition" and condition is not None and "age" in self.conditions:
            condition = condition.clone()
            condition[:, self.conditions.index("age")] = goal / 100
            return code, condition
        if method == "vector" and self.curve is not None:
            return code + self.curve.at(goal) - self.curve.at(self.years(state, own)), condition
        needs = {"condition": "a model with the condition age", "vector": "faces of known ages"}
        if method not in needs:
            raise ValueError(f"the method {method!r} is unknown: use 'condition' or 'vector'")
        raise ValueError(f"this model cannot age by {method!r}: that needs {needs[method]}")

    def years(self, state: State, known: float | None = None) -> Tensor:
        """Ages (N,) in years, as known, by the condition, or estimated from the code."""
        code, condition = state
        if known is not None:
            return torch.full((len(code),), float(known))
        if condition is not None and "age" in self.conditions:
            return 100 * condition[:, self.conditions.index("age")]
        return self.curve.estimate(code) if self.curve else torch.full((len(code),), math.nan)

    def sampled(self, n: int, seed: int, temperature: float) -> State:
        """Codes from the prior (n, D), and the conditions that they suit."""
        codes = self.statistics.prior.sample(n, torch.Generator().manual_seed(seed), temperature)
        condition = self.probe(codes)
        if condition is not None:  # half an attribute is none
            binary = torch.tensor([name != "age" for name in self.conditions])
            condition = torch.where(binary, condition.round(), condition)
        return codes, condition

    def average(self, name: str, has: bool) -> State:
        """The code (1, D) and condition of the average person with an attribute, or without."""
        statistics = self.statistics
        code = statistics.prior.moments()[0][None]
        condition = statistics.mean_condition[None] if self.conditions else None
        moved = self.moved((code, condition), {name: 1.0 if has else -1.0})
        if name in self.columns or self._young_is_age(name):
            return moved
        side = statistics.with_label if has else statistics.without_label
        return side[statistics.labels.index(name)][None], condition

    def probe(self, codes: Tensor) -> Tensor | None:
        """Conditions (N, K) as the linear probe reads them from codes (N, D); None without any."""
        if not self.conditions:
            return None
        weights, bias = self.statistics.probe[:-1], self.statistics.probe[-1]
        return (codes @ weights + bias).clamp(0, 1)

    def condition(self, readings: Mapping[str, float]) -> Tensor:
        """A condition (1, K) of attributes and `age` in years; the mean face's where unknown."""
        mean = self.statistics.mean_condition.tolist()
        known = {"age": readings["age"] / 100} if "age" in readings else {}
        for name in self.columns.keys() & readings.keys():
            value = readings[name]
            known[self.columns[name]] = 1 - value if self.columns[name] == "gender" else value
        return torch.tensor([[known.get(c, m) for c, m in zip(self.conditions, mean, strict=True)]])

    def readings(self, condition: Tensor | None) -> dict[str, float]:
        """The inverse of `condition`, for one face: attributes in [0, 1], and `age` in years."""
        values = [] if condition is None else condition[0].tolist()
        known = dict(zip(self.conditions, values, strict=True))
        found = {n: 1 - known[c] if c == "gender" else known[c] for n, c in self.columns.items()}
        return found | ({"age": 100 * known["age"]} if "age" in known else {})

    def places(self, code: Tensor) -> dict[str, float]:
        """Where a code (1, D) lies between the mean codes without a label (0) and with it (1)."""
        strengths = {n: d.strength(code).item() for n, d in self.directions["mean"].items()}
        return {name: min(max(0.5 + 0.5 * at, 0.0), 1.0) for name, at in strengths.items()}

    def _young_is_age(self, name: str) -> bool:
        return name == "Young" and ("age" in self.conditions or name not in self.directions["mean"])

    def _check(self, wanted: Mapping[str, float], method: str, locked: Sequence[str]) -> None:
        if method not in METHODS:
            raise ValueError(f"the method {method!r} is unknown: use one of {', '.join(METHODS)}")
        for name in (*wanted, *locked):
            if name not in self.attributes:
                known = ", ".join(self.attributes) or "none"
                raise ValueError(f"there is no attribute {name!r}: this model has {known}")
        for name, strength in wanted.items():
            if not abs(strength) <= MAX_STRENGTH:
                raise ValueError(f"a strength is a number from −2 to 2, not {name}={strength}")
            if not (name in self.columns or name in self.directions[method]
                    or self._young_is_age(name)):  # fmt: skip
                raise ValueError(f"{name!r} has no direction by {method!r}: use 'mean'")
