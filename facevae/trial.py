"""The trial of a model's edits: a judge and directions from its training faces, figures and a
strip from unseen ones. What `python -m facevae judge` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facevae import directions as ways
from facevae import edits, judge, latent, metrics
from facevae.ages import AgeCurves, age_groups
from facevae.data import CONDITION_SCALE, FaceSet, evenly
from facevae.judge import Judge, JudgeConfig
from facevae.model import FaceVAE
from facevae.teaching import train_judge

STRATA = ("Male", "age group")  # what the balanced difference is balanced over, where labelled
AGES = (20, 30, 40, 50, 60, 70)  # years asked for
STRIP = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)  # strengths shown


@dataclass(frozen=True, eq=False)
class Trial:
    """A model, the faces it was trained on, and a judge of what it draws.

    Attributes:
        labels: attribute → (N,) of all faces; −1 unknown. seed: of the model's split.
        most_train, most_test: how many training faces give directions, how many unseen are edited.
    """

    model: FaceVAE
    faces: FaceSet
    judge: judge.Judge
    labels: dict[str, np.ndarray]
    seed: int = 0
    most_train: int | None = None
    most_test: int = 300

    @cached_property
    def train(self) -> np.ndarray:
        """Rows of the training faces that give codes."""
        return evenly(self._usable("train"), self.most_train)

    @cached_property
    def test(self) -> np.ndarray:
        """Rows of the unseen faces that are edited."""
        return evenly(self._usable("test"), self.most_test)

    @cached_property
    def codes(self) -> Tensor:
        """(M, D), the posterior means of the training faces."""
        return metrics.posteriors(self.model, self.faces, self.train).mean

    @cached_property
    def unseen(self) -> Tensor:
        """(M, D), the posterior means of the unseen faces."""
        return metrics.posteriors(self.model, self.faces, self.test).mean

    def directions(self, name: str, methods: Sequence[str] | None = None) -> list[ways.Direction]:
        """One direction a method."""
        if name not in self.labels:
            raise ValueError(f"no label {name!r} is known: there are {', '.join(self.labels)}")
        labels = {one: column[self.train] for one, column in self.labels.items()}
        strata = [one for one in STRATA if one in labels]
        return [
            ways.find(self.codes, labels, name, method, strata)
            for method in methods or ways.METHODS
        ]

    def attribute(self, name: str, strengths: Sequence[float], relative: bool = False) -> dict:
        """Success and leakage of an attribute's directions, by method: `judge_directions`."""
        if name not in self.judge.config.attributes:
            raise ValueError(f"the judge does not read {name!r}: add it to its labels")
        return edits.judge_directions(
            self.judge, self.model, self.faces.tensor(self.test), self.unseen,
            self.directions(name), strengths, self.labels[name][self.test],
            self._condition(self.test), relative,
        )  # fmt: skip

    def aging(self, requested: Sequence[float] = AGES) -> dict:
        """Requested against read age: by shifts in the latent and, if there is one, by condition.

        Beside it, what the judge reads off real faces of all these ages, and how much of age a
        linear reading of the latents finds on unseen faces (R²).
        """
        years = judge.ages(self.faces)
        rows, own = self._aged(requested)
        if not self.judge.config.age or len(own) < edits.FEWEST:
            raise ValueError(f"{self.faces.folder} and the judge need ages from "
                             f"{min(requested)} to {max(requested)}")  # fmt: skip
        report: dict = {"faces": len(own), "real": self._real(requested)}
        known_train, known_test = years[self.train] >= 0, years[self.test] >= 0
        report["r_squared"] = round(latent.r_squared(
            self.codes[known_train], years[self.train][known_train],
            self.unseen[known_test], years[self.test][known_test]), 3)  # fmt: skip
        report["span"] = list(self.curves.span)
        for how in ("shift", "condition") if self._age_at is not None else ("shift",):
            report[how] = edits.judge_aging(
                self.judge, self.model, self.faces.tensor(self.test[rows]), self.unseen[rows],
                partial(self.at_age, rows, how=how), requested,
                self._condition(self.test[rows]),
            )  # fmt: skip
        return report

    def at_age(
        self, rows: np.ndarray, target: float, how: str = "shift"
    ) -> tuple[Tensor, Tensor | None]:
        """Codes and conditions of unseen faces (places in `test`) at an age in years: the code
        moved and the condition held, or the other way round."""
        codes, condition = self.unseen[rows], self._condition(self.test[rows])
        if how == "condition":
            assert condition is not None  # the model has one for the age
            low, high = self.curves.span  # asked for no age that was not seen, either
            condition[:, self._age_at] = min(max(target, low), high) / CONDITION_SCALE["age"]
            return codes, condition
        own = torch.from_numpy(judge.ages(self.faces)[self.test[rows]])
        return codes + self.curves.shift(own, target, self._gender(self.test[rows])), condition

    @cached_property
    def curves(self) -> AgeCurves:
        """The age curves of the training faces."""
        years = judge.ages(self.faces)[self.train]
        return AgeCurves.fit(self.codes, years, self._gender(self.train).numpy())

    def strip(
        self, name: str | None, faces: int = 6, method: str = "joint"
    ) -> tuple[list[Tensor], int]:
        """Decoded unseen faces that lack an attribute, from −2 to +2; or, without a name, aged.

        Returns:
            Pictures (C, H, W) a face a row, and the number of columns.
        """
        if name is None:
            rows = evenly(self._aged(AGES)[0], faces)
            return edits.strip(self.model, (self.at_age(rows, years) for years in AGES))
        direction = self.directions(name, [method])[0]
        lacking = np.flatnonzero(self.labels[name][self.test] == 0)
        rows = evenly(lacking, faces)
        condition = self._condition(self.test[rows])
        placed = ((direction.placed(self.unseen[rows], at), condition) for at in STRIP)
        return edits.strip(self.model, placed)

    def _aged(self, requested: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Places in `test` of the faces whose age lies among the requested, and their ages."""
        own = judge.ages(self.faces)[self.test]
        rows = np.flatnonzero((own >= min(requested)) & (own <= max(requested)))
        return rows, own[rows]

    def _real(self, requested: Sequence[float]) -> dict:
        """What the judge reads off all unseen real faces of about these ages."""
        rows, years = self._usable("test"), judge.ages(self.faces)
        rows = rows[(years[rows] >= min(requested) - 2) & (years[rows] <= max(requested) + 2)]
        read = judge.read_faces(self.judge, self.faces, rows)["age"]
        own = torch.from_numpy(years[rows])
        near = {age: read[(own - age).abs() <= 2] for age in requested}  # ± 2 years
        means = {f"{age:g}": round(float(r.mean()), 1) for age, r in near.items() if len(r)}
        return {"slope": round(edits.slope(own, read), 3), "read": means}

    def _usable(self, part: str) -> np.ndarray:
        """Rows of a part of the split, those left out whose condition is unknown."""
        rows = self.faces.split(self.seed)[part]
        names = self.model.config.conditions
        known = ~np.isnan(self.faces.conditions(names)).any(axis=1) if names else None
        return rows if known is None else rows[known[rows]]

    def _condition(self, rows: np.ndarray) -> Tensor | None:
        names = self.model.config.conditions
        return torch.from_numpy(self.faces.conditions(names)[rows]) if names else None

    @property
    def _age_at(self) -> int | None:
        """Which of the conditions is the age."""
        names = self.model.config.conditions
        return names.index("age") if "age" in names else None

    def _gender(self, rows: np.ndarray) -> Tensor:
        gender = self.faces.labels.get("gender", np.full(len(self.faces), -1))
        return torch.from_numpy(gender[rows].astype(np.int64))


def known_labels(faces: FaceSet, labeller: judge.Judge | None = None) -> dict[str, np.ndarray]:
    """Attributes and age groups of faces; what they do not carry, as a network reads it where sure.

    A labeller must not be the judge of the edits that these labels lead to.
    """
    labels = judge.attributes(faces)
    if (judge.ages(faces) >= 0).any():
        labels["age group"] = age_groups(judge.ages(faces))
    if labeller is None:
        return labels
    readings = judge.read_faces(labeller, faces, np.arange(len(faces)))
    for name, read in readings.items():
        if name == "age":
            labels.setdefault("age group", age_groups(read.clamp(min=0).numpy()))
        elif name not in labels:
            labels[name] = judge.sure(read)
    return labels


def check(model: FaceVAE, sets: Sequence[FaceSet], name: str | None, age: bool) -> None:
    """Raise ValueError before minutes of training on what could not be judged afterwards."""
    faces = sets[0]
    if model.config.image_shape != faces.image_shape:
        raise ValueError(
            f"the model draws pictures of shape {model.config.image_shape}, those in "
            f"{faces.folder} are {faces.image_shape}: give the faces it was trained on"
        )
    carried = {one for each in sets for one in judge.attributes(each)}
    if name and name not in carried:
        raise ValueError(f"no faces carry the label {name!r}: they have {', '.join(carried)}")
    if age and not (judge.ages(faces) >= 0).any():
        raise ValueError(f"the faces in {faces.folder} carry no ages")


@dataclass(frozen=True)
class School:
    """How judges are trained, and where they are kept.

    Attributes:
        sets: the faces of the model, then others for labels that those do not carry.
        names: attributes to read; all there are by default. seed: of the split and the networks.
        most: training faces taken of each set. folder: a judge found there is used again.
    """

    sets: Sequence[FaceSet]
    names: Sequence[str] | None = None
    seed: int = 0
    epochs: int = 8
    most: int | None = None
    folder: str | Path | None = None

    def judge(self) -> tuple[Judge, dict]:
        """The judge, and its held-out figures on each set's test faces."""
        found = self._trained("", self.sets, self.names, self.seed)
        return found, self.held_out(found)

    def held_out(self, one: Judge) -> dict:
        """A judge's figures on each set's test faces, by the set's name."""
        return {
            faces.folder.name: judge.held_out(one, faces, faces.split(self.seed)["test"])
            for faces in self.sets
        }

    def several(self, under: Sequence[str], begun: int = 0, workers: int = 1) -> list[Judge]:
        """Judges of the same lessons, each begun otherwise, each kept in a folder within the
        first's: as many at once as there are workers, on a core each.

        Another `begun` gives other networks of the same faces: one may then judge the other.
        """
        from joblib import Parallel, delayed, parallel_config

        taught = delayed(self._trained)
        with parallel_config("loky", inner_max_num_threads=1):
            return Parallel(workers)(
                taught(name, self.sets, self.names, self.seed + begun + n)
                for n, name in enumerate(under)
            )

    def labels(self, reads: JudgeConfig) -> dict[str, np.ndarray]:
        """Labels of all faces of the model that directions may use: see `known_labels`.

        What a judge reads and these faces do not carry is read by another network of another
        seed, which the other sets taught: a judge must not meet its own opinions again.
        """
        faces, *others = self.sets
        labels = known_labels(faces)
        missing = [name for name in reads.attributes if name not in labels]
        if not others or not (missing or (reads.age and "age group" not in labels)):
            return labels
        return known_labels(faces, self._trained("labeller", others, missing, self.seed + 1))

    def _trained(
        self, under: str, sets: Sequence[FaceSet], names: Sequence[str] | None, seed: int
    ) -> Judge:
        """A network trained on the training rows of the sets, or the same one from the folder."""
        folder = None if self.folder is None else Path(self.folder) / under
        shown = [[one.manifest["source"], *one.images.shape] for one in sets]
        about = {"faces": shown, "split": self.seed}  # other faces are split otherwise
        if folder is not None and (folder / "judge.json").is_file():
            found = Judge.load(folder)
            if found.about != about or not set(names or ()) <= set(found.config.attributes):
                raise ValueError(f"the judge in {folder} was taught by other faces, another split "
                                 "or other labels: choose another folder")  # fmt: skip
            return found
        lessons = [(one, evenly(one.split(self.seed)["train"], self.most)) for one in sets]
        found = train_judge(lessons, names, self.epochs, seed)
        found.about = about
        if folder is not None:
            found.save(folder)
        return found
