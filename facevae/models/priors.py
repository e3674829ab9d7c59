"""A mixture of Gaussians over the codes of a trained model: new faces are drawn from it."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

MIN_PER_COMPONENT = 20  # codes; with fewer there are fewer components
MIN_PER_LATENT = 5  # codes of a component, for each latent, that its own covariance takes
JITTER = 1e-4  # added to the variances, so that a latent that carries nothing stays drawable


@dataclass(frozen=True)
class MixturePrior:
    """Σ weightₘ N(meanₘ, factorₘ factorₘᵀ), fitted to posterior means after training: they do not
    fill N(0, I), so a draw from that need not be a face (Ghosh et al., arXiv 1903.12436, 4)."""

    weights: Tensor  # (M,), sum 1
    means: Tensor  # (M, D)
    factors: Tensor  # (M, D, D) lower triangular, or (1, D, D) where all components share one

    @classmethod
    def fit(cls, codes: Tensor, components: int = 16, seed: int = 0) -> Self:
        """Fit to posterior means (N, D). Each component has its own covariance, and few codes give
        fewer components; where they are too few for two such ones, all components share one."""
        from sklearn.mixture import GaussianMixture

        count, latents = codes.shape
        own = min(components, count // (MIN_PER_LATENT * latents))
        shared = max(1, min(components, count // MIN_PER_COMPONENT))
        components, kind = (own, "full") if own > 1 else (shared, "tied")
        mixture = GaussianMixture(components, covariance_type=kind, tol=0.05, reg_covar=JITTER,
                                  random_state=seed)  # fmt: skip
        mixture.fit(codes.double().cpu().numpy())
        covariances = torch.from_numpy(mixture.covariances_).reshape(-1, latents, latents)
        factors = torch.linalg.cholesky(covariances).contiguous()  # as one read from a file
        parts = torch.from_numpy(mixture.weights_), torch.from_numpy(mixture.means_), factors
        return cls(*(part.half().float() for part in parts))  # as precisely as they are saved

    def sample(self, n: int, generator: torch.Generator, temperature: float = 0.9) -> Tensor:
        """n draws (n, D); `temperature` scales the spread about each component's mean."""
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)  # (n,)
        noise = torch.randn(n, self.means.shape[1], generator=generator)
        draws = self.means[which]  # (n, D)
        # by component: memory has no room for a factor a draw
        for m, factor in enumerate(self.factors.expand(len(self.means), -1, -1)):
            draws[which == m] += temperature * noise[which == m] @ factor.T
        return draws

    @property
    def mean(self) -> Tensor:
        """The mean code, (D,)."""
        return self.weights @ self.means
