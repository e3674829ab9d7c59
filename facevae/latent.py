"""Vectors in, vectors out: paths between latents, priors fitted to them, traversals and maps of
them, and what of a label they still hold. No pixels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from facevae.files import write_safetensors


def linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points a + t (b − a): a, b (1, D) and t (T,) → (T, D)."""
    return torch.lerp(a, b, t[:, None].to(a))


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points on the great arc from a to b, the length changing evenly: (1, D), (T,) → (T, D).

    In many dimensions a Gaussian's mass lies in a shell; the arc stays in it, while the chord
    cuts through its emptier inside. Source: White, "Sampling generative networks",
    arXiv 1609.04468, section 2.1. (Nearly) parallel or zero vectors fall back to the line.
    """
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    cosine = F.cosine_similarity(a, b, dim=1)[:, None]
    angle = cosine.clamp(-1, 1).acos()  # (1, 1) radians
    if angle.sin().abs().item() < 1e-4 or min(length_a.item(), length_b.item()) < 1e-6:
        return linear(a, b, t)
    t = t[:, None].to(a)
    length = torch.lerp(length_a, length_b, t)  # (T, 1)
    direction = ((1 - t) * angle).sin() * (a / length_a) + (t * angle).sin() * (b / length_b)
    points = length * direction / angle.sin()  # (T, D)
    points[t[:, 0] == 0], points[t[:, 0] == 1] = a, b  # the ends to the bit
    return points


PATHS = {"linear": linear, "spherical": spherical}


class Prior(Protocol):
    """What new faces are drawn from, fitted to the latents of faces after training."""

    @property
    def latents(self) -> int: ...

    def sample(self, n: int, generator: torch.Generator, temperature: float = 0.8) -> Tensor:
        """n draws (n, D); `temperature` scales their spread."""

    def log_likelihood(self, codes: Tensor) -> Tensor:
        """log p of codes (N, D), (N,) nats."""

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (D,) and covariance (D, D)."""

    def save(self, path: str | Path) -> None:
        """Write as safetensors."""


