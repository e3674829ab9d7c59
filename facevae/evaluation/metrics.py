"""How near pictures are, what a model and its baselines make of unseen faces, and intervals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.stats import bootstrap
from skimage.metrics import structural_similarity
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional as F

from facevae.config import ModelConfig
from facevae.data.face_set import FaceSet, evenly
from facevae.latents.diagnostics import encoded
from facevae.models.vae import FaceVAE

Baseline = Callable[[Tensor], Tensor]  # pictures (N, C, H, W) in [0, 1] → the same, reconstructed
Model = FaceVAE | Baseline
MIN_GROUP, MIN_FRECHET = 5, 20  # faces of a mean, and of a Fréchet distance
GROUPS = {  # label → groups, numbered as UTKFace does; ages are put into bands of 20 years
    "age": ("0–19", "20–39", "40–59", "60–79", "80–99", "100–119"),
    "gender": ("male", "female"),
    "race": ("white", "black", "asian", "indian", "other"),
}

posteriors = encoded  # of rows of a FaceSet under conditions (M, K): mean and std (M, D)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of images in [0, 1], (N, C, H, W) each → (N,)."""
    return -10.0 * (a - b).square().flatten(1).mean(dim=1).log10()


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of images in [0, 1], (N, C, H, W) each → (N,), 1 for equal ones.
    Source: Wang et al., "Image quality assessment", IEEE TIP 2004, with its Gaussian window."""
    options = {"channel_axis": 0, "data_range": 1.0, "gaussian_weights": True, "sigma": 1.5}
    pairs = zip(a.cpu().numpy(), b.cpu().numpy(), strict=True)
    found = [structural_similarity(*pair, use_sample_covariance=False, **options) for pair in pairs]
    return torch.tensor(found, dtype=torch.float32)


def source_loss(negative_elbo: float, config: ModelConfig) -> float | None:
    """The negative ELBO less its constant, D/2 · log(2πσ²) of the D numbers of a picture under a
    Gaussian of fixed σ: squared error / 2σ², summed, + KL, the scale that sources print. None for
    other likelihoods, which have no such constant."""
    if config.likelihood != "gaussian" or not config.sigma:
        return None
    constant = math.prod(config.image_shape) / 2 * math.log(2 * math.pi * config.sigma**2)
    return negative_elbo - constant


def interval(values: Tensor) -> dict[str, float]:
    """Mean of values (M,), M ≥ 2, and its 95 % bootstrap interval: mean, low, high."""
    data = (values.double().numpy(),)
    found = bootstrap(data, np.mean, n_resamples=1000, method="percentile", random_state=0)
    low, high = map(float, found.confidence_interval)
    return {"mean": float(data[0].mean()), "low": low, "high": high}


def by_group(values: Tensor, faces: FaceSet, rows: np.ndarray) -> dict[str, dict]:
    """Values (M,) of rows in each group that they are labelled with, of MIN_GROUP faces or more:
    "age 20–39" … → faces, average."""
    found = {}
    for label, names in GROUPS.items():
        column = faces.labels.get(label, np.full(len(faces), -1))[rows]
        for number, name in enumerate(names):
            inside = values[torch.from_numpy(column // (20 if label == "age" else 1) == number)]
            if len(inside) >= MIN_GROUP:
                found[f"{label} {name}"] = {"faces": len(inside), "average": interval(inside)}
    return found


def frechet(a: Tensor, b: Tensor) -> float:
    """Fréchet distance of the Gaussians with the moments of features (N, F) and (M, F).

    Source: Dowson & Landau, 1982, equation 4; the trace of √(AB) is the nuclear norm of the centred
    features' product, which QR does not change. Few faces bias it upwards: compare equal counts.
    """
    a, b = a.double(), b.double()
    mean = (a.mean(0) - b.mean(0)).square().sum()
    a, b = ((x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b))
    first, second = (torch.linalg.qr(x, mode="r").R for x in (a, b))  # (≤ F, F)
    cross = torch.linalg.matrix_norm(first @ second.T, "nuc")
    return float(mean + a.square().sum() + b.square().sum() - 2.0 * cross)


def against_halves(found: Tensor, real: Tensor) -> float | None:
    """Fréchet distance of features (N, F) to halves of real ones (M, F), divided by that between
    the halves, all of one count; None where that is under MIN_FRECHET."""
    count = min(len(found), len(real) // 2)
    if count < MIN_FRECHET:
        return None
    first, second, mine = real[0::2][:count], real[1::2][:count], found[:count]
    return (frechet(mine, first) + frechet(mine, second)) / 2 / frechet(first, second)


def pca(faces: FaceSet, rows: np.ndarray, components: int) -> Baseline:
    """PCA of at most 6,000 of the rows: the linear autoencoder to compare with."""
    flat = faces.tensor(evenly(rows, 6000)).flatten(1).numpy()  # (M, C·H·W)
    fitted = PCA(min(components, *flat.shape), svd_solver="randomized", copy=False, random_state=0)
    fitted.fit(flat)

    def reconstruct(images: Tensor) -> Tensor:
        again = fitted.inverse_transform(fitted.transform(images.flatten(1).numpy()))
        return torch.from_numpy(again).clamp(0, 1).view(images.shape)

    return reconstruct


def autoencoder_kl(name: str) -> Baseline:
    """A pretrained `AutoencoderKL` of diffusers, by its folder or its name on the Hub."""
    try:
        from diffusers import AutoencoderKL

        model = AutoencoderKL.from_pretrained(name).eval()
    except ImportError as error:
        raise ValueError(f"diffusers:{name} needs `pip install diffusers` ({error})") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{name} holds no AutoencoderKL of diffusers ({error})") from error

    def reconstruct(images: Tensor) -> Tensor:
        colour = images.expand(-1, model.config.in_channels, -1, -1)
        decoded = model(2.0 * colour - 1.0).sample / 2.0 + 0.5  # of the posterior mean
        decoded = F.interpolate(decoded, images.shape[2:])  # sides that cannot be halved shrink
        return decoded[:, : images.shape[1]].clamp(0, 1)

    return reconstruct


def labelled(model: Model, faces: FaceSet, rows: np.ndarray) -> tuple[np.ndarray, Tensor | None]:
    """Those of rows whose conditions are known, and these (M, K); None if the model has none."""
    if not isinstance(model, FaceVAE) or not model.config.conditions:
        return rows, None
    given = torch.from_numpy(faces.conditions(model.config.conditions)[rows])
    known = ~given.isnan().any(dim=1)
    return rows[known.numpy()], given[known]


@torch.inference_mode()
def per_face(
    model: Model, faces: FaceSet, rows: np.ndarray, condition: Tensor | None = None,
    describe: Baseline | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """Figures of each of M rows of a FaceSet under conditions (M, K): psnr (dB), ssim and l1 of
    the decoded posterior mean; of a FaceVAE negative_elbo, reconstruction and kl in nats per
    picture, of one sample of z, codes and kl_per_latent (M, D); features by `describe` (M, F)."""
    parts, generator = [], torch.Generator().manual_seed(0)
    for at in torch.arange(len(rows)).split(64):
        images, given = faces.tensor(rows[at]), None if condition is None else condition[at]
        part: dict[str, Tensor] = {}
        if isinstance(model, FaceVAE):
            log_likelihood, posterior = model(images, given, generator)
            decoded, kl = model.decode(posterior.mean, given), posterior.kl()
            part = {"negative_elbo": kl - log_likelihood, "reconstruction": -log_likelihood,
                    "kl": kl, "kl_per_latent": posterior.kl_per_latent(),
                    "codes": posterior.mean}  # fmt: skip
        else:
            decoded = model(images)
        near = {"psnr": psnr(images, decoded), "ssim": ssim(images, decoded),
                "l1": (images - decoded).abs().flatten(1).mean(dim=1)}  # fmt: skip
        parts.append(near | part | ({"features": describe(decoded)} if describe else {}))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
