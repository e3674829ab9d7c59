"""Evaluation classifier: frozen ImageNet features with linear heads, trained on real labels alone.

It is of another architecture than the networks that train or serve a model, and it is in no loss,
so that no model can have learnt to please it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from facevae.data.face_set import evenly
from facevae.evaluation.features import FEATURES_VERSION, features, set_features
from facevae.io import write_safetensors, write_text
from facevae.models.conditions import ATTRIBUTES

if TYPE_CHECKING:
    from facevae.data.face_set import FaceSet
    from facevae.models.classifier import AttributeClassifier

HEADS = (*ATTRIBUTES, "Young")  # by CelebA's names
AGE_BANDS = (13, 20, 30, 40, 50, 60)  # years; the bands between them weigh the same
MIN_CELL, MIN_AGES = 150, 200  # faces: fewer of a gender with a label weigh less; of known age
HEAD_PENALTY, AGE_PENALTY = 0.2, 0.1  # of the squared weights
STEPS = 100  # of L-BFGS


class NotAnEvaluationClassifier(ValueError):
    """A folder without fitted heads, or with heads for other features."""


def label_matrix(faces: FaceSet, names: Sequence[str]) -> np.ndarray:
    """(N, A) float32 labels of faces by CelebA's names, or `age` in years; NaN where unknown."""
    columns = []
    for name in names:
        values = faces.labels.get(name)
        gender = faces.labels.get("gender") if name == "Male" else None  # 0 male, 1 female
        if values is None:
            values = np.full(len(faces), -1) if gender is None else 1 - gender
            values = values if gender is None else np.where(gender < 0, -1, values)
        columns.append(np.where(values < 0, np.nan, values).astype(np.float32))
    return np.stack(columns, axis=1)


