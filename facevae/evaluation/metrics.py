"""How near pictures are, what a model and its baselines make of unseen faces, and tables of it."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap
from skimage.metrics import structural_similarity
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional as F

from facevae.config import ModelConfig
from facevae.data.face_set import FaceSet, evenly
from facevae.evaluation.disentanglement import scores
from facevae.io import explained
from facevae.latents.diagnostics import by_kl, encoded
from facevae.models.vae import FaceVAE

Baseline = Callable[[Tensor], Tensor]  # pictures (N, C, H, W) in [0, 1] → the same, reconstructed
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
    """The negative ELBO less D/2 · log(2πσ²), the constant of a Gaussian of fixed σ for D numbers a
    picture: squared error / 2σ² + KL, the scale that sources print. None: no such constant."""
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
    """Fréchet distance of the Gaussians with the moments of features (N, F) and (M, F). Source:
    Dowson & Landau, 1982, equation 4. Few faces bias it upwards: compare equal counts."""
    a, b = a.double(), b.double()
    mean = (a.mean(0) - b.mean(0)).square().sum()
    a, b = ((x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b))
    cross = torch.linalg.matrix_norm(a @ b.T, "nuc")  # the trace of √(AB), from N × M numbers
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
    fitted = PCA(min(components, *flat.shape), copy=False, random_state=0).fit(flat)

    def reconstruct(images: Tensor) -> Tensor:
        again = fitted.inverse_transform(fitted.transform(images.flatten(1).numpy()))
        return torch.from_numpy(again).clamp(0, 1).view(images.shape)

    return reconstruct


def autoencoder_kl(name: str) -> Baseline:
    """A pretrained `AutoencoderKL`: `diffusers:` and its folder or its name on the Hub."""
    todo = "check its name, and `pip install diffusers`"
    with explained(ValueError, f"{name} is no AutoencoderKL that diffusers finds", todo):
        from diffusers import AutoencoderKL

        model = AutoencoderKL.from_pretrained(name.removeprefix("diffusers:")).eval()

    def reconstruct(images: Tensor) -> Tensor:
        colour = images.expand(-1, model.config.in_channels, -1, -1)
        decoded = model(2.0 * colour - 1.0).sample / 2.0 + 0.5  # of the posterior mean
        decoded = F.interpolate(decoded, images.shape[2:])  # sides that cannot be halved shrink
        return decoded[:, : images.shape[1]].clamp(0, 1)

    return reconstruct


def labelled(model: FaceVAE, faces: FaceSet, rows: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """Those of rows whose conditions are known, and these (M, K)."""
    given = torch.from_numpy(faces.conditions(model.config.conditions)[rows])
    known = ~given.isnan().any(dim=1)
    return rows[known.numpy()], given[known]


@torch.inference_mode()
def per_face(
    model: FaceVAE | Baseline, faces: FaceSet, rows: np.ndarray, condition: Tensor | None = None
) -> dict[str, Tensor]:
    """Figures of each of M rows of a FaceSet under conditions (M, K): psnr (dB), ssim and l1 of
    the decoded posterior mean; of a FaceVAE negative_elbo, reconstruction and kl in nats per
    picture, of one sample of z, codes and kl_per_latent (M, D)."""
    parts, generator = [], torch.Generator().manual_seed(0)
    for at in torch.arange(len(rows)).split(64):
        images, given = faces.tensor(rows[at]), None if condition is None else condition[at]
        if isinstance(model, FaceVAE):
            log_likelihood, q = model(images, given, generator)
            decoded, kl = model.decode(q.mean, given), q.kl()
            nats = {"negative_elbo": kl - log_likelihood, "reconstruction": -log_likelihood,
                    "kl": kl, "kl_per_latent": q.kl_per_latent(), "codes": q.mean}  # fmt: skip
        else:
            decoded, nats = model(images), {}
        near = {"psnr": psnr(images, decoded), "ssim": ssim(images, decoded),
                "l1": (images - decoded).abs().flatten(1).mean(dim=1)}  # fmt: skip
        parts.append(near | nats)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def evaluate(
    model: FaceVAE, faces: FaceSet, seed: int = 0, split_by: str = "content",
    against: Sequence[str] = (), factors: Sequence[str] = (), with_pca: bool = True,
) -> dict[str, dict]:  # fmt: skip
    """Figures of a model and of baselines, PCA and `against` (see `autoencoder_kl`), on the test
    faces whose conditions are known: "figures", name → model → figure, with `scores` of the latents
    against `factors`, labels in numbers; and "PSNR by group", see `by_group`."""
    numbers = [name for name, values in faces.labels.items() if values.dtype.kind in "if"]
    if unknown := set(factors) - set(numbers):
        raise ValueError(f"no label {unknown.pop()!r} here: in numbers these faces carry {numbers}")
    split = faces.split(seed, by=split_by)
    rows, given = labelled(model, faces, split["test"])
    if len(rows) < 2:
        raise ValueError("no two test faces have all conditions of the model as labels")
    models: dict[str, FaceVAE | Baseline] = {"this model": model}
    if with_pca:
        models["PCA"] = pca(faces, split["train"], model.config.latents)
    models |= {name: autoencoder_kl(name) for name in against}
    figures: dict[str, dict[str, Any]] = {}
    for name, one in models.items():
        table = per_face(one, faces, rows, given)
        its: dict[str, Any] = {key: interval(v) for key, v in table.items() if v.ndim == 1}
        if one is model:
            its["source_loss"] = source_loss(its["negative_elbo"]["mean"], model.config)
            its["active_latents"] = len(by_kl(table["kl_per_latent"]))
            known = {factor: faces.labels[factor][rows] for factor in factors}
            its |= scores(table["codes"].numpy(), known) if factors else {}
            groups = by_group(table["psnr"], faces, rows)
        for key, figure in its.items():
            figures.setdefault(key, {})[name] = figure
    return {"figures": figures, "PSNR by group": groups}


def text(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Tables of figures: title → row → column → figure, or title → row → figure."""
    tables = []
    for title, section in found.items():
        rows = {name: row if isinstance(row, Mapping) and "mean" not in row else {"": row}
                for name, row in section.items()}  # fmt: skip
        columns = [*dict.fromkeys(column for row in rows.values() for column in row)]
        cells = [[title, *columns]]
        cells += [[name, *(_cell(row.get(c)) for c in columns)] for name, row in rows.items()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        tables.append("\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells))
    return "\n\n".join(tables)


def _cell(figure: Any) -> str:
    """About four digits; of a mean also its interval: 0.930 (0.900–0.960)."""
    if isinstance(figure, float) and math.isfinite(figure):
        return f"{figure:.{max(0, 4 - len(str(int(abs(figure)))))}f}"
    if isinstance(figure, Mapping) and "mean" in figure:
        return "{} ({}–{})".format(*map(_cell, figure.values()))
    if isinstance(figure, Mapping):
        return ", ".join(f"{name} {_cell(one)}" for name, one in figure.items()) or "–"
    return {"None": "–", "True": "yes", "False": "no"}.get(str(figure), str(figure))
