"""How near two pictures are, and how a model does on held-out faces."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from facevae import losses
from facevae.data import FaceSet
from facevae.gaussian import Gaussian
from facevae.model import FaceVAE

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


def readable(faces: FaceSet, models: dict[str, FaceVAE]) -> np.ndarray:
    """Rows of a FaceSet that every one of the models (name → model) can read: those in which all
    their conditions are known.

    Raises:
        ValueError: the pictures have another shape than a model reads, and which model.
    """
    known = np.ones(len(faces), bool)
    for name, model in models.items():
        if model.config.image_shape != faces.image_shape:
            raise ValueError(
                f"{name} reads pictures of shape {model.config.image_shape}, but the faces in "
                f"{faces.folder} are of shape {faces.image_shape}: prepare them at its size"
            )
        if model.config.conditions:
            known &= ~np.isnan(faces.conditions(model.config.conditions)).any(axis=1)
    return np.flatnonzero(known)


@torch.inference_mode()
def posteriors(model: FaceVAE, faces: FaceSet, rows: np.ndarray, batch: int = 64) -> Gaussian:
    """The posterior of each of M rows of a FaceSet, its mean and std (M, D)."""
    names = model.config.conditions
    conditions = torch.from_numpy(faces.conditions(names)) if names else None
    parts = []
    for start in range(0, len(rows), batch):
        taken = rows[start : start + batch]
        condition = None if conditions is None else conditions[taken]
        parts.append(model.encode(faces.tensor(taken), condition))
    return Gaussian.cat(parts)


@torch.inference_mode()
def per_face(
    model: FaceVAE, faces: FaceSet, rows: np.ndarray, batch: int = 64, seed: int = 0
) -> dict[str, Tensor]:
    """Figures of each of M rows of a FaceSet.

    Returns:
        (M,) negative_elbo, reconstruction and kl in nats per image, of one sample of z; psnr (dB),
        ssim and l1 of the picture decoded from the posterior mean; (M, D) kl_per_latent in nats.
    """
    generator = torch.Generator().manual_seed(seed)
    names = model.config.conditions
    conditions = torch.from_numpy(faces.conditions(names)) if names else None
    parts = []
    for start in range(0, len(rows), batch):
        taken = rows[start : start + batch]
        images = faces.tensor(taken)
        condition = None if conditions is None else conditions[taken]
        log_likelihood, posterior = model(images, condition, generator)
        decoded = model.decode(posterior.mean, condition)
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


def summary(table: dict[str, Tensor]) -> dict[str, float]:
    """Means over faces of what `per_face` gave, spreads of PSNR and SSIM, and active_units: the
    latents whose mean KL exceeds 0.01 nats."""
    columns = {name: values for name, values in table.items() if values.ndim == 1}
    figures = {name: values.mean().item() for name, values in columns.items()}
    figures |= {f"{name}_spread": table[name].std().item() for name in ("psnr", "ssim")}
    figures["active_units"] = float((table["kl_per_latent"].mean(0) > 0.01).sum())
    return figures


def paired(a: Tensor, b: Tensor, seed: int = 0, draws: int = 2000) -> dict[str, float]:
    """Mean difference a − b of figures (M,) of the same faces, and its 95 % bootstrap interval."""
    difference = (a - b).double()
    generator = torch.Generator().manual_seed(seed)
    means = torch.stack(
        [
            difference[
                torch.randint(len(difference), (len(difference),), generator=generator)
            ].mean()
            for _ in range(draws)
        ]
    )
    low, high = means.quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return {"mean": difference.mean().item(), "low": low, "high": high}


def by_group(values: Tensor, faces: FaceSet, rows: np.ndarray) -> dict[str, dict]:
    """Mean of values (M,) over the age bands and the gender and race groups that rows carry.

    Returns:
        Group → {"faces": how many, "mean": their mean}; groups of fewer than 5 faces are left out.
    """
    groups = {}
    for label, names in GROUPS.items():
        if label not in faces.labels:
            continue
        column = faces.labels[label][rows]
        for name, low, high in names:
            inside = (column >= low) & (column <= high)
            if inside.sum() >= 5:
                mean = values[torch.from_numpy(inside)].mean().item()
                groups[f"{label} {name}"] = {"faces": int(inside.sum()), "mean": round(mean, 2)}
    return groups


def pca_psnr(
    faces: FaceSet, train: np.ndarray, test: np.ndarray, components: int, most: int = 6000
) -> float:
    """Mean PSNR in dB of PCA with as many components: the yardstick of every autoencoder.

    At most `most` training faces are used, evenly taken: 6,000 of 128×128 in colour need 1.2 GB.
    """
    from sklearn.decomposition import PCA

    taken = train[np.linspace(0, len(train) - 1, min(most, len(train))).astype(int)]
    flat = faces.images[taken].reshape(len(taken), -1).astype(np.float32) / 255.0
    pca = PCA(min(components, *flat.shape), svd_solver="randomized", random_state=0).fit(flat)
    found = []
    for rows in np.array_split(test, max(1, len(test) // 500)):
        flat = faces.images[rows].reshape(len(rows), -1).astype(np.float32) / 255.0
        again = pca.inverse_transform(pca.transform(flat)).clip(0, 1)
        found.append(-10 * np.log10(np.square(flat - again).mean(axis=1)))
    return float(np.concatenate(found).mean())
