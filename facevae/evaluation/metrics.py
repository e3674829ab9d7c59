"""How near two pictures are, how a model does on held-out faces, and bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from facevae.data.face_set import FaceSet
from facevae.models import losses
from facevae.models.gaussian import Gaussian
from facevae.models.vae import FaceVAE

if TYPE_CHECKING:
    from facevae.data.face_set import FaceSet

Interval = dict[str, float]  # mean, low, high
DRAWS = 1000  # of a bootstrap
MIN_GROUP_SIZE = 5  # faces: a mean of fewer is not reported
ACTIVE_NATS = 0.01  # mean KL from which a latent counts as in use

GROUPS = {  # label → (name, lowest, highest value), the numbers as UTKFace gives them
    "age": [("0–9", 0, 9), ("10–19", 10, 19), ("20–39", 20, 39), ("40–59", 40, 59),
            ("60 and over", 60, 200)],
    "gender": [("male", 0, 0), ("female", 1, 1)],
    "race": [("white", 0, 0), ("black", 1, 1), ("asian", 2, 2), ("indian", 3, 3), ("other", 4, 4)],
}  # fmt: skip


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of images in [0, 1], (N, C, H, W) each → (N,).

    Equal images give infinity.
    """
    return -10.0 * (a - b).square().flatten(1).mean(dim=1).log10()


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute error of images in [0, 1], (N, C, H, W) each → (N,)."""
    return (a - b).abs().flatten(1).mean(dim=1)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of images in [0, 1], (N, C, H, W) each → (N,), 1 for equal ones.

    Source: Wang et al., "Image quality assessment", IEEE TIP 2004, with its Gaussian window.
    """
    from skimage.metrics import structural_similarity

    options = {"channel_axis": 0, "data_range": 1.0, "gaussian_weights": True,
               "sigma": 1.5, "use_sample_covariance": False}  # fmt: skip
    pairs = zip(a.cpu().numpy(), b.cpu().numpy(), strict=True)
    values = [float(structural_similarity(x, y, **options)) for x, y in pairs]
    return torch.tensor(values)


def known_rows(
    model: FaceVAE, faces: FaceSet, rows: np.ndarray, name: str = "the model"
) -> np.ndarray:
    """Those of rows whose conditions are known by their labels.

    Raises:
        ValueError: the pictures have another shape than the model reads.
    """
    config = model.config
    if config.image_shape != faces.image_shape:
        raise ValueError(
            f"{name} reads pictures of shape {config.image_shape}, and these faces are of shape "
            f"{faces.image_shape}: prepare them at its size"
        )
    if not config.conditions:
        return rows
    return rows[~np.isnan(faces.conditions(config.conditions)[rows]).any(axis=1)]


@torch.inference_mode()
def posteriors(
    model: FaceVAE, faces: FaceSet, rows: np.ndarray, condition: Tensor | None = None,
    batch: int = 64,
) -> Gaussian:  # fmt: skip
    """The posterior of each of M rows of a FaceSet, its mean and std (M, D).

    Args:
        condition: (M, K); by default as the faces are labelled.
    """
    batches = _batches(model, faces, rows, condition, batch)
    return Gaussian.cat([model.encode(images, given) for images, given in batches])


