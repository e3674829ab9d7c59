"""Statistics of the codes of training faces, for a studio: mean codes with and without each label
and by age, a linear reading of the conditions, and a prior."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from facevae import io
from facevae.models.gaussian import Gaussian
from facevae.models.priors import MixturePrior

if TYPE_CHECKING:
    from facevae.data.face_set import FaceSet
    from facevae.models.vae import FaceVAE

FORMAT = 1  # of studio.json
MIN_CLASS_SIZE = 8  # faces with a label, and without; fewer give no direction
AGE_EDGES = (0, 6, 13, 20, 30, 40, 50, 60, 70, 121)  # years: a band is from one to under the next
DRAWN_LABELS = {"smile": "Smiling", "glasses": "Eyeglasses", "beard": "Beard"}  # factors
METHODS = ("mean", "balanced")


@dataclass(frozen=True)
class LatentStatistics:
    """Statistics of the codes (posterior means) of a model's training faces.

    Attributes:
        framing: of the faces: "face", "head" or "none".
        source: name of the faces.
        labels: names of the L binary labels, by CelebA's names.
        with_label, without_label: (L, D) mean codes.
        balanced: (L, D) mean difference within groups of one gender and age band.
        counts: (L, 2) faces with, and without.
        ages, age_codes: (A,) mean years and (A, D) mean codes of A age bands; A = 0: no ages.
        mean_condition: (K,) of the model's conditions.
        probe: (D + 1, K) linear reading of a code (and 1), encoded under mean_condition.
        prior: fitted to the codes.
    """

    framing: str
    source: str
    labels: tuple[str, ...]
    with_label: Tensor
    without_label: Tensor
    balanced: Tensor
    counts: Tensor
    ages: Tensor
    age_codes: Tensor
    mean_condition: Tensor
    probe: Tensor
    prior: MixturePrior

    @classmethod
    def fit(
        cls, model: FaceVAE, faces: FaceSet, rows: np.ndarray, max_faces: int = 8000, seed: int = 0
    ) -> LatentStatistics:
        """Encode rows of prepared faces (at most `max_faces`, drawn by the seed) and count."""
        if len(rows) > max_faces:
            rows = np.sort(np.random.default_rng(seed).choice(rows, max_faces, replace=False))
        names = model.config.conditions
        given = torch.empty(len(rows), 0)
        if names:
            given = torch.from_numpy(faces.conditions(names)[rows])  # (N, K), NaN where unknown
        mean_condition = given.nanmean(dim=0)  # (K,)
        condition = torch.where(given.isnan(), mean_condition, given)  # (N, K)
        codes = encoded(model, faces, rows, condition if names else None).mean  # (N, D)
        plain = codes
        if names and model.config.condition_encoder:
            plain = encoded(model, faces, rows, mean_condition.expand_as(condition)).mean
        labels = {name: values[rows] for name, values in binary_labels(faces).items()}
        labels = {name: v for name, v in labels.items() if _sizes(v).min() >= MIN_CLASS_SIZE}
        ages = faces.labels["age"][rows] if "age" in faces.labels else np.full(len(rows), -1)
        means = [[codes[v == has].mean(dim=0) for v in labels.values()] for has in (1, 0)]
        nothing = codes.new_empty(0, codes.shape[1])
        balanced = [_balanced(codes, name, labels, ages) for name in labels]
        bands = [codes.new_tensor(ages[band]).mean() for band in _bands(ages)]
        by_age = [codes[band].mean(dim=0) for band in _bands(ages)]
        return cls(
            framing=faces.framing,
            source=str(faces.manifest["source"]),
            labels=tuple(labels),
            with_label=torch.stack(means[0]) if labels else nothing,
            without_label=torch.stack(means[1]) if labels else nothing,
            balanced=torch.stack(balanced) if labels else nothing,
            counts=torch.tensor([_sizes(v).tolist() for v in labels.values()]).reshape(-1, 2),
            ages=torch.stack(bands) if bands else codes.new_empty(0),
            age_codes=torch.stack(by_age) if bands else nothing,
            mean_condition=mean_condition,
            probe=_probe(plain, given),
            prior=MixturePrior.fit(codes, seed=seed),
        )

    def direction(self, name: str, method: str = "mean") -> Tensor:
        """The mean code with a label less that without it, (D,).

        Args:
            method: "mean", or "balanced": the difference within groups of one gender and age band,
                so that what goes with the label by age and gender alone is left out.

        Raises:
            ValueError: these faces carry no such label, or the method is unknown.
        """
        if name not in self.labels:
            known = ", ".join(self.labels) or "none"
            raise ValueError(f"the faces of this model carry no label {name!r}: they have {known}")
        if method not in METHODS:
            raise ValueError(f"the method {method!r} is unknown: use one of {METHODS}")
        row = self.labels.index(name)
        if method == "balanced":
            return self.balanced[row]
        return self.with_label[row] - self.without_label[row]

    def save(self, folder: str | Path) -> None:
        """Write `studio.json` and `studio.safetensors`."""
        about = {"format": FORMAT, "framing": self.framing, "source": self.source}
        tensors = {name: getattr(self, name) for name in TENSORS}
        tensors |= {f"prior.{name}": tensor for name, tensor in self.prior.tensors().items()}
        io.write_safetensors(Path(folder) / "studio.safetensors", tensors)
        text = json.dumps(about | {"labels": self.labels}, indent=1, ensure_ascii=False)
        io.write_text(Path(folder) / "studio.json", text + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> LatentStatistics:
        """Read what `save` wrote.

        Raises:
            NotAModel: a file is missing, foreign or broken, and which.
        """
        try:
            folder = io.local(folder)
            about: dict = json.loads((folder / "studio.json").read_text(encoding="utf-8"))
            if about.pop("format") != FORMAT:
                raise ValueError(f"its studio.json is not of format {FORMAT}")
            about["labels"] = tuple(about["labels"])
            tensors = load_file(folder / "studio.safetensors")
            prior = {n[6:]: tensors.pop(n) for n in [*tensors] if n.startswith("prior.")}
            found = cls(**(about | tensors), prior=MixturePrior.from_tensors(prior))
            latents = (len(found.labels), found.prior.latents)
            if not found.with_label.shape == found.balanced.shape == latents:
                raise ValueError("its tensors do not fit its labels")
        except (OSError, ValueError, TypeError, KeyError, AttributeError, SafetensorError) as error:
            reason = str(error).partition("\n")[0]
            raise io.NotAModel(
                f"{folder} holds no statistics of training faces that can be read ({reason}): "
                "give the folder best/ of a run that `python -m facevae train` finished"
            ) from error
        return found


TENSORS = tuple(f.name for f in dataclasses.fields(LatentStatistics) if f.type == "Tensor")


@torch.inference_mode()
def encoded(
    model: FaceVAE, faces: FaceSet, rows: np.ndarray, condition: Tensor | None = None
) -> Gaussian:
    """The posteriors, (N, D) on the CPU, of rows of prepared faces under conditions (N, K)."""
    model.eval()
    device = next(model.parameters()).device
    found = []
    for part in torch.arange(len(rows)).split(256):
        given = None if condition is None else condition[part].to(device)
        posterior = model.encode(faces.tensor(rows[part]).to(device), given)
        found.append(Gaussian(posterior.mean.cpu(), posterior.logvar.cpu()))
    return Gaussian.cat(found)


def binary_labels(faces: FaceSet) -> dict[str, np.ndarray]:
    """The labels of faces that are yes or no: CelebA's name → (N,), 1, 0, or −1 where unknown.

    `gender` becomes Male, classes of folders become a label each, and drawn factors count as yes in
    the upper and as no in the lower third of their range.
    """
    found: dict[str, np.ndarray] = {}
    for name, values in faces.labels.items():
        if values.dtype.kind not in "biuf" or name in ("content", "class", "race"):
            continue
        if name == "gender":
            found.setdefault("Male", np.where(values < 0, -1, 1 - values))
        elif name in DRAWN_LABELS and faces.manifest["source"] == "synthetic":
            low, high = values.min(), values.max()
            yes, no = values > high - (high - low) / 3, values < low + (high - low) / 3
            found[DRAWN_LABELS[name]] = np.where(yes, 1, np.where(no, 0, -1))
        elif set(np.unique(values)) <= {-1, 0, 1} and values.dtype.kind != "f":
            found[name] = values.astype(int)
    if "Beard" in found:
        found.pop("No_Beard", None)
    classes = faces.manifest.get("classes") or []
    if "class" in faces.labels and "Smiling" not in found:
        numbers = faces.labels["class"]
        for number in range(1 if len(classes) == 2 else 0, len(classes)):
            found[classes[number]] = np.where(numbers < 0, -1, numbers == number)
    return found


def _sizes(values: np.ndarray) -> np.ndarray:
    return np.array([(values == 1).sum(), (values == 0).sum()])


def _bands(ages: np.ndarray) -> list[np.ndarray]:
    """Masks (N,) of the age bands that hold faces enough."""
    edges = zip(AGE_EDGES, AGE_EDGES[1:], strict=False)
    bands = [(ages >= low) & (ages < high) for low, high in edges]
    return [band for band in bands if band.sum() >= MIN_CLASS_SIZE]


def _balanced(codes: Tensor, name: str, labels: dict[str, np.ndarray], ages: np.ndarray) -> Tensor:
    """The mean difference with and without a label within groups of one gender and age band, (D,).

    A group counts by n₁ n₀ / (n₁ + n₀), the inverse variance of its difference.
    """
    group = np.digitize(ages, AGE_EDGES)  # 0: unknown
    if not (ages >= 0).any() and name != "Young":
        group = labels.get("Young", np.zeros(len(codes), int)) + 1
    if name != "Male" and "Male" in labels:
        group = 3 * group + labels["Male"] + 1
    values, total, weights = labels[name], torch.zeros(codes.shape[1]), 0.0
    for one in np.unique(group):
        has, lacks = (codes[(group == one) & (values == value)] for value in (1, 0))
        if len(has) and len(lacks):
            weight = len(has) * len(lacks) / (len(has) + len(lacks))
            total += weight * (has.mean(dim=0) - lacks.mean(dim=0))
            weights += weight
    if not weights:
        return codes[values == 1].mean(dim=0) - codes[values == 0].mean(dim=0)
    return total / weights


def _probe(codes: Tensor, condition: Tensor) -> Tensor:
    """Ridge regression (D + 1, K) from codes (N, D) to conditions (N, K), NaN where unknown."""
    known = ~condition.isnan().any(dim=1)
    if not condition.shape[1] or not known.any():
        return codes.new_zeros(codes.shape[1] + 1, condition.shape[1])
    from sklearn.linear_model import RidgeCV

    fitted = RidgeCV(np.logspace(-1, 4, 6)).fit(codes[known].numpy(), condition[known].numpy())
    weights = np.atleast_2d(fitted.coef_).T  # (D, K)
    return torch.from_numpy(np.vstack([weights, np.atleast_1d(fitted.intercept_)])).float()
