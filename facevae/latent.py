"""Vectors in, vectors out: paths between latents and priors fitted to them. No pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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

    @classmethod
    def fit(cls, means: Tensor) -> GaussianPrior:
        """Fit to posterior means (N, D) of the training faces."""
        jitter = 1e-4 * torch.eye(means.shape[1])
        return cls(means.mean(dim=0), torch.linalg.cholesky(means.T.cov() + jitter))

    def sample(self, n: int, generator: torch.Generator, temperature: float = 0.8) -> Tensor:
        """n draws (n, D); `temperature` scales the spread: lower is plainer, higher is odder."""
        noise = torch.randn(n, len(self.mean), generator=generator)
        return self.mean + temperature * noise @ self.factor.T

    def save(self, path: str | Path) -> None:
        """Write as safetensors."""
        write_safetensors(path, {"mean": self.mean, "factor": self.factor})

    @classmethod
    def load(cls, path: str | Path) -> GaussianPrior:
        """Read what `save` wrote; ValueError says what is wrong with a foreign file."""
        try:
            return cls(**load_file(path))
        except (OSError, TypeError, SafetensorError) as error:
            raise ValueError(f"{path} holds no fitted prior ({error})") from error