def labelled_rows(faces: FaceSet, part: str, count: int, seed: int = 0) -> np.ndarray:
    """About `count` rows of a split's part that carry labels, sorted.

    A quarter is drawn as it comes, then both classes of each of HEADS alike, then what is left.
    """
    labels, rows = label_matrix(faces, (*HEADS, "age")), faces.split(0)[part]
    rows = rows[~np.isnan(labels[rows]).all(axis=1)]
    rows = np.random.default_rng(seed).permutation(rows)
    taken = dict.fromkeys(rows[: count // 4].tolist())
    for column in labels[:, :-1].T:
        for value in (0, 1):
            taken |= dict.fromkeys(rows[column[rows] == value][: count // len(HEADS)].tolist())
    taken |= dict.fromkeys(rows.tolist())
    return np.sort(np.array([*taken][:count], int))


class EvaluationClassifier:
    """Attributes and age of pictures, by linear heads on frozen features.

    Attributes:
        attributes: names of the heads.
        tensors: mean and std (F,) of the training features; weight (A, F), bias (A,); where ages
            were known, age_weight (F,) and age_bias.
        report: name → held-out balanced accuracy, and "age" → mean absolute error in years.
    """

    def __init__(self, tensors: dict[str, Tensor], attributes: Sequence[str], report: dict) -> None:
        self.tensors, self.attributes, self.report = tensors, tuple(attributes), report

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """Probabilities (N,) by attribute, and `age` in years, of images (N, 3, H, W)."""
        return self.predict_features(features(images))

    def predict_features(self, found: Tensor) -> dict[str, Tensor]:
        """What `predict` gives, of features (N, F)."""
        x = (found - self.tensors["mean"]) / self.tensors["std"]
        probabilities = (x @ self.tensors["weight"].T + self.tensors["bias"]).sigmoid()  # (N, A)
        read = dict(zip(self.attributes, probabilities.T, strict=True))
        if "age_weight" in self.tensors:
            read["age"] = (x @ self.tensors["age_weight"] + self.tensors["age_bias"]).clamp(min=0)
        return read

    @classmethod
    def fit(
        cls, sets: Sequence[FaceSet], folder: Path | None = None, count: int = 16_000,
        held_out: int = 4_000, progress: bool = False,
    ) -> EvaluationClassifier:  # fmt: skip
        """Heads fitted to the training splits of face sets, measured on their test splits.

        Args:
            folder: of cached features. count, held_out: faces of each set at most.

        Raises:
            ValueError: no set carries an attribute with both of its values.
        """
        x, y = _labelled(sets, "train", count, folder, progress)
        heads = [k for k in range(len(HEADS)) if {0.0, 1.0} <= set(y[:, k])]
        if not heads:
            raise ValueError(f"these faces carry none of the labels {HEADS}: name CelebA's faces")
        tensors = {"mean": x.mean(0), "std": x.std(0).clamp(min=1e-3)}
        x = x.sub_(tensors["mean"]).div_(tensors["std"])
        tensors |= logistic(x, y[:, heads], label_weights(y)[:, heads])
        aged = ~np.isnan(y[:, -1])
        if aged.sum() >= MIN_AGES:
            tensors |= ridge(x[torch.from_numpy(aged)], y[aged, -1])
        found = cls(tensors, [HEADS[k] for k in heads], {})
        x, y = _labelled(sets, "test", held_out, folder, progress)
        labels = dict(zip((*HEADS, "age"), y.T, strict=True))
        found.report = accuracies(found.predict_features(x), labels)
        return found

    def save(self, folder: str | Path) -> None:
        """Write `heads.json` and `heads.safetensors`."""
        about = {"attributes": self.attributes, "features": FEATURES_VERSION, "report": self.report}
        write_text(Path(folder) / "heads.json", json.dumps(about, indent=1) + "\n")
        write_safetensors(Path(folder) / "heads.safetensors", self.tensors)

    @classmethod
    def load(cls, folder: str | Path) -> EvaluationClassifier:
        """What `save` wrote.

        Raises:
            NotAnEvaluationClassifier: it is missing, broken, or for other features.
        """
        try:
            about = json.loads((Path(folder) / "heads.json").read_text(encoding="utf-8"))
            if about["features"] != FEATURES_VERSION:
                raise ValueError(f"it is for the features {about['features']}")
            tensors = load_file(Path(folder) / "heads.safetensors")
            return cls(tensors, about["attributes"], about["report"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise NotAnEvaluationClassifier(
                f"{folder} holds no evaluation classifier ({error}): fit one there by "
                "`--classifier-data` with prepared faces that carry CelebA's labels"
            ) from error


def accuracies(read: Mapping[str, Tensor], labels: Mapping[str, np.ndarray]) -> dict[str, float]:
    """How well a classifier reads labelled faces.

    Args:
        read: attribute → probability (N,), and `age` in years. labels: name → (N,), NaN unknown.

    Returns:
        name → balanced accuracy, NaN where the faces do not show both classes; `age` → mean
        absolute error in years.
    """
    report = {}
    for name, values in read.items():
        label, found = labels[name], values.numpy()
        if name == "age":
            error = np.abs(found - label)[~np.isnan(label)]
            report[name] = round(float(error.mean()), 2) if len(error) else float("nan")
        elif {0.0, 1.0} <= set(label):
            rates = [((found > 0.5) == value)[label == value].mean() for value in (0, 1)]
            report[name] = round(float(np.mean(rates)), 4)
        else:
            report[name] = float("nan")
    return report


def held_out(
    classifier: AttributeClassifier, sets: Sequence[FaceSet], seed: int = 0, most: int = 2000
) -> dict[str, float]:
    """`accuracies` of the editing classifier on test faces of several sets."""
    read, labels = defaultdict(list), defaultdict(list)
    for faces in sets:
        rows = evenly(faces.split(seed)["test"], most)
        for name, values in classifier.predict(faces.tensor(rows)).items():
            read[name].append(values)
            labels[name].append(label_matrix(faces, [name])[rows, 0])
    probabilities = {name: torch.cat(values) for name, values in read.items()}
    return accuracies(probabilities, {n: np.concatenate(values) for n, values in labels.items()})


def _labelled(
    sets: Sequence[FaceSet], part: str, count: int, folder: Path | None, progress: bool
) -> tuple[Tensor, np.ndarray]:
    """Features (N, F) and labels (N, A + 1) of a split's part of several sets."""
    found = []
    for faces in sets:
        rows = labelled_rows(faces, part, count)
        if len(rows):
            labels = label_matrix(faces, (*HEADS, "age"))[rows]
            found.append((set_features(faces, rows, folder, progress), labels))
    if not found:
        raise ValueError(f"no face in the {part} split carries a label: name CelebA's faces")
    return torch.cat([x for x, _ in found]), np.concatenate([y for _, y in found])


def label_weights(y: np.ndarray) -> np.ndarray:
    """(N, A) weights of labels (N, A + 1) as HEADS and age, NaN unknown: 0 for an unknown one.

    Each class of a label weighs the same, and so do men and women within it (of `Male`, the young
    and the others) unless they are too few: else a head would read a beard off a jaw.
    """
    weights = np.zeros((len(y), len(HEADS)), np.float32)
    for k, name in enumerate(HEADS):
        side = y[:, HEADS.index("Young" if name == "Male" else "Male")]
        for value in (0, 1):
            inside = y[:, k] == value
            for cell in (inside & (side == 0), inside & (side == 1), inside & np.isnan(side)):
                weights[cell, k] = 1.0 / max(int(cell.sum()), MIN_CELL)
            weights[inside, k] /= max(2 * weights[inside, k].sum(), 1e-12)
    return weights


def logistic(x: Tensor, y: np.ndarray, weigh: np.ndarray) -> dict[str, Tensor]:
    """Logistic heads, all at once: weight (A, F), bias (A,).

    Args:
        x: (N, F) standardised. y: (N, A) in {0, 1} or NaN. weigh: (N, A), columns of sum 1.
    """
    target, weights = torch.from_numpy(np.nan_to_num(y)).float(), torch.from_numpy(weigh)
    weight = torch.zeros(y.shape[1], x.shape[1], requires_grad=True)
    bias = torch.zeros(y.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = x @ weight.T + bias  # (N, A)
        loss = F.binary_cross_entropy_with_logits(logits, target, weights, reduction="sum")
        loss = loss + HEAD_PENALTY * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return {"weight": weight.detach(), "bias": bias.detach()}


def ridge(x: Tensor, years: np.ndarray) -> dict[str, Tensor]:
    """Ridge regression of ages (N,) from standardised features (N, F): age_weight, age_bias."""
    band = np.digitize(years, AGE_BANDS)
    weigh = torch.from_numpy(1.0 / np.bincount(band)[band]).float()[:, None]
    weigh = weigh / weigh.mean()  # (N, 1)
    target = torch.from_numpy(years).float()[:, None]
    centre, mean = (weigh * target).mean(), (weigh * x).mean(0)
    x, scaled = x - mean, weigh * (x - mean)
    gram = x.T @ scaled + AGE_PENALTY * len(x) * torch.eye(x.shape[1])
    weight = torch.linalg.solve(gram, scaled.T @ (target - centre))[:, 0]
    return {"age_weight": weight, "age_bias": centre - mean @ weight}
