"""How near two pictures are, and how a model does on held-out faces."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from facevae import losses
from facevae.data import FaceSet
from facevae.model import FaceVAE


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of images in [0, 1], (N, C, H, W) each → (N,).

    Equal images give infinity.
    """
    return -10.0 * (a - b).square().flatten(1).mean(dim=1).log10()


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of images in [0, 1], (N, C, H, W) each → (N,), 1 for equal ones.

    Source: Wang et al., "Image quality assessment", IEEE TIP 2004, with its Gaussian window.
    """
    from skimage.metrics import structural_similarity

    options = {"channel_axis": 0, "data_range": 1.0, "gaussian_weights": True,
               "sigma": 1.5, "use_sample_covariance": False}  # fmt: skip
    pairs = zip(a.cpu().numpy(), b.cpu().numpy(), strict=True)
    return torch.tensor([structural_similarity(x, y, **options) for x, y in pairs])


@torch.inference_mode()
def evaluate(
    model: FaceVAE, faces: FaceSet, rows: np.ndarray, batch: int = 64, seed: int = 0
) -> dict[str, float]:
    """Held-out figures of a model on some rows of a FaceSet.

    Returns:
        negative_elbo, reconstruction and kl in nats per image (one sample of z each);
        psnr (dB) and ssim of the picture decoded from the posterior mean, with their spread over
        faces; active_units, the latents whose KL exceeds 0.01 nats on average.
    """
    generator = torch.Generator().manual_seed(seed)
    columns: dict[str, list[Tensor]] = {"negative_elbo": [], "kl": [], "psnr": [], "ssim": []}
    kl_per_latent = []
    names = model.config.conditions
    conditions = torch.from_numpy(faces.conditions(names)) if names else None
    for start in range(0, len(rows), batch):
        taken = rows[start : start + batch]
        images = torch.from_numpy(faces.images[taken]).permute(0, 3, 1, 2).float() / 255.0
        condition = None if conditions is None else conditions[taken]
        log_likelihood, posterior = model(images, condition, generator)
        decoded = model.decode(posterior.mean, condition)
        columns["negative_elbo"].append(losses.negative_elbo(log_likelihood, posterior.kl()))
        columns["kl"].append(posterior.kl())
        columns["psnr"].append(psnr(images, decoded))
        columns["ssim"].append(ssim(images, decoded))
        kl_per_latent.append(posterior.kl_per_latent())
    table = {name: torch.cat(parts) for name, parts in columns.items()}
    figures = {name: values.mean().item() for name, values in table.items()}
    figures["reconstruction"] = figures["negative_elbo"] - figures["kl"]
    figures["psnr_spread"] = table["psnr"].std().item()
    figures["ssim_spread"] = table["ssim"].std().item()
    figures["active_units"] = float((torch.cat(kl_per_latent).mean(0) > 0.01).sum())
    return figures


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
