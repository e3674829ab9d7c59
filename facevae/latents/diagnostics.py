"""Statistics of codes: what a studio needs of a model's training faces; active latents, maps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from facevae.data.face_set import FaceSet
from facevae.io import Pair
from facevae.models.gaussian import Gaussian
from facevae.models.priors import MixturePrior
from facevae.models.vae import FaceVAE, age_weights

FILES = Pair("studio.json", "studio.safetensors", 1, "statistics of training faces",
             "give the folder best/ of a run that `python -m facevae train` finished")  # fmt: skip
MAX_FACES = 24_000  # that are encoded
MIN_CLASS_SIZE = 8  # faces with a label, and without; fewer give no direction
AGE_EDGES = (0, 6, 13, 20, 30, 40, 50, 60, 70, 121)  # years: a band is from one to under the next


@dataclass(frozen=True)
class LatentStatistics:
    """Statistics of the codes (posterior means) of a model's training faces."""

    framing: str
    source: str  # name of the faces
    labels: tuple[str, ...]  # the L binary ones, by CelebA's names
    with_label: Tensor  # (L, D) mean codes
    without_label: Tensor
    balanced: Tensor  # (L, D) mean difference within strata of one gender and age band
    counts: Tensor  # (L, 2) faces with, and without
    ages: Tensor  # (A,) mean years in A age bands; A = 0: no ages
    age_codes: Tensor  # (A, D) mean codes
    mean_condition: Tensor  # (K,) of the model's conditions
    probe: Tensor  # (D + 1, K) linear reading of a code (and 1), encoded under mean_condition
    prior: MixturePrior

    @classmethod
    def fit(cls, model: FaceVAE, faces: FaceSet, rows: np.ndarray, seed: int = 0) -> Self:
        """Encode rows of prepared faces (at most MAX_FACES, drawn by the seed) and count."""
        if len(rows) > MAX_FACES:
            rows = np.sort(np.random.default_rng(seed).choice(rows, MAX_FACES, replace=False))
        given = torch.from_numpy(faces.conditions(model.config.conditions)[rows])  # NaN: unknown
        mean = given.nanmean(dim=0)  # (K,)
        codes = encoded(model, faces, rows, torch.where(given.isnan(), mean, given)).mean  # (N, D)
        alike = codes  # under one condition
        if len(mean) and model.config.condition_encoder:
            alike = encoded(model, faces, rows, mean.expand_as(given)).mean
        years = faces.labels.get("age", np.full(len(faces), -1))[rows]
        band = np.digitize(years, AGE_EDGES)  # 0: unknown
        bands = [band == k for k in range(1, len(AGE_EDGES)) if (band == k).sum() >= MIN_CLASS_SIZE]
        labels = {name: values[rows] for name, values in faces.binary_labels().items()}
        table = {}
        for name, values in labels.items():
            has, lacks = codes[values == 1], codes[values == 0]
            if min(len(has), len(lacks)) >= MIN_CLASS_SIZE:
                strata = [labels[n] for n in ("Male", "Young") if n in labels and n != name]
                step = _balanced(codes, values, np.stack([band, *strata]))
                count = torch.tensor([len(has), len(lacks)])
                table[name] = has.mean(dim=0), lacks.mean(dim=0), step, count
        empty = [codes[:0], codes[:0], codes[:0], torch.empty(0, 2)]
        has, lacks, steps, counts = [*map(torch.stack, zip(*table.values(), strict=True))] or empty
        return cls(
            faces.framing, str(faces.manifest["source"]), tuple(table), has, lacks, steps, counts,
            torch.tensor([years[inside].mean() for inside in bands]).float(),
            torch.cat([codes[:0], *(codes[inside].mean(dim=0)[None] for inside in bands)]),
            mean, _probe(alike, given), MixturePrior.fit(codes, seed=seed),
        )  # fmt: skip

    def age_code(self, years: Tensor) -> Tensor:
        """Mean codes (N, D) at ages (N,): linear between the age bands, constant beyond them."""
        return age_weights(years, self.ages.tolist()) @ self.age_codes

    def estimated_age(self, codes: Tensor) -> Tensor:
        """Ages of codes (N, D) in years, (N,): the mean over unit Gaussians about `age_codes`."""
        return (-0.5 * torch.cdist(codes, self.age_codes).square()).softmax(dim=1) @ self.ages

    def save(self, folder: str | Path) -> None:
        """Write `studio.json` and `studio.safetensors`."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        tensors |= {f"prior.{name}": tensor.half() for name, tensor in vars(self.prior).items()}
        about = {name: getattr(self, name) for name in ("framing", "source", "labels")}
        FILES.write(folder, about, tensors)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote; NotAModel: a file is missing, foreign or broken, and which."""
        with FILES.reading(folder) as (about, tensors):
            prior = {n[6:]: tensors.pop(n).float() for n in [*tensors] if n.startswith("prior.")}
            about["labels"], about["prior"] = tuple(about["labels"]), MixturePrior(**prior)
            found = cls(**about | tensors)
            if not len(found.labels) == len(found.with_label) == len(found.balanced):
                raise ValueError("its tensors do not fit its labels")
        return found