@dataclass(frozen=True)
class GaussianPrior:
    """N(mean, factor factorᵀ), fitted to posterior means after training.

    The means of a trained VAE do not fill N(0, I), so draws from it are no faces; draws from
    this are. Source: Ghosh et al., "From variational to deterministic autoencoders",
    arXiv 1903.12436, section 4.

    Attributes:
        mean: (D,). factor: (D, D), lower triangular.
    """

    mean: Tensor
    factor: Tensor

    @property
    def latents(self) -> int:
        return len(self.mean)

    @classmethod
    def fit(cls, means: Tensor) -> GaussianPrior:
        """Fit to posterior means (N, D) of the training faces."""
        jitter = 1e-4 * torch.eye(means.shape[1])
        return cls(means.mean(dim=0), _factor(means.T.cov() + jitter))

    def sample(self, n: int, generator: torch.Generator, temperature: float = 0.8) -> Tensor:
        """n draws (n, D); `temperature` scales the spread: lower is plainer, higher is odder."""
        noise = torch.randn(n, len(self.mean), generator=generator)
        return self.mean + temperature * noise @ self.factor.T

    def log_likelihood(self, codes: Tensor) -> Tensor:
        """log p of codes (N, D), (N,) nats."""
        return _log_normal(codes, self.mean, self.factor)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (D,) and covariance (D, D)."""
        return self.mean, self.factor @ self.factor.T

    def save(self, path: str | Path) -> None:
        """Write as safetensors."""
        write_safetensors(path, {"mean": self.mean, "factor": self.factor})

    @classmethod
    def load(cls, path: str | Path) -> GaussianPrior:
        """Read what `save` wrote; ValueError says what is wrong with a foreign file."""
        return _load(cls, path)


@dataclass(frozen=True)
class MixturePrior:
    """Σ weightₖ N(meanₖ, factorₖ factorₖᵀ), fitted to posterior means after training.

    Source: Ghosh et al., arXiv 1903.12436, section 4, who fit ten Gaussians.

    Attributes:
        weights: (K,), summing to 1. means: (K, D). factors: (K, D, D) lower triangular, or
            (1, D, D) where all components share one.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    @property
    def latents(self) -> int:
        return self.means.shape[1]

    @classmethod
    def fit(
        cls, means: Tensor, components: int = 10, shared: bool = False, seed: int = 0
    ) -> MixturePrior:
        """Fit by expectation-maximisation to posterior means (N, D) of the training faces.

        Args:
            shared: one covariance for all components: K·D numbers more than a Gaussian, no more.
        """
        from sklearn.mixture import GaussianMixture

        kind = "tied" if shared else "full"  # tol below: nats a face that a step must still gain
        fitted = GaussianMixture(
            components,
            covariance_type=kind,
            reg_covar=1e-4,
            tol=0.05,
            max_iter=100,
            random_state=seed,
        ).fit(means.double().numpy())
        dimensions = means.shape[1]
        covariances = torch.from_numpy(fitted.covariances_).reshape(-1, dimensions, dimensions)
        factors = _factor(covariances)  # (K or 1, D, D)
        centres = torch.from_numpy(fitted.means_)
        return cls(torch.from_numpy(fitted.weights_).float(), centres.float(), factors.float())

    @classmethod
    def of_groups(cls, means: Tensor, groups: Tensor) -> MixturePrior:
        """A Gaussian for each group: posterior means (N, D), and the number of its group (N,)."""
        parts = [means[groups == k] for k in groups.unique()]
        jitter = 1e-4 * torch.eye(means.shape[1])
        return cls(
            torch.tensor([len(part) / len(means) for part in parts]),
            torch.stack([part.mean(dim=0) for part in parts]),
            torch.stack([_factor(part.T.cov() + jitter) for part in parts]),
        )

    def sample(self, n: int, generator: torch.Generator, temperature: float = 0.8) -> Tensor:
        """n draws (n, D); `temperature` scales the spread about each component's mean."""
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)  # (n,)
        noise = torch.randn(n, self.means.shape[1], generator=generator)
        draws = self.means[which]  # (n, D)
        for k in range(len(self.means)):  # a factor an n would not fit into memory
            factor = self.factors[k % len(self.factors)]
            draws[which == k] += temperature * noise[which == k] @ factor.T
        return draws

    def log_likelihood(self, codes: Tensor) -> Tensor:
        """log p of codes (N, D), (N,) nats."""
        each = [
            _log_normal(codes, mean, self.factors[k % len(self.factors)])
            for k, mean in enumerate(self.means)
        ]
        return (torch.stack(each) + self.weights.log()[:, None]).logsumexp(dim=0)  # (K, N) -> (N,)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (D,) and covariance (D, D), which holds the spread of the components' means."""
        weights, mean = self.weights[:, None, None], self.weights @ self.means
        inside = self.factors @ self.factors.mT  # (K or 1, D, D)
        apart = (self.means - mean)[:, :, None]  # (K, D, 1)
        return mean, (weights * inside).sum(dim=0) + (weights * apart @ apart.mT).sum(dim=0)

    def save(self, path: str | Path) -> None:
        """Write as safetensors."""
        tensors = {"weights": self.weights, "means": self.means, "factors": self.factors}
        write_safetensors(path, tensors)

    @classmethod
    def load(cls, path: str | Path) -> MixturePrior:
        """Read what `save` wrote; ValueError says what is wrong with a foreign file."""
        return _load(cls, path)


OnePrior = TypeVar("OnePrior", GaussianPrior, MixturePrior)


def load_prior(path: str | Path) -> Prior:
    """Read a prior of any kind; ValueError says what is wrong with a foreign file."""
    from facevae.diffusion import DiffusionPrior  # which is made of a mixture

    for kind in (GaussianPrior, MixturePrior):
        with suppress(ValueError):
            return kind.load(path)
    try:
        return DiffusionPrior.load(path)
    except ValueError as error:
        raise ValueError(f"{error}: make one with `python -m facevae export`") from error


