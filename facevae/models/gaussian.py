"""The diagonal Gaussian posterior q(z | x): sampling, density and its KL to N(0, I)."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

LOGVAR_RANGE = (-14.0, 8.0)  # exp() of what lies outside is of no use, and overflows in bfloat16


@dataclass(frozen=True)
class Gaussian:
    """N(mean, exp(logvar)), independent in each latent: mean and log σ², (N, D) each."""

    mean: Tensor
    logvar: Tensor

    @classmethod
    def from_parameters(cls, parameters: Tensor) -> Self:
        """Split an encoder's output (N, 2·D) into mean and log-variance, each (N, D)."""
        mean, logvar = parameters.float().chunk(2, dim=1)  # (N, 2D) -> 2 × (N, D)
        return cls(mean, logvar.clamp(*LOGVAR_RANGE))

    @property
    def std(self) -> Tensor:
        """Standard deviation, (N, D)."""
        return (0.5 * self.logvar).exp()

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw z = mean + std · ε, (N, D): the reparameterisation trick, arXiv 1312.6114, 2.4."""
        device = generator.device if generator is not None else self.mean.device
        # drawn where the generator lives and then moved: one seed, one draw on every device
        noise = torch.randn(self.mean.shape, generator=generator, device=device)
        return self.mean + self.std * noise.to(self.mean)

    def log_density(self, z: Tensor) -> Tensor:
        """log q(z_d | x_n) of each of M draws z under each of N posteriors: (M, D) → (M, N, D)."""
        distance = (z[:, None] - self.mean) / self.std  # (M, N, D)
        return -0.5 * (distance.square() + self.logvar + math.log(2 * math.pi))

    def kl_per_latent(self) -> Tensor:
        """KL(q ‖ N(0, 1)) of each latent in nats, (N, D). Source: arXiv 1312.6114, appendix B."""
        return 0.5 * (self.mean.square() + self.logvar.exp() - 1.0 - self.logvar)

    def kl(self) -> Tensor:
        """KL(q ‖ N(0, I)) in nats per image, (N,)."""
        return self.kl_per_latent().sum(dim=1)