@torch.inference_mode()
def encoded(
    model: FaceVAE, faces: FaceSet, rows: np.ndarray, condition: Tensor | None = None
) -> Gaussian:
    """The posteriors, (N, D) on the CPU, of rows of prepared faces under conditions (N, K)."""
    device, means, logvars = model.eval().variance.device, list[Tensor](), list[Tensor]()
    for part in torch.arange(len(rows)).split(256):
        given = None if condition is None else condition[part].to(device)
        posterior = model.encode(faces.tensor(rows[part]).to(device), given)
        means.append(posterior.mean.cpu())
        logvars.append(posterior.logvar.cpu())
    return Gaussian(torch.cat(means), torch.cat(logvars))


def _balanced(codes: Tensor, values: np.ndarray, strata: np.ndarray) -> Tensor:
    """The mean difference (D,) with and without a label (N,) within strata (S, N): its coefficient
    in a linear regression of the codes on it and the stratum."""
    known = values >= 0
    stratum = np.unique(strata[:, known], axis=1, return_inverse=True)[1].reshape(-1)
    table = torch.from_numpy(np.column_stack([values[known], np.eye(stratum.max() + 1)[stratum]]))
    return (torch.linalg.pinv(table)[0] @ codes[known].double()).float()


def _probe(codes: Tensor, condition: Tensor) -> Tensor:
    """Ridge regression (D + 1, K) from codes (N, D) to conditions (N, K), NaN where unknown."""
    known = ~condition.isnan().any(dim=1)
    if not len(condition.T) or not known.any():
        return codes.new_zeros(len(codes.T) + 1, len(condition.T))
    fitted = _ridge(codes[known], condition[known].numpy())
    weights = np.column_stack([np.atleast_2d(fitted.coef_), fitted.intercept_])  # (K, D + 1)
    return torch.from_numpy(weights.T).float()


def _ridge(codes: Tensor, values: np.ndarray) -> Any:
    from sklearn.linear_model import RidgeCV  # takes seconds to import

    return RidgeCV(np.logspace(-1, 4, 11)).fit(codes.numpy(), values)


def r_squared(codes: Tensor, values: np.ndarray, unseen: Tensor, truth: np.ndarray) -> float:
    """R² on unseen faces of a ridge regression from codes (N, D) to a label (N,): how much of it is
    linear in them; 0 is what the label's mean alone would give."""
    return float(_ridge(codes, values).score(unseen.numpy(), truth))


def by_kl(kl_per_latent: Tensor, least: float = 0.01) -> list[int]:
    """Active latents by their mean KL (N, D) in nats, the highest first: those from `least` on;
    0.01 is usual (Burda et al., arXiv 1509.00519, section 5.2)."""
    kl = kl_per_latent.mean(dim=0)  # (D,)
    order = kl.argsort(descending=True, stable=True)
    return order[kl[order] > least].tolist()


def map_2d(codes: Tensor) -> Tensor:
    """Codes (N, D) as points in the plane of their two principal components, (N, 2)."""
    from sklearn.decomposition import PCA

    return torch.from_numpy(PCA(2, svd_solver="full").fit_transform(codes.numpy()))
