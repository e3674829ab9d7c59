"""Diagnostics of a latent space: active latents, maps in two dimensions, linear readability."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def by_kl(kl_per_latent: Tensor, least: float = 0.01) -> list[int]:
    """Active latents in the order of their mean KL, the highest first: (N, D) nats → indices.

    Latents under `least` nats are inactive and left out; 0.01 is the usual threshold (Burda et
    al., arXiv 1509.00519, section 5.2).
    """
    kl = kl_per_latent.mean(dim=0)  # (D,)
    order = kl.argsort(descending=True, stable=True)
    return order[kl[order] > least].tolist()


def map_2d(codes: Tensor, method: str = "pca", seed: int = 0) -> Tensor:
    """Codes (N, D) as points in the plane (N, 2): "pca", or "tsne" (van der Maaten & Hinton, 2008).

    t-SNE keeps neighbours only: distances and sizes of its clusters mean nothing.
    """
    if method == "pca":
        from sklearn.decomposition import PCA

        flat = PCA(2, svd_solver="full").fit_transform(codes.numpy())
    elif method == "tsne":
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(codes) - 1) / 3)
        tsne = TSNE(init="pca", perplexity=perplexity, random_state=seed)
        flat = tsne.fit_transform(codes.numpy())
    else:
        raise ValueError(f"the map {method!r} is unknown: use 'pca' or 'tsne'")
    return torch.from_numpy(np.ascontiguousarray(flat)).float()


def r_squared(
    codes: Tensor, values: np.ndarray, unseen_codes: Tensor, unseen_values: np.ndarray
) -> float:
    """How much of a label can be read linearly from the latents: R² on unseen faces.

    Ridge regression (its weight by cross-validation) from codes (N, D) to values (N,); 0 is what
    the label's mean alone would give.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11)))
    return float(fitted.fit(codes.numpy(), values).score(unseen_codes.numpy(), unseen_values))