def choose_prior(
    train: Tensor, held_out: Tensor, components: Sequence[int] = (4, 10), seed: int = 0
) -> tuple[Prior, dict[str, float]]:
    """The prior under which unseen codes (M, D) are likeliest, fitted to codes (N, D).

    Returns:
        It, and the mean log-likelihood of an unseen face in nats by each candidate.
    """
    candidates: dict[str, Prior] = {"Gaussian": GaussianPrior.fit(train)}
    for k in components:
        candidates[f"{k}, one covariance"] = MixturePrior.fit(train, k, True, seed)
        if len(train) >= 2 * k * train.shape[1]:  # with fewer, a covariance each is mere noise
            candidates[f"{k}, a covariance each"] = MixturePrior.fit(train, k, False, seed)
    scores = {
        name: prior.log_likelihood(held_out).mean().item() for name, prior in candidates.items()
    }
    return candidates[max(scores, key=scores.__getitem__)], scores


def by_kl(kl_per_latent: Tensor, least: float = 0.01) -> list[int]:
    """Latents in the order of their mean KL, the strongest first: (N, D) nats → latent numbers.

    Those under `least` nats say nothing of the face and are left out. The usual rule is 0.01:
    Burda et al., arXiv 1509.00519, section 5.2, count activity likewise.
    """
    kl = kl_per_latent.mean(dim=0)  # (D,)
    order = kl.argsort(descending=True, stable=True)
    return order[kl[order] > least].tolist()


def traversal(
    codes: Tensor, latent: int, steps: int = 7, reach: float = 2.5, start: Tensor | None = None
) -> Tensor:
    """One latent moved from −reach to +reach standard deviations about its mean over codes (N, D).

    Args:
        start: (1, D) whose other latents are held; the mean code by default.

    Returns:
        (steps, D).
    """
    path = (codes.mean(dim=0) if start is None else start).reshape(1, -1).repeat(steps, 1)
    moved = torch.linspace(-reach, reach, steps) * codes[:, latent].std()
    path[:, latent] = codes[:, latent].mean() + moved
    return path


def map_2d(codes: Tensor, method: str = "pca", seed: int = 0) -> Tensor:
    """Codes (N, D) as points of a plane (N, 2): "pca", or "tsne" (van der Maaten & Hinton, 2008).

    t-SNE keeps neighbours and nothing else: its distances and sizes of clusters mean nothing.
    """
    if method == "pca":
        from sklearn.decomposition import PCA

        flat = PCA(2, svd_solver="full").fit_transform(codes.numpy())
    elif method == "tsne":
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(codes) - 1) / 3)
        flat = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(
            codes.numpy()
        )
    else:
        raise ValueError(f"the map {method!r} is unknown: use 'pca' or 'tsne'")
    return torch.from_numpy(np.ascontiguousarray(flat)).float()


def r_squared(
    codes: Tensor, values: np.ndarray, unseen_codes: Tensor, unseen_values: np.ndarray
) -> float:
    """How much of a label a linear reading of the latents holds: R² on unseen faces.

    Ridge regression (its weight by cross-validation) from codes (N, D) to values (N,), judged on
    others; 0 is what the label's mean alone would give, and less is worse than that.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11)))
    return float(fitted.fit(codes.numpy(), values).score(unseen_codes.numpy(), unseen_values))


def _factor(covariance: Tensor) -> Tensor:
    """The lower triangular factor of covariances (…, D, D), laid out in memory as one that is read
    from a file: it then draws the same faces to the bit."""
    return torch.linalg.cholesky(covariance).contiguous()


def _log_normal(codes: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    """log N(codes; mean, factor factorᵀ): (N, D), (D,), (D, D) → (N,)."""
    return torch.distributions.MultivariateNormal(mean, scale_tril=factor).log_prob(codes)


def _load(kind: type[OnePrior], path: str | Path) -> OnePrior:
    try:
        return kind(**load_file(path))
    except (OSError, TypeError, SafetensorError) as error:
        raise ValueError(f"{path} holds no fitted prior ({error})") from error
