"""A mixture of Gaussians over the codes of a trained model: new faces are drawn from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MIN_PER_COMPONENT = 20  # codes; with fewer there are fewer components
MAX_NUMBERS = 300_000  # of covariances; above it (1.2 MB) all components share one
JITTER = 1e-4  # added to the variances, so that a latent that carries nothing stays drawable


@dataclass(frozen=True)
class MixturePrior:
    """Σ weightₘ N(meanₘ, factorₘ factorₘᵀ), fitted to posterior means after training.

    The means of a trained VAE do not fill N(0, I), so a draw from N(0, I) need not be a face.
    Source: Ghosh et al., "From variational to deterministic autoencoders", arXiv 1903.12436,
    section 4.

    Attributes:
        weights: (M,), sum 1. means: (M, D).
        factors: (M, D, D) lower triangular, or (1, D, D) where all components share one.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    @property
    def latents(self) -> int:
        return self.means.shape[1]

    @classmethod
    def fit(cls, codes: Tensor, components: int = 8, seed: int = 0) -> MixturePrior:
        """Fit by expectation-maximisation to posterior means (N, D).

        Each component has a covariance of its own where there are codes enough for that, and the
        file stays small; else all share one. Few codes make fewer components.
        """
        from sklearn.mixture import GaussianMixture

        count, latents = codes.shape
        components = max(1, min(components, count // MIN_PER_COMPONENT))
        own = count >= 2 * components * latents and components * latents**2 <= MAX_NUMBERS
        fitted = GaussianMixture(
            components,
            covariance_type="full" if own else "tied",
            reg_covar=JITTER,
            tol=0.05,  # nats a code that a step must still gain
            random_state=seed,
        ).fit(codes.double().cpu().numpy())
        covariances = torch.from_numpy(fitted.covariances_).reshape(-1, latents, latents)
        return cls(
            torch.from_numpy(fitted.weights_).float(),
            torch.from_numpy(fitted.means_).float(),
            torch.linalg.cholesky(covariances).float().contiguous(),  # as one read from a file
        )

    def sample(self, n: int, generator: torch.Generator, temperature: float = 0.9) -> Tensor:
        """n draws (n, D); `temperature` scales the spread about each component's mean."""
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)  # (n,)
        noise = torch.randn(n, self.latents, generator=generator)
        draws = self.means[which]  # (n, D)
        for m in range(len(self.means)):  # a factor for each draw would not fit into memory
            draws[which == m] += temperature * noise[which == m] @ self._factor(m).T
        return draws

    def log_likelihood(self, codes: Tensor) -> Tensor:
        """log p of codes (N, D), (N,) nats."""
        each = [
            torch.distributions.MultivariateNormal(mean, scale_tril=self._factor(m)).log_prob(codes)
            for m, mean in enumerate(self.means)
        ]
        return (torch.stack(each) + self.weights.log()[:, None]).logsumexp(dim=0)  # (M, N) -> (N,)

    def moments(self) -> tuple[Tensor, Tensor]:
        """The mean and the standard deviation of each latent, (D,) each."""
        mean = self.weights @ self.means
        inside = self.factors.square().sum(dim=2)  # (M or 1, D) variances of the components
        apart = (self.means - mean).square()  # (M, D)
        return mean, (self.weights @ (inside + apart)).sqrt()

    def tensors(self) -> dict[str, Tensor]:
        """What a file holds."""
        return {"weights": self.weights, "means": self.means, "factors": self.factors}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> MixturePrior:
        """The prior of what `tensors` gave.

        Raises:
            ValueError: the tensors are not those of a mixture.
        """
        if set(tensors) != {"weights", "means", "factors"}:
            raise ValueError(f"a prior has weights, means and factors, not {sorted(tensors)}")
        prior = cls(**tensors)
        components, latents = len(prior.weights), prior.means.shape[-1]
        shared = prior.factors.shape == (1, latents, latents)
        if prior.means.shape != (components, latents) or not (
            shared or prior.factors.shape == (components, latents, latents)
        ):
            shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            raise ValueError(f"the parts of the prior do not fit together: {shapes}")
        return prior

    def _factor(self, component: int) -> Tensor:
        return self.factors[component % len(self.factors)]  # (D, D)