@torch.inference_mode()
def per_face(
    model: FaceVAE, faces: FaceSet, rows: np.ndarray, condition: Tensor | None = None,
    batch: int = 64, seed: int = 0,
) -> dict[str, Tensor]:  # fmt: skip
    """Figures of each of M rows of a FaceSet; see `posteriors`.

    Returns:
        (M,) negative_elbo, reconstruction and kl in nats per image, of one sample of z; psnr (dB),
        ssim and l1 of the picture decoded from the posterior mean; (M, D) kl_per_latent in nats.
    """
    generator, parts = torch.Generator().manual_seed(seed), []
    for images, given in _batches(model, faces, rows, condition, batch):
        log_likelihood, posterior = model(images, given, generator)
        decoded = model.decode(posterior.mean, given)
        parts.append(
            {
                "negative_elbo": losses.negative_elbo(log_likelihood, posterior.kl()),
                "reconstruction": -log_likelihood,
                "kl": posterior.kl(),
                "psnr": psnr(images, decoded),
                "ssim": ssim(images, decoded),
                "l1": l1(images, decoded),
                "kl_per_latent": posterior.kl_per_latent(),
            }
        )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _batches(
    model: FaceVAE, faces: FaceSet, rows: np.ndarray, condition: Tensor | None, batch: int
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Images and their conditions, (N, C, H, W) and (N, K)."""
    if condition is None and model.config.conditions:
        condition = torch.from_numpy(faces.conditions(model.config.conditions)[rows])
    for start in range(0, len(rows), batch):
        part = slice(start, start + batch)
        yield faces.tensor(rows[part]), None if condition is None else condition[part]


def summary(table: dict[str, Tensor]) -> dict[str, float]:
    """Means over faces of what `per_face` gave, spreads of PSNR and SSIM, and active_units: the
    latents whose mean KL exceeds ACTIVE_NATS."""
    columns = {name: values for name, values in table.items() if values.ndim == 1}
    figures = {name: values.mean().item() for name, values in columns.items()}
    figures |= {f"{name}_spread": table[name].std().item() for name in ("psnr", "ssim")}
    figures["active_units"] = float((table["kl_per_latent"].mean(0) > ACTIVE_NATS).sum())
    return figures


def interval(values: Tensor, seed: int = 0) -> Interval:
    """Mean of values (M,), M ≥ 1, and its 95 % bootstrap interval: mean, low, high."""
    values, generator = values.double(), torch.Generator().manual_seed(seed)
    rows = torch.randint(len(values), (DRAWS, len(values)), generator=generator)
    low, high = values[rows].mean(dim=1).quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return {"mean": values.mean().item(), "low": low, "high": high}


def group_masks(faces: FaceSet, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Which of rows (M,) fall to each age band, gender and race group that they are labelled with.

    Returns:
        "age 20–39", "gender male" … → (M,) bool, those of MIN_GROUP_SIZE faces or more.
    """
    masks = {}
    for label, names in GROUPS.items():
        column = faces.labels.get(label, np.full(len(faces), -1))
        for name, low, high in names:
            inside = (column[rows] >= low) & (column[rows] <= high)
            if inside.sum() >= MIN_GROUP_SIZE:
                masks[f"{label} {name}"] = inside
    return masks


def by_group(values: Tensor, faces: FaceSet, rows: np.ndarray) -> dict[str, dict]:
    """Mean of values (M,) by group of `group_masks`, its interval, and how many faces it has."""
    masks = group_masks(faces, rows)
    return {
        name: {"faces": int(mask.sum())} | interval(values[torch.from_numpy(mask)])
        for name, mask in masks.items()
    }


def paired(a: Tensor, b: Tensor) -> Interval:
    """Mean difference a − b of figures (M,) of the same faces, and its bootstrap interval."""
    return interval(a - b)


def pca_psnr(
    faces: FaceSet, train: np.ndarray, test: np.ndarray, components: int, most: int = 6000
) -> float:
    """Mean PSNR in dB of PCA with as many components: the linear autoencoder to compare with.

    At most `most` training faces are used, evenly taken: 6,000 of 128×128 in colour need 1.2 GB.
    """
    from sklearn.decomposition import PCA

    def flat(rows: np.ndarray) -> np.ndarray:
        return faces.images[rows].reshape(len(rows), -1).astype(np.float32) / 255.0

    taken = train[np.linspace(0, len(train) - 1, min(most, len(train))).astype(int)]
    components = min(components, len(taken), int(np.prod(faces.image_shape)))
    pca = PCA(components, svd_solver="randomized", random_state=0).fit(flat(taken))
    found = []
    for rows in np.array_split(test, max(1, len(test) // 500)):
        pictures = flat(rows)
        again = pca.inverse_transform(pca.transform(pictures)).clip(0, 1)
        found.append(-10 * np.log10(np.square(pictures - again).mean(axis=1)))
    return float(np.concatenate(found).mean())
